"""Bending a picture by a smooth field of displacements: elastic deformation, and what drift and creep do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.training.augment.outlines import KEEP_VISIBLE, densified, seen_of
from spm_live.training.labelled import LabelledMolecule, LabelledPicture

ROUNDS = 8
"""Fixed-point rounds that invert a field; each one leaves at most its steepness (under a half) of the error."""


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """Where each pixel of the result comes from.

    Parameters
    ----------
    dx, dy : (rows, columns) float32 array
        The result at pixel p shows the picture at p + (dx, dy), in pixels. Changes by less than one half a pixel.
    """

    dx: NDArray[np.float32]
    dy: NDArray[np.float32]

    def forward(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Tell where points of the picture come to lie.

        Parameters
        ----------
        points : (N, 2) float64 array
            x and y in pixel-edge coordinates.

        Notes
        -----
        q + d(q) = p is solved by q <- p - d(q), which converges where d changes by less than one pixel a pixel.
        """
        found = points.copy()
        for _ in range(ROUNDS):
            found = points - self._at(found)
        return found

    def _at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Displacement between pixel centres, linearly; beyond the picture that of its edge."""
        rows, columns = self.dx.shape
        # Interpolated within the last whole cell, so that its far side is reached with a weight of one.
        x = np.clip(points[:, 0] - 0.5, 0, columns - 1)
        y = np.clip(points[:, 1] - 0.5, 0, rows - 1)
        column, row = np.minimum(x.astype(int), columns - 2), np.minimum(y.astype(int), rows - 2)
        right, below = x - column, y - row
        sampled = []
        for field in (self.dx, self.dy):
            top = field[row, column] * (1 - right) + field[row, column + 1] * right
            bottom = field[row + 1, column] * (1 - right) + field[row + 1, column + 1] * right
            sampled.append(top * (1 - below) + bottom * below)
        return np.stack(sampled, axis=1)


def bend(picture: LabelledPicture, field: Field, keep_visible: float = KEEP_VISIBLE) -> LabelledPicture:
    """Bend a picture, outlines in step.

    Parameters
    ----------
    picture : LabelledPicture
    field : Field
        Of the picture's shape.
    keep_visible : float
        Molecules of which a smaller part stays in the picture are ignored.

    Returns
    -------
    LabelledPicture
        Of the same shape; what comes from beyond the edge shows the picture's edge pixel.
    """
    return replace(
        picture,
        image=bend_image(picture.image, field),
        molecules=seen_of(_fine(picture.molecules), field.forward, picture.image.shape[:2], keep_visible),
    )


def bend_image(image: NDArray[np.float32], field: Field) -> NDArray[np.float32]:
    """Bend an image; NaN where less than half of what a pixel is made of was scanned."""
    rows, columns = image.shape
    x = field.dx + np.arange(columns, dtype=np.float32)[None, :]
    y = field.dy + np.arange(rows, dtype=np.float32)[:, None]
    if not np.isnan(image.sum()):
        return _remap(image, x, y)
    scanned = np.isfinite(image)
    values = _remap(np.where(scanned, image, np.float32(0)), x, y)
    cover = _remap(scanned.astype(np.float32), x, y)
    result = np.full(image.shape, np.nan, dtype=np.float32)
    np.divide(values, cover, out=result, where=cover >= 0.5)
    return result


def _remap(image: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.float32)


def _fine(molecules: Sequence[LabelledMolecule]) -> list[LabelledMolecule]:
    if not molecules:
        return []
    rings = iter(densified([ring for one in molecules for ring in one.rings]))
    return [LabelledMolecule(one.label, tuple(next(rings) for _ in one.rings), one.ignore) for one in molecules]


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], amount_px: float, grain_px: float) -> Field:
    """Draw a smooth random field.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (int, int)
        Rows and columns.
    amount_px : float
        Standard deviation of the displacement, in pixels; less where the field would fold.
    grain_px : float
        Distance over which it changes.

    Returns
    -------
    Field
    """
    rows, columns = shape
    coarse = max(4, round(rows / grain_px) + 3), max(4, round(columns / grain_px) + 3)
    # Cubic interpolation of unit noise on a grid is steep by at most about 2 standard deviations a grid step.
    amount = min(amount_px, 0.12 * min(rows / coarse[0], columns / coarse[1]))
    steps = (np.clip(rng.standard_normal(coarse), -2, 2) * amount for _ in range(2))
    dx, dy = (cv2.resize(step.astype(np.float32), (columns, rows), interpolation=cv2.INTER_CUBIC) for step in steps)
    return Field(np.asarray(dx, dtype=np.float32), np.asarray(dy, dtype=np.float32))
