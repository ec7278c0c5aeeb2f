"""From a frame's tiles, through a network that takes so many at once, to detections: the same for every runtime."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.detect.manifest import Manifest
from spm_live.detect.merge import TileDetections, merge_tiles
from spm_live.domain import Detections, FrameRef, ModelInput
from spm_live.errors import FrameError

_log = logging.getLogger(__name__)

_CROWDED: deque[str] = deque(maxlen=64)
"""Frames of which it was said that a tile holds too many: one that grows comes again with every line."""

OUTPUTS = ("boxes", "scores", "classes", "masks")

RunBatch = Callable[[NDArray[np.float32]], Mapping[str, NDArray[Any]]]
"""Runs the network: from (batch, 1, rows, columns) float32 to its outputs by name."""


def detect_tiles(run: RunBatch, batch: int, model_input: ModelInput, manifest: Manifest) -> Detections:
    """Find the molecules of one frame; see :meth:`spm_live.detect.Detector.detect`.

    Parameters
    ----------
    run : callable
        The network.
    batch : int
        Tiles that it takes at once.
    model_input : ModelInput
        As ``prepare`` makes it.
    manifest : Manifest
        Of the model.
    """
    parts: list[TileDetections] = []
    for first, raw in _run(run, batch, model_input.tiles):
        used = _used(raw, model_input.ref, manifest)
        tile, slot = np.nonzero(used)
        if used.all(axis=1).any() and model_input.ref.source not in _CROWDED:
            _CROWDED.append(model_input.ref.source)
            _log.warning(
                "%s: all %d slots of a tile are taken, molecules may be missing", model_input.ref.source, used.shape[1]
            )
        corner = model_input.origins[first + tile][:, [1, 0, 1, 0]].astype(np.float32)
        found = Detections(
            boxes=raw.boxes[tile, slot] + corner,
            scores=raw.scores[tile, slot],
            classes=raw.classes[tile, slot],
            masks=raw.masks[tile, slot],
        )
        parts.append(TileDetections(found, first + tile))
    return merge_tiles(parts, model_input.origins, model_input.letterbox, manifest)


@dataclass(frozen=True, slots=True, eq=False)
class _Raw:
    """The network's outputs for some tiles."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    masks: NDArray[np.float32]


def _run(run: RunBatch, batch: int, tiles: NDArray[np.float32]) -> Iterator[tuple[int, _Raw]]:
    """Outputs batch by batch, each with the number of its first tile; a short last batch is filled with blanks."""
    for start in range(0, len(tiles), batch):
        image = tiles[start : start + batch, None]
        count = len(image)
        if count < batch:
            image = np.concatenate([image, np.zeros((batch - count, *image.shape[1:]), dtype=np.float32)])
        outputs = run(image)
        yield start, _Raw(*(outputs[name][:count] for name in OUTPUTS))


def _used(raw: _Raw, ref: FrameRef, manifest: Manifest) -> NDArray[np.bool_]:
    """Slots that hold a detection with a score high enough, once it is known that they are sound."""
    if np.isnan(raw.scores).any():
        raise FrameError(ref, "detect", f"the network gave NaN for {np.isnan(raw.scores).sum()} scores")
    used: NDArray[np.bool_] = (raw.scores >= manifest.min_score) & (raw.scores > 0)
    broken = used & (np.isnan(raw.boxes).any(axis=2) | np.isnan(raw.masks).any(axis=(2, 3)))
    if broken.any():
        raise FrameError(ref, "detect", f"the network gave NaN for the boxes or masks of {broken.sum()} molecules")
    unknown = used & ((raw.classes < 0) | (raw.classes >= len(manifest.classes)))
    if unknown.any():
        number = int(raw.classes[unknown][0])
        raise FrameError(ref, "detect", f"the network gave class {number} of {len(manifest.classes)}")
    return used
