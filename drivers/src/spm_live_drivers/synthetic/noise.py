"""What the tip and the electronics do to a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.synthetic.sample import Tip
from spm_live_drivers.synthetic.surface import Grid


def see_with_second_apex(heights: NDArray[np.float32], tip: Tip, grid: Grid) -> NDArray[np.float32]:
    """Let the higher of two apexes touch: the surface, or the surface moved aside and lowered.

    Parameters
    ----------
    heights : (rows, columns) float32 array
        Height of the surface in nm.
    tip : Tip
        Tells where the second apex stands.
    grid : Grid
        Pixel pitch.
    """
    if tip.double_depth_nm <= 0:
        return heights
    right = round(tip.double_nm[0] / grid.pitch_nm[0])
    down = round(-tip.double_nm[1] / grid.pitch_nm[1])
    rows = np.clip(np.arange(grid.shape[0]) - down, 0, grid.shape[0] - 1)
    columns = np.clip(np.arange(grid.shape[1]) - right, 0, grid.shape[1] - 1)
    return np.asarray(np.maximum(heights, heights[np.ix_(rows, columns)] - np.float32(tip.double_depth_nm)))


def record(
    rng: np.random.Generator, surface: NDArray[np.float32], tip: Tip, grid: Grid, up: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scan a surface line by line, forward and backward.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the noise.
    surface : (rows, columns) float32 array
        What the tip would see without faults, in nm; row 0 at the top.
    tip : Tip
        The faults.
    grid : Grid
        Where the pixels lie.
    up : bool
        The bottom line comes first.

    Returns
    -------
    (rows, columns) float32 array, (rows, columns) float32 array
        Forward and backward picture in nm, both with x growing to the right.
    """
    rows, columns = grid.shape
    lines = surface[::-1] if up else surface
    # One line there and back is 2 * columns samples in time; everything below happens along that time.
    track = np.concatenate([lines, lines[:, ::-1]], axis=1)
    track = track + _drift(rng, tip, grid, up)
    track += _pink(rng, rows * 2 * columns, tip.pink_nm).reshape(rows, 2 * columns)
    track += rng.standard_normal(track.shape, dtype=np.float32) * np.float32(tip.white_nm)
    track += rng.standard_normal((rows, 1), dtype=np.float32) * np.float32(tip.line_nm)
    _spoil(rng, track, tip, float(np.ptp(surface)) or 0.1)
    forward, backward = track[:, :columns], track[:, columns:][:, ::-1]
    return (forward[::-1], backward[::-1]) if up else (forward, backward)


def record_forward(
    rng: np.random.Generator, surface: NDArray[np.float32], tip: Tip, grid: Grid, up: bool
) -> NDArray[np.float32]:
    """Scan a surface line by line, forward only: as :func:`record`, in half of the time.

    Returns
    -------
    (rows, columns) float32 array
        In nm.
    """
    rows, columns = grid.shape
    track = (surface[::-1] if up else surface) + _drift(rng, tip, grid, up)[:, :columns]
    track += _pink(rng, rows * columns, tip.pink_nm).reshape(rows, columns)
    track += rng.standard_normal(track.shape, dtype=np.float32) * np.float32(tip.white_nm)
    track += rng.standard_normal((rows, 1), dtype=np.float32) * np.float32(tip.line_nm)
    _spoil(rng, track, tip, float(np.ptp(surface)) or 0.1)
    return track[::-1] if up else track


def _spoil(rng: np.random.Generator, track: NDArray[np.float32], tip: Tip, size: float) -> None:
    """Scars, lost lines and a jump, in the order of time."""
    rows = track.shape[0]
    _scar(rng, track, int(rng.poisson(tip.scars)), size)
    _lose_contact(rng, track, int(rng.poisson(tip.dropouts)), size)
    if rng.random() < tip.jump:
        track[int(rng.integers(rows // 4, rows)) :] += np.float32(rng.normal(0, 0.1))


def _drift(rng: np.random.Generator, tip: Tip, grid: Grid, up: bool) -> NDArray[np.float32]:
    """Tilt of the surface, and creep of the piezo that dies away over the frame."""
    rows = grid.shape[0]
    y = grid.y[::-1] if up else grid.y
    x = np.concatenate([grid.x, grid.x[::-1]])
    creep = tip.creep_nm * np.exp(-np.arange(rows) / (rows * rng.uniform(0.15, 1.0)))
    slow = (tip.tilt[1] * y + creep).astype(np.float32)
    return np.asarray(slow[:, None] + np.float32(tip.tilt[0]) * x)


def _pink(rng: np.random.Generator, count: int, deviation: float) -> NDArray[np.float32]:
    """Noise with a power that falls as 1/f, made in the frequency domain (Timmer & König 1995, A&A 300, 707)."""
    bins = count // 2 + 1
    shape = 1 / np.sqrt(np.maximum(np.arange(bins, dtype=np.float32), 1))
    shape[0] = 0
    parts = rng.standard_normal((2, bins), dtype=np.float32) * shape
    series = np.fft.irfft(parts[0] + 1j * parts[1], count)
    return np.asarray(series * (deviation / max(float(series.std()), 1e-30)), dtype=np.float32)


def _scar(rng: np.random.Generator, track: NDArray[np.float32], count: int, size: float) -> None:
    """Short streaks along a line: the tip picked something up for a moment."""
    rows, samples = track.shape
    for _ in range(count):
        row, start = int(rng.integers(rows)), int(rng.integers(samples))
        length = int(rng.exponential(samples / 12)) + 2
        track[row, start : start + length] += np.float32(rng.choice((-1.0, 1.0)) * size * rng.uniform(0.1, 0.8))


def _lose_contact(rng: np.random.Generator, track: NDArray[np.float32], count: int, size: float) -> None:
    """Stretches of a few lines where the feedback swings and the picture is lost."""
    rows, samples = track.shape
    for _ in range(count):
        row, start = int(rng.integers(rows)), int(rng.integers(samples))
        lines, length = int(rng.integers(1, 5)), int(rng.exponential(samples / 6)) + 4
        part = track[row : row + lines, start : start + length]
        part[...] = part.mean() + size * rng.normal(0.3, 0.4)
        part += rng.standard_normal(part.shape, dtype=np.float32) * np.float32(size * 0.25)
