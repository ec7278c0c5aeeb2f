"""Non-maximum suppression: of detections that lie on one another, keep the best."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.domain import Detections

MASK_THRESHOLD = 0.5
"""Where a mask's probability exceeds this lies the molecule (He et al. 2017, arXiv:1703.06870, section 3.1)."""
BLOCK = 256
"""Boxes compared with all others at once; bounds the memory at a few MB for thousands of boxes."""
FINEST_SIDE, COARSEST_SIDE = 128, 32
"""Samples along the longer side of what two masks cover together: one per pixel, within these limits."""


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
    kept = np.ones(len(ordered), dtype=bool)
    bounds = np.flatnonzero(np.diff(first, prepend=-1, append=-1))
    for start, end in pairwise(bounds.tolist()):
        better, worse = first[start], second[start:end]
        if not kept[better]:
            continue
        worse = worse[kept[worse]]
        if kind == "mask":
            overlap = [mask_iou(boxes[better], ordered.masks[better], boxes[j], ordered.masks[j]) for j in worse]
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
        0 to 1, sampled on a grid of 32 to 128 points along the longer side of both boxes together; 0 where neither
        mask covers a point.
    """
    left, top = np.minimum(box_a[:2], box_b[:2])
    right, bottom = np.maximum(box_a[2:], box_b[2:])
    side = max(right - left, bottom - top)
    step = side / min(FINEST_SIDE, max(COARSEST_SIDE, int(side)))
    shape = max(1, round((bottom - top) / step)), max(1, round((right - left) / step))
    area = (left, top, right, bottom)
    inside_a, inside_b = _paint(box_a, mask_a, area, shape), _paint(box_b, mask_b, area, shape)
    join = np.count_nonzero(inside_a | inside_b)
    return np.count_nonzero(inside_a & inside_b) / join if join else 0.0


def _paint(
    box: NDArray[np.float64], mask: NDArray[np.float32], area: tuple[float, float, float, float], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Sample a mask on a grid over an area: True where it exceeds the threshold."""
    left, top, right, bottom = area
    x = left + (np.arange(shape[1]) + 0.5) * (right - left) / shape[1]
    y = top + (np.arange(shape[0]) + 0.5) * (bottom - top) / shape[0]
    size = mask.shape[0]
    # Mask point k lies in the middle of its cell, (k + 0.5) / size of the way through the box.
    column = ((x - box[0]) / (box[2] - box[0]) * size - 0.5).astype(np.float32)
    row = ((y - box[1]) / (box[3] - box[1]) * size - 0.5).astype(np.float32)
    columns, rows = np.meshgrid(column, row)
    values = cv2.remap(mask, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = ((y >= box[1]) & (y <= box[3]))[:, None] & ((x >= box[0]) & (x <= box[2]))[None, :]
    painted: NDArray[np.bool_] = (np.asarray(values) > MASK_THRESHOLD) & inside
    return painted


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
