"""From trained weights to an ONNX file that keeps the network contract of spm-live.

Only plain operators with static shapes (but for the number of pictures), so that ONNX Runtime, OpenVINO and the
TensorRT parser all take it. What no operator does here - suppressing doubles - the detector does afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.training.first_model.network import (
    BOX_CHANNELS,
    DEEPEST,
    PIXEL_SCALE,
    STRIDE,
    Layer,
    Weights,
    layers,
    output_channels,
)

FLOAT = 1
"""float32, as ONNX numbers its types (onnx.proto, TensorProto.DataType)."""

OPSET = 17
IR_VERSION = 8
"""What onnxruntime 1.18, the oldest allowed, reads without complaint."""

MOLECULES = 768
"""Places in the output: as many as a tile full of the smallest molecules holds; TensorRT's TopK takes up to 3839."""

MASK = 20
"""Rows and columns of a mask over its box."""

MASK_SIGMA = 0.22
"""How far a point may miss the centre of its molecule, as a part of the box's longer side (standard deviation)."""

LEAST_SCORE = 0.05
"""Places with a lower score are left unused."""


class Graph:
    """Collects nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, inputs: Sequence[str], name: str, *more: str, **attributes: Any) -> str:
        """Add a node; its first output bears its name, further ones theirs."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [name, *more], name=name, **attributes))
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def number(self, name: str, value: float) -> str:
        """Add a float32 constant without shape."""
        return self.constant(name, np.array(value, dtype=np.float32))

    def part(self, source: str, name: str, axis: int, start: int, stop: int) -> str:
        """Cut a range out of one axis."""
        bounds = [
            self.constant(f"{name}_{kind}", np.array([value], dtype=np.int64))
            for kind, value in (("start", start), ("stop", stop), ("axis", axis))
        ]
        return self.add("Slice", [source, *bounds], name)


def export_onnx(weights: Mapping[str, Weights], classes: int, rows: int, columns: int) -> bytes:
    """Build the whole network as ONNX.

    Parameters
    ----------
    weights : mapping of str to Weights
        By layer, as :func:`spm_live.training.first_model.network.folded_weights` gives them.
    classes : int
        Number of classes.
    rows, columns : int
        Shape of a tile, in pixels; multiples of 16.

    Returns
    -------
    bytes
        The file. Input ``image`` (B, 1, rows, columns) float32 in 0 to 1; outputs ``boxes`` (B, N, 4) float32 edges in
        tile pixels, ``scores`` (B, N) float32 falling and 0 in unused places, ``classes`` (B, N) int64, ``masks``
        (B, N, M, M) float32, with N = :data:`MOLECULES` and M = :data:`MASK`.

    Raises
    ------
    ValueError
        If the shape does not suit the network.
    """
    if rows % DEEPEST or columns % DEEPEST:
        raise ValueError(f"tiles of {rows} x {columns} px; both must be multiples of {DEEPEST}")
    graph = Graph()
    for layer in layers(classes):
        _add_layer(graph, layer, weights)
    _add_decoder(graph, classes, rows, columns)
    return _model(graph, ("image", [1, rows, columns]), _places(rows, columns))


