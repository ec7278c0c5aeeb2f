"""Training pictures as a whole: right whatever they are put together from, the same for the same seed."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spm_live.errors import SetupError
from spm_live.training.augment import TECHNIQUES, Augmenter, AugmentRecipe, recipe_from
from spm_live.training.augment.augmenter import KINDS
from spm_live.training.augment.compose import put_together
from spm_live.training.augment.fragments import FRAGMENT, with_fragments
from spm_live.training.augment.preview import preview_sheet, write_preview
from spm_live.training.augment.sprites import background_of, cut_out, stamp_of
from spm_live.training.labelled import LabelledMolecule, LabelledPicture, coverage_of, mask_of, rings_of


def painted(shape: tuple[int, int] = (160, 180), *, low: float = 0.0) -> LabelledPicture:
    """Twenty right-handed hooks, 1 on ``low``; some are cut by the border."""
    rng = np.random.default_rng(5)
    hook = np.array([[-9.0, -12.0], [0.0, -12.0], [0.0, 3.0], [10.0, 3.0], [10.0, 12.0], [-9.0, 12.0]])
    molecules = []
    for row in range(4):
        for column in range(5):
            turn = rng.uniform(0, 2 * np.pi)
            turned = hook @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
            ring = turned + np.array([(column + 0.5) * shape[1] / 5, (row + 0.5) * shape[0] / 4])
            molecules.append(LabelledMolecule("ab"[row % 2], (ring,)))
    image = np.zeros(shape, dtype=np.float32)
    for one in molecules:
        image = np.maximum(image, coverage_of(one.rings, shape))
    return LabelledPicture("hooks", (low + (1 - low) * image).astype(np.float32), tuple(molecules), 0.1)


def only(kind: str, **more: object) -> AugmentRecipe:
    return recipe_from("L1", {"shares": {one: float(one == kind) for one in KINDS}, **more})


@cache
def augmenter_of(kind: str) -> Augmenter:
    return Augmenter(only(kind, scale=[0.5, 1.3]), [painted()])


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=12)
def test_outlines_cover_what_the_picture_shows(kind, seed):
    drawn = augmenter_of(kind).draw((seed,), (128, 144))
    shown = drawn.image >= 0.5
    cover = np.zeros((128, 144), dtype=bool)
    for one in drawn.molecules:
        mask = mask_of(one, cover.shape)
        cover |= mask
        if mask.sum() > 100:
            assert np.mean(shown[mask]) > 0.8  # the arms of small hooks are blurred
    either = np.count_nonzero(shown | cover)
    if either > 100:
        assert np.count_nonzero(shown & cover) / either > 0.85


def test_one_seed_gives_one_picture_and_another_seed_another():
    picture = painted()
    recipe = recipe_from("standard")
    for seed in range(12):
        first = Augmenter(recipe, [picture]).draw((7, seed), (96, 96))
        copy = pickle.loads(pickle.dumps(Augmenter(recipe, [picture])))
        copy.draw((1, 1), (64, 64))
        second = copy.draw((7, seed), (96, 96))
        np.testing.assert_array_equal(first.image, second.image)
        assert [one.label for one in first.molecules] == [one.label for one in second.molecules]
        for one, other in zip(first.molecules, second.molecules, strict=True):
            np.testing.assert_array_equal(np.concatenate(one.rings), np.concatenate(other.rings))
        assert not np.array_equal(first.image, copy.draw((8, seed), (96, 96)).image)


def test_pictures_are_what_the_network_takes_whatever_they_are_made_from():
    holed = painted()
    image = holed.image.copy()
    image[100:] = np.nan
    image[40, 40] = 7.0
    bare = LabelledPicture("bare", np.full((40, 300), 0.4, dtype=np.float32), ())
    augmenter = Augmenter(recipe_from("standard"), [replace(holed, image=image), bare])
    for seed in range(40):
        drawn = augmenter.draw((seed,), (80, 112))
        assert drawn.image.shape == (80, 112)
        assert drawn.image.dtype == np.float32
        assert drawn.image.min() >= 0
        assert drawn.image.max() <= 1
        for one in drawn.molecules:
            x1, y1, x2, y2 = one.box_px
            assert min(x1, y1) >= -1e-6
            assert x2 <= 112 + 1e-6
            assert y2 <= 80 + 1e-6


@pytest.mark.parametrize("kind", ["plain", "mosaic", "sparse", "packed"])
def test_no_black_corner_enters_a_picture(kind):
    augmenter = Augmenter(only(kind), [painted(low=0.3)])
    for seed in range(25):
        assert augmenter.draw((seed,), (128, 128)).image.min() > 0.29


def test_a_padded_picture_shows_0_around_it_and_no_molecule_there():
    augmenter = Augmenter(only("padded"), [painted(low=0.3)])
    for seed in range(20):
        drawn = augmenter.draw((seed,), (96, 96))
        outside = drawn.image == 0
        assert outside.any()
        for one in drawn.molecules:
            assert not (mask_of(one, (96, 96)) & outside).any()


@pytest.mark.parametrize("kind", KINDS)
def test_molecules_whose_mirror_image_is_another_class_are_not_mirrored(kind):
    def handed(molecule: LabelledMolecule) -> float:
        x, y = molecule.rings[0].T
        return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))

    assert {np.sign(handed(one)) for one in painted().molecules} == {1.0}
    augmenter = Augmenter(only(kind, flips=False, mark_fragments=False), [painted()])
    found = [
        handed(one) for seed in range(12) for one in augmenter.draw((seed,), (128, 128)).molecules if not one.ignore
    ]
    assert found
    assert min(found) > 0
    both = Augmenter(only(kind), [painted()])
    signs = {np.sign(handed(one)) for seed in range(12) for one in both.draw((seed,), (128, 128)).molecules}
    assert signs == {-1.0, 1.0}


def test_close_packed_molecules_overlap_no_further_than_allowed():
    augmenter = Augmenter(only("packed", keep_visible=0), [painted()])
    for seed in range(8):
        drawn = augmenter.draw((seed,), (128, 128))
        masks = [mask_of(one, (128, 128)) for one in drawn.molecules]
        assert len(masks) > 3
        for number, mask in enumerate(masks):
            before = np.any(masks[:number], axis=0) if number else np.zeros_like(mask)
            assert np.count_nonzero(mask & before) <= 0.03 * 340 * 1.3**2 + 8


def test_a_molecule_that_finds_no_room_is_left_out():
    (stamp,) = [stamp_of(one, np.eye(2)) for one in cut_out(painted())[:1]]
    centres = np.array([[40.0, 40.0], [41.0, 40.0], [80.0, 40.0]])
    image, molecules = put_together(np.zeros((90, 120), dtype=np.float32), [stamp], centres, np.zeros(3, dtype=int))

    assert len(molecules) == 2
    assert image.max() == pytest.approx(1.0, abs=0.02)


def test_the_background_has_no_molecules_left():
    picture = painted(low=0.2)
    noisy = picture.image + np.random.default_rng(0).normal(0, 0.01, picture.image.shape)
    ground = background_of(replace(picture, image=noisy.clip(0, 1).astype(np.float32)))

    assert np.abs(ground - 0.2).max() < 0.1
    assert ground.std() == pytest.approx(0.01, rel=0.4)


def test_what_the_border_cuts_and_nobody_labelled_is_ignored_but_not_what_lies_within():
    picture = painted()
    cut = np.array([[60.0, 0.0], [78.0, 0.0], [78.0, 12.0], [60.0, 12.0]])
    inner = np.array([[80.0, 70.0], [98.0, 70.0], [98.0, 84.0], [80.0, 84.0]])
    known = tuple(one for one in picture.molecules if one.box_px[1] > 15 and not 60 < one.box_px[0] < 100)
    image = sum(coverage_of(one.rings, (160, 180)) for one in known)
    image = np.clip(image + coverage_of([cut], (160, 180)) + coverage_of([inner], (160, 180)), 0, 1)
    marked = with_fragments(LabelledPicture("cut", image.astype(np.float32), known))

    found = [one for one in marked.molecules if one.label == FRAGMENT]
    assert all(one.ignore for one in found)
    cover = np.any([mask_of(one, (160, 180)) for one in found], axis=0)
    assert cover[1:10, 62:76].mean() > 0.9
    assert not cover[60:100].any()
    assert FRAGMENT not in marked.labels


def test_without_labels_nothing_is_a_fragment():
    bare = LabelledPicture("bare", np.random.default_rng(0).random((40, 40), dtype=np.float32), ())

    assert with_fragments(bare) is bare


def test_recipes_are_known_by_name():
    assert recipe_from("standard") == AugmentRecipe()
    assert recipe_from("L1").techniques == {}
    assert set(recipe_from("L2-blur").techniques) == {"blur"}
    combination = recipe_from("L3-blur+noise+contrast")
    assert set(combination.techniques) == {"blur", "noise", "contrast"}
    assert combination.most_techniques == 3


def test_changes_are_merged_into_a_recipe():
    changed = recipe_from("standard", {"techniques": {"blur": {"high": 4.0}}, "shares": {"plain": 2.0}, "flips": False})
    usual = AugmentRecipe()

    assert changed.techniques["blur"].high == 4.0
    assert changed.techniques["blur"].low == usual.techniques["blur"].low
    assert changed.techniques["noise"] == usual.techniques["noise"]
    assert changed.shares.plain == 2.0
    assert changed.shares.mosaic == usual.shares.mosaic
    assert changed.flips is False
    assert recipe_from("L1", {"techniques": {"noise": {"probability": 1}}}).techniques["noise"].high == pytest.approx(
        TECHNIQUES["noise"].high
    )


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [
        ("L4-blur", {}, ["no such recipe"]),
        ("L2", {}, ["no such recipe"]),
        ("L2-blur+blurr+nois", {}, ["no technique 'blurr'", "no technique 'nois'", "2 techniques at most"]),
        ("L3-blur+blur", {}, ["twice"]),
        (
            "standard",
            {"scale": [2, 1], "techniques": {"fog": {"probability": 1, "low": 0, "high": 1}, "blur": {"high": 99}}},
            ["scale", "techniques.fog: no such technique", "techniques.blur: 0.3 to 99"],
        ),
        ("standard", {"colour": "red", "flips": 3}, ["colour: no such field", "flips"]),
        ("standard", {"shares": dict.fromkeys(KINDS, 0.0)}, ["at least one share"]),
        ("standard", {"techniques": {"blur": {"low": 3, "high": 1}}}, ["low 3.0 is more than high 1.0"]),
    ],
)
def test_a_recipe_that_does_not_hold_is_refused_with_every_reason(name, changes, told):
    with pytest.raises(SetupError) as refused:
        recipe_from(name, changes)
    for text in told:
        assert text in str(refused.value)


def test_pictures_that_nothing_can_be_made_from_are_refused_by_name():
    empty = LabelledPicture("night.png", np.full((20, 20), np.nan, dtype=np.float32), ())
    with pytest.raises(SetupError, match=r"night\.png: no pixel"):
        Augmenter(AugmentRecipe(), [painted(), empty])
    with pytest.raises(SetupError, match="no labelled pictures"):
        Augmenter(AugmentRecipe(), [])


def test_the_sheet_shows_every_technique():
    hooks = painted()
    grainy = 0.2 + 0.5 * hooks.image + 0.05 * np.random.default_rng(0).random(hooks.image.shape)
    pictures = [replace(hooks, image=grainy.astype(np.float32))]
    sheet = preview_sheet(pictures, recipe_from("L2-blur"), size_px=64, across=10)

    tiles = 1 + len(KINDS) + len(TECHNIQUES) + 6
    high, wide = 64 * 2 + 22 + 6, 64 * 2 + 6
    assert sheet.shape == (-(-tiles // 10) * high + 6, 10 * wide + 6, 3)
    seen = [
        sheet[6 + row * high + 22 : 6 + row * high + 150, 6 + column * wide : 6 + column * wide + 128].tobytes()
        for row, column in (divmod(number, 10) for number in range(tiles))
    ]
    assert len(set(seen)) == tiles


def test_the_sheet_is_written_as_png(tmp_path, monkeypatch):
    red = np.zeros((4, 5, 3), dtype=np.uint8)
    red[..., 0] = 200
    monkeypatch.setattr("spm_live.training.augment.preview.preview_sheet", lambda *_, **__: red)
    write_preview([painted()], recipe_from("L1"), tmp_path / "sheet.png")

    assert cv2.imdecode(np.fromfile(tmp_path / "sheet.png", dtype=np.uint8), cv2.IMREAD_COLOR)[0, 0].tolist() == [
        0,
        0,
        200,
    ]
    with pytest.raises(SetupError, match="cannot be written"):
        write_preview([painted()], recipe_from("L1"), tmp_path / "absent" / "sheet.png")


@pytest.mark.parametrize("kind", KINDS)
def test_outlines_fit_real_molecules(data_dir, kind):
    from spm_live.training.data import load_pictures

    (picture,) = load_pictures([data_dir / "molecules" / "00-cut.json"]).pictures
    augmenter = Augmenter(only(kind, techniques={"elastic": {"probability": 1.0}}), [picture])
    for seed in range(6):
        drawn = augmenter.draw((seed,), (192, 192))
        for one in drawn.molecules:
            if one.ignore:
                continue
            mask = mask_of(one, (192, 192))
            # Molecules are the brightest there is but for a few adsorbates: a label beside one would be darker.
            if mask.sum() > 80:
                assert drawn.image[mask].mean() > 0.5


def test_outlines_of_masks_with_holes_are_composed_with_their_holes():
    ring = np.zeros((60, 60), dtype=bool)
    ring[10:50, 10:50] = True
    ring[24:36, 24:36] = False
    picture = LabelledPicture("ring", ring.astype(np.float32), (LabelledMolecule("a", rings_of(ring)),))
    drawn = Augmenter(only("sparse", scale=[1.0, 1.0], density=[0.2, 0.2]), [picture]).draw((3,), (160, 160))
    whole = [one for one in drawn.molecules if not one.ignore and len(one.rings) == 2]

    assert whole
    for one in whole:
        assert drawn.image[mask_of(one, (160, 160))].mean() > 0.85
        outline = LabelledMolecule("a", (max(one.rings, key=lambda ring: np.ptp(ring)),))
        hole = mask_of(outline, (160, 160)) & ~mask_of(one, (160, 160))
        assert hole.sum() > 80
        assert drawn.image[hole].mean() < 0.3
