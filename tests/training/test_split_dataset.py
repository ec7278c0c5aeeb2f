"""Training and validation share no pixel."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spm_live.errors import SetupError
from spm_live.training.data import (
    hold_out,
    load_pictures,
    overlap_of,
    split,
    split_by_picture,
    split_by_strip,
    split_region,
)
from spm_live.training.data.split import linked
from spm_live.training.labelled import LabelledMolecule, LabelledPicture, mask_of

ROWS, COLUMNS = 96, 128


def scan(rows: int = ROWS, columns: int = COLUMNS, seed: int = 0) -> np.ndarray:
    """A rough surface, smooth over a few pixels as scans are."""
    noise = np.random.default_rng(seed).random((rows, columns)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 1.2), dtype=np.float32)


def square(label: str, x: float, y: float, side: float = 12) -> LabelledMolecule:
    corners = np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])
    return LabelledMolecule(label, (corners,))


def picture(name: str = "a", seed: int = 0, nm_per_px: float | None = None) -> LabelledPicture:
    molecules = tuple(
        square("ab"[(row + column) % 2], 4 + 16 * column, 4 + 16 * row) for row in range(6) for column in range(8)
    )
    return LabelledPicture(name, scan(seed=seed), molecules, nm_per_px)


def crop(whole: LabelledPicture, x: int, y: int, width: int, height: int, name: str = "crop") -> LabelledPicture:
    return LabelledPicture(name, whole.image[y : y + height, x : x + width].copy(), (), whole.nm_per_px)


@st.composite
def regions(draw: st.DrawFn) -> tuple[int, int, int, int]:
    x1, y1 = draw(st.integers(0, COLUMNS - 17)), draw(st.integers(0, ROWS - 17))
    return x1, y1, draw(st.integers(x1 + 16, COLUMNS)), draw(st.integers(y1 + 16, ROWS))


@settings(max_examples=25)
@given(regions())
def test_parting_a_picture_shares_no_pixel_and_forgets_no_molecule(box: tuple[int, int, int, int]) -> None:
    whole = picture()
    values = np.arange(ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)
    numbered = LabelledPicture("a", values, whole.molecules)  # every pixel has a value of its own
    x1, y1, x2, y2 = box
    if (x2 - x1, y2 - y1) == (COLUMNS, ROWS):
        return
    training, validation = split_region(numbered, box)
    learnt = set(training.image[np.isfinite(training.image)].tolist())
    judged = set(validation.image.ravel().tolist())
    assert not learnt & judged
    assert len(learnt) + len(judged) == ROWS * COLUMNS
    assert np.array_equal(validation.image, values[y1:y2, x1:x2])
    inside = cut = 0
    for one in whole.molecules:
        share = mask_of(one, (ROWS, COLUMNS))[y1:y2, x1:x2].sum() / mask_of(one, (ROWS, COLUMNS)).sum()
        inside += share == 1
        cut += 0 < share < 1
    count = {side: sum(not one.ignore for one in part.molecules) for side, part in enumerate((training, validation))}
    assert count == {0: len(whole.molecules) - inside - cut, 1: inside}
    for part in (training, validation):
        rows, columns = part.image.shape
        for one in part.molecules:
            left, top, right, bottom = one.box_px
            assert min(left, top) >= 0
            assert right <= columns
            assert bottom <= rows


def test_outlines_stay_on_their_pixels_when_a_picture_is_parted() -> None:
    whole = picture()
    image = np.zeros((ROWS, COLUMNS), dtype=np.float32)
    for one in whole.molecules:
        image[mask_of(one, image.shape)] = 1
    for part in split_region(LabelledPicture("a", image, whole.molecules), (0, 0, 50, ROWS)):
        covered = np.zeros(part.image.shape, dtype=bool)
        for one in part.molecules:
            covered |= mask_of(one, part.image.shape)
        assert np.array_equal(covered, part.image == 1)


def test_a_strip_is_cut_off_and_a_hole_is_not_scanned() -> None:
    training, _ = split_region(picture(), (0, 0, 40, ROWS))
    assert training.image.shape == (ROWS, COLUMNS - 40)
    assert np.isfinite(training.image).all()
    training, _ = split_region(picture(), (40, 20, 80, 60))
    assert training.image.shape == (ROWS, COLUMNS)
    assert np.isnan(training.image[20:60, 40:80]).all()


@pytest.mark.parametrize("box", [(0, 0, COLUMNS, ROWS), (-1, 0, 20, 20), (5, 5, 5, 20), (0, 0, COLUMNS + 1, 20)])
def test_a_region_that_is_no_part_is_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(SetupError, match="is no part of its"):
        split_region(picture(), box)


def test_a_strip_holds_about_its_share_and_every_class() -> None:
    result = split([picture()], share=0.25)
    (training,), (validation,) = result.training, result.validation
    whole = [one for one in validation.molecules if not one.ignore]
    assert 6 <= len(whole) <= 14
    assert {one.label for one in whole} == {"a", "b"} == set(training.labels)


def test_the_crop_of_the_paper_is_parted_with_both_classes_on_both_sides(data_dir: Path) -> None:
    result = split(load_pictures([data_dir / "molecules" / "00-cut.json"]).pictures, share=0.25)
    assert result.training[0].labels == result.validation[0].labels == ("003a", "020a")
    assert result.notes == ()


def test_many_pictures_are_parted_as_wholes_by_the_seed() -> None:
    pictures = [picture(str(number), seed=number) for number in range(7)]
    result = split(pictures, share=0.4, seed=1)
    names = {one.name for one in result.training}, {one.name for one in result.validation}
    assert len(names[1]) == 3
    assert names[0] | names[1] == {str(number) for number in range(7)}
    assert not names[0] & names[1]
    again = split(pictures, share=0.4, seed=1)
    assert [one.name for one in again.validation] == [one.name for one in result.validation]
    others = {tuple(one.name for one in split(pictures, share=0.4, seed=seed).validation) for seed in range(2, 5)}
    assert len(others) > 1


def test_pictures_that_share_a_place_stay_together() -> None:
    pictures = [picture(str(number), seed=number) for number in range(4)]
    pictures.append(crop(pictures[2], 30, 10, 70, 80))
    assert linked(pictures) == [[0], [1], [2, 4], [3]]
    for seed in range(4):
        validation = {one.name for one in split_by_picture(pictures, share=0.3, seed=seed).validation}
        assert ("2" in validation) == ("crop" in validation)


@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    for how in (split_by_picture, split_by_strip):
        with pytest.raises(SetupError, match="share"):
            how([picture(), picture("b", 1)], share)


def test_one_picture_cannot_be_parted_as_a_whole_nor_a_tiny_one_at_all() -> None:
    with pytest.raises(SetupError, match="split by region instead"):
        split_by_picture([picture()])
    tiny = LabelledPicture("a", scan(20, 20), (square("a", 2, 2),))
    with pytest.raises(SetupError, match="no picture is large enough"):
        split_by_strip([tiny])


def test_a_class_that_validation_lacks_is_told() -> None:
    molecules = (
        *(square("a", 4, 4 + 16 * row) for row in range(5)),
        *(square("a", 110, 4 + 16 * row) for row in range(5)),
    )
    lonely = LabelledPicture("a", scan(), (*molecules, square("b", 60, 40)))
    assert "class b is learnt but never judged" in split([lonely]).notes


@given(st.integers(0, 60), st.integers(0, 40), st.integers(44, 68), st.integers(44, 56))
@example(57, 0, 44, 44)  # little contrast: rounding to 256 greys shows
@settings(max_examples=25)
def test_a_crop_is_found_in_its_picture_whatever_its_contrast(x: int, y: int, width: int, height: int) -> None:
    whole = picture()
    part = crop(whole, x, y, width, height)
    part = LabelledPicture("crop", np.round((0.2 + 0.6 * part.image) * 255).astype(np.float32) / 255, ())
    found = overlap_of(whole, part)
    assert found is not None
    assert found.first_box == (x, y, x + width, y + height)
    assert found.second_box == (0, 0, width, height)
    back = overlap_of(part, whole)
    assert back is not None
    assert (back.first_box, back.second_box) == (found.second_box, found.first_box)


def test_neighbouring_tiles_share_their_margin() -> None:
    large = LabelledPicture("large", scan(200, 220, seed=5), ())
    left, right = crop(large, 0, 0, 130, 200), crop(large, 80, 30, 140, 170)
    found = overlap_of(left, right)
    assert found is not None
    assert (found.first_box, found.second_box) == ((80, 30, 130, 200), (0, 0, 50, 170))


def test_a_large_picture_is_searched_on_smaller_copies() -> None:
    large = LabelledPicture("large", scan(1500, 1400, seed=2), ())
    found = overlap_of(large, crop(large, 311, 507, 401, 303))
    assert found is not None
    assert found.first_box == (311, 507, 712, 810)


def test_pictures_of_other_places_share_nothing() -> None:
    large = scan(400, 400, seed=3)
    quarters = [LabelledPicture("q", large[y : y + 200, x : x + 200].copy(), ()) for y in (0, 200) for x in (0, 200)]
    assert [overlap_of(quarters[0], other) for other in quarters[1:]] == [None, None, None]
    flat = LabelledPicture("flat", np.full((100, 100), 0.5, dtype=np.float32), ())
    blank = LabelledPicture("blank", np.full((100, 100), np.nan, dtype=np.float32), ())
    assert overlap_of(flat, flat) is None
    assert overlap_of(blank, quarters[0]) is None


def test_scales_that_differ_need_no_look() -> None:
    assert overlap_of(picture(nm_per_px=0.1), picture(nm_per_px=0.1)) is not None
    assert overlap_of(picture(nm_per_px=0.1), picture(nm_per_px=0.2)) is None


def test_a_partial_scan_is_compared_where_both_were_scanned() -> None:
    whole = picture()
    cut = whole.image.copy()
    cut[60:] = np.nan
    found = overlap_of(whole, LabelledPicture("partial", cut, ()))
    assert found is not None
    assert found.first_box == (0, 0, COLUMNS, ROWS)


def test_the_crop_of_the_paper_is_found_in_its_tile_and_left_out(data_dir: Path) -> None:
    """The README of the data: the crop's corner lies at column 536, row 303 of the picture that the tile begins."""
    cut, tile = load_pictures([data_dir / "molecules"]).pictures
    result = hold_out([cut], [tile])
    assert result.left_out == {"1.png": ((536, 303, 612, 612),)}
    (judged,) = result.validation
    cover = judged.molecules[-1]
    assert cover.ignore
    assert cover.box_px == (536, 303, 612, 612)
    left = [one for one in judged.molecules if not one.ignore]
    for one in left:
        _, _, x2, y2 = one.box_px
        assert x2 <= 536 or y2 <= 303 or not mask_of(one, tile.image.shape)[303:, 536:].any()
    assert 60 < len(left) < 76


def test_nothing_is_left_out_where_nothing_is_shared() -> None:
    result = hold_out([picture("a", 0)], [picture("b", 1)])
    assert result.left_out == {}
    assert len(result.validation[0].molecules) == 48


def test_parts_of_one_picture_share_nothing_with_each_other() -> None:
    training, validation = split_region(picture(), (40, 20, 90, 80))
    assert hold_out([training], [validation]).left_out == {}
    assert hold_out([picture()], [validation]).left_out == {validation.name: ((0, 0, 50, 60),)}
