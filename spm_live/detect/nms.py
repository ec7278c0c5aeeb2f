"""Non-maximum suppression: of detections that lie on one another, keep the best."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.domain import Detections

MASK_THRESHOLD = 0.5
"""Where a mask's probability exceeds this lies the molecule (He et al. 2017, arXiv:1703.06870, section 3.1)."""
BLOCK = 32
"""Boxes compared with all others at once: of a thousand boxes the numbers of one step then stay in the cache."""
SAMPLES = 48
"""Samples along each side of a rectangle whose part under masks is measured: more than a mask has cells. From 64 on
OpenCV hands so small a picture to its threads, which takes five times as long."""


@dataclass(frozen=True, slots=True, eq=False)
class _Shape:
    """A mask over a box (x1, y1, x2, y2), and the area where it exceeds the threshold."""

    box: tuple[float, float, float, float]
    mask: NDArray[np.float32]
    area: float


def suppress(detections: Detections, iou: float, kind: Literal["box", "mask"]) -> Detections:
    """Greedy non-maximum suppression across classes.

    Parameters
    ----------
    detections : Detections
        In any order.
    iou : float
        Of two detections whose intersection over union is greater than this, the one with the lower score is dropped.
    kind : "box" or "mask"
        What the intersection and the union are taken of.

    Returns
    -------
    Detections
        In falling score; equal scores in the order of their boxes, so that the order of the input does not matter.

    Notes
    -----
    Only a detection that is itself kept suppresses others: in a chain of three, where the first overlaps the second
    and the second the third, the first and the third stay.
    """
    order = np.lexsort((*detections.boxes.T[::-1], detections.classes, -detections.scores))
    ordered = select(detections, order)
    boxes = ordered.boxes.astype(np.float64)
    first, second = _overlapping(boxes, 0.0 if kind == "mask" else iou)
    shapes: dict[int, _Shape] = {}
    if kind == "mask":
        paired = np.zeros(len(boxes), dtype=bool)
        paired[first] = paired[second] = True
        shapes = {index: _shape(boxes[index], ordered.masks[index]) for index in np.flatnonzero(paired).tolist()}
        possible = _highest_iou(boxes, shapes, first, second) > iou
        first, second = first[possible], second[possible]
    kept = np.ones(len(ordered), dtype=bool)
    bounds = np.flatnonzero(np.diff(first, prepend=-1, append=-1))
    for start, end in pairwise(bounds.tolist()):
        better, worse = int(first[start]), second[start:end]
        if not kept[better]:
            continue
        worse = worse[kept[worse]]
        if kind == "mask":
            overlap = [_shape_iou(shapes[better], shapes[index]) for index in worse.tolist()]
            worse = worse[np.array(overlap) > iou] if overlap else worse
        kept[worse] = False
    return select(ordered, kept)


def select(detections: Detections, which: NDArray[np.intp] | NDArray[np.bool_]) -> Detections:
    """Some of the detections, by index or by flag."""
    return Detections(
        boxes=detections.boxes[which],
        scores=detections.scores[which],
        classes=detections.classes[which],
        masks=detections.masks[which],
    )


