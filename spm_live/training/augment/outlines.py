"""Many outlines at once: moving them, cutting them off at the edges of a picture, telling what is left of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from spm_live.training.labelled import LabelledMolecule, Ring

KEEP_VISIBLE = 0.45
"""A molecule of which less than this part is seen is ignored: a person would not label it for sure either."""
LEAST_AREA_PX = 1.0
"""What covers less cannot be seen at all, and is left out."""
SMALLEST_PX = 5.0
"""A molecule both of whose sides are shorter can no longer be told from noise; it is ignored."""

Points = NDArray[np.float64]


def area_of(ring: Ring) -> float:
    """Area within a ring, in square pixels (the surveyor's formula)."""
    x, y = ring[:, 0], ring[:, 1]
    return abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]) + x[-1] * y[0] - x[0] * y[-1])) / 2


def move_points(
    molecules: Sequence[LabelledMolecule], move: Callable[[Points], Points]
) -> Iterator[tuple[LabelledMolecule, tuple[float, float, float, float]]]:
    """Move the corners of all outlines in one call.

    Parameters
    ----------
    molecules : sequence of LabelledMolecule
    move : callable
        Takes and returns (N, 2) float64 arrays, x and y in pixels.

    Yields
    ------
    molecule : LabelledMolecule
        Moved; in the given order.
    box : (float, float, float, float)
        x1, y1, x2, y2 of its outline, in pixels.
    """
    if not molecules:
        return
    rings = [ring for one in molecules for ring in one.rings]
    points = move(np.concatenate(rings))
    ends = np.cumsum([len(ring) for ring in rings])
    firsts = np.cumsum([0] + [sum(len(ring) for ring in one.rings) for one in molecules[:-1]])
    least, most = np.minimum.reduceat(points, firsts), np.maximum.reduceat(points, firsts)
    boxes = np.concatenate([least, most], axis=1).tolist()
    parts = iter(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True))
    for one, box in zip(molecules, boxes, strict=True):
        moved = tuple(points[start:end] for start, end in (next(parts) for _ in one.rings))
        yield LabelledMolecule(one.label, moved, one.ignore), tuple(box)


def seen_of(
    molecules: Sequence[LabelledMolecule],
    move: Callable[[Points], Points],
    shape: tuple[int, int],
    keep_visible: float = KEEP_VISIBLE,
) -> tuple[LabelledMolecule, ...]:
    """Move outlines, and cut off what lies beyond a picture.

    Parameters
    ----------
    molecules : sequence of LabelledMolecule
    move : callable
        As for :func:`move_points`.
    shape : (int, int)
        Rows and columns.
    keep_visible : float
        A molecule of which a smaller part is left is ignored, 0 to 1.

    Returns
    -------
    tuple of LabelledMolecule
        Those of which anything is left.
    """
    rows, columns = shape
    seen = []
    for one, (x1, y1, x2, y2) in move_points(molecules, move):
        if x2 <= 0 or y2 <= 0 or x1 >= columns or y1 >= rows:
            continue
        if x1 < 0 or y1 < 0 or x2 > columns or y2 > rows:
            left = clip(one, (0.0, 0.0, float(columns), float(rows)), keep_visible)
            if left is not None:
                seen.append(left)
        elif x2 - x1 < SMALLEST_PX and y2 - y1 < SMALLEST_PX:
            seen.append(LabelledMolecule(one.label, one.rings, ignore=True))
        else:
            seen.append(one)
    return tuple(seen)


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
    for axis, limit, inwards in ((0, x1, 1.0), (0, x2, -1.0), (1, y1, 1.0), (1, y2, -1.0)):
        if len(ring) < 3:
            return np.empty((0, 2))
        depth = (ring[:, axis] - limit) * inwards
        inside = depth >= 0
        if inside.all():
            continue
        following, next_depth = np.roll(ring, -1, axis=0), np.roll(depth, -1)
        crosses = inside != np.roll(inside, -1)
        part = depth / np.where(crosses, depth - next_depth, 1.0)
        crossing = ring + (following - ring) * part[:, None]
        crossing[:, axis] = limit
        both = np.stack([ring, crossing], axis=1).reshape(-1, 2)
        ring = both[np.stack([inside, crosses], axis=1).ravel()]
    return ring if len(ring) >= 3 else np.empty((0, 2))


def densified(ring: Ring, longest_px: float = 3.0) -> Ring:
    """Put corners on the sides of a ring, so that a bend bends them too.

    Returns
    -------
    (K, 2) float64 array
        With no side longer than ``longest_px``.
    """
    following = np.roll(ring, -1, axis=0)
    length = np.hypot(*(following - ring).T)
    pieces = np.maximum(1, np.ceil(length / longest_px)).astype(int)
    start = np.repeat(np.arange(len(ring)), pieces)
    step = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    part = (step / pieces[start])[:, None]
    return np.asarray(ring[start] * (1 - part) + following[start] * part)
