"""Labelled pictures as the model will be shown them: by the very code that prepares real frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.detect.manifest import Manifest
from spm_live.domain import InputSpec
from spm_live.prepare import letterbox_for, prepare, resample
from spm_live.training.evaluation.predictions import frame_of
from spm_live.training.labelled import LabelledMolecule, LabelledPicture, coverage_of, rings_of
from spm_live.training.learning.settings import Shown

FINE = 4
"""Outlines are moved on a grid this many times finer than the picture."""


def widened(picture: LabelledPicture, by_px: float) -> LabelledPicture:
    """Move the outlines of a picture outwards; what is to be ignored stays as it is.

    Parameters
    ----------
    picture : LabelledPicture
    by_px : float
        How far, in pixels; 0 or more.
    """
    if not by_px:
        return picture
    molecules = tuple(one if one.ignore else _widened(one, by_px) for one in picture.molecules)
    return replace(picture, molecules=molecules)


def _widened(molecule: LabelledMolecule, by_px: float) -> LabelledMolecule:
    x1, y1, x2, y2 = molecule.box_px
    margin = by_px + 2
    corner = np.floor([x1 - margin, y1 - margin])
    columns, rows = (np.ceil([x2 + margin, y2 + margin]) - corner).astype(int).tolist()
    rings = [(ring - corner) * FINE for ring in molecule.rings]
    inside = coverage_of(rings, (rows * FINE, columns * FINE)) >= 0.5
    away = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    moved = rings_of(np.asarray(away) <= by_px * FINE)
    return replace(molecule, rings=tuple(ring / FINE + corner for ring in moved))


def as_shown(picture: LabelledPicture, shown: Shown) -> LabelledPicture:
    """Level a picture, bring it to the model's pixel pitch and contrast, and move its outlines with it.

    Parameters
    ----------
    picture : LabelledPicture
        As it was loaded; one whose scale is not known is taken to have the model's pitch.
    shown : Shown
        What the model wants.

    Returns
    -------
    LabelledPicture
        0 to 1; NaN where not scanned.

    Raises
    ------
    FrameError
        If it would become too large at the model's pitch.
    """
    frame, _ = frame_of(picture, shown.nm_per_px)
    box = letterbox_for(frame.geometry, shown.nm_per_px, frame.info.ref)
    # One tile as large as the picture: windows are cut later, not by a grid.
    spec = InputSpec(box.rows, box.columns, shown.nm_per_px, 0, shown.levelling, shown.contrast)
    made = prepare(frame, spec)
    if not len(made.tiles):
        image = np.full((box.rows, box.columns), np.nan, dtype=np.float32)
    else:
        image = np.array(made.tiles[0])
        if np.isnan(made.levelled).any():  # tiles have 0 there
            image[np.isnan(resample(made.levelled, box.rows, box.columns))] = np.nan
    scale = np.array([box.scale_x, box.scale_y])
    molecules = tuple(replace(one, rings=tuple(ring * scale for ring in one.rings)) for one in picture.molecules)
    return replace(picture, image=image, molecules=molecules, nm_per_px=shown.nm_per_px or picture.nm_per_px)


def continued(image: NDArray[np.float32], shown: Shown) -> NDArray[np.float32]:
    """Continue a picture by its mirror image until it is whole tiles.

    Trained and exported network are compared on it. Where a tile is filled up with nothing, all proposals look alike,
    and rounding alone decides which of them a network that has learnt little takes: it would be told to differ.

    Parameters
    ----------
    image : (rows, columns) float32 array
        NaN where not scanned.
    shown : Shown
        Shape of a tile.

    Returns
    -------
    (n * shown.rows, m * shown.columns) float32 array
    """
    rows, columns = image.shape
    more = ((0, -rows % shown.rows), (0, -columns % shown.columns))
    return np.pad(np.asarray(image, dtype=np.float32), more, mode="symmetric")


def compared_with(pictures: Sequence[LabelledPicture], manifest: Manifest) -> list[tuple[str, NDArray[np.float32]]]:
    """Pictures as an exported network is calibrated with them and compared on: prepared as the model wants them.

    Returns
    -------
    list of (str, (rows, columns) float32 array)
        Names and whole tiles.
    """
    shown = Shown.model_validate(manifest.input.model_dump())
    return [(one.name, continued(as_shown(one, shown).image, shown)) for one in pictures]
