"""Createc scan files, ``.dat``.

A text header (:mod:`spm_live_drivers.formats.createc_header`) and one compressed stream of all planes
(:mod:`spm_live_drivers.formats.createc_planes`), as large for a scan that was stopped as for a whole one, with zeros
where the tip has not been. Nanonis calls its spectra ``.dat`` too; the first bytes tell them apart.
"""

from __future__ import annotations

import hashlib
import mmap
import re
from dataclasses import replace
from datetime import datetime
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
from spm_live_drivers.formats.createc_header import CreatecHeader, parse_header
from spm_live_drivers.formats.createc_planes import Decoded, blank_unscanned, decode, excess, stream_ended
from spm_live_drivers.formats.createc_text import KINDS, CutHeaderError, HeaderError, number_in
from spm_live_drivers.formats.nanonis_channels import choose, named
from spm_live_drivers.formats.opening import file_ref, map_regular

_FREE_FILL_BYTES = 64 * 1024 * 1024
_FILL_FACTOR = 4
_NAME = re.compile(r"[A-Za-z]*(\d{6})\.(\d{6})\b")
_A_PER_PA = 1e-12


class CreatecReader:
    """Reads the compressed ``.dat`` files of Createc's STMAFM program."""

    name = "createc"
    title = "Createc scan (.dat)"
    suffixes: tuple[str, ...] = (".dat",)

    def accepts(self, path: Path, head: bytes) -> bool:
        """Whether the file begins as the format does, or is still too short to tell."""
        if len(head) < len(KINDS[0]):
            return bool(head) and any(kind.startswith(head) for kind in KINDS) and path.suffix.lower() in self.suffixes
        return head.startswith(KINDS)

    def wanted(self, path: Path, options: ReadOptions) -> bool:
        """Every file holds all channels of its scan."""
        return True

    def state(self, path: Path) -> FileState:
        """Decompress the values without keeping them: nothing else tells where they should end.

        Raises
        ------
        FrameError
            If the file can never be read.
        """
        with map_regular(path) as mapped:
            try:
                header = parse_header(mapped)
                ended, values = stream_ended(mapped, header)
            except CutHeaderError as error:
                return FileState(FileStatus.INCOMPLETE, str(error))
            except HeaderError as error:
                raise FrameError(file_ref(path), "read", str(error)) from error
        if not ended:
            wanted = header.planes * header.pixels
            return FileState(FileStatus.INCOMPLETE, f"{min(values, wanted)} of {wanted} values are written")
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
        """Read one channel.

        Raises
        ------
        FrameError
            If the file cannot be opened, is damaged or of a kind that is not read, or holds no such channel or trace.
        """
        ref = file_ref(path)
        with map_regular(path) as mapped:
            try:
                header = parse_header(mapped)
                _refuse_mostly_missing(header, len(mapped))
                channel, scan = _Planes(mapped, header, options.trace).channel(options.channel)
            except HeaderError as error:
                raise FrameError(ref, "read", str(error)) from error
            ref = replace(ref, channel=channel.name, trace=options.trace)
            if options.digest:
                ref = replace(ref, sha256=hashlib.sha256(mapped).hexdigest())
        header = replace(header, warnings=(*header.warnings, *_doubts(header, scan)))
        return Frame(_info(ref, header, channel, scan, options), scan.decoded.data)


class _Scan:
    """A plane with NaN where the tip has not been."""

    def __init__(self, decoded: Decoded) -> None:
        self.decoded = decoded
        self.direction, self.complete_rows = blank_unscanned(decoded)

    @property
    def scanned(self) -> NDArray[np.float32]:
        rows = self.decoded.data
        return (
            rows[len(rows) - self.complete_rows :] if self.direction is ScanDirection.UP else rows[: self.complete_rows]
        )


