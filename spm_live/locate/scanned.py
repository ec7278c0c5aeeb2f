"""What part of a frame was scanned, and what lies at its border."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SHORTEST_GAP_PX = 3
"""Fewer missing pixels than this in a line are a drop-out, not a border: the molecule around them is not cut."""


@dataclass(frozen=True, slots=True, eq=False)
class ScannedArea:
    """The scanned part of a frame.

    Parameters
    ----------
    scanned : (rows, columns) bool array
        Pixels with a finite value.
    pixels : int
        Number of them.
    beyond : (rows, columns) bool array or None
        What was not scanned, without drop-outs of one or two pixels; None where there is no such place.
    extent : (float, float, float, float)
        x1, y1, x2, y2 of the smallest rectangle around the rest: edges, in frame pixels.
    """

    scanned: NDArray[np.bool_]
    pixels: int
    beyond: NDArray[np.bool_] | None
    extent: tuple[float, float, float, float]

    @property
    def complete(self) -> bool:
        """Whether every pixel was scanned."""
        return self.pixels == self.scanned.size

    def holds(self, xy_px: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether points lie where the frame was scanned (drop-outs count as scanned).

        Parameters
        ----------
        xy_px : (N, 2) float array
            Column and row; (0, 0) is the centre of the upper left pixel.

        Returns
        -------
        (N,) bool array
        """
        rows, columns = self.scanned.shape
        x, y = np.rint(xy_px).astype(np.int64).T
        inside: NDArray[np.bool_] = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        if self.beyond is not None:
            inside &= ~self.beyond[np.clip(y, 0, rows - 1), np.clip(x, 0, columns - 1)]
        return inside

    def gaps_in(self, boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether pixels that boxes reach into were not scanned.

        Parameters
        ----------
        boxes : (N, 4) float array
            x1, y1, x2, y2 in frame pixels: edges, inside the frame.

        Returns
        -------
        (N,) bool array
        """
        missing = cv2.integral((~self.scanned).view(np.uint8))  # row and column i: what lies above and left of edge i
        left, top = np.floor(boxes[:, :2]).astype(np.intp).T
        right, bottom = np.ceil(boxes[:, 2:]).astype(np.intp).T
        count = missing[bottom, right] - missing[top, right] - missing[bottom, left] + missing[top, left]
        found: NDArray[np.bool_] = count > 0
        return found

    def near_border(
        self, points: NDArray[np.float64], lengths: NDArray[np.intp], margin: tuple[float, float]
    ) -> NDArray[np.bool_]:
        """Find shapes that the border of what was scanned cuts.

        Parameters
        ----------
        points : (P, 2) float array
            Outlines one after the other, in frame pixels, pixel centres.
        lengths : (N,) int array
            Points of each.
        margin : (float, float)
            How near, along x and y, in frame pixels, counts as touching.

        Returns
        -------
        (N,) bool array
        """
        owner = np.repeat(np.arange(len(lengths)), lengths)
        left, top, right, bottom = self.extent
        x, y = points[:, 0] + 0.5, points[:, 1] + 0.5
        near = (x <= left + margin[0]) | (y <= top + margin[1]) | (x >= right - margin[0]) | (y >= bottom - margin[1])
        if self.beyond is not None:
            kernel = np.ones([2 * round(size) + 1 for size in (margin[1], margin[0])], dtype=np.uint8)
            shore = cv2.dilate(self.beyond.view(np.uint8), kernel)
            rows, columns = self.scanned.shape
            column, row = np.rint(points).astype(np.int64).T
            near |= shore[np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)] > 0
        return np.bincount(owner, weights=near, minlength=len(lengths)) > 0


def survey(data: NDArray[np.float32]) -> ScannedArea:
    """Find what was scanned of a frame, or of a band of it.

    Parameters
    ----------
    data : (rows, columns) float32 array
        NaN where not scanned.
    """
    scanned = np.isfinite(data)
    rows, columns = scanned.shape
    whole = (0.0, 0.0, float(columns), float(rows))
    pixels = int(np.count_nonzero(scanned))
    if pixels == scanned.size:
        return ScannedArea(scanned, pixels, None, whole)
    width = min(SHORTEST_GAP_PX, columns)
    # Beyond the frame nothing was scanned. Told as a border value, that would also be dilated back into the frame.
    missing = cv2.copyMakeBorder((~scanned).view(np.uint8), 0, 0, width, width, cv2.BORDER_CONSTANT, value=[1])
    opened = cv2.morphologyEx(missing, cv2.MORPH_OPEN, np.ones((1, width), dtype=np.uint8), borderValue=1)
    beyond = opened[:, width:-width] > 0
    if not beyond.any():
        return ScannedArea(scanned, pixels, None, whole)
    used_columns, used_rows = (np.flatnonzero(~beyond.all(axis=axis)) for axis in (0, 1))
    if used_rows.size == 0:
        return ScannedArea(scanned, pixels, beyond, whole)
    extent = (used_columns[0], used_rows[0], used_columns[-1] + 1, used_rows[-1] + 1)
    return ScannedArea(
        scanned, pixels, beyond, (float(extent[0]), float(extent[1]), float(extent[2]), float(extent[3]))
    )
