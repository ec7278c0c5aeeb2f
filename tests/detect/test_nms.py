"""Non-maximum suppression against the slow and obvious one."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spm_live.detect import nms
from spm_live.detect.nms import box_iou, mask_iou, suppress
from spm_live.domain import Detections


def slow_iou(a, b) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    meet = wide * high
    return meet / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - meet)


def slow_nms(boxes, scores, iou, overlap) -> list[int]:
    """Take the best, drop what overlaps it, again and again."""
    left = sorted(range(len(scores)), key=lambda index: -scores[index])
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [index for index in left if overlap(best, index) <= iou]
    return kept


def detections(boxes, scores, masks=None, classes=None) -> Detections:
    count = len(scores)
    return Detections(
        boxes=np.array(boxes, dtype=np.float32).reshape(count, 4),
        scores=np.array(scores, dtype=np.float32),
        classes=np.zeros(count, dtype=np.int64) if classes is None else np.array(classes),
        masks=np.ones((count, 6, 6), dtype=np.float32) if masks is None else masks,
    )


@st.composite
def crowds(draw):
    count = draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corner = rng.integers(0, 40, (count, 2))
    boxes = np.concatenate([corner, corner + rng.integers(1, 25, (count, 2))], axis=1)
    return boxes.astype(np.float64), rng.permutation(count) / max(1, count), rng


@given(crowds(), st.sampled_from([0.1, 0.3, 0.5, 0.9]))
def test_the_quick_way_keeps_what_the_slow_way_keeps(crowd, iou):
    boxes, scores, _ = crowd
    kept = suppress(detections(boxes, scores), iou, "box")
    expected = slow_nms(boxes, scores, iou, lambda a, b: slow_iou(boxes[a], boxes[b]))
    assert kept.boxes.tolist() == boxes[expected].tolist()
    assert (np.diff(kept.scores) <= 0).all()


@given(crowds())
def test_more_boxes_than_a_block_are_compared_with_one_another(crowd):
    """Blocks bound the memory; they must not hide a pair. Copies of everything far away, in many blocks."""
    boxes, scores, _ = crowd
    if not len(scores):
        return
    copies = 300 // len(scores) + 1
    many = np.concatenate([boxes + 1000 * k for k in range(copies)])
    all_scores = np.concatenate([scores] * copies)
    kept = suppress(detections(many, all_scores), 0.3, "box")
    single = suppress(detections(boxes, scores), 0.3, "box")
    assert len(kept) == copies * len(single)


@settings(max_examples=40)
@given(crowds(), st.sampled_from([0.2, 0.5]))
def test_with_masks_it_keeps_what_the_slow_way_keeps(crowd, iou):
    boxes, scores, rng = crowd
    found = detections(boxes, scores, masks=rng.random((len(scores), 6, 6)).astype(np.float32))

    def overlap(a, b):
        first, second = (a, b) if scores[a] >= scores[b] else (b, a)
        return mask_iou(boxes[first], found.masks[first], boxes[second], found.masks[second])

    assert suppress(found, iou, "mask").boxes.tolist() == boxes[slow_nms(boxes, scores, iou, overlap)].tolist()


@settings(max_examples=40)
@given(crowds(), st.sampled_from([0.05, 0.2, 0.5]), st.floats(0.2, 0.8))
def test_pairs_rejected_unseen_would_not_have_been_suppressed(crowd, iou, filled):
    """With every pair looked at closely, instead of those that may overlap enough, the same are kept."""
    boxes, scores, rng = crowd
    found = detections(boxes, scores, masks=(rng.random((len(scores), 6, 6)) < filled).astype(np.float32))
    quick = suppress(found, iou, "mask")
    with patch.object(nms, "_highest_iou", lambda boxes, shapes, first, second: np.ones(len(first))):
        slow = suppress(found, iou, "mask")
    assert quick.boxes.tolist() == slow.boxes.tolist()


def test_most_pairs_are_rejected_unseen():
    """Neighbours whose boxes share a corner, as in a dense layer, cost no look at their masks."""
    steps = np.arange(0, 90, 9)
    corner = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    crowd = detections(np.concatenate([corner, corner + 10], axis=1), np.linspace(0.9, 0.5, 100))
    with patch.object(nms, "_shape_iou", side_effect=AssertionError("looked at")):
        assert len(suppress(crowd, 0.4, "mask")) == 100


@given(crowds())
def test_box_iou_is_what_the_definition_says(crowd):
    boxes, _, _ = crowd
    expected = [[slow_iou(a, b) for b in boxes] for a in boxes]
    assert np.allclose(box_iou(boxes, boxes), np.array(expected).reshape(len(boxes), len(boxes)))


def sampled_mask_iou(box_a, mask_a, box_b, mask_b, points: int = 3000) -> float:
    """Look at many points one by one; masks are looked up by linear interpolation between cell centres."""

    def inside(box, mask, x, y):
        if not (box[0] <= x <= box[2] and box[1] <= y <= box[3]):
            return False
        size = len(mask)
        u = min(max((x - box[0]) / (box[2] - box[0]) * size - 0.5, 0), size - 1)
        v = min(max((y - box[1]) / (box[3] - box[1]) * size - 0.5, 0), size - 1)
        i, j = min(int(v), size - 2), min(int(u), size - 2)
        p, q = v - i, u - j
        return (1 - p) * ((1 - q) * mask[i][j] + q * mask[i][j + 1]) + p * (
            (1 - q) * mask[i + 1][j] + q * mask[i + 1][j + 1]
        ) > 0.5

    low, high = np.minimum(box_a, box_b)[:2], np.maximum(box_a, box_b)[2:]
    rng = np.random.default_rng(0)
    both = either = 0
    for x, y in low + rng.random((points, 2)) * (high - low):
        a, b = inside(box_a, mask_a, x, y), inside(box_b, mask_b, x, y)
        both += a and b
        either += a or b
    return both / either if either else 0.0


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_mask_iou_agrees_with_looking_point_by_point(seed):
    rng = np.random.default_rng(seed)
    place = np.linspace(-1, 1, 8)
    blob = (np.hypot(place[:, None], place[None, :]) < rng.uniform(0.5, 1.2)).astype(np.float32)
    box_a = np.array([10.0, 10.0, 30.0, 40.0])
    box_b = box_a + np.tile(rng.uniform(-10, 10, 2), 2)
    exact = sampled_mask_iou(box_a, blob.tolist(), box_b, np.rot90(blob).tolist())
    assert mask_iou(box_a, blob, box_b, np.ascontiguousarray(np.rot90(blob))) == pytest.approx(exact, abs=0.12)


def test_the_same_mask_twice_overlaps_wholly_and_crossed_bars_little():
    upright, flat = np.zeros((9, 9), dtype=np.float32), np.zeros((9, 9), dtype=np.float32)
    upright[:, 3:6], flat[3:6] = 1, 1
    box = np.array([0.0, 0.0, 90.0, 90.0])
    assert mask_iou(box, upright, box, upright) == 1
    assert mask_iou(box, upright, box, flat) == pytest.approx(9 / 45, abs=0.02)
    crossed = detections([box, box], [0.9, 0.8], np.stack([upright, flat]))
    assert len(suppress(crossed, 0.5, "mask")) == 2, "the boxes are one, the molecules are two"
    assert len(suppress(crossed, 0.5, "box")) == 1


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_a_suppressed_box_suppresses_nothing(kind):
    """The chain in which the paper's own suppression keeps one of three, and greedy suppression keeps two."""
    chain = detections([[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]], [0.9, 0.8, 0.7])
    assert suppress(chain, 0.5, kind).scores.tolist() == pytest.approx([0.9, 0.7])


def test_classes_suppress_one_another():
    pair = detections([[0, 0, 10, 10], [1, 0, 11, 10]], [0.8, 0.9], classes=[0, 1])
    assert suppress(pair, 0.5, "box").classes.tolist() == [1]


@given(crowds(), st.sampled_from(["box", "mask"]))
def test_the_order_of_the_input_does_not_matter_even_for_equal_scores(crowd, kind):
    boxes, scores, rng = crowd
    scores = np.round(scores * 3) / 3
    found = detections(boxes, scores)
    mixed = rng.permutation(len(scores))
    again = detections(boxes[mixed], scores[mixed])
    assert suppress(found, 0.4, kind).boxes.tolist() == suppress(again, 0.4, kind).boxes.tolist()


def test_nothing_in_nothing_out():
    assert len(suppress(detections([], []), 0.5, "mask")) == 0
