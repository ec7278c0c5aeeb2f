"""Greedy non-maximum suppression in a graph: by its operator, or in plain operators of fixed shape.

Both give what :func:`spm_live.training.maskrcnn.suppress.greedy_keep` gives: of two boxes that overlap by more than a
threshold the one of lower score falls, unless what it would fall to has fallen itself.
"""

from __future__ import annotations

import numpy as np

from spm_live.training.onnx_export.nodes import BOOL, FLOAT, Graph, Operand

ROUNDS = 24
"""Rounds of suppression in plain operators. A box's fate is settled after as many rounds as the longest chain of
falling scores that ends in it has links; in 400 random trials with 1000 boxes, 10 were enough. The graph says whether
they were.
"""


def keep_by_operator(
    graph: Graph,
    boxes: str,
    scores: str,
    iou: float,
    *,
    shape: tuple[int, int],
    most: int,
    kinds: str = "",
    positive: bool = False,
) -> str:
    """Suppress with ONNX's NonMaxSuppression.

    Parameters
    ----------
    graph : Graph
    boxes : str
        (B, N, 4) x1, y1, x2, y2.
    scores : str
        (B, N), or (B, K, N) where boxes suppress only within each of K classes; of the classes of a box, all scores but
        one are 0.
    iou : float
        Overlap above which the weaker box falls.
    shape : (int, int)
        B and N.
    most : int
        Boxes that may remain, of each picture and class; the best.
    kinds : str
        Anything but "" where scores have the axis K.
    positive : bool
        Whether only boxes with a score above 0 take part; else all.

    Returns
    -------
    str
        (B, N) bool.
    """
    if not kinds:
        scores = graph.op("Unsqueeze", scores, graph.whole(1))
    limits: list[Operand] = [graph.whole(most), np.array([iou], dtype=np.float32)]
    if positive:
        limits.append(np.array([0], dtype=np.float32))
    chosen = graph.op("NonMaxSuppression", boxes, scores, *limits)
    place = graph.op("Gather", chosen, graph.whole(0, 2), axis=1)
    count = graph.part(graph.op("Shape", chosen), 0, 0, 1)
    flags = graph.op("ScatterND", graph.filled(graph.whole(*shape), 0.0), place, graph.filled(count, 1.0))
    return graph.cast(flags, BOOL)


def keep_by_matrix(
    graph: Graph, boxes: str, scores: str, alive: str, iou: float, *, count: int, kinds: str = "", rounds: int = ROUNDS
) -> tuple[str, str]:
    """Suppress with a matrix of all pairs, applied again and again until nothing changes.

    Parameters
    ----------
    graph : Graph
    boxes : str
        (B, N, 4) x1, y1, x2, y2, in any order.
    scores : str
        (B, N); of equal ones the first is the better.
    alive : str
        (B, N) float32: 1 for boxes that take part, else 0.
    iou : float
        Overlap above which the weaker box falls.
    count : int
        N.
    kinds : str
        (B, N) classes, if boxes suppress only their own class.
    rounds : int
        How often the matrix is applied.

    Returns
    -------
    keep : str
        (B, N) float32, 1 or 0.
    moved : str
        Scalar float32: how many boxes the last round still changed. If it is 0, ``keep`` is exact.
    """
    fits = graph.op("And", _better(graph, scores, count), graph.op("Greater", overlaps(graph, boxes), iou))
    if kinds:
        fits = graph.op("And", fits, graph.op("Equal", *_both_ways(graph, kinds)))
    rival = graph.cast(fits, FLOAT)
    start = graph.op("Unsqueeze", alive, graph.whole(2))
    keep = before = start
    for _ in range(rounds):
        hits = graph.op("MatMul", rival, keep)
        free = graph.cast(graph.op("Less", hits, 0.5), FLOAT)
        keep, before = graph.op("Mul", start, free), keep
    change = graph.op("Abs", graph.op("Sub", keep, before))
    moved = graph.op("ReduceSum", graph.reshape(change, -1), graph.whole(0), keepdims=0)
    return graph.op("Squeeze", keep, graph.whole(2)), moved


def overlaps(graph: Graph, boxes: str) -> str:
    """Intersection over union of all pairs: (B, N, N), 0 where either box is empty."""
    sides = [graph.part(boxes, 2, axis, axis + 1) for axis in range(4)]
    rows = sides
    columns = [graph.op("Transpose", side, perm=[0, 2, 1]) for side in sides]
    meet = [
        graph.op(
            "Max",
            graph.op(
                "Sub",
                graph.op("Min", rows[axis + 2], columns[axis + 2]),
                graph.op("Max", rows[axis], columns[axis]),
            ),
            0.0,
        )
        for axis in (0, 1)
    ]
    shared = graph.op("Mul", *meet)
    lengths = [graph.op("Max", graph.op("Sub", rows[axis + 2], rows[axis]), 0.0) for axis in (0, 1)]
    area = graph.op("Mul", *lengths)
    both = graph.op("Add", area, graph.op("Transpose", area, perm=[0, 2, 1]))
    return graph.op("Div", shared, graph.op("Max", graph.op("Sub", both, shared), 1e-6))


def _better(graph: Graph, scores: str, count: int) -> str:
    """(B, N, N) bool: whether the box of the column goes before that of the row."""
    mine, other = _both_ways(graph, scores)
    number = np.arange(count, dtype=np.int64)
    first = graph.op("Less", number[None, None, :], number[None, :, None])
    even = graph.op("And", graph.op("Equal", other, mine), first)
    return graph.op("Or", graph.op("Greater", other, mine), even)


def _both_ways(graph: Graph, values: str) -> tuple[str, str]:
    return graph.op("Unsqueeze", values, graph.whole(2)), graph.op("Unsqueeze", values, graph.whole(1))
