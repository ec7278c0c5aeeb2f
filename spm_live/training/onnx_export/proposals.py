"""From the region proposal head's maps to boxes worth a second look, in a graph.

The same steps as :func:`spm_live.training.maskrcnn.proposals.propose`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spm_live.training.maskrcnn.anchors import anchors_for
from spm_live.training.maskrcnn.boxes import LARGEST_GROWTH, RPN_STD
from spm_live.training.onnx_export.nodes import BOOL, Graph, Operand
from spm_live.training.onnx_export.plan import Plan
from spm_live.training.onnx_export.suppress import keep_by_matrix, keep_by_operator

LOWEST = -1e30
"""Score of a place that no proposal takes."""


def propose(graph: Graph, plan: Plan, levels: Sequence[tuple[str, str]]) -> tuple[str, str, str]:
    """Take the best boxes of every level, and suppress doubles.

    Parameters
    ----------
    graph : Graph
    plan : Plan
    levels : sequence of (str, str)
        For each level objectness logits (B, A, h, w) and deltas (B, 4 A, h, w), float32.

    Returns
    -------
    boxes : str
        (B, P, 4) x1, y1, x2, y2 in pixels; 0 in unused places.
    alive : str
        (B, P) bool: which places are used.
    moved : str
        As of :func:`spm_live.training.onnx_export.suppress.keep_by_matrix`; "" where the operator suppresses.
    """
    config = plan.config
    anchors = anchors_for(config, plan.rows, plan.columns)
    found = [_best(graph, plan, level, anchor) for level, anchor in zip(levels, anchors, strict=True)]
    count = sum(min(config.proposals_before, len(anchor)) for anchor in anchors)
    boxes = graph.op("Concat", *(one[0] for one in found), axis=1)
    scores = graph.op("Concat", *(one[1] for one in found), axis=1)
    most, moved = min(config.proposals, count), ""
    if plan.plain:
        alive = graph.constant(np.ones((plan.batch, count), dtype=np.float32))
        keep, moved = keep_by_matrix(graph, boxes, scores, alive, config.proposal_iou, count=count, rounds=plan.rounds)
        keep = graph.cast(keep, BOOL)
    else:
        keep = keep_by_operator(graph, boxes, scores, config.proposal_iou, shape=(plan.batch, count), most=most)
    scores = graph.op("Where", keep, scores, LOWEST)
    best, place = graph.ops("TopK", 2, scores, graph.whole(most), axis=1)
    alive = graph.op("Greater", best, LOWEST / 2)
    boxes = graph.rows_of(graph.reshape(boxes, -1, 4), place, batch=plan.batch, rows=count)
    boxes = graph.op("Where", graph.op("Unsqueeze", alive, graph.whole(2)), boxes, 0.0)
    return boxes, alive, moved


def _best(graph: Graph, plan: Plan, level: tuple[str, str], anchors: NDArray[np.float32]) -> tuple[str, str]:
    """Boxes (B, k, 4) and logits (B, k) of the k best of one level."""
    count = len(anchors)
    logits, deltas = (graph.op("Transpose", one, perm=[0, 2, 3, 1]) for one in level)
    logits = graph.reshape(logits, plan.batch, count)
    best, place = graph.ops("TopK", 2, logits, graph.whole(min(plan.config.proposals_before, count)), axis=1)
    near = graph.rows_of(graph.reshape(deltas, -1, 4), place, batch=plan.batch, rows=count)
    size = np.maximum(anchors[:, 2:] - anchors[:, :2], np.float32(1e-3))
    middle = (anchors[:, 2:] + anchors[:, :2]) / np.float32(2)
    boxes = decode(
        graph, near, graph.op("Gather", middle, place, axis=0), graph.op("Gather", size, place, axis=0), RPN_STD
    )
    return clip(graph, boxes, plan.rows, plan.columns), best


def decode(graph: Graph, deltas: str, middle: Operand, size: Operand, std: tuple[float, float, float, float]) -> str:
    """Boxes from their code, as :func:`spm_live.training.maskrcnn.boxes.decode`.

    Parameters
    ----------
    graph : Graph
    deltas : str
        (B, N, 4) dx, dy, dw, dh.
    middle, size : str or array
        (B, N, 2) x and y of the anchors.
    std : four floats
        The code was divided by these.

    Returns
    -------
    str
        (B, N, 4) x1, y1, x2, y2.
    """
    deltas = graph.op("Mul", deltas, np.array(std, dtype=np.float32))
    shift, growth = graph.part(deltas, 2, 0, 2), graph.part(deltas, 2, 2, 4)
    middle = graph.op("Add", middle, graph.op("Mul", shift, size))
    growth = graph.op("Exp", graph.op("Min", growth, LARGEST_GROWTH))
    half = graph.op("Mul", graph.op("Mul", size, growth), 0.5)
    return graph.op("Concat", graph.op("Sub", middle, half), graph.op("Add", middle, half), axis=2)


def clip(graph: Graph, boxes: str, rows: int, columns: int) -> str:
    """Cut (..., 4) boxes at the border of a picture."""
    limit = np.array([columns, rows, columns, rows], dtype=np.float32)
    return graph.op("Min", graph.op("Max", boxes, 0.0), limit)


def size_and_middle(graph: Graph, boxes: str) -> tuple[str, str]:
    """Both (B, N, 2), of (B, N, 4) boxes; no side is shorter than a thousandth of a pixel."""
    low, high = graph.part(boxes, 2, 0, 2), graph.part(boxes, 2, 2, 4)
    size = graph.op("Max", graph.op("Sub", high, low), 1e-3)
    return size, graph.op("Mul", graph.op("Add", low, high), 0.5)
