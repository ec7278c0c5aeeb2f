"""Close-packed layers: a unit cell filled with molecules that touch but do not overlap, then repeated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.synthetic.stamps import Stamp

GRID = 48
"""Points along each side of a unit cell while it is filled."""

OVERLAP = 0.04
"""Part of its area that a molecule may share with others: soft edges give way."""

GROWTH = 1.05
"""Sides of a cell over those of the one tried before."""

SIZES = 3
"""Cells of so many sizes are filled; the one that becomes fullest is taken."""

MORE = 2
"""Once all are placed, so many more of each species are tried, the largest first."""

TURNS = 6
"""Turns of a molecule that are tried."""


def _nearness() -> NDArray[np.float32]:
    """Transfer function of a Gaussian blur of two points: what is left of a spectrum of what is taken."""
    rows, columns = np.fft.fftfreq(GRID)[:, None], np.fft.rfftfreq(GRID)[None, :]
    return np.exp(-2 * (math.pi * 2.0) ** 2 * (rows**2 + columns**2)).astype(np.float32)


NEARNESS = _nearness()


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """A unit cell with molecules.

    Parameters
    ----------
    vectors : (2, 2) float64 array
        Columns are the lattice vectors, in nm.
    species : (N,) int array
        Index into the stamps.
    xy_nm : (N, 2) float64 array
        Places of the molecules.
    angle_rad : (N,) float64 array
        Their turns, counter-clockwise.
    mirrored : (N,) bool array
        Which are mirror images (y to -y before the turn).
    """

    vectors: NDArray[np.float64]
    species: NDArray[np.int64]
    xy_nm: NDArray[np.float64]
    angle_rad: NDArray[np.float64]
    mirrored: NDArray[np.bool_]

    @property
    def area_nm2(self) -> float:
        """Area of the cell."""
        return abs(float(np.linalg.det(self.vectors)))


def turned(ring: NDArray[np.float64], angle: float, mirrored: bool = False, scale: float = 1.0) -> NDArray[np.float64]:
    """Turn an outline counter-clockwise about its origin, after mirroring and scaling it."""
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    flip = -1.0 if mirrored else 1.0
    return np.asarray(ring @ np.array([[cos, sin], [-sin * flip, cos * flip]]))


def pack_cell(rng: np.random.Generator, stamps: Sequence[Stamp], kinds: Sequence[int], fill: float, gap: float) -> Cell:
    """Fill a unit cell.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides the form of the cell, the turns, and who comes first.
    stamps : sequence of Stamp
        The species.
    kinds : sequence of int
        The molecules to be placed, as indices into the stamps; those that do not fit are left out, and leave holes.
    fill : float
        Part of the cell to be covered if all fit, above 0.
    gap : float
        Room around each molecule, as a part of its size; may be slightly negative.

    Returns
    -------
    Cell
        With at least one molecule.

    Notes
    -----
    Where a molecule can lie is read off the circular correlation of its mask with what is taken (by FFT); among these
    places, the one with the most contact is chosen.
    """
    area = sum(stamps[kind].area_nm2 for kind in kinds) * (1 + gap) ** 2 / fill
    corner = math.radians(rng.choice([60.0, 90.0, rng.uniform(60, 110)], p=[0.4, 0.25, 0.35]))
    ratio = 1.0 if rng.random() < 0.4 else float(np.exp(rng.uniform(-0.4, 0.4)))
    long = math.sqrt(area / math.sin(corner) * ratio)
    vectors = np.array([[long, math.cos(corner) * long / ratio], [0.0, math.sin(corner) * long / ratio]])
    step = math.radians(float(rng.choice([30.0, 60.0, 90.0, 180.0])))
    first = rng.uniform(0, 2 * math.pi)
    turns = (first + step * rng.permutation(round(2 * math.pi / step))[:TURNS]).astype(np.float64)
    best: tuple[float, list[_Place], NDArray[np.float64]] = (0.0, [], vectors)
    sizes = 0
    while sizes < SIZES:
        placed = _fill(rng, stamps, kinds, vectors, gap, turns)
        sizes += bool(placed)
        dense = sum(stamps[place.kind].area_nm2 for place in placed) / abs(float(np.linalg.det(vectors)))
        best = max(best, (dense, placed, vectors), key=lambda one: one[0])
        vectors = vectors * GROWTH
    _, placed, vectors = best
    return Cell(
        vectors,
        np.array([place.kind for place in placed]),
        np.array([place.fraction for place in placed]) @ vectors.T,
        np.array([place.angle for place in placed]),
        np.array([place.mirrored for place in placed], dtype=np.bool_),
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a molecule lies in a cell, in parts of the lattice vectors."""

    kind: int
    angle: float
    mirrored: bool
    fraction: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Turns:
    """A species in all turns that fit into a cell: their masks over it (T, GRID, GRID), and the spectra of these."""

    angles: NDArray[np.float64]
    mirrored: bool
    masks: NDArray[np.float32]
    spectra: NDArray[np.complex64]

    def place(self, taken: NDArray[np.complex64]) -> tuple[int, int, int] | None:
        """Turn, row and column with the most contact to what is taken, given by its spectrum; None: no room."""
        if not len(self.angles):
            return None
        both = self.spectra * taken
        overlap = np.fft.irfft2(both, (GRID, GRID))
        contact = np.fft.irfft2(both * NEARNESS, (GRID, GRID))
        size = self.masks.sum(axis=(1, 2), keepdims=True)
        contact = np.where(overlap > OVERLAP * size, -1, contact / size)
        turn, row, column = np.unravel_index(int(np.argmax(contact)), contact.shape)
        return (int(turn), int(row), int(column)) if contact[turn, row, column] >= 0 else None


