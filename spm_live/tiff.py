"""Writes float TIFF files in ImageJ's dialect.

Written here rather than by ``tifffile``, which takes seven times as long over a small scan (docs/adr) and reads them
back in the tests.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_SHORT, _LONG, _RATIONAL, _ASCII, _BYTE = 3, 4, 5, 2, 1
_SIZES = {_SHORT: 2, _LONG: 4, _RATIONAL: 8, _ASCII: 1, _BYTE: 1}
_LARGEST = 2**32 - 1
_LARGEST_SIGNED = 2**31 - 1  # older ImageJ reads the parts of a fraction with their sign


def encode_tiff(
    data: NDArray[np.float32],
    size_nm: tuple[float, float],
    *,
    display: tuple[float, float] | None = None,
    info: str = "",
) -> bytes:
    """Encode values as a little-endian TIFF with one strip of 32-bit floats.

    Parameters
    ----------
    data : (rows, columns) float32 array
        Written bit for bit, NaN too.
    size_nm : (float, float)
        Width and height of the whole picture; the resolution is written in pixels per nm.
    display : (float, float) or None
        Values that ImageJ shows as black and white.
    info : str
        Text behind ImageJ's "Show Info".

    Raises
    ------
    ValueError
        If the file would pass the 4 GiB that TIFF can address.

    Notes
    -----
    Adobe, TIFF Revision 6.0 (1992). ImageJ's additions: ``unit``, ``min`` and ``max`` as lines of ImageDescription;
    text in the private tags 50838 (byte counts) and 50839 (a header of "IJIJ", type and number, then UTF-16 in the byte
    order of the file), as its class ``ij.io.TiffDecoder`` reads them.
    """
    rows, columns = data.shape
    if data.nbytes + 4 * len(info) > _LARGEST - 65536:
        raise ValueError(f"{rows} x {columns} px do not fit into a TIFF file")
    lines = ["ImageJ=1.54f", "unit=nm"]
    if display is not None:
        lines += [f"min={display[0]:.9g}", f"max={display[1]:.9g}"]
    tags: list[tuple[int, int, bytes]] = [
        (256, _LONG, struct.pack("<I", columns)),
        (257, _LONG, struct.pack("<I", rows)),
        (258, _SHORT, struct.pack("<H", 32)),
        (259, _SHORT, struct.pack("<H", 1)),  # no compression
        (262, _SHORT, struct.pack("<H", 1)),  # the least value is black
        (270, _ASCII, ("\n".join(lines) + "\n\0").encode("ascii")),
        (273, _LONG, struct.pack("<I", 0)),  # where the strip begins, filled in below
        (277, _SHORT, struct.pack("<H", 1)),
        (278, _LONG, struct.pack("<I", rows)),
        (279, _LONG, struct.pack("<I", data.nbytes)),
        (282, _RATIONAL, _ratio(columns, size_nm[0])),
        (283, _RATIONAL, _ratio(rows, size_nm[1])),
        (296, _SHORT, struct.pack("<H", 1)),  # the unit of the resolution is none that TIFF knows
        (339, _SHORT, struct.pack("<H", 3)),  # floating point
    ]
    if info:
        text = info.encode("utf-16-le", "surrogatepass")
        head = struct.pack("<4s4sI", b"JIJI", b"ofni", 1)  # "IJIJ" and "info" as little-endian numbers
        tags.append((50838, _LONG, struct.pack("<II", len(head), len(text))))
        tags.append((50839, _BYTE, head + text))
    return _assembled(tags, data)


def _assembled(tags: list[tuple[int, int, bytes]], data: NDArray[np.float32]) -> bytes:
    """Header, directory, what does not fit into it, then the strip."""
    after = 8 + 2 + 12 * len(tags) + 4
    outside: list[bytes] = []
    entries: list[bytes] = []
    for tag, kind, value in tags:
        if len(value) > 4:
            entries.append(struct.pack("<HHII", tag, kind, len(value) // _SIZES[kind], after))
            value += b"\0" * (-len(value) % 4)
            outside.append(value)
            after += len(value)
        else:
            entries.append(struct.pack("<HHI4s", tag, kind, len(value) // _SIZES[kind], value))
    strip = next(index for index, (tag, _, _) in enumerate(tags) if tag == 273)
    entries[strip] = struct.pack("<HHII", 273, _LONG, 1, after)
    head = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(tags))
    return b"".join([head, *entries, b"\0\0\0\0", *outside, np.ascontiguousarray(data, dtype="<f4").tobytes()])


def _ratio(pixels: int, size_nm: float) -> bytes:
    """Pixels per nm as a fraction of 32-bit numbers, as fine as these allow."""
    scale = _LARGEST_SIGNED / max(pixels, size_nm)
    return struct.pack("<II", max(1, round(pixels * scale)), max(1, round(size_nm * scale)))
