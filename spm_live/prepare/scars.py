"""Finding and mending scars: short stretches of a scan line where the tip jumped and came back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mark_scars(
    data: NDArray[np.float32],
    *,
    high: float = 0.666,
    low: float = 0.25,
    shortest_px: int = 16,
    widest_px: int = 4,
) -> NDArray[np.bool_]:
    """Mark scars.

    Parameters
    ----------
    data : (rows, columns) float32 array
        Rows aligned; NaN where not scanned.
    high, low : float
        How far a scar stands out from the lines above and below it, in units of the root mean square of all
        differences between neighbouring lines: some of it by ``high``, all of it by ``low``.
    shortest_px : int
        Shorter ones are left alone; they may be molecules.
    widest_px : int
        The most lines that one scar takes up.

    Returns
    -------
    (rows, columns) bool array

    Notes
    -----
    After the description of "Mark Scars" in the Gwyddion user guide, section Scan Line Artefacts: a scar is a stretch
    of one to a few lines that lies, on its whole length, above both the line over it and the line under it (or below
    both) by more than a threshold; pixels over the lower threshold belong to it where they touch one over the higher.
    Added here: it must also lie beyond where those two lines would get to by themselves, if they went on as they came
    from the next line out. So the top of a smooth molecule is no scar.
    """
    rows, columns = data.shape
    marked = np.zeros((rows, columns), dtype=bool)
    jumps = data[1:] - data[:-1]
    jumps = jumps[np.isfinite(jumps)]
    if rows < 3 or jumps.size == 0:
        return marked
    unit = float(np.sqrt(np.mean(np.square(jumps, dtype=np.float64))))
    if unit == 0:
        return marked
    for sign in (1, -1):
        marked |= _mark_ridges(data * np.float32(sign), high * unit, low * unit, shortest_px, widest_px)
    return marked


def remove_scars(
    data: NDArray[np.float32],
    *,
    high: float = 0.666,
    low: float = 0.25,
    shortest_px: int = 16,
    widest_px: int = 4,
) -> NDArray[np.float32]:
    """Replace scars by straight lines between the pixels above and below them.

    Parameters
    ----------
    data, high, low, shortest_px, widest_px
        As for :func:`mark_scars`.

    Returns
    -------
    (rows, columns) float32 array
        A new array; equal to ``data`` where no scar is.
    """
    marked = mark_scars(data, high=high, low=low, shortest_px=shortest_px, widest_px=widest_px)
    result = data.copy()
    row, column = np.nonzero(marked)
    if row.size == 0:
        return result
    usable = ~marked & np.isfinite(data)
    number = np.arange(data.shape[0])[:, None]
    above = np.maximum.accumulate(np.where(usable, number, -1), axis=0)[row, column]
    below = np.minimum.accumulate(np.where(usable, number, data.shape[0])[::-1], axis=0)[::-1][row, column]
    has_above, has_below = above >= 0, below < data.shape[0]
    value_above = data[np.where(has_above, above, 0), column].astype(np.float64)
    value_below = data[np.where(has_below, below, 0), column].astype(np.float64)
    part = np.where(has_above & has_below, (row - above) / (below - above), np.where(has_above, 0.0, 1.0))
    value_above = np.where(has_above, value_above, value_below)
    value_below = np.where(has_below, value_below, value_above)
    mended = (1 - part) * value_above + part * value_below
    known = has_above | has_below
    result[row[known], column[known]] = mended[known]
    return result


def _mark_ridges(
    data: NDArray[np.float32], high: float, low: float, shortest_px: int, widest_px: int
) -> NDArray[np.bool_]:
    """Mark what stands out upwards."""
    rows = data.shape[0]
    strong = np.zeros(data.shape, dtype=bool)
    weak = np.zeros(data.shape, dtype=bool)
    change = np.abs(data[1:] - data[:-1])
    np.nan_to_num(change, copy=False)  # without a line further out the neighbour itself has to do
    above, below = data.copy(), data.copy()
    above[1:] += change
    below[:-1] += change
    lowest = data[1:-1]
    for width in range(1, min(widest_px, rows - 2) + 1):
        if width > 1:
            lowest = np.minimum(lowest[:-1], data[width : rows - 1])
        # Row i of these arrays is about the scar in lines i + 1 to i + width, between the lines i and i + width + 1.
        rise = lowest - np.maximum(above[: rows - width - 1], below[width + 1 :])
        over_low, over_high = rise > low, rise > high  # false for NaN: nothing is marked beside what was not scanned
        for line in range(1, width + 1):
            weak[line : line + rise.shape[0]] |= over_low
            strong[line : line + rise.shape[0]] |= over_high
    return _long_runs(weak, strong, shortest_px)


def _long_runs(weak: NDArray[np.bool_], strong: NDArray[np.bool_], shortest_px: int) -> NDArray[np.bool_]:
    """Runs along a line that are long enough and hold a strong pixel."""
    rows, columns = weak.shape
    gapped = np.zeros((rows, columns + 1), dtype=np.int8)  # the last column keeps runs of two lines apart
    gapped[:, :-1] = weak
    edges = np.diff(gapped.ravel(), prepend=np.int8(0))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    hits = np.flatnonzero(strong)
    hits += hits // columns  # places in the array with the gap
    held = np.searchsorted(hits, ends) > np.searchsorted(hits, starts)
    keep = held & (ends - starts >= shortest_px)
    marked = np.zeros(gapped.size, dtype=bool)
    for start, end in zip(starts[keep].tolist(), ends[keep].tolist(), strict=True):
        marked[start:end] = True
    return marked.reshape(rows, columns + 1)[:, :-1]
