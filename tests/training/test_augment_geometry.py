"""Outlines stay in step with pictures: what is painted from outlines and moved equals what moved outlines paint."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spm_live.training.augment import microscope
from spm_live.training.augment.affine import about, least_scale, linear, warp, warp_image
from spm_live.training.augment.appearance import elastic
from spm_live.training.augment.bend import smooth_field
from spm_live.training.augment.fragments import mirrored
from spm_live.training.augment.outlines import area_of, clip, clip_ring, densified, trimmed
from spm_live.training.labelled import LabelledMolecule, LabelledPicture, coverage_of, mask_of

SEEDS = st.integers(0, 2**32 - 1)


def blob(rng: np.random.Generator, centre: tuple[float, float], radius: float) -> NDArray[np.float64]:
    """A star-shaped ring, at times with deep bays."""
    count = int(rng.integers(5, 14))
    turn = np.sort(rng.uniform(0, 2 * np.pi, count))
    reach = radius * rng.uniform(0.55, 1.0, count)
    return np.stack([centre[0] + reach * np.cos(turn), centre[1] + reach * np.sin(turn)], axis=1)


def painted(seed: int, shape: tuple[int, int] = (150, 170)) -> LabelledPicture:
    """A picture that is 1 within outlines and 0 elsewhere; some are cut by its border, one has a hole."""
    rng = np.random.default_rng(seed)
    molecules = []
    for row in range(3):
        for column in range(3):
            centre = (column + 0.5) * shape[1] / 3 + rng.uniform(-6, 6), (row + 0.5) * shape[0] / 3 + rng.uniform(-6, 6)
            rings = [blob(rng, centre, 19)]
            if row == column == 1:
                square = np.array([[-5.0, -5.0], [-5.0, 5.0], [5.0, 5.0], [5.0, -5.0]]) + centre
                rings = [3.3 * (square - centre) + centre, square]
            molecules.append(LabelledMolecule("ab"[(row + column) % 2], tuple(rings)))
    image = np.zeros(shape, dtype=np.float32)
    for one in molecules:
        image = np.maximum(image, coverage_of(one.rings, shape))
    return trimmed(LabelledPicture("painted", image, tuple(molecules), nm_per_px=0.1))


def iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    either = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / either if either else 1.0


def repainted(picture: LabelledPicture) -> NDArray[np.bool_]:
    whole = np.zeros(picture.image.shape, dtype=bool)
    for one in picture.molecules:
        whole |= mask_of(one, picture.image.shape)
    return whole


def assert_in_step(picture: LabelledPicture, least: float = 0.9) -> None:
    """What the picture shows is what its outlines cover; each one by itself, and all together."""
    rows, columns = picture.image.shape
    shown = np.nan_to_num(picture.image) >= 0.5
    cover = repainted(picture)
    if max(shown.sum(), cover.sum()) > 150:
        assert iou(shown, cover) > least
    for one in picture.molecules:
        x1, y1, x2, y2 = one.box_px
        assert -1e-6 <= x1 <= x2 <= columns + 1e-6
        assert -1e-6 <= y1 <= y2 <= rows + 1e-6
        mask = mask_of(one, picture.image.shape)
        if mask.sum() > 150:  # of smaller ones, the points of a star are finer than pixels
            assert np.mean(shown[mask]) > least - 0.05


@given(
    seed=SEEDS,
    angle=st.floats(0, 360),
    scale=st.floats(0.5, 1.6),
    squeeze=st.floats(0.85, 1.18),
    shear=st.floats(-0.15, 0.15),
    flip=st.booleans(),
    place=st.tuples(st.floats(20, 150), st.floats(20, 130)),
)
@settings(max_examples=40)
def test_outlines_follow_every_affine_map(seed, angle, scale, squeeze, shear, flip, place):
    picture = painted(seed)
    part = linear(angle, scale, squeeze, shear, flip=flip)
    moved = warp(picture, about(part, place, (48.0, 40.0)), (80, 96))

    assert moved.image.shape == (80, 96)
    assert_in_step(moved)
    assert moved.nm_per_px == pytest.approx(0.1 / scale)
    assert np.nanmin(moved.image, initial=0) >= 0
    assert np.nanmax(moved.image, initial=1) <= 1 + 1e-6


def test_doing_nothing_changes_nothing():
    picture = painted(1)
    same = warp(picture, about(linear(), (0, 0), (0, 0)), picture.image.shape)

    np.testing.assert_allclose(same.image, picture.image, atol=1e-6)
    for before, after in zip(picture.molecules, same.molecules, strict=True):
        np.testing.assert_allclose(np.concatenate(after.rings), np.concatenate(before.rings), atol=1e-9)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_those_of_numpy_to_the_pixel(quarters):
    image = np.random.default_rng(0).random((30, 50), dtype=np.float32)
    expected = np.rot90(image, -quarters)
    rows, columns = expected.shape
    matrix = about(linear(90.0 * quarters), (25.0, 15.0), (columns / 2, rows / 2))

    np.testing.assert_allclose(warp_image(image, matrix, (rows, columns)), expected, atol=1e-4)


def test_what_lies_beyond_the_picture_is_not_scanned():
    image = np.ones((20, 20), dtype=np.float32)
    moved = warp_image(image, about(linear(), (0, 0), (5, 3)), (30, 30))

    assert np.isnan(moved[:3]).all()
    assert np.isnan(moved[:, :5]).all()
    assert (moved[3:23, 5:25] == 1).all()
    assert np.isnan(moved[23:]).all()
    assert np.isnan(warp_image(image, about(linear(), (0, 0), (500, 3)), (30, 30))).all()


def test_what_was_not_scanned_stays_so_and_darkens_nothing():
    image = np.full((60, 60), 0.7, dtype=np.float32)
    image[30:] = np.nan
    moved = warp_image(image, about(linear(0, 0.5), (30, 30), (15, 15)), (30, 30))

    assert np.isnan(moved[15:]).all()
    np.testing.assert_allclose(moved[:15], 0.7, atol=1e-5)


@given(angle=st.floats(0, 360), scale=st.floats(0.1, 3), squeeze=st.floats(0.6, 1.7), shear=st.floats(-0.5, 0.5))
def test_the_least_scale_is_the_smaller_singular_value(angle, scale, squeeze, shear):
    part = linear(angle, scale, squeeze, shear)

    assert least_scale(part) == pytest.approx(np.linalg.svd(part, compute_uv=False)[-1], rel=1e-6)


def test_a_fine_grating_vanishes_rather_than_becoming_a_coarse_one():
    image = np.tile((np.arange(200) % 2).astype(np.float32), (200, 1))
    small = warp_image(image, about(linear(0, 0.31), (100, 100), (25, 25)), (50, 50))

    assert np.ptp(small) < 0.1


@given(seed=SEEDS, amount=st.floats(0, 8))
@settings(max_examples=20)
def test_outlines_follow_elastic_bends(seed, amount):
    assert_in_step(elastic(painted(seed), np.random.default_rng(seed), amount))


@given(seed=SEEDS, amount=st.floats(0, 16), bends=st.sampled_from([microscope.drift, microscope.creep]))
@settings(max_examples=20)
def test_outlines_follow_drift_and_creep(seed, amount, bends):
    # A molecule that the border cuts goes on beyond a bend: only whole ones can be compared.
    picture = painted(seed, (220, 220))
    inner = warp(picture, about(linear(), (110, 110), (150, 150)), (300, 300))
    whole = LabelledPicture("wide", np.nan_to_num(inner.image), inner.molecules)

    assert_in_step(bends(whole, np.random.default_rng(seed), amount))


@given(seed=SEEDS, amount=st.floats(0, 8), x=st.floats(0, 100), y=st.floats(0, 90))
def test_a_point_is_found_where_the_field_brings_it(seed, amount, x, y):
    field = smooth_field(np.random.default_rng(seed), (90, 100), amount, 40.0)
    found = field.forward(np.array([[x, y]]))

    np.testing.assert_allclose(found + field._at(found), [[x, y]], atol=0.02)


@given(seed=SEEDS)
@settings(max_examples=10)
def test_the_mirrored_picture_is_labelled_in_its_mirror_images(seed):
    picture = painted(seed, (90, 110))
    wide = mirrored(picture, 70)

    assert wide.image.shape == (230, 250)
    np.testing.assert_array_equal(wide.image[70:160, 70:180], picture.image)
    np.testing.assert_array_equal(wide.image[70:160, 40:70], picture.image[:, :30][:, ::-1])
    assert_in_step(wide)


def test_what_the_border_cuts_is_not_learnt_from_together_with_its_mirror_image():
    cut = LabelledMolecule("a", (np.array([[0.0, 10.0], [12.0, 10.0], [12.0, 20.0], [0.0, 20.0]]),))
    whole = LabelledMolecule("a", (np.array([[20.0, 10.0], [30.0, 10.0], [30.0, 20.0], [20.0, 20.0]]),))
    picture = LabelledPicture("two", np.zeros((40, 40), dtype=np.float32), (cut, whole))

    wide = mirrored(picture, 40)
    left = [one for one in wide.molecules if one.box_px[1] == 50 and one.box_px[2] <= 81]
    found = sorted((one.box_px[0], one.box_px[2], one.ignore) for one in left)
    assert found == [(10, 20, False), (28, 52, True), (60, 70, False)]
    handed = mirrored(picture, 40, flips=False)
    assert [one.box_px[0] for one in handed.molecules if not one.ignore and one.box_px[1] == 50] == [60]


@settings(max_examples=50)
@given(seed=SEEDS, left=st.floats(-30, 60), top=st.floats(-30, 60))
def test_a_cut_ring_covers_what_the_ring_covers_within_the_window(seed, left, top):
    ring = blob(np.random.default_rng(seed), (32.0, 32.0), 28.0)
    window = (left, top, left + 25.0, top + 20.0)
    cut = clip_ring(ring, window)
    inside = coverage_of([np.array([[left, top], [left + 25, top], [left + 25, top + 20], [left, top + 20]])], (64, 64))
    expected = (coverage_of([ring], (64, 64)) >= 0.5) & (inside >= 0.5)
    got = coverage_of([cut], (64, 64)) >= 0.5 if len(cut) else np.zeros((64, 64), dtype=bool)

    # Along the border of either, half pixels fall to one side or the other.
    assert np.count_nonzero(got ^ expected) <= 0.06 * expected.sum() + 6
    if len(cut):
        assert (cut.min(axis=0) >= np.array(window[:2]) - 1e-9).all()
        assert (cut.max(axis=0) <= np.array(window[2:]) + 1e-9).all()


@pytest.mark.parametrize(("seen", "ignored"), [(12.0, False), (7.0, True)])
def test_a_molecule_of_which_little_is_seen_is_ignored(seen, ignored):
    square = LabelledMolecule("a", (np.array([[0.0, 0.0], [20.0, 0.0], [20.0, 20.0], [0.0, 20.0]]),))
    left = clip(square, (20.0 - seen, 0.0, 40.0, 40.0), keep_visible=0.5)

    assert left is not None
    assert left.ignore is ignored
    assert left.box_px == (20.0 - seen, 0.0, 20.0, 20.0)
    assert clip(square, (20.01, 0.0, 40.0, 40.0)) is None


@given(seed=SEEDS)
def test_more_corners_do_not_change_an_outline(seed):
    rng = np.random.default_rng(seed)
    rings = [blob(rng, (30.0, 30.0), 25.0), blob(rng, (9.0, 9.0), 4.0)]
    finer = densified(rings, 2.0)

    assert len(finer) == 2
    for ring, fine in zip(rings, finer, strict=True):
        assert np.hypot(*(np.roll(fine, -1, axis=0) - fine).T).max() <= 2.0 + 1e-9
        assert area_of(fine) == pytest.approx(area_of(ring))
        np.testing.assert_allclose(fine[0], ring[0])
