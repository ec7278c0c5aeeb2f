"""Shifting scan lines so that they fit together."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spm_live.prepare.small import median

FEWEST_PAIRS = 8
"""With fewer pixels in common than this, two lines say nothing about their shift (a frame narrower than that: all)."""
FEWEST_ROWS = 4
"""Fewer lines than this are left as they are: jitter cannot be told from a slope."""
WINDOW_ROWS = 15
"""What varies more slowly than the running median over this many lines is topography, not jitter."""
LASTING_ROWS = 8
"""A jump lasts if the lines before and after it, this many, differ by it."""
LARGE_JUMP = 4.0
"""A jump is larger than this many standard deviations of the jitter."""
TOLERANCE = 3.0
"""What changes slowly may have this many times the variance expected of jitter and still be taken for jitter alone."""
AGREEMENT = 0.9
"""Part of a line that has to move the same way in a jump."""
MOST_COLUMNS = 256
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
    """Shift lines so that each fits to the line before: line jitter and jumps of the tip go, topography stays.

    Parameters
    ----------
    data : (rows, columns) float32 array
        NaN where not scanned; a line without a scanned pixel is stepped over.

    Returns
    -------
    (rows, columns) float32 array
        A new array; see :func:`row_shifts`.
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


def scanned_rows(data: NDArray[np.float32]) -> NDArray[np.intp]:
    """Indices of the rows with a scanned pixel, rising.

    Parameters
    ----------
    data : (rows, columns) float32 array
        NaN where not scanned.

    Returns
    -------
    (N,) int array
    """
    first = np.isfinite(data[:, 0])
    # Most often the first column settles it, and not every pixel has to be looked at.
    return np.flatnonzero(first if first.all() else np.isfinite(data).any(axis=1))


def typical_value(values: NDArray[np.float32], fewest: int = 1) -> float:
    """Median of the densest part of some values: of the differences of two lines it tells how the lines were shifted.

    Parameters
    ----------
    values : (N,) float32 array
        In any order; NaN counts as not there.
    fewest : int
        With fewer values than this there is nothing typical.

    Returns
    -------
    float
        The median of those within 2.5 standard deviations of the middle of the shortest half, the deviation being
        judged by how short that half is; NaN where there are too few values.
    """
    known = np.sort(values[~np.isnan(values)])
    if known.size < max(1, fewest):
        return math.nan
    return float(_densest(known[None], np.array([known.size], dtype=np.intp))[0])


