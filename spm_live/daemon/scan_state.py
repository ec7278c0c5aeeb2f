"""What the board knows of one scan in progress."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from datetime import datetime

from spm_live.domain import ScanGeometry
from spm_live.scanning import LiveMap, LiveScan, LiveState, ScanQuality
from spm_live_drivers.growing import GrowingFrame, ScanOutcome


@dataclass(slots=True, eq=False)
class ScanState:
    """What is known of one scan; changed only under the board's lock."""

    key: str
    source: str
    sender: str
    growing: GrowingFrame
    begun: datetime
    updated: datetime
    state: LiveState = LiveState.SCANNING
    outcome: ScanOutcome | None = None
    ended_s: float = 0.0
    heard_s: float = 0.0
    first: tuple[int, float] | None = None
    """Lines and monotonic time when lines were told first."""
    worked: int = 0
    """Lines that the worker has seen."""
    untold: int = 0
    """Updates since the last job was taken."""
    overtaken: int = 0
    revision: int = 0
    map: LiveMap | None = None
    quality: ScanQuality | None = None
    preview: bytes = b""
    preview_due_s: float = 0.0
    told_s: float = 0.0
    served_s: float = 0.0
    failed: bool = False
    logged: int = 0
    """Tenths of the frame that the log was told of."""
    saved_as: str = ""
    frame_id: int | None = None

    @property
    def name(self) -> str:
        """Sender and scan, for the log."""
        return f"{self.sender}: scan {self.growing.start.scan}"

    def seen(self, now_s: float) -> LiveScan:
        """As it is published; ``now_s`` is monotonic."""
        growing = self.growing
        return LiveScan(
            key=self.key,
            source=self.source,
            scan=growing.start.scan,
            state=self.state,
            revision=self.revision,
            info=replace(growing.start.info, complete_rows=growing.lines_done),
            begun=self.begun,
            updated=self.updated,
            lines_missing=growing.lines_missing,
            time_left_s=self._time_left(now_s),
            overtaken=self.overtaken,
            map=self.map,
            quality=self.quality,
            saved_as=self.saved_as,
            frame_id=self.frame_id,
        )

    def _time_left(self, now_s: float) -> float | None:
        """By the instrument's own line time, else by the lines that came since the first were told."""
        if self.state is not LiveState.SCANNING:
            return None
        growing = self.growing
        left = growing.start.info.geometry.rows - growing.lines_done
        line_time_s = growing.start.line_time_s
        if line_time_s is None and self.first is not None and growing.lines_done > self.first[0]:
            line_time_s = (now_s - self.first[1]) / (growing.lines_done - self.first[0])
        return None if line_time_s is None else left * line_time_s


@dataclass(frozen=True, slots=True, eq=False)
class EndedScan:
    """A scan that is over and of which no frame is stored yet.

    Parameters
    ----------
    state : ScanState
        What is known of it.
    outcome : ScanOutcome
        How it ended.
    waited_s : float
        From its end to when the file that waits longest was ready, or to now where none waits: by this time after its
        end, its own file had not come.
    """

    state: ScanState
    outcome: ScanOutcome
    waited_s: float

    @property
    def key(self) -> str:
        """Names it on the board."""
        return self.state.key

    @property
    def sender(self) -> str:
        """Who told it."""
        return self.state.sender

    @property
    def growing(self) -> GrowingFrame:
        """As far as it was told."""
        return self.state.growing

    @property
    def saved_as(self) -> str:
        """Path of its file, or empty."""
        return self.state.saved_as


def scan_key(source: str, sender: str, scan: str) -> str:
    """Name a scan so that it fits an address: hex digits."""
    told = "\0".join((source, sender, scan)).encode("utf-8", "surrogatepass")
    return hashlib.sha256(told).hexdigest()[:16]


def frame_in_words(geometry: ScanGeometry) -> str:
    """Say what is scanned, for the log: ``"256 x 256 px, 30 x 30 nm at 0°"``."""
    pixels = f"{geometry.rows} x {geometry.columns} px"
    return f"{pixels}, {geometry.size_nm[0]:g} x {geometry.size_nm[1]:g} nm at {geometry.angle_deg:g}°"


def in_words(scan: LiveScan) -> str:
    """Say how a scan stands, for the log.

    Returns
    -------
    str
        Such as ``"128 of 256 lines, 12 s left: 31 molecules (rod 31), 0.0640 ± 0.0110 per nm², quality good"``.
    """
    words = f"{scan.info.complete_rows} of {scan.info.geometry.rows} lines"
    if scan.time_left_s is not None:
        words += f", {scan.time_left_s:.0f} s left"
    if scan.map is not None:
        counts = scan.map.counts
        found = ", ".join(f"{label} {count.total}" for label, count in counts.items() if count.total)
        density = sum(count.density_per_nm2 for count in counts.values())
        error = math.hypot(*(count.density_error_per_nm2 for count in counts.values()))
        words += f": {scan.map.total} molecules" + (f" ({found})" if found else "")
        words += f", {density:.4f} ± {error:.4f} per nm², coverage {100 * scan.map.coverage:.1f} %"
    if scan.quality is not None:
        words += f", quality {scan.quality.verdict.value}"
        if scan.quality.reasons:
            words += f" ({'; '.join(scan.quality.reasons)})"
    return words
