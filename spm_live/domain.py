"""The nouns of the application: what one stage hands to the next.

``Frame`` -> prepare -> ``ModelInput`` -> detect -> ``Detections`` -> locate -> ``MoleculeMap``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

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

__all__ = [
    "ChannelInfo",
    "ClassCount",
    "DaemonState",
    "DaemonStatus",
    "Detections",
    "Fault",
    "FileState",
    "FileStatus",
    "Frame",
    "FrameInfo",
    "FrameRef",
    "InputSpec",
    "Letterbox",
    "Levelling",
    "ModelIdentity",
    "ModelInput",
    "Molecule",
    "MoleculeMap",
    "Processed",
    "ReadOptions",
    "ScanDirection",
    "ScanGeometry",
    "SourceStatus",
    "Spectrum",
    "Trace",
]


class Levelling(StrEnum):
    """How a frame is levelled before the model sees it."""

    NONE = "none"
    PLANE = "plane"
    POLYNOMIAL = "polynomial"
    ROWS = "rows"
    """Plane, then every row shifted by the median of its differences to the row before."""
    MEDIAN = "median"
    """Plane, then every row shifted by its median."""
    SCARS = "scars"
    """As ROWS, then scars along the fast axis replaced by what lies above and below them."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a model wants to be shown.

    Parameters
    ----------
    rows, columns : int
        Shape of one tile, in pixels; static in the network.
    nm_per_px : float or None
        Pixel pitch that the model was trained at, in nm; every frame is resampled to it. None: every frame is shown in
        its own pixels.
    overlap_px : int
        How far neighbouring tiles overlap; at least the largest molecule, in model pixels.
    levelling : Levelling
        What is done to the frame before its contrast is stretched.
    contrast : (float, float)
        Quantiles of the levelled values that become 0 and 1, each in 0 to 1.
    """

    rows: int
    columns: int
    nm_per_px: float | None
    overlap_px: int
    levelling: Levelling = Levelling.ROWS
    contrast: tuple[float, float] = (0.005, 0.995)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where the model's picture lies in the frame.

    A frame of r x c px was resampled to ``rows`` = r * ``scale_y`` by ``columns`` = c * ``scale_x`` model pixels,
    corners together; the scales are the exact ratios, after rounding to whole pixels.

    Parameters
    ----------
    scale_x, scale_y : float
        Model pixels per frame pixel.
    rows, columns : int
        Shape of the resampled picture, without padding.
    """

    scale_x: float
    scale_y: float
    rows: int
    columns: int

    def to_frame(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map model pixels to frame pixels.

        Parameters
        ----------
        xy : (N, 2) float array
            Column and row in the resampled picture; (0, 0) is the centre of the upper left pixel.

        Returns
        -------
        (N, 2) float array
            Column and row in the frame, with the same convention.

        Notes
        -----
        Half-pixel offset after Heckbert 1990: pixel d covers d - 0.5 to d + 0.5 around its centre.
        """
        scale = np.array([self.scale_x, self.scale_y])
        return np.asarray((np.asarray(xy, dtype=np.float64) + 0.5) / scale - 0.5)

    def to_model(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map frame pixels to model pixels: the inverse of :meth:`to_frame`."""
        scale = np.array([self.scale_x, self.scale_y])
        return np.asarray((np.asarray(xy, dtype=np.float64) + 0.5) * scale - 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class ModelInput:
    """A frame as a model wants to see it.

    Parameters
    ----------
    tiles : (tiles, rows, columns) float32 array
        Levelled, 0 to 1; 0 where not scanned and where a tile reaches over the frame.
    origins : (tiles, 2) int array
        Row and column of each tile's upper left pixel in the resampled picture.
    letterbox : Letterbox
        The resampled picture in the frame.
    levelled : (frame rows, frame columns) float32 array
        The whole frame after levelling, before resampling, in its own unit; NaN where not scanned. A picture of it
        needs no second levelling.
    ref : FrameRef
        The frame, to be named in an error.
    """

    tiles: NDArray[np.float32]
    origins: NDArray[np.int64]
    letterbox: Letterbox
    levelled: NDArray[np.float32]
    ref: FrameRef


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What a model found, in pixels of the resampled picture, tiles merged.

    Parameters
    ----------
    boxes : (N, 4) float32 array
        x1, y1, x2, y2: edges, so that a box over the upper left pixel alone is (0, 0, 1, 1).
    scores : (N,) float32 array
        0 to 1, falling.
    classes : (N,) int64 array
        Index into the manifest's classes.
    masks : (N, M, M) float32 array
        Probability that a point of the box belongs to the molecule, on an M x M grid over the box, row 0 at the top.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    masks: NDArray[np.float32]

    def __len__(self) -> int:
        return int(self.scores.shape[0])


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model: name, version, and the digest of its weights."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Spectrum:
    """A spectrum and where it was taken.

    Parameters
    ----------
    source : str
        Path of its file.
    xy_nm : (float, float)
        Position in scanner coordinates, in nm.
    taken : datetime or None
        Timezone-aware, UTC.
    """

    source: str
    xy_nm: tuple[float, float]
    taken: datetime | None = None


@dataclass(frozen=True, slots=True)
class Molecule:
    """One molecule, on the surface and in the picture.

    Parameters
    ----------
    label : str
        Class name.
    score : float
        0 to 1.
    center_nm : (float, float)
        Centroid of its mask in scanner coordinates, in nm.
    area_nm2 : float
        Area of its mask.
    length_nm, width_nm : float
        Full axes of the ellipse with the same second moments.
    orientation_deg : float
        Long axis, counter-clockwise from the scanner's x axis, 0 to 180; meaningless where length equals width.
    box_px : (float, float, float, float)
        x1, y1, x2, y2 in frame pixels: edges, so that a box over the upper left pixel alone is (0, 0, 1, 1).
    outline_px : tuple of (float, float)
        Polygon around its mask: columns and rows in frame pixels; (0, 0) is the centre of the upper left pixel.
    touches_edge : bool
        Cut by the border of what was scanned.
    spectra : tuple of str
        Sources of the spectra taken on it.
    """

    label: str
    score: float
    center_nm: tuple[float, float]
    area_nm2: float
    length_nm: float
    width_nm: float
    orientation_deg: float
    box_px: tuple[float, float, float, float]
    outline_px: tuple[tuple[float, float], ...]
    touches_edge: bool
    spectra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClassCount:
    """How many of one class.

    Parameters
    ----------
    total, edge : int
        All, and those cut by the border.
    density_per_nm2 : float
        (total - edge / 2) / scanned area; NaN where nothing was scanned.
    coverage : float
        Part of the scanned area under masks of this class, 0 to 1; NaN where nothing was scanned.
    """

    total: int
    edge: int
    density_per_nm2: float
    coverage: float


@dataclass(frozen=True, slots=True)
class MoleculeMap:
    """The molecules of one frame, in nm.

    Parameters
    ----------
    frame : FrameInfo
        The frame they were found in.
    model : ModelIdentity
        The model that found them.
    molecules : tuple of Molecule
        In falling score.
    counts : mapping of str to ClassCount
        Every class of the model, also those not found.
    scanned_area_nm2 : float
        Area of the pixels that were scanned.
    coverage : float
        Part of it under any mask, each place once, 0 to 1; NaN where nothing was scanned.
    """

    frame: FrameInfo
    model: ModelIdentity
    molecules: tuple[Molecule, ...]
    counts: Mapping[str, ClassCount]
    scanned_area_nm2: float
    coverage: float

    @property
    def total(self) -> int:
        """Number of molecules of any class, cut ones included."""
        return len(self.molecules)


@dataclass(frozen=True, slots=True)
class Processed:
    """A finished frame as the store keeps it and the publishers tell it.

    Parameters
    ----------
    map : MoleculeMap
        What was found.
    preview_png : bytes
        The levelled frame, 8-bit grey, as PNG, at most 1024 px a side.
    thumbnail_png : bytes
        The same, at most 128 px a side.
    timings_ms : mapping of str to float
        Stage name to milliseconds: ``read``, ``prepare``, ``detect``, ``locate``, ``draw``.
    sample : (rows, n) float32 array or None
        Some of the values, as :func:`spm_live.likeness.sample_rows` takes them: a scan that was seen growing is known
        again by them.
    """

    map: MoleculeMap
    preview_png: bytes
    thumbnail_png: bytes
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    sample: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that went wrong with one frame or message, as it is counted, stored and shown.

    Parameters
    ----------
    source, sha256 : str
        As in :class:`FrameRef`; digest empty where unknown.
    stage, reason : str
        As in :class:`spm_live.errors.FrameError`.
    when : datetime
        Timezone-aware, UTC.
    detail : str
        Traceback for a bug, else empty.
    """

    source: str
    stage: str
    reason: str
    when: datetime
    sha256: str = ""
    detail: str = ""


class DaemonState(StrEnum):
    """What the daemon is doing."""

    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    """Results cannot be stored (disk full): frames are kept queued."""
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How one source stands.

    Parameters
    ----------
    name : str
        Such as ``"folder D:/data"``.
    ok : bool
        Whether frames can arrive from it now.
    detail : str
        One sentence: what it watches and how, or what is wrong.
    counters : mapping of str to int
        Such as ``arrived``, ``duplicates``, ``malformed``, ``gaps``.
    """

    name: str
    ok: bool
    detail: str
    counters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """How the daemon stands, for the page, the metrics and the log.

    Parameters
    ----------
    state : DaemonState
        What it is doing, ``detail`` why.
    since : datetime
        Start of the process; timezone-aware, UTC.
    model : ModelIdentity or None
        The model in use.
    sources : tuple of SourceStatus
        In the order of the configuration.
    queued, queue_size : int
        Arrivals that wait, and how many may.
    in_hand : str
        Source of the frame being worked on, or empty.
    counters : mapping of str to int
        ``frames``, ``molecules``, ``duplicates``, ``faults``, ``retries``, ``quarantined``, ``worker_restarts``.
    lag_s : float or None
        From a file found ready to its result stored, last frame; None before the first.
    """

    state: DaemonState
    since: datetime
    detail: str = ""
    model: ModelIdentity | None = None
    sources: tuple[SourceStatus, ...] = ()
    queued: int = 0
    queue_size: int = 0
    in_hand: str = ""
    counters: Mapping[str, int] = field(default_factory=dict)
    lag_s: float | None = None
