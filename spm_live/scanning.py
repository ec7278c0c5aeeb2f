"""The nouns of a scan in progress: what is known of a frame before it is finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from spm_live.domain import FrameInfo, ModelIdentity, Molecule

__all__ = [
    "LiveCount",
    "LiveMap",
    "LiveMolecule",
    "LiveScan",
    "LiveState",
    "Notice",
    "ScanQuality",
    "TipChange",
    "Verdict",
]


@dataclass(frozen=True, slots=True)
class LiveMolecule:
    """A molecule of a frame in progress.

    Parameters
    ----------
    molecule : Molecule
        As in a finished frame; ``touches_edge`` tells of the borders of the frame, not of the front.
    cut_by_front : bool
        The front runs through it: it is shown, and counted when the tip has passed it.
    settled : bool
        So far behind the front that it stays as it is until the frame is finished.
    """

    molecule: Molecule
    cut_by_front: bool
    settled: bool


@dataclass(frozen=True, slots=True)
class LiveCount:
    """How many of one class so far.

    Parameters
    ----------
    total, edge : int
        Those that the front does not cut, and of these the ones cut by the border of the frame.
    cut_by_front : int
        Those not counted yet.
    density_per_nm2 : float
        (total - edge / 2 + cut_by_front / 2) / scanned area; NaN where nothing was scanned.
    density_error_per_nm2 : float
        Its statistical error (one standard deviation, Poisson); NaN where nothing was scanned.
    coverage : float
        Part of the scanned area under masks of this class, 0 to 1; NaN where nothing was scanned.
    """

    total: int
    edge: int
    cut_by_front: int
    density_per_nm2: float
    density_error_per_nm2: float
    coverage: float


@dataclass(frozen=True, slots=True, eq=False)
class LiveMap:
    """The molecules of a frame as far as it was scanned.

    Parameters
    ----------
    frame : FrameInfo
        ``complete_rows`` is the number of lines up to the front.
    model : ModelIdentity
        The model that found them.
    molecules : tuple of LiveMolecule
        In falling score.
    counts : mapping of str to LiveCount
        Every class of the model.
    scanned_area_nm2, coverage : float
        As in :class:`spm_live.domain.MoleculeMap`.
    settled_rows : int
        Lines, counted from the first, whose molecules are settled.
    preview_png : bytes
        The levelled frame, as in :class:`spm_live.domain.Processed`; transparent where not scanned.
    timings_ms : mapping of str to float
        Stage name to milliseconds.
    """

    frame: FrameInfo
    model: ModelIdentity
    molecules: tuple[LiveMolecule, ...]
    counts: Mapping[str, LiveCount]
    scanned_area_nm2: float
    coverage: float
    settled_rows: int
    preview_png: bytes = b""
    timings_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Molecules of any class that the front does not cut."""
        return sum(count.total for count in self.counts.values())


@dataclass(frozen=True, slots=True)
class TipChange:
    """A place where the tip was not the same any more.

    Parameters
    ----------
    line : int
        First line after it, counted as scanned; 0 is the first line of the frame.
    kind : str
        ``"height"`` (the tip became longer or shorter), ``"resolution"`` (sharper, blunter or double), or both, as
        ``"height and resolution"``.
    strength : float
        How many times over the threshold of detection, at least 1.
    """

    line: int
    kind: str
    strength: float


class Verdict(StrEnum):
    """Scan quality in one word."""

    UNKNOWN = "unknown"
    """Too few lines to say."""
    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class ScanQuality:
    """How good the lines at hand are.

    Parameters
    ----------
    lines : int
        Lines that were looked at.
    verdict : Verdict
        In one word.
    reasons : tuple of str
        Why it is not good, a short sentence each, worst first; empty for GOOD.
    line_correlation : float
        Correlation of neighbouring lines, median over the last lines, -1 to 1; NaN while unknown.
    trace_agreement : float
        Correlation of forward and backward trace after their best shift, median over the last lines; NaN where there
        is no backward trace.
    streaks : float
        Part of the pixels that lie in streaks along the fast axis, 0 to 1.
    dropouts : float
        Part of the pixels up to the front that hold no value or one fixed value, 0 to 1.
    noise_nm : float
        Standard deviation of the noise from pixel to pixel, in nm for heights, else in the channel's unit; NaN while
        unknown.
    double_tip : float
        How strongly a shifted copy of the picture lies in it, 0 to 1; NaN while unknown.
    double_tip_nm : (float, float) or None
        By how much the copy is shifted along x and y, in nm; None where there is none.
    tip_changes : tuple of TipChange
        In the order of scanning.
    """

    lines: int
    verdict: Verdict = Verdict.UNKNOWN
    reasons: tuple[str, ...] = ()
    line_correlation: float = float("nan")
    trace_agreement: float = float("nan")
    streaks: float = 0.0
    dropouts: float = 0.0
    noise_nm: float = float("nan")
    double_tip: float = float("nan")
    double_tip_nm: tuple[float, float] | None = None
    tip_changes: tuple[TipChange, ...] = ()


class LiveState(StrEnum):
    """What became of a scan in progress."""

    SCANNING = "scanning"
    WAITING = "waiting"
    """It is over, and its file has not been worked on yet."""
    REPLACED = "replaced"
    """The final map of its file has taken its place."""
    ENDED = "ended"
    """It is over, and no file came of it."""


@dataclass(frozen=True, slots=True, eq=False)
class LiveScan:
    """A frame in progress, as it is published.

    Parameters
    ----------
    key : str
        Names it in this run of the daemon; letters, digits, ``-`` and ``_``.
    source : str
        Name of the source that tells of it, such as ``"nanonis 127.0.0.1:6501"``.
    scan : str
        Name of the scan, as its sender gave it.
    state : LiveState
        What became of it.
    revision : int
        Rises with every update.
    info : FrameInfo
        ``complete_rows`` is the number of lines that arrived, whether they were worked on or not.
    lines_missing : int
        Lines behind the front that never came.
    begun, updated : datetime
        When the daemon first and last heard of it; timezone-aware, UTC.
    time_left_s : float or None
        Until the last line, as far as it can be told.
    overtaken : int
        Updates that were not worked on because a newer one came first.
    map : LiveMap or None
        None before the first lines were worked on.
    quality : ScanQuality or None
        None before the first lines were worked on.
    saved_as : str
        Path of the file, once it is known.
    frame_id : int or None
        Number in the store of the frame that replaced it.
    """

    key: str
    source: str
    scan: str
    state: LiveState
    revision: int
    info: FrameInfo
    begun: datetime
    updated: datetime
    lines_missing: int = 0
    time_left_s: float | None = None
    overtaken: int = 0
    map: LiveMap | None = None
    quality: ScanQuality | None = None
    saved_as: str = ""
    frame_id: int | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that a rule of the configuration asked to be told.

    Parameters
    ----------
    rule : str
        Name of the rule.
    text : str
        One sentence for a person.
    when : datetime
        Timezone-aware, UTC.
    source, scan, name : str
        Which scan: its source, its name there, and the name of its file where there is one.
    key : str
        As in :class:`LiveScan`; empty for a frame that was not seen growing.
    frame_id : int or None
        Number of the frame in the store, where it is finished.
    lines : int
        Lines scanned when it was told.
    """

    rule: str
    text: str
    when: datetime
    source: str
    scan: str
    name: str = ""
    key: str = ""
    frame_id: int | None = None
    lines: int = 0
