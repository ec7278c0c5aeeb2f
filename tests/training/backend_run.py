"""What ``test_backends.py`` runs once for each backend: python backend_run.py OUT.npz, with KERAS_BACKEND set."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from spm_live.training.labelled import LabelledMolecule, LabelledPicture
from spm_live.training.maskrcnn.batch import encode
from spm_live.training.maskrcnn.config import NetworkConfig
from spm_live.training.maskrcnn.model import build

ROWS, COLUMNS = 64, 96
CONFIG = NetworkConfig(
    classes=("one", "two"),
    channels=8,
    fc_channels=16,
    mask_channels=8,
    mask_layers=1,
    max_truths=6,
    proposals_before=24,
    proposals=24,
    proposals_learning=24,
    rois=24,
    max_detections=20,
    agnostic=False,
)


def fill(model: Any) -> None:
    """Weights that depend on nothing but the order and the shapes of the variables: backends draw differently."""
    rng = np.random.default_rng(7)
    for variable in model.variables:
        name, shape = variable.path.rsplit("/", 1)[-1], tuple(variable.shape)
        if name == "kernel":
            value = rng.normal(scale=np.sqrt(2 / np.prod(shape[:-1])), size=shape)
            # Boxes stay near their anchors, and no class takes all.
            value *= 0.02 if "bbox" in variable.path else 0.1 if "class_logits" in variable.path else 1.0
        elif "mrcnn_class_logits" in variable.path:
            value = np.array([0.0, 0.0, -1.0])
        elif name in {"gamma", "moving_variance"}:
            value = rng.uniform(0.8, 1.2, shape)
        elif name in {"beta", "bias", "moving_mean"}:
            value = rng.uniform(-0.1, 0.1, shape)
        else:
            continue
        variable.assign(value.astype(np.float32))


def picture(seed: int) -> LabelledPicture:
    """Four bright rectangles in noise."""
    rng = np.random.default_rng(seed)
    image = rng.random((ROWS, COLUMNS)).astype(np.float32) * 0.2
    molecules = []
    for number, (x, y) in enumerate([(8, 8), (40, 10), (70, 30), (20, 40)]):
        image[y : y + 18, x : x + 20] += 0.6
        corners = np.array([[x, y], [x + 20, y], [x + 20, y + 18], [x, y + 18]], dtype=float)
        molecules.append(LabelledMolecule(("one", "two")[number % 2], (corners,)))
    return LabelledPicture(f"picture {seed}", image, tuple(molecules))


def main(out: str) -> None:
    """Detect with the same weights as the others do, then learn for a few steps, and write what came out."""
    import keras

    model = build(CONFIG)
    fill(model)
    images = np.random.default_rng(1).random((2, ROWS, COLUMNS, 1)).astype(np.float32)
    levels = [np.asarray(keras.ops.convert_to_numpy(level)) for level in model.trunk(images)]
    found = model.detect(images)
    # Learning is to be seen in a few steps; a graph is not worth its tracing.
    model.compile(optimizer=keras.optimizers.Adam(2e-3), run_eagerly=keras.backend.backend() != "jax")
    batch = encode([picture(0), picture(1)], CONFIG)
    losses = [float(model.train_on_batch(batch, return_dict=True)["loss"]) for _ in range(6)]
    np.savez(out, losses=losses, **{f"level{k}": level for k, level in enumerate(levels)}, **found)


if __name__ == "__main__":
    main(sys.argv[1])
