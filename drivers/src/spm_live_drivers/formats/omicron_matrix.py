"""Omicron MATRIX scans: one result file per channel, made sense of by a parameter chain beside it.

The values of a result file are integers; units, scan range and everything else stand in the chain, and only what it
says when it names this very file (BREF) is true of it. Parameters and transfer functions are taken apart by
access2theMatrix, which answers without an error where it should not; :mod:`spm_live_drivers.formats.matrix_chain` and
:mod:`spm_live_drivers.formats.matrix_result` say what is checked before it is asked.

Order of the values: lines as they were scanned, each forward and then, with X_Retrace, backward; the up scan from the
bottom line, then, with Y_Retrace, the down scan from the top line. access2theMatrix mirrors the backward half and turns
down scans, so that its row 0 is the bottom of the picture in every trace; here row 0 is the top.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

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
    Trace,
)
from spm_live_drivers.errors import FrameError, NotReadyError
from spm_live_drivers.formats.matrix_chain import ChainError, ChainWaitError, ScanRecord, chain_of
from spm_live_drivers.formats.matrix_result import (
    MAGIC,
    CutHeaderError,
    ResultError,
    ResultHeader,
    ResultName,
    parse_name,
    parse_result,
)
from spm_live_drivers.formats.matrix_scan import MatrixScan, ScanError, scan_of
from spm_live_drivers.formats.opening import digest, file_ref, open_regular

PICTURE_CHANNELS = ("Z", "I", "Df")
"""Which channel is read unless another is asked for; without feedback the height says nothing and comes last."""

FREE_FILL_BYTES = 64 * 1024 * 1024
FILL_FACTOR = 4
"""A frame may be larger than 64 MiB only if its file holds at least a quarter of it."""

YOUNG_S = 60.0
"""The channels of one scan are written within a second or two (measured: 0 to 1 s between their chain entries)."""


class OmicronMatrixReader:
    """Reads the result files of Omicron MATRIX, one channel each.

    A file is read once its chain names it; until then it waits. A scan that was stopped gives a partial frame in its
    full geometry. The up scan is the one that is read, since it comes first; a warning tells of a down scan.
    """

    name = "omicron-matrix"
    title = "Omicron MATRIX (.Z_mtrx, .I_mtrx)"
    suffixes: tuple[str, ...] = (".z_mtrx", ".i_mtrx", ".df_mtrx", ".mtrx")

    def accepts(self, path: Path, head: bytes) -> bool:
        """Whether the file begins as MATRIX files do, or is still too short to tell."""
        if len(head) < len(MAGIC):
            return bool(head) and MAGIC.startswith(head) and path.name.lower().endswith("mtrx")
        return head.startswith(MAGIC)

    def wanted(self, path: Path, options: ReadOptions) -> bool:
        """Whether this file holds the channel to be read: the one asked for, else the first of Z, I, Df there is.

        The chain tells which channels are recorded, so that the current is not taken just because its file comes a
        moment before that of the height.
        """
        name = parse_name(path)
        if name is None:
            return not path.name.lower().endswith(".mtrx")
        if name.is_curve:
            return False
        if options.channel is not None:
            return name.channel.lower() == options.channel.lower()
        try:
            record = chain_of(name.first_link).record(path.name)
        except ChainError:
            record = None
        return not any(_comes(name, channel, path, record) for channel in _before(name.channel, record))

    def state(self, path: Path) -> FileState:
        """Look for the file's entry in the chain, and compare its size with what it promises.

        Raises
        ------
        FrameError
            If the file or its chain is damaged.
        """
        name = parse_name(path)
        if name is None or name.is_curve:
            return FileState(FileStatus.COMPLETE, "holds no picture")
        ref = _ref(path, name)
        with open_regular(path) as file:
            try:
                header = parse_result(file, os.fstat(file.fileno()).st_size)
            except CutHeaderError as error:
                return FileState(FileStatus.INCOMPLETE, str(error))
            except ResultError as error:
                raise FrameError(ref, "read", str(error)) from error
        try:
            _record(ref, name)
        except NotReadyError as error:
            return FileState(FileStatus.WAITING, error.reason)
        if header.present < header.captured:
            return FileState(FileStatus.INCOMPLETE, f"{header.present} of {header.captured} values are written")
        return FileState(FileStatus.COMPLETE)

    def channels(self, path: Path) -> tuple[ChannelInfo, ...]:
        """The one channel of the file.

        Raises
        ------
        NotReadyError
            If the chain does not name the file yet.
        FrameError
            If the file holds no picture, or it or its chain is damaged.
        """
        name = _picture_name(path)
        ref = _ref(path, name)
        with open_regular(path) as file:
            header = _header(ref, file)
        scan = _scan(ref, name, header)
        traces = (Trace.FORWARD, Trace.BACKWARD) if scan.has_backward else (Trace.FORWARD,)
        return (ChannelInfo(name.channel, scan.transfer.unit, traces),)

    def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Frame:
        """Read the file's channel.

        Raises
        ------
        NotReadyError
            If the chain is not there, is locked, or does not name the file yet.
        FrameError
            If the file holds no picture, not the channel or trace asked for, or it or its chain is damaged.
        """
        name = _picture_name(path)
        ref = _ref(path, name)
        if options.channel is not None and options.channel.lower() != name.channel.lower():
            raise FrameError(ref, "read", f"holds the channel {name.channel}, not {options.channel}")
        with open_regular(path) as file:
            header = _header(ref, file)
            scan = _scan(ref, name, header)
            ref = replace(ref, trace=options.trace)
            if options.trace is Trace.BACKWARD and not scan.has_backward:
                raise FrameError(ref, "read", "was scanned forward only")
            values = _values(ref, file, header)
            if options.digest:
                ref = replace(ref, sha256=digest(file))
        data, complete_rows = _picture(ref, values, scan, options.trace)
        return Frame(_info(ref, scan, header, complete_rows), data)


def _picture_name(path: Path) -> ResultName:
    name = parse_name(path)
    if name is None:
        raise FrameError(
            file_ref(path), "read", "is not named as a MATRIX result file, <name>--<run>_<cycle>.<channel>_mtrx"
        )
    if name.is_curve:
        raise FrameError(_ref(path, name), "read", f"the channel {name.channel} holds spectra, no picture")
    return name


def _ref(path: Path, name: ResultName) -> FrameRef:
    return replace(file_ref(path), channel=name.channel)


def _header(ref: FrameRef, file: BinaryIO) -> ResultHeader:
    try:
        return parse_result(file, os.fstat(file.fileno()).st_size)
    except ResultError as error:
        raise FrameError(ref, "read", str(error)) from error


def _record(ref: FrameRef, name: ResultName) -> ScanRecord:
    try:
        return chain_of(name.first_link).record(ref.name)
    except ChainWaitError as error:
        raise NotReadyError(ref, "read", str(error)) from error
    except ChainError as error:
        raise FrameError(ref, "read", str(error)) from error


def _scan(ref: FrameRef, name: ResultName, header: ResultHeader) -> MatrixScan:
    try:
        return scan_of(_record(ref, name), header)
    except ScanError as error:
        raise FrameError(ref, "read", str(error)) from error


def _before(channel: str, record: ScanRecord | None) -> tuple[str, ...]:
    """The channels that are rather read than this one."""
    feedback = record is None or record.parameters.get("Regulator.Feedback_Loop_Enabled", (True, ""))[0]
    order = PICTURE_CHANNELS if feedback else (*PICTURE_CHANNELS[1:], PICTURE_CHANNELS[0])
    if channel in order:
        return order[: order.index(channel)]
    others = sorted(record.recorded) if record is not None else []
    return order + tuple(other for other in others if "(" not in other and other < channel and other not in order)


def _comes(name: ResultName, channel: str, path: Path, record: ScanRecord | None) -> bool:
    """Whether the file of another channel of the scan is there, or will be in a moment."""
    if name.sibling(channel).exists():
        return True
    try:
        age_s = time.time() - path.stat().st_mtime
    except OSError:
        return False
    return record is not None and channel in record.recorded and age_s < YOUNG_S


def _values(ref: FrameRef, file: BinaryIO, header: ResultHeader) -> NDArray[np.int32]:
    try:
        file.seek(header.offset)
        taken = file.read(4 * header.present)
    except OSError as error:
        raise FrameError(ref, "read", f"cannot be read: {error.strerror or error}") from error
    return np.frombuffer(taken, dtype="<i4", count=len(taken) // 4)


def _picture(
    ref: FrameRef, values: NDArray[np.int32], scan: MatrixScan, trace: Trace
) -> tuple[NDArray[np.float32], int]:
    """Lay out the up scan, row 0 at the top; lines that were not scanned to their end count as missing."""
    rows, columns = scan.geometry.rows, scan.geometry.columns
    if 4 * rows * columns > max(FREE_FILL_BYTES, FILL_FACTOR * values.nbytes):
        raise FrameError(ref, "read", f"its chain says {rows} x {columns} px, it holds {values.size} values")
    done = min(values.size // scan.values_per_line, rows)
    lines = values[: done * scan.values_per_line].reshape(done, 1 + scan.has_backward, columns)
    scanned = lines[:, 1, ::-1] if trace is Trace.BACKWARD else lines[:, 0]
    data = np.full((rows, columns), np.nan, dtype=np.float32)
    try:
        data[rows - done :] = scan.to_physical(scanned)[::-1]
    except ScanError as error:
        raise FrameError(ref, "read", str(error)) from error
    return data, done


def _info(ref: FrameRef, scan: MatrixScan, header: ResultHeader, complete_rows: int) -> FrameInfo:
    warnings = scan.warnings
    started = ended = None
    if scan.has_down and header.captured > scan.geometry.rows * scan.values_per_line:
        warnings += ("the file also holds a down scan of the same place; the up scan was read",)
    try:
        # The C library's time_t: seconds since 1970, UTC, whatever the instrument's zone.
        ended = datetime.fromtimestamp(header.ended_s, UTC)
        started = ended - timedelta(seconds=scan.duration_s)
    except (OverflowError, OSError, ValueError):
        warnings += (f"the file says it ended {header.ended_s} s after 1970",)
    marks = scan.record.marks
    return FrameInfo(
        ref=ref,
        geometry=scan.geometry,
        unit=scan.transfer.unit if scan.transfer.unit not in {"", "--"} else "1",
        direction=ScanDirection.UP,
        complete_rows=complete_rows,
        bias_v=scan.bias_v,
        setpoint=scan.setpoint,
        setpoint_unit=scan.setpoint_unit,
        started=started,
        ended=ended,
        instrument="Omicron MATRIX",
        comment="; ".join(marks[key] for key in ("SAMPLE_NAME", "DATA_SET_NAME", "CREATION_COMMENT") if marks.get(key)),
        format=OmicronMatrixReader.name,
        warnings=warnings,
        metadata={key: f"{value} {unit}".removesuffix(" --") for key, (value, unit) in scan.record.parameters.items()},
    )
