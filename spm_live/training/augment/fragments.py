"""What a picture shows and nobody labelled: molecules cut by its border, and their mirror images beyond it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.training.augment.outlines import clip
from spm_live.training.labelled import LabelledMolecule, LabelledPicture, Ring, coverage_of, rings_of

FRAGMENT = "fragment"
"""Class name of what is only there to be ignored."""
LEAST_PART = 0.04
"""Fragments smaller than this part of a molecule are background."""
SEAM_PX = 1.5
"""An outline that comes as near as this to the border is taken to be cut by it."""


def side_of(molecules: Sequence[LabelledMolecule]) -> float:
    """Median side of the molecules' boxes (root of the area), in pixels; 32 where there are none."""
    boxes = np.array([one.box_px for one in molecules if not one.ignore]).reshape(-1, 4)
    if not len(boxes):
        return 32.0
    return float(np.median(np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))))


def covered(molecules: Sequence[LabelledMolecule], shape: tuple[int, int], grow_px: float = 0.0) -> NDArray[np.bool_]:
    """Pixels under any outline, and those within a distance of one."""
    mask = np.zeros(shape, dtype=np.uint8)
    for one in molecules:
        x1, y1, x2, y2 = one.box_px
        left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
        right, bottom = min(shape[1], int(np.ceil(x2))), min(shape[0], int(np.ceil(y2)))
        if right > left and bottom > top:
            corner = np.array([left, top], dtype=np.float64)
            part = coverage_of([ring - corner for ring in one.rings], (bottom - top, right - left))
            mask[top:bottom, left:right] |= (part >= 0.5).astype(np.uint8)
    if grow_px > 0 and mask.any():
        distance = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)
        return np.asarray(distance <= grow_px)
    return mask.astype(np.bool_)


def with_fragments(picture: LabelledPicture) -> LabelledPicture:
    """Mark what looks like a molecule, is cut by the border, and has no label, as not to be learnt from.

    Parameters
    ----------
    picture : LabelledPicture

    Returns
    -------
    LabelledPicture
        With further molecules of the class ``"fragment"``, all ignored, none larger than a molecule. Unchanged where
        nothing is labelled, or where labelled and other pixels do not differ in height.

    Notes
    -----
    People leave out what the border cuts. Taken as background it would teach that half a molecule is none. A pixel
    counts as molecule where it is about as high (for dark molecules: as low) as four fifths of those under the labels.
    Necks thinner than a sixth of a molecule are cut, and only pieces that touch the border are marked, no further in
    than a molecule reaches: what lies within stays background.
    """
    image, shape = picture.image, picture.image.shape[:2]
    side = side_of(picture.molecules)
    under = covered(picture.molecules, shape)
    scanned = np.isfinite(image)
    inner, outer = image[under & scanned], image[~under & scanned]
    if not inner.size or not outer.size:
        return picture
    dark = float(np.median(inner)) < float(np.median(outer))
    ground = float(np.quantile(outer, 0.9 if dark else 0.1))
    level = ground + 0.95 * (float(np.quantile(inner, 0.8 if dark else 0.2)) - ground)
    free = (image < level if dark else image > level) & scanned & ~under
    reach = max(1, round(side))
    free[reach:-reach, reach:-reach] = False
    width = max(3, round(side / 6) | 1)
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    # Beyond the border a fragment goes on, so that the brush must not be stopped by it.
    wide = cv2.copyMakeBorder(free.astype(np.uint8), width, width, width, width, cv2.BORDER_REPLICATE)
    thick = cv2.morphologyEx(wide, cv2.MORPH_OPEN, brush)[width:-width, width:-width].astype(np.bool_)
    areas = [_box_area(one) for one in picture.molecules]
    found = _border_pieces(thick, side, LEAST_PART * float(np.median(areas)))
    marked = tuple(LabelledMolecule(FRAGMENT, rings, ignore=True) for rings in found)
    return replace(picture, molecules=picture.molecules + marked)


def _box_area(molecule: LabelledMolecule) -> float:
    x1, y1, x2, y2 = molecule.box_px
    return (x2 - x1) * (y2 - y1)


