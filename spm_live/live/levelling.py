"""Levelling line by line: what a line becomes depends on the lines before it alone, and stays."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from spm_live.domain import Levelling
from spm_live.prepare.levelling import LARGEST_VALUE
from spm_live.prepare.rows import FEWEST_PAIRS, MOST_COLUMNS, typical_value
from spm_live.prepare.small import median

REFERENCE_LINES = 7
"""A line is fitted to the medians of so many lines before it: one bad line, or half of one, does not lead them."""
SLOPE_LINES = 255
"""The tilt along the lines is the median of the slopes of so many lines."""
GROUND_LINES = 31
"""The height of the ground, and how well a line fits, are medians over so many lines."""
PULL = 0.05
"""Part of the ground's height that is taken off each line."""
MOST_PULL = 0.15
"""The most that is taken off a line that way, in standard deviations of the lines from those before them."""


class LineLevelling:
    """Levels the lines of one scan, one after the other.

    Parameters
    ----------
    columns : int
        Pixels of a line, at least 1.
    how : Levelling
        As the model wants it. NONE leaves the values as they are; all others are the same here, since what sets them
        apart needs the whole frame.

    Notes
    -----
    Three things are taken off a line:

    - the tilt along it: the median of local slopes, as :func:`spm_live.prepare.surface_fit.fit_surface` starts from,
      of the last 255 lines, this one included;
    - its shift: the typical difference, as :func:`spm_live.prepare.rows.row_shifts` calls it, to the medians of the
      seven lines before it, so that steps, molecules, and a line that the tip jumped in the middle of do not count
      as long as they are less than half of it;
    - a little of the height of the ground (the typical value of a line, median over 31 lines). Errors of the shifts
      add up to a random walk, as there; but what is taken off is never more than 0.15 standard deviations of a line
      from the lines before it. So the walk is held near zero, and a terrace stays one for hundreds of lines.

    The tilt from line to line, drift and jumps of the tip go with the shifts. A step that runs exactly along the lines
    goes too, and a bow along the lines stays, as in the finished frame.
    """

    def __init__(self, columns: int, how: Levelling) -> None:
        self._how = how
        self._x = np.arange(columns, dtype=np.float32) - np.float32((columns - 1) / 2)
        self._thin = slice(None, None, max(1, columns // MOST_COLUMNS))
        self._fewest = min(FEWEST_PAIRS, len(range(columns)[self._thin]))
        self._slopes: deque[float] = deque(maxlen=SLOPE_LINES)
        self._grounds: deque[float] = deque(maxlen=GROUND_LINES)
        self._misfits: deque[float] = deque(maxlen=GROUND_LINES)
        self._before = np.zeros((REFERENCE_LINES, columns), dtype=np.float32)
        self._lines = 0

    def take(self, line: NDArray[np.float32]) -> NDArray[np.float32]:
        """Level the next line.

        Parameters
        ----------
        line : (columns,) float32 array
            Values in any unit; anything that is not finite counts as not scanned.

        Returns
        -------
        (columns,) float32 array
            A new array in the same unit, around zero unless the levelling is NONE; NaN where not scanned. A line
            without a scanned pixel changes nothing for those after it.
        """
        clean = np.clip(line, -LARGEST_VALUE, LARGEST_VALUE)
        missing = ~np.isfinite(line)
        clean[missing] = np.nan
        if self._how is Levelling.NONE or missing.all():
            return clean
        # The large constant goes first: the difference of two near float32 numbers is exact (Sterbenz's lemma).
        clean -= np.float32(median(clean[~missing].astype(np.float64)))
        clean -= self._x * np.float32(self._slope(clean))
        self._shift(clean)
        return clean

    def _slope(self, line: NDArray[np.float32]) -> float:
        """Tilt along the lines, per pixel."""
        lag = max(1, line.size // 16)
        rises = line[lag:] - line[:-lag]
        rises = rises[~np.isnan(rises)]
        if rises.size >= min(self._fewest, max(1, line.size - lag)):
            self._slopes.append(median(rises.astype(np.float64)) / lag)
        return median(np.array(self._slopes)) if self._slopes else 0.0

    def _shift(self, line: NDArray[np.float32]) -> None:
        """Bring a line to the height of those before it."""
        known = min(self._lines, REFERENCE_LINES)
        reference = _medians(self._before[:known]) if known else np.zeros_like(line)
        shift = typical_value((line - reference)[self._thin], self._fewest)
        if math.isnan(shift):  # a few scattered pixels, which the thinning may have missed
            shift = typical_value(line - reference)
        line -= np.float32(shift + self._pull())
        ground, misfit = typical_value(line), np.abs(line - reference)
        if known:
            self._misfits.append(1.4826 * median(misfit[~np.isnan(misfit)].astype(np.float64)))
        self._grounds.append(ground)
        self._before[self._lines % REFERENCE_LINES] = np.where(np.isnan(line), reference, line)
        self._lines += 1

    def _pull(self) -> float:
        """What is taken off for the height of the ground."""
        if not self._misfits:
            return 0.0
        most = MOST_PULL * median(np.array(self._misfits))
        return max(-most, min(most, PULL * median(np.array(self._grounds))))


def _medians(lines: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median of each column; of an even number, the upper one of the two in the middle."""
    middle: NDArray[np.float32] = np.sort(lines, axis=0)[len(lines) // 2]
    return middle
