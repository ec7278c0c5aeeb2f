"""A network that answers at once, for what is to be measured without a model's time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

SIDE = 64
SLOTS = 16
MASK_SIDE = 14


def make_instant_model(folder: Path) -> Path:
    """Write a model folder whose network finds the same eight molecules in every tile."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    boxes = np.zeros((1, SLOTS, 4), np.float32)
    scores = np.zeros((1, SLOTS), np.float32)
    for slot in range(8):
        x, y = 4 + 15 * (slot % 4), 6 + 30 * (slot // 4)
        boxes[0, slot] = (x, y, x + 10, y + 12)
        scores[0, slot] = 0.9 - slot / 100
    answers = {
        "boxes": boxes,
        "scores": scores,
        "classes": (np.arange(SLOTS, dtype=np.int64) % 2)[None],
        "masks": np.ones((1, SLOTS, MASK_SIDE, MASK_SIDE), np.float32),
    }
    # The scores are multiplied by one, made of the picture, because a network has to look at its input.
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["brightest"], keepdims=0),
        helper.make_node("Mul", ["brightest", "nothing"], ["zero"]),
        helper.make_node("Add", ["answer_scores", "zero"], ["scores"]),
        *(helper.make_node("Identity", [f"answer_{name}"], [name]) for name in ("boxes", "classes", "masks")),
    ]
    kinds = {name: helper.np_dtype_to_tensor_dtype(value.dtype) for name, value in answers.items()}
    graph = helper.make_graph(
        nodes,
        "instant",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info(name, kinds[name], value.shape) for name, value in answers.items()],
        [numpy_helper.from_array(value, f"answer_{name}") for name, value in answers.items()]
        + [numpy_helper.from_array(np.float32(0), "nothing")],
    )
    folder.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "instant.onnx")
    manifest = {
        "schema_version": 1,
        "name": "instant",
        "version": "1",
        "classes": ["rod", "lobe"],
        "weights": "instant.onnx",
        "sha256": hashlib.sha256((folder / "instant.onnx").read_bytes()).hexdigest(),
        "license": "MIT",
        "input": {
            "rows": SIDE,
            "columns": SIDE,
            "nm_per_px": 0.1,
            "overlap_px": 16,
            "levelling": "rows",
            "contrast": [0.005, 0.995],
        },
        "min_score": 0.3,
        "nms_iou": 0.5,
        "nms_kind": "box",
        "max_detections": SLOTS,
        "trained_on": "nothing",
        "command": "scripts/bench_model.py",
        "metrics": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "card.md").write_text("Answers at once; for benchmarks only.\n", encoding="utf-8")
    return folder
