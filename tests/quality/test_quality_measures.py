"""Each measure against scans of which the truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live.domain import FrameInfo, FrameRef, ScanDirection, ScanGeometry, Trace
from spm_live.quality.dropouts import SHORTEST_PX, dropped_pixels
from spm_live.quality.inspect import ScanInspector
from spm_live.quality.lines import typical
from spm_live.scanning import ScanQuality, Verdict

ROWS, COLUMNS, PITCH = 160, 192, 0.1


def look(lines: np.ndarray, backward: np.ndarray | None = None, up: bool = False) -> ScanQuality:
    geometry = ScanGeometry(lines.shape[0], lines.shape[1], (lines.shape[1] * PITCH, lines.shape[0] * PITCH))
    direction = ScanDirection.UP if up else ScanDirection.DOWN
    frame = FrameInfo(FrameRef("drawn", channel="Z", trace=Trace.FORWARD), geometry, "m", direction=direction)
    back = None if backward is None else (backward * 1e-9).astype(np.float32)
    return ScanInspector(frame).advance((lines * 1e-9).astype(np.float32), back)


def molecules(seed: int, count: int = 60, copy: tuple[int, int, float] | None = None) -> np.ndarray:
    """Round molecules of 0.2 nm at random places; with a copy: columns and lines away, and how high."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:ROWS, :COLUMNS]
    heights = np.zeros((ROWS, COLUMNS))
    for row, column in rng.uniform(0, (ROWS, COLUMNS), (count, 2)):
        for dx, dy, part in [(0, 0, 1.0)] + ([copy] if copy else []):
            heights = np.maximum(heights, 0.2 * part * np.exp(-((x - column - dx) ** 2 + (y - row - dy) ** 2) / 18))
    return heights


def noisy(heights: np.ndarray, seed: int = 9, size: float = 0.004) -> np.ndarray:
    return heights + np.random.default_rng(seed).standard_normal(heights.shape) * size


@pytest.mark.parametrize("sigma", [0.001, 0.02])
def test_noise_is_measured_over_molecules_tilt_and_line_offsets(sigma: float) -> None:
    x, y = np.arange(COLUMNS), np.arange(ROWS)[:, None]
    scan = noisy(molecules(1) + 0.01 * x - 0.02 * y + 0.05 * np.sin(y), size=sigma)
    assert look(scan).noise_nm == pytest.approx(sigma, rel=0.1)


def test_a_clean_scan_is_good_and_its_lines_agree() -> None:
    quality = look(noisy(molecules(2)), noisy(molecules(2), seed=8))
    assert (quality.verdict, quality.reasons) == (Verdict.GOOD, ())
    assert quality.line_correlation > 0.8
    assert quality.trace_agreement > 0.8
    assert quality.streaks < 0.005


def test_tilt_is_no_agreement() -> None:
    tilted = np.zeros((ROWS, COLUMNS)) + 0.05 * np.arange(COLUMNS)
    quality = look(noisy(tilted), noisy(tilted, seed=5))
    assert abs(quality.line_correlation) < 0.2
    assert abs(quality.trace_agreement) < 0.35  # the best of fifty shifts


@pytest.mark.parametrize("shift", [-9, -1, 0, 4, 15])
def test_hysteresis_shifts_the_way_back_and_takes_no_agreement(shift: int) -> None:
    wide = molecules(3, 80)
    reach = 16
    forward, backward = wide[:, reach:-reach], wide[:, reach - shift : COLUMNS - reach - shift]
    quality = look(noisy(forward), noisy(backward, seed=4))
    assert quality.trace_agreement > 0.85


def test_traces_of_two_places_disagree() -> None:
    quality = look(noisy(molecules(4)), noisy(molecules(5)))
    assert quality.trace_agreement < 0.5


def test_streaks_are_counted_by_their_pixels() -> None:
    scan, rng = noisy(molecules(6)), np.random.default_rng(0)
    marked = 0
    for row in range(20, ROWS - 4, 6):
        start, length = int(rng.integers(0, COLUMNS - 60)), int(rng.integers(30, 60))
        scan[row, start : start + length] += 0.3 * rng.choice([-1, 1])
        marked += length
    quality = look(scan)
    assert quality.streaks == pytest.approx(marked / scan.size, rel=0.25)
    assert quality.verdict is Verdict.DOUBTFUL
    assert "lie in streaks" in quality.reasons[0]


def test_molecules_and_steps_are_no_streaks() -> None:
    step = 0.24 * (np.arange(COLUMNS) > 90 + 0.3 * np.arange(ROWS)[:, None])
    assert look(noisy(molecules(7) + step)).streaks < 0.003


@given(st.lists(st.tuples(st.integers(1, 60), st.sampled_from([math.nan, math.inf, 1.0, 2.0])), min_size=1, max_size=8))
def test_drop_outs_are_what_a_slow_count_finds(parts: list[tuple[int, float]]) -> None:
    rng = np.random.default_rng(len(parts))
    pieces = [piece for length, value in parts for piece in (np.full(length, value), rng.uniform(3, 4, 40))]
    line = np.concatenate(pieces).astype(np.float32)
    known = line[np.isfinite(line)]
    slow, run = int(line.size - known.size), 1
    for index in range(1, known.size + 1):
        if index < known.size and known[index] == known[index - 1]:
            run += 1
            continue
        slow += run if run >= max(SHORTEST_PX, line.size // 16) else 0
        run = 1
    assert dropped_pixels(line) == slow


def test_a_coarse_converter_is_no_drop_out_and_the_end_of_its_range_is() -> None:
    x = np.arange(400)
    slope = np.round(x / 40).astype(np.float32)  # runs of forty equal values
    assert dropped_pixels(slope) == 0  # the runs at both ends of the range are short
    assert dropped_pixels(np.clip(slope, 0, 6)) == 180


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40))
def test_what_is_typical_lies_in_the_shortest_half(values: list[float]) -> None:
    ordered = np.sort(np.array(values))
    half = len(values) // 2
    width = min(ordered[first + half] - ordered[first] for first in range(len(values) - half))
    near = [first for first in range(len(values) - half) if ordered[first + half] - ordered[first] <= width]
    assert any(ordered[first] <= typical(ordered) <= ordered[first + half] for first in near)


@pytest.mark.parametrize("up", [False, True])
def test_a_double_tip_is_told_with_the_place_of_its_copy(up: bool) -> None:
    quality = look(noisy(molecules(8, 70, (9, 6, 0.5))), up=up)
    assert quality.double_tip_nm is not None
    x, y = quality.double_tip_nm
    # The copy lies 9 columns to the right and 6 lines later: further down, or further up in an up scan.
    assert math.dist((x, y), (0.9, 0.6 if up else -0.6)) < 0.15
    assert any("weaker copy 0.9 nm to the right" in reason for reason in quality.reasons)
    assert 0 < quality.double_tip <= 1


def test_random_molecules_a_lattice_and_pairs_of_like_lobes_are_no_double_tip() -> None:
    y, x = np.mgrid[:ROWS, :COLUMNS]
    lattice = 0.1 * (np.cos(2 * np.pi * x / 14) + np.cos(2 * np.pi * (0.5 * x + 0.866 * y) / 14))
    pairs = molecules(8, 60, (9, 6, 1.0))
    for scan in (molecules(8, 70), lattice, pairs):
        assert look(noisy(scan)).double_tip_nm is None
