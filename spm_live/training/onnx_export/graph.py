"""The whole of Mask R-CNN as one graph: a picture in, detections out."""

from __future__ import annotations

from typing import Any

import numpy as np

from spm_live.training.maskrcnn.roi_align import BOX_CELLS, MASK_CELLS
from spm_live.training.onnx_export.heads import MASK_SIDE, Head, choose, draw, judge
from spm_live.training.onnx_export.keras_walk import Value, walk
from spm_live.training.onnx_export.nodes import FLOAT, FLOAT16, INT64, Graph, build_model
from spm_live.training.onnx_export.plan import FIRST_LAYERS, Plan, Precision
from spm_live.training.onnx_export.proposals import propose


def build_graph(
    model: Any, plan: Plan, *, precision: Precision = "fp32", metadata: dict[str, str] | None = None
) -> Any:
    """Write a trained network as ONNX.

    Parameters
    ----------
    model : MaskRCNN
        Its four parts are read; ``plan.config`` says all else, so that places and thresholds may differ from those that
        it was trained with.
    plan : Plan
    precision : "fp32", "fp16" or "int8"
        ``fp16``: the layers with weights compute in float16, and nothing else does: boxes, overlaps and places need
        float32. ``int8`` is built as ``fp32`` and quantised afterwards.
    metadata : mapping of str to str
        Stored in the file.

    Returns
    -------
    onnx.ModelProto
        Input ``image`` (B, 1, rows, columns) float32, 0 to 1. Outputs ``boxes`` (B, N, 4) and ``scores`` (B, N)
        float32, ``classes`` (B, N) int64, ``masks`` (B, N, M, M) float32, and where suppression is in plain operators
        ``converged`` (1) int64: 1 if it reached its end.
    """
    from onnx import TensorProto, helper

    graph, parts = Graph(), _Parts(model, plan, half=precision == "fp16")
    with graph.scope("trunk"):
        pyramid = parts.trunk(graph)
    levels = [parts.look(graph, level, number) for number, level in enumerate(pyramid)]
    with graph.scope("pyramid"):
        read = [parts.whole(graph, level.name) for level in pyramid[: plan.config.roi_levels]]
    with graph.scope("proposals"):
        boxes, alive, moved = propose(graph, plan, levels)
    count = min(plan.config.proposals, sum(_points(plan, number) for number in range(len(levels))))
    with graph.scope("judge"):
        scores, boxes = judge(graph, plan, parts.head(graph, "box_head", BOX_CELLS), read, boxes, alive, count=count)
    with graph.scope("choose"):
        found = choose(graph, plan, scores, boxes, count=count)
    with graph.scope("draw"):
        masks = draw(graph, plan, parts.head(graph, "mask_head", MASK_CELLS), read, found)
    outputs = {"boxes": found.boxes, "scores": found.scores, "classes": found.classes, "masks": masks}
    for name, value in outputs.items():
        _fill_up(graph, name, value, found.count, plan)
    batch, places, side = plan.batch, plan.config.max_detections, MASK_SIDE
    shapes: dict[str, tuple[int, list[int]]] = {
        "boxes": (TensorProto.FLOAT, [batch, places, 4]),
        "scores": (TensorProto.FLOAT, [batch, places]),
        "classes": (TensorProto.INT64, [batch, places]),
        "masks": (TensorProto.FLOAT, [batch, places, side, side]),
    }
    if plan.plain:
        _tell_converged(graph, [moved, *found.moved])
        shapes["converged"] = (TensorProto.INT64, [1])
    return build_model(
        graph,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 1, plan.rows, plan.columns])],
        [helper.make_tensor_value_info(name, *shape) for name, shape in shapes.items()],
        metadata,
    )


class _Parts:
    """The four Keras models, in the precision that was chosen; what comes out of the heads is float32."""

    def __init__(self, model: Any, plan: Plan, *, half: bool) -> None:
        self._model, self._plan, self._half = model, plan, half
        self._dtype: type[np.floating[Any]] = np.float16 if half else np.float32
        self._rpn_weights: dict[str, str] = {}

    def trunk(self, graph: Graph) -> list[Value]:
        source = Value("image", (1, self._plan.rows, self._plan.columns), picture=True, wide=self._half)
        return walk(graph, self._model.trunk, source, dtype=self._dtype, wide_layers=FIRST_LAYERS)

    def look(self, graph: Graph, level: Value, number: int) -> tuple[str, str]:
        with graph.scope(f"rpn{number}"):
            logits, deltas = walk(graph, self._model.rpn, level, dtype=self._dtype, known=self._rpn_weights)
            return self.whole(graph, logits.name), self.whole(graph, deltas.name)

    def head(self, graph: Graph, name: str, cells: int) -> Head:
        def add(regions: str) -> list[str]:
            with graph.scope(name):
                source = Value(self._narrow(graph, regions), (self._plan.config.channels, cells, cells), picture=True)
                outputs = walk(graph, getattr(self._model, name), source, dtype=self._dtype)
                return [self.whole(graph, value.name) for value in outputs]

        return add

    def whole(self, graph: Graph, name: str) -> str:
        return graph.cast(name, FLOAT) if self._half else name

    def _narrow(self, graph: Graph, name: str) -> str:
        return graph.cast(name, FLOAT16) if self._half else name


def _points(plan: Plan, level: int) -> int:
    stride = plan.config.strides[level]
    anchors = (plan.rows // stride) * (plan.columns // stride) * plan.config.anchors_per_point
    return min(plan.config.proposals_before, anchors)


def _fill_up(graph: Graph, name: str, value: str, count: int, plan: Plan) -> None:
    """Give an output its name, and as many places as were promised."""
    short = plan.config.max_detections - count
    if not short:
        graph.op("Identity", value, name=name)
        return
    axes = {"boxes": 3, "scores": 2, "classes": 2, "masks": 4}[name]
    pads = [0] * (2 * axes)
    pads[axes + 1] = short
    zero = np.array(0, dtype=np.int64 if name == "classes" else np.float32)
    graph.op("Pad", value, graph.whole(*pads), zero, name=name)


def _tell_converged(graph: Graph, moved: list[str]) -> None:
    total = moved[0]
    for one in moved[1:]:
        total = graph.op("Add", total, one)
    still = graph.cast(graph.op("Less", total, 0.5), INT64)
    graph.op("Unsqueeze", still, graph.whole(0), name="converged")