def _fill(
    rng: np.random.Generator,
    stamps: Sequence[Stamp],
    kinds: Sequence[int],
    vectors: NDArray[np.float64],
    gap: float,
    turns: NDArray[np.float64],
) -> list[_Place]:
    """Place one molecule after another where it touches most; nothing if not even the first has room."""
    species = {kind: _turns(rng, stamps[kind], vectors, gap, turns) for kind in sorted(set(kinds))}
    if not len(species[kinds[0]].angles):
        return []
    taken = np.zeros((GRID, GRID), dtype=np.float32)
    placed: list[_Place] = []
    more = [kind for kind in sorted(species, key=lambda kind: -stamps[kind].area_nm2) for _ in range(MORE)]
    for kind in [*kinds, *more]:
        one = species[kind]
        found = (
            one.place(np.fft.rfft2(taken).astype(np.complex64))
            if placed
            else (int(rng.integers(len(one.angles))), 0, 0)
        )
        if found is not None:
            turn, row, column = found
            taken += np.roll(one.masks[turn], (row, column), axis=(0, 1))
            placed.append(_Place(kind, float(one.angles[turn]), one.mirrored, (column / GRID, row / GRID)))
    return placed


def _turns(
    rng: np.random.Generator, stamp: Stamp, vectors: NDArray[np.float64], gap: float, turns: NDArray[np.float64]
) -> _Turns:
    mirrored = bool(stamp.chiral and rng.random() < 0.3)
    # OpenCV fills half a point too far on every side: outlines are made smaller by as much.
    across = GRID * math.sqrt(stamp.area_nm2 / abs(float(np.linalg.det(vectors))))
    scale = (1 + gap) * (1 - 1 / max(across, 4))
    masks = np.stack([_folded(turned(stamp.outline_nm, float(angle), mirrored, scale), vectors) for angle in turns])
    # Some would lie over their own images in the neighbouring cells.
    once = np.minimum(masks, 1).sum(axis=(1, 2))
    fits = masks.sum(axis=(1, 2)) - once <= OVERLAP * once
    return _Turns(turns[fits], mirrored, masks[fits], np.conj(np.fft.rfft2(masks[fits])).astype(np.complex64))


