"""The measure itself: each truth matched once, and the numbers as counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live.domain import Molecule
from spm_live.training.first_model.evaluate import (
    IGNORED,
    NO_TRUTH,
    FrameResult,
    average_precision,
    best_threshold,
    box_iou,
    count_error,
    fill,
    judge,
    match,
    summary,
)
from spm_live_drivers.synthetic import SyntheticScan, draw_scan


def result(labels: str, scores: list[float], matched: list[int], asked: str) -> FrameResult:
    iou = np.array([0.8 if index >= 0 else np.nan for index in matched])
    return FrameResult(tuple(labels), np.array(scores), np.array(matched, dtype=np.int64), iou, tuple(asked))


def molecule_of(scan: SyntheticScan, index: int, score: float = 0.9, label: str | None = None) -> Molecule:
    """A detection that is the truth itself, its outline the border of its pixels."""
    true = scan.molecules[index]
    x1, y1, x2, y2 = true.box_px
    return Molecule(
        label=label or true.label,
        score=score,
        center_nm=(0.0, 0.0),
        area_nm2=1.0,
        length_nm=1.0,
        width_nm=1.0,
        orientation_deg=0.0,
        box_px=(float(x1), float(y1), float(x2), float(y2)),
        outline_px=((x1 - 0.5, y1 - 0.5), (x2 - 0.5, y1 - 0.5), (x2 - 0.5, y2 - 0.5), (x1 - 0.5, y2 - 0.5)),
        touches_edge=False,
    )


def test_the_second_detection_of_a_molecule_is_false() -> None:
    overlap = np.array([[0.9, 0.0], [0.8, 0.1], [0.0, 0.6]])
    same = np.ones((3, 2), dtype=bool)
    assert match(overlap, same, np.zeros(2, dtype=bool)).tolist() == [0, NO_TRUTH, 1]


def test_a_detection_of_another_class_takes_nothing() -> None:
    assert match(np.array([[0.9]]), np.array([[False]]), np.array([False])).tolist() == [NO_TRUTH]


def test_detections_on_a_molecule_that_is_not_asked_for_are_not_counted() -> None:
    overlap = np.array([[0.9], [0.7], [0.2]])
    assert match(overlap, np.zeros((3, 1), bool), np.array([True])).tolist() == [IGNORED, IGNORED, NO_TRUTH]


@given(st.integers(0, 2**32 - 1), st.integers(0, 8), st.integers(0, 8))
def test_no_molecule_is_ever_matched_twice(seed: int, found: int, true: int) -> None:
    rng = np.random.default_rng(seed)
    matched = match(rng.random((found, true)), rng.random((found, true)) < 0.7, rng.random(true) < 0.2)
    taken = matched[matched >= 0]
    assert len(set(taken.tolist())) == len(taken)


@given(st.integers(0, 2**32 - 1))
def test_box_overlap_equals_counting_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 12, (4, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 8, (4, 2))], axis=1)
    pictures = np.zeros((4, 24, 24), dtype=bool)
    for picture, (x1, y1, x2, y2) in zip(pictures, boxes, strict=True):
        picture[y1:y2, x1:x2] = True
    slow = [[(one & other).sum() / (one | other).sum() for other in pictures[2:]] for one in pictures[:2]]
    np.testing.assert_allclose(box_iou(boxes[:2].astype(float), boxes[2:].astype(float)), slow)


PLACES = st.integers(-3 * 64, 15 * 64).map(lambda steps: steps / 64)


@given(st.lists(st.tuples(PLACES, PLACES), min_size=3, max_size=7))
def test_filling_a_polygon_equals_asking_every_pixel(points: list[tuple[float, float]]) -> None:
    polygon = np.array(points)
    slow = np.zeros((10, 12), dtype=bool)
    for row, column in np.ndindex(slow.shape):
        for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1], strict=True):
            if min(y1, y2) <= row < max(y1, y2) and column < x1 + (row - y1) * (x2 - x1) / (y2 - y1):
                slow[row, column] = not slow[row, column]
    np.testing.assert_array_equal(fill(polygon, (10, 12)), slow)


def test_an_outline_of_two_points_fills_nothing() -> None:
    assert not fill(np.array([[1.0, 1.0], [5.0, 5.0]]), (8, 8)).any()


def test_average_precision_is_the_area_counted_by_hand() -> None:
    # Hits and misses in falling score: hit (1/1), miss, hit (2/3), miss, miss; three asked for.
    one = result("aaa", [0.9, 0.8, 0.7], [0, NO_TRUTH, 1], "aaa")
    two = result("aa", [0.6, 0.5], [NO_TRUTH, NO_TRUTH], "")
    assert average_precision([one, two], "a") == pytest.approx((1 + 2 / 3) / 3)


def test_average_precision_makes_the_precision_fall() -> None:
    # Precision at the hits: 1/2, 2/3, 3/4; made falling each is 3/4.
    wavy = result("aaaa", [0.9, 0.8, 0.7, 0.6], [NO_TRUTH, 0, 1, 2], "aaa")
    assert average_precision([wavy], "a") == pytest.approx(0.75)


def test_average_precision_of_a_class_that_is_nowhere_is_not_a_number() -> None:
    assert np.isnan(average_precision([result("a", [0.9], [NO_TRUTH], "b")], "a"))


def test_counts_are_compared_frame_by_frame() -> None:
    over = result("aa", [0.9, 0.9], [0, NO_TRUTH], "a")
    under = result("a", [0.1], [0], "aa")
    assert count_error([over, under], "a", 0.5) == pytest.approx((1 + 2) / 3)


def test_a_summary_leaves_out_what_scores_too_low_and_what_is_ignored() -> None:
    one = result("aab", [0.9, 0.2, 0.8], [0, 1, IGNORED], "aab")
    numbers = summary([one], "ab", 0.5)
    assert (numbers["precision"], numbers["recall"]) == (1.0, pytest.approx(1 / 3, abs=1e-4))
    assert numbers["mask_iou"] == 0.8


def test_the_threshold_is_the_one_that_parts_right_from_wrong() -> None:
    frames = [result("aa", [0.7, 0.42], [0, NO_TRUTH], "a") for _ in range(4)]
    assert 0.42 < best_threshold(frames, "a") <= 0.7


def test_the_truth_itself_is_a_perfect_answer_but_not_twice() -> None:
    scan = draw_scan(5, size_nm=24.0)
    asked = [index for index, molecule in enumerate(scan.molecules) if molecule.visible >= 0.2]
    once = judge(scan, [molecule_of(scan, index) for index in asked])
    numbers = summary([once], sorted(set(once.asked)), 0.5)
    assert (numbers["precision"], numbers["recall"], numbers["box_ap50"]) == (1, 1, 1)
    assert 0.5 < numbers["mask_iou"] < 1  # a box around a round molecule is not the molecule
    twice = judge(scan, [molecule_of(scan, index) for index in asked for _ in range(2)])
    assert summary([twice], sorted(set(once.asked)), 0.5)["precision"] == 0.5


def test_the_truth_with_the_wrong_names_is_all_wrong() -> None:
    scan = draw_scan(5, size_nm=24.0)
    wrong = {"three-lobe": "rod", "four-lobe": "three-lobe", "rod": "four-lobe"}
    judged = judge(
        scan,
        [
            molecule_of(scan, index, label=wrong[molecule.label])
            for index, molecule in enumerate(scan.molecules)
            if molecule.visible >= 0.2
        ],
    )
    assert (judged.matched < 0).all()
