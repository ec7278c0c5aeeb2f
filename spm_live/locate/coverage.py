"""How much of what was scanned lies under masks."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.locate.shapes import MASK_THRESHOLD


def covered_pixels(
    boxes: NDArray[np.float64],
    masks: NDArray[np.float32],
    classes: NDArray[np.int64],
    class_count: int,
    scanned: NDArray[np.bool_],
) -> tuple[int, list[int]]:
    """Count scanned pixels whose centre lies under a mask.

    Parameters
    ----------
    boxes : (N, 4) float array
        x1, y1, x2, y2 in frame pixels: edges, inside the frame.
    masks : (N, M, M) float32 array
        Probabilities over the boxes.
    classes : (N,) int64 array
        0 to ``class_count - 1``.
    class_count : int
        Number of classes.
    scanned : (rows, columns) bool array
        Pixels that count.

    Returns
    -------
    total : int
        Under any mask, each pixel once.
    by_class : list of int
        Under any mask of the class, each pixel once.

    Notes
    -----
    Point counting: the share of the points of a grid that hit a shape measures its area without bias (Thomson, J. Geol.
    38 (1930) 193); here the points are the centres of the frame's pixels.
    """
    everything = np.zeros(scanned.shape, dtype=bool)
    by_class = [0] * class_count
    for number in np.unique(classes).tolist():
        layer = np.zeros(scanned.shape, dtype=bool)
        for index in np.flatnonzero(classes == number).tolist():
            _paint(layer, boxes[index].tolist(), masks[index])
        layer &= scanned
        by_class[number] = int(np.count_nonzero(layer))
        everything |= layer
    return int(np.count_nonzero(everything)), by_class


def _paint(layer: NDArray[np.bool_], box: list[float], mask: NDArray[np.float32]) -> None:
    """Set the pixels of a layer whose centre lies under a mask."""
    left, top, right, bottom = box
    first_x, first_y = math.ceil(left - 0.5), math.ceil(top - 0.5)
    columns, rows = math.floor(right - 0.5) + 1 - first_x, math.floor(bottom - 0.5) + 1 - first_y
    if columns < 1 or rows < 1:
        return
    cells_x, cells_y = mask.shape[1] / (right - left), mask.shape[0] / (bottom - top)
    matrix = np.array(
        [
            [cells_x, 0, (first_x + 0.5 - left) * cells_x - 0.5],
            [0, cells_y, (first_y + 0.5 - top) * cells_y - 0.5],
        ]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    painted = cv2.warpAffine(mask, matrix, (columns, rows), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    view = layer[first_y : first_y + rows, first_x : first_x + columns]
    view |= painted[: view.shape[0], : view.shape[1]] > MASK_THRESHOLD
