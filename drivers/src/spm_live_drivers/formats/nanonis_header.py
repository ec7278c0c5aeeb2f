"""The text header of a Nanonis ``.sxm`` file: where the numbers stand, and what the frame's geometry is.

The layout is that of the "Nanonis File Format" note (SPECS Zurich; version 1 is quoted in the GXSM plug-in request 3,
2006): a tag between colons on a line of its own, then its value, on one or more lines; ``:SCANIT_END:``, blank lines,
the bytes 0x1A 0x04, then the planes.
"""

from __future__ import annotations

import math
import mmap
import re
from dataclasses import dataclass, field
from datetime import datetime

from spm_live_drivers.contract import MAX_FRAME_PIXELS, ChannelInfo, ScanDirection, Trace

MAGIC = b":NANONIS_VERSION:"
MAX_HEADER_BYTES = 1024 * 1024
"""No header is longer; real ones have 3 to 15 kB."""

_END_TAG = b"\n:SCANIT_END:"
_DATA_MARK = b"\x1a\x04"
_MARK_WITHIN = 16
_TAG_LINE = re.compile(r"^:(.*):[ \t]*\r?$", re.MULTILINE)
_RANGE_M = (1e-12, 1e-2)
_TRACES = {
    "both": (Trace.FORWARD, Trace.BACKWARD),
    "forward": (Trace.FORWARD,),
    "fwd": (Trace.FORWARD,),
    "backward": (Trace.BACKWARD,),
    "bwd": (Trace.BACKWARD,),
}
_FLOAT_BYTES = 4


class HeaderError(Exception):
    """The header can never be used; the text says why."""


@dataclass(frozen=True, slots=True)
class SxmHeader:
    """What a header says, in SI units and in the order of the file.

    Parameters
    ----------
    fields : dict of str to str
        Every tag with its value, stripped.
    columns, stored_rows : int
        Shape of each stored plane, in pixels.
    rows : int
        Rows of the full frame: more than are stored where a writer left out the rows that were not scanned.
    range_m, offset_m : (float, float)
        Width and height of the full frame, and its centre, in m.
    angle_deg : float
        Clockwise.
    direction : ScanDirection
        Of the slow axis.
    dtype : str
        numpy's name of the stored float, ``">f4"`` or ``"<f4"``.
    channels : tuple of ChannelInfo
        In the order of the planes: each channel's traces, forward first.
    data_start : int
        Where the first plane begins, in bytes.
    warnings : tuple of str
        What had to be assumed.
    """

    fields: dict[str, str]
    columns: int
    stored_rows: int
    rows: int
    range_m: tuple[float, float]
    offset_m: tuple[float, float]
    angle_deg: float
    direction: ScanDirection
    dtype: str
    channels: tuple[ChannelInfo, ...]
    data_start: int
    warnings: tuple[str, ...] = field(default=())

    @property
    def plane_bytes(self) -> int:
        """Size of one plane, in bytes."""
        return self.columns * self.stored_rows * _FLOAT_BYTES

    @property
    def row_bytes(self) -> int:
        """Size of one row, in bytes."""
        return self.columns * _FLOAT_BYTES

    @property
    def planes(self) -> int:
        """Number of planes that the header promises."""
        return sum(len(channel.traces) for channel in self.channels)

    @property
    def file_bytes(self) -> int:
        """Size of the file that the header promises."""
        return self.data_start + self.planes * self.plane_bytes

    def plane_start(self, channel: ChannelInfo, trace: Trace) -> int:
        """Where a plane begins, in bytes from the start of the file."""
        before = 0
        for other in self.channels:
            if other is channel:
                break
            before += len(other.traces)
        return self.data_start + (before + channel.traces.index(trace)) * self.plane_bytes


def header_end(buffer: mmap.mmap | bytes) -> tuple[int, int] | None:
    """Find the end of the header text and the start of the data.

    Returns
    -------
    (int, int) or None
        Both in bytes; None while the header may still grow.

    Raises
    ------
    HeaderError
        If the end can never come.
    """
    if buffer[: len(MAGIC)] != MAGIC[: len(buffer)]:
        raise HeaderError(f"does not begin with {MAGIC.decode()}")
    end = buffer.find(_END_TAG, 0, MAX_HEADER_BYTES)
    if end < 0:
        if len(buffer) >= MAX_HEADER_BYTES:
            raise HeaderError(f"no :SCANIT_END: in the first {MAX_HEADER_BYTES} bytes")
        return None
    after = end + len(_END_TAG)
    gap = bytes(buffer[after : after + _MARK_WITHIN])
    mark = gap.find(_DATA_MARK)
    if mark >= 0 and not gap[:mark].strip():
        return end, after + mark + len(_DATA_MARK)
    if gap.strip(b"\r\n\t \x1a\x00") or len(gap) == _MARK_WITHIN:
        raise HeaderError("the bytes 1A 04 do not follow :SCANIT_END:")
    return None


