"""Anchors, boxes, matching and suppression of Mask R-CNN against their slow versions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

keras = pytest.importorskip("keras")

from spm_live.training.maskrcnn import boxes as coded  # noqa: E402
from spm_live.training.maskrcnn.anchors import anchors_for, choose_anchors  # noqa: E402
from spm_live.training.maskrcnn.config import NetworkConfig, resnet50_config  # noqa: E402
from spm_live.training.maskrcnn.matching import match_anchors, match_proposals, sample  # noqa: E402
from spm_live.training.maskrcnn.proposals import propose  # noqa: E402
from spm_live.training.maskrcnn.suppress import greedy_keep  # noqa: E402

few = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def array(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value))


def tensor(value: Any, kind: str = "float32") -> Any:
    return keras.ops.convert_to_tensor(np.asarray(value, dtype=kind))


@st.composite
def whole_boxes(draw: st.DrawFn, least: int = 1, most: int = 12, side: int = 24) -> list[tuple[int, ...]]:
    """Boxes on whole pixels, so that no overlap lies within rounding of a limit; all as many as each other in area."""
    found = []
    for _ in range(draw(st.integers(least, most))):
        x1, y1 = draw(st.integers(0, side - 1)), draw(st.integers(0, side - 1))
        found.append((x1, y1, draw(st.integers(x1 + 1, side)), draw(st.integers(y1 + 1, side))))
    return found


@pytest.mark.parametrize("config", [NetworkConfig(classes=("a",)), resnet50_config(("a", "b"))])
def test_anchors_stand_where_the_slow_version_puts_them(oracles: Any, config: NetworkConfig) -> None:
    levels = anchors_for(config, 128, 192)
    for level, stride, sizes in zip(levels, config.strides, config.anchor_sizes, strict=True):
        wanted = oracles.anchors(128, 192, stride, sizes, config.anchor_ratios)
        np.testing.assert_allclose(level, wanted, atol=1e-4)
        assert len(level) == 128 // stride * (192 // stride) * config.anchors_per_point


@pytest.mark.parametrize("shape", [(100, 128), (128, 100), (0, 128)])
def test_a_shape_that_the_strides_do_not_divide_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="multiples of 32"):
        anchors_for(NetworkConfig(classes=("a",)), *shape)


@given(st.lists(st.floats(6, 500), min_size=1, max_size=30), st.floats(0.5, 2))
def test_chosen_anchors_meet_no_fewer_boxes_than_the_given(sides: list[float], ratio: float) -> None:
    config = NetworkConfig(classes=("a",))
    size = np.array(sides)
    found = np.stack([np.zeros_like(size), np.zeros_like(size), size * ratio**0.5, size / ratio**0.5], axis=1)
    chosen = choose_anchors(config, found)

    def met(one: NetworkConfig) -> float:
        sizes = [side for level in one.anchor_sizes for side in level]
        return float(np.mean([max(min(a / b, b / a) ** 2 for b in sizes) >= 0.6 for a in sides]))

    # Sizes are rounded to a tenth of a pixel, so a box may lie on the limit itself.
    assert met(chosen) >= met(config) - 1 / len(sides) - 1e-9
    assert chosen.anchors_per_point == config.anchors_per_point
    for level, stride in zip(chosen.anchor_sizes, config.strides, strict=True):
        assert chosen is config or all(1.9 * stride <= side <= 16.1 * stride for side in level)


@few
@given(whole_boxes(), whole_boxes())
def test_overlap_is_that_of_the_slow_version(oracles: Any, first: list[Any], second: list[Any]) -> None:
    wanted = [[oracles.iou(a, b) for b in second] for a in first]
    np.testing.assert_allclose(array(coded.pairwise_iou(tensor(first), tensor(second))), wanted, atol=1e-6)


def test_empty_and_inverted_boxes_overlap_nothing() -> None:
    odd = tensor([(5, 5, 5, 9), (9, 9, 2, 2), (0, 0, 0, 0)])
    whole = tensor([(0, 0, 10, 10), (5, 5, 5, 9), (9, 9, 2, 2)])
    assert not array(coded.pairwise_iou(odd, whole)).any()
    assert not array(coded.box_area(odd)).any()


def test_overlap_of_a_batch_is_that_of_its_pictures() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 50, (3, 7, 4)), rng.uniform(0, 50, (3, 5, 4))
    together = array(coded.pairwise_iou(tensor(a), tensor(b)))
    for number in range(3):
        np.testing.assert_array_equal(together[number], array(coded.pairwise_iou(tensor(a[number]), tensor(b[number]))))


@few
@given(whole_boxes(4, 4), whole_boxes(4, 4), st.sampled_from([coded.RPN_STD, (1.0, 1.0, 1.0, 1.0)]))
def test_the_code_of_a_box_is_that_of_the_slow_version(
    oracles: Any, boxes: list[Any], anchors: list[Any], std: tuple[float, float, float, float]
) -> None:
    told = array(coded.encode(tensor(boxes), tensor(anchors), std))
    wanted = [oracles.encode(box, anchor, std) for box, anchor in zip(boxes, anchors, strict=True)]
    np.testing.assert_allclose(told, wanted, atol=2e-4)
    np.testing.assert_allclose(array(coded.decode(tensor(told), tensor(anchors), std)), boxes, atol=1e-3)


@few
@given(st.lists(st.floats(-60, 60, width=32), min_size=4, max_size=4), whole_boxes(1, 1))
def test_any_code_gives_the_box_of_the_slow_version(oracles: Any, delta: list[float], anchors: list[Any]) -> None:
    told = array(coded.decode(tensor([delta]), tensor(anchors), coded.HEAD_STD))
    wanted = oracles.decode(delta, anchors[0], coded.HEAD_STD)
    np.testing.assert_allclose(told[0], wanted, rtol=1e-4, atol=1e-3)
    assert np.isfinite(told).all()
    cut = array(coded.clip(tensor(told), 20, 30))
    np.testing.assert_allclose(cut[0], oracles.clip(wanted, 20, 30), atol=1e-2)


@st.composite
def truths(draw: st.DrawFn) -> tuple[list[Any], list[int]]:
    boxes = draw(whole_boxes(1, 5))
    classes = [draw(st.sampled_from([-2, -1, 0, 1])) for _ in boxes]
    return [box if kind != -1 else (0, 0, 0, 0) for box, kind in zip(boxes, classes, strict=True)], classes


def not_on_half(oracles: Any, boxes: list[Any], labels: tuple[list[Any], list[int]]) -> None:
    """Leave out what lies on an ignored molecule by exactly one half, which rounding may decide either way."""
    assume(all(2 * oracles.shared_area(box, truth) != oracles.area(box) for box in boxes for truth in labels[0]))


@few
@given(whole_boxes(1, 12), truths())
def test_anchors_are_matched_as_by_the_slow_version(
    oracles: Any, boxes: list[Any], labels: tuple[list[Any], list[int]]
) -> None:
    not_on_half(oracles, boxes, labels)
    match = match_anchors(tensor(boxes), tensor([labels[0]]), tensor([labels[1]], "int32"))
    truth, positive, negative = oracles.match_anchors(boxes, *labels)
    assert array(match.positive)[0].tolist() == positive
    assert array(match.negative)[0].tolist() == negative
    found = array(match.truth)[0]
    assert all(found[k] == truth[k] for k in range(len(boxes)) if positive[k])


@few
@given(whole_boxes(1, 12), truths())
def test_proposals_are_matched_as_by_the_slow_version(
    oracles: Any, boxes: list[Any], labels: tuple[list[Any], list[int]]
) -> None:
    not_on_half(oracles, boxes, labels)
    match = match_proposals(tensor([boxes]), tensor([labels[0]]), tensor([labels[1]], "int32"))
    truth, positive, negative = oracles.match_proposals(boxes, *labels)
    assert array(match.positive)[0].tolist() == positive
    assert array(match.negative)[0].tolist() == negative
    found = array(match.truth)[0]
    assert all(found[k] == truth[k] for k in range(len(boxes)) if positive[k])


def test_an_unused_proposal_is_neither_on_a_molecule_nor_on_background() -> None:
    match = match_proposals(
        tensor([[(0, 0, 0, 0), (0, 0, 9, 9)]]), tensor([[(20, 20, 30, 30)]]), tensor([[0]], "int32")
    )
    assert array(match.positive).tolist() == [[False, False]]
    assert array(match.negative).tolist() == [[False, True]]


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(1, 25), st.integers(0, 2**32 - 1))
@few
def test_only_the_wanted_are_drawn_and_each_once(wanted: list[bool], count: int, seed: int) -> None:
    noise = np.random.default_rng(seed).random((1, len(wanted))).astype(np.float32)
    index, drawn = (array(one)[0] for one in sample(tensor([wanted], "bool"), count, tensor(noise)))
    taken = index[drawn == 1]
    assert index.shape == drawn.shape == (min(count, len(wanted)),)
    assert set(drawn.tolist()) <= {0.0, 1.0}
    assert len(taken) == len(set(taken.tolist())) == min(count, sum(wanted))
    assert all(wanted[k] for k in taken)


def test_every_wanted_one_is_drawn_as_often_as_the_others() -> None:
    rng = np.random.default_rng(0)
    wanted = np.zeros((3000, 12), dtype=bool)
    wanted[:, 2:10] = True
    index, drawn = (array(one) for one in sample(tensor(wanted, "bool"), 4, tensor(rng.random((3000, 12)))))
    assert drawn.all()
    # 3000 draws of 4 out of 8 are 1500 each; five standard deviations are 137.
    assert np.abs(np.bincount(index.ravel(), minlength=12)[2:10] - 1500).max() < 137


@few
@given(whole_boxes(1, 16, side=12), st.data(), st.sampled_from([0.2, 0.5, 0.7]))
def test_suppression_is_that_of_the_slow_version(oracles: Any, boxes: list[Any], data: Any, limit: float) -> None:
    alive = data.draw(st.lists(st.booleans(), min_size=len(boxes), max_size=len(boxes)))
    kinds = np.array(data.draw(st.lists(st.integers(0, 1), min_size=len(boxes), max_size=len(boxes))))
    both = greedy_keep(tensor([boxes]), tensor([alive], "bool"), limit)
    assert array(both)[0].tolist() == oracles.greedy(boxes, alive, limit)
    same = tensor([kinds[:, None] == kinds], "bool")
    apart = greedy_keep(tensor([boxes]), tensor([alive], "bool"), limit, same=same)
    assert array(apart)[0].tolist() == oracles.greedy(boxes, alive, limit, kinds.tolist())


def test_what_is_suppressed_suppresses_nothing() -> None:
    chain = [(10 * number, 0, 10 * number + 25, 10) for number in range(40)]
    keep = array(greedy_keep(tensor([chain]), tensor([[True] * 40], "bool"), 0.3))[0]
    # Each overlaps the next by 15 of 35: every second one stays, which takes forty rounds to settle.
    assert keep.tolist() == [number % 2 == 0 for number in range(40)]


def test_suppression_of_a_crowd_is_that_of_the_slow_version(oracles: Any) -> None:
    rng = np.random.default_rng(3)
    corner = rng.integers(0, 200, (2, 300, 2))
    boxes = np.concatenate([corner, corner + rng.integers(10, 60, (2, 300, 2))], axis=-1)
    keep = array(greedy_keep(tensor(boxes), tensor(np.ones((2, 300)), "bool"), 0.4))
    for number in range(2):
        assert keep[number].tolist() == oracles.greedy(boxes[number].tolist(), [True] * 300, 0.4)


@pytest.mark.parametrize(("before", "after"), [(30, 20), (500, 400), (1, 8)])
def test_proposals_are_those_of_the_slow_version(oracles: Any, before: int, after: int) -> None:
    config = NetworkConfig(classes=("a",))
    rng = np.random.default_rng(before)
    levels = anchors_for(config, 64, 96)
    logits = [rng.normal(size=(2, len(level))).astype(np.float32) for level in levels]
    deltas = [rng.normal(size=(2, len(level), 4)).astype(np.float32) for level in levels]
    boxes, alive = propose(
        [tensor(one) for one in logits],
        [tensor(one) for one in deltas],
        levels,
        (64, 96),
        before=before,
        after=after,
        iou=0.6,
    )
    boxes, alive = array(boxes), array(alive)
    assert boxes.shape == (2, after, 4)
    for number in range(2):
        wanted = oracles.propose(
            [one[number] for one in logits],
            [one[number] for one in deltas],
            levels,
            (64, 96),
            before,
            after,
            0.6,
            coded.RPN_STD,
        )
        assert alive[number].tolist() == [True] * len(wanted) + [False] * (after - len(wanted))
        np.testing.assert_allclose(boxes[number, : len(wanted)], wanted, atol=1e-3)
        assert not boxes[number, len(wanted) :].any()
