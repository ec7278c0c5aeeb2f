"""Where the picture of a place changed from one frame to the next.

A molecule that left its place, or came to another, changes the picture there. One that the detector missed, or found
where there is none, changes nothing. So the pictures tell a hop from a molecule that was missed here and another that
was missed there.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.series.field import DriftField
from spm_live.series.frames import SeriesFrame
from spm_live.series.pictures import Pair, moved_by, pair_up

SIDE = 512
"""Pictures are compared at no more pixels a side than this."""
WINDOW = 0.25
"""Standard deviation of the window over which a change is averaged, in lengths of a molecule."""
LEAST_STAYED = 6
"""With fewer molecules that stayed nobody can say how much a picture changes where nothing happened."""


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """How much the picture changed, place by place.

    Parameters
    ----------
    pair : Pair
        The two pictures.
    size : (rows, columns) float32 array
        Mean difference of the two pictures around each pixel, the earlier one moved by the drift and brought to the
        contrast of the later one; NaN where one was not scanned.
    """

    pair: Pair
    size: NDArray[np.float32]

    def at(self, xy_nm: NDArray[np.float64], stayed_nm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Tell how much changed at some places.

        Parameters
        ----------
        xy_nm : (N, 2) float array
            Places in the later frame, in nm.
        stayed_nm : (M, 2) float array
            Places of molecules that stayed, by which the change is measured.

        Returns
        -------
        (N,) float array
            1 is what changes by noise where a molecule stayed (median); NaN where nobody can say.
        """
        if len(stayed_nm) < LEAST_STAYED:
            return np.full(len(xy_nm), np.nan)
        usual = self._values(stayed_nm)
        usual = usual[np.isfinite(usual)]
        unit = float(np.median(usual)) if len(usual) >= LEAST_STAYED else 0.0
        return self._values(xy_nm) / unit if unit > 0 else np.full(len(xy_nm), np.nan)

    def _values(self, xy_nm: NDArray[np.float64]) -> NDArray[np.float64]:
        column, row = np.rint(self.pair.geometry.to_px(xy_nm)).astype(np.int64).T
        rows, columns = self.size.shape
        within = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        values = np.full(len(xy_nm), np.nan)
        values[within] = self.size[row[within], column[within]]
        return values


def changes_between(previous: SeriesFrame, current: SeriesFrame, field: DriftField) -> Changes | None:
    """Compare the pictures of two frames.

    Returns
    -------
    Changes or None
        None where there are no pictures, or they do not show the same.
    """
    pair = pair_up(previous, current, SIDE)
    if pair is None or not len(current.molecules):
        return None
    moved, seen = moved_by(pair, field)
    one, other = moved[seen], pair.after[seen]
    spread = float(one.var()) if one.size else 0.0
    if spread <= 0:
        return None
    # Another bias or another tip shows the same at another contrast.
    gain = float(((one - one.mean()) * (other - other.mean())).mean()) / spread
    if gain <= 0:
        return None
    away = np.abs(pair.after - gain * moved - (float(other.mean()) - gain * float(one.mean())))
    sigma = max(0.5, WINDOW * current.molecules.size_nm / pair.geometry.nm_per_px[0])
    weight = cv2.GaussianBlur(seen.astype(np.float32), (0, 0), sigma)
    mean = cv2.GaussianBlur(np.where(seen, away, 0).astype(np.float32), (0, 0), sigma)
    return Changes(pair, np.where(weight > 0.5, mean / np.maximum(weight, 1e-6), np.nan).astype(np.float32))
