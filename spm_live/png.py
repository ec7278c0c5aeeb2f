"""Writes PNG files of scans: 8 or 16 bit grey, or 8 bit through a colour table.

Level 0 is kept for what was not scanned and is marked transparent, so that it is never mistaken for a deep place.
Written here rather than by OpenCV, which writes neither palettes nor text and takes three times as long (docs/adr).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.errors import SetupError

Levels = NDArray[np.uint8] | NDArray[np.uint16]
"""(rows, columns) of a picture, 0 where not scanned."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
UNSCANNED = 0
"""The level of pixels that were not scanned."""
COLOURS = ("grey", "afmhot", "hot", "viridis", "inferno", "magma", "plasma", "cividis")
"""Names of the colour tables."""
UNSCANNED_RGB = (96, 125, 160)
"""What a viewer that ignores transparency shows for unscanned pixels under a colour table: a dull blue."""


def grey_levels(data: NDArray[np.float32], low: float, high: float, bits: int = 8) -> Levels:
    """Map values to levels: ``low`` to 1, ``high`` to the highest level, unscanned to 0.

    Parameters
    ----------
    data : (rows, columns) float32 array
        NaN where not scanned.
    low, high : float
        What lies beyond is clipped; where they are equal every scanned pixel gets the middle level.
    bits : int
        8 or 16.
    """
    top = (1 << bits) - 1
    if high > low:
        levels = np.clip(data, np.float32(low), np.float32(high))  # first: nothing can overflow from here on
        levels -= np.float32(low)
        levels /= np.float32(high - low)  # not times its inverse: that of a small current in A is no float32
        levels *= top - 1
        levels += 1.5  # rounds, since the conversion below cuts
    else:
        levels = np.where(np.isfinite(data), np.float32((top + 1) // 2), np.float32(np.nan))
    missing = np.isnan(levels)
    if missing.any():
        levels[missing] = UNSCANNED
    return levels.astype(np.uint8) if bits == 8 else levels.astype(np.uint16)


def encode_png(
    levels: Levels,
    *,
    colour: str = "grey",
    pixel_m: tuple[float, float] | None = None,
    text: Mapping[str, str] | None = None,
) -> bytes:
    """Encode levels as a PNG file.

    Parameters
    ----------
    levels : (rows, columns) uint8 or uint16 array
        0 where not scanned.
    colour : str
        One of :data:`COLOURS`; anything but grey needs 8 bits.
    pixel_m : (float, float) or None
        Width and height of a pixel on the surface, in m, for the sCAL chunk.
    text : mapping of str to str
        For tEXt chunks: Latin-1, what does not fit is replaced.

    Raises
    ------
    SetupError
        If the colour table is unknown, or asked for with 16 bits.

    Notes
    -----
    W3C, Portable Network Graphics (Third Edition), 2025; sCAL after its extensions, version 1.6.1. Every row is
    filtered with "Sub" (differences along the fast axis, where scans are smooth) and deflated by Huffman coding alone:
    on scans that takes half the time of full deflate at its quickest, for files of the same size within a tenth.
    """
    rows, columns = levels.shape
    deep = levels.dtype == np.uint16
    if colour != "grey" and deep:
        raise SetupError(f"colour table {colour!r} needs 8 bits; a picture of 16 bits is grey")
    kind = 0 if colour == "grey" else 3
    parts = [SIGNATURE, _chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 16 if deep else 8, kind, 0, 0, 0))]
    if kind == 3:
        parts += [_chunk(b"PLTE", palette(colour)), _chunk(b"tRNS", b"\0")]
    elif not levels.all():
        parts.append(_chunk(b"tRNS", b"\0\0"))
    if pixel_m is not None:
        parts.append(_chunk(b"sCAL", b"\1" + f"{pixel_m[0]:.9g}\0{pixel_m[1]:.9g}".encode("ascii")))
    for key, value in (text or {}).items():
        parts.append(_chunk(b"tEXt", key.encode("latin-1", "replace") + b"\0" + _latin(value)))
    parts += [_chunk(b"IDAT", _deflated(levels)), _chunk(b"IEND", b"")]
    return b"".join(parts)


def encode_jpg(levels: Levels, colour: str = "grey", quality: int = 92) -> bytes:
    """Encode levels as a JPEG file, for slides and mails; unscanned pixels are black in grey, else dull blue.

    Parameters
    ----------
    levels : (rows, columns) uint8 array
        0 where not scanned.
    colour : str
        One of :data:`COLOURS`.
    quality : int
        1 to 100, as OpenCV has it.
    """
    import cv2

    picture = levels
    if colour != "grey":
        picture = np.frombuffer(palette(colour), dtype=np.uint8).reshape(256, 3)[levels][:, :, ::-1]
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def _deflated(levels: Levels) -> bytes:
    rows = levels.shape[0]
    step = levels.dtype.itemsize
    plain = levels.astype(">u2").view(np.uint8).reshape(rows, -1) if step == 2 else levels
    filtered = np.empty((rows, plain.shape[1] + 1), dtype=np.uint8)
    filtered[:, 0] = 1
    filtered[:, 1 : 1 + step] = plain[:, :step]
    np.subtract(plain[:, step:], plain[:, :-step], out=filtered[:, 1 + step :])
    packer = zlib.compressobj(1, strategy=zlib.Z_HUFFMAN_ONLY)
    return packer.compress(filtered.data) + packer.flush()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _latin(value: str) -> bytes:
    return value.replace("\0", " ").encode("latin-1", "replace")


@cache
def palette(colour: str) -> bytes:
    """256 colours, three bytes each: the first for unscanned pixels, then the table from its low end to its high end.

    Raises
    ------
    SetupError
        If there is no table of that name.
    """
    if colour not in COLOURS:
        raise SetupError(f"no colour table is called {colour!r}; there are {', '.join(COLOURS)}")
    ramp = np.linspace(0, 1, 255)
    rgb: NDArray[Any]
    if colour == "grey":
        rgb = np.repeat(ramp[:, None], 3, axis=1) * 255
    elif colour == "afmhot":
        rgb = np.clip(np.stack([2 * ramp, 2 * ramp - 0.5, 2 * ramp - 1], axis=1), 0, 1) * 255
    else:
        import cv2  # only here: a worker that writes grey pictures is quicker and smaller without it

        table = cv2.applyColorMap(np.arange(256, dtype=np.uint8), getattr(cv2, f"COLORMAP_{colour.upper()}"))
        rgb = table.reshape(256, 3)[np.rint(ramp * 255).astype(int), ::-1]
    return bytes(UNSCANNED_RGB) + np.rint(rgb).astype(np.uint8).tobytes()
