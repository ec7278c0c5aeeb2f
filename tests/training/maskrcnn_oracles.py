"""What each piece of Mask R-CNN has to compute, written as slowly and plainly as can be.

Loops over numbers, from the papers and from the definition of ONNX RoiAlign; nothing here looks at the code it judges.
Loaded by path (see ``conftest.py``), as tests are no package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Box = Sequence[float]


def area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def shared_area(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


def iou(a: Box, b: Box) -> float:
    shared = shared_area(a, b)
    return shared / (area(a) + area(b) - shared) if shared > 0 else 0.0


def anchors(
    rows: int, columns: int, stride: int, sizes: Sequence[float], ratios: Sequence[float]
) -> list[tuple[float, float, float, float]]:
    """Row by row, column by column, size by size, ratio (height over width) by ratio."""
    found = []
    for i in range(rows // stride):
        for j in range(columns // stride):
            for size in sizes:
                for ratio in ratios:
                    width = size / math.sqrt(ratio)
                    height = size * size / width
                    x, y = (j + 0.5) * stride, (i + 0.5) * stride
                    found.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return found


def encode(box: Box, anchor: Box, std: Sequence[float]) -> list[float]:
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    dx = ((box[0] + box[2]) / 2 - (anchor[0] + anchor[2]) / 2) / width
    dy = ((box[1] + box[3]) / 2 - (anchor[1] + anchor[3]) / 2) / height
    dw = math.log((box[2] - box[0]) / width)
    dh = math.log((box[3] - box[1]) / height)
    return [value / scale for value, scale in zip((dx, dy, dw, dh), std, strict=True)]


def decode(delta: Sequence[float], anchor: Box, std: Sequence[float]) -> list[float]:
    dx, dy, dw, dh = (float(value) * scale for value, scale in zip(delta, std, strict=True))
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    x = (anchor[0] + anchor[2]) / 2 + dx * width
    y = (anchor[1] + anchor[3]) / 2 + dy * height
    width *= math.exp(min(dw, math.log(1000 / 16)))
    height *= math.exp(min(dh, math.log(1000 / 16)))
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def clip(box: Box, rows: int, columns: int) -> list[float]:
    return [
        min(max(box[0], 0), columns),
        min(max(box[1], 0), rows),
        min(max(box[2], 0), columns),
        min(max(box[3], 0), rows),
    ]


def match_anchors(
    boxes: Sequence[Box], truths: Sequence[Box], classes: Sequence[int]
) -> tuple[list[int], list[bool], list[bool]]:
    """Truth, positive and negative of every anchor (Ren et al. 2015, 3.1.2, with a floor for the best anchor)."""
    counted = [k for k in range(len(truths)) if classes[k] >= 0]
    best_of = {k: max(iou(box, truths[k]) for box in boxes) for k in counted}
    truth, positive, negative = [], [], []
    for box in boxes:
        overlaps = [iou(box, truths[k]) if k in counted else 0.0 for k in range(len(truths))]
        best = max(overlaps)
        is_best = any(best_of[k] >= 0.2 and overlaps[k] >= best_of[k] - 1e-5 for k in counted)
        truth.append(overlaps.index(best))
        positive.append(best >= 0.7 or is_best)
        negative.append(best < 0.3 and not positive[-1] and not _on_ignored(box, truths, classes))
    return truth, positive, negative


def match_proposals(
    boxes: Sequence[Box], truths: Sequence[Box], classes: Sequence[int]
) -> tuple[list[int], list[bool], list[bool]]:
    """Truth, positive and negative of every proposal (Girshick 2015, section 2.3)."""
    truth, positive, negative = [], [], []
    for box in boxes:
        overlaps = [iou(box, truths[k]) if classes[k] >= 0 else 0.0 for k in range(len(truths))]
        best = max(overlaps)
        there = area(box) > 1
        truth.append(overlaps.index(best))
        positive.append(there and best >= 0.5)
        negative.append(there and best < 0.5 and not _on_ignored(box, truths, classes))
    return truth, positive, negative


def _on_ignored(box: Box, truths: Sequence[Box], classes: Sequence[int]) -> bool:
    return any(
        classes[k] == -2 and area(box) > 0 and shared_area(box, truths[k]) / area(box) > 0.5 for k in range(len(truths))
    )


def greedy(boxes: Sequence[Box], alive: Sequence[bool], limit: float, kinds: Sequence[int] | None = None) -> list[bool]:
    """Take the boxes in their order; each that is taken strikes out those after it that overlap it too much."""
    keep = list(alive)
    for i in range(len(boxes)):
        if not keep[i]:
            continue
        for j in range(i + 1, len(boxes)):
            same = kinds is None or kinds[i] == kinds[j]
            if keep[j] and same and iou(boxes[i], boxes[j]) > limit:
                keep[j] = False
    return keep


def propose(
    logits: Sequence[Any],
    deltas: Sequence[Any],
    anchors: Sequence[Any],
    shape: tuple[int, int],
    before: int,
    after: int,
    limit: float,
    std: Sequence[float],
) -> list[list[float]]:
    """Proposals of one picture, by falling score."""
    pool: list[tuple[float, list[float]]] = []
    for logit, delta, anchor in zip(logits, deltas, anchors, strict=True):
        for index in sorted(range(len(logit)), key=lambda k: -logit[k])[:before]:
            box = clip(decode(delta[index], [float(v) for v in anchor[index]], std), *shape)
            pool.append((float(logit[index]), box))
    pool.sort(key=lambda pair: -pair[0])
    boxes = [box for _, box in pool]
    keep = greedy(boxes, [True] * len(boxes), limit)
    return [box for box, kept in zip(boxes, keep, strict=True) if kept][:after]


def level_of(box: Box, levels: int, canonical_px: float) -> int:
    """Lin et al. 2017, equation 1, counted from level 2."""
    size = math.sqrt(max(box[2] - box[0], 1e-3) * max(box[3] - box[1], 1e-3))
    return min(max(math.floor(4 + math.log2(size / canonical_px)) - 2, 0), levels - 1)


def bilinear(level: np.ndarray, y: float, x: float) -> np.ndarray:
    """Value of a (h, w, C) map between its points, by the rules of ONNX RoiAlign."""
    h, w, channels = level.shape
    if y < -1 or y > h or x < -1 or x > w:
        return np.zeros(channels)
    y, x = min(max(y, 0.0), h - 1.0), min(max(x, 0.0), w - 1.0)
    i, j = int(y), int(x)
    below, right = min(i + 1, h - 1), min(j + 1, w - 1)
    dy, dx = y - i, x - j
    return np.asarray(
        (1 - dy) * ((1 - dx) * level[i, j] + dx * level[i, right])
        + dy * ((1 - dx) * level[below, j] + dx * level[below, right])
    )


def roi_align(level: np.ndarray, box: Box, stride: float, cells: int, samples: int) -> np.ndarray:
    """(cells, cells, C) of one region of one (h, w, C) map."""
    out = np.zeros((cells, cells, level.shape[2]))
    cell_w, cell_h = (box[2] - box[0]) / cells, (box[3] - box[1]) / cells
    for row in range(cells):
        for column in range(cells):
            for a in range(samples):
                for b in range(samples):
                    y = box[1] + cell_h * (row + (a + 0.5) / samples)
                    x = box[0] + cell_w * (column + (b + 0.5) / samples)
                    out[row, column] += bilinear(level, y / stride - 0.5, x / stride - 0.5) / samples**2
    return out


def true_mask(mask: np.ndarray, box: Box, roi: Box, side: int) -> np.ndarray:
    """What the mask head should draw in a region: the (m, m) mask over its box, read at the centres of the cells.

    Values, not yet rounded; 0 outside of the box.
    """
    m = mask.shape[0]
    out = np.zeros((side, side))
    for row in range(side):
        for column in range(side):
            y = roi[1] + (roi[3] - roi[1]) * (row + 0.5) / side
            x = roi[0] + (roi[2] - roi[0]) * (column + 0.5) / side
            if box[0] <= x <= box[2] and box[1] <= y <= box[3]:
                at_y = (y - box[1]) / (box[3] - box[1]) * m - 0.5
                at_x = (x - box[0]) / (box[2] - box[0]) * m - 0.5
                out[row, column] = bilinear(mask[..., None].astype(float), at_y, at_x)[0]
    return out


def softmax(logits: Sequence[float]) -> list[float]:
    top = max(logits)
    parts = [math.exp(value - top) for value in logits]
    return [part / sum(parts) for part in parts]


def sigmoid(value: Any) -> Any:
    return 1 / (1 + np.exp(-value))


def binary(logits: Any, wanted: Any, weight: Any) -> float:
    """Mean of -z log p - (1 - z) log (1 - p)."""
    total = 0.0
    for x, z, w in zip(np.ravel(logits), np.ravel(wanted), np.ravel(weight), strict=True):
        p = 1 / (1 + math.exp(-x))
        total += w * (-z * math.log(p) - (1 - z) * math.log(1 - p))
    return total / max(float(np.sum(weight)), 1.0)


def categorical(logits: Any, wanted: Any, weight: Any) -> float:
    total = 0.0
    flat = np.reshape(logits, (-1, np.shape(logits)[-1]))
    for x, k, w in zip(flat, np.ravel(wanted), np.ravel(weight), strict=True):
        total += -w * math.log(softmax([float(value) for value in x])[int(k)])
    return total / max(float(np.sum(weight)), 1.0)


def smooth_l1(told: Any, wanted: Any, weight: Any) -> float:
    """Girshick 2015, equation 3, summed over the numbers of a box."""
    total = 0.0
    for a, b, w in zip(np.reshape(told, (-1, 4)), np.reshape(wanted, (-1, 4)), np.ravel(weight), strict=True):
        for miss in abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)):
            total += w * (0.5 * miss**2 if miss < 1 else miss - 0.5)
    return total / max(float(np.sum(weight)), 1.0)
