"""What a network takes and gives, and whether one keeps to it; the table is in ``docs/reference/models.md``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spm_live.detect.manifest import Manifest

TYPES = {
    "image": "tensor(float)",
    "boxes": "tensor(float)",
    "scores": "tensor(float)",
    "classes": "tensor(int64)",
    "masks": "tensor(float)",
}


def check_graph(inputs: Sequence[Any], outputs: Sequence[Any], manifest: Manifest) -> list[str]:
    """Compare a graph's inputs and outputs with what a manifest promises.

    Parameters
    ----------
    inputs, outputs : sequence of onnxruntime.NodeArg
        As a session lists them, or anything else with a name, a type and a shape. A dimension that is not fixed has a
        name or None instead of a number; it fits.
    manifest : Manifest
        Says the shape of a tile and the number of slots.

    Returns
    -------
    list of str
        One sentence for each misfit.
    """
    problems = []
    known = {node.name: node for node in (*inputs, *outputs)}
    slots = manifest.max_detections
    batch = known["image"].shape[0] if "image" in known and known["image"].shape else None
    wanted: dict[str, tuple[Any, ...]] = {
        "image": (batch, 1, manifest.input.rows, manifest.input.columns),
        "boxes": (batch, slots, 4),
        "scores": (batch, slots),
        "classes": (batch, slots),
        "masks": (batch, slots, None, None),
    }
    extra = sorted({node.name for node in inputs} - {"image"})
    if extra:
        problems.append(f"the graph wants inputs that nobody gives: {', '.join(extra)}")
    for name, shape in wanted.items():
        node = known.get(name)
        if node is None or (node in inputs) != (name == "image"):
            problems.append(f"the graph has no {'input' if name == 'image' else 'output'} called {name!r}")
            continue
        if node.type != TYPES[name]:
            problems.append(f"{name} is of type {node.type}, not {TYPES[name]}")
        if len(node.shape) != len(shape) or any(
            isinstance(have, int) and isinstance(want, int) and have != want
            for have, want in zip(node.shape, shape, strict=True)
        ):
            problems.append(f"{name} has shape {_show(node.shape)}, the manifest says {_show(shape)}")
    masks = known.get("masks")
    if masks is not None and len(masks.shape) == 4 and masks.shape[2] != masks.shape[3]:
        problems.append(f"masks are not square: {_show(masks.shape)}")
    return problems


def _show(shape: Sequence[Any]) -> str:
    return "(" + ", ".join(str(size) if isinstance(size, int) else "any" for size in shape) + ")"
