"""Decodes pictures and arrays into numbers, never taking more memory than the size of the file warrants."""

from __future__ import annotations

import ast
import math
import re
import struct
import tokenize
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from spm_live_drivers.contract import MAX_FRAME_PIXELS

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\x93NUMPY": "NPY",
}
_BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}
_MAX_RATIO = 1100
"""Deflate gives at most 1032 bytes for one; the other compressions of pictures give less."""
_MAX_PITCH_NM = 1000.0
_NM_PER_UNIT = {"nm": 1.0, "µm": 1e3, "um": 1e3, "micron": 1e3, "microns": 1e3, "pm": 1e-3, "å": 0.1, "angstrom": 0.1}
_NM_PER_UNIT |= {"\\u00b5m": 1e3, "mm": 1e6, "cm": 1e7, "inch": 2.54e7, "m": 1e9}
_TAIL = 64 * 1024
_TIFF_PLAIN = {1, 8, 32946}

# What Pillow, tifffile and numpy are known to raise on damaged files, besides their own subclasses of these.
_DECODE_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    OSError,
    MemoryError,
    SyntaxError,
    AssertionError,
    BufferError,
    Warning,
    struct.error,
    zlib.error,
    tokenize.TokenError,
    Image.DecompressionBombError,
)


class PictureError(Exception):
    """The picture cannot be decoded; the text says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """What a picture holds.

    Parameters
    ----------
    values : (rows, columns) or (rows, columns, 3) array
        One number for each pixel as stored, or uint8 red, green, blue.
    full_scale : float or None
        The value of white; None where the numbers mean what they say (floats, and any ``.npy``).
    opaque : (rows, columns) bool array or None
        False where the picture is fully transparent.
    pitch_nm : (float, float) or None
        Pixel pitch along x and y that the file itself states, in nm.
    whole_rows : int or None
        Rows that are there, if the file is cut.
    """

    values: NDArray[np.generic]
    full_scale: float | None = None
    opaque: NDArray[np.bool_] | None = None
    pitch_nm: tuple[float, float] | None = None
    whole_rows: int | None = None


def picture_kind(head: bytes) -> str | None:
    """Name of the format by its first bytes: PNG, JPEG, TIFF, BMP, NPY; None for anything else."""
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[:2] == b"BM" and len(head) >= 18 and head[6:10] == b"\0\0\0\0":
        return "BMP" if int.from_bytes(head[14:18], "little") in _BMP_HEADERS else None
    return None


def decode(file: BinaryIO, kind: str, size: int) -> Pixels:
    """Decode a picture.

    Parameters
    ----------
    file : binary file
        At its beginning.
    kind : str
        From :func:`picture_kind`.
    size : int
        Of the file, in bytes.

    Raises
    ------
    PictureError
        If it is damaged, cut, too large, or of a kind that cannot be a scan.
    """
    with _as_picture_error(kind):
        if kind == "NPY":
            return _decode_npy(file, size)
        if kind == "TIFF":
            return _decode_tiff(file, size)
        return _decode_pillow(file, kind, size)


def missing_bytes(file: BinaryIO, kind: str, size: int) -> str:
    """Say what is not there yet; empty where the file is whole.

    Raises
    ------
    PictureError
        If it can never be read.
    """
    if kind == "NPY":
        return _missing_npy(file, size)
    if kind == "BMP":
        promised = int.from_bytes(file.read(6)[2:6], "little")
        return f"{size} of {promised} bytes are written" if size < promised else ""
    if kind == "TIFF":
        return _missing_tiff(file, size)
    file.seek(max(0, size - _TAIL))
    mark = b"IEND\xaeB`\x82" if kind == "PNG" else b"\xff\xd9"
    return "" if mark in file.read() else "the mark that ends the picture is not there yet"


@contextmanager
def _as_picture_error(kind: str) -> Iterator[None]:
    try:
        yield
    except PictureError:
        raise
    except _DECODE_ERRORS as error:
        raise PictureError(f"cannot be decoded as {kind}: {error or type(error).__name__}") from error


def _check_size(rows: int, columns: int, bytes_needed: int, size: int, ratio: int) -> None:
    if rows < 1 or columns < 1:
        raise PictureError(f"a picture of {rows} x {columns} px")
    if rows * columns > MAX_FRAME_PIXELS:
        raise PictureError(f"{rows} x {columns} px are more than the {MAX_FRAME_PIXELS} px that are accepted")
    if bytes_needed > size * ratio:
        raise PictureError(f"{rows} x {columns} px cannot be in a file of {size} bytes")


def _decode_pillow(file: BinaryIO, kind: str, size: int) -> Pixels:
    with Image.open(file, formats=(kind,)) as image:
        bits, ratio = {"1": 1, "L": 8, "P": 1}.get(image.mode, 16), _MAX_RATIO
        if kind == "BMP":
            bits, ratio = _bmp_bits(file)
        _check_size(image.height, image.width, image.height * (image.width * bits // 8), size, ratio)
        image.load()
        if image.mode in {"I;16", "I;16L", "I;16B", "I;16N", "I"}:
            return Pixels(np.asarray(image), full_scale=65535.0)
        if image.mode == "F":
            return Pixels(np.asarray(image))
        if image.mode in {"1", "L"} and "transparency" not in image.info:
            return Pixels(np.asarray(image.convert("L")), full_scale=255.0)
        see_through = "transparency" in image.info or image.mode in {"LA", "PA", "RGBA", "La", "RGBa"}
        pixels = np.asarray(image.convert("RGBA" if see_through else "RGB"))
    return _colours(pixels)


def _bmp_bits(file: BinaryIO) -> tuple[int, int]:
    """Bits of a pixel, and how far the pixels may be packed; the file is left where it stood."""
    place = file.tell()
    file.seek(14)
    header = file.read(20)
    file.seek(place)
    if header[0] == 12:
        return int.from_bytes(header[10:12], "little"), 1
    run_length = int.from_bytes(header[16:20], "little") in {1, 2}
    return int.from_bytes(header[14:16], "little"), 128 if run_length else 1  # 2 bytes for a run of 255


def _colours(pixels: NDArray[np.uint8]) -> Pixels:
    opaque = pixels[:, :, 3] > 0 if pixels.shape[2] == 4 else None
    return Pixels(np.ascontiguousarray(pixels[:, :, :3]), full_scale=255.0, opaque=opaque)


def _decode_tiff(file: BinaryIO, size: int) -> Pixels:
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        rows, columns = int(page.imagelength), int(page.imagewidth)
        plain = page.compression in _TIFF_PLAIN
        _check_size(rows, columns, page.nbytes, size, _MAX_RATIO if page.compression != 1 else 1)
        pitch = _tiff_pitch_nm(tiff)
        data = page.asarray() if plain else None
    if data is None:  # LZW, PackBits, JPEG: tifffile would need another package
        file.seek(0)
        found = _decode_pillow(file, "TIFF", size)
        return Pixels(found.values, found.full_scale, found.opaque, pitch)
    if data.ndim == 2 and data.dtype.kind in "fui":
        white = None if data.dtype.kind == "f" or data.dtype.itemsize > 2 else float(np.iinfo(data.dtype).max)
        return Pixels(data, white, None, pitch)
    if data.ndim == 3 and data.shape[2] in {3, 4} and data.dtype in (np.uint8, np.uint16):
        found = _colours(data if data.dtype == np.uint8 else (data >> 8).astype(np.uint8))
        return Pixels(found.values, found.full_scale, found.opaque, pitch)
    raise PictureError(f"its first page holds {data.dtype} numbers of shape {data.shape}, which is no picture")


def _tiff_pitch_nm(tiff: tifffile.TiffFile) -> tuple[float, float] | None:
    """Pixel pitch by OME, ImageJ, or the resolution tags; None where there is none, or none that a scan can have.

    Programs that know nothing of the scale write 72 or 96 dots per inch: that is 0.3 mm a pixel, and is left out.
    """
    page = tiff.pages.first
    found: tuple[float, float] | None = None
    if tiff.is_ome:
        found = _ome_pitch_nm(tiff.ome_metadata or "")
    if found is None and "XResolution" in page.tags and "YResolution" in page.tags:
        per_unit = [_ratio(page.tags[tag].value) for tag in ("XResolution", "YResolution")]
        name = str((tiff.imagej_metadata or {}).get("unit", "")).lower() if tiff.is_imagej else ""
        if not name:
            unit = page.tags["ResolutionUnit"].value if "ResolutionUnit" in page.tags else 2
            name = {2: "inch", 3: "cm"}.get(int(unit), "")
        if name in _NM_PER_UNIT and min(per_unit) > 0:
            found = _NM_PER_UNIT[name] / per_unit[0], _NM_PER_UNIT[name] / per_unit[1]
    return found if found and all(0 < pitch <= _MAX_PITCH_NM for pitch in found) else None


def _ratio(value: tuple[int, int]) -> float:
    return value[0] / value[1] if value[1] else math.nan


def _ome_pitch_nm(xml: str) -> tuple[float, float] | None:
    """Physical pixel size; micrometres where the unit is left out (OME schema 2016-06)."""
    found: list[float] = []
    for axis in "XY":
        number = re.search(rf'\bPhysicalSize{axis}="([^"]+)"', xml)
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]+)"', xml)
        if number is None:
            return None
        found.append(float(number[1]) * _NM_PER_UNIT.get(unit[1].lower() if unit else "µm", math.nan))
    return found[0], found[1]


def _missing_tiff(file: BinaryIO, size: int) -> str:
    try:
        with tifffile.TiffFile(file) as tiff:
            page = tiff.pages.first
            end = max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True)), default=0)
    except _DECODE_ERRORS as error:
        return f"its directory is not there yet ({error or type(error).__name__})"
    return f"{size} of {end} bytes are written" if size < end else ""


@dataclass(frozen=True, slots=True)
class _NpyHeader:
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    fortran: bool
    start: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)


def _npy_header(file: BinaryIO) -> _NpyHeader:
    """Read the header by numpy's format description (NEP 1): no code of numpy's that could unpickle is called."""
    head = file.read(12)
    if len(head) < 10:
        raise EOFError("the header is cut")
    wide = head[6] > 1
    length = int.from_bytes(head[8:12] if wide else head[8:10], "little")
    start = 12 if wide else 10
    if head[6] not in {1, 2, 3} or length > _TAIL:
        raise PictureError(f"a .npy header of version {head[6]} and {length} bytes")
    file.seek(start)
    text = file.read(length)
    if len(text) < length:
        raise EOFError("the header is cut")
    header = ast.literal_eval(text.decode("latin-1").strip())
    shape = header["shape"]
    if not isinstance(header["descr"], str) or not all(type(edge) is int and edge >= 0 for edge in shape):
        raise PictureError(f"a .npy array of type {header['descr']!r} and shape {shape!r}")
    dtype = np.dtype(header["descr"])
    colour = len(shape) == 3 and shape[2] in {3, 4} and dtype == np.uint8
    if dtype.kind not in "fui" or not (len(shape) == 2 or colour):
        raise PictureError(f"a .npy array of {dtype} and shape {shape}: not rows x columns of real numbers")
    return _NpyHeader(tuple(shape), dtype, bool(header["fortran_order"]), start + length)


def _decode_npy(file: BinaryIO, size: int) -> Pixels:
    header = _npy_header(file)
    rows, columns = header.shape[:2]
    _check_size(rows, columns, 0, size, 1)
    there = min(header.count, max(0, size - header.start) // header.dtype.itemsize)
    if there < header.count and (header.fortran or len(header.shape) == 3 or not there):
        raise PictureError(f"the file ends after {there} of {header.count} numbers")
    if header.count * 4 > max(64 * 1024 * 1024, 4 * size):
        raise PictureError(f"{rows} x {columns} px cannot be in a file of {size} bytes")
    file.seek(header.start)
    flat = np.frombuffer(file.read(there * header.dtype.itemsize), dtype=header.dtype)
    if there < header.count:
        whole = there // columns
        values = np.full((rows, columns), np.nan, dtype=np.float32)
        values[:whole] = flat[: whole * columns].reshape(whole, columns)
        return Pixels(values, whole_rows=whole)
    values = flat.reshape(header.shape, order="F" if header.fortran else "C")
    return Pixels(values) if values.ndim == 2 else _colours(np.ascontiguousarray(values))


def _missing_npy(file: BinaryIO, size: int) -> str:
    with _as_picture_error("NPY"):
        try:
            header = _npy_header(file)
        except EOFError:
            return "the header is not yet whole"
    promised = header.start + header.count * header.dtype.itemsize
    return f"{size} of {promised} bytes are written" if size < promised else ""