def _border_pieces(mask: NDArray[np.bool_], side: float, least_px: float) -> list[tuple[Ring, ...]]:
    """Pieces of what is connected to the border; cut along a grid, so that their boxes are no larger than molecules."""
    count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    at_border = np.zeros(count, dtype=np.bool_)
    at_border[edge] = True
    at_border[0] = False
    joined = at_border[parts]
    step = max(4, round(side))
    joined[step::step, :] = False
    joined[:, step::step] = False
    pieces, numbers, boxes, _ = cv2.connectedComponentsWithStats(joined.astype(np.uint8), connectivity=4)
    found = []
    for piece in range(1, pieces):
        x, y, width, height, area = (int(value) for value in boxes[piece])
        if area >= least_px:
            rings = rings_of(numbers[y : y + height, x : x + width] == piece)
            few = (cv2.approxPolyDP(ring.astype(np.float32), 1.0, True)[:, 0].astype(np.float64) for ring in rings)
            found.append(tuple(ring + np.array([x, y], dtype=np.float64) for ring in few if len(ring) >= 3))
    return found


def mirrored(picture: LabelledPicture, margin_px: int, *, flips: bool = True) -> LabelledPicture:
    """Continue a picture beyond its borders by its mirror images.

    Parameters
    ----------
    picture : LabelledPicture
        Outlines within it (:func:`spm_live.training.augment.outlines.trimmed`).
    margin_px : int
        How far, at most as far as the picture is high and wide.
    flips : bool
        Whether a mirror image of a molecule is of the same class; if not, the images are ignored.

    Returns
    -------
    LabelledPicture
        Larger by the margin on all sides; the old corner lies at (margin, margin). A molecule that the old border cuts
        runs into its own image there: both together are one ignored molecule.
    """
    rows, columns = picture.image.shape
    margin = min(margin_px, rows, columns)
    image = cv2.copyMakeBorder(picture.image, margin, margin, margin, margin, cv2.BORDER_REFLECT)
    window = (float(-margin), float(-margin), float(columns + margin), float(rows + margin))
    joined = [_joined(one, rows, columns) for one in picture.molecules]
    found: dict[tuple[object, ...], LabelledMolecule] = {}
    for mirror_x in (None, 0.0, float(columns)):
        for mirror_y in (None, 0.0, float(rows)):
            handed = (mirror_x is None) != (mirror_y is None) and not flips
            for one in joined:
                left = clip(_mirror(one, mirror_x, mirror_y, ignore=handed or one.ignore), window)
                if left is not None:
                    moved = left.moved((margin, margin))
                    # What was joined across a border is found from both of its sides.
                    found.setdefault((moved.label, *np.round(moved.box_px, 3).tolist()), moved)
    return replace(picture, image=np.asarray(image, dtype=np.float32), molecules=tuple(found.values()))


def _joined(molecule: LabelledMolecule, rows: int, columns: int) -> LabelledMolecule:
    """A molecule that the border cuts, together with its mirror image beyond; any other as it is."""
    for axis, limit in ((0, 0.0), (0, float(columns)), (1, 0.0), (1, float(rows))):
        box = molecule.box_px
        if min(abs(box[axis] - limit), abs(box[axis + 2] - limit)) < SEAM_PX:
            image = _mirror(molecule, *((limit, None) if axis == 0 else (None, limit)), ignore=True)
            molecule = LabelledMolecule(molecule.label, molecule.rings + image.rings, ignore=True)
    return molecule


def _mirror(
    molecule: LabelledMolecule, mirror_x: float | None, mirror_y: float | None, *, ignore: bool
) -> LabelledMolecule:
    sign = np.array([1.0 if mirror_x is None else -1.0, 1.0 if mirror_y is None else -1.0])
    shift = np.array([2 * (mirror_x or 0.0), 2 * (mirror_y or 0.0)])
    return LabelledMolecule(molecule.label, tuple(ring * sign + shift for ring in molecule.rings), ignore)
