"""Greedy non-maximum suppression as matrices of fixed shape."""

from __future__ import annotations

from typing import Any

from spm_live.training.maskrcnn.boxes import pairwise_iou


def greedy_keep(boxes: Any, alive: Any, iou: float, *, same: Any = None) -> Any:
    """Which boxes survive greedy suppression.

    Box i falls if a surviving box before it overlaps it by more than ``iou``. That rule is its own definition by
    recursion on i, and repeating it on all boxes at once reaches the same answer: after n rounds the first n boxes are
    final, and mostly a handful of rounds is enough.

    Parameters
    ----------
    boxes : (B, N, 4) tensor
        Ordered by falling score.
    alive : (B, N) bool tensor
        Those that take part.
    iou : float
        Overlap above which the weaker box falls.
    same : (B, N, N) bool tensor or None
        Pairs that can suppress each other; None: all.

    Returns
    -------
    (B, N) bool tensor
    """
    from keras import ops

    count = boxes.shape[1]
    over = pairwise_iou(boxes, boxes) > iou
    if same is not None:
        over = ops.logical_and(over, same)
    before = ops.tril(ops.ones((count, count), dtype="float32"), k=-1)
    rival = ops.cast(over, "float32") * before
    start = ops.cast(alive, "float32")

    def one_round(keep: Any, _: Any, number: Any) -> tuple[Any, Any, Any]:
        hits = ops.squeeze(ops.matmul(rival, ops.expand_dims(keep, -1)), -1)
        new = start * ops.cast(hits < 0.5, "float32")
        return new, ops.any(ops.not_equal(new, keep)), number + 1

    keep, _, _ = ops.while_loop(
        lambda keep, changed, number: ops.logical_and(changed, number < count + 1),
        one_round,
        (start, ops.convert_to_tensor(True), ops.convert_to_tensor(0, dtype="int32")),
    )
    return keep > 0.5
