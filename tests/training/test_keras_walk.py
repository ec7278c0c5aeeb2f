"""Keras models of plain layers, written as ONNX, give what Keras gives."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

keras = pytest.importorskip("keras")
onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402

from spm_live.training.onnx_export.keras_walk import Value, walk  # noqa: E402
from spm_live.training.onnx_export.nodes import Graph, build_model  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def restless(model: object, seed: int = 0) -> object:
    """Give all weights values that show every mix-up: no zeros, no ones, positive variances."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        low = 0.5 if variable.path.endswith("variance") else -1.0
        variable.assign(rng.uniform(low, 1.5, variable.shape).astype(np.float32))
    return model


def both_ways(model: object, shape: tuple[int, ...]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each output of Keras beside that of ONNX Runtime, both in Keras' order of axes; for two random inputs."""
    graph = Graph()
    picture = len(shape) == 3
    source = (shape[2], shape[0], shape[1]) if picture else shape
    values = walk(graph, model, Value("image", source, picture=picture))
    for number, value in enumerate(values):
        graph.op("Identity", value.name, name=f"out{number}")
    built = build_model(
        graph,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [2, *source])],
        [
            helper.make_tensor_value_info(f"out{number}", TensorProto.FLOAT, [2, *value.shape])
            for number, value in enumerate(values)
        ],
    )
    session = onnxruntime.InferenceSession(built.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(3)
    given = rng.normal(size=(2, *shape)).astype(np.float32)
    have = session.run(None, {"image": given.transpose(0, 3, 1, 2) if picture else given})
    wanted = model(given, training=False)
    wanted = wanted if isinstance(wanted, list) else [wanted]
    pairs = []
    for value, one, other in zip(values, wanted, have, strict=True):
        pairs.append((np.asarray(one), other.transpose(0, 2, 3, 1) if value.picture else other))
    return pairs


def check(model: object, shape: tuple[int, ...]) -> None:
    for wanted, have in both_ways(restless(model), shape):
        assert wanted.shape == have.shape
        np.testing.assert_allclose(have, wanted, rtol=2e-4, atol=2e-4 * float(np.abs(wanted).max()))


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_convolution_pads_as_tensorflow_does(kernel, stride, padding):
    image = keras.Input((11, 8, 3))
    check(keras.Model(image, keras.layers.Conv2D(4, kernel, strides=stride, padding=padding)(image)), (11, 8, 3))


def test_a_normalisation_after_a_convolution_is_folded_into_it():
    image = keras.Input((6, 6, 3))
    value = keras.layers.Conv2D(4, 3, use_bias=False)(image)
    value = keras.layers.ReLU()(keras.layers.BatchNormalization(epsilon=1e-3)(value))
    model = restless(keras.Model(image, value))
    check(model, (6, 6, 3))
    graph = Graph()
    walk(graph, model, Value("image", (3, 6, 6), picture=True))
    assert [node.op_type for node in graph.nodes] == ["Conv", "Relu"]


def test_a_normalisation_is_not_folded_where_others_read_the_convolution():
    image = keras.Input((6, 6, 3))
    value = keras.layers.Conv2D(4, 3)(image)
    normal = keras.layers.BatchNormalization()(value)
    check(keras.Model(image, keras.layers.Add()([value, normal])), (6, 6, 3))
    check(keras.Model(image, [value, normal]), (6, 6, 3))
    check(keras.Model(image, keras.layers.BatchNormalization()(image)), (6, 6, 3))


@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(3, 2, "same"), (2, 2, "valid"), (1, 2, "valid"), (3, 3, "same")]
)
def test_pooling(size, stride, padding):
    image = keras.Input((9, 10, 3))
    check(keras.Model(image, keras.layers.MaxPooling2D(size, strides=stride, padding=padding)(image)), (9, 10, 3))


def test_zeros_around_a_picture_go_into_the_convolution_and_into_nothing_else():
    image = keras.Input((8, 8, 2))
    around = keras.layers.ZeroPadding2D(((1, 2), (3, 0)))(image)
    model = restless(keras.Model(image, keras.layers.Conv2D(3, 3, strides=2, padding="valid")(around)))
    check(model, (8, 8, 2))
    graph = Graph()
    walk(graph, model, Value("image", (2, 8, 8), picture=True))
    assert [node.op_type for node in graph.nodes] == ["Conv"]
    check(keras.Model(image, keras.layers.Conv2D(3, 3, padding="same")(around)), (8, 8, 2))
    check(keras.Model(image, keras.layers.UpSampling2D(2)(around)), (8, 8, 2))
    check(keras.Model(image, around), (8, 8, 2))


def test_flattening_keeps_the_order_that_a_dense_layer_learnt():
    image = keras.Input((5, 3, 4))
    value = keras.layers.ReLU()(keras.layers.Dense(6)(keras.layers.Flatten()(image)))
    check(keras.Model(image, [value, keras.layers.Dense(2, activation="relu")(value)]), (5, 3, 4))


