"""The surface of a varied scan: steps, atoms, moiré, reconstruction, waves and pits. None of it is a molecule."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.synthetic.arrange import Floor
from spm_live_drivers.synthetic.sample import STEP_NM
from spm_live_drivers.synthetic.scene import Background
from spm_live_drivers.synthetic.surface import Grid

Plane = NDArray[np.float32]


def draw_background(rng: np.random.Generator, background: Background, grid: Grid, floor: Floor, tip_nm: float) -> Plane:
    """Draw all that lies under the molecules, and keep the lines of step edges free of them.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides where things are.
    background : Background
        What there is.
    grid : Grid
        The pixels of the frame.
    floor : Floor
        Where molecules may lie; step edges take their lines.
    tip_nm : float
        Blur by the tip, in nm.

    Returns
    -------
    (rows, columns) float32 array
        Height in nm.
    """
    total = np.zeros(grid.shape, dtype=np.float32)
    for _ in range(background.steps):
        total += _step(rng, background, grid, floor, tip_nm)
    for amplitude, period, waves in (
        (background.lattice_nm, background.lattice_period_nm, int(rng.choice([2, 3]))),
        (background.moire_nm, background.moire_period_nm, int(rng.choice([1, 3, 3]))),
    ):
        # A pattern finer than two pixels would only alias into a picture of something else.
        if amplitude > 0 and period > 2.5 * max(grid.pitch_nm):
            total += np.float32(amplitude) * _plane_waves(rng, grid, period, waves)
    if background.stripes_nm > 0:
        total += np.float32(background.stripes_nm) * _stripes(rng, grid, background.stripes_period_nm)
    if background.rolling_nm > 0:
        total += np.float32(background.rolling_nm) * _rolling(rng, grid)
    for _ in range(background.pits):
        total += _pit(rng, grid, floor, tip_nm)
    return total


def _step(rng: np.random.Generator, background: Background, grid: Grid, floor: Floor, tip_nm: float) -> Plane:
    """A step along a line that strays, perhaps bent like the edge of a large terrace, perhaps with a bright rim."""
    angle = rng.uniform(0, 2 * math.pi)
    cos, sin = math.cos(angle), math.sin(angle)
    offset = rng.uniform(-0.9, 0.9) * min(grid.half_nm)
    waves = rng.uniform((0.03, 0.08, 0.0), (0.7, 1.2, 2 * math.pi), (4, 3))
    bend = rng.normal(0, 0.25) / max(grid.half_nm)

    def distance(x: Plane, y: Plane) -> Plane:
        along = y[:, None] * np.float32(cos) - x[None, :] * np.float32(sin)
        stray = np.float32(offset) + np.float32(bend) * along * along
        # Waves along the step are taken from a table: the sine of every pixel would cost more than all the rest.
        table = np.linspace(-2 * max(grid.half_nm) - 9, 2 * max(grid.half_nm) + 9, 512, dtype=np.float32)
        lines = sum(amplitude * np.sin(table * rate + phase) for amplitude, rate, phase in waves)
        place = np.clip((along - table[0]) * (511 / (table[-1] - table[0])), 0, 511).astype(np.int16)
        across = y[:, None] * np.float32(sin) + x[None, :] * np.float32(cos)
        return np.asarray(across - stray - np.asarray(lines, dtype=np.float32)[place], dtype=np.float32)

    width = np.float32(max(0.1, tip_nm, rng.uniform(0.1, 0.3)))
    away = distance(grid.x, grid.y)
    high = np.float32(STEP_NM * rng.choice([1.0, 1.0, 0.6, 2.0]))
    heights = high / (1 + np.exp(np.clip(-1.7 * away / width, -40, 40)))
    if background.step_rim > 0:
        rim = 2.0 * width
        heights += high * np.float32(background.step_rim) * np.exp(-np.square((away - rim) / rim))
    floor.taken |= (np.abs(distance(*floor.points_nm())) < 1.5 * width).astype(np.uint8)
    return np.asarray(heights, dtype=np.float32)


def _plane_waves(rng: np.random.Generator, grid: Grid, period: float, count: int) -> Plane:
    """One wave, two at right angles, or three 60 degrees apart; round tops or round holes. Amplitude about 1."""
    total = np.zeros(grid.shape, dtype=np.float32)
    start, between = rng.uniform(0, math.pi), math.pi / (2 if count == 2 else 3)
    for turn in range(count):
        angle, phase = start + turn * between, rng.uniform(0, 2 * math.pi)
        rate = 2 * math.pi / period
        columns = np.exp(1j * (rate * math.cos(angle) * grid.x + phase)).astype(np.complex64)
        rows = np.exp(1j * rate * math.sin(angle) * grid.y).astype(np.complex64)
        total += rows.real[:, None] * columns.real - rows.imag[:, None] * columns.imag
    return np.asarray(total * np.float32(rng.choice([-1.0, 1.0]) / count), dtype=np.float32)


def _stripes(rng: np.random.Generator, grid: Grid, period: float) -> Plane:
    """Pairs of ridges that run in zigzag."""
    angle, zig, slope = rng.uniform(0, math.pi), rng.uniform(12, 40), rng.uniform(0, 0.58)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    along = grid.y[:, None] * cos - grid.x[None, :] * sin + np.float32(rng.uniform(0, zig))
    across = grid.y[:, None] * sin + grid.x[None, :] * cos
    fold = np.abs(np.mod(along, np.float32(zig)) - np.float32(zig / 2))
    part = np.mod((across + np.float32(slope) * fold) / np.float32(period), 1)
    return _profile(lambda at: np.exp(-(((at - 0.32) / 0.09) ** 2)) + np.exp(-(((at - 0.68) / 0.09) ** 2)), part)


def _profile(function: Callable[[NDArray[np.float64]], NDArray[np.float64]], part: Plane) -> Plane:
    """A function of 0 to 1, by a table."""
    table = function(np.linspace(0, 1, 256)).astype(np.float32)
    return np.asarray(table[np.minimum((part * 256).astype(np.int16), 255)])


def _rolling(rng: np.random.Generator, grid: Grid) -> Plane:
    """Slow waves without a direction: a few random numbers, interpolated."""
    knots = rng.normal(0, 0.5, (int(rng.integers(3, 9)),) * 2).astype(np.float32)
    return np.asarray(cv2.resize(knots, grid.shape[::-1], interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _pit(rng: np.random.Generator, grid: Grid, floor: Floor, tip_nm: float) -> Plane:
    """A vacancy island, or an island of the substrate: as deep as a step, larger than a molecule, with a wavy shore."""
    x, y = rng.uniform(-1, 1, 2) * grid.half_nm
    radius = rng.uniform(2.0, 5.0) + 4 * floor.pitch_nm
    waves = rng.normal(0, 0.1, 4)
    phases = rng.uniform(0, 2 * math.pi, 4)
    sign, rim = float(rng.choice([-1.0, 1.0])), rng.uniform(0, 0.5)
    width = np.float32(max(0.15, tip_nm))

    def distance(px: Plane, py: Plane) -> Plane:
        dx, dy = px[None, :] - np.float32(x), py[:, None] - np.float32(y)
        way = (np.arctan2(dy, dx) / np.float32(2 * math.pi)) % 1

        def shore(part: NDArray[np.float64]) -> NDArray[np.float64]:
            angles = 2 * math.pi * part[:, None] * np.arange(1, 5)
            return np.asarray(radius * (1 + (waves * np.sin(angles + phases)).sum(axis=1)))

        return np.asarray(_profile(shore, way) - np.hypot(dx, dy), dtype=np.float32)

    away = distance(grid.x, grid.y)
    heights = np.float32(sign * STEP_NM) / (1 + np.exp(np.clip(-1.7 * away / width, -40, 40)))
    heights += np.float32(rim * STEP_NM) * np.exp(-np.square(away / (2 * width)))
    floor.taken |= (np.abs(distance(*floor.points_nm())) < 3 * width).astype(np.uint8)
    return np.asarray(heights, dtype=np.float32)
