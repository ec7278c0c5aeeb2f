"""From detections of a frame in progress to molecules and counts, at a cost that does not grow with the frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spm_live.detect.nms import box_iou, select
from spm_live.domain import Detections, Letterbox, ScanGeometry
from spm_live.locate.coverage import covered_pixels
from spm_live.locate.molecules import EDGE_MARGIN_PX, Shapes, measure, to_molecules
from spm_live.locate.scanned import survey
from spm_live.scanning import LiveCount, LiveMolecule

FRONT_MARGIN_PX = 2.0
"""A molecule that comes this near to the front is taken to be cut by it: in pixels of the frame or of the model's
picture, whichever are larger."""
SHORE_PX = 4
"""Pixels around the molecules that are looked at, too: lines that were lost may cut them."""


@dataclass(frozen=True, slots=True, eq=False)
class Front:
    """Where the frame ends so far.

    Parameters
    ----------
    edge_px : float
        Edge between what was scanned and what was not, in frame pixels from the top; outside the frame when it is
        finished.
    up : bool
        Whether what is above it comes next, else what is below.
    rows : (int, int)
        Rows of the frame, top to bottom, that lines have come of: the first, and the one after the last.
    """

    edge_px: float
    up: bool
    rows: tuple[int, int]

    def cuts(self, boxes: NDArray[np.float64], margin_px: float) -> NDArray[np.bool_]:
        """Which boxes, x1, y1, x2, y2 in frame pixels, come so near to it: (N,) bool array."""
        cut: NDArray[np.bool_] = (
            boxes[:, 1] <= self.edge_px + margin_px if self.up else boxes[:, 3] >= self.edge_px - margin_px
        )
        return cut


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """Molecules, and what they cover.

    Parameters
    ----------
    detections : Detections
        Those that are molecules, in model pixels.
    molecules : tuple of LiveMolecule
        The same, on the surface.
    covered : int
        Scanned pixels under them and under no molecule that was counted before.
    by_class : (classes,) int array
        Likewise, with the molecules of each class alone.
    """

    detections: Detections
    molecules: tuple[LiveMolecule, ...]
    covered: int
    by_class: NDArray[np.int64]


class LiveLocator:
    """Brings detections to the surface.

    Parameters
    ----------
    geometry : ScanGeometry
        Of the frame.
    letterbox : Letterbox
        The resampled picture in the frame.
    classes : sequence of str
        Names of the model's classes.
    """

    def __init__(self, geometry: ScanGeometry, letterbox: Letterbox, classes: Sequence[str]) -> None:
        self._geometry, self._classes = geometry, tuple(classes)
        self._scale = np.array([letterbox.scale_x, letterbox.scale_y] * 2)
        self._pixel = max(1.0, 1 / letterbox.scale_x), max(1.0, 1 / letterbox.scale_y)

    def locate(
        self,
        found: Detections,
        counted: Detections,
        levelled: NDArray[np.float32],
        front: Front,
        *,
        settled: bool,
    ) -> Located:
        """Locate molecules; as :func:`spm_live.locate.locate`, but for a band around them.

        Parameters
        ----------
        found : Detections
            In pixels of the resampled picture; not beyond the front.
        counted : Detections
            Those whose pixels were counted before; the ones that overlap with these matter.
        levelled : (rows, columns) float32 array
            The frame; NaN where not scanned.
        front : Front
            Where it ends.
        settled : bool
            Whether these molecules settle: then the front cuts none of them.
        """
        if len(found) == 0:
            return Located(found, (), 0, np.zeros(len(self._classes), dtype=np.int64))
        boxes = found.boxes / self._scale
        others = counted.boxes / self._scale
        near = np.flatnonzero((box_iou(others, boxes) > 0).any(axis=1))
        top, bottom = _band(np.concatenate([boxes, others[near]]), front.rows)
        offset = np.array([0.0, top, 0.0, top])
        area = survey(levelled[top:bottom])
        area = replace(area, extent=(0.0, -float(top), float(self._geometry.columns), float(self._geometry.rows - top)))
        shapes = measure(boxes - offset, found.masks, area)
        margin = (EDGE_MARGIN_PX * self._pixel[0], EDGE_MARGIN_PX * self._pixel[1])
        edge = area.near_border(shapes.points, shapes.lengths, margin)
        kept = select(found, shapes.which)
        covered, by_class = self._added(shapes.boxes, kept, others[near] - offset, select(counted, near), area.scanned)
        placed = _shifted(shapes, top)
        cut = np.zeros(len(kept), dtype=bool) if settled else front.cuts(placed.boxes, FRONT_MARGIN_PX * self._pixel[1])
        labels = [self._classes[number] for number in kept.classes.tolist()]
        molecules = to_molecules(labels, kept.scores.tolist(), placed, edge.tolist(), self._geometry)
        live = tuple(LiveMolecule(one, by, settled) for one, by in zip(molecules, cut.tolist(), strict=True))
        return Located(kept, live, covered, by_class)

    def _added(
        self,
        boxes: NDArray[np.float64],
        found: Detections,
        others: NDArray[np.float64],
        counted: Detections,
        scanned: NDArray[np.bool_],
    ) -> tuple[int, NDArray[np.int64]]:
        """Pixels that were not covered before, all together and by class."""
        number = len(self._classes)
        limits = np.array([scanned.shape[1], scanned.shape[0]] * 2)
        others = np.clip(others, 0, limits)
        before, before_by_class = covered_pixels(others, counted.masks, counted.classes, number, scanned)
        if len(counted):
            boxes, masks = np.concatenate([boxes, others]), np.concatenate([found.masks, counted.masks])
            classes = np.concatenate([found.classes, counted.classes])
        else:
            masks, classes = found.masks, found.classes
        after, after_by_class = covered_pixels(boxes, masks, classes, number, scanned)
        return after - before, np.array(after_by_class, dtype=np.int64) - np.array(before_by_class, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Counts of every class, to be carried on.

    Parameters
    ----------
    classes : tuple of str
        Names of all classes.
    whole, edge, cut : (classes,) int array
        Molecules that nothing cuts, that the border of the frame cuts, and that the front cuts.
    covered : int
        Pixels under any mask.
    by_class : (classes,) int array
        Pixels under the masks of each class.
    """

    classes: tuple[str, ...]
    whole: NDArray[np.int64]
    edge: NDArray[np.int64]
    cut: NDArray[np.int64]
    covered: int
    by_class: NDArray[np.int64]

    @classmethod
    def nothing(cls, classes: Sequence[str]) -> Tally:
        """Before the first molecule."""
        none = np.zeros(len(classes), dtype=np.int64)
        return cls(tuple(classes), none, none, none, 0, none)

    def plus(self, located: Located) -> Tally:
        """Count more molecules."""
        groups = np.zeros((3, len(self.classes)), dtype=np.int64)
        for one, number in zip(located.molecules, located.detections.classes.tolist(), strict=True):
            groups[2 if one.cut_by_front else 1 if one.molecule.touches_edge else 0, number] += 1
        whole, edge, cut = groups
        return Tally(
            classes=self.classes,
            whole=self.whole + whole,
            edge=self.edge + edge,
            cut=self.cut + cut,
            covered=self.covered + located.covered,
            by_class=self.by_class + located.by_class,
        )

    def counts(self, pixels: int, area_nm2: float) -> Mapping[str, LiveCount]:
        """Counts, densities and coverage.

        Parameters
        ----------
        pixels, area_nm2 : int, float
            What was scanned.

        Returns
        -------
        mapping of str to LiveCount

        Notes
        -----
        A molecule that the border of the frame or the front cuts counts one half in the density: of these, half have
        their centre inside (see :func:`spm_live.locate.locate`). The error is that of a sum of independent, rare
        events with weights w, the square root of the sum of w² (Bohm and Zech 2013, arXiv:1309.1287); but at least
        that of one molecule, since none found does not mean none there.
        """
        halves = self.edge + self.cut
        weight, square = self.whole + halves / 2, np.maximum(1.0, self.whole + halves / 4)
        return {
            label: LiveCount(
                total=int(self.whole[number] + self.edge[number]),
                edge=int(self.edge[number]),
                cut_by_front=int(self.cut[number]),
                density_per_nm2=float(weight[number]) / area_nm2 if pixels else math.nan,
                density_error_per_nm2=math.sqrt(square[number]) / area_nm2 if pixels else math.nan,
                coverage=int(self.by_class[number]) / pixels if pixels else math.nan,
            )
            for number, label in enumerate(self.classes)
        }


def _band(boxes: NDArray[np.float64], rows: tuple[int, int]) -> tuple[int, int]:
    """Rows that boxes lie in, with a shore, but none from beyond the front: it is no border of the frame."""
    top = math.floor(float(boxes[:, 1].min())) - SHORE_PX
    bottom = math.ceil(float(boxes[:, 3].max())) + SHORE_PX
    return max(rows[0], top), min(rows[1], bottom)


def _shifted(shapes: Shapes, rows: int) -> Shapes:
    """Shapes of a band, counted from the top of the frame."""
    down = np.array([0.0, float(rows)])
    measured = replace(shapes.measured, center=shapes.measured.center + down)
    return replace(shapes, boxes=shapes.boxes + np.tile(down, 2), points=shapes.points + down, measured=measured)
