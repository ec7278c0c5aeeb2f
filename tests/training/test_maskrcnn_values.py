"""RoIAlign, the targets of the masks and the losses of Mask R-CNN against their slow versions, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

keras = pytest.importorskip("keras")

from spm_live.training.maskrcnn import losses  # noqa: E402
from spm_live.training.maskrcnn.model import wanted_masks  # noqa: E402
from spm_live.training.maskrcnn.roi_align import level_of, roi_align  # noqa: E402

few = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
STRIDES = (4, 8, 16, 32)
SHAPES = ((16, 24), (8, 12), (4, 6), (2, 3))
"""Of the levels of a picture of 64 x 96 px."""


def array(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value))


def tensor(value: Any, kind: str = "float32") -> Any:
    return keras.ops.convert_to_tensor(np.asarray(value, dtype=kind))


def gradient(function: Callable[[Any], Any], at: np.ndarray) -> np.ndarray:
    """Of a scalar, by automatic differentiation; in float64, so that differences can be compared with it."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the gradients are checked on TensorFlow")
    import tensorflow as tf

    point = tf.Variable(at, dtype="float64")
    with tf.GradientTape() as tape:
        value = function(point)
    return np.asarray(tf.convert_to_tensor(tape.gradient(value, point)))


def differences(function: Callable[[Any], Any], at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """The same by central differences, one number after another."""
    out = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[index] += step
        down[index] -= step
        out[index] = (float(function(tensor(up, "float64"))) - float(function(tensor(down, "float64")))) / (2 * step)
    return out


# RoIAlign ---------------------------------------------------------------------------------------------------------


def test_the_level_of_a_region_follows_its_size(oracles: Any) -> None:
    rng = np.random.default_rng(0)
    corner, size = rng.uniform(0, 100, (500, 2)), np.exp(rng.uniform(0, 7, (500, 2)))
    boxes = np.concatenate([corner, corner + size], axis=1).astype(np.float32)
    for canonical in (128.0, 224.0):
        told = array(level_of(tensor(boxes), 4, canonical))
        assert told.tolist() == [oracles.level_of([float(v) for v in box], 4, canonical) for box in boxes]
        assert set(told.tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize(("side", "level"), [(63.99, 0), (64.01, 1), (127.9, 1), (128.1, 2), (256.1, 3), (4000.0, 3)])
def test_the_level_changes_where_equation_1_says(side: float, level: int) -> None:
    assert int(array(level_of(tensor([[0, 0, side, side]]), 4, 128.0))[0]) == level


@few
@given(
    st.lists(
        st.tuples(st.floats(-20, 110), st.floats(-20, 80), st.floats(0.5, 120), st.floats(0.5, 90)),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([(7, 2), (14, 1), (3, 3)]),
    st.integers(0, 1000),
)
def test_regions_are_read_as_by_the_slow_version(
    oracles: Any, places: list[tuple[float, float, float, float]], grid: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    pyramid = [rng.normal(size=(2, *shape, 3)).astype(np.float32) for shape in SHAPES]
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in places], dtype=np.float32)
    boxes = np.stack([boxes, boxes[::-1]])
    cells, samples = grid
    read = array(
        roi_align(
            [tensor(one) for one in pyramid], tensor(boxes), STRIDES, cells=cells, samples=samples, canonical_px=40.0
        )
    )
    assert read.shape == (2, len(places), cells, cells, 3)
    for number in range(2):
        for place in range(len(places)):
            box = [float(value) for value in boxes[number, place]]
            level = oracles.level_of(box, 4, 40.0)
            wanted = oracles.roi_align(pyramid[level][number].astype(float), box, STRIDES[level], cells, samples)
            missed = np.abs(read[number, place] - wanted).max(axis=-1)
            # A sample just at the edge of what counts falls on either side by rounding: at most one row or column.
            assert (missed > 1e-3).sum() <= (cells if _near_edge(box, STRIDES[level], SHAPES[level], grid) else 0)


def _near_edge(box: list[float], stride: int, shape: tuple[int, int], grid: tuple[int, int]) -> bool:
    steps = (np.arange(grid[0] * grid[1]) + 0.5) / (grid[0] * grid[1])
    for axis, length in ((0, shape[1]), (1, shape[0])):
        at = (box[axis] + steps * (box[axis + 2] - box[axis])) / stride - 0.5
        if min(np.abs(at + 1).min(), np.abs(at - length).min()) < 1e-4:
            return True
    return False


@pytest.mark.parametrize(("cells", "samples"), [(7, 2), (14, 1)])
def test_regions_are_read_as_by_onnx_runtime(oracles: Any, cells: int, samples: int) -> None:
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto
    node = helper.make_node(
        "RoiAlign",
        ["level", "rois", "batch"],
        ["out"],
        output_height=cells,
        output_width=cells,
        sampling_ratio=samples,
        spatial_scale=1 / 8,
        mode="avg",
        coordinate_transformation_mode="half_pixel",
    )
    inputs = [("level", kind.FLOAT, [1, 5, 8, 12]), ("rois", kind.FLOAT, [60, 4]), ("batch", kind.INT64, [60])]
    graph = helper.make_graph(
        [node],
        "roi_align",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info("out", kind.FLOAT, [60, 5, cells, cells])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=9)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(5)
    level = rng.normal(size=(1, 8, 12, 5)).astype(np.float32)
    corner = rng.uniform(-20, 90, (60, 2))
    rois = np.concatenate([corner, corner + rng.uniform(1, 60, (60, 2))], axis=1).astype(np.float32)
    (wanted,) = session.run(
        None, {"level": level.transpose(0, 3, 1, 2), "rois": rois, "batch": np.zeros(60, dtype=np.int64)}
    )
    read = array(roi_align([tensor(level)], tensor(rois[None]), (8,), cells=cells, samples=samples, canonical_px=128.0))
    np.testing.assert_allclose(read[0], wanted.transpose(0, 2, 3, 1), atol=2e-5)
    slow = [oracles.roi_align(level[0].astype(float), [float(v) for v in roi], 8, cells, samples) for roi in rois]
    np.testing.assert_allclose(np.array(slow), wanted.transpose(0, 2, 3, 1), atol=2e-5)


def test_a_ramp_is_read_exactly_where_the_cells_lie() -> None:
    y, x = np.mgrid[0:16, 0:24]
    ramp = np.stack([(x + 0.5) * 4, (y + 0.5) * 4], axis=-1)[None].astype(np.float32)
    read = array(roi_align([tensor(ramp)], tensor([[[8, 12, 64, 40]]]), (4,), cells=7, samples=2, canonical_px=128.0))
    np.testing.assert_allclose(read[0, 0, 0, :, 0], 8 + 8 * (np.arange(7) + 0.5), rtol=1e-5)
    np.testing.assert_allclose(read[0, 0, :, 0, 1], 12 + 4 * (np.arange(7) + 0.5), rtol=1e-5)


def test_the_gradient_of_reading_regions_is_that_of_small_differences() -> None:
    rng = np.random.default_rng(2)
    # Two boxes on the finer level, one of them over the border, and one on the coarser.
    boxes = tensor([[[1.5, 2.5, 9.0, 8.0], [-3.0, 4.0, 7.0, 19.0], [0.0, 0.0, 24.0, 16.0]]], "float64")
    weight = tensor(rng.normal(size=(1, 3, 3, 3, 2)), "float64")
    fine, coarse = rng.normal(size=(1, 4, 6, 2)), rng.normal(size=(1, 2, 3, 2))

    def read(pyramid: list[Any]) -> Any:
        out = roi_align(pyramid, boxes, (4, 8), cells=3, samples=2, canonical_px=30.0)
        return keras.ops.sum(out * weight)

    for function, at in (
        (lambda value: read([value, tensor(coarse, "float64")]), fine),
        (lambda value: read([tensor(fine, "float64"), value]), coarse),
    ):
        found = gradient(function, at)
        assert np.abs(found).max() > 0.01
        np.testing.assert_allclose(found, differences(function, at), atol=1e-7)


# Masks ------------------------------------------------------------------------------------------------------------


def test_masks_are_cut_as_by_the_slow_version(oracles: Any) -> None:
    rng = np.random.default_rng(1)
    masks = np.kron(rng.integers(0, 2, (2, 3, 7, 7)), np.ones((8, 8))).astype(np.uint8)
    truth = np.array([[0, 2, 1, 1], [2, 2, 0, 1]])
    corner = rng.uniform(0, 50, (2, 3, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 60, (2, 3, 2))], axis=-1)
    chosen = np.take_along_axis(boxes, truth[..., None], axis=1)
    rois = chosen + rng.uniform(-8, 8, chosen.shape)
    rois[0, 0] = chosen[0, 0]
    told = array(wanted_masks(tensor(masks, "uint8"), tensor(truth, "int32"), tensor(chosen), tensor(rois), 28))
    assert told.shape == (2, 4, 28, 28)
    assert set(np.unique(told).tolist()) == {0.0, 1.0}
    for number in range(2):
        for place in range(4):
            value = oracles.true_mask(
                masks[number, truth[number, place]], chosen[number, place], rois[number, place], 28
            )
            sure = np.abs(value - 0.5) > 1e-3
            assert sure.mean() > 0.9
            np.testing.assert_array_equal(told[number, place][sure], (value >= 0.5)[sure])


def test_a_mask_over_its_own_box_stays_as_it_is() -> None:
    rng = np.random.default_rng(4)
    small = rng.integers(0, 2, (1, 1, 28, 28))
    mask = np.kron(small, np.ones((2, 2))).astype(np.uint8)
    box = tensor([[[3, 4, 40, 50]]])
    told = array(wanted_masks(tensor(mask, "uint8"), tensor([[0]], "int32"), box, box, 28))
    np.testing.assert_array_equal(told, small)


# Losses -----------------------------------------------------------------------------------------------------------

numbers = st.floats(-15, 15, width=32)


@few
@given(st.lists(st.tuples(numbers, st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 1.0, 0.5])), min_size=1))
def test_objectness_and_mask_loss_is_that_of_the_slow_version(
    oracles: Any, rows: list[tuple[float, float, float]]
) -> None:
    logits, wanted, weight = np.array(rows, dtype=np.float32).T
    told = float(array(losses.binary(tensor(logits), tensor(wanted), tensor(weight))))
    assert told == pytest.approx(oracles.binary(logits.astype(float), wanted, weight), rel=1e-4, abs=1e-6)


