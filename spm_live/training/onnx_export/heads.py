"""What the heads say about regions, made into detections; as ``MaskRCNN._detect`` of the Keras model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from spm_live.training.maskrcnn.boxes import HEAD_STD
from spm_live.training.maskrcnn.roi_align import BOX_CELLS, BOX_SAMPLES, MASK_CELLS, MASK_SAMPLES
from spm_live.training.onnx_export.nodes import BOOL, FLOAT, Graph
from spm_live.training.onnx_export.plan import Plan
from spm_live.training.onnx_export.proposals import clip, decode, size_and_middle
from spm_live.training.onnx_export.roi import read_regions
from spm_live.training.onnx_export.suppress import keep_by_matrix, keep_by_operator

Head = Callable[[str], list[str]]
"""Adds a head to the graph: from regions (R, C, cells, cells) to its outputs, all float32."""

MASK_SIDE = 2 * MASK_CELLS


@dataclass(frozen=True, slots=True)
class Found:
    """Detections in the graph, N places a picture by falling score; 0 in unused ones.

    Parameters
    ----------
    boxes, scores, classes : str
        (B, N, 4) float32, (B, N) float32, (B, N) int64.
    used : str
        (B, N) bool.
    count : int
        N.
    moved : tuple of str
        As of :func:`spm_live.training.onnx_export.suppress.keep_by_matrix`.
    """

    boxes: str
    scores: str
    classes: str
    used: str
    count: int
    moved: tuple[str, ...] = ()


def judge(
    graph: Graph, plan: Plan, head: Head, pyramid: Sequence[str], boxes: str, alive: str, *, count: int
) -> tuple[str, str]:
    """Score every proposal for every class, and correct its box.

    Returns
    -------
    scores : str
        (B, N * K), of each proposal class by class; 0 for proposals that are none.
    boxes : str
        (B * N * box kinds, 4).
    """
    config, batch, kinds = plan.config, plan.batch, plan.config.box_kinds
    number = len(config.classes)
    regions = read_regions(graph, plan, pyramid, boxes, alive, count=count, cells=BOX_CELLS, samples=BOX_SAMPLES)
    logits, deltas = head(regions.values)
    logits = regions.sorted_out(graph, logits, (batch * count, number + 1))
    deltas = regions.sorted_out(graph, deltas, (batch * count, 4 * kinds))
    scores = graph.part(graph.op("Softmax", logits, axis=1), 1, 0, number)
    scores = graph.op("Mul", graph.reshape(scores, batch, count, number), _flag(graph, alive, 2))
    size, middle = size_and_middle(graph, graph.reshape(boxes, batch * count, 1, 4) if kinds > 1 else boxes)
    shape = (batch * count, kinds, 4) if kinds > 1 else (batch, count, 4)
    better = clip(graph, decode(graph, graph.reshape(deltas, *shape), middle, size, HEAD_STD), plan.rows, plan.columns)
    return graph.reshape(scores, batch, count * number), graph.reshape(better, -1, 4)


def choose(graph: Graph, plan: Plan, scores: str, boxes: str, *, count: int) -> Found:
    """Suppress doubles within each class, then across classes, and keep the best.

    Parameters
    ----------
    graph : Graph
    plan : Plan
    scores, boxes : str
        As :func:`judge` gives them.
    count : int
        Proposals a picture.
    """
    config, batch = plan.config, plan.batch
    number = len(config.classes)
    candidates = min(config.candidates, count * number)
    best, place = graph.ops("TopK", 2, scores, graph.whole(candidates), axis=1)
    classes = np.array(number, dtype=np.int64)
    kinds = graph.op("Mod", place, classes)
    if config.agnostic:
        place = graph.op("Div", place, classes)
    boxes = graph.rows_of(boxes, place, batch=batch, rows=count * config.box_kinds)
    # min_score = 0 lets all take part that are there at all.
    alive = graph.op("GreaterOrEqual", best, max(config.min_score, float(np.finfo(np.float32).tiny)))
    best = graph.op("Where", alive, best, 0.0)
    suppress = _suppress_plainly if plan.plain else _suppress
    keep, moved = suppress(graph, plan, boxes, best, kinds, candidates)
    best = graph.op("Where", keep, best, 0.0)
    most = min(config.max_detections, candidates)
    top, order = graph.ops("TopK", 2, best, graph.whole(most), axis=1)
    used = graph.op("Greater", top, 0.0)
    boxes = graph.rows_of(graph.reshape(boxes, -1, 4), order, batch=batch, rows=candidates)
    kinds = graph.rows_of(graph.reshape(kinds, -1), order, batch=batch, rows=candidates)
    return Found(
        boxes=graph.op("Where", graph.op("Unsqueeze", used, graph.whole(2)), boxes, 0.0),
        scores=top,
        classes=graph.op("Where", used, kinds, np.array(0, dtype=np.int64)),
        used=used,
        count=most,
        moved=moved,
    )


def _suppress(graph: Graph, plan: Plan, boxes: str, scores: str, kinds: str, count: int) -> tuple[str, tuple[str, ...]]:
    config, shape, number = plan.config, (plan.batch, count), len(plan.config.classes)
    by_class = scores
    if number > 1:
        own = graph.op(
            "Equal", graph.op("Unsqueeze", kinds, graph.whole(1)), np.arange(number, dtype=np.int64)[None, :, None]
        )
        by_class = graph.op("Where", own, graph.op("Unsqueeze", scores, graph.whole(1)), 0.0)
    keep = keep_by_operator(
        graph,
        boxes,
        by_class,
        config.nms_iou,
        shape=shape,
        most=count,
        kinds=kinds if number > 1 else "",
        positive=True,
    )
    if number > 1 or config.cross_nms_iou < config.nms_iou:
        rest = graph.op("Where", keep, scores, 0.0)
        most = min(config.max_detections, count)
        keep = keep_by_operator(graph, boxes, rest, config.cross_nms_iou, shape=shape, most=most, positive=True)
    return keep, ()


def _suppress_plainly(
    graph: Graph, plan: Plan, boxes: str, scores: str, kinds: str, count: int
) -> tuple[str, tuple[str, ...]]:
    config, number = plan.config, len(plan.config.classes)
    alive = graph.cast(graph.op("Greater", scores, 0.0), FLOAT)
    keep, moved = keep_by_matrix(
        graph,
        boxes,
        scores,
        alive,
        config.nms_iou,
        count=count,
        kinds=kinds if number > 1 else "",
        rounds=plan.rounds,
    )
    every = [moved]
    if number > 1 or config.cross_nms_iou < config.nms_iou:
        keep, moved = keep_by_matrix(graph, boxes, scores, keep, config.cross_nms_iou, count=count, rounds=plan.rounds)
        every.append(moved)
    return graph.cast(keep, BOOL), tuple(every)


def draw(graph: Graph, plan: Plan, head: Head, pyramid: Sequence[str], found: Found) -> str:
    """Masks of the detections: (B, N, side, side) probabilities over their boxes, 0 in unused places."""
    batch, count, kinds = plan.batch, found.count, plan.config.box_kinds
    regions = read_regions(
        graph, plan, pyramid, found.boxes, found.used, count=count, cells=MASK_CELLS, samples=MASK_SAMPLES
    )
    (logits,) = head(regions.values)
    if kinds > 1:
        # Each region's own class out of (R, K, side, side): one row of a table with R x K rows.
        own = graph.reshape(found.classes, -1)
        if regions.place:
            own = graph.op("Gather", own, graph.reshape(regions.place, -1), axis=0)
            total = graph.op("Squeeze", graph.part(graph.op("Shape", own), 0, 0, 1), graph.whole(0))
            first = graph.op("Range", np.array(0, dtype=np.int64), total, np.array(1, dtype=np.int64))
        else:
            first = graph.constant(np.arange(batch * count, dtype=np.int64))
        row = graph.op("Add", graph.op("Mul", first, np.array(kinds, dtype=np.int64)), own)
        logits = graph.op("Gather", graph.reshape(logits, -1, 1, MASK_SIDE, MASK_SIDE), row, axis=0)
    masks = regions.sorted_out(graph, graph.op("Sigmoid", logits), (batch * count, 1, MASK_SIDE, MASK_SIDE))
    masks = graph.reshape(masks, batch, count, MASK_SIDE, MASK_SIDE)
    return graph.op("Mul", masks, graph.reshape(graph.cast(found.used, FLOAT), batch, count, 1, 1))


def _flag(graph: Graph, alive: str, axis: int) -> str:
    return graph.op("Unsqueeze", graph.cast(alive, FLOAT), graph.whole(axis))
