"""Making lines of a scan fit to be looked at: finite, in nm where they are heights, no wider than needed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.float64]
Mask = NDArray[np.bool_]

MOST_COLUMNS = 512
"""Of wider frames every second, third, ... column takes part, so that a line costs the same however wide it is."""

LARGEST_VALUE = 1e30
"""Larger magnitudes are cut to this, so that squares of squares stay finite."""

LEAST_KNOWN = 0.5
"""Part of its pixels that a line needs to hold to say anything about the tip."""


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One line that has something to say.

    Parameters
    ----------
    number : int
        Counted as scanned.
    forward, backward : (columns,) float64 array
        Values in nm or in the channel's unit, x to the right; gaps hold what the line before had there.
        ``backward`` is None where there is none.
    raw : (columns,) float64 array
        Up to 1024 neighbouring pixels from the middle of the forward trace, none left out.

    Attributes
    ----------
    level : (columns,) float64 array
        ``forward`` less the straight line that fits it best.
    track : (N,) float64 array
        There and back, in the order of time; ``forward`` alone where there is no way back.
    """

    number: int
    forward: Row
    backward: Row | None
    raw: Row
    level: Row = field(init=False)
    track: Row = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", flat(self.forward))
        back = self.backward
        object.__setattr__(self, "track", self.forward if back is None else np.concatenate([self.forward, back[::-1]]))


class Intake:
    """Takes lines as they come and gives those that say something.

    Parameters
    ----------
    columns : int
        Pixels of a line.
    unit : str
        Of the values; metres become nanometres.
    """

    def __init__(self, columns: int, unit: str) -> None:
        self.step = math.ceil(columns / MOST_COLUMNS)
        """Every so many columns one takes part."""
        self._scale = 1e9 if unit == "m" else 1.0
        middle = max(0, columns - 1024) // 2
        self._middle = slice(middle, middle + 1024)
        self._last: tuple[Row | None, Row | None] = (None, None)

    def take(self, number: int, forward: NDArray[np.floating], backward: NDArray[np.floating] | None) -> Line | None:
        """Make a line, or None of one that is mostly missing or holds one value only."""
        ahead = self._clean(forward, self._last[0])
        if ahead is None:
            return None
        back = None if backward is None else self._clean(backward, self._last[1])
        self._last = ahead, back
        raw = np.clip(np.nan_to_num(forward[self._middle].astype(np.float64), nan=0.0), -LARGEST_VALUE, LARGEST_VALUE)
        return Line(number, ahead, back, raw * self._scale)

    def _clean(self, values: NDArray[np.floating], last: Row | None) -> Row | None:
        row = values[:: self.step].astype(np.float64)
        known = np.isfinite(row)
        here = np.count_nonzero(known)
        if here < LEAST_KNOWN * row.size or row.size == 0:
            return None
        row = np.clip(row, -LARGEST_VALUE, LARGEST_VALUE) * self._scale
        middle = float(np.median(row[known])) if here < row.size else 0.0
        if here < row.size:
            # What the line before had there, moved to where this line is: nothing changes at a gap.
            other = np.full(row.size, middle) if last is None else last + (middle - float(np.median(last)))
            row = np.where(known, row, other)
        return np.asarray(row) if float(np.ptp(row)) > 0 else None


def typical(ordered: Row) -> float:
    """Median of the densest half of sorted values: what most pixels say, whatever the others do.

    Parameters
    ----------
    ordered : (N,) float64 array
        Sorted; at least one.

    Returns
    -------
    float

    Notes
    -----
    The shortest half after Rousseeuw and Leroy 1988, doi:10.1111/j.1467-9574.1988.tb01224.x.
    """
    half = ordered.size // 2
    if half == 0:
        return float(ordered[0])
    first = int(np.argmin(ordered[half:] - ordered[: ordered.size - half]))
    return float(ordered[first + half // 2])


def flat(row: Row) -> Row:
    """A line less the straight line that fits it best (least squares)."""
    x = _places(row.size)
    level = row - row.mean()
    # The sum of the squares of 1 - n/2 ... n/2 in steps of one is n (n² - 1) / 12.
    square = row.size * (row.size**2 - 1) / 12
    return np.asarray(level - x * (float(np.dot(x, level)) / square)) if square > 0 else level


@lru_cache(maxsize=8)
def _places(size: int) -> Row:
    return np.asarray(np.arange(size) - (size - 1) / 2)


def correlation(one: Row, other: Row) -> float:
    """Pearson's correlation; NaN where one of them is constant."""
    one, other = one - one.mean(), other - other.mean()
    size = float(one @ one) * float(other @ other)
    return float(one @ other) / math.sqrt(size) if size > 0 and math.isfinite(size) else math.nan


def quantile(values: list[float], part: float) -> float:
    """One of the values, such that ``part`` of them are smaller; NaN of none."""
    if not values:
        return math.nan
    return sorted(values)[min(len(values) - 1, int(part * len(values)))]