class _Planes:
    """The planes of one trace, each decompressed when it is looked at, and once."""

    def __init__(self, mapped: mmap.mmap, header: CreatecHeader, trace: Trace) -> None:
        self._mapped, self._header, self._trace = mapped, header, trace
        self._scans: dict[str, _Scan] = {}

    def channel(self, name: str | None) -> tuple[ChannelInfo, _Scan]:
        """The channel of that name, or the one that shows the picture."""
        header = self._header
        there = ", ".join(channel.name for channel in header.channels)
        wanted = named(header.channels, name) if name is not None else header.channels[0]
        if wanted is None:
            raise HeaderError(f"there is no channel {name!r}; the file holds {there}")
        if self._trace not in header.traces:
            raise HeaderError(f"no channel holds a {self._trace} trace; the file holds {there}")
        if name is None:
            open_loop = bool(number_in(header.fields, "FBOff") or number_in(header.fields, "CHMode"))
            wanted = choose(header.channels, lambda channel: self._scan(channel).scanned, open_loop=open_loop)
        return wanted, self._scan(wanted)

    def _scan(self, channel: ChannelInfo) -> _Scan:
        if channel.name not in self._scans:
            plane = self._header.plane(channel, self._trace)
            self._scans[channel.name] = _Scan(decode(self._mapped, self._header, self._trace, plane))
        return self._scans[channel.name]


def _refuse_mostly_missing(header: CreatecHeader, size: int) -> None:
    """Refuse a frame that would take much more memory than the file has bytes: its header is not to be believed."""
    if header.pixels * 4 > max(_FREE_FILL_BYTES, _FILL_FACTOR * size):
        raise HeaderError(f"header says {header.rows} x {header.columns} px, file has {size} bytes")


def _doubts(header: CreatecHeader, scan: _Scan) -> tuple[str, ...]:
    """What is odd about the values, in words."""
    found = []
    surplus = excess(header, scan.decoded.values) if scan.decoded.ended else 0
    if surplus:
        found.append(f"{surplus} values follow the planes that the header tells of")
    if number_in(header.fields, "ScanYMode") == 2 and scan.complete_rows == header.rows:
        found.append("scanned up and down in turn (ScanYMode 2): which way this frame went is not known")
    return tuple(found)


def _info(ref: FrameRef, header: CreatecHeader, channel: ChannelInfo, scan: _Scan, options: ReadOptions) -> FrameInfo:
    fields = header.fields
    try:
        started = to_utc(_named_time(Path(ref.source).name), options.timezone)
    except UnknownZoneError as error:
        raise FrameError(ref, "read", str(error)) from error
    bias_names = ("BiasVoltage", "Biasvolt[mV]")
    bias_mv = number_in(fields, *(("CHModeBias[mV]",) if number_in(fields, "CHMode") else ()), *bias_names)
    program = fields.get("PSTMAFM.EXE_Date", "").split("DSP")[0].strip()
    return FrameInfo(
        ref=ref,
        geometry=ScanGeometry(header.rows, header.columns, header.size_nm, header.center_nm, header.angle_deg),
        unit=channel.unit,
        direction=scan.direction,
        complete_rows=scan.complete_rows,
        bias_v=None if bias_mv is None else bias_mv / 1000,
        setpoint=_setpoint_a(header),
        setpoint_unit="A",
        started=started,
        instrument=f"Createc STMAFM, program of {program}" if program else "Createc STMAFM",
        comment="\n".join(text for name, text in fields.items() if name.startswith("memo:") and text),
        format=CreatecReader.name,
        warnings=header.warnings,
        metadata=fields,
    )


def _setpoint_a(header: CreatecHeader) -> float | None:
    """Set point in A; ``FBLogIset`` is in pA (equal to the other two in every real file of the tests)."""
    setpoint = number_in(header.fields, "SetPoint", "Current[A]")
    feedback_pa = number_in(header.fields, "FBLogIset")
    if setpoint is None and feedback_pa is not None:
        return feedback_pa * _A_PER_PA
    return setpoint


def _named_time(name: str) -> datetime | None:
    """When the scan began by the clock of the instrument; only the name of the file tells, ``A260317.105156.dat``."""
    found = _NAME.match(name)
    try:
        return datetime.strptime("".join(found.groups()), "%y%m%d%H%M%S") if found else None  # noqa: DTZ007 - no zone
    except ValueError:
        return None
