"""Boxes, as tensors: overlap, and the code in which the network tells them."""

from __future__ import annotations

import math
from typing import Any

RPN_STD = (0.1, 0.1, 0.2, 0.2)
HEAD_STD = (0.1, 0.1, 0.2, 0.2)
"""Scale of dx, dy, dw, dh: about what occurs, so that the losses of all four weigh the same (matterport, Detectron)."""

LARGEST_GROWTH = math.log(1000 / 16)
"""No box grows further from its anchor than that (Detectron): exp of a wild guess must not overflow."""


def pairwise_iou(first: Any, second: Any) -> Any:
    """Intersection over union of all pairs.

    Parameters
    ----------
    first, second : (..., M, 4) and (..., N, 4) tensor
        x1, y1, x2, y2.

    Returns
    -------
    (..., M, N) tensor
        0 where either box is empty.
    """
    from keras import ops

    shared = pairwise_overlap(first, second)
    union = ops.expand_dims(box_area(first), -1) + ops.expand_dims(box_area(second), -2) - shared
    return shared / ops.maximum(union, 1e-6)


def pairwise_overlap(first: Any, second: Any) -> Any:
    """Area that (..., M, 4) and (..., N, 4) boxes share, (..., M, N); 0 where either is empty."""
    from keras import ops

    def along(axis: int) -> Any:
        # One coordinate at a time: arrays of pairs with four numbers each would be walked through in strides.
        low = ops.maximum(ops.expand_dims(first[..., axis], -1), ops.expand_dims(second[..., axis], -2))
        high = ops.minimum(ops.expand_dims(first[..., axis + 2], -1), ops.expand_dims(second[..., axis + 2], -2))
        return ops.maximum(high - low, 0.0)

    return along(0) * along(1)


def box_area(boxes: Any) -> Any:
    """Area of (..., 4) boxes; 0 for inverted ones."""
    from keras import ops

    return ops.maximum(boxes[..., 2] - boxes[..., 0], 0.0) * ops.maximum(boxes[..., 3] - boxes[..., 1], 0.0)


def encode(boxes: Any, anchors: Any, std: tuple[float, float, float, float]) -> Any:
    """Tell boxes from their anchors (Girshick et al. 2014, arXiv:1311.2524, appendix C).

    Parameters
    ----------
    boxes, anchors : (..., 4) tensor
        x1, y1, x2, y2; sides below a thousandth of a pixel count as that.
    std : four floats
        The code is divided by these.

    Returns
    -------
    (..., 4) tensor
        dx, dy, dw, dh.
    """
    from keras import ops

    size, middle = _size_and_middle(boxes)
    anchor_size, anchor_middle = _size_and_middle(anchors)
    shift = (middle - anchor_middle) / anchor_size
    growth = ops.log(size / anchor_size)
    return ops.concatenate([shift, growth], axis=-1) / ops.convert_to_tensor(std, dtype=shift.dtype)


def decode(deltas: Any, anchors: Any, std: tuple[float, float, float, float]) -> Any:
    """Boxes from their code; the inverse of :func:`encode`."""
    from keras import ops

    deltas = deltas * ops.convert_to_tensor(std, dtype=deltas.dtype)
    anchor_size, anchor_middle = _size_and_middle(anchors)
    middle = anchor_middle + deltas[..., :2] * anchor_size
    half = anchor_size * ops.exp(ops.minimum(deltas[..., 2:], LARGEST_GROWTH)) / 2
    return ops.concatenate([middle - half, middle + half], axis=-1)


def clip(boxes: Any, rows: int, columns: int) -> Any:
    """Cut (..., 4) boxes at the border of a picture."""
    from keras import ops

    limit = ops.convert_to_tensor([columns, rows, columns, rows], dtype=boxes.dtype)
    return ops.minimum(ops.maximum(boxes, 0.0), limit)


def _size_and_middle(boxes: Any) -> tuple[Any, Any]:
    from keras import ops

    size = ops.maximum(boxes[..., 2:] - boxes[..., :2], 1e-3)
    return size, (boxes[..., 2:] + boxes[..., :2]) / 2
