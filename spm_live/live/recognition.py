"""Recognition of a frame in progress: lines in, the molecules so far out."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spm_live.detect import Detector
from spm_live.detect.merge import clip, no_detections
from spm_live.detect.nms import select
from spm_live.domain import Detections, FrameInfo, ScanDirection
from spm_live.live.counting import Front, LiveLocator, Located, Tally
from spm_live.live.picture import GrowingPicture
from spm_live.live.settling import joined, known_among
from spm_live.live.windows import WindowPlan
from spm_live.scanning import LiveMap, LiveMolecule


class LiveRecognition:
    """Finds the molecules of one frame while it is scanned.

    No clock, no thread: what it says follows from the lines alone, bit by bit, whether they come one at a time or all
    at once. Molecules that are settled stay as they are, in every later answer.

    Parameters
    ----------
    detector : Detector
        As :func:`spm_live.detect.open_detector` opens it; used during :meth:`advance` only.
    info : FrameInfo
        The frame; ``complete_rows`` does not matter.

    Raises
    ------
    FrameError
        If the frame would become too large at the model's pitch.

    Notes
    -----
    ``docs/explanation/live-recognition.md`` tells how it works, and what was measured.
    """

    def __init__(self, detector: Detector, info: FrameInfo) -> None:
        manifest = detector.manifest
        self._detector, self._manifest, self._info = detector, manifest, info
        self._picture = GrowingPicture(info, manifest.spec)
        box = self._picture.letterbox
        self._plan = WindowPlan.of(manifest.spec, box.rows)
        self._locator = LiveLocator(info.geometry, box, manifest.classes)
        self._up = info.direction is ScanDirection.UP
        self._boundary = 0.0
        """Row, in scan order, up to which molecules are settled, but for the plan's slack."""
        self._recent = no_detections()
        """Settled ones that later windows still reach."""
        self._settled: list[LiveMolecule] = []
        self._settled_tally = Tally.nothing(manifest.classes)
        self._seen: tuple[int, Detections] = (0, no_detections())
        """The last window: its front, and what was found."""
        self._provisional = Located(no_detections(), (), 0, self._settled_tally.by_class)
        self._looked_at = 0
        """The front that these are of."""
        self._spent_s: dict[str, float] = {}
        self._map = self._make_map()

    def advance(self, lines: NDArray[np.float32]) -> LiveMap:
        """Take in new lines, and tell what is known now.

        Parameters
        ----------
        lines : (n, columns) float32 array
            In the order of scanning, going on where the last call ended; n may be 0. Pixels that are not finite count
            as not scanned; whole lines may be so.

        Returns
        -------
        LiveMap
            Without a preview; see :meth:`preview_png`.

        Raises
        ------
        FrameError
            If the network fails; this object is of no use then.
        ValueError
            If the lines are of another type or width, or more than the frame has left.
        """
        geometry = self._info.geometry
        if lines.dtype != np.float32 or lines.ndim != 2 or lines.shape[1] != geometry.columns:
            raise ValueError(f"lines of shape {lines.shape} and type {lines.dtype}; a line has {geometry.columns} px")
        if self._picture.lines + len(lines) > geometry.rows:
            raise ValueError(f"{len(lines)} lines after {self._picture.lines} of {geometry.rows}")
        if len(lines) == 0:
            return self._map
        began_s = time.perf_counter()
        self._spent_s = {"detect": 0.0, "locate": 0.0}
        for line in lines:
            for front in self._picture.take(line):
                if self._plan.settles(front):
                    self._settle(front - self._plan.margin)
        self._look()
        self._spent_s["prepare"] = time.perf_counter() - began_s - sum(self._spent_s.values())
        self._map = self._make_map()
        return self._map

    def preview_png(self) -> bytes:
        """Draw the levelled frame, transparent where not scanned: the cost grows with the frame.

        Returns
        -------
        bytes
            PNG, 8-bit grey, at most 1024 px a side.
        """
        return self._picture.preview_png()

    def _look(self) -> None:
        """Look at what lies beyond the boundary, unless it was looked at."""
        front = self._picture.rows
        if front == self._plan.rows:
            self._settle(math.inf)
            self._provisional = self._locate(no_detections(), settled=True)
        elif front != self._looked_at and self._plan.worth_looking(front):
            self._provisional = self._locate(self._new_ones(math.inf), settled=False)
        self._looked_at = front

    def _settle(self, boundary: float) -> None:
        """Let the molecules behind a boundary be as they are now."""
        located = self._locate(self._new_ones(boundary), settled=True)
        self._boundary = min(boundary, float(self._plan.rows))
        self._settled = sorted([*self._settled, *located.molecules], key=_falling_score)
        self._settled_tally = self._settled_tally.plus(located)
        recent = joined(self._recent, located.detections)
        self._recent = select(recent, self._in_scan_order(recent)[:, 1] > self._plan.top(self._picture.rows))

    def _new_ones(self, boundary: float) -> Detections:
        """What the last rows show between the boundary that was and the one that shall be, and is not settled yet."""
        found = self._detect()
        middle = self._in_scan_order(found).mean(axis=1)
        found = select(found, (middle >= self._boundary - self._plan.slack) & (middle < boundary))
        return select(found, ~known_among(found, self._recent, self._manifest))

    def _detect(self) -> Detections:
        """What the window up to the front shows, cut off at the front."""
        front, began_s = self._picture.rows, time.perf_counter()
        if self._seen[0] != front:
            found = self._detector.detect(self._picture.window(self._plan.top(front)))
            found = select(found, self._in_scan_order(found).mean(axis=1) <= front)
            low, high = (self._plan.rows - front, np.inf) if self._up else (-np.inf, front)
            count = (len(found), 1)
            ends = (np.tile(np.array([x, y], dtype=np.float32), count) for x, y in ((-np.inf, low), (np.inf, high)))
            self._seen = front, clip(found, *ends)[0]
        self._spent_s["detect"] += time.perf_counter() - began_s
        return self._seen[1]

    def _locate(self, found: Detections, *, settled: bool) -> Located:
        began_s = time.perf_counter()
        picture, box = self._picture, self._picture.letterbox
        place = (box.rows - picture.rows if self._up else picture.rows) / box.scale_y
        if picture.rows == box.rows:
            place = -math.inf if self._up else math.inf
        rows = self._info.geometry.rows
        front = Front(place, self._up, (rows - picture.lines, rows) if self._up else (0, picture.lines))
        located = self._locator.locate(found, self._recent, picture.levelled, front, settled=settled)
        self._spent_s["locate"] += time.perf_counter() - began_s
        return located

    def _in_scan_order(self, detections: Detections) -> NDArray[np.float64]:
        """Where detections begin and end, in rows from the first line: (N, 2)."""
        edges = detections.boxes[:, [1, 3]].astype(np.float64)
        return self._plan.rows - edges[:, ::-1] if self._up else edges

    def _make_map(self) -> LiveMap:
        picture, geometry = self._picture, self._info.geometry
        pixels = picture.scanned_pixels
        area_nm2 = pixels * geometry.pixel_area_nm2
        tally = self._settled_tally.plus(self._provisional)
        settled_rows = max(0.0, self._boundary - self._plan.slack) / picture.letterbox.scale_y
        return LiveMap(
            frame=replace(self._info, complete_rows=picture.lines),
            model=self._manifest.identity,
            molecules=tuple(sorted([*self._settled, *self._provisional.molecules], key=_falling_score)),
            counts=tally.counts(pixels, area_nm2),
            scanned_area_nm2=area_nm2,
            coverage=tally.covered / pixels if pixels else math.nan,
            settled_rows=geometry.rows if picture.rows == self._plan.rows else int(settled_rows),
            timings_ms={stage: 1e3 * spent_s for stage, spent_s in self._spent_s.items()},
        )


def _falling_score(one: LiveMolecule) -> float:
    return -one.molecule.score
