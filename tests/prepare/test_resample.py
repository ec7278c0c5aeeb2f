"""Resampling: values, places and gaps are where they were."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live.domain import FrameRef, Letterbox, ScanGeometry
from spm_live.errors import FrameError
from spm_live.prepare import letterbox_for, resample

REF = FrameRef(source="somewhere/scan.sxm")
sides = st.integers(1, 40)


@given(sides, sides, sides, sides, st.floats(-1e3, 1e3, width=32))
def test_a_constant_stays_what_it_is(rows, columns, new_rows, new_columns, value):
    data = np.full((rows, columns), value, dtype=np.float32)
    assert np.allclose(resample(data, new_rows, new_columns), value, rtol=1e-5)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_whole_blocks_are_averaged(rows, columns, high, wide, seed):
    data = np.random.default_rng(seed).normal(size=(rows * high, columns * wide)).astype(np.float32)
    expected = data.astype(np.float64).reshape(rows, high, columns, wide).mean(axis=(1, 3))
    assert np.allclose(resample(data, rows, columns), expected, atol=1e-5)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_gaps_have_no_weight(rows, columns, high, wide, seed):
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(rows * high, columns * wide)).astype(np.float32)
    data[rng.random(data.shape) < 0.4] = np.nan
    blocks = data.astype(np.float64).reshape(rows, high, columns, wide).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    scanned = np.isfinite(blocks).sum(axis=2)
    result = resample(data, rows, columns)
    enough = 2 * scanned >= blocks.shape[2]
    assert np.array_equal(np.isfinite(result), enough)
    means = np.nansum(blocks, axis=2)[enough] / scanned[enough]
    assert np.allclose(result[enough], means, atol=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(30, 200), (200, 30), (200, 200), (30, 30), (77, 61)])
def test_a_slope_keeps_its_place_along_each_axis(rows, columns):
    """Pixel centres map to pixel centres, whichever axis shrinks and whichever grows."""
    y, x = np.mgrid[:60, :60]
    box = Letterbox(columns / 60, rows / 60, rows, columns)
    for data, axis in ((x, 0), (y, 1)):
        result = resample(data.astype(np.float32), rows, columns)
        place = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2).astype(float)
        expected = box.to_frame(place)[:, axis].reshape(rows, columns)
        inner = (expected > 1) & (expected < 58)  # beyond the outermost centres there is nothing to interpolate
        assert np.allclose(result[inner], expected[inner], atol=0.26)
        assert abs(np.mean(result[inner] - expected[inner])) < 0.01


def test_the_front_of_a_partial_scan_stays_where_it_is():
    data = np.ones((100, 100), dtype=np.float32)
    data[40:] = np.nan
    for rows in (50, 100, 250):
        scanned = np.isfinite(resample(data, rows, rows)).all(axis=1)
        assert scanned.sum() == pytest.approx(0.4 * rows, abs=1)


def test_threads_do_not_change_the_result():
    data = np.random.default_rng(0).normal(size=(700, 900)).astype(np.float32)
    data[500:, 100:] = np.nan
    before = cv2.getNumThreads()
    try:
        results = []
        for threads in (1, 2, 4):
            cv2.setNumThreads(threads)
            results.append((resample(data, 333, 411).tobytes(), resample(data, 1333, 1411).tobytes()))
    finally:
        cv2.setNumThreads(before)
    assert results[0] == results[1] == results[2]


@given(
    st.integers(1, 4000),
    st.integers(1, 4000),
    st.floats(0.1, 500),
    st.floats(0.1, 500),
    st.floats(0.05, 5),
    st.floats(-1, 5000),
    st.floats(-1, 5000),
)
def test_letterbox_and_back_is_identity(rows, columns, width, height, pitch, x, y):
    geometry = ScanGeometry(rows, columns, (width, height))
    box = letterbox_for(geometry, pitch, REF) if width * height / pitch**2 < 6e7 else Letterbox(0.3, 1.7, 9, 9)
    assert box.rows >= 1
    assert box.columns >= 1
    place = np.array([[x, y]])
    assert np.allclose(box.to_model(box.to_frame(place)), place, atol=1e-6)
    assert np.allclose(box.to_frame(box.to_model(place)), place, atol=1e-6)
    corner = box.to_frame(np.array([[box.columns - 0.5, box.rows - 0.5], [-0.5, -0.5]]))
    if (box.rows, box.columns) != (9, 9):
        assert np.allclose(corner, [[columns - 0.5, rows - 0.5], [-0.5, -0.5]], atol=1e-6)


def test_x_and_y_are_scaled_separately():
    box = letterbox_for(ScanGeometry(100, 200, (10.0, 20.0)), 0.1, REF)
    assert (box.rows, box.columns) == (200, 100)
    assert (box.scale_x, box.scale_y) == (0.5, 2.0)


@pytest.mark.parametrize("size", [(1e9, 1.0), (1.0, 1e9), (2e3, 2e3), (1e300, 1e300), (1e300, 1e-300)])
def test_a_wild_scan_range_is_refused_in_words(size):
    with pytest.raises(FrameError, match="million pixels") as caught:
        letterbox_for(ScanGeometry(256, 256, size), 0.1, REF)
    assert caught.value.stage == "prepare"
    assert caught.value.ref is REF


def test_a_model_without_a_pitch_sees_the_pixels_of_the_frame():
    square = ScanGeometry(30, 40, (8.0, 6.0), (0.0, 0.0), 0.0)
    assert letterbox_for(square, None, REF) == Letterbox(1.0, 1.0, 30, 40)
    oblong = ScanGeometry(30, 40, (8.0, 12.0), (0.0, 0.0), 0.0)
    assert letterbox_for(oblong, None, REF) == Letterbox(1.0, 2.0, 60, 40)
