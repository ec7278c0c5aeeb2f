"""From what a network said about each tile to the detections of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.detect.manifest import Manifest
from spm_live.detect.nms import select, suppress
from spm_live.domain import Detections, Letterbox

CUT_MARGIN_PX = 2.0
"""A box that ends this near to an inner border of its tile may have been cut by it."""


@dataclass(frozen=True, slots=True, eq=False)
class TileDetections:
    """Detections of some tiles, in pixels of the picture, and which tile each one comes from.

    Parameters
    ----------
    found : Detections
        N of them; boxes may reach over the picture.
    tile : (N,) int64 array
        Index of the tile.
    """

    found: Detections
    tile: NDArray[np.int64]


def merge_tiles(
    parts: Sequence[TileDetections], origins: NDArray[np.int64], letterbox: Letterbox, manifest: Manifest
) -> Detections:
    """Make one list of detections out of those of overlapping tiles.

    Parameters
    ----------
    parts : sequence of TileDetections
        Those of all tiles; scores free of NaN.
    origins : (tiles, 2) int64 array
        Row and column of each tile's upper left pixel.
    letterbox : Letterbox
        Shape of the picture.
    manifest : Manifest
        Shape of a tile, thresholds.

    Returns
    -------
    Detections
        In falling score: those that score enough, have a finite box with an area in the picture, are not cut by a
        border that another tile reaches over, and survive non-maximum suppression.
    """
    if not parts:
        return no_detections()
    fields = ("boxes", "scores", "classes", "masks")
    found = Detections(*(np.concatenate([getattr(part.found, name) for part in parts]) for name in fields))
    tile = np.concatenate([part.tile for part in parts])
    sound = np.isfinite(found.boxes).all(axis=1) & np.isfinite(found.scores) & (found.scores >= manifest.min_score)
    found, tile = select(found, sound), tile[sound]
    spec = manifest.input
    corners = origins[tile][:, ::-1].astype(np.float32)
    limits = np.array([letterbox.columns, letterbox.rows], dtype=np.float32)
    ends = np.minimum(corners + np.array([spec.columns, spec.rows], dtype=np.float32), limits)
    found, whole = clip(found, corners, ends)
    tile = tile[whole]
    cut = cut_by_tile(found.boxes, tile, origins, (spec.rows, spec.columns), (letterbox.rows, letterbox.columns))
    return suppress(select(found, ~cut), manifest.nms_iou, manifest.nms_kind)


def no_detections() -> Detections:
    """What is found where nothing was looked at."""
    return Detections(
        boxes=np.zeros((0, 4), dtype=np.float32),
        scores=np.zeros(0, dtype=np.float32),
        classes=np.zeros(0, dtype=np.int64),
        masks=np.zeros((0, 1, 1), dtype=np.float32),
    )


def clip(
    detections: Detections, low: NDArray[np.float32], high: NDArray[np.float32]
) -> tuple[Detections, NDArray[np.bool_]]:
    """Cut boxes, and the masks over them, to what the network saw.

    Parameters
    ----------
    detections : Detections
        N of them.
    low, high : (N, 2) float32 array
        x and y that each box may begin and end at.

    Returns
    -------
    detections : Detections
        Those that have an area left.
    which : (N,) bool array
        Which these are.
    """
    boxes = np.concatenate(
        [np.clip(detections.boxes[:, :2], low, high), np.clip(detections.boxes[:, 2:], low, high)], axis=1
    )
    which = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    masks = detections.masks
    changed = np.flatnonzero(which & (boxes != detections.boxes).any(axis=1))
    if changed.size:
        masks = masks.copy()
        for index in changed.tolist():
            masks[index] = _crop_mask(detections.masks[index], detections.boxes[index], boxes[index])
    clipped = Detections(boxes=boxes, scores=detections.scores, classes=detections.classes, masks=masks)
    return select(clipped, which), which


def cut_by_tile(
    boxes: NDArray[np.float32],
    tile: NDArray[np.int64],
    origins: NDArray[np.int64],
    tile_shape: tuple[int, int],
    picture_shape: tuple[int, int],
) -> NDArray[np.bool_]:
    """Find boxes that a tile's inner border may have cut while another tile sees the object whole.

    Parameters
    ----------
    boxes : (N, 4) float32 array
        x1, y1, x2, y2 in pixels of the picture.
    tile : (N,) int64 array
        Index of the tile that each comes from.
    origins : (tiles, 2) int64 array
        Row and column of each tile's upper left pixel.
    tile_shape, picture_shape : (int, int)
        Rows and columns.

    Returns
    -------
    (N,) bool array
        True for a box that ends within 2 px of a border of its tile inside the picture, if some other tile holds it
        with more than 2 px to spare at all of its own inner borders.

    Notes
    -----
    Tiles overlap by at least the largest molecule. So the tile next door sees whole what a border cuts: what it says
    counts, also if it says that nothing is there. A larger object, cut by both, keeps both pieces: nothing is lost, and
    non-maximum suppression decides.
    """
    begin = origins[:, ::-1].astype(np.float64)
    end = begin + np.array(tile_shape[::-1])
    inner_begin = np.where(begin > 0, begin + CUT_MARGIN_PX, -np.inf)
    inner_end = np.where(end < np.array(picture_shape[::-1]), end - CUT_MARGIN_PX, np.inf)
    clear = (
        (boxes[:, None, 0] > inner_begin[None, :, 0])
        & (boxes[:, None, 1] > inner_begin[None, :, 1])
        & (boxes[:, None, 2] < inner_end[None, :, 0])
        & (boxes[:, None, 3] < inner_end[None, :, 1])
    )
    return ~clear[np.arange(len(boxes)), tile] & clear.any(axis=1)


def _crop_mask(mask: NDArray[np.float32], box: NDArray[np.float32], part: NDArray[np.float32]) -> NDArray[np.float32]:
    """Resample a mask over a box to the part of the box that is left."""
    size = mask.shape[0]
    step = (part[2:] - part[:2]) / (box[2:] - box[:2])
    start = (part[:2] - box[:2]) / (box[2:] - box[:2]) * size
    # The centre of new cell k lies (k + 0.5) * step behind the start, in old cells, whose own centres lie at + 0.5.
    offset = start + 0.5 * step - 0.5
    matrix = np.array([[step[0], 0, offset[0]], [0, step[1], offset[1]]], dtype=np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cropped = cv2.warpAffine(mask, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cropped, dtype=np.float32)