def _folded(ring_nm: NDArray[np.float64], vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    """How often each point of the cell lies in a molecule at its origin or in an image of it, (GRID, GRID)."""
    points = ring_nm @ np.linalg.inv(vectors).T * GRID
    reach = math.ceil(float(np.abs(points).max()) / GRID) + 1
    canvas = np.zeros((2 * reach * GRID, 2 * reach * GRID), dtype=np.uint8)
    # OpenCV takes fixed-point numbers: four bits behind the point.
    fixed = np.round((points + reach * GRID - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(canvas, [fixed], (1,), shift=4)
    folded = canvas.reshape(2 * reach, GRID, 2 * reach, GRID).sum(axis=(0, 2), dtype=np.float32)
    return np.asarray(folded, dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """Molecules at their places: what :func:`repeat` and the layouts hand on.

    Parameters
    ----------
    species : (N,) int array
    xy_nm : (N, 2) float64 array
        From the middle of the frame, y up.
    angle_rad : (N,) float64 array
    mirrored : (N,) bool array
    """

    species: NDArray[np.int64]
    xy_nm: NDArray[np.float64]
    angle_rad: NDArray[np.float64]
    mirrored: NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.species.shape[0])

    def kept(self, which: NDArray[np.bool_]) -> Crowd:
        """Some of them."""
        return Crowd(self.species[which], self.xy_nm[which], self.angle_rad[which], self.mirrored[which])

    @staticmethod
    def of(rows: Sequence[tuple[int, float, float, float, bool]]) -> Crowd:
        """Molecules given one by one: species, x, y, turn, mirrored."""
        table = np.array(rows, dtype=np.float64).reshape(-1, 5)
        return Crowd(table[:, 0].astype(np.int64), table[:, 1:3], table[:, 3], table[:, 4] > 0.5)

    @staticmethod
    def together(crowds: Sequence[Crowd]) -> Crowd:
        """All of several."""
        return Crowd(
            np.concatenate([one.species for one in crowds]),
            np.concatenate([one.xy_nm for one in crowds]),
            np.concatenate([one.angle_rad for one in crowds]),
            np.concatenate([one.mirrored for one in crowds]),
        )


def repeat(cell: Cell, tilt: float, origin_nm: tuple[float, float], half_nm: tuple[float, float]) -> Crowd:
    """Cover a rectangle with copies of a cell.

    Parameters
    ----------
    cell : Cell
        What to repeat.
    tilt : float
        Turn of the whole layer, counter-clockwise, in rad.
    origin_nm : (float, float)
        Where the corner of one cell lies.
    half_nm : (float, float)
        Half of the width and of the height of the rectangle around the middle.

    Returns
    -------
    Crowd
        All molecules with their middle in the rectangle.
    """
    corners = np.array([[x, y] for x in (-half_nm[0], half_nm[0]) for y in (-half_nm[1], half_nm[1])])
    corners = turned(corners - origin_nm, -tilt) @ np.linalg.inv(cell.vectors).T
    low, high = np.floor(corners.min(axis=0)).astype(int) - 1, np.ceil(corners.max(axis=0)).astype(int) + 1
    steps = np.stack(np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1])), axis=-1).reshape(-1, 2)
    places = (steps @ cell.vectors.T)[:, None, :] + cell.xy_nm[None]
    xy_nm = turned(places.reshape(-1, 2), tilt) + origin_nm
    count = len(steps)
    crowd = Crowd(
        np.tile(cell.species, count),
        xy_nm,
        np.tile(cell.angle_rad, count) + tilt,
        np.tile(cell.mirrored, count),
    )
    return crowd.kept(np.asarray((np.abs(xy_nm) < half_nm).all(axis=1)))