@few
@given(st.integers(1, 20), st.integers(2, 6), st.integers(0, 1000))
def test_class_loss_is_that_of_the_slow_version(oracles: Any, count: int, kinds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=8, size=(2, count, kinds)).astype(np.float32)
    wanted, weight = rng.integers(0, kinds, (2, count)), rng.integers(0, 2, (2, count)).astype(np.float32)
    told = float(array(losses.categorical(tensor(logits), tensor(wanted, "int32"), tensor(weight))))
    assert told == pytest.approx(oracles.categorical(logits, wanted, weight), rel=1e-4, abs=1e-5)


@few
@given(st.integers(1, 20), st.integers(0, 1000))
def test_box_loss_is_that_of_the_slow_version(oracles: Any, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    told, wanted = rng.normal(size=(2, 2, count, 4)).astype(np.float32)
    weight = rng.integers(0, 2, (2, count)).astype(np.float32)
    value = float(array(losses.smooth_l1(tensor(told), tensor(wanted), tensor(weight))))
    assert value == pytest.approx(oracles.smooth_l1(told, wanted, weight), rel=1e-4, abs=1e-6)


def test_losses_of_nothing_are_zero_and_of_the_wildest_logits_finite() -> None:
    nothing = tensor([0.0, 0.0])
    wild = tensor([1e4, -1e4])
    assert float(array(losses.binary(wild, tensor([0.0, 1.0]), nothing))) == 0
    assert float(array(losses.binary(wild, tensor([0.0, 1.0]), tensor([1.0, 1.0])))) == pytest.approx(1e4)
    assert float(array(losses.categorical(tensor([[1e4, -1e4]]), tensor([1], "int32"), tensor([1.0])))) == 2e4
    assert float(array(losses.categorical(tensor([[1e4, -1e4]]), tensor([1], "int32"), tensor([0.0])))) == 0
    assert float(array(losses.smooth_l1(tensor([[1e6] * 4]), tensor([[0.0] * 4]), tensor([0.0])))) == 0


def test_the_gradients_of_the_losses_are_those_of_small_differences() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(scale=3, size=(2, 5))
    z, weight = tensor(rng.integers(0, 2, (2, 5)), "float64"), tensor(rng.uniform(size=(2, 5)), "float64")
    classes, kinds = rng.normal(scale=3, size=(2, 5, 3)), tensor(rng.integers(0, 3, (2, 5)), "int32")
    deltas, wanted = rng.normal(scale=1.5, size=(2, 5, 4)), tensor(rng.normal(size=(2, 5, 4)), "float64")
    cases: tuple[tuple[Callable[[Any], Any], np.ndarray], ...] = (
        (lambda value: losses.binary(value, z, weight), logits),
        (lambda value: losses.categorical(value, kinds, weight), classes),
        (lambda value: losses.smooth_l1(value, wanted, weight), deltas),
    )
    for function, at in cases:
        found = gradient(function, at)
        assert np.abs(found).max() > 0.01
        np.testing.assert_allclose(found, differences(function, at), atol=1e-7)
