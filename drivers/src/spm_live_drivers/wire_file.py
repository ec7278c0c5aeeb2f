"""One message as a file: how the receiver's inbox and the agent's spool keep frames.

Layout: ``SPMFRAME1\\n``, then little-endian three uint64 (bytes of topic, header and payload) and one uint32 (CRC-32 of
the three together), then the three parts. The checksum covers the header too: a flipped bit on the disk must not
become another scale.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from spm_live_drivers.contract import FrameRef
from spm_live_drivers.errors import FrameError
from spm_live_drivers.formats.opening import open_regular
from spm_live_drivers.wire import MAX_HEADER_BYTES, MAX_PART_BYTES, MAX_TOPIC_BYTES

MAGIC = b"SPMFRAME1\n"
SUFFIX = ".spmframe"
_SIZES = struct.Struct("<QQQI")
PREFIX_BYTES = len(MAGIC) + _SIZES.size
_LIMITS = (MAX_TOPIC_BYTES, MAX_HEADER_BYTES, MAX_PART_BYTES)


def to_file_bytes(parts: Sequence[bytes]) -> bytes:
    """Pack the three parts of a message into the content of a file.

    Raises
    ------
    ValueError
        If there are not three parts, or one is larger than any message may be.
    """
    return b"".join((file_prefix(parts), *parts))


def file_prefix(parts: Sequence[bytes]) -> bytes:
    """What stands before the parts: magic, sizes, checksum.

    Raises
    ------
    ValueError
        As :func:`to_file_bytes`.
    """
    if len(parts) != 3 or any(len(part) > limit for part, limit in zip(parts, _LIMITS, strict=True)):
        raise ValueError(f"not a message: parts of {[len(part) for part in parts]} bytes")
    return MAGIC + _SIZES.pack(*(len(part) for part in parts), _checksum(parts))


def from_file_bytes(content: bytes, *, origin: str = "a message file") -> list[bytes]:
    """Unpack the content of a file into the three parts of a message.

    Raises
    ------
    FrameError
        If the content is cut, padded, damaged or something else.
    """
    sizes, checksum = _read_prefix(content[:PREFIX_BYTES], len(content), origin)
    parts, start = [], PREFIX_BYTES
    for size in sizes:
        parts.append(content[start : start + size])
        start += size
    return _checked(parts, checksum, origin)


def read_parts(path: Path) -> list[bytes]:
    """Read the three parts of a message from its file.

    Raises
    ------
    FrameError
        If the file cannot be read, or is cut, padded, damaged or something else.
    """
    origin = str(path)
    with open_regular(path) as file:
        sizes, checksum = _read_prefix(_read(file, PREFIX_BYTES), os.fstat(file.fileno()).st_size, origin)
        parts = [_read(file, size) for size in sizes]
    return _checked(parts, checksum, origin)


def read_prefix(path: Path) -> tuple[bytes, int]:
    """Read the start of a message file, and the size of the whole.

    Raises
    ------
    FrameError
        If the file cannot be read.
    """
    with open_regular(path) as file:
        return _read(file, PREFIX_BYTES), os.fstat(file.fileno()).st_size


def expected_bytes(prefix: bytes, *, origin: str) -> int | None:
    """Size that a message file has once it is complete, in bytes; None while its prefix is not there yet.

    Raises
    ------
    FrameError
        If this is no message file.
    """
    if not prefix.startswith(MAGIC[: len(prefix)]):
        raise FrameError(FrameRef(origin), "read", "this is not a message file (wrong magic)")
    if len(prefix) < PREFIX_BYTES:
        return None
    sizes: tuple[int, int, int] = _SIZES.unpack_from(prefix, len(MAGIC))[:3]
    for name, size, limit in zip(("topic", "header", "payload"), sizes, _LIMITS, strict=True):
        if size > limit:
            raise FrameError(FrameRef(origin), "read", f"claims a {name} of {size} bytes, {limit} are allowed")
    return PREFIX_BYTES + sum(sizes)


def write_durably(path: Path, parts: Sequence[bytes]) -> int:
    """Write a message so that after a power cut the file is there whole or not at all.

    Parameters
    ----------
    path : Path
        Written under another name in the same folder, synced, then renamed; an older file of this name is replaced.

    Returns
    -------
    int
        Size of the file, in bytes.

    Raises
    ------
    OSError
        If it cannot be written, as on a full disk; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.part")
    prefix = file_prefix(parts)
    try:
        with temporary.open("wb") as file:
            _write(file, [prefix, *parts])
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return len(prefix) + sum(map(len, parts))


def remove_unfinished(folder: Path) -> None:
    """Remove what a crash left of writes that were not finished."""
    for left in folder.glob(f".*{SUFFIX}.part"):
        left.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename or a removal in a folder last; Windows does so itself and cannot open folders."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(file: BinaryIO, size: int) -> bytes:
    """Read ``size`` bytes of an unbuffered file, fewer only at its end."""
    content = file.read(size)
    while len(content) < size and (more := file.read(size - len(content))):
        content += more
    return content


def _write(file: BinaryIO, chunks: Sequence[bytes]) -> None:
    for chunk in chunks:
        file.write(chunk)
    file.flush()
    os.fsync(file.fileno())


def _read_prefix(prefix: bytes, true_bytes: int, origin: str) -> tuple[tuple[int, int, int], int]:
    expected = expected_bytes(prefix, origin=origin)
    if expected is None or true_bytes != expected:
        promised = f"its start promises {expected}" if expected is not None else "its start is cut"
        raise FrameError(FrameRef(origin), "read", f"the file has {true_bytes} bytes, {promised}")
    topic, header, payload, checksum = _SIZES.unpack_from(prefix, len(MAGIC))
    return (topic, header, payload), checksum


def _checked(parts: list[bytes], checksum: int, origin: str) -> list[bytes]:
    if _checksum(parts) != checksum:
        raise FrameError(FrameRef(origin), "read", "the content does not match its checksum: the file is damaged")
    return parts


def _checksum(parts: Sequence[bytes]) -> int:
    crc32 = 0
    for part in parts:
        crc32 = zlib.crc32(part, crc32)
    return crc32
