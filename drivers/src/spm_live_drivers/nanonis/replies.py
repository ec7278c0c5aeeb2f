"""What a controller answers, and how it is read from the body of a reply.

Source of all layouts: Nanonis "TCP Programming Interface" (SPECS, June 2024, R13742), section Scan, Signals, Util. Each
reader reads the fields that are known and leaves what follows to :func:`spm_live_drivers.nanonis.framing.close_reply`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import MAX_FRAME_PIXELS, ScanDirection
from spm_live_drivers.nanonis.framing import Fields

MOST_CHANNELS = 128
"""A controller has so many signals."""

_CHANNEL_NUMBERS = range(MOST_CHANNELS)
_DIRECTIONS = {0: ScanDirection.DOWN, 1: ScanDirection.UP}


@dataclass(frozen=True, slots=True)
class EndOfScan:
    """What waiting for the end of a scan brought.

    Parameters
    ----------
    timed_out : bool
        The time was over before the scan was.
    saved_as : str
        Path of the file on the instrument PC; empty where none was saved.
    """

    timed_out: bool
    saved_as: str


class Movement(IntEnum):
    """What the tip did last, as Scan.WaitEndOfLine tells."""

    FORWARD = 0
    BACKWARD = 1
    TO_CENTER = 2
    TO_START = 3


@dataclass(frozen=True, slots=True)
class EndOfLine:
    """What waiting for the end of a line brought.

    Parameters
    ----------
    timed_out : bool
        The time was over before the movement was.
    line : int
        Counted from 1; -1 while the tip goes to its start.
    movement : int
        One of :class:`Movement`; each line ends twice, forward and backward.
    scan_pass : int
        Of a multi-pass scan.
    """

    timed_out: bool
    line: int
    movement: int
    scan_pass: int


@dataclass(frozen=True, slots=True)
class ScanFrame:
    """Where the scan frame lies.

    Parameters
    ----------
    center_m, size_m : (float, float)
        x and y of its middle; width and height, in m.
    angle_deg : float
        Clockwise.
    """

    center_m: tuple[float, float]
    size_m: tuple[float, float]
    angle_deg: float


@dataclass(frozen=True, slots=True)
class ScanBuffer:
    """What is recorded.

    Parameters
    ----------
    channels : tuple of int
        Numbers of the recorded signals: slots 0 to 23 before R11798, index of the real-time engine (0 to 127) since.
    pixels, lines : int
        Of a frame; at least 1.
    """

    channels: tuple[int, ...]
    pixels: int
    lines: int


@dataclass(frozen=True, slots=True, eq=False)
class FrameData:
    """One trace of one channel, as far as it was scanned.

    Parameters
    ----------
    channel : str
        Name with its unit, such as ``"Z (m)"``.
    data : (lines, pixels) float32 array
        Row 0 is the top of the frame whatever the scan direction; NaN where there is no value. Empty where the
        controller has no data.
    direction : ScanDirection
        Which way the slow axis runs.
    """

    channel: str
    data: NDArray[np.float32]
    direction: ScanDirection


@dataclass(frozen=True, slots=True)
class ScanSpeed:
    """How fast the tip goes.

    Parameters
    ----------
    forward_m_per_s, backward_m_per_s : float
        Linear speed.
    forward_s, backward_s : float
        Time per line.
    """

    forward_m_per_s: float
    backward_m_per_s: float
    forward_s: float
    backward_s: float

    @property
    def line_s(self) -> float | None:
        """Time from one line to the next, in s; None where the controller tells nonsense."""
        time = self.forward_s + self.backward_s
        return time if math.isfinite(time) and 0 < time < 1e6 else None


@dataclass(frozen=True, slots=True)
class Version:
    """What the controller runs.

    Parameters
    ----------
    product, version : str
        As they call themselves.
    host_release, engine_release : int
        Numbers of the releases of host and real-time engine, such as 13742; 0 where they are not told.
    """

    product: str
    version: str
    host_release: int
    engine_release: int


def read_status(fields: Fields) -> bool:
    """Scan.StatusGet: uint32, 1 while a scan runs."""
    status = fields.unsigned()
    if status > 1:
        raise fields.wrong(f"status {status}, neither 0 nor 1")
    return status == 1


def read_end_of_scan(fields: Fields) -> EndOfScan:
    """Scan.WaitEndOfScan: uint32 timed out, string path."""
    timed_out = fields.unsigned() != 0
    return EndOfScan(timed_out, fields.text())


def read_end_of_line(fields: Fields) -> EndOfLine:
    """Scan.WaitEndOfLine: uint32 timed out, int32 line, uint16 movement, int32 pass."""
    timed_out, line, movement, scan_pass = fields.numbers("IiHi")
    return EndOfLine(timed_out != 0, int(line), int(movement), int(scan_pass))


def read_frame(fields: Fields) -> ScanFrame:
    """Scan.FrameGet: five float32, centre x and y, width, height (m), angle (degrees)."""
    values = fields.numbers("5f")
    if not all(map(math.isfinite, values)):
        raise fields.wrong(f"a frame of {values}")
    x, y, width, height, angle = values
    return ScanFrame((x, y), (width, height), angle)


def read_buffer(fields: Fields) -> ScanBuffer:
    """Scan.BufferGet: int32 number of channels, their int32 numbers, int32 pixels, int32 lines."""
    count = fields.count("channels", 4)
    if count > MOST_CHANNELS:
        raise fields.wrong(f"{count} channels; a controller has {MOST_CHANNELS}")
    channels = fields.integers(count)
    if any(number not in _CHANNEL_NUMBERS for number in channels):
        raise fields.wrong(f"channels {channels}; they are numbered 0 to {_CHANNEL_NUMBERS[-1]}")
    pixels, lines = fields.integer(), fields.integer()
    if pixels < 1 or lines < 1 or pixels * lines > MAX_FRAME_PIXELS:
        raise fields.wrong(f"frames of {lines} x {pixels} px; 1 to {MAX_FRAME_PIXELS} px are accepted")
    return ScanBuffer(channels, pixels, lines)


def read_frame_data(fields: Fields) -> FrameData:
    """Scan.FrameDataGrab: string name, int32 rows, int32 columns, rows x columns float32, uint32 direction.

    Where the controller has no data, rows is 0 and it is not certain that anything follows.
    """
    channel = fields.text()
    rows = fields.integer()
    if rows == 0:
        return FrameData(channel, np.empty((0, 0), dtype=np.float32), ScanDirection.DOWN)
    columns = fields.integer()
    if rows < 0 or columns < 0 or rows * columns > MAX_FRAME_PIXELS:
        raise fields.wrong(f"data of {rows} x {columns} px; at most {MAX_FRAME_PIXELS} px are accepted")
    start = fields.skip(4 * rows * columns, f"data of {rows} x {columns} px")
    direction = fields.unsigned()
    if direction not in _DIRECTIONS:
        raise fields.wrong(f"scan direction {direction}, neither 0 nor 1")
    received = np.frombuffer(fields.body, dtype=">f4", count=rows * columns, offset=start)
    data = received.astype(np.float32).reshape(rows, columns)
    odd = ~np.isfinite(data)
    data[odd] = np.nan  # infinities, and the signalling NaN that arithmetic stumbles over
    return FrameData(channel, data, _DIRECTIONS[direction])


def read_speed(fields: Fields) -> ScanSpeed:
    """Scan.SpeedGet: four float32 (m/s and s per line, forward and backward), uint16, float32."""
    forward, backward, forward_s, backward_s, _, _ = fields.numbers("4fHf")
    return ScanSpeed(forward, backward, forward_s, backward_s)


def read_names(fields: Fields) -> tuple[str, ...]:
    """Signals.NamesGet: array of strings."""
    return fields.texts()


def read_path(fields: Fields) -> str:
    """Util.SessionPathGet: string."""
    return fields.text()


def read_version(fields: Fields) -> Version:
    """Util.VersionGet: string product, string version, uint32 host release, uint32 engine release."""
    product, version = fields.text(), fields.text()
    return Version(product, version, fields.unsigned(), fields.unsigned())
