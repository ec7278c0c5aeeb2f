"""Drop-outs: pixels that hold no value, or one fixed value where there should be a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHORTEST_PX = 16
"""This many equal neighbours are no accident, in values that are otherwise finely graded."""


def dropped_pixels(line: NDArray[np.floating]) -> int:
    """Count the pixels of a line that hold nothing.

    Parameters
    ----------
    line : (columns,) float array
        As it came; anything that is not finite counts.

    Returns
    -------
    int
        Pixels without a value, and those in runs of one value: as long as a sixteenth of the line and at least 16
        pixels, or the whole line.

    Notes
    -----
    A converter of few steps gives runs of one value on any flat terrace. Where the usual change between two pixels is
    one step, only runs at the highest or the lowest value of the line count: that is where a range ends.
    """
    known = np.isfinite(line)
    missing = int(line.size - np.count_nonzero(known))
    values = line[known]
    if values.size == 0:
        return missing
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    if changes.size == 0:
        return missing + (int(values.size) if values.size > 1 else 0)
    starts = np.concatenate([[0], changes])
    lengths = np.diff(np.concatenate([starts, [values.size]]))
    long = lengths >= max(SHORTEST_PX, line.size // 16)
    if long.any() and _coarse(values[changes] - values[changes - 1]):
        held = values[starts]
        long &= (held == values.max()) | (held == values.min())
    return missing + int(lengths[long].sum())


def _coarse(steps: NDArray[np.floating]) -> bool:
    """Whether values usually change by the least step that they can."""
    sizes = np.abs(steps)
    return float(np.median(sizes)) <= 1.5 * float(sizes.min())
