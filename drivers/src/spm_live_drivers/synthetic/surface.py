"""The surface under the molecules: terraces, its own pattern, and dirt."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.synthetic.layout import Ground
from spm_live_drivers.synthetic.sample import STEP_NM, Sample

KEEP_OFF_NM = 0.35
"""Molecules keep this far from the line of a step edge."""


class Grid:
    """Where the pixels of a frame lie, from its middle, in nm; y grows up."""

    def __init__(self, shape: tuple[int, int], pitch_nm: tuple[float, float]) -> None:
        rows, columns = shape
        self.shape = shape
        self.pitch_nm = pitch_nm
        self.half_nm = (columns * pitch_nm[0] / 2, rows * pitch_nm[1] / 2)
        self.x = ((np.arange(columns) + 0.5) * pitch_nm[0] - self.half_nm[0]).astype(np.float32)
        self.y = (self.half_nm[1] - (np.arange(rows) + 0.5) * pitch_nm[1]).astype(np.float32)


def draw_terraces(
    rng: np.random.Generator, sample: Sample, grid: Grid, ground: Ground, tip_nm: float
) -> NDArray[np.float32]:
    """Draw step edges, and keep their lines free of molecules.

    Returns
    -------
    (rows, columns) float32 array
        Height in nm.
    """
    heights = np.zeros(grid.shape, dtype=np.float32)
    reach = math.hypot(*grid.half_nm)
    for _ in range(min(4, int(rng.poisson(sample.steps)))):
        angle = rng.uniform(0, 2 * math.pi)
        cos, sin = math.cos(angle), math.sin(angle)
        offset = rng.uniform(-0.9, 0.9) * min(grid.half_nm)
        waves = rng.uniform((0.05, 0.1, 0.0), (0.6, 1.2, 2 * math.pi), (3, 3)) * (1, 1, 1)
        across = grid.y[:, None] * np.float32(sin) + grid.x[None, :] * np.float32(cos)
        along = grid.y[:, None] * np.float32(cos) - grid.x[None, :] * np.float32(sin)
        distance = across - np.float32(offset) - _wander(along, waves)
        width = np.float32(max(0.12, tip_nm))
        heights += np.float32(STEP_NM) / (1 + np.exp(np.clip(-1.7 * distance / width, -40, 40)))
        for t in np.arange(-reach, reach, KEEP_OFF_NM):
            u = offset + float(_wander(np.float32(t), waves))
            ground.hold(u * cos - t * sin, u * sin + t * cos, KEEP_OFF_NM)
    return heights


def _wander(along: NDArray[np.float32] | np.float32, waves: NDArray[np.float64]) -> NDArray[np.float32]:
    """How far a step strays from a straight line: slow waves of a given amplitude (nm), rate (rad/nm) and phase."""
    total = np.zeros_like(np.asarray(along, dtype=np.float32))
    for amplitude, rate, phase in waves.astype(np.float32):
        total += amplitude * np.sin(along * rate + phase)
    return total


def draw_corrugation(rng: np.random.Generator, sample: Sample, grid: Grid) -> NDArray[np.float32]:
    """Draw the pattern of the bare surface: three plane waves 60 degrees apart, or one (a reconstruction).

    Returns
    -------
    (rows, columns) float32 array
        Height in nm.
    """
    total = np.zeros(grid.shape, dtype=np.float32)
    if sample.corrugation_nm <= 0:
        return total
    # A pattern finer than two pixels would only alias into a picture of something else.
    period = max(sample.period_nm, 2.5 * max(grid.pitch_nm))
    start = rng.uniform(0, math.pi)
    for turn in range(3 if rng.random() < 0.7 else 1):
        angle, phase = start + turn * math.pi / 3, rng.uniform(0, 2 * math.pi)
        rate = 2 * math.pi / period
        columns = np.exp(1j * (rate * math.cos(angle) * grid.x + phase)).astype(np.complex64)
        rows = np.exp(1j * rate * math.sin(angle) * grid.y).astype(np.complex64)
        total += rows.real[:, None] * columns.real - rows.imag[:, None] * columns.imag
    return total * np.float32(sample.corrugation_nm)


def draw_adsorbates(
    rng: np.random.Generator, sample: Sample, grid: Grid, ground: Ground, tip_nm: float
) -> NDArray[np.float32]:
    """Draw dirt: small round specks, pits, and big shapeless lumps. None of it is a molecule.

    Returns
    -------
    (rows, columns) float32 array
        Height in nm.
    """
    total = np.zeros(grid.shape, dtype=np.float32)
    area = 4 * grid.half_nm[0] * grid.half_nm[1]
    typical = float(np.mean([one.height_nm for one in sample.species]))
    for _ in range(min(300, int(rng.poisson(sample.adsorbates_per_nm2 * area)))):
        x, y = rng.uniform(-1, 1, 2) * grid.half_nm
        kind = rng.choice(3, p=(0.65, 0.2, 0.15))
        radius = (rng.uniform(0.15, 0.35), rng.uniform(0.2, 0.6), rng.uniform(0.9, 2.5))[kind]
        if not ground.take(x, y, radius + 0.2):
            continue
        height = typical * (rng.uniform(0.15, 1.3), -rng.uniform(0.1, 0.5), rng.uniform(0.6, 3.0))[kind]
        bumps = 1 if kind < 2 else int(rng.integers(6, 14))
        for _ in range(bumps):
            dx, dy = rng.normal(0, radius * 0.45, 2) if bumps > 1 else (0.0, 0.0)
            sigma = math.hypot(radius * (0.6 if bumps == 1 else rng.uniform(0.25, 0.5)), tip_nm)
            _add_bump(total, grid, x + dx, y + dy, sigma, height if bumps == 1 else height * rng.uniform(0.3, 0.8))
    return total


def _add_bump(total: NDArray[np.float32], grid: Grid, x: float, y: float, sigma: float, height: float) -> None:
    rows = np.abs(grid.y - y) < 4 * sigma
    columns = np.abs(grid.x - x) < 4 * sigma
    if rows.any() and columns.any():
        down = np.exp(-0.5 * ((grid.y[rows] - y) / sigma) ** 2)
        across = np.exp(-0.5 * ((grid.x[columns] - x) / sigma) ** 2)
        total[np.ix_(rows, columns)] += np.float32(height) * down[:, None] * across
