"""Models made on the spot, whose detections are known beforehand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

MakeModel = Callable[..., Path]

TYPES = {"image": TensorProto.FLOAT, "boxes": TensorProto.FLOAT, "scores": TensorProto.FLOAT}
TYPES |= {"classes": TensorProto.INT64, "masks": TensorProto.FLOAT}


def constant_graph(outputs: dict[str, np.ndarray], image: tuple[Any, ...], **shapes: Any) -> onnx.ModelProto:
    """Build a graph that answers the same to every picture.

    The scores are multiplied by the largest value of the picture, so that a blank tile has no detections and the graph
    does look at its input.
    """
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["brightest"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["brightest", "axis"], ["bright"]),
        helper.make_node("Mul", ["answer_scores", "bright"], ["scores"]),
        *(
            helper.make_node("Expand" if name == "same" else "Identity", [f"answer_{name}"], [name])
            for name in outputs
            if name != "scores"
        ),
    ]
    initializers = [numpy_helper.from_array(value, f"answer_{name}") for name, value in outputs.items()]
    initializers.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "axis"))
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("image", TYPES["image"], list(image))],
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), list(shapes.get(name, value.shape))
            )
            for name, value in outputs.items()
        ],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def answers(
    boxes: list[tuple[float, float, float, float]],
    scores: list[float] | None = None,
    classes: list[int] | None = None,
    slots: int = 4,
    batch: int = 1,
    mask_side: int = 7,
) -> dict[str, np.ndarray]:
    """Outputs of a network that saw these boxes, with full masks; unused slots are zero."""
    filled = len(boxes)
    result = {
        "boxes": np.zeros((batch, slots, 4), dtype=np.float32),
        "scores": np.zeros((batch, slots), dtype=np.float32),
        "classes": np.zeros((batch, slots), dtype=np.int64),
        "masks": np.zeros((batch, slots, mask_side, mask_side), dtype=np.float32),
    }
    result["boxes"][:, :filled] = np.array(boxes, dtype=np.float32).reshape(filled, 4)
    result["scores"][:, :filled] = scores if scores is not None else np.linspace(0.9, 0.8, filled)
    result["classes"][:, :filled] = classes if classes is not None else 0
    result["masks"][:, :filled] = 1
    return result


@pytest.fixture(name="answers")
def _answers() -> Callable[..., dict[str, np.ndarray]]:
    return answers


@pytest.fixture(name="constant_graph")
def _constant_graph() -> Callable[..., onnx.ModelProto]:
    return constant_graph


@pytest.fixture
def manifest_values() -> dict[str, Any]:
    """A sound manifest, still without a digest."""
    return {
        "schema_version": 1,
        "name": "toy",
        "version": "1",
        "classes": ["a", "b"],
        "weights": "toy.onnx",
        "sha256": "0" * 64,
        "license": "MIT",
        "input": {"rows": 32, "columns": 48, "nm_per_px": 0.1, "overlap_px": 16},
        "min_score": 0.5,
        "nms_iou": 0.5,
        "nms_kind": "box",
        "max_detections": 4,
    }


@pytest.fixture
def make_model(tmp_path: Path, manifest_values: dict[str, Any]) -> MakeModel:
    """Write a model's folder: ``make_model(outputs, **changes to the manifest)``."""

    def make(
        outputs: dict[str, np.ndarray], *, graph: onnx.ModelProto | None = None, image: Any = None, **changes: Any
    ) -> Path:
        folder = tmp_path / changes.get("name", "toy")
        folder.mkdir()
        values = manifest_values | changes
        shape = image or (outputs["scores"].shape[0], 1, values["input"]["rows"], values["input"]["columns"])
        weights = (graph or constant_graph(outputs, shape)).SerializeToString()
        (folder / "toy.onnx").write_bytes(weights)
        values["sha256"] = changes.get("sha256", hashlib.sha256(weights).hexdigest())
        (folder / "manifest.json").write_text(json.dumps(values), encoding="utf-8")
        return folder

    return make
