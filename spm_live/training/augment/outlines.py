"""Many outlines at once: moving them, cutting them off at the edges of a picture, telling what is left of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from spm_live.training.labelled import LabelledMolecule, LabelledPicture, Ring

KEEP_VISIBLE = 0.45
"""A molecule of which less than this part is seen is ignored: a person would not label it for sure either."""
LEAST_AREA_PX = 1.0
"""What covers less cannot be seen at all, and is left out."""
SMALLEST_PX = 5.0
"""A molecule both of whose sides are shorter can no longer be told from noise; it is ignored."""

Points = NDArray[np.float64]
Move = Callable[[Points], Points]


def area_of(ring: Ring) -> float:
    """Area within a ring, in square pixels (the surveyor's formula)."""
    x, y = ring[:, 0], ring[:, 1]
    return abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]) + x[-1] * y[0] - x[0] * y[-1])) / 2


@dataclass(frozen=True, slots=True, eq=False)
class _Moved:
    """Outlines after a move: all corners, where rings begin, and the box of each molecule (x1, y1, x2, y2)."""

    points: Points
    bounds: list[int]
    boxes: NDArray[np.float64]

    def rings(self, first: int, count: int) -> tuple[Ring, ...]:
        return tuple(self.points[self.bounds[ring] : self.bounds[ring + 1]] for ring in range(first, first + count))


def _move(molecules: Sequence[LabelledMolecule], move: Move) -> _Moved:
    rings = [ring for one in molecules for ring in one.rings]
    bounds = list(accumulate(map(len, rings), initial=0))
    points = move(np.concatenate(rings))
    first_rings = list(accumulate((len(one.rings) for one in molecules), initial=0))[:-1]
    firsts = np.array([bounds[ring] for ring in first_rings])
    boxes = np.concatenate([np.minimum.reduceat(points, firsts), np.maximum.reduceat(points, firsts)], axis=1)
    return _Moved(points, bounds, boxes)


def moved_by(molecule: LabelledMolecule, move: Move) -> LabelledMolecule:
    """Move the corners of one molecule's outline."""
    return LabelledMolecule(molecule.label, tuple(move(ring) for ring in molecule.rings), molecule.ignore)


def seen_of(
    molecules: Sequence[LabelledMolecule],
    move: Move,
    shape: tuple[int, int],
    keep_visible: float = KEEP_VISIBLE,
) -> tuple[LabelledMolecule, ...]:
    """Move outlines, and cut off what lies beyond a picture.

    Parameters
    ----------
    molecules : sequence of LabelledMolecule
    move : callable
        Takes and returns corners, (N, 2) float64 arrays of x and y in pixels; called once for all.
    shape : (int, int)
        Rows and columns.
    keep_visible : float
        A molecule of which a smaller part is left is ignored, 0 to 1.

    Returns
    -------
    tuple of LabelledMolecule
        Those of which anything is left.
    """
    if not molecules:
        return ()
    rows, columns = shape
    moved = _move(molecules, move)
    x1, y1, x2, y2 = moved.boxes.T
    within = (x2 > 0) & (y2 > 0) & (x1 < columns) & (y1 < rows)
    crossing = ((x1 < 0) | (y1 < 0) | (x2 > columns) | (y2 > rows)).tolist()
    small = (np.maximum(x2 - x1, y2 - y1) < SMALLEST_PX).tolist()
    first_rings = list(accumulate((len(one.rings) for one in molecules), initial=0))
    seen = []
    for number in np.flatnonzero(within).tolist():
        one = molecules[number]
        rings = moved.rings(first_rings[number], len(one.rings))
        whole = LabelledMolecule(one.label, rings, one.ignore or small[number])
        left = clip(whole, (0.0, 0.0, float(columns), float(rows)), keep_visible) if crossing[number] else whole
        if left is not None:
            seen.append(left)
    return tuple(seen)


