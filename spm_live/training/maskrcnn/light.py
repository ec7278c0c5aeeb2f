"""The light backbone: a narrow residual network (He et al. 2016, arXiv:1512.03385) for two CPU cores."""

from __future__ import annotations

from typing import Any

STEM = (24, 48)
STAGES = ((48, 2), (96, 2), (144, 2), (192, 1))
"""Channels and residual blocks at strides 4, 8, 16 and 32. Most work is at stride 4, where molecules of 20 px live;
the coarse stages are thin, since a molecule needs no context of a whole street scene and weights must fit a repository.
"""

NORM_EPSILON = 1e-3


def light_levels(image: Any) -> list[Any]:
    """Feature maps at strides 4, 8, 16 and 32.

    Parameters
    ----------
    image : (B, rows, columns, 1) tensor
        0 to 1.

    Returns
    -------
    list of (B, rows / s, columns / s, channels) tensor
    """
    value = image
    for number, channels in enumerate(STEM, start=1):
        value = _convolution(value, channels, f"stem{number}", stride=2)
    levels = []
    for stage, (channels, blocks) in enumerate(STAGES, start=2):
        for block in range(1, blocks + 1):
            value = _block(
                value, channels, f"res{stage}{'abcd'[block - 1]}", stride=2 if stage > 2 and block == 1 else 1
            )
        levels.append(value)
    return levels


def _block(value: Any, channels: int, name: str, stride: int) -> Any:
    """Two 3 x 3 convolutions around a short cut."""
    from keras import layers

    short = value
    if stride != 1 or value.shape[-1] != channels:
        short = _convolution(value, channels, f"{name}_branch1", stride=stride, kernel=1, active=False)
    long = _convolution(value, channels, f"{name}_branch2a", stride=stride)
    long = _convolution(long, channels, f"{name}_branch2b", active=False)
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([short, long]))


def _convolution(value: Any, channels: int, name: str, *, stride: int = 1, kernel: int = 3, active: bool = True) -> Any:
    from keras import layers

    value = layers.Conv2D(
        channels, kernel, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
    )(value)
    value = layers.BatchNormalization(epsilon=NORM_EPSILON, momentum=0.97, name=f"{name}_bn")(value)
    return layers.ReLU(name=f"{name}_relu")(value) if active else value
