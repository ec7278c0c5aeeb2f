"""Nanonis scan files, ``.sxm``.

After the header (:mod:`spm_live_drivers.formats.nanonis_header`) come float32 planes of lines x pixels, for each
channel of DATA_INFO forward then backward (one of them where the channel has one direction). Lines are stored as they
were scanned: in an up scan the first one is the bottom of the picture, and backward lines run from right to left.
Nanonis writes a file at the end of a frame, on stop or on save, and NaN where it did not scan.
"""

from __future__ import annotations

import hashlib
import mmap
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import (
    ChannelInfo,
    FileState,
    FileStatus,
    Frame,
    FrameInfo,
    FrameRef,
    ReadOptions,
    ScanDirection,
    ScanGeometry,
    Trace,
)
from spm_live_drivers.errors import FrameError
from spm_live_drivers.formats.clock import UnknownZoneError, to_utc
from spm_live_drivers.formats.nanonis_channels import choose, named, scan_pass
from spm_live_drivers.formats.nanonis_header import (
    MAGIC,
    HeaderError,
    SxmHeader,
    header_end,
    number_in,
    parse_header,
    recorded_at,
    table_in,
)
from spm_live_drivers.formats.opening import file_ref, map_regular

_NM_PER_M = 1e9
_FREE_FILL_BYTES = 64 * 1024 * 1024
_FILL_FACTOR = 4
_QUIET_BIT = np.uint32(0x00400000)  # IEEE 754-2008, 6.2.1


class NanonisSxmReader:
    """Reads ``.sxm`` files of Nanonis controllers, and of converters that write the format."""

    name = "nanonis-sxm"
    title = "Nanonis scan (.sxm)"
    suffixes: tuple[str, ...] = (".sxm",)

    def accepts(self, path: Path, head: bytes) -> bool:
        """Whether the file begins with the tag of the format, or is still too short to tell."""
        if len(head) < len(MAGIC):
            return bool(head) and MAGIC.startswith(head) and path.suffix.lower() in self.suffixes
        return head.startswith(MAGIC)

    def wanted(self, path: Path, options: ReadOptions) -> bool:
        """Every file holds all channels of its scan."""
        return True

    def state(self, path: Path) -> FileState:
        """Compare the size with what the header promises, and look for a tail that was allocated but not written.

        Raises
        ------
        FrameError
            If the header can never be read.
        """
        with map_regular(path) as mapped:
            try:
                if header_end(mapped) is None:
                    return FileState(FileStatus.INCOMPLETE, f"the header is not yet whole after {len(mapped)} bytes")
                header = parse_header(mapped)
                end = _data_end(mapped, header)
            except HeaderError as error:
                raise FrameError(file_ref(path), "read", str(error)) from error
        if end < header.file_bytes:
            return FileState(FileStatus.INCOMPLETE, f"{end} of {header.file_bytes} bytes are written")
        return FileState(FileStatus.COMPLETE)

    def channels(self, path: Path) -> tuple[ChannelInfo, ...]:
        """List the channels in the order of the file.

        Raises
        ------
        FrameError
            If the file cannot be opened or its header is not sound.
        """
        with map_regular(path) as mapped:
            try:
                return parse_header(mapped).channels
            except HeaderError as error:
                raise FrameError(file_ref(path), "read", str(error)) from error

    def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Frame:
        """Read one channel; the other planes pass through the digest alone, or not at all (``options.digest``).

        Raises
        ------
        FrameError
            If the file cannot be opened, its header is not sound, or it holds no such channel or trace.
        """
        ref = file_ref(path)
        with map_regular(path) as mapped:
            try:
                header = _noting_excess(parse_header(mapped), len(mapped))
                end = _data_end(mapped, header)
            except HeaderError as error:
                raise FrameError(ref, "read", str(error)) from error
            channel, stored = _channel(mapped, header, end, options, ref)
            ref = replace(ref, channel=channel.name, trace=options.trace)
            _refuse_mostly_missing(ref, header, len(mapped))
            data = _picture(stored, header, options.trace)
            if options.digest:
                ref = replace(ref, sha256=hashlib.sha256(mapped).hexdigest())
        return Frame(_info(ref, header, channel, _rows_ended(stored), options), data)


