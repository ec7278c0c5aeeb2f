"""Every technique: values stay in range, holes stay holes, one seed gives one picture, nothing given is changed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spm_live.training.augment import TECHNIQUES
from spm_live.training.augment.techniques import ORDER
from spm_live.training.labelled import LabelledMolecule, LabelledPicture, mask_of


def scene(seed: int = 0, rows: int = 72, columns: int = 80) -> LabelledPicture:
    """Two bright squares on a noisy slope, and a hole that was not scanned."""
    rng = np.random.default_rng(seed)
    image = np.linspace(0.1, 0.3, columns, dtype=np.float32)[None, :] + 0.03 * rng.random((rows, columns))
    molecules = []
    for left, top in ((12, 14), (44, 36)):
        image[top : top + 20, left : left + 22] += 0.5
        ring = np.array([[left, top], [left + 22, top], [left + 22, top + 20], [left, top + 20]], dtype=np.float64)
        molecules.append(LabelledMolecule("a", (ring,)))
    image = image.astype(np.float32)
    image[38:66, 2:34] = np.nan
    return LabelledPicture("scene", image, tuple(molecules))


def test_the_list_is_complete():
    assert sum(one.paper for one in TECHNIQUES.values()) == 13
    assert sorted(ORDER) == sorted(TECHNIQUES)


@pytest.mark.parametrize("name", TECHNIQUES)
@given(seed=st.integers(0, 1000), share=st.floats(0, 1))
@settings(max_examples=15)
def test_values_stay_between_0_and_1_and_holes_stay_holes(name, seed, share):
    technique, picture = TECHNIQUES[name], scene()
    before = picture.image.copy()
    amount = technique.low + share * (technique.high - technique.low)
    changed = technique.apply(picture, np.random.default_rng(seed), amount)

    np.testing.assert_array_equal(picture.image, before)
    assert changed.image.dtype == np.float32
    assert changed.image.shape == before.shape
    seen = changed.image[np.isfinite(changed.image)]
    assert seen.size
    assert seen.min() >= 0
    assert seen.max() <= 1
    missing = np.isnan(changed.image)
    if not technique.bends:
        assert missing[np.isnan(before)].all()
    else:
        assert missing.any()
    again = technique.apply(scene(), np.random.default_rng(seed), amount)
    np.testing.assert_array_equal(again.image, changed.image)


@pytest.mark.parametrize("name", TECHNIQUES)
def test_each_technique_changes_the_picture(name):
    technique, picture = TECHNIQUES[name], scene()
    changed = technique.apply(picture, np.random.default_rng(3), technique.high)

    if name == "partial_scan":
        assert np.isnan(changed.image).sum() > np.isnan(picture.image).sum()
    else:
        assert np.nanmax(np.abs(changed.image - picture.image)) > 0.01


@pytest.mark.parametrize("name", [name for name, one in TECHNIQUES.items() if not one.bends and name != "partial_scan"])
def test_what_changes_grey_levels_leaves_outlines_alone(name):
    technique, picture = TECHNIQUES[name], scene()

    assert technique.apply(picture, np.random.default_rng(0), technique.high).molecules == picture.molecules


@pytest.mark.parametrize("name", TECHNIQUES)
@pytest.mark.parametrize("fill", [0.0, 1.0, np.nan])
def test_pictures_of_one_value_are_no_trouble(name, fill):
    technique = TECHNIQUES[name]
    picture = LabelledPicture("flat", np.full((17, 33), fill, dtype=np.float32), ())
    for amount in (technique.least, technique.low, technique.high):
        image = technique.apply(picture, np.random.default_rng(0), amount).image
        seen = image[np.isfinite(image)]
        assert seen.size == 0 if np.isnan(fill) else seen.size > 0
        assert ((seen >= 0) & (seen <= 1)).all()


def test_a_partial_scan_cuts_molecules_at_its_front():
    for seed in range(20):
        cut = TECHNIQUES["partial_scan"].apply(scene(), np.random.default_rng(seed), 0.6)
        scanned = np.isfinite(cut.image)
        assert scanned[:, 36:].any(axis=1).sum() == round(0.6 * 72)
        for one in cut.molecules:
            assert not (mask_of(one, cut.image.shape) & ~scanned).any()
            whole = 440.0
            assert one.ignore == (mask_of(one, cut.image.shape).sum() < 0.45 * whole)


def test_superpixels_are_flat_patches_of_about_the_size_asked_for():
    rng = np.random.default_rng(0)
    picture = LabelledPicture("noise", rng.random((64, 64), dtype=np.float32) * 0.01, ())
    values = np.unique(TECHNIQUES["superpixels"].apply(picture, rng, 8.0).image)

    assert 40 <= len(values) <= 64


def test_a_blunt_tip_makes_a_point_as_wide_as_itself():
    image = np.zeros((31, 31), dtype=np.float32)
    image[15, 15] = 1.0
    felt = TECHNIQUES["blunt_tip"].apply(LabelledPicture("point", image, ()), np.random.default_rng(0), 4.0).image

    assert felt[15, 15] == 1.0
    assert felt[15, 19] == pytest.approx(0.8)
    assert felt[15, 21] == 0.0
    np.testing.assert_array_equal(felt, felt.T)


def test_pink_noise_is_stronger_at_low_frequencies_and_as_strong_as_asked():
    flat = LabelledPicture("flat", np.full((256, 256), 0.5, dtype=np.float32), ())
    noise = TECHNIQUES["pink_noise"].apply(flat, np.random.default_rng(0), 0.05).image - 0.5
    power = (np.abs(np.fft.rfft(noise, axis=1)) ** 2).mean(axis=0)

    assert noise.std() == pytest.approx(0.05, rel=0.02)
    assert power[2:6].mean() > 5 * power[64:96].mean()


def test_dropout_loses_the_part_asked_for():
    picture = LabelledPicture("bright", np.ones((200, 200), dtype=np.float32), ())
    lost = [
        np.mean(TECHNIQUES["dropout"].apply(picture, np.random.default_rng(seed), 0.1).image == 0) for seed in range(8)
    ]

    assert np.mean(lost) == pytest.approx(0.1, abs=0.02)
