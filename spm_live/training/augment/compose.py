"""New pictures from labelled molecules: put one by one onto real background, or windows side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spm_live.training.augment.outlines import KEEP_VISIBLE, seen_of
from spm_live.training.augment.sprites import Stamp
from spm_live.training.labelled import LabelledMolecule, LabelledPicture

MOST_OVERLAP = 0.03
"""Part of a molecule that may lie on others: as much as labels of close-packed molecules overlap (shared/data)."""
TRIES = 4
"""Places tried for one molecule before it is given up."""


def put_together(
    background: NDArray[np.float32],
    stamps: Sequence[Stamp],
    centres: NDArray[np.float64],
    kinds: NDArray[np.int64],
    *,
    most_overlap: float = MOST_OVERLAP,
    keep_visible: float = KEEP_VISIBLE,
) -> tuple[NDArray[np.float32], tuple[LabelledMolecule, ...]]:
    """Put molecules onto a background.

    Parameters
    ----------
    background : (rows, columns) float32 array
        0 to 1; not changed.
    stamps : sequence of Stamp
    centres : (N, 2) float64 array
        Where molecules should lie, x and y in pixels; rounded to whole pixels of the stamp.
    kinds : (N,) int64 array
        Index of the stamp for each.
    most_overlap : float
        Those that would lie with a larger part on what is there already are left out.
    keep_visible : float
        Those of which a smaller part lies within the picture are ignored.

    Returns
    -------
    image : (rows, columns) float32 array
    molecules : tuple of LabelledMolecule
    """
    rows, columns = background.shape
    image = background.copy()
    taken = np.zeros(background.shape, dtype=np.bool_)
    put: list[LabelledMolecule] = []
    for (x, y), kind in zip(centres.tolist(), kinds.tolist(), strict=True):
        stamp = stamps[kind]
        high, wide = stamp.values.shape
        left, top = round(x - wide / 2), round(y - high / 2)
        x1, y1, x2, y2 = max(0, left), max(0, top), min(columns, left + wide), min(rows, top + high)
        if x1 >= x2 or y1 >= y2:
            continue
        inner = (slice(y1 - top, y2 - top), slice(x1 - left, x2 - left))
        outer = (slice(y1, y2), slice(x1, x2))
        solid = stamp.solid[inner]
        if np.count_nonzero(solid & taken[outer]) > most_overlap * stamp.area_px:
            continue
        # The soft edge of a molecule never covers what is there already.
        cover = np.where(taken[outer] & ~solid, np.float32(0), stamp.cover[inner])
        taken[outer] |= solid
        image[outer] += cover * (stamp.values[inner] - image[outer])
        put.append(stamp.molecule.moved((left, top)))
    return image, seen_of(put, lambda points: points, (rows, columns), keep_visible)


def scattered(rng: np.random.Generator, shape: tuple[int, int], count: int) -> NDArray[np.float64]:
    """Places anywhere in a picture, some of them in a few clusters.

    Returns
    -------
    (``TRIES`` * count, 2) float64 array
        x and y in pixels.
    """
    size = np.array(shape[::-1], dtype=np.float64)
    places = rng.random((TRIES * count, 2)) * size
    if rng.random() < 0.5:
        clusters = rng.random((int(rng.integers(1, 4)), 2)) * size
        near = clusters[rng.integers(len(clusters), size=len(places))] + rng.normal(0, 0.12, places.shape) * size
        places = np.where(rng.random((len(places), 1)) < 0.6, near, places)
    return places


def packed(
    rng: np.random.Generator, shape: tuple[int, int], stamps: Sequence[Stamp]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Places on a lattice, nearly as close as the molecules go, with vacancies, at times an island only.

    Returns
    -------
    centres : (N, 2) float64 array
        x and y in pixels.
    kinds : (N,) int64 array
        Index of the stamp for each: a repeated pattern of up to four, or any.
    """
    side = float(np.sqrt(np.median([stamp.area_px for stamp in stamps])))
    pitch = side * rng.uniform(1.12, 1.5)
    angle, turn = np.deg2rad(rng.uniform(60, 90)), rng.uniform(0, 2 * np.pi)
    first = pitch * np.array([np.cos(turn), np.sin(turn)])
    second = pitch * rng.uniform(0.95, 1.1) * np.array([np.cos(turn + angle), np.sin(turn + angle)])
    reach = int(np.ceil(0.75 * np.hypot(*shape) / (pitch * np.sin(angle)))) + 1
    steps = np.stack(np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1)), axis=-1).reshape(-1, 2)
    centres = steps @ np.stack([first, second]) + np.array(shape[::-1]) / 2 + rng.uniform(-pitch, pitch, 2)
    within = np.all((centres > -side) & (centres < np.array(shape[::-1]) + side), axis=1)
    if rng.random() < 0.3:
        within &= _half_plane(rng, centres, shape)
    within &= rng.random(len(within)) > rng.uniform(0, 0.15)
    steps, centres = steps[within], centres[within]
    centres = centres + rng.normal(0, 0.03 * pitch, centres.shape)
    if rng.random() < 0.6:
        pattern = rng.integers(len(stamps), size=(2, 2))
        return centres, pattern[steps[:, 0] % 2, steps[:, 1] % 2]
    return centres, rng.integers(len(stamps), size=len(centres))


def _half_plane(rng: np.random.Generator, points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    turn = rng.uniform(0, 2 * np.pi)
    origin = rng.uniform(0.25, 0.75, 2) * np.array(shape[::-1])
    return np.asarray((points - origin) @ np.array([np.cos(turn), np.sin(turn)]) > 0)


def side_by_side(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cell_px: float,
    draw_cell: Callable[[tuple[int, int]], LabelledPicture],
) -> tuple[NDArray[np.float32], tuple[LabelledMolecule, ...]]:
    """Fill a picture with windows of about one size.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (int, int)
        Rows and columns.
    cell_px : float
        About the side of one window.
    draw_cell : callable
        Draws a window of the given rows and columns.

    Returns
    -------
    image : (rows, columns) float32 array
    molecules : tuple of LabelledMolecule
        Cut at the seams, as the windows cut them.
    """
    image = np.empty(shape, dtype=np.float32)
    molecules: list[LabelledMolecule] = []
    down = _cuts(rng, shape[0], cell_px)
    for top, bottom in pairwise(down):
        across = _cuts(rng, shape[1], cell_px)
        for left, right in pairwise(across):
            cell = draw_cell((bottom - top, right - left))
            image[top:bottom, left:right] = cell.image
            molecules.extend(one.moved((left, top)) for one in cell.molecules)
    return image, tuple(molecules)


def _cuts(rng: np.random.Generator, length: int, cell_px: float) -> list[int]:
    count = max(1, round(length / cell_px))
    jitter = rng.uniform(-0.2, 0.2, count - 1) * length / count
    inner = np.round(np.arange(1, count) * length / count + jitter).astype(int)
    return [0, *inner.tolist(), length]
