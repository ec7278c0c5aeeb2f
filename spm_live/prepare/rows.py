"""Shifting scan lines so that they fit together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FEWEST_PAIRS = 8
"""With fewer pixels in common than this, two lines say nothing about their shift (a frame narrower than that: all)."""
MOST_COLUMNS = 512
"""Of wider frames every second, third, ... column takes part: the median is sharp enough."""


def align_rows_by_median(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shift every line so that its median becomes zero.

    Parameters
    ----------
    data : (rows, columns) float32 array
        NaN where not scanned.

    Returns
    -------
    (rows, columns) float32 array
        A new array. A line that crosses a large feature is pulled down by it; see
        :func:`align_rows_by_differences`.

    Notes
    -----
    "Align Rows, median" of the Gwyddion user guide, section Scan Line Artefacts.
    """
    return data - row_medians(data)[:, None]


def align_rows_by_differences(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shift every line so that the median of its differences to the line before becomes zero.

    Parameters
    ----------
    data : (rows, columns) float32 array
        NaN where not scanned; a line without a scanned pixel is stepped over.

    Returns
    -------
    (rows, columns) float32 array
        A new array. The first scanned line stays where it was.

    Notes
    -----
    "Align Rows, median of differences" of the Gwyddion user guide, section Scan Line Artefacts. Most pixels of two
    neighbouring lines lie on the same terrace or the same molecule, so steps and molecules do not move the median,
    unless a step runs along the lines: such a step is taken for a jump of the tip and flattened.
    """
    return data - row_shifts(data)[:, None]


def row_medians(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """Median of the scanned pixels of each row; 0 where there is none.

    Parameters
    ----------
    data : (rows, columns) float32 array
        NaN where not scanned.

    Returns
    -------
    (rows,) float32 array
    """
    return _medians(data, fewest=1).astype(np.float32)


def row_shifts(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far each row lies above the first one, added up from the medians of differences.

    Parameters
    ----------
    data : (rows, columns) float32 array
        NaN where not scanned.

    Returns
    -------
    (rows,) float32 array
        0 for a row without a scanned pixel; a row with too few pixels in common with the one before it shares its
        shift.
    """
    scanned = np.flatnonzero(np.isfinite(data).any(axis=1))
    shifts = np.zeros(data.shape[0], dtype=np.float32)
    if scanned.size < 2:
        return shifts
    thin = data[:, :: max(1, data.shape[1] // MOST_COLUMNS)]
    lines = thin if scanned.size == data.shape[0] else thin[scanned]
    steps = _medians(lines[1:] - lines[:-1], fewest=min(FEWEST_PAIRS, thin.shape[1]))
    shifts[scanned[1:]] = np.cumsum(steps)
    return shifts


def _medians(rows: NDArray[np.float32], fewest: int) -> NDArray[np.float64]:
    """Median of the finite values of each row; 0 for a row with fewer than ``fewest`` of them."""
    ordered = np.sort(rows, axis=1)  # NaN goes to the end; with vector instructions quicker than selecting
    length = rows.shape[1]
    count = np.full(rows.shape[0], length)
    open_ended = np.flatnonzero(np.isnan(ordered[:, -1]))
    count[open_ended] = length - np.count_nonzero(np.isnan(ordered[open_ended]), axis=1)
    known = count >= fewest
    number = np.arange(rows.shape[0])
    low = ordered[number, np.where(known, (count - 1) // 2, 0)].astype(np.float64)
    high = ordered[number, np.where(known, count // 2, 0)]
    return np.where(known, (low + high) / 2, 0.0)
