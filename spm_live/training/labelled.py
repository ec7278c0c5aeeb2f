"""A picture and what a person, or a generator, says is on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]
"""(K, 2) corners of a closed line: x (column) and y (row) in pixels, where pixel d covers d to d + 1."""

FINE_BITS = 4
FINE = 8
"""Outlines are filled on a grid this many times finer, then averaged: OpenCV's own fill is half a pixel too fat."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledMolecule:
    """One molecule.

    Parameters
    ----------
    label : str
        Its class.
    rings : tuple of (K, 2) float64 array
        Its outline, x and y in pixels, where pixel d covers d to d + 1 (Heckbert 1990). Several rings are filled by the
        even-odd rule, so that a molecule may have holes or lie in pieces.
    ignore : bool
        True where it is not known whether or what it is: neither a molecule to be found nor background.
    """

    label: str
    rings: tuple[Ring, ...]
    ignore: bool = False

    @property
    def box_px(self) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2: edges of the outline, in pixels."""
        points = np.concatenate(self.rings)
        (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
        return float(x1), float(y1), float(x2), float(y2)

    def moved(self, shift_px: tuple[float, float]) -> LabelledMolecule:
        """The same molecule further along x and y."""
        return LabelledMolecule(self.label, tuple(ring + np.array(shift_px) for ring in self.rings), self.ignore)


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPicture:
    """One picture with all its molecules.

    Parameters
    ----------
    name : str
        What people call it; a file name as a rule.
    image : (rows, columns) float32 array
        Heights or grey levels, 0 to 1; NaN where not scanned.
    molecules : tuple of LabelledMolecule
        In any order.
    nm_per_px : float or None
        Scale, where it is known.
    """

    name: str
    image: NDArray[np.float32]
    molecules: tuple[LabelledMolecule, ...]
    nm_per_px: float | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """Classes that occur, sorted."""
        return tuple(sorted({one.label for one in self.molecules if not one.ignore}))


def coverage_of(rings: Sequence[Ring], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Which part of each pixel lies within an outline.

    Parameters
    ----------
    rings : sequence of (K, 2) float64 array
        As in :class:`LabelledMolecule`.
    shape : (int, int)
        Rows and columns.

    Returns
    -------
    (rows, columns) float32 array
        0 to 1, in steps of 1 / 64.
    """
    fine = np.zeros((shape[0] * FINE, shape[1] * FINE), dtype=np.uint8)
    # OpenCV counts from pixel centres, and takes fixed-point numbers.
    fixed = [np.round((np.asarray(ring) * FINE - 0.5) * (1 << FINE_BITS)).astype(np.int32) for ring in rings]
    cv2.fillPoly(fine, fixed, (255,), shift=FINE_BITS)
    small = cv2.resize(fine, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32) / np.float32(255)


def mask_of(molecule: LabelledMolecule, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels of a molecule: those that lie within its outline by at least half.

    Returns
    -------
    (rows, columns) bool array
    """
    mask = np.zeros(shape, dtype=np.bool_)
    x1, y1, x2, y2 = molecule.box_px
    left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
    right, bottom = min(shape[1], int(np.ceil(x2))), min(shape[0], int(np.ceil(y2)))
    if right <= left or bottom <= top:
        return mask
    corner = np.array([left, top], dtype=np.float64)
    part = coverage_of([ring - corner for ring in molecule.rings], (bottom - top, right - left))
    mask[top:bottom, left:right] = part >= 0.5
    return mask


def rings_of(mask: NDArray[np.bool_]) -> tuple[Ring, ...]:
    """Outline of a mask, along the edges of its pixels smoothed by half a pixel.

    Parameters
    ----------
    mask : (rows, columns) bool array

    Returns
    -------
    tuple of (K, 2) float64 array
        Outer rings and holes, to be filled by the even-odd rule; empty for an empty mask.
    """
    # At twice the size every pixel is 2 x 2 points, so that a contour through their centres encloses area even for a
    # single pixel: it lies a quarter of a pixel within the true edge.
    doubled = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return tuple((contour[:, 0, :].astype(np.float64) + 0.5) / 2 for contour in contours if len(contour) >= 3)
