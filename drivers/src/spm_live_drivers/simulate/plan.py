"""What the simulated microscope looks at, and how it scans."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from spm_live_drivers.contract import ScanDirection
from spm_live_drivers.synthetic import Sample, Species

SAMPLE = Sample(
    species=(
        Species("three-lobe", width_nm=1.7, height_nm=0.20, spread=0.62),
        Species("four-lobe", width_nm=1.6, height_nm=0.16, spread=0.46),
        Species("rod", width_nm=2.0, height_nm=0.14, spread=0.44, centre=0.8),
    ),
    shares=(0.45, 0.3, 0.25),
)
"""What the simulated microscope looks at unless told otherwise."""


FORMATS = ("sxm", "matrix")
"""What the files can be."""


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """How the simulated microscope scans.

    Parameters
    ----------
    pixels : int
        Rows and columns of a frame; a recorded one has its own.
    size_nm : float
        Width and height of a frame, in nm; a recorded one has its own, unless it is a picture that does not say.
    frame_time_s : float
        Time of one frame, in s.
    frames : int or None
        Stop after so many; None: go on for ever.
    slow_write_s : float
        Time that a file takes to be written, in s; 0: it appears whole.
    seed : int
        Together with the number of a frame it settles the picture.
    series : str
        Start of the names of the files; a number of four digits follows.
    line_time_s : float or None
        Time of one line, forward and backward together, in s; None: that of a frame over its lines.
    recorded : tuple of Path
        Files that are scanned again, one after another and then from the first; none: surfaces are drawn.
    drift_nm : float
        Drift from frame to frame, in nm; successive frames then show one place.
    hops : float
        Share of the molecules that hop between two frames, 0 to 1; successive frames then show one place.
    place_frames : int
        After so many frames of one place the next one is looked at.
    format : str
        ``"sxm"``, or ``"matrix"`` for result files and a parameter chain as Omicron MATRIX writes them.
    """

    pixels: int = 256
    size_nm: float = 40.0
    frame_time_s: float = 10.0
    frames: int | None = None
    slow_write_s: float = 0.0
    seed: int = 0
    series: str = "sim_"
    line_time_s: float | None = None
    recorded: tuple[Path, ...] = ()
    drift_nm: float = 0.0
    hops: float = 0.0
    place_frames: int = 10
    format: str = "sxm"

    def __post_init__(self) -> None:
        if not 8 <= self.pixels <= 8192:
            raise ValueError(f"frames of {self.pixels} px; 8 to 8192 can be drawn")
        if not 1 <= self.size_nm <= 500:
            raise ValueError(f"frames of {self.size_nm} nm; 1 to 500 can be drawn")
        if min(self.frame_time_s, self.slow_write_s, self.line_time_s or 0.0) < 0:
            raise ValueError("times are not negative")
        if self.seed < 0 or (self.frames is not None and self.frames < 0):
            raise ValueError("seed and number of frames are not negative")
        if not re.fullmatch(r"[\w.-]+", self.series):
            raise ValueError(f"{self.series!r} cannot start the name of a file; use letters, digits, _ . and -")
        if not (math.isfinite(self.drift_nm) and 0 <= self.drift_nm <= 20):
            raise ValueError(f"a drift of {self.drift_nm} nm from frame to frame; 0 to 20 can be drawn")
        if not 0 <= self.hops <= 1:
            raise ValueError(f"a share of hops of {self.hops} in all frames; it is 0 to 1")
        if self.recorded and self.drifts:
            raise ValueError("recorded frames neither drift nor hop; leave one of the two out")
        if not 1 <= self.place_frames <= 1000:
            raise ValueError(f"{self.place_frames} frames of one place; 1 to 1000 are possible")
        if self.format not in FORMATS:
            raise ValueError(f"no scan can be saved as {self.format!r}; there are {', '.join(FORMATS)}")

    @property
    def drifts(self) -> bool:
        """Whether successive frames show one place."""
        return self.drift_nm > 0 or self.hops > 0

    @property
    def alternates(self) -> bool:
        """Whether every second frame is scanned the other way; a MATRIX scan always begins at the bottom."""
        return self.format != "matrix"

    def direction_of(self, number: int) -> ScanDirection:
        """Which line of the frame of a given number is scanned first."""
        return ScanDirection.DOWN if self.alternates and number % 2 else ScanDirection.UP

    def line_s(self, lines: int) -> float:
        """Time of one line in a frame of so many, forward and backward together, in s."""
        return self.frame_time_s / lines if self.line_time_s is None else self.line_time_s
