"""RoIAlign (He et al. 2017, arXiv:1703.06870, section 3), each region on its own level of the pyramid.

The levels are laid behind one another in one table of points, so that every sample is one look-up, whatever its level:
plain gathers of fixed shape, a fourth of the work of reading all levels and masking.
"""

from __future__ import annotations

import math
from typing import Any

BOX_CELLS, MASK_CELLS = 7, 14
BOX_SAMPLES, MASK_SAMPLES = 2, 1
"""Samples along each side of a cell. A cell of the mask head is about one point of the finest level."""


def level_of(boxes: Any, levels: int, canonical_px: float) -> Any:
    """The level of the pyramid that a region is read from (Lin et al. 2017, arXiv:1612.03144, equation 1).

    Parameters
    ----------
    boxes : (..., 4) tensor
        x1, y1, x2, y2 in pixels.
    levels : int
        Number of levels to choose from, the finest being level 2 of stride 4.
    canonical_px : float
        Side of a region read from level 4.

    Returns
    -------
    (...) int32 tensor
        0 for the finest.
    """
    from keras import ops

    width = ops.maximum(boxes[..., 2] - boxes[..., 0], 1e-3)
    height = ops.maximum(boxes[..., 3] - boxes[..., 1], 1e-3)
    level = ops.floor(2 + (ops.log(width * height) / 2 - math.log(canonical_px)) / math.log(2))
    return ops.cast(ops.clip(level, 0, levels - 1), "int32")


def roi_align(
    pyramid: list[Any], boxes: Any, strides: tuple[int, ...], *, cells: int, samples: int, canonical_px: float
) -> Any:
    """Read regions of any size as small maps of one size.

    Parameters
    ----------
    pyramid : list of (B, h, w, C) tensor
        Of static h and w; only these are read.
    boxes : (B, N, 4) tensor
        x1, y1, x2, y2: edges in picture pixels.
    strides : tuple of int
        Of each level, at least as many as ``pyramid`` has.
    cells : int
        Rows and columns of the result.
    samples : int
        Samples along each side of a cell; their mean is taken.
    canonical_px : float
        As in :func:`level_of`.

    Returns
    -------
    (B, N, cells, cells, C) tensor
        Values between points are bilinear; point (i, j) of a level of stride s lies at ((j + 0.5) s, (i + 0.5) s). A
        sample more than one point outside is 0, one less far takes the value of the border, as ONNX RoiAlign does.
    """
    from keras import ops

    level = level_of(boxes, len(pyramid), canonical_px)
    shapes = [(int(one.shape[1]), int(one.shape[2])) for one in pyramid]
    starts = [0]
    for h, w in shapes[:-1]:
        starts.append(starts[-1] + h * w)
    channels = pyramid[0].shape[-1]
    table = ops.concatenate(
        [ops.reshape(one, (-1, h * w, channels)) for one, (h, w) in zip(pyramid, shapes, strict=True)], 1
    )

    def per_level(values: list[int], kind: str) -> Any:
        return ops.take(ops.convert_to_tensor(values, dtype=kind), level)

    stride = ops.cast(per_level(list(strides[: len(pyramid)]), "int32"), boxes.dtype)
    h, w = per_level([shape[0] for shape in shapes], "int32"), per_level([shape[1] for shape in shapes], "int32")
    start = per_level(starts, "int32")
    steps = (ops.arange(cells * samples, dtype=boxes.dtype) + 0.5) / (cells * samples)
    at = [
        (boxes[..., axis : axis + 1] + steps * (boxes[..., axis + 2 : axis + 3] - boxes[..., axis : axis + 1]))
        / ops.expand_dims(stride, -1)
        - 0.5
        for axis in (0, 1)
    ]
    x_low, x_high, x_weight, x_in = _between(at[0], ops.expand_dims(w, -1))
    y_low, y_high, y_weight, y_in = _between(at[1], ops.expand_dims(h, -1))
    batch, count, side = ops.shape(boxes)[0], boxes.shape[1], cells * samples
    total = 0.0
    for y, y_part in ((y_low, 1 - y_weight), (y_high, y_weight)):
        for x, x_part in ((x_low, 1 - x_weight), (x_high, x_weight)):
            row = ops.expand_dims(start, -1) + y * ops.expand_dims(w, -1)
            index = ops.expand_dims(row, -1) + ops.expand_dims(x, -2)
            part = ops.expand_dims(y_part * y_in, -1) * ops.expand_dims(x_part * x_in, -2)
            value = _look_up(table, ops.reshape(index, (batch, count * side * side)))
            total = total + value * ops.cast(ops.reshape(part, (batch, count * side * side, 1)), value.dtype)
    total = ops.reshape(total, (batch, count, cells, samples, cells, samples, channels))
    return ops.mean(total, axis=(3, 5)) if samples > 1 else total[:, :, :, 0, :, 0, :]


def _between(at: Any, length: Any) -> tuple[Any, Any, Any, Any]:
    """The two points around a place, how near the second is, and whether the place counts at all."""
    from keras import ops

    last = ops.cast(length, at.dtype) - 1
    inside = ops.cast(ops.logical_and(at >= -1.0, at <= last + 1.0), at.dtype)
    held = ops.minimum(ops.maximum(at, 0.0), last)
    low = ops.floor(held)
    high = ops.minimum(low + 1, last)
    return ops.cast(low, "int32"), ops.cast(high, "int32"), held - low, inside


def _look_up(table: Any, index: Any) -> Any:
    """Rows of (B, P, C) by (B, I) indices: (B, I, C)."""
    from keras import ops

    batch, points, channels = ops.shape(table)[0], table.shape[1], table.shape[2]
    flat = ops.reshape(table, (-1, channels))
    offset = ops.expand_dims(ops.arange(batch, dtype="int32") * points, -1)
    return ops.take(flat, index + offset, axis=0)
