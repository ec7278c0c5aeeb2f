"""Levelling: what is flat becomes flat, and what stands on it does not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spm_live.domain import Levelling
from spm_live.prepare import level, subtract_polynomial

HOWS = list(Levelling)


def surface(rows: int, columns: int, slope_x: float, slope_y: float, offset: float = 0.0) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return (offset + slope_x * x + slope_y * y).astype(np.float32)


@given(
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    slope_x=st.floats(-1e-9, 1e-9),
    slope_y=st.floats(-1e-9, 1e-9),
    offset=st.floats(-1e-6, 1e-6),
    missing=st.floats(0, 0.95),
    seed=st.integers(0, 2**32 - 1),
    how=st.sampled_from([Levelling.PLANE, Levelling.POLYNOMIAL, Levelling.ROWS, Levelling.SCARS]),
)
def test_any_plane_is_removed_also_where_parts_are_missing(rows, columns, slope_x, slope_y, offset, missing, seed, how):
    data = surface(rows, columns, slope_x, slope_y, offset)
    gone = np.random.default_rng(seed).random(data.shape) < missing
    data[gone] = np.nan
    flat = level(data, how)
    assert np.array_equal(np.isnan(flat), gone)
    # float32 itself keeps no more than this of the offset and the slopes
    rounding = 1e-6 * (abs(offset) + abs(slope_x) * columns + abs(slope_y) * rows) + 1e-30
    assert np.all(np.abs(flat[~gone]) <= rounding)


@given(bow=st.floats(-1, 1), cross=st.floats(-1, 1), slope=st.floats(-10, 10))
def test_a_bowed_surface_is_removed_by_the_polynomial(bow, cross, slope):
    y, x = np.mgrid[-1:1:60j, -1:1:80j]
    data = (slope * x + bow * x**2 + cross * x * y - bow * y**2).astype(np.float32)
    assert np.abs(level(data, Levelling.POLYNOMIAL)).max() < 1e-5 * (1 + abs(slope))


def test_molecules_do_not_tilt_the_surface():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:200, :200]
    data = 0.01 * x - 0.03 * y
    for _ in range(30):  # all of them on the left
        column, row = rng.uniform(0, 90), rng.uniform(0, 200)
        data += 3 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 40)
    flat = level(data.astype(np.float32), Levelling.PLANE)
    right = flat[:, 120:]
    assert np.ptp(right) < 0.02, "the bare right half is level"


def test_terraces_of_a_staircase_become_flat():
    """Four terraces that all go down to the right: least squares would run down the stairs."""
    y, x = np.mgrid[:200, :200]
    stairs = -np.floor((x + 0.4 * y) / 75.0)
    rng = np.random.default_rng(2)
    data = (stairs + 0.004 * x + 0.002 * y + 0.02 * rng.normal(size=x.shape)).astype(np.float32)
    flat = level(data, Levelling.PLANE)
    for step in np.unique(stairs):
        on = stairs == step
        if on.sum() > 3000:
            slope = np.linalg.lstsq(np.stack([x[on], y[on], np.ones(on.sum())], 1), flat[on], rcond=None)[0][:2]
            assert np.abs(slope * 200).max() < 0.05, "less than a twentieth of a step over the whole frame"


@pytest.mark.parametrize("how", HOWS)
def test_the_frame_given_is_not_written(how):
    data = np.random.default_rng(3).normal(size=(40, 50)).astype(np.float32)
    data[30:] = np.nan
    data.flags.writeable = False
    before = data.copy()
    result = level(data, how)
    assert np.array_equal(data, before, equal_nan=True)
    assert not np.shares_memory(result, data)
    assert result.flags.writeable


@settings(max_examples=60)
@given(
    data=arrays(np.float32, st.tuples(st.integers(1, 24), st.integers(1, 24)), elements=st.floats(width=32)),
    how=st.sampled_from(HOWS),
)
def test_any_values_are_levelled_without_warning_and_stay_finite(data, how):
    flat = level(data, how)
    assert flat.shape == data.shape
    assert flat.dtype == np.float32
    assert np.array_equal(np.isfinite(flat), np.isfinite(data)), "what was measured stays, what was not stays out"


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("value", [0.0, 3e-9, -1e38])
def test_a_constant_frame_stays_constant(how, value):
    flat = level(np.full((33, 47), value, dtype=np.float32), how)
    assert np.ptp(flat) == 0


@pytest.mark.parametrize("how", HOWS)
def test_a_frame_without_a_scanned_pixel_stays_empty(how):
    assert np.isnan(level(np.full((8, 9), np.nan, dtype=np.float32), how)).all()


def test_few_scattered_pixels_are_found():
    data = np.full((500, 500), np.nan, dtype=np.float32)
    data[7, 13] = 5.0
    assert level(data, Levelling.PLANE)[7, 13] == pytest.approx(0.0, abs=1e-6)


def test_degree_zero_takes_the_level_of_the_background():
    data = np.zeros((50, 50), dtype=np.float32)
    data[:20] = 7.0
    assert subtract_polynomial(data + 2, 0)[30, 30] == pytest.approx(0.0, abs=1e-6)
