"""The boxes that proposals start from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spm_live.training.maskrcnn.config import NetworkConfig

GOOD_IOU = 0.6
"""What the best anchor should share with a molecule, where it is centred on it."""


def anchors_for(config: NetworkConfig, rows: int, columns: int) -> list[NDArray[np.float32]]:
    """All anchors of a picture.

    Parameters
    ----------
    config : NetworkConfig
    rows, columns : int
        Shape of the picture, in pixels; multiples of the greatest stride.

    Returns
    -------
    list of (h * w * A, 4) float32 array
        For each level, x1, y1, x2, y2 in picture pixels (edges), ordered by row, column, size, ratio. The point (i, j)
        of a level of stride s is centred at x = (j + 0.5) s, y = (i + 0.5) s.

    Raises
    ------
    ValueError
        If the shape does not suit the strides.
    """
    coarsest = config.strides[-1]
    if rows % coarsest or columns % coarsest or min(rows, columns) < coarsest:
        raise ValueError(f"a picture of {rows} x {columns} px; both must be multiples of {coarsest}")
    return [
        _level(rows // stride, columns // stride, stride, sizes, config.anchor_ratios)
        for stride, sizes in zip(config.strides, config.anchor_sizes, strict=True)
    ]


def _level(h: int, w: int, stride: int, sizes: Sequence[float], ratios: Sequence[float]) -> NDArray[np.float32]:
    shapes = np.array([(size / math.sqrt(ratio), size * math.sqrt(ratio)) for size in sizes for ratio in ratios])
    y, x = np.meshgrid((np.arange(h) + 0.5) * stride, (np.arange(w) + 0.5) * stride, indexing="ij")
    centres = np.stack([x, y], axis=-1)[:, :, None, :]
    boxes = np.concatenate([centres - shapes / 2, centres + shapes / 2], axis=-1)
    return boxes.reshape(-1, 4).astype(np.float32)


def choose_anchors(config: NetworkConfig, boxes: NDArray[np.float64]) -> NetworkConfig:
    """Fit the anchors to the molecules of a data set.

    The sizes of the anchors are spread evenly, on a logarithmic scale, over the sizes that occur; the number of anchors
    a point stays, so that weights stay usable. A level is only given sizes that its stride can place: from twice to
    sixteen times the stride.

    Parameters
    ----------
    config : NetworkConfig
    boxes : (N, 4) float array
        Boxes as they will be shown to the network, all augmentation of scale included; x1, y1, x2, y2 in pixels.

    Returns
    -------
    NetworkConfig
        Unchanged if its anchors already meet 99 of 100 boxes with an IoU of :data:`GOOD_IOU`, as far as the size goes.
    """
    sides = np.sqrt(np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0), axis=1))
    if sides.size == 0 or _met(sides, config.anchor_sizes) >= 0.99:
        return config
    low, high = (float(value) for value in np.quantile(sides, (0.01, 0.99)))
    levels, per_level = len(config.strides), len(config.anchor_sizes[0])
    spread = np.geomspace(low, max(high, low * 1.02), levels * per_level).reshape(levels, per_level)
    strides = np.array(config.strides, dtype=np.float64)[:, None]
    chosen = np.clip(spread, 2 * strides, 16 * strides)
    better = tuple(tuple(round(float(size), 1) for size in level) for level in chosen)
    if _met(sides, better) <= _met(sides, config.anchor_sizes):
        return config
    return config.model_copy(update={"anchor_sizes": better})


def _met(sides: NDArray[np.float64], sizes: Sequence[Sequence[float]]) -> float:
    """Part of the boxes that some anchor of the same centre and shape meets."""
    all_sizes = np.array([size for level in sizes for size in level])
    ratio = np.minimum(sides[:, None] / all_sizes, all_sizes / sides[:, None]) ** 2
    return float((ratio.max(axis=1) >= GOOD_IOU).mean())
