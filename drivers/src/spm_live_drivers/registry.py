"""Finds the reader for a file among those that installed packages announce."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path

from spm_live_drivers.contract import Frame, Reader, ReadOptions
from spm_live_drivers.errors import FrameError
from spm_live_drivers.formats.opening import digest, file_ref, open_regular

ENTRY_POINT_GROUP = "spm_live.drivers"
HEAD_BYTES = 4096


@lru_cache(maxsize=1)
def readers() -> tuple[Reader, ...]:
    """Every installed reader, in the order of their names.

    Raises
    ------
    TypeError
        If an entry point names something that is not a reader.
    """
    found: list[Reader] = []
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        reader = point.load()()
        if not isinstance(reader, Reader):
            raise TypeError(f"entry point {point.name} = {point.value} is not a reader")
        found.append(reader)
    return tuple(found)


def find_reader(path: Path) -> Reader:
    """Find the reader that knows the content of a file.

    Raises
    ------
    FrameError
        If the file cannot be opened, is no regular file, is empty, or no reader knows it.
    """
    ref = file_ref(path)
    with open_regular(path) as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise FrameError(ref, "read", "the file is empty")
    for reader in readers():
        if reader.accepts(path, head):
            return reader
    known = ", ".join(reader.title for reader in readers())
    raise FrameError(ref, "read", f"no reader knows this file; installed readers: {known}")


def read_frame(path: Path, options: ReadOptions = ReadOptions()) -> Frame:
    """Read one channel of a file with whichever reader knows it.

    Raises
    ------
    FrameError
        As :func:`find_reader` and :meth:`Reader.read` do.
    """
    return find_reader(path).read(path, options)


def file_sha256(path: Path) -> str:
    """Hex digest of a file's content, read in blocks.

    Raises
    ------
    FrameError
        If the file cannot be read.
    """
    with open_regular(path) as file:
        return digest(file)
