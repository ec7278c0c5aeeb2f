"""Writes Nanonis ``.sxm`` files, as the controller's own software does.

Layout as read from files of the controller (software releases 4 and 5): a text header of ``:KEY:`` lines and their
values up to ``:SCANIT_END:``, the bytes 0x1A 0x04, then big-endian float32, per channel forward then backward, line
after line in the order in which they were scanned: an up scan stores the bottom line first. Backward lines are stored
in the order of time, which is mirrored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import ScanDirection, ScanGeometry
from spm_live_drivers.formats.pieces import put_file

DATA_MARK = b"\x1a\x04"


@dataclass(frozen=True, slots=True, eq=False)
class SxmChannel:
    """One channel to be written.

    Parameters
    ----------
    index : int
        Number of the signal in the controller; 14 is Z and 0 is Current on a usual one.
    name, unit : str
        Such as ``"Z"`` and ``"m"``.
    forward : (rows, columns) float array
        Row 0 at the top, x grows to the right; NaN where not scanned.
    backward : (rows, columns) float array or None
        The same way round as ``forward``; None for a channel that was recorded in one direction.
    calibration : float
        Unit per volt, for the table of channels; the values are written as they are.
    """

    index: int
    name: str
    unit: str
    forward: NDArray[np.floating]
    backward: NDArray[np.floating] | None = None
    calibration: float = 1.0


@dataclass(frozen=True, slots=True)
class SxmSettings:
    """What the header says beside the pictures.

    Parameters
    ----------
    started : datetime
        Local time of the instrument at the first line.
    line_time_s : float
        Time of one line in one direction, in s.
    bias_v, setpoint_a : float
        Bias in V and current set point in A.
    direction : ScanDirection
        Which line was scanned first.
    acquired_s : float or None
        Time that the scan took, in s; None: that of all lines in both directions.
    scan_file : str
        Path of the file as the instrument sees it; empty: the path it is written to.
    comment, series : str
        What the person at the instrument typed in; the series is the start of the file's name.
    """

    started: datetime
    line_time_s: float = 0.1
    bias_v: float = 1.0
    setpoint_a: float = 50e-12
    direction: ScanDirection = ScanDirection.DOWN
    acquired_s: float | None = None
    scan_file: str = ""
    comment: str = ""
    series: str = ""


def sxm_bytes(channels: Sequence[SxmChannel], geometry: ScanGeometry, settings: SxmSettings) -> bytes:
    """Put a whole file together.

    Raises
    ------
    ValueError
        If there is no channel, or a picture does not have the shape of the geometry.
    """
    if not channels:
        raise ValueError("a file needs at least one channel")
    blocks = [_header(channels, geometry, settings).encode("latin-1", "replace"), DATA_MARK]
    up = settings.direction is ScanDirection.UP
    for channel in channels:
        for picture, mirrored in ((channel.forward, False), (channel.backward, True)):
            if picture is None:
                continue
            if picture.shape != (geometry.rows, geometry.columns):
                raise ValueError(
                    f"channel {channel.name} has the shape {picture.shape}, the frame {geometry.rows} x "
                    f"{geometry.columns} px"
                )
            stored = picture[::-1] if up else picture
            blocks.append((stored[:, ::-1] if mirrored else stored).astype(">f4").tobytes())
    return b"".join(blocks)


def write_sxm(
    path: Path,
    channels: Sequence[SxmChannel],
    geometry: ScanGeometry,
    settings: SxmSettings,
    *,
    pieces: int = 1,
    pause: Callable[[], object] | None = None,
) -> None:
    """Write a file, all at once or piece by piece.

    Parameters
    ----------
    path : Path
        Where; an older file there is replaced.
    channels, geometry, settings
        As for :func:`sxm_bytes`.
    pieces : int
        1 writes beside the path and renames, so that nobody ever sees half a file. More write the file itself in so
        many pieces, each flushed, as a controller on a slow disk or share does.
    pause : callable or None
        Called between two pieces.

    Raises
    ------
    ValueError
        As :func:`sxm_bytes`; also if ``pieces`` is less than 1.
    OSError
        If the file cannot be written.
    """
    if not settings.scan_file:
        settings = replace(settings, scan_file=str(path.absolute()))
    put_file(path, sxm_bytes(channels, geometry, settings), pieces, pause)


def _header(channels: Sequence[SxmChannel], geometry: ScanGeometry, settings: SxmSettings) -> str:
    width_m, height_m = (size * 1e-9 for size in geometry.size_nm)
    x_m, y_m = (value * 1e-9 for value in geometry.center_nm)
    line_s = settings.line_time_s
    acquired_s = settings.acquired_s if settings.acquired_s is not None else 2 * line_s * geometry.rows
    entries = [
        ("NANONIS_VERSION", "2"),
        ("SCANIT_TYPE", "              FLOAT            MSBFIRST"),
        ("REC_DATE", f" {settings.started:%d.%m.%Y}"),
        ("REC_TIME", f"{settings.started:%H:%M:%S}"),
        ("REC_TEMP", "      290.0000000000"),
        ("ACQ_TIME", f"{acquired_s:>12.1f}"),
        ("SCAN_PIXELS", f"{geometry.columns:>10d}{geometry.rows:>10d}"),
        ("SCAN_FILE", settings.scan_file),
        ("SCAN_TIME", f"{_exponent(line_s, 3):>22}{_exponent(line_s, 3):>22}"),
        ("SCAN_RANGE", f"{_exponent(width_m, 6):>22}{_exponent(height_m, 6):>22}"),
        ("SCAN_OFFSET", f"{_exponent(x_m, 6):>22}{_exponent(y_m, 6):>22}"),
        ("SCAN_ANGLE", f"{_exponent(geometry.angle_deg, 3):>20}"),
        ("SCAN_DIR", settings.direction.value),
        ("BIAS", f"{_exponent(settings.bias_v, 3):>20}"),
        ("Z-CONTROLLER", _controller(settings.setpoint_a)),
        ("COMMENT", settings.comment),
        ("NanonisMain>SW Version", "Generic 5"),
        ("NanonisMain>UI Release", "10771"),
        ("NanonisMain>RT Release", "10771"),
        ("Bias>Bias (V)", f"{settings.bias_v:G}"),
        ("Z-Controller>Controller name", "log Current"),
        ("Z-Controller>Controller status", "ON"),
        ("Z-Controller>Setpoint", f"{settings.setpoint_a:G}"),
        ("Z-Controller>Setpoint unit", "A"),
        ("Scan>Scanfield", ";".join(f"{v:E}" for v in (x_m, y_m, width_m, height_m, geometry.angle_deg))),
        ("Scan>series name", settings.series),
        ("Scan>channels", ";".join(f"{channel.name} ({channel.unit})" for channel in channels)),
        ("Scan>pixels/line", str(geometry.columns)),
        ("Scan>lines", str(geometry.rows)),
        ("Scan>speed forw. (m/s)", f"{width_m / line_s:E}"),
        ("Scan>speed backw. (m/s)", f"{width_m / line_s:E}"),
        ("DATA_INFO", _channel_table(channels)),
    ]
    return "".join(f":{key}:\n{value}\n" for key, value in entries) + ":SCANIT_END:\n\n\n"


def _exponent(value: float, digits: int) -> str:
    """A number as the controller prints it: no zeros before the exponent, such as ``1.000E-9``."""
    mantissa, exponent = f"{value:.{digits}E}".split("E")
    return f"{mantissa}E{int(exponent):+d}"


def _controller(setpoint_a: float) -> str:
    names = "\tName\ton\tSetpoint\tP-gain\tI-gain\tT-const"
    values = f"\tlog Current\t1\t{_exponent(setpoint_a, 3)} A\t5.000E-12 m\t2.500E-8 m/s\t2.000E-4 s"
    return f"{names}\n{values}"


def _channel_table(channels: Sequence[SxmChannel]) -> str:
    lines = ["\tChannel\tName\tUnit\tDirection\tCalibration\tOffset"]
    for channel in channels:
        direction = "forward" if channel.backward is None else "both"
        calibration = _exponent(channel.calibration, 3)
        lines.append(f"\t{channel.index}\t{channel.name}\t{channel.unit}\t{direction}\t{calibration}\t0.000E+0")
    return "\n".join([*lines, ""])