def parse_header(buffer: mmap.mmap | bytes) -> SxmHeader:
    """Read the header at the beginning of a file.

    Raises
    ------
    HeaderError
        If it is cut, or says what cannot be.
    """
    ends = header_end(buffer)
    if ends is None:
        raise HeaderError(f"the file ends after {len(buffer)} bytes, inside its header")
    text_end, data_start = ends
    fields = _fields(bytes(buffer[:text_end]))
    warnings: list[str] = []
    columns, stored_rows = _pixels(fields)
    range_m = _pair(fields, "SCAN_RANGE")
    if not all(_RANGE_M[0] <= size <= _RANGE_M[1] for size in range_m):
        raise HeaderError(f"SCAN_RANGE of {range_m[0]:g} x {range_m[1]:g} m is no scan range")
    rows = _planned_rows(fields, columns, stored_rows, range_m, warnings)
    if columns * rows > MAX_FRAME_PIXELS:
        raise HeaderError(
            f"a frame of {rows} x {columns} px is larger than the {MAX_FRAME_PIXELS} px that are accepted"
        )
    warnings += _cross_check(fields, columns, rows, range_m)
    return SxmHeader(
        fields=fields,
        columns=columns,
        stored_rows=stored_rows,
        rows=rows,
        range_m=range_m,
        offset_m=_offset(fields, warnings),
        angle_deg=_angle(fields, warnings),
        direction=_direction(fields),
        dtype=_dtype(fields),
        channels=_channels(fields),
        data_start=data_start,
        warnings=tuple(warnings),
    )


def recorded_at(fields: dict[str, str]) -> datetime | None:
    """Start of the scan, as the clock on the instrument's wall showed it, without a zone; None if not said.

    Notes
    -----
    ``REC_TIME`` is the start: in files that are named by the clock when they are saved (``%H-%M-%S``), the name minus
    ``REC_TIME`` is ``ACQ_TIME`` to the second (15:12:03 + 59 s in a file 15-13-03, 21:16:32 + 105 s in 21-18-17,
    00:09:40 + 2393 s in 00-49-32).
    """
    try:
        day, month, year = map(int, fields.get("REC_DATE", "").split("."))
        hour, minute, second = map(int, fields.get("REC_TIME", "").split(":"))
        return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - the file names no zone
    except ValueError:
        return None


def number_in(fields: dict[str, str], tag: str) -> float | None:
    """A tag's value as a finite float; None where it is missing or no number."""
    try:
        return _finite(fields.get(tag, ""))
    except HeaderError:
        return None


def table_in(fields: dict[str, str], tag: str) -> list[dict[str, str]]:
    """A tag's value as rows of a table: tabs between columns, names in the first line, blank lines ignored."""
    lines = [line.strip("\t\r ") for line in fields.get(tag, "").split("\n")]
    cells = [line.split("\t") if "\t" in line else line.split() for line in lines if line]
    if not cells:
        return []
    names = [name.strip() for name in cells[0]]
    return [dict(zip(names, (cell.strip() for cell in row), strict=False)) for row in cells[1:]]


def _fields(raw: bytes) -> dict[str, str]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace")  # the instrument PC runs Windows
    parts = _TAG_LINE.split(text)
    fields: dict[str, str] = {}
    for tag, value in zip(parts[1::2], parts[2::2], strict=True):
        fields.setdefault(tag, value.strip("\r\n "))  # the first wins: a comment cannot overwrite it
    return fields


def _finite(token: str) -> float:
    try:
        value = float(token) if "_" not in token else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise HeaderError(f"{token!r} is not a number")
    return value


def _pair(fields: dict[str, str], tag: str) -> tuple[float, float]:
    tokens = fields.get(tag, "").split()
    if len(tokens) != 2:
        raise HeaderError(f"{tag} is {' '.join(tokens)!r}, not two numbers")
    try:
        return _finite(tokens[0]), _finite(tokens[1])
    except HeaderError as error:
        raise HeaderError(f"{tag}: {error}") from error


def _pixels(fields: dict[str, str]) -> tuple[int, int]:
    tokens = fields.get("SCAN_PIXELS", "").split()
    if len(tokens) != 2 or not all(token.isascii() and token.isdigit() and len(token) < 10 for token in tokens):
        raise HeaderError(f"SCAN_PIXELS is {' '.join(tokens)!r}, not two whole numbers")
    columns, rows = int(tokens[0]), int(tokens[1])
    if columns < 1 or rows < 1:
        raise HeaderError(f"SCAN_PIXELS is {columns} x {rows}")
    return columns, rows


