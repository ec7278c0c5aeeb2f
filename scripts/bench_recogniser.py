"""The recogniser: a picture through the whole graph, side by side with TensorFlow, and a step of training.

Every network runs in a process of its own, so that its memory is its own, and all on the same picture of 512 x 512 px
with 64 molecules. Weights are random where no trained model of that kind is shipped: the detections are then of no
worth, but as many, and cost as much.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench_result import Line

SIDE = 512
MOLECULES = 64
KINDS = ("light", "resnet50")
NEEDED = ("keras", "tensorflow", "onnx")


def measure(folder: Path, arguments: argparse.Namespace) -> list[Line]:
    """Time every network and a step of training."""
    from bench_result import Line

    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return [Line("recogniser", None, note=f"{', '.join(missing)} not installed; pip install '.[train]'")]
    lines = []
    for kind in KINDS:
        _ask("write", folder, kind)
        lines += _inference(folder, kind, arguments.rounds)
        lines += _step(folder, kind)
    return lines


def _inference(folder: Path, kind: str, rounds: int) -> list[Line]:
    from bench_result import Line

    goals = {("light", "fp32"): 150.0, ("resnet50", "fp32"): 500.0, ("resnet50", "int8"): 200.0}
    sides: list[tuple[str, str]] = [("onnx", "fp32"), ("onnx", "int8"), ("keras", "fp32")]
    found: dict[tuple[str, str], list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            found[side].append(_ask(*side, folder, kind))
    lines = []
    for (runtime, precision), answers in found.items():
        ms = statistics.median(one["ms"] for one in answers)
        memory = max(one["peak_mb"] for one in answers)
        count = int(answers[0]["molecules"])
        what = f"{kind} {precision}, {'ONNX Runtime' if runtime == 'onnx' else 'TensorFlow'}, {SIDE} x {SIDE} px"
        lines.append(
            Line(what, ms, "ms", goals.get((kind, precision)) if runtime == "onnx" else None, note=f"{count} found")
        )
        if runtime == "onnx":
            lines.append(Line(f"{what}: memory", memory, "MB", 1000.0))
    ratios = [slow["ms"] / fast["ms"] for slow, fast in zip(found["keras", "fp32"], found["onnx", "fp32"], strict=True)]
    lines.append(Line(f"{kind}: TensorFlow over ONNX Runtime, fp32", statistics.median(ratios), "x"))
    return lines


def _step(folder: Path, kind: str) -> list[Line]:
    from bench_result import Line

    answer = _ask("step", folder, kind)
    what = f"{kind}: a step of training, {SIDE} x {SIDE} px"
    goal = 1.2 if kind == "resnet50" else None
    return [
        Line(what, answer["step_ms"], "ms", note=f"its convolutions alone {answer['convolutions_ms']:.0f} ms"),
        Line(f"{what}, over its convolutions alone", answer["step_ms"] / answer["convolutions_ms"], "x", goal),
    ]


def _ask(*words: str | Path) -> dict[str, float]:
    """Run one part in a process of its own."""
    command = [sys.executable, __file__, *map(str, words)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    answer: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


# What follows runs in the child processes. ---------------------------------------------------------------------------


def _picture() -> Any:
    import numpy as np

    from spm_live.training.drawn import DrawnRecipe, draw_picture

    recipe = DrawnRecipe(rows=SIDE, columns=SIDE, small=0.0, most_molecules=200)
    pictures = [draw_picture((4, number), recipe) for number in range(12)]
    best = min(pictures, key=lambda one: abs(len(one.molecules) - MOLECULES))
    return np.ascontiguousarray(best.image[None, :, :, None])


def _model(kind: str) -> Any:
    from spm_live.training.maskrcnn.config import NetworkConfig, resnet50_config
    from spm_live.training.maskrcnn.model import build

    # Random weights find whatever there is room for: as many places as molecules make the work that of real ones.
    more = {"min_score": 0.0, "max_detections": MOLECULES, "proposals": 300, "nms_iou": 0.5}
    classes = ("one", "two")
    return build(resnet50_config(classes, **more) if kind == "resnet50" else NetworkConfig(classes=classes, **more), 1)


def _write(folder: Path, kind: str) -> dict[str, float]:
    from spm_live.training.onnx_export.graph import build_graph
    from spm_live.training.onnx_export.plan import Plan
    from spm_live.training.onnx_export.quantise import quantise

    model, picture = _model(kind), _picture()
    graph = build_graph(model, Plan(model.config, 1, SIDE, SIDE, "cpu"))
    (folder / f"{kind}-fp32.onnx").write_bytes(graph.SerializeToString())
    small = quantise(graph, [picture.transpose(0, 3, 1, 2)], "cpu")
    (folder / f"{kind}-int8.onnx").write_bytes(small.SerializeToString())
    return {}


def _onnx(folder: Path, kind: str, precision: str) -> dict[str, float]:
    import onnxruntime

    picture = _picture().transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(str(folder / f"{kind}-{precision}.onnx"), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return _timed(lambda: dict(zip(names, session.run(None, {"image": picture}), strict=True)))


def _keras(folder: Path, kind: str) -> dict[str, float]:
    model, picture = _model(kind), _picture()
    return _timed(lambda: model.detect(picture))


def _timed(run: Callable[[], dict[str, Any]], times: int = 7) -> dict[str, float]:
    import psutil

    found = run()
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        spent.append(1e3 * (time.perf_counter() - began))
    process = psutil.Process()
    memory = getattr(process.memory_info(), "peak_wset", None)
    if memory is None:
        import resource

        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"ms": statistics.median(spent), "peak_mb": memory / 1e6, "molecules": float((found["scores"] > 0).sum())}


def _train_step(kind: str) -> dict[str, float]:
    """A whole step, and one of trunk and proposal head alone: the convolutions that every detector of the kind has."""
    import keras
    import tensorflow as tf

    from spm_live.training.drawn import DrawnRecipe, draw_picture
    from spm_live.training.maskrcnn.batch import encode

    model = _model(kind)
    batch = encode([draw_picture((4, 1), DrawnRecipe(rows=SIDE, columns=SIDE, small=0.0))], model.config)
    model.compile(keras.optimizers.AdamW(1e-4, clipnorm=5.0))
    image = tf.constant(batch["image"])
    weights = model.trunk.trainable_variables + model.rpn.trainable_variables

    @tf.function
    def convolutions() -> Any:
        with tf.GradientTape() as tape:
            out = [tf.reduce_mean(part**2) for level in model.trunk(image, training=True) for part in model.rpn(level)]
            total = tf.add_n(out)
        return tape.gradient(total, weights)

    def median_ms(run: Callable[[], object]) -> float:
        run()
        run()
        spent = []
        for _ in range(7):
            began = time.perf_counter()
            run()
            spent.append(1e3 * (time.perf_counter() - began))
        return statistics.median(spent)

    return {"convolutions_ms": median_ms(convolutions), "step_ms": median_ms(lambda: model.train_on_batch(batch))}


def _child(words: list[str]) -> dict[str, float]:
    if words[0] == "write":
        return _write(Path(words[1]), words[2])
    if words[0] == "step":
        return _train_step(words[2])
    runtime, precision, folder, kind = words
    return _onnx(Path(folder), kind, precision) if runtime == "onnx" else _keras(Path(folder), kind)


if __name__ == "__main__":
    print(json.dumps(_child(sys.argv[1:])))