def export_decoder(classes: int, rows: int, columns: int) -> bytes:
    """Build only what comes after the convolutions, as ONNX.

    Parameters
    ----------
    classes, rows, columns : int
        As for :func:`export_onnx`.

    Returns
    -------
    bytes
        From ``raw`` (B, classes + 7, rows / 2, columns / 2), the output map, to the outputs of :func:`export_onnx`.
    """
    graph = Graph()
    _add_decoder(graph, classes, rows, columns)
    return _model(graph, ("raw", [output_channels(classes), rows // STRIDE, columns // STRIDE]), _places(rows, columns))


def _model(graph: Graph, source: tuple[str, list[int]], places: int) -> bytes:
    import onnx
    from onnx import TensorProto, helper

    floats = TensorProto.FLOAT
    outputs = [
        helper.make_tensor_value_info("boxes", floats, ["batch", places, 4]),
        helper.make_tensor_value_info("scores", floats, ["batch", places]),
        helper.make_tensor_value_info("classes", TensorProto.INT64, ["batch", places]),
        helper.make_tensor_value_info("masks", floats, ["batch", places, MASK, MASK]),
    ]
    given = helper.make_tensor_value_info(source[0], floats, ["batch", *source[1]])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "spm-live", [given], outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="spm-live",
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _places(rows: int, columns: int) -> int:
    return min(MOLECULES, (rows // STRIDE) * (columns // STRIDE))


def _add_decoder(graph: Graph, classes: int, rows: int, columns: int) -> None:
    height, width, places = rows // STRIDE, columns // STRIDE, _places(rows, columns)
    _add_peaks(graph, classes, height, width, places)
    _add_boxes(graph, classes, height, width, rows, columns)
    _add_masks(graph, classes, rows, columns, places)


def _add_layer(graph: Graph, layer: Layer, weights: Mapping[str, Weights]) -> None:
    name = f"{layer.name}_linear" if layer.active and layer.kind != "up" else layer.name
    if layer.kind == "up":
        scales = graph.constant(f"{layer.name}_scales", np.array([1, 1, 2, 2], dtype=np.float32))
        graph.add(
            "Resize",
            [layer.inputs[0], "", scales],
            name,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
    elif layer.kind == "add":
        graph.add("Add", layer.inputs, name)
    else:
        own = weights[layer.name]
        kernel = graph.constant(f"{layer.name}_kernel", own.kernel.transpose(3, 2, 0, 1))
        bias = graph.constant(f"{layer.name}_bias", own.bias)
        # TensorFlow's "same" on an even picture: a stride of 2 pads below and to the right only.
        before = (layer.kernel - layer.stride) // 2
        after = layer.kernel - layer.stride - before
        graph.add(
            "Conv",
            [layer.inputs[0], kernel, bias],
            name,
            kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2,
            pads=[before, before, after, after],
        )
    if name != layer.name:
        graph.add("Relu", [name], layer.name)


def _add_peaks(graph: Graph, classes: int, height: int, width: int, places: int) -> None:
    """The highest points of all heat maps together: ``scores``, ``place`` (index into the map) and ``classes``."""
    graph.add("Sigmoid", [graph.part("raw", "heat_logit", 1, 0, classes)], "heat")
    graph.add("ReduceMax", ["heat"], "best", axes=[1], keepdims=1)
    # A point is a peak if nothing around it is higher, whatever the class: one molecule has one class.
    graph.add("MaxPool", ["best"], "around", kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    graph.add("Equal", ["best", "around"], "is_peak")
    graph.number("nothing", 0.0)
    graph.add("Where", ["is_peak", "best", "nothing"], "peaks")
    flat = graph.constant("flat_shape", np.array([0, height * width], dtype=np.int64))
    graph.add("Reshape", ["peaks", flat], "peaks_flat")
    count = graph.constant("places", np.array([places], dtype=np.int64))
    graph.add("TopK", ["peaks_flat", count], "top", "place", axis=1, largest=1, sorted=1)
    graph.add("Greater", ["top", graph.number("least_score", LEAST_SCORE)], "is_used")
    graph.add("Where", ["is_used", "top", "nothing"], "scores")
    graph.add("ArgMax", ["heat"], "class_map", axis=1, keepdims=0)
    graph.add("Reshape", ["class_map", flat], "class_flat")
    graph.add("GatherElements", ["class_flat", "place"], "classes", axis=1)


def _add_boxes(graph: Graph, classes: int, height: int, width: int, rows: int, columns: int) -> None:
    """Boxes around the peaks: ``boxes``, and their ``left``, ``upper``, ``wide`` and ``tall``, each (B, N, 1)."""
    graph.add("Softplus", [graph.part("raw", "box_logit", 1, classes, classes + BOX_CHANNELS)], "box_positive")
    graph.add("Mul", ["box_positive", graph.number("pixel_scale", PIXEL_SCALE)], "reach_map")
    shape = graph.constant("reach_shape", np.array([0, BOX_CHANNELS, height * width], dtype=np.int64))
    graph.add("Reshape", ["reach_map", shape], "reach_flat")
    graph.add("Transpose", ["reach_flat"], "reach_rows", perm=[0, 2, 1])
    graph.add("Unsqueeze", ["place", graph.constant("last_axis", np.array([2], dtype=np.int64))], "place_column")
    graph.add("GatherND", ["reach_rows", "place_column"], "reach", batch_dims=1)
    graph.constant("map_columns", np.array(width, dtype=np.int64))
    graph.add("Div", ["place_column", "map_columns"], "row_index")
    graph.add("Mul", ["row_index", "map_columns"], "row_start")
    graph.add("Sub", ["place_column", "row_start"], "column_index")
    for axis, index in (("x", "column_index"), ("y", "row_index")):
        graph.add("Cast", [index], f"{axis}_whole", to=FLOAT)
        graph.add("Mul", [f"{axis}_whole", graph.number(f"{axis}_stride", STRIDE)], f"{axis}_edge")
        graph.add("Add", [f"{axis}_edge", graph.number(f"{axis}_half", STRIDE / 2)], f"{axis}_point")
    graph.add("Concat", ["x_point", "y_point", "x_point", "y_point"], "points", axis=2)
    graph.constant("reach_sign", np.array([-1, -1, 1, 1], dtype=np.float32))
    graph.add("Mul", ["reach", "reach_sign"], "signed_reach")
    graph.add("Add", ["points", "signed_reach"], "open_boxes")
    graph.add("Max", ["open_boxes", graph.number("tile_start", 0.0)], "boxes_from_0")
    graph.constant("tile_end", np.array([columns, rows, columns, rows], dtype=np.float32))
    graph.add("Min", ["boxes_from_0", "tile_end"], "boxes")
    graph.part("boxes", "left", 2, 0, 1)
    graph.part("boxes", "upper", 2, 1, 2)
    graph.add("Sub", [graph.part("boxes", "right", 2, 2, 3), "left"], "wide")
    graph.add("Sub", [graph.part("boxes", "lower", 2, 3, 4), "upper"], "tall")


def _add_masks(graph: Graph, classes: int, rows: int, columns: int, places: int) -> None:
    """``masks``: on a molecule, and pointing to the centre of this one rather than of its neighbour."""
    first = classes + BOX_CHANNELS
    graph.add("Sigmoid", [graph.part("raw", "on_logit", 1, first, first + 1)], "on_map")
    graph.part("raw", "way_scaled", 1, first + 1, first + 3)
    graph.add("Mul", ["way_scaled", "pixel_scale"], "way_map")
    graph.add("Concat", ["on_map", "way_map"], "fields", axis=1)
    steps = ((np.arange(MASK) + 0.5) / MASK).astype(np.float32)
    graph.constant("mask_steps", steps)
    for axis, start, size, length in (("x", "left", "wide", columns), ("y", "upper", "tall", rows)):
        graph.add("Mul", [size, "mask_steps"], f"{axis}_inner")
        graph.add("Add", [f"{axis}_inner", start], f"{axis}_line")
        shape = [0, places, 1, MASK] if axis == "x" else [0, places, MASK, 1]
        square = graph.constant(f"{axis}_shape", np.array(shape, dtype=np.int64))
        graph.add("Reshape", [f"{axis}_line", square], f"{axis}_at")
        # GridSample counts from -1 to 1, edge to edge.
        graph.add("Mul", [f"{axis}_at", graph.number(f"{axis}_unit", 2 / length)], f"{axis}_twice")
        graph.add("Sub", [f"{axis}_twice", graph.number(f"{axis}_one", 1.0)], f"{axis}_unit_at")
        graph.add(
            "Add",
            [f"{axis}_unit_at", graph.constant(f"{axis}_spread", np.zeros((MASK, MASK), np.float32))],
            f"{axis}_square",
        )
        graph.add(
            "Unsqueeze", [f"{axis}_square", graph.constant(f"{axis}_last", np.array([4], np.int64))], f"{axis}_grid"
        )
    graph.add("Concat", ["x_grid", "y_grid"], "grid_deep", axis=4)
    graph.add("Reshape", ["grid_deep", graph.constant("grid_shape", np.array([0, places * MASK, MASK, 2]))], "grid")
    graph.add("GridSample", ["fields", "grid"], "sampled", mode="bilinear", padding_mode="border", align_corners=0)
    graph.add("Reshape", ["sampled", graph.constant("field_shape", np.array([0, 3, places, MASK, MASK]))], "field")
    _add_closeness(graph)


def _add_closeness(graph: Graph) -> None:
    """The last step of the masks: how near every sampled point's aim comes to the middle of the box."""
    axis_one = graph.constant("axis_one", np.array([1], dtype=np.int64))
    for index, name in enumerate(("on", "way_x", "way_y")):
        graph.add("Squeeze", [graph.part("field", f"{name}_deep", 1, index, index + 1), axis_one], name)
    graph.number("one_half", 0.5)
    for axis, index in (("x", 0), ("y", 1)):
        # The way points to the middle of the whole box, also where the tile cuts it.
        graph.part("open_boxes", f"{axis}_low", 2, index, index + 1)
        graph.add(
            "Add", [f"{axis}_low", graph.part("open_boxes", f"{axis}_high", 2, index + 2, index + 3)], f"{axis}_sum"
        )
        graph.add("Mul", [f"{axis}_sum", "one_half"], f"{axis}_middle_flat")
        graph.add("Unsqueeze", [f"{axis}_middle_flat", "last_axis"], f"{axis}_middle")
        graph.add("Add", [f"{axis}_at", f"way_{axis}"], f"{axis}_aim")
        graph.add("Sub", [f"{axis}_aim", f"{axis}_middle"], f"{axis}_miss")
        graph.add("Mul", [f"{axis}_miss", f"{axis}_miss"], f"{axis}_miss_square")
    graph.add("Add", ["x_miss_square", "y_miss_square"], "miss")
    graph.add("Max", ["wide", "tall", graph.number("least_size", STRIDE)], "longer")
    graph.add("Mul", ["longer", "longer"], "longer_square")
    graph.add("Unsqueeze", ["longer_square", "last_axis"], "room")
    graph.add("Div", ["miss", "room"], "miss_part")
    graph.add("Mul", ["miss_part", graph.number("steepness", -0.5 / MASK_SIGMA**2)], "closeness_log")
    graph.add("Exp", ["closeness_log"], "closeness")
    graph.add("Mul", ["on", "closeness"], "masks")
