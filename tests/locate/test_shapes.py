"""Areas, axes and outlines of masks against shapes that are known exactly."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live.locate.shapes import MOST_POINTS, axes, cover, moments, outlines, refine


def ellipse_mask(side: int, half_x: float, half_y: float, turn_deg: float, sharpness: float = 8.0) -> np.ndarray:
    """Probabilities of an ellipse in a box from -1 to 1, y down, turned counter-clockwise as seen."""
    place = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = np.meshgrid(place, -place)
    turn = math.radians(turn_deg)
    u, v = x * math.cos(turn) + y * math.sin(turn), -x * math.sin(turn) + y * math.cos(turn)
    distance = 1 - np.hypot(u / half_x, v / half_y)
    return (1 / (1 + np.exp(-np.clip(sharpness * side / 8 * distance, -50, 50)))).astype(np.float32)


def slow_moments(inside, corner, size):
    """Add up the cells one by one; a rectangle's own second moment is its side squared over twelve."""
    side = inside.shape[0]
    cell = np.array(size) / side
    places = [
        (corner[0] + (column + 0.5) * cell[0], corner[1] + (row + 0.5) * cell[1])
        for row in range(side)
        for column in range(side)
        if inside[row, column]
    ]
    mean = np.mean(places, axis=0)
    rest = np.array(places) - mean
    variance = np.mean(rest**2, axis=0) + cell**2 / 12
    return len(places) * cell[0] * cell[1], mean, [*variance, np.mean(rest[:, 0] * rest[:, 1])]


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_moments_are_those_of_the_cells_added_up_one_by_one(side, seed):
    rng = np.random.default_rng(seed)
    inside = rng.random((3, side, side)) < 0.5
    inside[:, 0, 0] = True
    corner, size = rng.normal(size=(3, 2)) * 100, rng.uniform(0.1, 50, (3, 2))
    measured = moments(inside.astype(np.float32), corner, size)
    for k in range(3):
        area, center, spread = slow_moments(inside[k], corner[k], size[k])
        assert measured.area[k] == pytest.approx(area)
        assert measured.center[k] == pytest.approx(center)
        assert measured.spread[k] == pytest.approx(spread, rel=1e-4, abs=1e-3)


def test_a_shape_without_a_cell_has_no_area_and_no_place():
    measured = moments(np.zeros((1, 4, 4), dtype=np.float32), np.zeros((1, 2)), np.ones((1, 2)))
    assert measured.area.tolist() == [0]
    assert np.isnan(measured.center).all()


@pytest.mark.parametrize("side", [14, 28, 56])
@pytest.mark.parametrize("turn", [0, 20, 45, 90, 135, 170])
def test_axes_of_an_ellipse(side, turn):
    mask = refine(ellipse_mask(side, 0.9, 0.5, turn)[None])
    measured = moments(cover(mask), np.array([[-1.0, -1.0]]), np.array([[2.0, 2.0]]))
    assert measured.area[0] == pytest.approx(math.pi * 0.9 * 0.5, rel=0.02)
    length, width, angle = axes(measured.spread * [1, 1, -1])  # y grows down in the mask
    assert length[0] == pytest.approx(1.8, rel=0.02)
    assert width[0] == pytest.approx(1.0, rel=0.02)
    assert (angle[0] - turn + 90) % 180 - 90 == pytest.approx(0, abs=1)


@given(st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_of_masks_of_zeros_and_ones_whole_cells_are_covered(side, seed):
    masks = (np.random.default_rng(seed).random((2, side, side)) < 0.5).astype(np.float32)
    assert np.array_equal(cover(masks), masks)


def test_a_circle_has_equal_axes_and_no_nan():
    length, width, angle = axes(np.array([[2.0, 2.0, 0.0]]))
    assert length[0] == width[0] == pytest.approx(4 * math.sqrt(2))
    assert np.isfinite(angle).all()


@pytest.mark.parametrize("side", [14, 28, 56])
@pytest.mark.parametrize("turn", [0, 30, 80])
def test_an_outline_runs_where_the_probability_is_one_half(side, turn):
    fine = refine(ellipse_mask(side, 0.8, 0.6, turn)[None])
    (polygon,) = outlines(fine)
    cells = fine.shape[1]
    assert 8 <= len(polygon) <= MOST_POINTS
    assert cv2.contourArea(polygon) == pytest.approx(math.pi * 0.8 * 0.6 * (cells / 2) ** 2, rel=0.03)
    place = polygon / cells * 2 - 1
    radians = math.radians(turn)
    u = place[:, 0] * math.cos(radians) - place[:, 1] * math.sin(radians)
    v = place[:, 0] * math.sin(radians) + place[:, 1] * math.cos(radians)
    assert np.hypot(u / 0.8, v / 0.6) == pytest.approx(1, abs=0.04)


def test_a_full_mask_is_outlined_by_its_box():
    (polygon,) = outlines(np.ones((1, 28, 28), dtype=np.float32))
    assert polygon.min(axis=0).tolist() == [0, 0]
    assert polygon.max(axis=0).tolist() == [28, 28]
    assert cv2.contourArea(polygon) == pytest.approx(28 * 28, rel=0.01)


def test_masks_do_not_disturb_one_another():
    rng = np.random.default_rng(0)
    masks = np.stack([ellipse_mask(28, *rng.uniform(0.4, 1.2, 2), rng.uniform(0, 180)) for _ in range(20)])
    masks[7] = 0
    masks[8] = 1
    together = outlines(refine(masks))
    for mask, polygon in zip(masks, together, strict=True):
        assert np.array_equal(outlines(refine(mask[None]))[0], polygon)
    assert len(together[7]) == 0


def test_of_a_mask_in_pieces_the_largest_is_outlined():
    mask = np.zeros((1, 56, 56), dtype=np.float32)
    mask[0, 2:8, 2:50] = 1
    mask[0, 20:50, 20:50] = 1
    (polygon,) = outlines(mask)
    assert polygon.min(axis=0) == pytest.approx([20, 20], abs=0.5)


@pytest.mark.parametrize(
    "cells", [(slice(5, 6), slice(9, 10)), (slice(5, 6), slice(9, 20)), (slice(0, 1), slice(0, 1))]
)
def test_a_shape_too_thin_for_a_polygon_is_outlined_by_a_rectangle(cells):
    mask = np.zeros((1, 56, 56), dtype=np.float32)
    mask[0][cells] = 1
    (polygon,) = outlines(mask)
    assert len(polygon) == 4
    assert polygon.min(axis=0).tolist() == [cells[1].start, cells[0].start]
    assert polygon.max(axis=0).tolist() == [cells[1].stop, cells[0].stop]


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_any_mask_gives_a_polygon_inside_its_box_or_none(side, seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((4, side, side)).astype(np.float32)
    masks[0] *= 0.4
    fine = refine(masks)
    for mask, polygon in zip(fine, outlines(fine), strict=True):
        assert len(polygon) == 0 if not (mask > 0.5).any() else 3 <= len(polygon) <= MOST_POINTS
        assert ((polygon >= 0) & (polygon <= fine.shape[1])).all()
        assert np.isfinite(polygon).all()


def test_no_masks_no_outlines():
    assert outlines(np.zeros((0, 56, 56), dtype=np.float32)) == []
