"""Drawn pictures: prepared as real ones are, outlined where the molecules are, cut where the window ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from spm_live.domain import Frame, InputSpec
from spm_live.prepare import letterbox_for, prepare
from spm_live.training.drawn import DrawnRecipe, clip_ring, draw_frame, draw_picture, ring_area
from spm_live.training.labelled import LabelledMolecule, mask_of
from spm_live_drivers.synthetic.scene import draw_scene
from spm_live_drivers.synthetic.shapes import FAMILIES
from spm_live_drivers.synthetic.varied import VariedScan

SMALL = DrawnRecipe(rows=96, columns=112)
CALM = DrawnRecipe(
    rows=128,
    columns=128,
    width_nm=(2.0, 3.0),
    families={"disc": 1, "plate": 1, "ellipse": 1},
    layouts={"sparse": 1},
    species=(1.0,),
    dark=0,
    negatives=0,
    noise=0.1,
    flat=0,
    small=0,
)


@settings(max_examples=8)
@given(st.integers(0, 2**40))
def test_one_seed_gives_one_picture(seed: int) -> None:
    first, again = draw_picture((seed, 2), SMALL), draw_picture((seed, 2), SMALL)
    assert first.image.tobytes() == again.image.tobytes()
    assert [one.label for one in first.molecules] == [one.label for one in again.molecules]
    for one, other in zip(first.molecules, again.molecules, strict=True):
        np.testing.assert_array_equal(one.rings[0], other.rings[0])


@pytest.mark.parametrize("seed", range(12))
def test_a_picture_is_of_the_size_and_range_that_a_model_takes_and_its_outlines_lie_in_it(seed: int) -> None:
    picture = draw_picture((seed,), SMALL)
    assert picture.image.shape == (96, 112)
    assert picture.image.dtype == np.float32
    assert picture.image.min() >= 0
    assert picture.image.max() <= 1
    assert picture.nm_per_px == 0.1
    for one in picture.molecules:
        x1, y1, x2, y2 = one.box_px
        assert -1e-9 <= x1 < x2 <= 112 + 1e-9
        assert -1e-9 <= y1 < y2 <= 96 + 1e-9
        assert one.label == "molecule"
        assert ring_area(one.rings[0]) > 1


def test_a_picture_is_what_the_daemon_would_have_shown_the_model() -> None:
    for seed in range(4):
        frame, _ = draw_frame((seed,), np.random.default_rng((seed, 1)), CALM)
        letterbox = letterbox_for(frame.geometry, CALM.nm_per_px, frame.ref)
        shown = prepare(frame, InputSpec(letterbox.rows, letterbox.columns, CALM.nm_per_px, 0)).tiles[0]
        image = draw_picture((seed,), CALM).image
        places = np.lib.stride_tricks.sliding_window_view(shown, image.shape)
        assert (places == image).all(axis=(2, 3)).sum() == 1


def test_outlines_lie_around_what_is_bright() -> None:
    agreed = []
    for seed in range(12):
        picture = draw_picture((seed,), CALM)
        named = [one for one in picture.molecules if not one.ignore]
        if not named:
            continue
        inside = np.any([mask_of(one, picture.image.shape) for one in picture.molecules], axis=0)
        bright = picture.image > 0.45 * float(np.quantile(picture.image[inside], 0.85))
        agreed.append((bright & inside).sum() / (bright | inside).sum())
    assert len(agreed) > 8
    assert np.median(agreed) > 0.85


def test_of_what_the_window_cuts_little_is_ignored_and_much_is_kept() -> None:
    keep, drop = CALM.model_copy(update={"least_visible": 0.0}), CALM.model_copy(update={"least_visible": 1.0})
    cut = 0
    for seed in range(6):
        kept, dropped = draw_picture((seed,), keep).molecules, draw_picture((seed,), drop).molecules
        assert len(kept) == len(dropped)
        assert not any(one.ignore for one in kept)
        for one in dropped:
            x1, y1, x2, y2 = one.box_px
            at_border = min(x1, y1, 128 - x2, 128 - y2) < 1e-6
            assert one.ignore <= at_border
            cut += one.ignore
    assert cut > 3


def test_what_was_not_scanned_is_black_and_holds_no_molecule() -> None:
    seen = 0
    for seed in range(100):
        if draw_scene(np.random.default_rng((seed, 1)), SMALL.variety()).scanned == 1:
            continue
        frame, _ = draw_frame((seed,), np.random.default_rng((seed, 1)), SMALL)
        assert np.isnan(frame.data).any()
        picture = draw_picture((seed,), SMALL)
        black = (picture.image == 0).all(axis=1)
        for one in picture.molecules:
            _, y1, _, y2 = one.box_px
            assert black[int(np.ceil(y1)) + 1 : int(y2) - 1].sum() == 0
        seen += 1
    assert seen > 1


def test_molecules_that_nobody_could_see_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [one for seed in range(4) for one in draw_picture((seed,), CALM).molecules if not _at_border(one)]
    assert whole
    assert not any(one.ignore for one in whole)

    def with_pillar(*arguments: object) -> tuple[Frame, VariedScan]:
        frame, scan = draw_frame(*arguments)  # type: ignore[arg-type]
        data = frame.data.copy()
        data[: len(data) // 4, : len(data) // 4] += np.float32(100e-9)
        return replace(frame, data=data), scan

    monkeypatch.setattr("spm_live.training.drawn.draw_frame", with_pillar)
    hidden = [one for seed in range(4) for one in draw_picture((seed,), CALM).molecules]
    assert len(hidden) >= len(whole)
    assert all(one.ignore for one in hidden)


def _at_border(one: LabelledMolecule) -> bool:
    x1, y1, x2, y2 = one.box_px
    return min(x1, y1, 128 - x2, 128 - y2) < 1e-6


def test_molecules_may_be_told_apart_by_their_shape() -> None:
    recipe = SMALL.model_copy(update={"labels": "family", "families": {"rod": 1.0, "ring": 1.0}, "negatives": 0.0})
    labels = {one.label for seed in range(10) for one in draw_picture((seed,), recipe).molecules}
    assert labels == {"rod", "ring"} == set(recipe.classes)
    assert DrawnRecipe(labels="family").classes == FAMILIES
    assert DrawnRecipe(label="C60").classes == ("C60",)


def test_monolayers_hold_many_molecules_of_the_widths_asked_for() -> None:
    recipe = DrawnRecipe.monolayer(rows=192, columns=192)
    widths, counts = [], []
    for seed in range(12):
        molecules = [one for one in draw_picture((seed,), recipe).molecules if not one.ignore]
        counts.append(len(molecules))
        for one in molecules:
            x1, y1, x2, y2 = one.box_px
            if min(x1, y1) > 0 and max(x2, y2) < 192:
                widths.append(max(x2 - x1, y2 - y1))
    assert np.median(counts) > 8
    assert np.quantile(widths, 0.02) > 8
    assert np.quantile(widths, 0.98) < 90


boxes = st.tuples(st.floats(0, 8), st.floats(0, 8), st.floats(9, 16), st.floats(9, 16))


@given(st.lists(st.tuples(st.floats(-4, 20), st.floats(-4, 20)), min_size=3, max_size=3, unique=True), boxes)
def test_a_cut_triangle_has_the_area_of_its_part_within(
    corners: list[tuple[float, float]], box: tuple[float, float, float, float]
) -> None:
    ring = np.array(corners)
    low, high = np.array(box[:2]), np.array(box[2:])
    cut = clip_ring(ring, low, high)
    assert ((cut >= low - 1e-6) & (cut <= high + 1e-6)).all()
    # A point lies in a triangle where it is on one side of all its edges.
    side = np.linspace(0, 1, 160, endpoint=False) + 1 / 320
    x, y = np.meshgrid(low[0] + side * (high[0] - low[0]), low[1] + side * (high[1] - low[1]))
    after = np.roll(ring, -1, axis=0)
    turns = np.stack(
        [(b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) for a, b in zip(ring, after, strict=True)]
    )
    inside = (turns >= 0).all(axis=0) | (turns <= 0).all(axis=0)
    if ring_area(ring) > 1e-9:
        assert ring_area(cut) == pytest.approx(inside.mean() * np.prod(high - low), abs=1.0)


def test_an_outline_within_the_window_is_left_as_it_is() -> None:
    ring = np.array([[1.0, 1.0], [3.0, 1.0], [2.0, 4.0]])
    np.testing.assert_array_equal(clip_ring(ring, np.zeros(2), np.full(2, 9.0)), ring)
    assert len(clip_ring(ring, np.full(2, 5.0), np.full(2, 9.0))) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"colour": 1},
        {"rows": 8},
        {"width_nm": (3.0, 1.0)},
        {"families": {"cube": 1.0}},
        {"layouts": {"sparse": 0.0}},
        {"species": ()},
        {"dark": 1.5},
        {"contrast": (0.5, 0.5)},
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DrawnRecipe.model_validate(wrong)
