"""Turns the layers with weights to eight bits (Jacob et al. 2018, arXiv:1712.05877).

Each tensor that such a layer reads or gives gets a pair of QuantizeLinear and DequantizeLinear, which ONNX Runtime and
TensorRT take together with the layer between them into one of integers. Boxes, overlaps and places stay float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.training.onnx_export.calibrate import best_range, occurrences
from spm_live.training.onnx_export.plan import FIRST_LAYERS, Flavour

LAST_LAYERS = ("rpn_class_raw", "rpn_bbox_pred", "mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask")
"""They say scores, places and outlines, cost next to nothing, and stay float32 too."""

SAME_SCALE = ("MaxPool", "Resize")
"""They hand values on as they are."""


def quantise(model: Any, pictures: Sequence[NDArray[np.float32]], flavour: Flavour, *, weight_bits: int = 8) -> Any:
    """Make an eight-bit network of a float32 one.

    Parameters
    ----------
    model : onnx.ModelProto
        As :func:`spm_live.training.onnx_export.graph.build_graph` builds it, in fp32.
    pictures : sequence of (B, 1, rows, columns) float32 array
        Of the kind that the network will see.
    flavour : "cpu" or "tensorrt"
        ``cpu``: activations from 0 to 255 with a zero of their own, weights from -127 to 127. ``tensorrt``: both from
        -127 to 127, the zero at 0.
    weight_bits : 7 or 8
        7 for processors without VNNI, where the sum of two products of 8 bits may not fit (ONNX Runtime's manual, page
        "Quantize ONNX models").

    Returns
    -------
    onnx.ModelProto
        A new one.
    """
    import onnx

    result = onnx.ModelProto()
    result.CopyFrom(model)
    _Quantiser(result, pictures, flavour, weight_bits).change()
    onnx.checker.check_model(result, full_check=True)
    return result


class _Quantiser:
    """Works on one model."""

    def __init__(self, model: Any, pictures: Sequence[NDArray[np.float32]], flavour: Flavour, bits: int) -> None:
        self._graph, self._plain = model.graph, flavour == "tensorrt"
        self._most = 2 ** (bits - 1) - 1
        self._weights = {one.name: one for one in self._graph.initializer}
        self._readers: dict[str, list[Any]] = {}
        for node in self._graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)
        self._layers = [node for node in self._graph.node if self._fits(node)]
        self._scales = self._choose_scales(model, pictures)
        self._new_weights: dict[str, tuple[str, NDArray[np.float32]]] = {}

    def change(self) -> None:
        """Put the pairs in."""
        before: dict[str, list[Any]] = {}
        for layer in self._layers:
            if layer.op_type in ("Conv", "Gemm"):
                before[layer.name] = self._turn_weights(layer)
        readable = {name: self._pair(name) for name in self._scales}
        nodes = []
        for node in self._graph.node:
            nodes += before.get(node.name, [])
            for place, name in enumerate(node.input):
                if name in readable:
                    node.input[place] = readable[name][-1].output[0]
            nodes.append(node)
            for name in node.output:
                nodes += readable.get(name, [])
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        used = {name for node in nodes for name in node.input}
        left = [one for one in self._graph.initializer if one.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(left)

    def _fits(self, node: Any) -> bool:
        if node.op_type in ("Conv", "Gemm"):
            return node.name.rsplit("/", 1)[-1] not in FIRST_LAYERS + LAST_LAYERS
        return node.op_type in ("Add", *SAME_SCALE) and node.name.startswith("trunk/")

    def _choose_scales(self, model: Any, pictures: Sequence[NDArray[np.float32]]) -> dict[str, tuple[float, int]]:
        """Scale and zero of every tensor that a layer reads or gives."""
        names: dict[str, None] = {}
        handed_on: dict[str, str] = {}
        for layer in self._layers:
            names |= dict.fromkeys(self._read_by(layer))
            names[self._given_by(layer)] = None
            if layer.op_type in SAME_SCALE:
                handed_on[self._given_by(layer)] = layer.input[0]
        seen = occurrences(model, [name for name in names if name not in handed_on], pictures)
        scales = {name: self._scale(*best_range(one, symmetric=self._plain)) for name, one in seen.items()}
        for name in handed_on:  # in the order of the graph, so that one may hand on to the next
            scales[name] = scales[handed_on[name]]
        return scales

    def _read_by(self, layer: Any) -> list[str]:
        return list(layer.input[:2] if layer.op_type == "Add" else layer.input[:1])

    def _given_by(self, layer: Any) -> str:
        """A layer and the Relu after it are one."""
        name = str(layer.output[0])
        readers = self._readers.get(name, [])
        return str(readers[0].output[0]) if len(readers) == 1 and readers[0].op_type == "Relu" else name

    def _scale(self, low: float, high: float) -> tuple[float, int]:
        if self._plain:
            return high / 127, 0
        scale = (high - low) / 255
        return scale, round(-low / scale)

    def _pair(self, name: str) -> list[Any]:
        from onnx import helper

        scale, zero = self._scales[name]
        kind = np.int8 if self._plain else np.uint8
        constants = [
            self._constant(f"{name}/scale", np.array(scale, dtype=np.float32)),
            self._constant(f"{name}/zero", np.array(zero, dtype=kind)),
        ]
        short, whole = f"{name}/quantised", f"{name}/again"
        return [
            helper.make_node("QuantizeLinear", [name, *constants], [short], name=short),
            helper.make_node("DequantizeLinear", [short, *constants], [whole], name=whole),
        ]

    def _turn_weights(self, layer: Any) -> list[Any]:
        """Give a layer weights of eight bits, with a scale for each channel that it gives."""
        from onnx import helper

        nodes = []
        axis = 0 if layer.op_type == "Conv" else 1
        label = layer.input[1]
        if label not in self._new_weights:
            values = _array(self._weights[label])
            others = tuple(number for number in range(values.ndim) if number != axis)
            scale = np.maximum(np.abs(values).max(axis=others, keepdims=True), 1e-9) / self._most
            small = np.clip(np.round(values / scale), -self._most, self._most).astype(np.int8)
            flat = scale.reshape(-1).astype(np.float32)
            inputs = [
                self._constant(f"{label}/quantised", small),
                self._constant(f"{label}/scale", flat),
                self._constant(f"{label}/zero", np.zeros(flat.shape, dtype=np.int8)),
            ]
            again = f"{label}/again"
            nodes.append(helper.make_node("DequantizeLinear", inputs, [again], name=again, axis=axis))
            self._new_weights[label] = again, flat
        layer.input[1], scales = self._new_weights[label]
        if not self._plain:
            nodes.append(self._turn_bias(layer, scales * np.float32(self._scales[layer.input[0]][0])))
        return nodes

    def _turn_bias(self, layer: Any, scale: NDArray[np.float32]) -> Any:
        """ONNX Runtime adds it as an integer, in the scale of the products."""
        from onnx import helper

        values = _array(self._weights[layer.input[2]]).astype(np.float64)
        # A channel without weights has a scale of almost 0; its bias stays within what 32 bits hold.
        whole = np.clip(np.round(values / scale), -(2**31) + 1, 2**31 - 1).astype(np.int32)
        label = f"{layer.name}/bias"
        inputs = [
            self._constant(f"{label}/quantised", whole),
            self._constant(f"{label}/scale", scale),
            self._constant(f"{label}/zero", np.zeros(scale.shape, dtype=np.int32)),
        ]
        again = f"{label}/again"
        layer.input[2] = again
        return helper.make_node("DequantizeLinear", inputs, [again], name=again, axis=0)

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name


def _array(weight: Any) -> NDArray[np.float32]:
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(weight), dtype=np.float32)