def box_iou(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of every box with every other.

    Parameters
    ----------
    one : (N, 4) float array
        x1, y1, x2, y2.
    other : (M, 4) float array
        Likewise.

    Returns
    -------
    (N, M) float array
        0 to 1; 0 where neither box has an area.
    """
    meet = _intersection(one, other)
    join = _area(one)[:, None] + _area(other)[None, :] - meet
    return np.divide(meet, join, out=np.zeros_like(meet), where=join > 0)


def mask_iou(
    box_a: NDArray[np.float64], mask_a: NDArray[np.float32], box_b: NDArray[np.float64], mask_b: NDArray[np.float32]
) -> float:
    """Intersection over union of two masks that lie over two boxes.

    Parameters
    ----------
    box_a, box_b : (4,) float array
        x1, y1, x2, y2.
    mask_a, mask_b : (M, M) float32 array
        Probabilities over the boxes.

    Returns
    -------
    float
        0 to 1: each area is sampled on a grid of its own, 48 points a side, over the boxes and over what both boxes
        have in common; 0 where neither mask covers a point.
    """
    return _shape_iou(_shape(box_a, mask_a), _shape(box_b, mask_b))


def _shape(box: NDArray[np.float64], mask: NDArray[np.float32]) -> _Shape:
    left, top, right, bottom = box.tolist()
    edges = (left, top, right, bottom)
    covered = int(np.count_nonzero(_sampled(edges, mask, edges) > MASK_THRESHOLD))
    return _Shape(edges, mask, covered / SAMPLES**2 * ((right - left) * (bottom - top)))


def _shape_iou(one: _Shape, other: _Shape) -> float:
    left, top = max(one.box[0], other.box[0]), max(one.box[1], other.box[1])
    right, bottom = min(one.box[2], other.box[2]), min(one.box[3], other.box[3])
    if left >= right or top >= bottom:
        return 0.0
    common = (left, top, right, bottom)
    lesser = np.minimum(_sampled(one.box, one.mask, common), _sampled(other.box, other.mask, common))
    meet = int(np.count_nonzero(lesser > MASK_THRESHOLD)) / SAMPLES**2 * ((right - left) * (bottom - top))
    meet = min(meet, one.area, other.area)  # sampled on other points, it may come out larger
    join = one.area + other.area - meet
    return meet / join if join else 0.0


def _highest_iou(
    boxes: NDArray[np.float64], shapes: dict[int, _Shape], first: NDArray[np.intp], second: NDArray[np.intp]
) -> NDArray[np.float64]:
    """What :func:`_shape_iou` of pairs is at most: masks have no more in common than boxes, or than the smaller has.

    Rounded alike, step by step, so that it is never below, not even by the last digit.
    """
    areas = np.zeros(len(boxes))
    areas[list(shapes)] = [shape.area for shape in shapes.values()]
    low = np.maximum(boxes[first, :2], boxes[second, :2])
    high = np.minimum(boxes[first, 2:], boxes[second, 2:])
    meet = np.minimum(np.prod(high - low, axis=1), np.minimum(areas[first], areas[second]))
    join = areas[first] + areas[second] - meet
    highest: NDArray[np.float64] = np.divide(meet, join, out=np.zeros_like(meet), where=join > 0)
    return highest


def _sampled(
    box: tuple[float, float, float, float], mask: NDArray[np.float32], part: tuple[float, float, float, float]
) -> NDArray[np.float32]:
    """Interpolate a mask over a box on a grid over a part of the box: (SAMPLES, SAMPLES)."""
    cells_x, cells_y = mask.shape[1] / (box[2] - box[0]), mask.shape[0] / (box[3] - box[1])
    step_x, step_y = (part[2] - part[0]) / SAMPLES * cells_x, (part[3] - part[1]) / SAMPLES * cells_y
    # Sample and cell k both lie in the middle of their share of the way, at k + 0.5.
    matrix = np.array(
        [
            [step_x, 0, (part[0] - box[0]) * cells_x + step_x / 2 - 0.5],
            [0, step_y, (part[1] - box[1]) * cells_y + step_y / 2 - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    values = cv2.warpAffine(mask, matrix, (SAMPLES, SAMPLES), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(values, dtype=np.float32)


def _overlapping(boxes: NDArray[np.float64], iou: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of boxes that overlap by more than ``iou``, the better one first, in the order of the better ones."""
    firsts, seconds = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
    for start in range(0, len(boxes), BLOCK):
        close = box_iou(boxes[start : start + BLOCK], boxes[start:]) > iou
        row, column = np.nonzero(np.triu(close, k=1))
        firsts.append(row + start)
        seconds.append(column + start)
    return np.concatenate(firsts), np.concatenate(seconds)


def _intersection(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    width = np.minimum(one[:, None, 2], other[None, :, 2]) - np.maximum(one[:, None, 0], other[None, :, 0])
    height = np.minimum(one[:, None, 3], other[None, :, 3]) - np.maximum(one[:, None, 1], other[None, :, 1])
    meet: NDArray[np.float64] = np.maximum(width, 0) * np.maximum(height, 0)
    return meet


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area
