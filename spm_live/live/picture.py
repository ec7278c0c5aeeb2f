"""What a model is shown of a frame in progress."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from spm_live.domain import FrameInfo, InputSpec, ModelInput, ScanDirection
from spm_live.live.levelling import LineLevelling
from spm_live.live.resampling import LineResampling
from spm_live.prepare import cut_tiles, draw_preview, letterbox_for, quantile_limits, stretch_between
from spm_live.prepare.small import median

CONTRAST_ROWS = 16
"""The contrast is looked at anew after so many rows, so that the picture does not flicker with every line."""
LEAST_RANGE = 20.0
"""The range of contrast spans at least so many standard deviations of the noise from pixel to pixel, lest a bare
beginning become noise from black to white, with molecules in it. The quantiles of bare noise alone span 5; those of
nearly all real and drawn scans span more than 20 (``scripts/measure_live.py bare`` counts what is seen in nothing)."""
SPIKE = 10.0
"""Before lines are averaged, values further outside the range of contrast than this many ranges are cut to there."""


class GrowingPicture:
    """A frame in progress, levelled, at the model's pixel pitch, with the contrast of what is known of it.

    All depends on the lines alone, not on how many came at once.

    Parameters
    ----------
    info : FrameInfo
        The frame.
    spec : InputSpec
        What the model wants to be shown.

    Raises
    ------
    FrameError
        If the frame would become too large at the model's pitch.
    """

    def __init__(self, info: FrameInfo, spec: InputSpec) -> None:
        geometry = info.geometry
        self.letterbox = letterbox_for(geometry, spec.nm_per_px, info.ref)
        self.lines = 0
        """Lines that came."""
        self.rows = 0
        """Rows of the resampled picture that are complete, counted from the first line."""
        self.scanned_pixels = 0
        """Pixels of the frame that hold a value."""
        self._info, self._spec = info, spec
        self._up = info.direction is ScanDirection.UP
        self._levelling = LineLevelling(geometry.columns, spec.levelling)
        self._resampling = LineResampling(geometry.rows, geometry.columns, self.letterbox)
        # Both in scan order.
        self._levelled = np.full((geometry.rows, geometry.columns), np.nan, dtype=np.float32)
        self._picture = self._levelled
        if not self._resampling.identity:
            self._picture = np.full((self.letterbox.rows, self.letterbox.columns), np.nan, dtype=np.float32)
        self._lag = max(1, math.ceil(self.letterbox.scale_x))
        self._noises: list[float] = []
        self.limits: tuple[float, float] | None = None
        """Levelled values that are shown as 0 and 1; None before the first 16 rows, or without a scanned pixel."""

    def take(self, line: NDArray[np.float32]) -> Iterator[int]:
        """Take the next line.

        Parameters
        ----------
        line : (columns,) float32 array
            NaN where not scanned.

        Yields
        ------
        int
            The new front, after each row of the resampled picture that is complete now; to be followed to its end.
        """
        levelled = self._levelling.take(line)
        self._levelled[self.lines] = levelled
        self.lines += 1
        self.scanned_pixels += int(np.count_nonzero(np.isfinite(levelled)))
        for row in self._resampling.take(levelled if self._resampling.identity else self._without_spikes(levelled)):
            self._picture[self.rows] = row
            self.rows += 1
            noise = _noise(row, self._lag)
            if noise is not None:
                self._noises.append(noise)
            if self.rows % CONTRAST_ROWS == 0 or self.rows == self.letterbox.rows:
                self.limits = self._contrast()
            yield self.rows

    @property
    def levelled(self) -> NDArray[np.float32]:
        """The levelled frame, the right way up, NaN where not scanned: (rows, columns), a view."""
        return self._levelled[::-1] if self._up else self._levelled

    def window(self, top: int) -> ModelInput:
        """Show the model the last rows, as tiles beside each other.

        Parameters
        ----------
        top : int
            Row of the resampled picture, counted from the first line, that the window begins with.

        Returns
        -------
        ModelInput
            Tiles as high as the model takes them: rows up to the front, then 0; without those that hold no scanned
            pixel. They lie in the whole picture, the right way up.
        """
        spec, box = self._spec, self.letterbox
        picture = self._picture[top : top + spec.rows].copy()
        if self.limits is None:
            picture[...] = np.nan  # without any contrast there is nothing to see
        else:
            stretch_between(picture, *self.limits, in_place=True)
        origin = top
        if self._up:
            picture, origin = picture[::-1], box.rows - top - len(picture)
        tiles, origins = cut_tiles(picture, spec.rows, spec.columns, spec.overlap_px)
        return ModelInput(tiles, origins + np.array([origin, 0]), box, self.levelled, self._info.ref)

    def preview_png(self) -> bytes:
        """Draw the levelled frame, transparent where it was not scanned, with the contrast that the model sees."""
        return draw_preview(self.levelled, self._spec.contrast, self.limits)[0]

    def _without_spikes(self, line: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cut what lies far outside both the contrast so far and the line itself."""
        limits = quantile_limits(line[None], self._spec.contrast)
        if limits is None or self.limits is None:
            return line
        low, high = min(limits[0], self.limits[0]), max(limits[1], self.limits[1])
        return np.clip(line, low - SPIKE * (high - low), high + SPIKE * (high - low)) if low < high else line

    def _contrast(self) -> tuple[float, float] | None:
        limits = quantile_limits(self._picture[: self.rows], self._spec.contrast)
        if limits is None:
            return None
        low, high = limits
        least = LEAST_RANGE * median(np.array(self._noises)) if self._noises else 0.0
        return low, max(high, low + least)


def _noise(row: NDArray[np.float32], lag: int) -> float | None:
    """Standard deviation of the noise from pixel to pixel, from second differences: slopes make none."""
    bends = row[2 * lag :] - 2 * row[lag:-lag] + row[: -2 * lag]
    bends = np.abs(bends[~np.isnan(bends)])
    return 1.4826 / math.sqrt(6) * median(bends.astype(np.float64)) if bends.size else None