@pytest.mark.parametrize("side", [2, 3])
def test_a_transposed_convolution_and_what_may_follow_it(side):
    image = keras.Input((4, 5, 3))
    up = keras.layers.ReLU()(keras.layers.Conv2DTranspose(6, side, strides=side)(image))
    check(keras.Model(image, up), (4, 5, 3))
    check(keras.Model(image, keras.layers.Conv2D(2, 1)(up)), (4, 5, 3))
    check(keras.Model(image, keras.layers.Conv2D(2, 3, padding="same")(up)), (4, 5, 3))
    check(keras.Model(image, keras.layers.Conv2D(2, 3, padding="valid")(up)), (4, 5, 3))
    check(keras.Model(image, keras.layers.Conv2D(2, 1, strides=2)(up)), (4, 5, 3))


def test_upsampling_addition_and_several_outputs():
    image = keras.Input((4, 6, 2))
    low = keras.layers.Conv2D(3, 3, strides=2, padding="same")(image)
    total = keras.layers.Add()([keras.layers.UpSampling2D(2)(low), keras.layers.Conv2D(3, 1)(image)])
    check(keras.Model(image, [total, low, keras.layers.ReLU()(low)]), (4, 6, 2))


def test_reshaping_follows_the_order_of_keras():
    image = keras.Input((4, 6, 2))
    check(keras.Model(image, keras.layers.Reshape((12, 4))(image)), (4, 6, 2))
    check(keras.Model(image, keras.layers.Conv2D(3, 1)(keras.layers.Reshape((2, 3, 8))(image))), (4, 6, 2))
    flat = keras.layers.Dense(12)(keras.layers.Flatten()(image))
    check(keras.Model(image, keras.layers.Reshape((3, 4))(flat)), (4, 6, 2))


def test_shared_layers_store_their_weights_once():
    level = keras.Input((None, None, 3))
    model = restless(keras.Model(level, keras.layers.Conv2D(4, 3, padding="same")(level)))
    graph, known = Graph(), {}
    for number, side in enumerate((8, 4)):
        walk(graph, model, Value(f"level{number}", (3, side, side), picture=True), known=known)
    assert len(graph.constants) == 2
    assert [list(node.input[1:]) for node in graph.nodes] == [list(graph.nodes[0].input[1:])] * 2


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda image: keras.layers.AveragePooling2D(2)(image), "AveragePooling2D"),
        (lambda image: keras.layers.UpSampling2D(2, interpolation="bilinear")(image), "interpolation"),
        (lambda image: keras.layers.ReLU(max_value=6)(image), "max_value"),
        (lambda image: keras.layers.Conv2D(2, 3, dilation_rate=2)(image), "dilation_rate"),
        (lambda image: keras.layers.Conv2D(2, 3, activation="tanh")(image), "tanh"),
        (lambda image: keras.layers.Conv2DTranspose(2, 3, strides=2)(image), "strides"),
        (lambda image: keras.layers.Flatten()(image), "Dense"),
        (lambda image: keras.layers.MaxPooling2D(2)(keras.layers.ZeroPadding2D(1)(image)), "zeros around"),
    ],
)
def test_what_cannot_be_written_is_refused_by_name(make, said):
    image = keras.Input((8, 8, 2))
    with pytest.raises(ValueError, match=said):
        walk(Graph(), keras.Model(image, make(image)), Value("image", (2, 8, 8), picture=True))


@pytest.mark.parametrize("wide", [(), ("first",), ("first", "second")])
def test_chosen_convolutions_stay_float32_among_halves(wide):
    image = keras.Input((8, 8, 2))
    value = keras.layers.ReLU()(keras.layers.Conv2D(3, 3, name="first")(image))
    value = keras.layers.Add()([keras.layers.Conv2D(3, 1, name="second")(value), value])
    model = restless(keras.Model(image, value))
    graph = Graph()
    (out,) = walk(graph, model, Value("image", (2, 8, 8), picture=True, wide=True), dtype=np.float16, wide_layers=wide)
    graph.op("Cast", out.name, to=TensorProto.FLOAT, name="out")
    shapes = {"image": [2, 2, 8, 8], "out": [2, *out.shape]}
    ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name])] for name in shapes]
    built = build_model(graph, *ends)
    kinds = {one.name.split(".")[0]: one.data_type for one in built.graph.initializer}
    assert {name for name, kind in kinds.items() if kind == TensorProto.FLOAT} == set(wide)
    given = np.random.default_rng(4).normal(size=(2, 8, 8, 2)).astype(np.float32)
    session = onnxruntime.InferenceSession(built.SerializeToString(), providers=["CPUExecutionProvider"])
    (have,) = session.run(None, {"image": given.transpose(0, 3, 1, 2)})
    np.testing.assert_allclose(have.transpose(0, 2, 3, 1), np.asarray(model(given)), rtol=0.01, atol=0.05)
