"""Labelled pictures as the arrays that the network learns from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spm_live.training.labelled import LabelledMolecule, LabelledPicture, coverage_of
from spm_live.training.maskrcnn.config import NetworkConfig

SMALL_MASK = 56
"""Rows and columns of a mask over its box; twice what the mask head draws."""

EMPTY, IGNORE = -1, -2
LEAST_SIDE_PX = 2.0


def encode(pictures: Sequence[LabelledPicture], config: NetworkConfig) -> dict[str, NDArray[np.generic]]:
    """Make one batch.

    Parameters
    ----------
    pictures : sequence of LabelledPicture
        All of one shape, values 0 to 1; NaN becomes 0.
    config : NetworkConfig
        Names the classes. A molecule of another class is ignored; but where there is one class only, everything is it.

    Returns
    -------
    dict of str to array
        ``image`` (B, rows, columns, 1) float32; ``boxes`` (B, G, 4) float32, x1, y1, x2, y2 of the visible part;
        ``classes`` (B, G) int32, -1 in empty places and -2 for what is to be ignored; ``masks`` (B, G, 56, 56) uint8,
        0 or 1 over the box. Of more than G molecules the smallest are left out, and learnt as background.
    """
    count = config.max_truths
    images = np.stack([np.nan_to_num(one.image, nan=0.0) for one in pictures])[..., None].astype(np.float32)
    boxes = np.zeros((len(pictures), count, 4), dtype=np.float32)
    classes = np.full((len(pictures), count), EMPTY, dtype=np.int32)
    masks = np.zeros((len(pictures), count, SMALL_MASK, SMALL_MASK), dtype=np.uint8)
    for number, picture in enumerate(pictures):
        rows, columns = picture.image.shape
        seen = [(one, _visible(one, rows, columns)) for one in picture.molecules]
        kept = [(one, box) for one, box in seen if min(box[2] - box[0], box[3] - box[1]) >= LEAST_SIDE_PX]
        kept.sort(key=lambda pair: (pair[0].ignore, -_area(pair[1])))
        for place, (one, box) in enumerate(kept[:count]):
            boxes[number, place] = box
            classes[number, place] = _class_of(one, config)
            if classes[number, place] >= 0:
                masks[number, place] = _small_mask(one, box)
    return {"image": images, "boxes": boxes, "classes": classes, "masks": masks}


def _class_of(molecule: LabelledMolecule, config: NetworkConfig) -> int:
    if molecule.ignore:
        return IGNORE
    if len(config.classes) == 1:
        return 0
    return config.classes.index(molecule.label) if molecule.label in config.classes else IGNORE


def _visible(molecule: LabelledMolecule, rows: int, columns: int) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = molecule.box_px
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(columns)), min(y2, float(rows))


def _area(box: tuple[float, float, float, float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _small_mask(molecule: LabelledMolecule, box: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    corner = np.array(box[:2])
    scale = SMALL_MASK / np.array([box[2] - box[0], box[3] - box[1]])
    rings = [(ring - corner) * scale for ring in molecule.rings]
    return (coverage_of(rings, (SMALL_MASK, SMALL_MASK)) >= 0.5).astype(np.uint8)
