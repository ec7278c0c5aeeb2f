"""The text at the head of a Createc scan file, taken apart but not yet understood.

The file begins with its kind in brackets, then lines ``name / name on screen=value`` in latin-1, padded to 16380 bytes
with zeros or a JPEG thumbnail, then ``DATA`` and the values (measured: the real files of the tests).
"""

from __future__ import annotations

import math
import mmap
import zlib
from collections.abc import Mapping

COMPRESSED = b"[Paramco32]"
UNCOMPRESSED = (b"[Paramet32]", b"[Parameter]")
KINDS = (COMPRESSED, *UNCOMPRESSED)
MARKER = b"DATA"

_MAX_HEADER_BYTES = 256 * 1024
_THUMBNAIL = b"ICON\xff\xd8"


class HeaderError(Exception):
    """The header is not what it should be; the text is one sentence."""


class CutHeaderError(HeaderError):
    """The file ends before its values begin: it may still grow."""


def find_data(mapped: mmap.mmap | bytes) -> int:
    """Where the compressed values begin, in bytes.

    ``DATA`` also stands in the names of folders, so it counts only if what follows can be decompressed.

    Raises
    ------
    HeaderError
        If the file is of a kind that is not read, or has no such values where they should be.
    CutHeaderError
        If it ends before them.
    """
    kind = bytes(mapped[: len(COMPRESSED)])
    if kind in UNCOMPRESSED:
        raise HeaderError(
            f"is of the old kind {kind.decode()}, which is not read: there was no such file to test the reader with; "
            "save it again with a newer STMAFM program, which compresses"
        )
    if kind != COMPRESSED:
        if COMPRESSED.startswith(kind):
            raise CutHeaderError(f"the header is not yet whole after {len(mapped)} bytes")
        raise HeaderError("does not begin as Createc scans do")
    place = mapped.find(MARKER, 0, _MAX_HEADER_BYTES)
    while place >= 0:
        start = place + len(MARKER)
        if _is_compressed(bytes(mapped[start : start + 512]).rstrip(b"\0")):  # zeros: not written yet
            return start
        place = mapped.find(MARKER, start, _MAX_HEADER_BYTES)
    if len(mapped) < _MAX_HEADER_BYTES:
        raise CutHeaderError(f"no compressed values behind DATA in the {len(mapped)} bytes of the file")
    raise HeaderError(f"no compressed values behind DATA in the first {_MAX_HEADER_BYTES} bytes")


def _is_compressed(head: bytes) -> bool:
    if len(head) < 2:
        return False
    try:
        zlib.decompressobj().decompress(head, 64)
    except zlib.error:
        return False
    return True


def parse_fields(head: bytes) -> dict[str, str]:
    """Every entry by its first name; of several with one name the first counts.

    Examples
    --------
    >>> parse_fields(b"[Paramco32]\\r\\nNum.X / Num.X=512\\r\\n  /  = \\r\\nLength x[A]=215.2566\\r\\n\\0\\0")
    {'Num.X': '512', 'Length x[A]': '215.2566'}
    """
    text = head.split(_THUMBNAIL)[0].split(b"\0")[0].decode("latin-1")
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        name = key.split(" / ")[0].strip()
        if equals and name:
            fields.setdefault(name, value.strip())
    return fields


def number_in(fields: Mapping[str, str], *names: str) -> float | None:
    """The first of these entries that is a finite number."""
    for name in names:
        try:
            value = float(fields[name])
        except (KeyError, ValueError):
            continue
        if math.isfinite(value):
            return value
    return None
