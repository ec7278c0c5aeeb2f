"""The frame, and what a reader of scan files promises.

Every reader delivers pictures the same way up: row 0 is the top of the picture and x grows to the right, whatever the
scan direction was. Lengths of the scanner are in nm; the values of the channel are in their SI unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

MAX_FRAME_PIXELS = 64 * 1024 * 1024
"""Largest frame any reader or socket accepts, in pixels (8192 x 8192; 256 MiB of float32)."""


class Trace(StrEnum):
    """Direction along the fast axis."""

    FORWARD = "forward"
    BACKWARD = "backward"


class ScanDirection(StrEnum):
    """Direction along the slow axis: an up scan writes the bottom line first."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class FrameRef:
    """Which frame: enough to name it in an error and to find it again.

    Parameters
    ----------
    source : str
        Absolute path of the file, or the endpoint and sender of a message.
    sha256 : str
        Hex digest of the whole source file, or of the payload of a message; empty while unknown. Two frames with one
        digest are one frame.
    channel : str
        Name of the channel, as the instrument writes it; empty while unknown.
    trace : Trace or None
        Direction along the fast axis; None while unknown.
    """

    source: str
    sha256: str = ""
    channel: str = ""
    trace: Trace | None = None

    @property
    def name(self) -> str:
        """The last part of the source: what a person calls the file."""
        return self.source.replace("\\", "/").rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class ScanGeometry:
    """Where the pixels of a frame lie in the scanner's range.

    Parameters
    ----------
    rows, columns : int
        Shape of the full frame in pixels, scanned or not; at least 1.
    size_nm : (float, float)
        Width (fast axis) and height (slow axis) of the full frame, in nm; positive.
    center_nm : (float, float)
        x and y of the middle of the frame in scanner coordinates, in nm; y grows up.
    angle_deg : float
        Rotation of the frame, clockwise positive, in degrees (Nanonis TCP manual, Scan.FrameGet).

    Raises
    ------
    ValueError
        If a size is not positive and finite.
    """

    rows: int
    columns: int
    size_nm: tuple[float, float]
    center_nm: tuple[float, float] = (0.0, 0.0)
    angle_deg: float = 0.0

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise ValueError(f"a frame of {self.rows} x {self.columns} px")
        if not all(math.isfinite(size) and size > 0 for size in self.size_nm):
            raise ValueError(f"a scan range of {self.size_nm[0]} x {self.size_nm[1]} nm")
        if not all(math.isfinite(value) for value in (*self.center_nm, self.angle_deg)):
            raise ValueError(f"a frame at {self.center_nm} nm turned by {self.angle_deg} degrees")

    @property
    def nm_per_px(self) -> tuple[float, float]:
        """Pixel pitch along x and along y, in nm: scan range over number of pixels."""
        return self.size_nm[0] / self.columns, self.size_nm[1] / self.rows

    @property
    def pixel_area_nm2(self) -> float:
        """Area of one pixel, in nm²."""
        x, y = self.nm_per_px
        return x * y

    def to_nm(self, xy_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map pixel coordinates to scanner coordinates.

        Parameters
        ----------
        xy_px : (N, 2) float array
            Column and row, in pixels; (0, 0) is the centre of the upper left pixel.

        Returns
        -------
        (N, 2) float array
            x and y, in nm; y grows up, against the image rows.

        Examples
        --------
        >>> geometry = ScanGeometry(rows=2, columns=2, size_nm=(4.0, 4.0), center_nm=(10.0, 0.0))
        >>> geometry.to_nm(np.array([[0.0, 0.0]])).tolist()
        [[9.0, 1.0]]
        """
        xy = np.asarray(xy_px, dtype=np.float64)
        step_x, step_y = self.nm_per_px
        along = (xy[:, 0] + 0.5 - self.columns / 2) * step_x
        across = (self.rows / 2 - xy[:, 1] - 0.5) * step_y
        cos, sin = self._turn()
        x = self.center_nm[0] + along * cos + across * sin
        y = self.center_nm[1] - along * sin + across * cos
        return np.stack([x, y], axis=1)

    def to_px(self, xy_nm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map scanner coordinates to pixel coordinates: the inverse of :meth:`to_nm`.

        Parameters
        ----------
        xy_nm : (N, 2) float array
            x and y in scanner coordinates, in nm.

        Returns
        -------
        (N, 2) float array
            Column and row, in pixels; (0, 0) is the centre of the upper left pixel.
        """
        xy = np.asarray(xy_nm, dtype=np.float64) - np.asarray(self.center_nm)
        step_x, step_y = self.nm_per_px
        cos, sin = self._turn()
        along = xy[:, 0] * cos - xy[:, 1] * sin
        across = xy[:, 0] * sin + xy[:, 1] * cos
        return np.stack([along / step_x + self.columns / 2 - 0.5, self.rows / 2 - 0.5 - across / step_y], axis=1)

    def _turn(self) -> tuple[float, float]:
        angle = math.radians(self.angle_deg)
        return math.cos(angle), math.sin(angle)


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """Everything about a frame but its pixels; small enough for a message header or a database row.

    Parameters
    ----------
    ref : FrameRef
        Source, digest, channel and trace; all of them known here.
    geometry : ScanGeometry
        The full frame, also where it was not scanned to the end.
    unit : str
        SI unit of the values: ``"m"``, ``"A"``, ``"V"``, ``"Hz"``, ...; ``"1"`` for a picture without one.
    direction : ScanDirection
        Which way the slow axis ran.
    complete_rows : int
        Rows that were scanned to their end, 0 to ``geometry.rows``. They lie at the top in a down scan and at the
        bottom in an up scan.
    bias_v, setpoint : float or None
        Bias in V and set point in ``setpoint_unit``; None where the file does not say.
    started, ended : datetime or None
        Timezone-aware, UTC; None where the file does not say.
    instrument, comment : str
        As the file has them.
    format : str
        Name of the reader.
    warnings : tuple of str
        What the reader had to assume; shown beside the frame.
    metadata : mapping of str to str
        The header as it stands in the file, for a person to look things up.
    """

    ref: FrameRef
    geometry: ScanGeometry
    unit: str
    direction: ScanDirection = ScanDirection.DOWN
    complete_rows: int = 0
    bias_v: float | None = None
    setpoint: float | None = None
    setpoint_unit: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    instrument: str = ""
    comment: str = ""
    format: str = ""
    warnings: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.complete_rows <= self.geometry.rows:
            raise ValueError(f"{self.complete_rows} complete rows in a frame of {self.geometry.rows}")

    @property
    def partial(self) -> bool:
        """Whether the scan ended before its last line."""
        return self.complete_rows < self.geometry.rows


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One channel of one scan.

    Parameters
    ----------
    info : FrameInfo
        Geometry, channel, times, settings.
    data : (rows, columns) float32 array
        Values in ``info.unit``; NaN where not scanned. Row 0 is the top, x grows to the right. Made read-only.

    Raises
    ------
    ValueError
        If the shape is not that of the geometry, or the type is not float32.
    """

    info: FrameInfo
    data: NDArray[np.float32]

    def __post_init__(self) -> None:
        shape = (self.info.geometry.rows, self.info.geometry.columns)
        if self.data.shape != shape:
            raise ValueError(f"data of shape {self.data.shape} for a frame of {shape[0]} x {shape[1]} px")
        if self.data.dtype != np.float32:
            raise ValueError(f"data of type {self.data.dtype}, not float32")
        self.data.flags.writeable = False

    @property
    def geometry(self) -> ScanGeometry:
        """Shorthand for ``info.geometry``."""
        return self.info.geometry

    @property
    def ref(self) -> FrameRef:
        """Shorthand for ``info.ref``."""
        return self.info.ref


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """A channel that a file holds."""

    name: str
    unit: str
    traces: tuple[Trace, ...] = (Trace.FORWARD,)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a person may say about how a file is read.

    Parameters
    ----------
    channel : str or None
        Channel by name, without regard to case; None lets the reader choose: Z where it varies, else a frequency shift
        that shows a picture, else current.
    trace : Trace
        Which direction of the fast axis.
    nm_per_px : float or None
        Pixel pitch for pictures that do not know their scale, in nm.
    colour_table : str
        How a false-colour picture is turned back into height: ``"auto"``, or the name of a table.
    timezone : str or None
        IANA name of the instrument's zone, since files hold local time; None means the zone of this machine.
    digest : bool
        Whether the digest of the whole file is taken. False leaves ``FrameRef.sha256`` empty, and is faster where
        pixels alone are wanted: a channel is then read without touching the others.
    """

    channel: str | None = None
    trace: Trace = Trace.FORWARD
    nm_per_px: float | None = None
    colour_table: str = "auto"
    timezone: str | None = None
    digest: bool = True


class FileStatus(StrEnum):
    """How far a file has been written, as its content tells."""

    COMPLETE = "complete"
    """All that its header promises is there."""
    INCOMPLETE = "incomplete"
    """Sound so far, but it may still grow: after a quiet time it is read as a partial frame."""
    WAITING = "waiting"
    """It needs something that is not there yet (a MATRIX chain entry): never read it in this state."""


@dataclass(frozen=True, slots=True)
class FileState:
    """A status and, in words, why."""

    status: FileStatus
    reason: str = ""


@runtime_checkable
class Reader(Protocol):
    """Reads one file format.

    An instance holds no open file and no state between calls, so that one can serve many threads.
    ``spm_live_drivers.testing.check_reader`` tests all that is promised here.
    """

    name: str
    """Short name, lower case with hyphens, such as ``"nanonis-sxm"``."""
    title: str
    """What a person calls the format."""
    suffixes: tuple[str, ...]
    """Usual suffixes with the dot, lower case; a hint for people, the content decides."""

    def accepts(self, path: Path, head: bytes) -> bool:
        """Whether this file is of the format, judged from the first 4096 bytes, then from the name."""
        ...

    def wanted(self, path: Path, options: ReadOptions) -> bool:
        """Whether this file is the one to read for the channel asked for.

        False for the files of a scan that hold other channels (MATRIX writes one file per channel) or hold no picture
        (the parameter chain).
        """
        ...

    def state(self, path: Path) -> FileState:
        """How far the file has been written. Cheap: called again and again while a file grows.

        Raises
        ------
        FrameError
            If the file can never become readable.
        """
        ...

    def channels(self, path: Path) -> tuple[ChannelInfo, ...]:
        """List the channels of the file.

        Raises
        ------
        FrameError
            As for :meth:`read`.
        """
        ...

    def read(self, path: Path, options: ReadOptions = ReadOptions()) -> Frame:
        """Read one channel.

        A file that ends early gives a partial frame: full geometry, NaN in the rows that are missing.

        Raises
        ------
        FrameError
            If the file is not what it claims, or holds no such channel. Nothing else is ever raised for a bad file,
            and no more memory is taken than the file's true size warrants.
        NotReadyError
            If it must be tried again later.
        """
        ...