def _data_end(mapped: mmap.mmap, header: SxmHeader) -> int:
    """Where the data really end, in bytes from the start of the file.

    A copy in progress may have its full length at once, with zeros where nothing has arrived. If the last plane is
    zero everywhere, the zeros count as missing from where they begin; unless they begin with a channel, after a plane
    that is whole: then it is a channel that measured exactly 0 (an oscillation controller that is off).

    Raises
    ------
    HeaderError
        If the size fits another number of pixels that the header also names.
    """
    promised = header.file_bytes
    if len(mapped) != promised:
        _refuse_other_shape(header, len(mapped))
    if len(mapped) < promised:
        return len(mapped)
    last_plane = promised - header.plane_bytes
    if mapped[promised - header.row_bytes : promised].strip(b"\0") or mapped[last_plane:promised].strip(b"\0"):
        return promised
    start = last_plane
    while start > header.data_start and not mapped[start - header.plane_bytes : start].strip(b"\0"):
        start -= header.plane_bytes
    if start == header.data_start:
        return start
    before = mapped[start - header.plane_bytes : start]
    written = len(before.rstrip(b"\0"))
    missing = len(before) - written
    # A float that was written can end in a few zero bytes; a row of them cannot.
    if missing < header.row_bytes and _starts_a_channel(header, start):
        return promised
    return start - missing


def _starts_a_channel(header: SxmHeader, start: int) -> bool:
    return any(header.plane_start(channel, channel.traces[0]) == start for channel in header.channels)


def _noting_excess(header: SxmHeader, size: int) -> SxmHeader:
    """Warn of more bytes than a row behind the data: SCAN_PIXELS or DATA_INFO may be wrong."""
    excess = size - header.file_bytes
    if excess < header.row_bytes:
        return header
    return replace(header, warnings=(*header.warnings, f"{excess} bytes follow the data that the header tells of"))


def _refuse_other_shape(header: SxmHeader, size: int) -> None:
    columns, rows = number_in(header.fields, "Scan>pixels/line"), number_in(header.fields, "Scan>lines")
    if columns is None or rows is None or (columns, rows) == (header.columns, header.stored_rows):
        return
    if size == header.data_start + header.planes * columns * rows * 4:
        raise HeaderError(
            f"SCAN_PIXELS says {header.columns} x {header.stored_rows}, but the {size} bytes of the file fit the "
            f"{columns:g} x {rows:g} of Scan>pixels/line and Scan>lines"
        )


def _refuse_mostly_missing(ref: FrameRef, header: SxmHeader, size: int) -> None:
    """Refuse a frame that would take much more memory than the file has bytes: its header is not to be believed."""
    wanted = header.rows * header.row_bytes
    if wanted > max(_FREE_FILL_BYTES, _FILL_FACTOR * size):
        raise FrameError(
            ref,
            "read",
            f"header says {header.rows} x {header.columns} px in {header.planes} planes, file has {size} bytes",
        )


