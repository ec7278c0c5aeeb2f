"""Writes a Keras functional model of plain layers as ONNX nodes, whatever backend Keras runs on.

Keras keeps pictures as (batch, rows, columns, channels), ONNX as (batch, channels, rows, columns). Kernels are turned
once, here, so that the graph holds no transpositions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.training.onnx_export.nodes import FLOAT, FLOAT16, Graph


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor on its way through the graph.

    Parameters
    ----------
    name : str
        In the graph.
    shape : tuple of int
        Without the batch: (channels, rows, columns) of a picture, else as Keras has it.
    picture : bool
        Whether the axes are in ONNX's order for pictures; a tensor of one axis is no picture.
    pads : (int, int, int, int)
        Zeros still to be laid above, left of, below and right of it.
    block : int
        If above 1, every point still has to be spread over ``block`` x ``block`` points: its channels lie behind one
        another, those of the upper left point first.
    wide : bool
        Whether it is still float32 where the layers compute in float16.
    flat_of : (int, int, int) or None
        If it is a picture made flat in ONNX's order: channels, rows and columns of that picture.
    """

    name: str
    shape: tuple[int, ...]
    picture: bool = False
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    block: int = 1
    wide: bool = False
    flat_of: tuple[int, int, int] | None = None


def walk(
    graph: Graph,
    model: Any,
    source: Value,
    *,
    dtype: type[np.floating[Any]] = np.float32,
    wide_layers: Sequence[str] = (),
    known: dict[str, str] | None = None,
) -> list[Value]:
    """Add all layers of a model to a graph.

    Parameters
    ----------
    graph : Graph
    model : keras.Model
        Functional, with one input. Layers: Conv2D, BatchNormalization (folded into a convolution before it), ReLU, Add,
        UpSampling2D (nearest), MaxPooling2D, ZeroPadding2D, Flatten, Dense, Conv2DTranspose (as large as its stride),
        Reshape.
    source : Value
        What the model reads.
    dtype : numpy type
        Of the weights, and of what the layers compute in: float32 or float16.
    wide_layers : sequence of str
        Convolutions that stay in float32.
    known : dict
        Names of the weights that are in the graph already; hand the same one to a second walk of the same model, and
        the weights are stored once.

    Returns
    -------
    list of Value
        Of each output.

    Raises
    ------
    ValueError
        If a layer, or an option of it, is none of the above.
    """
    return _Walk(graph, model, source, dtype, wide_layers, {} if known is None else known).outputs()


