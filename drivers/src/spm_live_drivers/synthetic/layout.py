"""Where molecules lie: scattered with room between them, or close-packed in islands."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.synthetic.molecules import Placed
from spm_live_drivers.synthetic.sample import Sample

MAX_MOLECULES = 4000
"""More than this in one frame is a mistake in the arguments, not a picture."""


class Ground:
    """The part of the surface that is taken: each thing on it holds a disc that no other may enter.

    Parameters
    ----------
    half_nm : (float, float)
        Half of the width and of the height of the area where things may lie, in nm.
    """

    def __init__(self, half_nm: tuple[float, float]) -> None:
        self.half_nm = half_nm
        self._discs = np.empty((256, 3))
        self._count = 0

    @property
    def discs(self) -> NDArray[np.float64]:
        """All that is taken, in the order in which it was: x, y and radius in nm, (N, 3); a copy."""
        return self._discs[: self._count].copy()

    def take(self, x_nm: float, y_nm: float, radius_nm: float) -> bool:
        """Take a disc if it is free."""
        held = self._discs[: self._count]
        if ((held[:, 0] - x_nm) ** 2 + (held[:, 1] - y_nm) ** 2 < (held[:, 2] + radius_nm) ** 2).any():
            return False
        self.hold(x_nm, y_nm, radius_nm)
        return True

    def hold(self, x_nm: float, y_nm: float, radius_nm: float) -> None:
        """Take a disc without asking."""
        if self._count == len(self._discs):
            self._discs = np.concatenate([self._discs, np.empty_like(self._discs)])
        self._discs[self._count] = (x_nm, y_nm, radius_nm)
        self._count += 1


def place_molecules(rng: np.random.Generator, sample: Sample, ground: Ground) -> Placed:
    """Lay molecules down without overlap: first perhaps an island, then loose ones.

    Loose molecules are thrown one after another and stay where their disc is free (dart throwing, Cook 1986,
    doi:10.1145/7529.8927).
    """
    found: list[tuple[int, float, float, float]] = []
    if rng.random() < sample.island:
        found += _island(rng, sample, ground)
    width, height = 2 * ground.half_nm[0], 2 * ground.half_nm[1]
    disc = sum(
        share * math.pi * one.width_nm * one.breadth_nm / 4
        for share, one in zip(sample.shares, sample.species, strict=True)
    )
    darts = min(MAX_MOLECULES, round(1.3 * sample.coverage * width * height / disc))
    kinds = rng.choice(len(sample.species), size=darts, p=sample.shares)
    places = rng.uniform(-0.5, 0.5, (darts, 2)) * (width, height)
    turns = _loose_angles(rng, sample, darts)
    for kind, (x, y), turn in zip(kinds, places, turns, strict=True):
        if ground.take(x, y, radius_nm(sample, kind)):
            found.append((int(kind), float(x), float(y), float(turn)))
    rows = np.array(found, dtype=np.float64).reshape(-1, 4)[:MAX_MOLECULES]
    return Placed(rows[:, 0].astype(np.int64), rows[:, 1:3], rows[:, 3])


def radius_nm(sample: Sample, kind: int) -> float:
    """Radius of the disc that a molecule of a species holds, its part of the gap included."""
    return sample.species[kind].width_nm / 2 * (1 + sample.gap)


def _loose_angles(rng: np.random.Generator, sample: Sample, count: int) -> NDArray[np.float64]:
    if sample.symmetry_deg == 0:
        return rng.uniform(0, 2 * math.pi, count)
    step = math.radians(sample.symmetry_deg)
    base = rng.uniform(0, step)
    return np.asarray(base + step * rng.integers(0, 12, count) + rng.normal(0, math.radians(3), count))


def _island(rng: np.random.Generator, sample: Sample, ground: Ground) -> list[tuple[int, float, float, float]]:
    """A patch of one species on a lattice, all turned the same way, with vacancies."""
    kind = int(rng.choice(len(sample.species), p=sample.shares))
    one = sample.species[kind]
    spacing = 1 + min(sample.gap, 0.15) + rng.uniform(0, 0.05)
    along, across = one.width_nm * spacing, one.breadth_nm * spacing
    oblique = 0.5 if one.label != "four-lobe" and rng.random() < 0.8 else 0.0
    # Rows of a hexagonal lattice lie closer by cos 30 degrees; neighbours stay one width apart.
    pitch = across * (math.sqrt(0.75) if oblique and one.label != "rod" else 1.0)
    tilt, turn = rng.uniform(0, 2 * math.pi, 2)
    inner = tilt if one.label == "rod" else turn
    half = np.array(ground.half_nm)
    middle = rng.uniform(-0.7, 0.7, 2) * half
    radii = rng.uniform(0.25, 0.8, 2) * half.max()
    reach = math.ceil(2 * half.max() / min(along, pitch)) + 1
    j, i = (grid.ravel() for grid in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    lattice = np.stack([(i + oblique * (j % 2)) * along, j * pitch], axis=1)
    inside = ((lattice / radii) ** 2).sum(axis=1) < 1
    inside &= rng.random(len(lattice)) > rng.uniform(0, 0.12)
    cos, sin = math.cos(tilt), math.sin(tilt)
    places = lattice[inside] @ np.array([[cos, sin], [-sin, cos]]) + middle
    places += rng.normal(0, 0.012 * one.breadth_nm, places.shape)
    result = []
    for x, y in places[(np.abs(places) < half).all(axis=1)][:MAX_MOLECULES]:
        ground.hold(x, y, radius_nm(sample, kind))
        result.append((kind, float(x), float(y), float(inner + rng.normal(0, 0.03))))
    return result
