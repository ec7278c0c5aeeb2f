"""One molecule is found once; shapes overlap where they are; what is left out is left out on both sides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spm_live.training.evaluation import Excluded, Prediction, Region, judge, match
from spm_live.training.evaluation.matching import IGNORED, NO_TRUTH, match_classes, match_places
from spm_live.training.evaluation.overlap import box_cover, mask_cover, mask_iou, patch_of, shapes_of
from spm_live.training.labelled import LabelledMolecule, LabelledPicture, mask_of

SHAPE = (60, 80)


def square(x: float, y: float, side: float = 10.0) -> np.ndarray:
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])


def truth(label: str, x: float, y: float, side: float = 10.0, *, ignore: bool = False) -> LabelledMolecule:
    return LabelledMolecule(label, (square(x, y, side),), ignore)


def found(label: str, score: float, x: float, y: float, side: float = 10.0) -> Prediction:
    return Prediction(label, score, (x, y, x + side, y + side), (square(x, y, side),))


def picture(*molecules: LabelledMolecule) -> LabelledPicture:
    return LabelledPicture("p", np.zeros(SHAPE, np.float32), molecules)


def slow_match(overlap: np.ndarray, allowed: np.ndarray, cover: np.ndarray, least: float) -> list[int]:
    """COCO's loop, written as it reads."""
    taken: set[int] = set()
    result = []
    for d in range(overlap.shape[0]):
        best, most = NO_TRUTH, least
        for g in range(overlap.shape[1]):
            if g not in taken and allowed[d, g] and overlap[d, g] >= most:
                best, most = g, overlap[d, g]
        if best == NO_TRUTH and cover[d] >= least:
            best = IGNORED
        if best >= 0:
            taken.add(best)
        result.append(best)
    return result


scenes = st.tuples(st.integers(0, 9), st.integers(0, 6)).flatmap(
    lambda shape: st.tuples(
        arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.2, 0.5, 0.6, 0.6001, 0.75, 1.0])),
        arrays(np.bool_, shape),
        arrays(np.float64, shape[0], elements=st.sampled_from([0.0, 0.4, 0.5, 0.9])),
    )
)


@given(scenes, st.sampled_from([0.3, 0.5, 0.75]))
def test_matching_is_that_of_coco(scene: tuple[np.ndarray, np.ndarray, np.ndarray], least: float) -> None:
    assert match(*scene, least).tolist() == slow_match(*scene, least)


