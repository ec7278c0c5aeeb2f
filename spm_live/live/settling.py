"""Molecules that were settled are not found a second time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spm_live.detect import Manifest
from spm_live.detect.nms import MASK_THRESHOLD, box_iou, mask_iou
from spm_live.domain import Detections


def known_among(found: Detections, settled: Detections, manifest: Manifest) -> NDArray[np.bool_]:
    """Find detections of molecules that are settled already.

    Parameters
    ----------
    found, settled : Detections
        In pixels of the same picture.
    manifest : Manifest
        Says what counts as overlap.

    Returns
    -------
    (N,) bool array
        True for those found that overlap with a settled one as two detections of one molecule do (the manifest's
        threshold of non-maximum suppression), or of which the middle lies on a settled one, or the other way round:
        a molecule near a boundary may be seen in another size, or two as one, and is counted once all the same.
    """
    known = np.zeros(len(found), dtype=bool)
    boxes, others = found.boxes.astype(np.float64), settled.boxes.astype(np.float64)
    overlap = box_iou(boxes, others)
    for index, other in np.argwhere(overlap > 0).tolist():
        if known[index]:
            continue
        one = (boxes[index], found.masks[index], others[other], settled.masks[other])
        share = overlap[index, other] if manifest.nms_kind == "box" else mask_iou(*one)
        known[index] = (
            share > manifest.nms_iou
            or _lies_on(boxes[index], others[other], settled.masks[other])
            or _lies_on(others[other], boxes[index], found.masks[index])
        )
    return known


def _lies_on(box: NDArray[np.float64], other: NDArray[np.float64], mask: NDArray[np.float32]) -> bool:
    """Whether the middle of a box lies on a mask over another one."""
    middle = (box[:2] + box[2:]) / 2
    x, y = ((middle - other[:2]) / (other[2:] - other[:2])).tolist()
    if not (0 <= x < 1 and 0 <= y < 1):
        return False
    rows, columns = mask.shape
    return bool(mask[int(y * rows), int(x * columns)] > MASK_THRESHOLD)


def joined(one: Detections, other: Detections) -> Detections:
    """Detections after detections, in this order."""
    if len(one) == 0 or len(other) == 0:
        return one if len(other) == 0 else other
    return Detections(
        boxes=np.concatenate([one.boxes, other.boxes]),
        scores=np.concatenate([one.scores, other.scores]),
        classes=np.concatenate([one.classes, other.classes]),
        masks=np.concatenate([one.masks, other.masks]),
    )
