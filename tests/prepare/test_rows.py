"""Row alignment: jitter and jumps go, topography stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live.prepare import align_rows_by_differences, align_rows_by_median
from spm_live.prepare.rows import scanned_rows


def landscape(seed: int, size: int = 256, step: float = 1.5, noise: float = 0.1) -> np.ndarray:
    """Molecules on two terraces with an oblique step between them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    heights = step * (x + 0.6 * y > 0.8 * size) + noise * rng.normal(size=x.shape)
    for column, row in rng.uniform(0, size, (25, 2)):
        heights += np.exp(-((x - column) ** 2 + (y - row) ** 2) / 60)
    return heights


def error(aligned: np.ndarray, truth: np.ndarray) -> float:
    """Scatter of the rows' shifts from the truth, apart from a tilt."""
    wrong = np.median(aligned - truth, axis=1)
    number = np.arange(wrong.size)
    return float(np.std(wrong - np.polyval(np.polyfit(number, wrong, 1), number)))


@pytest.mark.parametrize("jitter", [0.0, 0.1, 0.5, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_line_jitter_goes_and_steps_and_molecules_stay(jitter, seed):
    truth = landscape(seed)
    shaken = truth + jitter * np.random.default_rng(seed + 100).normal(size=(truth.shape[0], 1))
    aligned = align_rows_by_differences(shaken.astype(np.float32))
    assert error(aligned, truth) < 0.09, "less than the noise of one pixel"


def test_a_jump_of_the_tip_that_lasts_is_taken_out():
    truth = landscape(4)
    jumped = truth + 0.05 * np.random.default_rng(5).normal(size=(256, 1))
    jumped[100:] += 6.0
    jumped[180:] -= 4.0
    assert error(align_rows_by_differences(jumped.astype(np.float32)), truth) < 0.09


def test_one_large_molecule_leaves_no_band_across_the_frame():
    """Adding up medians of differences would leave one: the halves of a molecule never quite balance."""
    y, x = np.mgrid[:256, :256]
    truth = (np.exp(-(((x - 128) / 70.0) ** 2 + ((y - 128) / 30.0) ** 2)) * (1 + 0.3 * np.sin(x / 9.0))).astype(
        np.float32
    )
    truth += 0.001 * np.random.default_rng(6).normal(size=truth.shape).astype(np.float32)
    aligned = align_rows_by_differences(truth)
    assert np.ptp(np.median((aligned - truth)[:, :30], axis=1)) < 0.02
    steps = np.median(np.diff(truth, axis=0), axis=1)
    assert np.ptp(np.cumsum(steps)) > 0.1, "the plain method would have"


def test_a_step_that_crosses_the_lines_is_not_smeared():
    y, x = np.mgrid[:128, :128]
    truth = (2.0 * (x + y > 128)).astype(np.float32)
    aligned = align_rows_by_differences(truth + np.random.default_rng(7).normal(size=(128, 1)).astype(np.float32))
    right, left = aligned[(x + y > 140)], aligned[(x + y < 116)]
    assert right.min() - left.max() > 1.5


def test_unscanned_rows_are_stepped_over():
    truth = landscape(8)
    data = (truth + np.random.default_rng(9).normal(size=(256, 1))).astype(np.float32)
    data[60:70] = np.nan
    data[200:] = np.nan
    data[199, 40:] = np.nan
    aligned = align_rows_by_differences(data)
    assert np.array_equal(np.isnan(aligned), np.isnan(data))
    kept = [row for row in range(199) if not 60 <= row < 70]
    assert error(aligned[kept], truth[kept]) < 0.25


def test_the_median_of_every_row_becomes_zero():
    data = np.random.default_rng(10).normal(size=(30, 41)).astype(np.float32) + np.arange(30, dtype=np.float32)[:, None]
    data[3] = np.nan
    data[4, 10:] = np.nan
    aligned = align_rows_by_median(data)
    rows = [row for row in range(30) if row != 3]
    assert np.allclose([np.nanmedian(aligned[row]) for row in rows], 0, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 50), (50, 1), (50, 3)])
def test_small_frames_are_aligned_or_left_alone(shape):
    data = np.random.default_rng(11).normal(size=shape).astype(np.float32)
    aligned = align_rows_by_differences(data)
    assert aligned.shape == shape
    assert np.isfinite(aligned).all()


@given(shape=st.tuples(st.integers(1, 12), st.integers(1, 6)), part=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_scanned_rows_are_those_with_a_number(shape, part, seed):
    rng = np.random.default_rng(seed)
    data = np.where(rng.random(shape) < part, np.nan, 1.0).astype(np.float32)
    expected = [row for row in range(shape[0]) if any(np.isfinite(value) for value in data[row])]
    assert scanned_rows(data).tolist() == expected
