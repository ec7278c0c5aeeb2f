"""Which anchor, and which proposal, answers for which labelled molecule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spm_live.training.maskrcnn.boxes import box_area, pairwise_overlap

POSITIVE, NEGATIVE = 0.7, 0.3
"""An anchor with a greater IoU is on a molecule, with a smaller one on background (Ren et al. 2015, section 3.1.2)."""

BEST_AT_LEAST = 0.2
"""The best anchor of a molecule answers for it too, if it overlaps at least so much."""

ON_MOLECULE = 0.5
"""A proposal with at least this IoU is on a molecule (Girshick 2015, arXiv:1504.08083, section 2.3)."""

IGNORED_PART = 0.5
"""What lies by more than this part on an ignored molecule is not background."""


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """What each of N boxes answers for.

    Parameters
    ----------
    truth : (B, N) int32 tensor
        Index of the molecule it overlaps most.
    positive, negative : (B, N) bool tensor
        On a molecule; on background. Neither: it does not count.
    """

    truth: Any
    positive: Any
    negative: Any


def _overlaps(boxes: Any, truths: Any, classes: Any) -> tuple[Any, Any]:
    """IoU with the molecules that count, (B, N, G), and whether a box lies on an ignored one, (B, N)."""
    from keras import ops

    shared, area = pairwise_overlap(boxes, truths), box_area(boxes)
    union = ops.expand_dims(area, -1) + ops.expand_dims(box_area(truths), -2) - shared
    # Factors of 0 and 1 for each molecule, so that nothing of the size of all pairs is made for them.
    counts = ops.expand_dims(ops.cast(classes >= 0, "float32"), 1)
    ignored = ops.expand_dims(ops.cast(classes == -2, "float32"), 1)
    on_ignored = ops.max(shared * ignored, axis=-1) > IGNORED_PART * ops.maximum(area, 1e-6)
    return shared * (counts / ops.maximum(union, 1e-6)), on_ignored


def match_anchors(anchors: Any, truths: Any, classes: Any) -> Match:
    """Match anchors to labelled molecules.

    Parameters
    ----------
    anchors : (N, 4) tensor
    truths : (B, G, 4) tensor
        x1, y1, x2, y2.
    classes : (B, G) int tensor
        -1 for an empty place, -2 for a molecule to be ignored.

    Returns
    -------
    Match
    """
    from keras import ops

    iou, on_ignored = _overlaps(ops.expand_dims(anchors, 0), truths, classes)
    best = ops.max(iou, axis=-1)
    # A molecule between two sizes of anchors would teach nothing otherwise.
    best_of_truth = ops.max(iou, axis=1, keepdims=True)
    chosen = ops.any(ops.logical_and(iou >= best_of_truth - 1e-5, best_of_truth >= BEST_AT_LEAST), axis=-1)
    positive = ops.logical_or(best >= POSITIVE, chosen)
    quiet = ops.logical_and(best < NEGATIVE, ops.logical_not(on_ignored))
    return Match(
        ops.cast(ops.argmax(iou, axis=-1), "int32"), positive, ops.logical_and(quiet, ops.logical_not(positive))
    )


def match_proposals(proposals: Any, truths: Any, classes: Any) -> Match:
    """Match proposals, (B, N, 4), to labelled molecules; otherwise as :func:`match_anchors`."""
    from keras import ops

    iou, on_ignored = _overlaps(proposals, truths, classes)
    best = ops.max(iou, axis=-1)
    there = box_area(proposals) > 1.0
    positive = ops.logical_and(best >= ON_MOLECULE, there)
    background = ops.logical_and(best < ON_MOLECULE, ops.logical_not(on_ignored))
    return Match(ops.cast(ops.argmax(iou, axis=-1), "int32"), positive, ops.logical_and(background, there))


def sample(wanted: Any, count: int, noise: Any) -> tuple[Any, Any]:
    """Draw some of the wanted ones.

    Parameters
    ----------
    wanted : (B, N) bool tensor
    count : int
        How many to draw; fewer if there are fewer.
    noise : (B, N) float tensor
        Random, in 0 to 1: who has the highest is drawn.

    Returns
    -------
    index : (B, count) int32 tensor
        Who was drawn, in random order.
    drawn : (B, count) float32 tensor
        1, or 0 in places that nobody was left for.
    """
    from keras import ops

    value, index = ops.top_k(ops.where(wanted, noise + 1.0, 0.0), min(count, wanted.shape[1]))
    return ops.cast(index, "int32"), ops.cast(value > 0.5, "float32")
