"""How much shapes overlap, measured where they are and not over the whole picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spm_live.detect.nms import box_iou
from spm_live.training.labelled import Ring, coverage_of

__all__ = ["Patch", "Shapes", "box_cover", "box_iou", "mask_cover", "mask_iou", "patch_of", "shapes_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """The part of a mask that has pixels.

    Parameters
    ----------
    left, top : int
        Column and row of its upper left pixel in the picture.
    mask : (rows, columns) bool array
        Its pixels; may be empty.
    area : int
        How many they are.
    """

    left: int
    top: int
    mask: NDArray[np.bool_]
    area: int

    def full(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """The mask over a whole picture of a shape."""
        result = np.zeros(shape, dtype=np.bool_)
        rows, columns = self.mask.shape
        result[self.top : self.top + rows, self.left : self.left + columns] = self.mask
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """Some molecules or detections of one picture.

    Parameters
    ----------
    boxes : (N, 4) float64 array
        x1, y1, x2, y2, in pixels.
    patches : tuple of N Patch
        Their masks.
    """

    boxes: NDArray[np.float64]
    patches: tuple[Patch, ...]

    def __len__(self) -> int:
        return len(self.patches)

    def select(self, which: NDArray[np.bool_]) -> Shapes:
        """Some of them, by flag."""
        return Shapes(self.boxes[which], tuple(self.patches[index] for index in np.flatnonzero(which)))


def patch_of(rings: Sequence[Ring], shape: tuple[int, int]) -> Patch:
    """The pixels that lie within an outline by at least half, cut out of the picture.

    Parameters
    ----------
    rings : sequence of (K, 2) float64 array
        As in :class:`spm_live.training.labelled.LabelledMolecule`.
    shape : (int, int)
        Rows and columns of the picture.
    """
    points = np.concatenate(rings) if rings else np.zeros((0, 2))
    if len(points) == 0:
        return Patch(0, 0, np.zeros((0, 0), dtype=np.bool_), 0)
    low = np.clip(np.floor(points.min(axis=0)), 0, shape[::-1]).astype(int)
    high = np.clip(np.ceil(points.max(axis=0)), low, shape[::-1]).astype(int)
    columns, rows = (int(size) for size in high - low)
    mask = np.zeros((rows, columns), dtype=np.bool_)
    if mask.size:
        mask = coverage_of([ring - low for ring in rings], mask.shape) >= 0.5
    return Patch(int(low[0]), int(low[1]), mask, int(np.count_nonzero(mask)))


def shapes_of(
    boxes: Sequence[tuple[float, float, float, float]], outlines: Sequence[Sequence[Ring]], shape: tuple[int, int]
) -> Shapes:
    """Boxes, and the masks within outlines."""
    return Shapes(np.array(boxes, dtype=np.float64).reshape(-1, 4), tuple(patch_of(rings, shape) for rings in outlines))


def mask_iou(found: Shapes, true: Shapes) -> NDArray[np.float64]:
    """Intersection over union of every mask with every other.

    Returns
    -------
    (N, M) float64 array
        0 to 1; 0 where neither has a pixel.
    """
    meet = _mask_intersections(found, true)
    join = _areas(found)[:, None] + _areas(true)[None] - meet
    iou: NDArray[np.float64] = np.divide(meet, join, out=np.zeros_like(meet), where=join > 0)
    return iou


def mask_cover(found: Shapes, other: Shapes) -> NDArray[np.float64]:
    """The greatest part of each mask that lies under one of the others.

    Returns
    -------
    (N,) float64 array
        0 to 1; 0 where there are no others.
    """
    return _part(_mask_intersections(found, other), _areas(found))


def box_cover(found: Shapes, other: Shapes) -> NDArray[np.float64]:
    """The greatest part of each box that lies in one of the others: (N,), 0 to 1."""
    low = np.maximum(found.boxes[:, None, :2], other.boxes[None, :, :2])
    high = np.minimum(found.boxes[:, None, 2:], other.boxes[None, :, 2:])
    meet = np.clip(high - low, 0, None).prod(axis=2)
    return _part(meet, (found.boxes[:, 2:] - found.boxes[:, :2]).prod(axis=1))


def _part(meet: NDArray[np.float64], areas: NDArray[np.float64]) -> NDArray[np.float64]:
    most = meet.max(axis=1, initial=0.0)
    part: NDArray[np.float64] = np.divide(most, areas, out=np.zeros_like(most), where=areas > 0)
    return part


def _areas(shapes: Shapes) -> NDArray[np.float64]:
    return np.array([patch.area for patch in shapes.patches], dtype=np.float64)


def _mask_intersections(found: Shapes, true: Shapes) -> NDArray[np.float64]:
    """Pixels in common: (N, M). Only pairs whose patches meet are looked at."""
    meet = np.zeros((len(found), len(true)))
    one, other = _windows(found), _windows(true)
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    for i, j in np.argwhere((low < high).all(axis=2)).tolist():
        (x1, y1), (x2, y2) = low[i, j], high[i, j]
        a, b = found.patches[i], true.patches[j]
        meet[i, j] = np.count_nonzero(
            a.mask[y1 - a.top : y2 - a.top, x1 - a.left : x2 - a.left]
            & b.mask[y1 - b.top : y2 - b.top, x1 - b.left : x2 - b.left]
        )
    return meet


def _windows(shapes: Shapes) -> NDArray[np.int64]:
    """x1, y1, x2, y2 of every patch: (N, 4)."""
    rows = [(p.left, p.top, p.left + p.mask.shape[1], p.top + p.mask.shape[0]) for p in shapes.patches]
    return np.array(rows, dtype=np.int64).reshape(-1, 4)
