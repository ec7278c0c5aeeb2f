"""ResNet-50 (He et al. 2016, arXiv:1512.03385) as matterport's Mask R-CNN builds it, with its layer names."""

from __future__ import annotations

from typing import Any

STAGES = ((64, 256, 3), (128, 512, 4), (256, 1024, 6), (512, 2048, 3))
"""Inner channels, outer channels and blocks of the stages 2 to 5 (table 1 of the paper)."""

NORM_EPSILON = 1e-3
"""That of Keras, with which matterport's weights were trained."""


def resnet50_levels(image: Any) -> list[Any]:
    """Feature maps C2 to C5, at strides 4, 8, 16 and 32.

    Parameters
    ----------
    image : (B, rows, columns, 1) tensor
        0 to 1.

    Returns
    -------
    list of (B, rows / s, columns / s, channels) tensor
        Of 256, 512, 1024 and 2048 channels.
    """
    from keras import layers

    value = layers.ZeroPadding2D(3, name="conv1_pad")(image)
    value = _convolution(value, 64, "conv1", "bn_conv1", kernel=7, stride=2, padding="valid")
    value = layers.ReLU(name="conv1_relu")(value)
    value = layers.MaxPooling2D(3, strides=2, padding="same", name="pool1")(value)
    levels = []
    for stage, (inner, outer, blocks) in enumerate(STAGES, start=2):
        for block in range(blocks):
            stride = 2 if stage > 2 and block == 0 else 1
            value = _block(value, inner, outer, f"{stage}{'abcdef'[block]}", stride, first=block == 0)
        levels.append(value)
    return levels


def _block(value: Any, inner: int, outer: int, place: str, stride: int, *, first: bool) -> Any:
    """A bottleneck: 1 x 1, 3 x 3, 1 x 1. The stride is on the first, as in the paper's own network."""
    from keras import layers

    long = _convolution(value, inner, f"res{place}_branch2a", f"bn{place}_branch2a", stride=stride)
    long = layers.ReLU(name=f"res{place}_relu_a")(long)
    long = _convolution(long, inner, f"res{place}_branch2b", f"bn{place}_branch2b", kernel=3)
    long = layers.ReLU(name=f"res{place}_relu_b")(long)
    long = _convolution(long, outer, f"res{place}_branch2c", f"bn{place}_branch2c")
    short = _convolution(value, outer, f"res{place}_branch1", f"bn{place}_branch1", stride=stride) if first else value
    return layers.ReLU(name=f"res{place}_out")(layers.Add(name=f"res{place}_add")([short, long]))


def _convolution(
    value: Any, channels: int, name: str, norm: str, *, kernel: int = 1, stride: int = 1, padding: str = "same"
) -> Any:
    from keras import layers

    value = layers.Conv2D(channels, kernel, strides=stride, padding=padding, kernel_initializer="he_normal", name=name)(
        value
    )
    return layers.BatchNormalization(epsilon=NORM_EPSILON, momentum=0.97, name=norm)(value)
