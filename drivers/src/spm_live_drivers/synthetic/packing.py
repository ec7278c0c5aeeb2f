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

OVERLAP = 0.03
"""Part of its area that a molecule may share with others: soft edges give way."""

GROWTH = 1.07
"""A cell too small for its first molecule is made larger by this, again and again."""


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
    base = rng.uniform(0, 2 * math.pi)
    step = math.radians(float(rng.choice([30.0, 60.0, 90.0, 180.0])))
    while True:
        placed = _fill(rng, stamps, kinds, vectors, gap, (base, step))
        if placed:
            break
        vectors = vectors * GROWTH
    species, places, angles, mirrored = zip(*placed, strict=True)
    xy_nm = np.array(places) @ vectors.T
    return Cell(vectors, np.array(species), xy_nm, np.array(angles), np.array(mirrored, dtype=np.bool_))


def _fill(
    rng: np.random.Generator,
    stamps: Sequence[Stamp],
    kinds: Sequence[int],
    vectors: NDArray[np.float64],
    gap: float,
    turns: tuple[float, float],
) -> list[tuple[int, tuple[float, float], float, bool]]:
    taken = np.zeros((GRID, GRID), dtype=np.float32)
    near = _nearness()
    placed: list[tuple[int, tuple[float, float], float, bool]] = []
    for kind in kinds:
        spectrum = np.fft.rfft2(taken)
        best: tuple[float, int, float, bool, NDArray[np.float32]] | None = None
        for _ in range(4 if placed else 2):
            angle = turns[0] + turns[1] * int(rng.integers(12))
            mirrored = bool(stamps[kind].chiral and rng.random() < 0.3)
            mask = _folded(turned(stamps[kind].outline_nm, angle, mirrored, 1 + gap), vectors)
            size = float(np.minimum(mask, 1).sum())
            if float(mask.sum()) - size > OVERLAP * size:
                continue  # it would overlap its own images in the neighbouring cells
            if not placed:
                best = (0.0, 0, angle, mirrored, mask)
                break
            conjugate = np.conj(np.fft.rfft2(mask))
            overlap = np.fft.irfft2(conjugate * spectrum, (GRID, GRID))
            contact = np.fft.irfft2(conjugate * spectrum * near, (GRID, GRID))
            contact[overlap > OVERLAP * size] = -1
            place = int(np.argmax(contact))
            if contact.flat[place] >= 0 and (best is None or contact.flat[place] / size > best[0]):
                best = (float(contact.flat[place]) / size, place, angle, mirrored, mask)
        if best is None:
            if not placed:
                return []
            continue
        _, place, angle, mirrored, mask = best
        row, column = divmod(place, GRID)
        taken += np.roll(mask, (row, column), axis=(0, 1))
        placed.append((kind, (column / GRID, row / GRID), angle, mirrored))
    return placed


def _nearness() -> NDArray[np.float64]:
    """Transfer function of a Gaussian blur of two points: what is left of a spectrum of what is taken."""
    rows, columns = np.fft.fftfreq(GRID)[:, None], np.fft.rfftfreq(GRID)[None, :]
    return np.asarray(np.exp(-2 * (math.pi * 2.0) ** 2 * (rows**2 + columns**2)))


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
