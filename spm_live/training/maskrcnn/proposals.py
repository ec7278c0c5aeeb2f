"""From the region proposal head's maps to boxes worth a second look."""

from __future__ import annotations

from typing import Any

from spm_live.training.maskrcnn.boxes import RPN_STD, clip, decode
from spm_live.training.maskrcnn.suppress import greedy_keep


def propose(
    logits: list[Any],
    deltas: list[Any],
    anchors: list[Any],
    shape: tuple[int, int],
    *,
    before: int,
    after: int,
    iou: float,
) -> tuple[Any, Any]:
    """Take the best boxes of every level, and suppress doubles.

    Parameters
    ----------
    logits : list of (B, N_l) tensor
        Objectness, by level.
    deltas : list of (B, N_l, 4) tensor
    anchors : list of (N_l, 4) array
    shape : (int, int)
        Rows and columns of the picture.
    before : int
        Boxes taken from each level.
    after : int
        Boxes that remain in all.
    iou : float
        Overlap above which the weaker box falls.

    Returns
    -------
    boxes : (B, after, 4) tensor
        x1, y1, x2, y2 in pixels, by falling score; 0 in unused places.
    alive : (B, after) bool tensor
        Which places are used.
    """
    from keras import ops

    boxes, scores = [], []
    for logit, delta, anchor in zip(logits, deltas, anchors, strict=True):
        score, index = ops.top_k(logit, min(before, logit.shape[1]))
        near = ops.take(ops.convert_to_tensor(anchor), index, axis=0)
        boxes.append(decode(ops.take_along_axis(delta, ops.expand_dims(index, -1), axis=1), near, RPN_STD))
        scores.append(score)
    box, score = clip(ops.concatenate(boxes, 1), *shape), ops.concatenate(scores, 1)
    score, order = ops.top_k(score, score.shape[1])
    box = ops.take_along_axis(box, ops.expand_dims(order, -1), axis=1)
    keep = greedy_keep(box, ops.ones_like(score) > 0, iou)
    # Those that remain keep their order: the first of them has the highest rank.
    rank = ops.cast(keep, "float32") * ops.arange(score.shape[1], 0, -1, dtype="float32")
    rank, place = ops.top_k(rank, min(after, score.shape[1]))
    alive = rank > 0
    box = ops.take_along_axis(box, ops.expand_dims(place, -1), axis=1)
    box = ops.where(ops.expand_dims(alive, -1), box, 0.0)
    short = after - box.shape[1]
    if short > 0:
        box, alive = ops.pad(box, ((0, 0), (0, short), (0, 0))), ops.pad(alive, ((0, 0), (0, short)))
    return box, alive