def trimmed(picture: LabelledPicture, keep_visible: float = KEEP_VISIBLE) -> LabelledPicture:
    """Cut off what outlines reach beyond their own picture: moved, they would lie where they have nothing to show."""
    return replace(picture, molecules=seen_of(picture.molecules, np.asarray, picture.image.shape[:2], keep_visible))


def clip(
    molecule: LabelledMolecule, window: tuple[float, float, float, float], keep_visible: float = KEEP_VISIBLE
) -> LabelledMolecule | None:
    """Cut off what lies beyond a window.

    Parameters
    ----------
    molecule : LabelledMolecule
    window : (float, float, float, float)
        x1, y1, x2, y2 in pixels.
    keep_visible : float
        As for :func:`seen_of`.

    Returns
    -------
    LabelledMolecule or None
        None where less than a pixel is left.
    """
    rings = tuple(ring for ring in (clip_ring(ring, window) for ring in molecule.rings) if len(ring) >= 3)
    left, whole = sum(map(area_of, rings)), sum(map(area_of, molecule.rings))
    if left < LEAST_AREA_PX:
        return None
    clipped = LabelledMolecule(molecule.label, rings, molecule.ignore)
    x1, y1, x2, y2 = clipped.box_px
    tiny = max(x2 - x1, y2 - y1) < SMALLEST_PX
    if left < keep_visible * whole or tiny:
        return LabelledMolecule(molecule.label, rings, ignore=True)
    return clipped


def clip_ring(ring: Ring, window: tuple[float, float, float, float]) -> Ring:
    """Cut a ring off at the four sides of a window.

    Returns
    -------
    (K, 2) float64 array
        Empty where nothing is left. A ring that leaves the window and returns keeps in one piece, joined along the
        side: that line encloses no area (Sutherland and Hodgman 1974, doi:10.1145/360767.360802).
    """
    x1, y1, x2, y2 = window
    corners: list[tuple[float, float]] = list(map(tuple, ring.tolist()))
    # Plain numbers: for a dozen corners they are ten times as fast as arrays.
    for axis, limit, inwards in ((0, x1, 1.0), (0, x2, -1.0), (1, y1, 1.0), (1, y2, -1.0)):
        if corners and min((corner[axis] - limit) * inwards for corner in corners) < 0:
            corners = _clip_side(corners, axis, limit, inwards)
    return np.array(corners) if len(corners) >= 3 else np.empty((0, 2))


def _clip_side(
    corners: list[tuple[float, float]], axis: int, limit: float, inwards: float
) -> list[tuple[float, float]]:
    kept = []
    last = corners[-1]
    last_depth = (last[axis] - limit) * inwards
    for corner in corners:
        depth = (corner[axis] - limit) * inwards
        if (depth >= 0) != (last_depth >= 0):
            part = last_depth / (last_depth - depth)
            other = last[1 - axis] + (corner[1 - axis] - last[1 - axis]) * part
            kept.append((limit, other) if axis == 0 else (other, limit))
        if depth >= 0:
            kept.append(corner)
        last, last_depth = corner, depth
    return kept


def densified(rings: Sequence[Ring], longest_px: float = 3.0) -> list[Ring]:
    """Put corners on the sides of rings, so that a bend bends them too.

    Returns
    -------
    list of (K, 2) float64 array
        With no side longer than ``longest_px``.
    """
    points = np.concatenate(rings)
    ends = np.cumsum([len(ring) for ring in rings])
    following = np.arange(1, len(points) + 1)
    following[ends - 1] = np.concatenate([[0], ends[:-1]])
    step = points[following] - points
    pieces = np.maximum(1, np.ceil(np.hypot(step[:, 0], step[:, 1]) / longest_px)).astype(int)
    after = np.cumsum(pieces)
    start = np.repeat(np.arange(len(points)), pieces)
    part = (np.arange(after[-1]) - (after - pieces)[start]) / pieces[start]
    return np.split(points[start] + step[start] * part[:, None], after[ends - 1][:-1])
