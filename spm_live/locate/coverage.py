"""How much of what was scanned lies under masks."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.locate.shapes import MASK_THRESHOLD

LOOK_UP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
"""How OpenCV is to sample a mask where a matrix says, which leads from the pixel to the place in the mask."""


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
    first, count, matrices = _windows(boxes, masks.shape[1])
    for number in range(class_count):
        of_class = np.flatnonzero((classes == number) & (count > 0).all(axis=1))
        if of_class.size == 0:
            continue
        layer = np.zeros(scanned.shape, dtype=bool)
        places = zip(of_class.tolist(), first[of_class].tolist(), count[of_class].tolist(), strict=True)
        for index, (x, y), (columns, rows) in places:
            painted = cv2.warpAffine(
                masks[index], matrices[index], (columns, rows), flags=LOOK_UP, borderMode=cv2.BORDER_REPLICATE
            )
            view = layer[y : y + rows, x : x + columns]
            view |= painted > MASK_THRESHOLD
        layer &= scanned
        by_class[number] = int(np.count_nonzero(layer))
        everything |= layer
    return int(np.count_nonzero(everything)), by_class


def _windows(boxes: NDArray[np.float64], side: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Pixels whose centres lie in boxes, and how they lie in the boxes' masks.

    Parameters
    ----------
    boxes : (N, 4) float array
        x1, y1, x2, y2 in frame pixels: edges.
    side : int
        Cells along each side of a mask.

    Returns
    -------
    first : (N, 2) int array
        Column and row of the first pixel.
    count : (N, 2) int array
        Columns and rows; not positive where a box lies between pixel centres.
    matrices : (N, 2, 3) float array
        From pixels, counted from the first, to cells, counted from the middle of the first.
    """
    first = np.ceil(boxes[:, :2] - 0.5)
    count = np.floor(boxes[:, 2:] - 0.5) + 1 - first
    extent = boxes[:, 2:] - boxes[:, :2]
    cells = np.divide(side, extent, out=np.zeros_like(extent), where=extent > 0)
    matrices = np.zeros((len(boxes), 2, 3))
    matrices[:, [0, 1], [0, 1]] = cells
    matrices[:, :, 2] = (first + 0.5 - boxes[:, :2]) * cells - 0.5
    return first.astype(np.intp), count.astype(np.intp), matrices
