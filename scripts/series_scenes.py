"""Scenes in which drift and links are measured: molecules alone, in islands, and a layer without a border."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import ScanDirection, ScanGeometry
from spm_live_drivers.synthetic import Sample, SyntheticScan, Tip, draw_sample, draw_tip
from spm_live_drivers.synthetic.molecules import Placed, draw_molecules
from spm_live_drivers.synthetic.noise import record
from spm_live_drivers.synthetic.scan import lay_molecules, seen_molecules
from spm_live_drivers.synthetic.series import SeriesScan, drifting_series
from spm_live_drivers.synthetic.surface import Grid

SCENES = ("sparse", "islands", "layer")
VACANCIES = 0.12
"""Part of the sites of a layer that are empty."""
SPECKS_PER_NM2 = 0.005
"""Specks of dirt on a layer: five in a frame of 30 nm."""


def draw_scene(
    scene: str, seed: int, *, frames: int, drift_nm: float, hops: float, pixels: int, size_nm: float
) -> Iterator[SeriesScan]:
    """One series: a sample, a tip, a drift of up to ``drift_nm`` a frame and a share of hops, all from the seed."""
    rng = np.random.default_rng((seed, 77))
    sample = draw_sample(rng)
    tip = draw_tip(rng, sample)
    gap = float(rng.uniform(0.02, 0.1))
    if scene == "sparse":
        sample = replace(sample, island=0.0, coverage=float(rng.uniform(0.04, 0.2)))
    elif scene == "islands":
        sample = replace(sample, island=1.0, coverage=0.35, gap=gap)
    else:
        sample = replace(sample, gap=gap)
    drift, way = float(rng.uniform(0, drift_nm)), float(rng.uniform(0, 2 * math.pi))
    step = (drift * math.cos(way), drift * math.sin(way))
    if scene == "layer":
        return layer(seed, frames, step, hops, pixels, size_nm, sample, tip)
    size = {"rows": pixels, "columns": pixels, "size_nm": size_nm}
    return iter(drifting_series((seed, 5), frames, step, hops, sample=sample, tip=tip, **size))


def layer(
    seed: int,
    frames: int,
    drift_nm: tuple[float, float],
    hops: float,
    pixels: int,
    size_nm: float,
    sample: Sample,
    tip: Tip,
) -> Iterator[SeriesScan]:
    """One species on a lattice that goes on beyond the frame, all turned alike; they hop into vacancies beside them.

    A drift by a lattice vector more or less shows the same molecules at the same places: only vacancies, and the
    specks on the layer, tell it.
    """
    rng = np.random.default_rng((seed, 9))
    kind = int(rng.integers(len(sample.species)))
    geometry = ScanGeometry(pixels, pixels, (size_nm, size_nm))
    half_nm = size_nm / 2 + frames * max(map(abs, drift_nm)) + 3.0
    sites, angle, reach_nm = _sites(rng, sample, kind, half_nm)
    where = rng.permutation(len(sites))[: round((1 - VACANCIES) * len(sites))]  # site of each molecule
    angles = angle + rng.normal(0, 0.03, len(where))
    specks = rng.uniform(-half_nm, half_nm, (round(SPECKS_PER_NM2 * 4 * half_nm**2), 2))
    middle = np.array(drift_nm) * (frames - 1) / 2
    for number in range(frames):
        hopped = _hop(rng, sites, where, middle, size_nm, hops, reach_nm) if number else ()
        placed = Placed(np.full(len(where), kind), sites[where] - middle, angles)
        scan, ids = _scan(seed, number, placed, specks - middle, geometry, sample, tip)
        yield SeriesScan(scan, ids, drift_nm if number else (0.0, 0.0), hopped)
        middle = middle - drift_nm


def _sites(
    rng: np.random.Generator, sample: Sample, kind: int, half_nm: float
) -> tuple[NDArray[np.float64], float, float]:
    """The sites of a lattice, the turn of the molecules on it, and how far a hop to a neighbour goes at most."""
    one = sample.species[kind]
    tilt, turn = rng.uniform(0, 2 * math.pi, 2)
    along, across = one.width_nm * (1 + sample.gap), one.breadth_nm * (1 + sample.gap)
    reach = math.ceil(2 * half_nm / min(along, across)) + 1
    j, i = (grid.ravel() for grid in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    axes = np.array([[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]])
    sites = np.stack([i * along, j * across], axis=1) @ axes
    return sites[(np.abs(sites) < half_nm).all(axis=1)], tilt if one.label == "rod" else turn, 1.5 * along


def _hop(
    rng: np.random.Generator,
    sites: NDArray[np.float64],
    where: NDArray[np.int64],
    middle: NDArray[np.float64],
    size_nm: float,
    share: float,
    reach_nm: float,
) -> tuple[int, ...]:
    """Let molecules of the frame change to empty sites beside them; ``where`` changes in place."""
    seen = np.flatnonzero((np.abs(sites[where] - middle) < size_nm / 2).all(axis=1))
    free = np.ones(len(sites), np.bool_)
    free[where] = False
    hopped: list[int] = []
    for index in rng.permutation(seen).tolist():
        near = free & (np.hypot(*(sites - sites[where[index]]).T) < reach_nm)
        if len(hopped) < round(share * len(seen)) and near.any():
            site = int(rng.choice(np.flatnonzero(near)))
            free[where[index]], free[site] = False, False  # nobody takes the place of one that just left it
            where[index] = site
            hopped.append(index)
    return tuple(sorted(hopped))


def _scan(
    seed: int,
    number: int,
    placed: Placed,
    specks: NDArray[np.float64],
    geometry: ScanGeometry,
    sample: Sample,
    tip: Tip,
) -> tuple[SyntheticScan, tuple[int, ...]]:
    grid = Grid((geometry.rows, geometry.columns), geometry.nm_per_px)
    rng = np.random.default_rng((seed, 1))  # each molecule keeps its own small differences from its like
    patches = draw_molecules(rng, sample.species, placed, grid.shape, grid.pitch_nm, tip.blur_nm)
    raised, owner = lay_molecules(patches, grid.shape)
    height = sample.species[int(placed.species[0])].height_nm
    for x, y in specks:
        raised += (
            np.float32(0.7 * height)
            * np.exp(-0.5 * ((grid.y - y) / 0.3) ** 2)[:, None]
            * np.exp(-0.5 * ((grid.x - x) / 0.3) ** 2)
        )
    up = bool(number % 2)
    rng = np.random.default_rng((seed, 2, number))
    forward, backward = (
        np.ascontiguousarray(picture * np.float32(1e-9)) for picture in record(rng, raised, tip, grid, up)
    )
    seen = seen_molecules(sample, placed, patches, owner, grid)
    direction = ScanDirection.UP if up else ScanDirection.DOWN
    molecules = tuple(molecule for _, molecule in seen)
    return SyntheticScan(forward, backward, geometry, direction, molecules), tuple(index for index, _ in seen)