def _stored(mapped: mmap.mmap, header: SxmHeader, end: int, channel: ChannelInfo, trace: Trace) -> NDArray[np.float32]:
    """The whole rows of a plane that are there, in the order and byte order of the file; a copy, not a view."""
    start = header.plane_start(channel, trace)
    rows = max(0, min(header.stored_rows, (end - start) // header.row_bytes))
    raw = mapped[start : start + rows * header.row_bytes]  # bytes: a view would keep the map from closing
    return np.frombuffer(raw, dtype=header.dtype).reshape(rows, header.columns)


def _picture(stored: NDArray[np.float32], header: SxmHeader, trace: Trace) -> NDArray[np.float32]:
    """Turn a plane the right way up; NaN in the rows that are missing."""
    there = len(stored)
    if there == header.rows:
        data = np.empty((header.rows, header.columns), dtype=np.float32)
    else:
        data = np.full((header.rows, header.columns), np.nan, dtype=np.float32)
    as_scanned = data[::-1] if header.direction is ScanDirection.UP else data
    if trace is Trace.BACKWARD:
        as_scanned = as_scanned[:, ::-1]
    as_scanned[:there] = stored
    _quieten(data)
    return data


def _quieten(data: NDArray[np.float32]) -> None:
    """Make NaN of what a damaged file can hold and arithmetic stumbles over: infinities and signalling NaN."""
    odd = ~np.isfinite(data)
    if odd.any():
        signalling = np.isnan(data) & (data.view(np.uint32) & _QUIET_BIT == 0)
        data[np.isinf(data) | signalling] = np.nan


def _rows_ended(stored: NDArray[np.float32]) -> int:
    """Number of rows up to the last that was scanned to its end, as its last pixel in time tells.

    Single values elsewhere that are not numbers do not matter.
    """
    ended = np.flatnonzero(np.isfinite(stored[:, -1]))
    return int(ended[-1]) + 1 if ended.size else 0


def _channel(
    mapped: mmap.mmap, header: SxmHeader, end: int, options: ReadOptions, ref: FrameRef
) -> tuple[ChannelInfo, NDArray[np.float32]]:
    """The channel to read, and its plane as stored."""
    there = ", ".join(channel.name for channel in header.channels)
    if options.channel is not None:
        channel = named(header.channels, options.channel)
        if channel is None:
            raise FrameError(ref, "read", f"there is no channel {options.channel!r}; the file holds {there}")
        if options.trace not in channel.traces:
            raise FrameError(ref, "read", f"channel {channel.name} holds no {options.trace} trace")
        return channel, _stored(mapped, header, end, channel, options.trace)
    candidates = [channel for channel in header.channels if options.trace in channel.traces]
    if not candidates:
        raise FrameError(ref, "read", f"no channel holds a {options.trace} trace; the file holds {there}")
    planes: dict[int, NDArray[np.float32]] = {}

    def plane(channel: ChannelInfo) -> NDArray[np.float32]:
        if id(channel) not in planes:
            planes[id(channel)] = _stored(mapped, header, end, channel, options.trace)
        return planes[id(channel)]

    chosen = choose(candidates, lambda channel: _scanned(plane(channel)), open_loop=_open_loop(header))
    return chosen, plane(chosen)


def _scanned(stored: NDArray[np.float32]) -> NDArray[np.float32]:
    return stored[: _rows_ended(stored)]


def _open_loop(header: SxmHeader) -> bool:
    status = header.fields.get("Z-Controller>Controller status", "").upper()
    if status in {"ON", "OFF"}:
        return status == "OFF"
    return any(row.get("on") == "0" for row in table_in(header.fields, "Z-CONTROLLER")[:1])


def _info(
    ref: FrameRef, header: SxmHeader, channel: ChannelInfo, complete_rows: int, options: ReadOptions
) -> FrameInfo:
    fields = header.fields
    try:
        started = to_utc(recorded_at(fields), options.timezone)
    except UnknownZoneError as error:
        raise FrameError(ref, "read", str(error)) from error
    acquired_s = number_in(fields, "ACQ_TIME")
    bias_v, setpoint, unit = _settings(fields, channel, options.trace)
    version = fields.get("NanonisMain>SW Version", "")
    return FrameInfo(
        ref=ref,
        geometry=ScanGeometry(
            rows=header.rows,
            columns=header.columns,
            size_nm=(header.range_m[0] * _NM_PER_M, header.range_m[1] * _NM_PER_M),
            center_nm=(header.offset_m[0] * _NM_PER_M, header.offset_m[1] * _NM_PER_M),
            angle_deg=header.angle_deg,
        ),
        unit=channel.unit,
        direction=header.direction,
        complete_rows=complete_rows,
        bias_v=bias_v,
        setpoint=setpoint,
        setpoint_unit=unit,
        started=started,
        ended=_later(started, acquired_s),
        instrument=f"Nanonis {version}" if version else "",
        comment=fields.get("COMMENT", "").strip(),
        format=NanonisSxmReader.name,
        warnings=header.warnings,
        metadata=fields,
    )


def _later(started: datetime | None, seconds: float | None) -> datetime | None:
    if started is None or seconds is None or not 0 <= seconds < 1e9:
        return None
    try:
        return started + timedelta(seconds=seconds)
    except OverflowError:
        return None


def _settings(fields: dict[str, str], channel: ChannelInfo, trace: Trace) -> tuple[float | None, float | None, str]:
    """Bias in V, set point, and its unit; in a multi-pass scan those of the channel's pass.

    The lines of ``Multipass-Config`` are forward and backward of each pass in turn.
    """
    bias_v = number_in(fields, "BIAS")
    setpoint = number_in(fields, "Z-Controller>Setpoint")
    unit = fields.get("Z-Controller>Setpoint unit", "")
    if setpoint is None:
        words = [*(row.get("Setpoint", "") for row in table_in(fields, "Z-CONTROLLER")[:1]), ""][0].split()
        setpoint = number_in({"x": words[0]}, "x") if words else None
        unit = words[1] if setpoint is not None and len(words) > 1 else ""
    lines = table_in(fields, "Multipass-Config")
    line = 2 * (scan_pass(channel.name) - 1) + (trace is Trace.BACKWARD)
    if line < len(lines):
        row = lines[line]
        if row.get("Bias_override") == "TRUE":
            bias_v = number_in(row, "Bias_override_value")
        if row.get("Z_Setp_override") == "TRUE":
            setpoint = number_in(row, "Z_Setp_override_value")
    return bias_v, setpoint, unit