@given(scenes)
def test_no_molecule_is_found_twice(scene: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    hits = [index for index in match(*scene, 0.5).tolist() if index >= 0]
    assert len(hits) == len(set(hits))


outlines = st.lists(
    arrays(np.float64, (5, 2), elements=st.floats(-20, 90, allow_nan=False, width=32)), min_size=1, max_size=4
)


@given(outlines, outlines)
def test_overlap_of_cut_out_masks_is_that_of_full_ones(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    groups = [[LabelledMolecule("a", (ring,)) for ring in rings] for rings in (one, other)]
    cut = [shapes_of([m.box_px for m in group], [m.rings for m in group], SHAPE) for group in groups]
    full = [[mask_of(m, SHAPE) for m in group] for group in groups]
    wanted = np.zeros((len(one), len(other)))
    cover = np.zeros(len(one))
    for i, a in enumerate(full[0]):
        for j, b in enumerate(full[1]):
            meet, join = np.count_nonzero(a & b), np.count_nonzero(a | b)
            wanted[i, j] = meet / join if join else 0.0
            cover[i] = max(cover[i], meet / a.sum() if a.any() else 0.0)
    np.testing.assert_allclose(mask_iou(*cut), wanted, atol=1e-12)
    np.testing.assert_allclose(mask_cover(*cut), cover, atol=1e-12)
    for molecules, masks in zip(groups, full, strict=True):
        for molecule, mask in zip(molecules, masks, strict=True):
            assert (patch_of(molecule.rings, SHAPE).full(SHAPE) == mask).all()


def test_cover_is_the_part_of_the_detection_itself() -> None:
    small, large = (
        shapes_of([(0, 0, 10, 10)], [[square(0, 0)]], SHAPE),
        shapes_of([(5, 0, 45, 40)], [[square(5, 0, 40)]], SHAPE),
    )
    assert box_cover(small, large).tolist() == mask_cover(small, large).tolist() == [0.5]
    assert box_cover(small, large.select(np.zeros(1, bool))).tolist() == [0.0]


def test_a_second_detection_of_a_molecule_finds_nothing() -> None:
    judged = judge(picture(truth("a", 5, 5)), [found("a", 0.8, 5, 6), found("a", 0.9, 6, 5)])
    assert judged.scores.tolist() == [0.9, 0.8]
    for kind in ("box", "mask"):
        assert match_classes(judged, kind).tolist() == [0, NO_TRUTH]


def test_a_wrong_class_takes_a_place_but_finds_nothing() -> None:
    judged = judge(picture(truth("a", 5, 5)), [found("b", 0.9, 5, 5), found("a", 0.8, 5, 5)])
    assert match_classes(judged, "mask").tolist() == [NO_TRUTH, 0]
    assert match_places(judged, "mask").tolist() == [0, NO_TRUTH]
    assert match_places(judged, "mask", min_score=0.95).tolist() == [NO_TRUTH, NO_TRUTH]


def test_any_number_of_detections_may_lie_on_what_is_ignored() -> None:
    scene = picture(truth("a", 5, 5), truth("a", 30, 5, 20, ignore=True))
    judged = judge(scene, [found("a", 0.9, 31, 6), found("b", 0.8, 40, 12), found("a", 0.7, 60, 40)])
    assert len(judged.true) == 1
    assert match_classes(judged, "mask").tolist() == [IGNORED, IGNORED, NO_TRUTH]
    assert match_classes(judged, "box").tolist() == [IGNORED, IGNORED, NO_TRUTH]


def test_a_region_leaves_out_by_centre_and_the_border_by_box() -> None:
    scene = picture(truth("a", 20, 20), truth("a", 40, 20), truth("b", 2.9, 40), truth("b", 3.1, 25))
    shots = [found("a", 0.9, 20, 20), found("a", 0.8, 41, 20), found("b", 0.7, 67.5, 40)]
    judged = judge(scene, shots, Excluded((Region(30, 0, 60, 60), Region(0, 0, 80, 60, picture="other")), border_px=3))
    assert [one.box_px[:2] for one in judged.true] == [(20, 20), (3.1, 25)]
    assert [one.box_px[:2] for one in judged.found] == [(20, 20)]
    assert [one.box_px[:2] for one in judged.left_out_true] == [(40, 20), (2.9, 40)]
    assert [one.box_px[:2] for one in judged.left_out_found] == [(41, 20), (67.5, 40)]
    assert judged.overlaps["mask"].shape == judged.overlaps["box"].shape == (1, 2)
    assert judged.torn == 0


@pytest.mark.parametrize(("follow", "kept", "torn"), [(False, [], 1), (True, [0.9], 0)])
def test_a_pair_on_the_line_is_torn_and_told_or_kept_together(follow: bool, kept: list[float], torn: int) -> None:
    scene = picture(truth("a", 20, 20))  # centre at 25, that of the detection at 26
    judged = judge(scene, [found("a", 0.9, 21, 20)], Excluded((Region(25.5, 0, 60, 60),), follow=follow))
    assert len(judged.true) == 1
    assert judged.scores.tolist() == kept
    assert judged.torn == torn


def test_a_detection_that_lies_on_nothing_is_left_out_by_its_own_place() -> None:
    rule = Excluded((Region(0, 0, 40, 60),), follow=True)
    judged = judge(picture(truth("a", 60, 20)), [found("a", 0.9, 10, 10), found("a", 0.8, 60, 40)], rule)
    assert judged.scores.tolist() == [0.8]


@pytest.mark.parametrize("corners", [(5, 5, 5, 9), (5, 9, 9, 5), (0, 0, float("nan"), 4), (0, 0, float("inf"), 4)])
def test_a_region_without_area_is_refused(corners: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="region"):
        Region(*corners)


@pytest.mark.parametrize("border", [-1.0, float("nan"), float("inf")])
def test_a_border_below_nothing_is_refused(border: float) -> None:
    with pytest.raises(ValueError, match="border_px"):
        Excluded(border_px=border)
