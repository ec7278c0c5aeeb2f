"""Labelled molecules cut out of their pictures, and what lies under them: what new pictures are put together from."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.training.augment.affine import about, smooth_warp
from spm_live.training.augment.fragments import covered, side_of
from spm_live.training.augment.outlines import moved_by
from spm_live.training.labelled import LabelledMolecule, LabelledPicture, coverage_of

FEATHER = 0.025
"""Standard deviation of the soft edge around a cut-out molecule, in sides of a molecule."""
GROUND = 0.08
"""Pixels nearer to a label than this, in sides of a molecule, are not taken for background."""
LEAST_GROUND = 0.01
"""If that leaves less than this part of a picture, only the labels themselves are left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """A molecule without its surroundings.

    Parameters
    ----------
    molecule : LabelledMolecule
        Its outline in pixels of ``layers``.
    layers : (rows, columns, 3) float32 array
        Grey levels, 0 to 1; how much of each counts, 1 up to the outline, falling to 0 softly outside; and which part
        of each pixel lies within the outline.
    """

    molecule: LabelledMolecule
    layers: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Stamp:
    """A molecule turned and scaled, ready to be put onto a picture.

    Parameters
    ----------
    molecule : LabelledMolecule
        Its outline in pixels of ``values``.
    values, cover : (rows, columns) float32 array
        As the first layers of :class:`Sprite`.
    solid : (rows, columns) bool array
        Pixels within the outline by at least half.
    area_px : int
        Number of them.
    """

    molecule: LabelledMolecule
    values: NDArray[np.float32]
    cover: NDArray[np.float32]
    solid: NDArray[np.bool_]
    area_px: int


def cut_out(picture: LabelledPicture) -> tuple[Sprite, ...]:
    """Cut out every molecule that is wholly seen.

    Parameters
    ----------
    picture : LabelledPicture

    Returns
    -------
    tuple of Sprite
        Without ignored molecules, those at the border, and those that were not scanned completely.
    """
    rows, columns = picture.image.shape
    soft = max(0.6, FEATHER * side_of(picture.molecules))
    grown = int(np.ceil(1.5 * soft))
    margin = int(np.ceil(3 * soft)) + grown + 2
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grown + 1, 2 * grown + 1))
    sprites = []
    for one in picture.molecules:
        x1, y1, x2, y2 = one.box_px
        if one.ignore or min(x1, y1, columns - x2, rows - y2) < 1.5:
            continue
        left, top = int(np.floor(x1)) - margin, int(np.floor(y1)) - margin
        shape = int(np.ceil(y2)) + margin - top, int(np.ceil(x2)) + margin - left
        values = _window(picture.image, left, top, shape)
        moved = one.moved((-left, -top))
        part = coverage_of(moved.rings, shape)
        # Grown first: soft inside the outline, a bright molecule would come out smaller than its outline.
        cover = np.asarray(cv2.GaussianBlur(cv2.dilate(part, brush), (0, 0), soft), dtype=np.float32)
        if np.isnan(values[part > 0]).any():
            continue
        known = np.nan_to_num(values, nan=float(np.nanmin(values)))
        sprites.append(Sprite(moved, np.ascontiguousarray(np.stack([known, cover, part], axis=-1))))
    return tuple(sprites)


def _window(image: NDArray[np.float32], left: int, top: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """A window that may reach beyond the image, where it shows the edge pixel."""
    row = np.clip(np.arange(top, top + shape[0]), 0, image.shape[0] - 1)
    column = np.clip(np.arange(left, left + shape[1]), 0, image.shape[1] - 1)
    return image[np.ix_(row, column)]


def stamp_of(sprite: Sprite, part: NDArray[np.float64]) -> Stamp:
    """Turn and scale a molecule.

    Parameters
    ----------
    sprite : Sprite
    part : (2, 2) float64 array
        As :func:`spm_live.training.augment.affine.linear` gives it.
    """
    rows, columns = sprite.layers.shape[:2]
    extent = np.abs(part) @ [columns, rows]
    shape = int(np.ceil(extent[1])) + 1, int(np.ceil(extent[0])) + 1
    matrix = about(part, (columns / 2, rows / 2), (shape[1] / 2, shape[0] / 2))
    molecule = moved_by(sprite.molecule, lambda points: points @ part.T + matrix[:, 2])
    # Beyond the sprite its edge goes on, where the cover is 0.
    warped = smooth_warp(sprite.layers, matrix, shape)
    values, cover = np.ascontiguousarray(warped[..., 0]), np.ascontiguousarray(warped[..., 1])
    solid = warped[..., 2] >= 0.5
    return Stamp(molecule, values, cover, solid, int(np.count_nonzero(solid)))


def background_of(picture: LabelledPicture) -> NDArray[np.float32]:
    """Take away all molecules.

    Parameters
    ----------
    picture : LabelledPicture
        Fragments at its border marked, so that they go as well.

    Returns
    -------
    (rows, columns) float32 array
        The picture where nothing is labelled; under labels a smooth continuation with noise as around them. Where next
        to nothing is free, the low tenth of the picture with that noise.
    """
    image, shape = picture.image, picture.image.shape[:2]
    scanned = np.isfinite(image)
    free = scanned & ~covered(picture.molecules, shape, GROUND * side_of(picture.molecules))
    if free.mean() < LEAST_GROUND:
        free = scanned & ~covered(picture.molecules, shape)
    if not free.any():
        ground = float(np.quantile(image[scanned], 0.1)) if scanned.any() else 0.0
        return np.full(shape, ground, dtype=np.float32)
    known = free.astype(np.float32)
    filled = _fill(np.where(free, image, np.float32(0)).astype(np.float32), known)
    whole = np.where(free, image, filled)
    grain = whole - cv2.GaussianBlur(whole, (0, 0), 1.0)
    spread = 1.4826 * float(np.median(np.abs(grain[free]))) * 1.35  # a blur of one pixel leaves 3/4 of white noise
    rng = np.random.default_rng(0)  # the same background for the same picture
    noisy = filled + np.float32(spread) * rng.standard_normal(shape, dtype=np.float32)
    return np.clip(np.where(free, image, noisy), 0, 1).astype(np.float32)


def _fill(values: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Continue values into gaps: coarser and coarser means where finer ones know nothing (push-pull, Gortler 1996).

    ``values`` are already multiplied by ``weight``, 0 to 1.
    """
    if min(values.shape) <= 2 or float(weight.min()) > 0.999:
        total = float(weight.sum())
        mean = float(values.sum()) / total if total else 0.0
        return np.where(weight > 1e-6, values / np.maximum(weight, 1e-6), np.float32(mean)).astype(np.float32)
    small_values = np.asarray(cv2.pyrDown(values), dtype=np.float32)
    small_weight = np.asarray(cv2.pyrDown(weight), dtype=np.float32)
    # Weights that are let grow to one make means of few pixels count as much as those of many.
    grown = np.minimum(small_weight * 4, np.float32(1))
    known: NDArray[np.float32] = (small_values * (grown / np.maximum(small_weight, 1e-6))).astype(np.float32)
    coarse = _fill(known, grown.astype(np.float32))
    smooth = np.asarray(cv2.resize(coarse, values.shape[::-1], interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    return values + (1 - weight) * smooth
