"""A species drawn once, to be stamped onto the surface wherever a molecule of it lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.synthetic.shapes import Shape

OUTLINE_LEVEL = 0.48
"""An outline runs where the height is this part of that of the top: about half, as for a full width at half maximum.
People differ: where the labels of Zhu et al. 2022 face a hole of the layer, they run at 0.6 to 0.75."""

TOP_QUANTILE, BODY_LEVEL = 0.85, 0.3
"""The height of the top is this quantile of all that is higher than this part of the highest point: one bright lobe
alone does not raise it."""

REACH = 1.15
"""A stamp reaches this many widths of its molecule from the middle, so that soft edges have room to fall."""

SMALLEST, LARGEST = 40, 112
"""Sides of a stamp, in its own pixels."""

FINE = 256
"""The outline is followed on a grid of this many points a side."""


@dataclass(frozen=True, slots=True, eq=False)
class Stamp:
    """One species as the tip sees it.

    Parameters
    ----------
    family : str
        Of its shape.
    heights : (S, S) float32 array
        Top 1; 0 at the border; row 0 is at the top (largest y); negative in a dark rim.
    pitch_nm : float
        Of its pixels.
    outline_nm : (K, 2) float64 array
        The ring that a person would draw around it: x and y from the middle, y up.
    area_nm2 : float
        Within the outline.
    width_nm : float
        Largest distance between two corners of the outline.
    chiral : bool
        Whether its mirror image is another shape.
    """

    family: str
    heights: NDArray[np.float32]
    pitch_nm: float
    outline_nm: NDArray[np.float64]
    area_nm2: float
    width_nm: float
    chiral: bool

    @property
    def reach_nm(self) -> float:
        """Half of the side of the stamp."""
        return float(self.heights.shape[0] * self.pitch_nm / 2)


def make_stamp(shape: Shape, width_nm: float, tip_nm: float, pitch_nm: float, level: float = OUTLINE_LEVEL) -> Stamp:
    """Draw a shape at a given width as a tip of given bluntness sees it.

    Parameters
    ----------
    shape : Shape
        What to draw.
    width_nm : float
        Largest extent of its outline before the tip widens it, in nm.
    tip_nm : float
        Standard deviation of the blur by the tip, in nm.
    pitch_nm : float
        Finest pixel pitch of the frame, in nm.
    level : float
        Where the outline runs, as a part of the height of the top, 0 to 1.

    Returns
    -------
    Stamp
    """
    unit = _unit_width(shape, level)
    half_nm = REACH * width_nm + 2.5 * tip_nm
    side = int(np.clip(math.ceil(2 * half_nm / pitch_nm * 1.5), SMALLEST, LARGEST))
    pitch = 2 * half_nm / side
    axis = ((np.arange(side) + 0.5) * pitch - half_nm).astype(np.float32)
    scale = np.float32(unit / width_nm)
    heights = shape.heights(axis[None, :] * scale, -axis[:, None] * scale)
    if tip_nm > 0.3 * pitch:
        heights = np.asarray(cv2.GaussianBlur(heights, (0, 0), tip_nm / pitch), dtype=np.float32)
        heights /= max(float(heights.max()), 1e-6)
    ring = _outline(heights, level) * pitch - half_nm
    ring[:, 1] *= -1
    if shape.rim:
        heights = heights - np.float32(shape.rim) * _around(heights, 0.25 * width_nm / pitch)
    away = np.hypot(axis[None, :], axis[:, None]) / half_nm
    heights *= np.clip((1 - away) / 0.2, 0, 1)
    x, y = ring.T
    area = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    return Stamp(shape.family, np.ascontiguousarray(heights), pitch, ring, area, _extent(ring), shape.chiral)


def _unit_width(shape: Shape, level: float) -> float:
    """Largest extent of the outline in the units of the shape, found on a coarse grid."""
    reach = 3.6
    axis = np.linspace(-reach, reach, 72, dtype=np.float32)
    return _extent(_outline(shape.heights(axis[None, :], -axis[:, None]), level) * (2 * reach / 72))


def _extent(ring: NDArray[np.float64]) -> float:
    hull = cv2.convexHull(ring.astype(np.float32))[:, 0, :]
    return float(np.sqrt(((hull[:, None] - hull[None]) ** 2).sum(axis=2).max()))


def _around(heights: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """A band around a molecule, 1 where it is deepest."""
    wide = np.asarray(cv2.GaussianBlur(np.maximum(heights, 0), (0, 0), max(sigma, 0.5)), dtype=np.float32)
    band = np.maximum(wide - heights, 0)
    return np.asarray(band / max(float(band.max()), 1e-6), dtype=np.float32)


def _outline(heights: NDArray[np.float32], level: float) -> NDArray[np.float64]:
    """The outer ring at a part of the height: in pixels of the stamp, where pixel d covers d to d + 1."""
    body = heights[heights > BODY_LEVEL * float(heights.max())]
    edge = level * float(np.quantile(body, TOP_QUANTILE))
    fine = cv2.resize(heights, (FINE, FINE), interpolation=cv2.INTER_LINEAR)
    inside = (fine > edge).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    reach = 4
    while len(contours) > 1:
        # Lobes that stand apart: one molecule all the same, and people draw one line around it.
        grown = (cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3) <= reach).astype(np.uint8)
        closed = (cv2.distanceTransform(grown, cv2.DIST_L2, 3) > reach).astype(np.uint8) | inside
        contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        if reach > FINE // 5:
            contours = (max(contours, key=cv2.contourArea),)
        reach *= 2
    smooth = cv2.approxPolyDP(contours[0], 0.8, True)
    corners = smooth if len(smooth) >= 3 else cv2.convexHull(contours[0])
    # A contour runs through the centres of the outermost pixels, half a pixel within the true line.
    points = corners[:, 0, :].astype(np.float64) + 0.5
    middle = points.mean(axis=0)
    away = np.hypot(*(points - middle).T)[:, None]
    points = middle + (points - middle) * (1 + 0.5 / np.maximum(away, 1))
    return np.asarray(points * (heights.shape[0] / FINE))