def _planned_rows(
    fields: dict[str, str], columns: int, rows: int, range_m: tuple[float, float], warnings: list[str]
) -> int:
    """How many rows SCAN_RANGE spans: usually the stored ones, more where a writer left out those not scanned.

    Nanonis itself stores every row. Converters store the scanned ones alone and keep the full SCAN_RANGE, so that
    range over rows is many times too coarse. ``square`` is the number of rows of square pixels that fill the range.
    Witnesses, the first that speaks decides: ``Scan>lines``; the number of lines that ``ACQ_TIME`` holds by
    ``SCAN_TIME`` (it agrees with the rows within 1 % in files of Nanonis); and, where the file says neither, pixels
    four times higher than wide are taken as a sign of rows left out.
    """
    square = columns * range_m[1] / range_m[0]
    if rows >= 0.98 * square - 1:
        return rows
    planned = round(square)
    told = f"{rows} rows are stored of the {planned} that SCAN_RANGE spans with square pixels"
    lines = number_in(fields, "Scan>lines")
    if lines == rows:
        return rows
    if lines is not None and abs(lines - square) <= 1:
        warnings.append(f"{told}, as Scan>lines says: the rest was not scanned")
        return planned
    timed = _timed_lines(fields)
    if timed is not None and abs(timed - rows) <= 0.02 * rows + 1:
        return rows
    if timed is not None and abs(timed - square) <= 0.02 * square + 1:
        warnings.append(f"{told}, as ACQ_TIME over SCAN_TIME says: the rest was not scanned")
        return planned
    if square >= 4 * rows:
        warnings.append(f"{told}: taken as a scan that was stopped, since nothing else in the header explains it")
        return planned
    warnings.append(f"pixels are {square / rows:.2f} times as high as wide by SCAN_RANGE, and nothing confirms it")
    return rows


def _timed_lines(fields: dict[str, str]) -> float | None:
    try:
        line_s = sum(_pair(fields, "SCAN_TIME"))
    except HeaderError:
        return None
    acquired_s = number_in(fields, "ACQ_TIME")
    return acquired_s / line_s if acquired_s and line_s > 0 else None


def _cross_check(fields: dict[str, str], columns: int, rows: int, range_m: tuple[float, float]) -> list[str]:
    """Warn where no other entry agrees with SCAN_RANGE.

    Its width is also the scan field's, and speed times time per line; its height is the scan field's, and that of
    square pixels. One of them may differ in a sound file: the field is that of the moment when the file was saved.
    """
    field_m = [number_in({"x": text}, "x") for text in fields.get("Scan>Scanfield", "").split(";")[2:4]]
    speed = number_in(fields, "Scan>speed forw. (m/s)")
    line_s = number_in({"x": (fields.get("SCAN_TIME", "").split() or [""])[0]}, "x")
    widths = [*field_m[:1], speed * line_s if speed and line_s else None]
    heights = [*field_m[1:], range_m[0] * rows / columns] if field_m[1:] else []
    warnings: list[str] = []
    for side, told, candidates in (("wide", range_m[0], widths), ("high", range_m[1], heights)):
        witnesses = [witness for witness in candidates if witness]
        if witnesses and all(abs(witness - told) > 0.02 * told for witness in witnesses):
            seen = " or ".join(f"{witness * 1e9:.4g}" for witness in witnesses)
            warnings.append(f"SCAN_RANGE says {told * 1e9:.4g} nm {side}, the rest of the header {seen} nm")
    return warnings


def _offset(fields: dict[str, str], warnings: list[str]) -> tuple[float, float]:
    if "SCAN_OFFSET" not in fields:
        warnings.append("no SCAN_OFFSET: the frame is put at the origin")
        return 0.0, 0.0
    offset = _pair(fields, "SCAN_OFFSET")
    if max(map(abs, offset)) > 1:
        raise HeaderError(f"SCAN_OFFSET of {offset[0]:g}, {offset[1]:g} m is no place in a scanner")
    return offset


def _angle(fields: dict[str, str], warnings: list[str]) -> float:
    if "SCAN_ANGLE" not in fields:
        warnings.append("no SCAN_ANGLE: taken as 0")
        return 0.0
    angle = number_in(fields, "SCAN_ANGLE")
    if angle is None or abs(angle) > 360_000:
        raise HeaderError(f"SCAN_ANGLE is {fields['SCAN_ANGLE']!r}")
    return angle


def _direction(fields: dict[str, str]) -> ScanDirection:
    try:
        return ScanDirection(fields.get("SCAN_DIR", "").strip().lower())
    except ValueError as error:
        raise HeaderError(f"SCAN_DIR is {fields.get('SCAN_DIR', '')!r}, neither up nor down") from error


def _dtype(fields: dict[str, str]) -> str:
    kind = fields.get("SCANIT_TYPE", "").split()
    orders = {("FLOAT", "MSBFIRST"): ">f4", ("FLOAT", "LSBFIRST"): "<f4"}
    try:
        return orders[kind[0], kind[1]]
    except (IndexError, KeyError) as error:
        raise HeaderError(f"SCANIT_TYPE is {' '.join(kind)!r}, not FLOAT MSBFIRST or FLOAT LSBFIRST") from error


def _channels(fields: dict[str, str]) -> tuple[ChannelInfo, ...]:
    found: list[ChannelInfo] = []
    for row in table_in(fields, "DATA_INFO"):
        direction = row.get("Direction", "").lower()
        if not row.get("Name") or direction not in _TRACES:
            raise HeaderError(f"DATA_INFO lists a channel {row.get('Name', '')!r} with the direction {direction!r}")
        found.append(ChannelInfo(row["Name"], row.get("Unit", "") or "1", _TRACES[direction]))
    if not found:
        raise HeaderError("DATA_INFO lists no channel")
    return tuple(found)