class _Walk:
    """Follows the layers from the outputs back to the input, each once."""

    def __init__(
        self,
        graph: Graph,
        model: Any,
        source: Value,
        dtype: type[np.floating[Any]],
        wide_layers: Sequence[str],
        known: dict[str, str],
    ) -> None:
        if len(model.inputs) != 1:
            raise ValueError(f"{model.name}: {len(model.inputs)} inputs, where one can be written")
        self._graph, self._model, self._dtype, self._known = graph, model, dtype, known
        self._wide_layers = frozenset(wide_layers) if dtype is np.float16 else frozenset()
        self._values: dict[int, Value] = {id(model.inputs[0]): source}
        self._order: list[tuple[Any, Any, list[Any]]] = []
        self._readers: dict[int, list[Any]] = {}
        for tensor in model.outputs:
            self._readers.setdefault(id(tensor), []).append(None)
            self._collect(tensor)

    def outputs(self) -> list[Value]:
        for layer, made, read in self._order:
            values = [self._values[id(tensor)] for tensor in read]
            method = getattr(self, f"_add_{type(layer).__name__.lower()}", None)
            if method is None:
                raise ValueError(
                    f"layer {layer.name} is a {type(layer).__name__}, which cannot be written as ONNX here"
                )
            self._values[id(made)] = method(layer, values, made, read)
        return [self._done(self._typed(self._values[id(tensor)])) for tensor in self._model.outputs]

    def _collect(self, tensor: Any) -> None:
        """Put the layers that lead to a tensor in order; with a stack of our own, since networks are deep."""
        stack, seen = [(tensor, False)], {id(self._model.inputs[0])}
        seen |= {id(made) for _, made, _ in self._order}
        while stack:
            one, ready = stack.pop()
            if id(one) in seen:
                continue
            layer, number, _ = one._keras_history
            read = list(layer._inbound_nodes[number].input_tensors)
            if ready:
                seen.add(id(one))
                self._order.append((layer, one, read))
                for before in read:
                    self._readers.setdefault(id(before), []).append(layer)
            else:
                stack.append((one, True))
                stack += [(before, False) for before in reversed(read)]

    def _done(self, value: Value) -> Value:
        if value.flat_of is not None:
            raise ValueError("only a Dense layer can read a picture made flat")
        return self._settled(value)

    def _settled(self, value: Value) -> Value:
        """Do what was put off: spread points, and lay the zeros around that no convolution took upon itself."""
        if value.block > 1:
            name = self._graph.op("DepthToSpace", value.name, blocksize=value.block, mode="DCR")
            value = replace(value, name=name, block=1)
        if not any(value.pads):
            return value
        top, left, bottom, right = value.pads
        zero = self._graph.constant(np.array(0, dtype=np.float32 if value.wide else self._dtype))
        pads = self._graph.whole(0, 0, top, left, 0, 0, bottom, right)
        name = self._graph.op("Pad", value.name, pads, zero)
        channels, rows, columns = value.shape
        return replace(
            value, name=name, shape=(channels, rows + top + bottom, columns + left + right), pads=(0, 0, 0, 0)
        )

    def _typed(self, value: Value, *, wide: bool = False) -> Value:
        """Give a tensor the type that a layer computes in."""
        if value.wide == wide:
            return value
        return replace(value, name=self._graph.cast(value.name, FLOAT if wide else FLOAT16), wide=wide)

    def _weight(self, label: str, value: NDArray[Any], *, wide: bool = False) -> str:
        if label not in self._known:
            array = np.ascontiguousarray(value.astype(np.float32 if wide else self._dtype))
            self._known[label] = self._graph.constant(array, name=label)
        return self._known[label]

    def _active(self, layer: Any, value: Value) -> Value:
        """The activation that a layer carries itself."""
        kind = getattr(layer.activation, "__name__", str(layer.activation))
        if kind == "linear":
            return value
        if kind != "relu":
            raise ValueError(f"layer {layer.name} has the activation {kind}; linear and relu can be written")
        return replace(value, name=self._graph.op("Relu", value.name))

    # One method for each kind of layer, found by its name.

    def _add_conv2d(self, layer: Any, values: list[Value], made: Any, read: list[Any]) -> Value:
        wide = layer.name in self._wide_layers
        value = self._typed(values[0], wide=wide)
        _need(layer, groups=1, dilation_rate=(1, 1), data_format="channels_last")
        kernel = _array(layer.kernel)
        bias = _array(layer.bias) if layer.use_bias else np.zeros(kernel.shape[-1], np.float32)
        readers = self._readers[id(made)]
        if len(readers) == 1 and type(readers[0]).__name__ == "BatchNormalization":
            if getattr(layer.activation, "__name__", "") != "linear":
                raise ValueError(f"layer {layer.name} has an activation before its normalisation")
            kernel, bias = _folded(kernel, bias, readers[0])
        block = value.block if (*layer.kernel_size, *layer.strides) == (1, 1, 1, 1) and not any(value.pads) else 1
        if block > 1:
            # Each point by itself: the points of a square may as well be pictures, and are spread afterwards.
            channels, rows, columns = value.shape
            shape = (channels, rows // block, columns // block)
            value = replace(value, name=self._graph.reshape(value.name, -1, *shape), shape=shape, block=1)
        elif layer.padding == "same" or value.block > 1:
            value = self._settled(value)
        pads = value.pads
        if layer.padding == "same":
            pads = _same_pads(value.shape[1:], layer.kernel_size, layer.strides)
        elif layer.padding != "valid":
            raise ValueError(f"layer {layer.name} has the padding {layer.padding}")
        name = self._graph.op(
            "Conv",
            value.name,
            self._weight(f"{layer.name}.kernel", kernel.transpose(3, 2, 0, 1), wide=wide),
            self._weight(f"{layer.name}.bias", bias, wide=wide),
            name=layer.name,
            kernel_shape=list(layer.kernel_size),
            strides=list(layer.strides),
            pads=list(pads),
        )
        channels = kernel.shape[-1]
        rows, columns = _after(value.shape[1:], pads, layer.kernel_size, layer.strides)
        if block > 1:
            name = self._graph.reshape(name, -1, channels * block * block, rows, columns)
        shape = (channels, rows * block, columns * block)
        return self._active(layer, Value(name, shape, picture=True, block=block, wide=wide))

    def _add_batchnormalization(self, layer: Any, values: list[Value], made: Any, read: list[Any]) -> Value:
        before, _, _ = read[0]._keras_history
        if type(before).__name__ == "Conv2D" and len(self._readers[id(read[0])]) == 1:
            return values[0]  # the convolution has taken it in
        value = self._settled(self._typed(values[0]))
        _need(layer, axis=(-1, 3))
        scale, shift = _scale_and_shift(layer)
        shape = (-1, 1, 1) if value.picture else (-1,)
        product = self._graph.op("Mul", value.name, self._weight(f"{layer.name}.scale", scale.reshape(shape)))
        name = self._graph.op("Add", product, self._weight(f"{layer.name}.shift", shift.reshape(shape)))
        return replace(value, name=name)

    def _add_relu(self, layer: Any, values: list[Value], made: Any, read: list[Any]) -> Value:
        _need(layer, max_value=None, negative_slope=0, threshold=0)
        return replace(values[0], name=self._graph.op("Relu", values[0].name, name=layer.name))

    def _add_add(self, layer: Any, values: list[Value], made: Any, read: list[Any]) -> Value:
        total = self._settled(self._typed(values[0]))
        for value in values[1:]:
            other = self._settled(self._typed(value))
            if (other.shape, other.picture, other.flat_of) != (total.shape, total.picture, total.flat_of):
                raise ValueError(f"layer {layer.name} adds tensors of {total.shape} and {other.shape}")
            total = replace(total, name=self._graph.op("Add", total.name, other.name, name=layer.name))
        return total

    def _add_upsampling2d(self, layer: Any, values: list[Value], made: Any, read: list[Any]) -> Value:
        _need(layer, interpolation="nearest", data_format="channels_last")
        value = self._settled(values[0])
        channels, rows, columns = value.shape
        down, right = (int(factor) for factor in layer.size)
        name = self._graph.op(
            "Resize",
            value.name,
            "",
            np.array([1, 1, down, right], dtype=np.float32),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
            name=layer.name,
        )
        return replace(value, name=name, shape=(channels, rows * down, columns * right))

    def _add_maxpooling2d(self, layer: Any, values: list[Value], made: Any, read: list[Any]) -> Value:
        _need(layer, data_format="channels_last")
        if any(values[0].pads):
            # ONNX Runtime 1.31 takes the zeros for padding of the pool's own, which is minus infinity.
            raise ValueError(f"layer {layer.name} pools a picture with zeros around it")
        value = self._settled(values[0])
        size, strides = tuple(layer.pool_size), tuple(layer.strides)
        pads = _same_pads(value.shape[1:], size, strides) if layer.padding == "same" else (0, 0, 0, 0)
        name = self._graph.op(
            "MaxPool", value.name, kernel_shape=list(size), strides=list(strides), pads=list(pads), name=layer.name
        )
        return replace(value, name=name, shape=(value.shape[0], *_after(value.shape[1:], pads, size, strides)))

    def _add_zeropadding2d(self, layer: Any, values: list[Value], made: Any, read: list[Any]) -> Value:
        _need(layer, data_format="channels_last")
        (top, bottom), (left, right) = layer.padding
        old = values[0].pads
        return replace(values[0], pads=(old[0] + top, old[1] + left, old[2] + bottom, old[3] + right))

    def _add_conv2dtranspose(self, layer: Any, values: list[Value], made: Any, read: list[Any]) -> Value:
        _need(layer, dilation_rate=(1, 1), data_format="channels_last")
        if tuple(layer.kernel_size) != tuple(layer.strides):
            raise ValueError(f"layer {layer.name}: kernel {layer.kernel_size} and strides {layer.strides} differ")
        # Its squares do not overlap, so that it is a 1 x 1 convolution to the channels of all points of a square.
        side = int(layer.kernel_size[0])
        if tuple(layer.kernel_size) != (side, side):
            raise ValueError(f"layer {layer.name}: kernel {layer.kernel_size} is not square")
        value = self._settled(self._typed(values[0]))
        kernel = _array(layer.kernel)  # rows, columns, out, in
        bias = _array(layer.bias) if layer.use_bias else np.zeros(kernel.shape[2], np.float32)
        name = self._graph.op(
            "Conv",
            value.name,
            self._weight(f"{layer.name}.kernel", kernel.reshape(-1, kernel.shape[3], 1, 1)),
            self._weight(f"{layer.name}.bias", np.tile(bias, side * side)),
            name=layer.name,
            kernel_shape=[1, 1],
        )
        _, rows, columns = value.shape
        shape = (kernel.shape[2], rows * side, columns * side)
        return self._active(layer, replace(value, name=name, shape=shape, block=side))

    def _add_flatten(self, layer: Any, values: list[Value], made: Any, read: list[Any]) -> Value:
        value = self._settled(values[0])
        channels, rows, columns = value.shape if value.picture else (int(np.prod(value.shape)), 1, 1)
        name = self._graph.op("Flatten", value.name, axis=1, name=layer.name)
        return Value(name, (channels * rows * columns,), wide=value.wide, flat_of=(channels, rows, columns))

    def _add_dense(self, layer: Any, values: list[Value], made: Any, read: list[Any]) -> Value:
        value = self._typed(values[0])
        if len(value.shape) != 1:
            raise ValueError(f"layer {layer.name} reads {value.shape}; make it flat first")
        kernel = _array(layer.kernel)
        bias = _array(layer.bias) if layer.use_bias else np.zeros(kernel.shape[1], np.float32)
        if value.flat_of is not None:  # its rows are in the order of Keras' axes
            channels, rows, columns = value.flat_of
            kernel = kernel.reshape(rows, columns, channels, -1).transpose(2, 0, 1, 3).reshape(kernel.shape)
        name = self._graph.op(
            "Gemm",
            value.name,
            self._weight(f"{layer.name}.kernel", kernel),
            self._weight(f"{layer.name}.bias", bias),
            name=layer.name,
        )
        return self._active(layer, Value(name, (kernel.shape[1],)))

    def _add_reshape(self, layer: Any, values: list[Value], made: Any, read: list[Any]) -> Value:
        value = self._done(self._typed(values[0]))
        name = value.name
        if value.picture:
            name = self._graph.op("Transpose", name, perm=[0, 2, 3, 1])
        shape = tuple(int(size) for size in made.shape[1:]) if None not in made.shape[1:] else None
        if shape is None:
            raise ValueError(f"layer {layer.name} has a shape that is not fixed")
        name = self._graph.op("Reshape", name, self._graph.whole(-1, *shape), name=layer.name)
        if len(shape) != 3:
            return Value(name, shape)
        rows, columns, channels = shape
        return Value(self._graph.op("Transpose", name, perm=[0, 3, 1, 2]), (channels, rows, columns), picture=True)


def _need(layer: Any, **wanted: Any) -> None:
    for name, value in wanted.items():
        have = getattr(layer, name)
        if have != value and not (isinstance(value, tuple) and (have in value or tuple(np.atleast_1d(have)) == value)):
            raise ValueError(f"layer {layer.name} has {name} = {have!r}, which cannot be written as ONNX here")


def _array(variable: Any) -> NDArray[np.float32]:
    from keras import ops

    return np.asarray(ops.convert_to_numpy(variable), dtype=np.float32)


def _scale_and_shift(layer: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a normalisation with its moving statistics multiplies by and adds."""
    mean, variance = (_array(one).astype(np.float64) for one in (layer.moving_mean, layer.moving_variance))
    gain = _array(layer.gamma).astype(np.float64) if layer.scale else np.ones_like(mean)
    offset = _array(layer.beta).astype(np.float64) if layer.center else np.zeros_like(mean)
    scale = gain / np.sqrt(variance + layer.epsilon)
    return scale, offset - mean * scale


def _folded(
    kernel: NDArray[np.float32], bias: NDArray[np.float32], norm: Any
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    scale, shift = _scale_and_shift(norm)
    return (kernel * scale).astype(np.float32), (bias * scale + shift).astype(np.float32)


def _same_pads(shape: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> tuple[int, int, int, int]:
    """TensorFlow's "same": an odd pixel too many goes below and to the right (tensorflow.org/api_docs, tf.nn)."""
    total = [
        max(((size + stride - 1) // stride - 1) * stride + side - size, 0)
        for size, side, stride in zip(shape, kernel, strides, strict=True)
    ]
    return total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2


def _after(shape: Sequence[int], pads: Sequence[int], kernel: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    rows, columns = ((shape[axis] + pads[axis] + pads[axis + 2] - kernel[axis]) // strides[axis] + 1 for axis in (0, 1))
    return rows, columns
