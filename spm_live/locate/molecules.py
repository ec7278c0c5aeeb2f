"""Detections in pixels become molecules in nm, and molecules become counts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.domain import (
    ClassCount,
    Detections,
    Frame,
    Letterbox,
    ModelIdentity,
    Molecule,
    MoleculeMap,
    ScanGeometry,
    Spectrum,
)
from spm_live.locate.coverage import covered_pixels
from spm_live.locate.scanned import ScannedArea, survey
from spm_live.locate.shapes import MASK_THRESHOLD, Moments, axes, cover, moments, outlines, refine
from spm_live.locate.spectra import match_spectra

EDGE_MARGIN_PX = 1.0
"""A molecule that comes this near to the border of what was scanned is taken to be cut: in pixels of the frame or of
the model's picture, whichever are larger, since a border is known no better."""


def locate(
    detections: Detections,
    letterbox: Letterbox,
    frame: Frame,
    classes: Sequence[str],
    model: ModelIdentity,
    spectra: Sequence[Spectrum] = (),
) -> MoleculeMap:
    """Turn detections into molecules on the surface.

    Parameters
    ----------
    detections : Detections
        In pixels of the resampled picture.
    letterbox : Letterbox
        The resampled picture in the frame.
    frame : Frame
        The frame.
    classes : sequence of str
        Names of the model's classes.
    model : ModelIdentity
        Kept with the result.
    spectra : sequence of Spectrum
        To be matched to the molecules.

    Returns
    -------
    MoleculeMap
        Molecules in falling score. What lies under a mask but was not scanned counts nowhere; a detection is left out
        if its centre was not scanned, or if its mask is nowhere over one half.

    Notes
    -----
    Density is (whole + cut / 2) / scanned area. A molecule counts if its centre lies inside the frame; of those that
    the border cuts, half do on average, since the border may lie anywhere on them. Counting all of them, or none,
    would be wrong by a share that grows as frames get smaller: the edge effect that Gundersen's forbidden line
    corrects (J. Microsc. 111 (1977) 219, doi:10.1111/j.1365-2818.1977.tb00062.x).
    """
    area = survey(frame.data)
    scale = np.array([letterbox.scale_x, letterbox.scale_y] * 2)
    shapes = measure(detections.boxes / scale, detections.masks, area)
    margin = tuple(EDGE_MARGIN_PX * max(1.0, 1 / scale) for scale in (letterbox.scale_x, letterbox.scale_y))
    edge = area.near_border(shapes.points, shapes.lengths, (margin[0], margin[1]))
    numbers = detections.classes[shapes.which]
    covered, by_class = covered_pixels(
        shapes.boxes, detections.masks[shapes.which], numbers, len(classes), area.scanned
    )
    area_nm2 = area.pixels * frame.geometry.pixel_area_nm2
    return MoleculeMap(
        frame=frame.info,
        model=model,
        molecules=to_molecules(
            [classes[number] for number in numbers.tolist()],
            detections.scores[shapes.which].tolist(),
            shapes,
            edge.tolist(),
            frame.geometry,
            spectra,
        ),
        counts={
            label: _count(edge[numbers == number], area_nm2, by_class[number], area.pixels)
            for number, label in enumerate(classes)
        },
        scanned_area_nm2=area_nm2,
        coverage=covered / area.pixels if area.pixels else math.nan,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """The shapes of those detections that are molecules, in frame pixels.

    Parameters
    ----------
    which : (N,) int array
        Indices of these detections.
    boxes : (N, 4) float64 array
        x1, y1, x2, y2: edges.
    points : (P, 2) float64 array
        Their outlines one after the other, in pixel centres.
    lengths : (N,) int array
        Points of each.
    measured : Moments
        In pixel centres.
    """

    which: NDArray[np.intp]
    boxes: NDArray[np.float64]
    points: NDArray[np.float64]
    lengths: NDArray[np.intp]
    measured: Moments


def measure(boxes: NDArray[np.float64], masks: NDArray[np.float32], area: ScannedArea) -> Shapes:
    """Measure the masks of detections, and leave out those that are no molecules.

    Parameters
    ----------
    boxes : (N, 4) float64 array
        x1, y1, x2, y2 in frame pixels: edges.
    masks : (N, M, M) float32 array
        Probabilities over the boxes.
    area : ScannedArea
        What was scanned; its upper left pixel is where the boxes are counted from.
    """
    rows, columns = area.scanned.shape
    boxes = np.clip(boxes, 0, [columns, rows, columns, rows])
    fine = refine(masks)
    inside = cover(fine)
    measured = moments(inside, boxes[:, :2] - 0.5, boxes[:, 2:] - boxes[:, :2])
    which = np.flatnonzero((fine > MASK_THRESHOLD).any(axis=(1, 2)))
    which = which[area.holds(measured.center[which])]
    if not area.complete:
        holed = which[area.gaps_in(boxes[which])]
        inside[holed] *= _cells_scanned(boxes[holed], fine.shape[1], area.scanned)
        which = which[inside[which].any(axis=(1, 2))]
    if not area.complete or len(which) < len(boxes):
        measured = moments(inside[which], boxes[which, :2] - 0.5, boxes[which, 2:] - boxes[which, :2])
    polygons = outlines(fine[which])
    lengths = np.array([len(polygon) for polygon in polygons], dtype=np.intp)
    points = _frame_points(polygons, lengths, boxes[which], fine.shape[1])
    return Shapes(which, boxes[which], points, lengths, measured)


def _cells_scanned(boxes: NDArray[np.float64], side: int, scanned: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the pixel under the middle of each cell of the grids over the boxes was scanned: (N, side, side)."""
    part = (np.arange(side) + 0.5) / side
    x = boxes[:, :1] + part * (boxes[:, 2:3] - boxes[:, :1])
    y = boxes[:, 1:2] + part * (boxes[:, 3:4] - boxes[:, 1:2])
    rows, columns = scanned.shape
    row, column = np.minimum(y.astype(np.intp), rows - 1), np.minimum(x.astype(np.intp), columns - 1)
    cells: NDArray[np.bool_] = scanned[row[:, :, None], column[:, None, :]]
    return cells


def _frame_points(
    polygons: list[NDArray[np.float32]], lengths: NDArray[np.intp], boxes: NDArray[np.float64], side: int
) -> NDArray[np.float64]:
    """From cells over the boxes to frame pixels, all polygons one after the other."""
    if not polygons:
        return np.zeros((0, 2))
    corner = np.repeat(boxes[:, :2], lengths, axis=0)
    size = np.repeat(boxes[:, 2:] - boxes[:, :2], lengths, axis=0)
    points: NDArray[np.float64] = corner + np.concatenate(polygons) / side * size - 0.5
    return points


def to_molecules(
    labels: Sequence[str],
    scores: Sequence[float],
    shapes: Shapes,
    edge: Sequence[bool],
    geometry: ScanGeometry,
    spectra: Sequence[Spectrum] = (),
) -> tuple[Molecule, ...]:
    """Bring shapes to the surface.

    Parameters
    ----------
    labels, scores, edge : sequence
        Class name, score, and whether the border cuts it, of each shape.
    shapes : Shapes
        In pixels of the frame.
    geometry : ScanGeometry
        Of the frame.
    spectra : sequence of Spectrum
        To be matched to the molecules.
    """
    step_x, step_y = geometry.nm_per_px
    # y grows up on the surface and down in the frame, which turns the sign of the covariance.
    spread = shapes.measured.spread * np.array([step_x**2, step_y**2, -step_x * step_y])
    length, width, angle = axes(spread)
    orientation = (angle - geometry.angle_deg) % 180.0  # the frame is turned clockwise
    orientation[orientation == 180.0] = 0.0  # what the remainder of a tiny negative number rounds to
    ends = np.cumsum(shapes.lengths)
    matched: list[tuple[str, ...]] = [()] * len(labels)
    if spectra and labels:
        matched = match_spectra(np.split(geometry.to_nm(shapes.points), ends[:-1]), spectra)
    # Made of whole columns: point by point and molecule by molecule the same takes three times as long.
    corners = list(_tuples(shapes.points))
    rows = zip(
        labels,
        scores,
        _tuples(geometry.to_nm(shapes.measured.center)),
        (shapes.measured.area * geometry.pixel_area_nm2).tolist(),
        length.tolist(),
        width.tolist(),
        orientation.tolist(),
        _tuples(shapes.boxes),
        (ends - shapes.lengths).tolist(),
        ends.tolist(),
        edge,
        matched,
        strict=True,
    )
    return tuple(
        Molecule(
            label=label,
            score=score,
            center_nm=center,
            area_nm2=area,
            length_nm=long,
            width_nm=short,
            orientation_deg=turn,
            box_px=box,
            outline_px=tuple(corners[begin:end]),
            touches_edge=cut,
            spectra=sources,
        )
        for label, score, center, area, long, short, turn, box, begin, end, cut, sources in rows
    )


def _tuples(array: NDArray[np.float64]) -> Iterator[tuple[Any, ...]]:
    """The rows of an array with columns."""
    return zip(*array.T.tolist(), strict=True)


def _count(edge: NDArray[np.bool_], area_nm2: float, covered: int, pixels: int) -> ClassCount:
    total, cut = edge.size, int(np.count_nonzero(edge))
    return ClassCount(
        total=total,
        edge=cut,
        density_per_nm2=(total - cut / 2) / area_nm2 if pixels else math.nan,
        coverage=covered / pixels if pixels else math.nan,
    )