def row_shifts(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far each row was moved by jitter and by jumps of the tip.

    Parameters
    ----------
    data : (rows, columns) float32 array
        NaN where not scanned. A tilt does not matter.

    Returns
    -------
    (rows,) float32 array
        To be subtracted; 0 for a row without a scanned pixel.

    Notes
    -----
    Starts from "Align Rows, median of differences" of the Gwyddion user guide, section Scan Line Artefacts: most
    pixels of two neighbouring lines lie on the same terrace or the same molecule, so the typical difference between
    two lines tells how the lines were shifted. Adding these up, as is done there, adds up their errors too: noise
    becomes a random walk, and every molecule, since its upper and its lower half never quite balance, leaves a bright
    or a dark band across the frame. Therefore, here,

    - the typical difference is the median of the densest part of the differences, not of all: a molecule in a
      line moves it less;
    - a jump that lasts is taken out as a whole. It is known by nine tenths of the line moving the same way, and by the
      eight lines after it staying apart from the eight before it by more than four times the jitter. A terrace step
      that runs exactly along the lines looks the same, and is flattened;
    - of the rest, all that changes faster than the running median over 15 lines is taken for jitter: topography is
      slower. Of what changes more slowly, only so much is taken as jitter of this size, which knows nothing of the
      line before, would leave there.
    """
    scanned = scanned_rows(data)
    shifts = np.zeros(data.shape[0], dtype=np.float32)
    if scanned.size < FEWEST_ROWS:
        return shifts
    thin = data[:, :: max(1, data.shape[1] // MOST_COLUMNS)]
    lines = thin if scanned.size == data.shape[0] else thin[scanned]
    steps, agreed = _typical_steps(lines[1:] - lines[:-1], np.diff(scanned), min(FEWEST_PAIRS, thin.shape[1]))
    walk = np.concatenate([[0.0], np.cumsum(steps)])
    # White jitter of standard deviation s makes second differences of sqrt(6) s; smooth topography makes none.
    jitter = _deviation(np.diff(walk, 2)) / math.sqrt(6)
    jumps = _lasting_jumps(steps, agreed, walk, jitter)
    rest = walk - jumps
    number = np.arange(rest.size) - (rest.size - 1) / 2
    rest -= number * float(number @ rest / (number @ number))  # a tilt is left to whoever levels
    slow = _running_median(rest)
    shifts[scanned] = jumps + (rest - slow) + _share_of_jitter(slow, jitter) * (slow - np.mean(slow))
    return shifts


def _share_of_jitter(slow: NDArray[np.float64], jitter: float) -> float:
    """How much of what changes slowly is what white jitter leaves after the running median: 0 to 1."""
    if slow.size <= WINDOW_ROWS:
        return 0.0
    changes = slow[WINDOW_ROWS:] - slow[:-WINDOW_ROWS]
    seen = _deviation(changes - median(changes))
    # A median of n values scatters by 1.25 / sqrt(n) of what the values do; a difference of two by sqrt(2) of that.
    expected = 1.25 * math.sqrt(2 / WINDOW_ROWS) * jitter
    return min(1.0, TOLERANCE * (expected / seen) ** 2) if seen > 0 else 0.0


def _deviation(values: NDArray[np.float64]) -> float:
    """Standard deviation of the bulk of values that scatter around zero."""
    return 1.4826 * median(np.abs(values))


def _typical_steps(
    differences: NDArray[np.float32], distance: NDArray[np.intp], fewest: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Typical difference between lines so far apart, less the frame's tilt, and whether nine tenths moved that way.

    Leaves each row of the differences sorted.
    """
    count = _sort_rows(differences)
    ordered = differences
    known = count >= fewest
    tenth = (count * (1 - AGREEMENT)).astype(np.intp)
    lowest, highest = _pick(ordered, tenth), _pick(ordered, np.maximum(count - 1 - tenth, 0))
    steps = _densest(ordered, count)
    steps = np.where(known, steps, np.nan)
    tilt = median((steps / distance)[known]) * distance if known.any() else np.zeros(steps.size)
    agreed = known & (((lowest > tilt) & (steps > tilt)) | ((highest < tilt) & (steps < tilt)))
    return np.where(known, steps - tilt, 0.0), agreed


def _densest(ordered: NDArray[np.float32], count: NDArray[np.intp]) -> NDArray[np.float64]:
    """Median of the densest part of each row of sorted values, of which the first ``count`` are no NaN."""
    half = ordered.shape[1] // 2
    spans = ordered[:, half:] - ordered[:, : ordered.shape[1] - half]
    first = np.argmin(spans, axis=1)
    left, right = _pick(ordered, first), _pick(ordered, first + half)
    # The shortest half of a normal distribution is 1.35 standard deviations wide: this reaches 2.5 to either side.
    reach = 1.85 * (right - left)
    middle = (left + right) / 2
    # In float32, or all of the rows would be converted to compare them.
    least, most = (middle - reach).astype(np.float32), (middle + reach).astype(np.float32)
    with np.errstate(invalid="ignore"):
        begin = np.count_nonzero(ordered < least[:, None], axis=1)
        end = np.count_nonzero(ordered <= most[:, None], axis=1)
    # Rows with many gaps have no shortest half of the full length; the plain median has to do.
    gappy = count < ordered.shape[1]
    begin, end = np.where(gappy, 0, begin), np.where(gappy, count, end)
    typical: NDArray[np.float64] = (_pick(ordered, (begin + end - 1) // 2) + _pick(ordered, (begin + end) // 2)) / 2
    return typical


def _lasting_jumps(
    steps: NDArray[np.float64], agreed: NDArray[np.bool_], walk: NDArray[np.float64], jitter: float
) -> NDArray[np.float64]:
    """How far the tip had jumped for good at each line, all jumps together."""
    level = np.concatenate([np.repeat(walk[0], LASTING_ROWS), walk, np.repeat(walk[-1], LASTING_ROWS)])
    windows = np.lib.stride_tricks.sliding_window_view(level, LASTING_ROWS)
    middle = np.sort(windows, axis=1)[:, LASTING_ROWS // 2]
    before, after = middle[1 : walk.size], middle[LASTING_ROWS + 1 : LASTING_ROWS + walk.size]
    lasting = after - before
    candidates = agreed & (np.abs(lasting) > LARGE_JUMP * jitter)
    candidates &= np.abs(steps - lasting) < 0.4 * np.abs(lasting) + 3 * jitter
    strength = np.where(candidates, np.abs(steps + lasting), 0.0)
    jumps = np.zeros(walk.size)
    for index in np.flatnonzero(candidates).tolist():
        first = max(0, index - LASTING_ROWS + 1)
        if first + int(np.argmax(strength[first : index + LASTING_ROWS])) == index:
            jumps[index + 1 :] += lasting[index]
    return jumps


def _running_median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median over a window; beyond both ends the values go on turned by half a turn, which keeps a slope."""
    reach = min(WINDOW_ROWS // 2, values.size - 1)
    turned = values[::-1]
    before, after = 2 * values[0] - turned[-1 - reach : -1], 2 * values[-1] - turned[1 : 1 + reach]
    longer = np.concatenate([before, values, after])  # np.pad would take twenty times as long
    windows = np.lib.stride_tricks.sliding_window_view(longer, 2 * reach + 1)
    middle: NDArray[np.float64] = np.partition(windows, reach, axis=1)[:, reach]
    return middle


def _medians(rows: NDArray[np.float32], fewest: int) -> NDArray[np.float64]:
    """Median of the finite values of each row; 0 for a row with fewer than ``fewest`` of them."""
    ordered = rows.copy()
    count = _sort_rows(ordered)
    middle = (
        _pick(ordered, np.maximum(count - 1, 0) // 2) + _pick(ordered, np.minimum(count // 2, rows.shape[1] - 1))
    ) / 2
    return np.where(count >= fewest, middle, 0.0)


def _sort_rows(rows: NDArray[np.float32]) -> NDArray[np.intp]:
    """Sort each row in place, NaN last, and say how many values of it are no NaN."""
    rows.sort(axis=1)  # with vector instructions quicker than selecting
    count = np.full(rows.shape[0], rows.shape[1], dtype=np.intp)
    gappy = np.flatnonzero(np.isnan(rows[:, -1]))
    count[gappy] -= np.count_nonzero(np.isnan(rows[gappy]), axis=1)
    return count


def _pick(ordered: NDArray[np.float32], place: NDArray[np.intp]) -> NDArray[np.float64]:
    """One value of each row."""
    return ordered[np.arange(ordered.shape[0]), place].astype(np.float64)
