"""Contrast: quantiles become the ends of the range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spm_live.prepare import quantile_limits, stretch, to_grey

frames = arrays(
    np.float32, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=st.floats(-(2.0**99), 2.0**99, width=32)
)


@given(data=frames, seed=st.integers(0, 99))
def test_everything_scanned_lies_between_0_and_1_and_the_rest_stays_out(data, seed):
    data[np.random.default_rng(seed).random(data.shape) < 0.3] = np.nan
    unit = stretch(data, (0.01, 0.99))
    assert np.array_equal(np.isnan(unit), np.isnan(data))
    inside = unit[~np.isnan(unit)]
    assert ((inside >= 0) & (inside <= 1)).all()


@given(data=frames, seed=st.integers(0, 99))
def test_in_place_it_is_the_same_and_otherwise_the_values_given_stay(data, seed):
    data[np.random.default_rng(seed).random(data.shape) < 0.3] = np.nan
    given_before = data.copy()
    unit = stretch(data, (0.01, 0.99))
    assert np.array_equal(data, given_before, equal_nan=True)
    assert stretch(data, (0.01, 0.99), in_place=True) is data
    assert np.array_equal(data, unit, equal_nan=True)


@given(data=frames)
def test_the_order_of_heights_is_kept(data):
    grey = to_grey(data)
    order = np.argsort(data, axis=None, kind="stable")
    assert (np.diff(grey.ravel()[order].astype(int)) >= 0).all()
    assert (grey > 0).all(), "0 is kept for what was not scanned"


def test_unscanned_pixels_are_0_and_only_they():
    data = np.array([[0.0, 1.0], [np.nan, 2.0]], dtype=np.float32)
    assert to_grey(data, (0.0, 1.0)).tolist() == [[1, 128], [0, 255]]


@pytest.mark.parametrize("low", [0.0, 0.005, 0.2])
def test_quantiles_of_a_small_frame_are_exact(low):
    data = np.random.default_rng(0).permutation(1001).astype(np.float32).reshape(1, -1)[:, :]
    assert quantile_limits(data[:, :1001].reshape(7, 143), (low, 1 - low)) == pytest.approx(
        (1000 * low, 1000 * (1 - low)), abs=1
    )


def test_quantiles_of_a_large_frame_are_near():
    data = np.random.default_rng(1).normal(size=(2000, 1500)).astype(np.float32)
    limits = quantile_limits(data, (0.005, 0.995))
    assert limits == pytest.approx((-2.576, 2.576), abs=0.15)


def test_a_wild_pixel_does_not_set_the_range():
    data = np.random.default_rng(2).normal(size=(100, 100)).astype(np.float32)
    data[50, 50] = 1e20
    limits = quantile_limits(data, (0.005, 0.995))
    assert limits is not None
    assert limits[1] < 10


def test_a_few_molecules_on_a_constant_background_are_seen():
    data = np.zeros((100, 100), dtype=np.float32)
    data[40:43, 40:43] = 1e-10
    unit = stretch(data, (0.005, 0.995))
    assert unit[41, 41] == 1
    assert unit[0, 0] == 0


def test_tiny_currents_have_full_contrast():
    data = (1e-38 * np.arange(100).reshape(10, 10)).astype(np.float32)
    assert np.ptp(stretch(data, (0.0, 1.0))) == pytest.approx(1, abs=1e-5)


def test_a_constant_frame_is_grey_throughout():
    assert np.unique(stretch(np.full((5, 5), 3e-9, dtype=np.float32), (0.01, 0.99))).tolist() == [0.5]


def test_an_empty_frame_has_no_limits():
    assert quantile_limits(np.full((5, 5), np.nan, dtype=np.float32), (0.01, 0.99)) is None
