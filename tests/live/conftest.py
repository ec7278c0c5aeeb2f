"""A recogniser that is simple enough to know beforehand what it finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from spm_live.detect import Manifest
from spm_live.detect.batches import detect_tiles
from spm_live.domain import (
    Detections,
    FrameInfo,
    FrameRef,
    Levelling,
    ModelInput,
    ScanDirection,
    ScanGeometry,
    Trace,
)

SLOTS = 200
MASK_SIDE = 14


class BlobDetector:
    """Takes every bright spot for a molecule: what is connected over 0.6 of the range of contrast.

    The class is ``"wide"`` where the box is wider than high, else ``"high"``; the score falls as the spot gets smaller.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.shown: list[ModelInput] = []

    def detect(self, model_input: ModelInput) -> Detections:
        self.shown.append(model_input)
        return detect_tiles(self._run, 1, model_input, self.manifest)

    def close(self) -> None:
        """Nothing is held."""

    def _run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        bright = (image[0, 0] > 0.6).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
        boxes = np.zeros((1, SLOTS, 4), dtype=np.float32)
        scores = np.zeros((1, SLOTS), dtype=np.float32)
        classes = np.zeros((1, SLOTS), dtype=np.int64)
        masks = np.zeros((1, SLOTS, MASK_SIDE, MASK_SIDE), dtype=np.float32)
        for number in range(1, min(count, SLOTS + 1)):
            x, y, width, height, area = stats[number].tolist()
            boxes[0, number - 1] = (x, y, x + width, y + height)
            scores[0, number - 1] = 0.5 + 0.5 * area / bright.size
            classes[0, number - 1] = int(height >= width)
            spot = (labels[y : y + height, x : x + width] == number).astype(np.float32)
            masks[0, number - 1] = cv2.resize(spot, (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_NEAREST)
        return {"boxes": boxes, "scores": scores, "classes": classes, "masks": masks}


@pytest.fixture
def blob_detector() -> Callable[..., BlobDetector]:
    """Make one: ``blob_detector(rows=..., columns=..., overlap_px=..., nm_per_px=..., levelling=...)``."""

    def make(**changes: Any) -> BlobDetector:
        shown = {
            "rows": 64,
            "columns": 48,
            "overlap_px": 16,
            "nm_per_px": None,
            "levelling": Levelling.NONE,
            "contrast": (0.0, 1.0),
        }
        values = {
            "schema_version": 1,
            "name": "blobs",
            "version": "1",
            "classes": ["wide", "high"],
            "weights": "blobs.onnx",
            "sha256": "0" * 64,
            "license": "MIT",
            "input": shown | changes,
            "min_score": 0.1,
            "nms_iou": 0.5,
            "max_detections": SLOTS,
        }
        return BlobDetector(Manifest.model_validate(values))

    return make


def info_of(
    rows: int,
    columns: int,
    *,
    direction: ScanDirection = ScanDirection.DOWN,
    size_nm: tuple[float, float] | None = None,
) -> FrameInfo:
    return FrameInfo(
        ref=FrameRef("instrument scan 1", "", "Z", Trace.FORWARD),
        geometry=ScanGeometry(rows, columns, size_nm or (columns * 0.1, rows * 0.1), (5.0, -3.0), 30.0),
        unit="m",
        direction=direction,
    )


@pytest.fixture(name="info_of")
def _info_of() -> Callable[..., FrameInfo]:
    return info_of


def spots(rows: int, columns: int, seed: int, count: int | None = None) -> np.ndarray:
    """Bright rectangles of 4 to 12 px that do not touch, 1 on 0: (rows, columns) float32."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((rows, columns), dtype=np.float32)
    taken = np.zeros((rows, columns), dtype=bool)
    for _ in range(count if count is not None else rows * columns // 250):
        high, wide = rng.integers(4, 13, size=2).tolist()
        y, x = int(rng.integers(-3, rows)), int(rng.integers(-3, columns))
        part = np.s_[max(0, y) : y + high, max(0, x) : x + wide]
        if taken[max(0, y - 3) : y + high + 3, max(0, x - 3) : x + wide + 3].any():
            continue
        picture[part] = 1
        taken[part] = True
    return picture


@pytest.fixture(name="spots")
def _spots() -> Callable[..., np.ndarray]:
    return spots
