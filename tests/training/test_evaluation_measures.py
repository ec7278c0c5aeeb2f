"""Precision, recall, recognition, counts, confusion and suppression, on scenes whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live.detect.nms import suppress
from spm_live.domain import Detections
from spm_live.training.evaluation import Judged, Prediction, judge
from spm_live.training.evaluation.counts import confusion, count_error
from spm_live.training.evaluation.overlay import COLOURS, draw_overlay, encode, faults, verdicts
from spm_live.training.evaluation.paper import (
    best_threshold,
    mean_overlap,
    precision_recall,
    rates,
    recall_over_iou,
)
from spm_live.training.evaluation.suppression import false_rate, suppress_by_class, suppression_effect
from spm_live.training.labelled import LabelledMolecule, LabelledPicture

CLASSES = ("a", "b")
STEP = 20  # places lie so far apart that nothing on one overlaps what is on the next


def square(x: float, y: float, side: float = 10.0) -> np.ndarray:
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])


def scene(true: str, shots: list[tuple[int, str, float, float]], ignored: tuple[int, ...] = ()) -> Judged:
    """Molecules of classes ``true``, a letter a place; detections: place, class, score, shift along x."""
    molecules = tuple(
        LabelledMolecule(label, (square(5 + STEP * place, 5),), place in ignored)
        for place, label in enumerate(true)
        if label != " "
    )
    found = []
    for place, label, score, shift in shots:
        x = 5 + STEP * place + shift
        found.append(Prediction(label, score, (x, 5, x + 10, 15), (square(x, 5),)))
    picture = LabelledPicture("row", np.zeros((20, STEP * 12), np.float32), molecules)
    return judge(picture, found)


def test_rates_count_each_molecule_once() -> None:
    judged = scene("aab", [(0, "a", 0.9, 0), (0, "a", 0.8, 1), (1, "b", 0.7, 0), (1, "a", 0.6, 1), (4, "b", 0.5, 0)])
    whole = rates([judged], 0.0, "mask")
    assert (whole.true, whole.found, whole.hits, whole.recognised) == (3, 5, 2, 1)
    assert whole.precision == pytest.approx(2 / 5)
    assert whole.recall == pytest.approx(2 / 3)
    assert whole.f1 == pytest.approx(2 * (2 / 5) * (2 / 3) / (2 / 5 + 2 / 3))
    # The second molecule is found as "a", but the better detection on it says "b".
    assert whole.recognition_rate == pytest.approx(1 / 3)
    of_a = rates([judged], 0.0, "mask", label="a")
    assert (of_a.true, of_a.found, of_a.hits, of_a.recognised) == (2, 3, 2, 1)
    assert rates([judged], 0.65, "mask").found == 3


def test_what_lies_on_an_ignored_molecule_is_not_counted() -> None:
    judged = scene("aa", [(0, "a", 0.9, 0), (1, "b", 0.8, 1)], ignored=(1,))
    whole = rates([judged], 0.0, "box")
    assert (whole.true, whole.found, whole.hits) == (1, 1, 1)
    assert count_error([judged], 0.0, "box").error == 0
    assert confusion([judged], CLASSES, 0.0, "box").matrix.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_without_molecules_or_detections_rates_are_not_defined() -> None:
    nothing = rates([scene("", [])], 0.0, "mask")
    assert all(math.isnan(value) for value in (nothing.precision, nothing.recall, nothing.f1, nothing.recognition_rate))
    assert math.isnan(count_error([scene("", [])], 0.0, "mask").error)
    assert math.isnan(recall_over_iou([scene("", [])], 0.0, "mask").average_recall)


def test_the_curve_of_precision_and_recall_goes_through_every_threshold() -> None:
    judged = scene("aab", [(0, "a", 0.9, 0), (5, "a", 0.8, 0), (1, "a", 0.7, 0), (2, "b", 0.6, 0)])
    curve = precision_recall([judged], "mask")
    assert curve.scores.tolist() == [0.9, 0.8, 0.7, 0.6]
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3, 3 / 4])
    np.testing.assert_allclose(curve.recall, [1 / 3, 1 / 3, 2 / 3, 1])
    for score, precision, recall in zip(curve.scores, curve.precision, curve.recall, strict=True):
        one = rates([judged], score, "mask")
        assert (one.precision, one.recall) == (pytest.approx(precision), pytest.approx(recall))


@given(st.lists(st.floats(0, 6), min_size=1, max_size=8))
def test_average_recall_is_that_of_hosang(shifts: list[float]) -> None:
    """Equation 3 of the article: twice the mean over molecules of max(IoU - 0.5, 0)."""
    judged = scene("a" * len(shifts), [(place, "a", 0.9, shift) for place, shift in enumerate(shifts)])
    ious = [(10 - shift) / (10 + shift) for shift in shifts]
    wanted = 2 * np.mean([max(iou - 0.5, 0) for iou in ious])
    assert recall_over_iou([judged], 0.0, "box").average_recall == pytest.approx(wanted, abs=0.0101)


def test_recall_falls_with_the_overlap_asked_for() -> None:
    curve = recall_over_iou([scene("aa", [(0, "a", 0.9, 0), (1, "a", 0.9, 2.5)])], 0.0, "box")  # overlaps 1 and 0.6
    assert curve.recall[0] == 1
    assert curve.recall[np.searchsorted(curve.ious, 0.605)] == curve.recall[-1] == 0.5
    assert recall_over_iou([scene("aa", [(0, "a", 0.3, 0)])], 0.4, "box").recall.max() == 0


shots = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.sampled_from("ab"),
        st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.5001, 0.7, 0.9]),
        st.sampled_from([0.0, 1.0, 2.0, 4.0, 7.0]),
    ),
    max_size=12,
)


@given(st.text("ab ", max_size=8), shots)
def test_no_threshold_has_a_higher_f1_than_the_best(true: str, found: list[tuple[int, str, float, float]]) -> None:
    judged = scene(true, found)
    chosen = best_threshold(precision_recall([judged], "box"), 0.05)
    others = [rates([judged], score, "box").f1 for score in [0.05, *(shot[2] for shot in found)]]
    best = rates([judged], chosen, "box").f1
    assert 0.05 <= chosen <= 1
    assert best == pytest.approx(max(others)) or math.isnan(best)


@given(st.text("ab ", max_size=8), shots, st.sampled_from([0.0, 0.25, 0.6]))
def test_confusion_holds_every_molecule_and_every_detection_once(
    true: str, found: list[tuple[int, str, float, float]], score: float
) -> None:
    judged = scene(true, found)
    matrix = confusion([judged], CLASSES, score, "mask").matrix
    assert matrix[:2].sum(axis=1).tolist() == [true.count(label) for label in CLASSES]
    kept = [shot for shot in found if shot[2] >= score]
    assert matrix[:, :2].sum(axis=0).tolist() == [sum(shot[1] == label for shot in kept) for label in CLASSES]
    assert np.trace(matrix[:2, :2]) == rates([judged], score, "mask").recognised
    assert matrix[2, 2] == 0


def test_confusion_is_the_part_of_the_molecules_found_that_are_called_otherwise() -> None:
    result = confusion(
        [scene("aaab", [(0, "a", 0.9, 0), (1, "b", 0.9, 0), (3, "b", 0.9, 0), (6, "a", 0.9, 0)])], CLASSES, 0.5, "mask"
    )
    assert result.matrix.tolist() == [[1, 1, 1], [0, 1, 0], [1, 0, 0]]
    assert result.rate == pytest.approx(1 / 3)


def test_errors_of_counts_do_not_cancel_between_pictures() -> None:
    more, fewer = scene("a", [(0, "a", 0.9, 0), (4, "a", 0.9, 0)]), scene("ab", [(1, "b", 0.9, 0)])
    assert count_error([more, fewer], 0.5, "mask").off == 2
    assert count_error([more, fewer], 0.5, "mask").error == pytest.approx(2 / 3)
    assert count_error([more, fewer], 0.5, "mask", label="b").error == 0
    assert count_error([more, fewer], 0.5, "mask", label="a").error == pytest.approx(1.0)


def test_overlap_is_averaged_over_what_was_found() -> None:
    judged = scene("aab", [(0, "a", 0.9, 0), (1, "a", 0.9, 2.5), (2, "a", 0.9, 0)])
    assert mean_overlap([judged], 0.5)["box"] == pytest.approx((1 + 0.6) / 2)
    assert math.isnan(mean_overlap([judged], 0.95)["mask"])


def raw(*rows: tuple[float, str, float]) -> Detections:
    """Detections of 10 px: x, class, score."""
    boxes = np.array([[x, 0, x + 10, 10] for x, _, _ in rows], np.float32).reshape(-1, 4)
    classes = np.array([CLASSES.index(label) for _, label, _ in rows], np.int64)
    scores = np.array([score for *_, score in rows], np.float32)
    return Detections(boxes, scores, classes, np.ones((len(rows), 4, 4), np.float32))


def test_within_classes_rivals_of_another_class_stay() -> None:
    detections = raw((0, "a", 0.9), (1, "b", 0.8), (2, "a", 0.7), (40, "b", 0.95))
    kept = suppress_by_class(detections, 0.5, "box")
    np.testing.assert_allclose(kept.scores, [0.95, 0.9, 0.8])
    np.testing.assert_allclose(suppress(detections, 0.5, "box").scores, [0.95, 0.9])
    assert len(suppress_by_class(raw(), 0.5, "mask")) == 0


def test_the_effect_of_suppression_is_the_false_detections_it_spares() -> None:
    across = scene("ab", [(0, "a", 0.9, 0), (1, "b", 0.8, 0)])
    within = scene("ab", [(0, "a", 0.9, 0), (0, "b", 0.6, 1), (1, "b", 0.8, 0)])
    effect = suppression_effect([across], [within], 0.5, "mask")
    assert (effect.across.false, effect.across.rate) == (0, 0)
    assert (effect.by_class.false, effect.by_class.rate) == (1, pytest.approx(1 / 3))
    assert effect.rivals == 1
    assert effect.by_class_rates[np.isclose(effect.thresholds, 0.7)].tolist() == [0]
    assert false_rate([scene("a", [])], 0.5, "mask").rate == 0


def test_the_overlay_shows_every_verdict_in_its_colour() -> None:
    judged = scene(
        "aab a",
        [(0, "a", 0.9, 0), (1, "b", 0.9, 0), (6, "a", 0.9, 0), (4, "a", 0.8, 1), (8, "a", 0.1, 0)],
        ignored=(4,),
    )
    words, missed = verdicts(judged, 0.5, "mask")
    assert words == ["right", "wrong class", "false", "left out", ""]
    assert missed.tolist() == [False, False, True]
    assert faults(judged, 0.5, "mask") == 3
    drawn = draw_overlay(judged, 0.5, "mask")
    body = drawn[-80:].reshape(-1, 3)
    for word, colour in COLOURS.items():
        near = (np.abs(body.astype(int) - colour).max(axis=1) < 12).sum()
        # The truth of what was found lies under the detection; that of a wrong class a little beside it or not at all.
        assert near > 20 or word == "truth", word
    assert encode(drawn).startswith(b"\x89PNG")
    assert encode(drawn, ".jpg").startswith(b"\xff\xd8")
