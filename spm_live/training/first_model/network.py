"""The network of the first model, written down once and built twice: in Keras to train, in ONNX to run.

A small U-shaped network (Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28) with sums instead of
concatenations, down to a sixteenth of the picture and back up to a half. Every point of that half-size map tells
whether a molecule of some class is centred there, how far its box reaches from there (Zhou et al. 2019,
arXiv:1904.07850), whether the point lies on a molecule, and where that molecule's centre is (Neven et al. 2019,
arXiv:1906.11109).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

STRIDE = 2
"""Model pixels per point of the output map."""

BOX_CHANNELS = 4
FIELD_CHANNELS = 3
DEEPEST = 16
"""The picture's rows and columns must be multiples of this."""

PIXEL_SCALE = 8.0
"""Distances leave the network in this many model pixels, so that they are of order one while it learns."""

NORM_EPSILON = 1e-3
"""Keras' own default of BatchNormalization; folding into the convolution must use the same."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer.

    Parameters
    ----------
    name : str
        Its own name, and the name of its output.
    kind : {"conv", "add", "up"}
        Convolution with normalisation; sum of two maps; each point doubled along both axes.
    inputs : tuple of str
        Names of the layers it reads; ``"image"`` is the picture.
    channels : int
        Output channels of a convolution.
    kernel, stride : int
        Of a convolution.
    active : bool
        Whether negative values are cut off.
    """

    name: str
    kind: Literal["conv", "add", "up"]
    inputs: tuple[str, ...]
    channels: int = 0
    kernel: int = 3
    stride: int = 1
    active: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Kernel and bias of one convolution, its normalisation folded in.

    Parameters
    ----------
    kernel : (rows, columns, inputs, outputs) float32 array
        As TensorFlow orders it.
    bias : (outputs,) float32 array
        Added afterwards.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]


def output_channels(classes: int) -> int:
    """Channels of the output map: a heat map a class, then left, top, right, bottom, then on-molecule, x, y."""
    return classes + BOX_CHANNELS + FIELD_CHANNELS


def layers(classes: int) -> tuple[Layer, ...]:
    """Write down the network.

    Parameters
    ----------
    classes : int
        Number of classes.

    Returns
    -------
    tuple of Layer
        In an order in which each reads only what came before. The last one, ``"raw"``, is the output map.
    """
    plan = [Layer("stem", "conv", ("image",), 16, stride=2), Layer("half", "conv", ("stem",), 24)]
    below = "half"
    for name, channels in (("quarter", 48), ("eighth", 80), ("sixteenth", 112)):
        plan += [
            Layer(f"{name}_in", "conv", (below,), channels, stride=2),
            Layer(f"{name}_1", "conv", (f"{name}_in",), channels),
            Layer(f"{name}_2", "conv", (f"{name}_1",), channels, active=False),
            Layer(name, "add", (f"{name}_in", f"{name}_2")),
        ]
        below = name
    for name, channels, after in (("eighth", 80, 80), ("quarter", 48, 48), ("half", 24, 32)):
        plan += [
            Layer(f"{name}_narrow", "conv", (below,), channels, kernel=1, active=False),
            Layer(f"{name}_up", "up", (f"{name}_narrow",)),
            Layer(f"{name}_sum", "add", (f"{name}_up", name)),
            Layer(f"{name}_out", "conv", (f"{name}_sum",), after),
        ]
        below = f"{name}_out"
    plan += [
        Layer("head", "conv", (below,), 32),
        Layer("raw", "conv", ("head",), output_channels(classes), kernel=1, active=False),
    ]
    return tuple(plan)


def build_keras(classes: int) -> Any:
    """Build the network in Keras.

    Returns
    -------
    keras.Model
        From (B, rows, columns, 1) in 0 to 1 to the (B, rows / 2, columns / 2, channels) output map, before any
        sigmoid. The convolutions carry the names of their layers, the normalisations those with ``_norm``.
    """
    import keras

    tensors = {"image": keras.Input((None, None, 1), name="image")}
    for layer in layers(classes):
        read = [tensors[name] for name in layer.inputs]
        if layer.kind == "up":
            value = keras.layers.UpSampling2D(2, interpolation="nearest", name=layer.name)(read[0])
        elif layer.kind == "add":
            value = keras.layers.Add(name=layer.name)(read)
        else:
            value = _keras_convolution(layer, classes)(read[0])
            if layer.name != "raw":
                value = keras.layers.BatchNormalization(epsilon=NORM_EPSILON, momentum=0.99, name=f"{layer.name}_norm")(
                    value
                )
        if layer.active and layer.kind != "up":
            value = keras.layers.ReLU(name=f"{layer.name}_active")(value)
        tensors[layer.name] = value
    return keras.Model(tensors["image"], tensors["raw"])


def _keras_convolution(layer: Layer, classes: int) -> Any:
    import keras

    # A heat map starts near 0.02 everywhere: centres are rare (Lin et al. 2017, arXiv:1708.02002, section 4.1).
    rare = np.zeros(layer.channels, dtype=np.float32)
    rare[:classes] = -4.0
    last = layer.name == "raw"
    return keras.layers.Conv2D(
        layer.channels,
        layer.kernel,
        strides=layer.stride,
        padding="same",
        use_bias=last,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01) if last else "he_normal",
        bias_initializer=keras.initializers.Constant(rare) if last else "zeros",
        name=layer.name,
    )


def folded_weights(model: Any, classes: int) -> dict[str, Weights]:
    """Take the weights out of a Keras model, each normalisation folded into the convolution before it.

    Parameters
    ----------
    model : keras.Model
        As :func:`build_keras` made it.
    classes : int
        Number of classes.

    Returns
    -------
    dict of str to Weights
        By name of the layer.
    """
    folded = {}
    for layer in layers(classes):
        if layer.kind != "conv":
            continue
        values = [np.asarray(value, dtype=np.float64) for value in model.get_layer(layer.name).get_weights()]
        kernel, bias = values[0], values[1] if len(values) == 2 else np.zeros(layer.channels)
        if layer.name != "raw":
            gamma, beta, mean, variance = (
                np.asarray(value, dtype=np.float64) for value in model.get_layer(f"{layer.name}_norm").get_weights()
            )
            scale = gamma / np.sqrt(variance + NORM_EPSILON)
            kernel, bias = kernel * scale, beta + (bias - mean) * scale
        folded[layer.name] = Weights(kernel.astype(np.float32), bias.astype(np.float32))
    return folded
