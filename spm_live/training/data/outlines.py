"""Mends outlines: what hangs over the border, what crosses itself, what was drawn in pieces."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.training.data.claims import Piece
from spm_live.training.labelled import LabelledMolecule, Ring, mask_of, rings_of

FINEST = 8
"""Outlines are filled this many times finer than the picture where they cannot be mended corner by corner."""
LARGEST_FILL = 2048
"""Side of the grid that an outline is filled on; larger molecules get a coarser one."""
SIMPLIFY_PX = 0.15
"""Corners that lie this near to the line between their neighbours are dropped from a traced outline."""


def without_repeats(ring: Ring) -> Ring:
    """Drop corners that repeat the one before, and a last one that repeats the first."""
    kept = np.any(ring != np.roll(ring, 1, axis=0), axis=1)
    return ring[kept] if len(ring) > 1 else ring


def area_of(ring: Ring) -> float:
    """Area within a ring in px², by the shoelace formula; for one that crosses itself the loops may cancel."""
    x, y = ring[:, 0] - ring[0, 0], ring[:, 1] - ring[0, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def crosses_itself(ring: Ring) -> bool:
    """Whether two edges of a ring properly cross; edges that only touch do not.

    Notes
    -----
    Edge ab and edge cd cross where c and d lie on different sides of ab, and a and b on different sides of cd (de Berg
    et al., Computational Geometry, chapter 2). All pairs at once: outlines have tens of corners, seldom hundreds.
    """
    if len(ring) < 4:
        return False
    start, end = ring, np.roll(ring, -1, axis=0)
    along = end - start
    # side[i, j]: on which side of edge i the start of edge j lies.
    offset = start[None, :, :] - start[:, None, :]
    side = np.sign(along[:, None, 0] * offset[:, :, 1] - along[:, None, 1] * offset[:, :, 0])
    parted = side * np.roll(side, -1, axis=1) < 0
    return bool(np.any(parted & parted.T))


def clipped(ring: Ring, rows: float, columns: float) -> Ring:
    """The part of a ring that lies in a picture.

    Returns
    -------
    (K, 2) float64 array
        Empty where nothing does. Parts that fall asunder stay joined by edges along the border, which enclose nothing.

    Notes
    -----
    Sutherland and Hodgman 1974, doi:10.1145/360767.360802.
    """
    for axis, limit, sign in ((0, 0.0, 1), (0, columns, -1), (1, 0.0, 1), (1, rows, -1)):
        if not len(ring):
            break
        inside = sign * (ring[:, axis] - limit)
        if inside.min() >= 0:
            continue
        kept: list[NDArray[np.float64]] = []
        for here, there, depth, depth_there in zip(
            ring, np.roll(ring, -1, axis=0), inside, np.roll(inside, -1), strict=True
        ):
            if depth >= 0:
                kept.append(here)
            if (depth >= 0) != (depth_there >= 0):
                cut = here + (there - here) * (depth / (depth - depth_there))
                cut[axis] = limit
                kept.append(cut)
        ring = np.array(kept, dtype=np.float64).reshape(-1, 2)
    ring = without_repeats(ring) if len(ring) else ring
    return ring if len(ring) >= 3 else np.zeros((0, 2))


def untangled(ring: Ring) -> tuple[Ring, float]:
    """The largest simple part of a ring that crosses itself.

    The ring is filled by the even-odd rule on a fine grid; the part with the largest outline stays, its holes filled.

    Returns
    -------
    ring : (K, 2) float64 array
        Empty where nothing is left.
    lost : float
        How much of the filled area lies in other parts, 0 to 1.
    """
    grid = _Grid([ring])
    filled = grid.filled([ring])
    parts = sorted(grid.traced(_largest_part(filled)), key=area_of)
    if not parts:
        return np.zeros((0, 2)), 1.0
    left = np.count_nonzero(filled & grid.filled([parts[-1]]))
    return parts[-1], 1.0 - float(left / np.count_nonzero(filled))


def _largest_part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest of the parts that hang together by more than a point, as they do where a line crosses itself."""
    cross = cv2.getStructuringElement(cv2.MORPH_RECT, (3, 3))
    thin = cv2.erode(mask.astype(np.uint8), cross)
    count, parts = cv2.connectedComponents(thin, connectivity=4)
    if count < 2:
        return mask
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel(), minlength=count)[1:]))
    return np.asarray(cv2.dilate(largest.astype(np.uint8), cross) > 0) & mask


def joined(pieces: Sequence[Piece]) -> tuple[Ring, ...]:
    """Rings whose even-odd filling is the union of all pieces: as they are where no two of them overlap."""
    if len(pieces) == 1:
        return pieces[0]
    grid = _Grid([ring for piece in pieces for ring in piece])
    masks = [grid.filled(piece) for piece in pieces]
    together = np.logical_or.reduce(masks)
    if sum(int(np.count_nonzero(mask)) for mask in masks) == np.count_nonzero(together):
        return tuple(ring for piece in pieces for ring in piece)
    return grid.traced(together)


def overlap_share(first: LabelledMolecule, second: LabelledMolecule) -> float:
    """Intersection over union of two molecules, by their pixels."""
    boxes = np.array([first.box_px, second.box_px])
    if np.any(np.minimum(*boxes[:, 2:]) <= np.maximum(*boxes[:, :2])):
        return 0.0
    corner = np.floor(boxes[:, :2].min(axis=0))
    columns, rows = np.ceil(boxes[:, 2:].max(axis=0) - corner).astype(int)
    shift = (-float(corner[0]), -float(corner[1]))
    masks = [mask_of(molecule.moved(shift), (int(rows), int(columns))) for molecule in (first, second)]
    union = np.count_nonzero(masks[0] | masks[1])
    return float(np.count_nonzero(masks[0] & masks[1]) / union) if union else 0.0


class _Grid:
    """A grid around some rings, finer than the picture."""

    def __init__(self, rings: Sequence[Ring]) -> None:
        points = np.concatenate(list(rings))
        self._corner = np.floor(points.min(axis=0)) - 1
        span = np.ceil(points.max(axis=0)) + 1 - self._corner
        self._finer = next((f for f in (FINEST, 4, 2) if span.max() * f <= LARGEST_FILL), 1)
        self._shape = int(span[1]) * self._finer, int(span[0]) * self._finer

    def filled(self, rings: Sequence[Ring]) -> NDArray[np.bool_]:
        """Points of the grid within the rings, by the even-odd rule."""
        canvas = np.zeros(self._shape, dtype=np.uint8)
        # Fixed-point numbers with 4 binary places; OpenCV counts from the centres of pixels.
        fixed = [np.round((((ring - self._corner) * self._finer) - 0.5) * 16).astype(np.int32) for ring in rings]
        cv2.fillPoly(canvas, fixed, (1,), shift=4)
        return canvas.astype(np.bool_)

    def traced(self, mask: NDArray[np.bool_]) -> tuple[Ring, ...]:
        """Outlines of such points, back in the picture."""
        rings = []
        for ring in rings_of(mask):
            outline = (ring / self._finer + self._corner).astype(np.float32)
            simple = cv2.approxPolyDP(outline[:, None, :], SIMPLIFY_PX, True)[:, 0, :].astype(np.float64)
            if len(simple) >= 3:
                rings.append(simple)
        return tuple(rings)
