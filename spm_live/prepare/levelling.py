"""Taking the tilt and the bow out of a frame, without being fooled by steps and molecules."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spm_live.domain import Levelling
from spm_live.prepare.rows import row_medians, row_shifts
from spm_live.prepare.scars import remove_scars

LARGEST_VALUE = 1e30
"""Larger magnitudes are cut to this, so that differences and sums of float32 stay finite."""
SAMPLE_SIDE = 48
"""The surface is fitted to a grid of about this many points a side: some 2300 points fix six numbers well enough."""
FIRST_STEPS, MOST_STEPS = 2, 10
"""Concentration steps for every start, and for the best one."""
SMALL_GAIN = 1e-3
"""The steps end when the sum of squares falls by less than this part."""
RIDGE = 1e-12
"""Part of the trace added to the normal equations, so that a single scanned line, too, has a solution."""
CUT = 2.5
"""Points further from the first fit than this many standard deviations take no part in the last one."""
LTS_CONSISTENCY = 2.648
"""Standard deviation of a normal distribution over the root mean square of its inner half."""


def level(data: NDArray[np.float32], how: Levelling) -> NDArray[np.float32]:
    """Level a frame.

    Parameters
    ----------
    data : (rows, columns) float32 array
        Values in any unit; anything that is not finite counts as not scanned.
    how : Levelling
        What to do.

    Returns
    -------
    (rows, columns) float32 array
        A new array in the same unit, around zero unless ``how`` is NONE; NaN where not scanned.

    Notes
    -----
    For ROWS the lines are shifted first and the plane comes off afterwards. A plane adds the same to every difference
    between two lines, so the order does not change what the lines are shifted by, and the plane is fitted better once
    the lines fit together.

    Examples
    --------
    >>> ramp = np.add.outer(np.arange(4.0), np.arange(4.0)).astype(np.float32)
    >>> bool(np.allclose(level(ramp, Levelling.PLANE), 0, atol=1e-5))
    True
    """
    # From here on the copy is ours: writing into it, instead of making new arrays, halves the time.
    clean = _finite_or_nan(data)
    match how:
        case Levelling.NONE:
            pass
        case Levelling.PLANE:
            _flatten(clean, 1)
        case Levelling.POLYNOMIAL:
            _flatten(clean, 2)
        case Levelling.MEDIAN:
            _flatten(clean, 1)
            clean -= row_medians(clean)[:, None]
        case Levelling.ROWS:
            clean -= row_shifts(clean)[:, None]
            _flatten(clean, 1)
        case Levelling.SCARS:
            clean -= row_shifts(clean)[:, None]
            _flatten(clean, 1)
            clean = remove_scars(clean)
    return clean


def subtract_polynomial(data: NDArray[np.float32], degree: int) -> NDArray[np.float32]:
    """Subtract the polynomial surface that most of a frame lies on.

    Parameters
    ----------
    data : (rows, columns) float32 array
        NaN where not scanned.
    degree : int
        Highest total power of x and y: 0 subtracts a level, 1 a plane, 2 also a bow.

    Returns
    -------
    (rows, columns) float32 array
        A new array.

    Notes
    -----
    The surface is found by least trimmed squares over the nearer half of the points, with concentration steps
    (Rousseeuw and Van Driessen, Data Min. Knowl. Disc. 12 (2006) 29, doi:10.1007/s10618-005-0024-4), then by least
    squares over the points within 2.5 standard deviations of it. So molecules do not lift it, and of a frame with
    steps it is the largest terrace that becomes flat. Two starts are tried: the least-squares surface, and, since that
    one leans on steps, the plane whose slopes are the medians of the local slopes.
    """
    result = data.copy()
    _flatten(result, degree)
    return result


def _flatten(data: NDArray[np.float32], degree: int) -> None:
    """Do the work of :func:`subtract_polynomial` in place."""
    sample = _sample(data)
    if sample is None:
        return
    x, y, z = sample
    middle = np.float32(np.median(z))
    z = z - float(middle)
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    basis = np.stack([y**i * x**j for i, j in powers], axis=1)
    starts = [_least_squares(basis, z)]
    if degree > 0:
        starts.append(_slope_start(data, powers, x, y, z))
    table = np.zeros((degree + 1, degree + 1))
    for (i, j), value in zip(powers, _least_trimmed_squares(basis, z, starts), strict=True):
        table[i, j] = value
    columns = _unit_axis(data.shape[1])[None, :] ** np.arange(degree + 1)[:, None]
    rows = _unit_axis(data.shape[0])[:, None] ** np.arange(degree + 1)[None, :]
    # The large constant goes first: the difference of two near float32 numbers is exact (Sterbenz's lemma).
    data -= middle
    data -= (rows @ table).astype(np.float32) @ columns.astype(np.float32)


def _finite_or_nan(data: NDArray[np.float32]) -> NDArray[np.float32]:
    clean = np.clip(data, -LARGEST_VALUE, LARGEST_VALUE)
    finite = np.isfinite(data)
    if not finite.all():
        clean[~finite] = np.nan
    return clean


def _unit_axis(length: int) -> NDArray[np.float64]:
    """Pixel positions from -1 to 1, so that powers of them stay well conditioned."""
    return np.linspace(-1.0, 1.0, length) if length > 1 else np.zeros(1)


def _sample(data: NDArray[np.float32]) -> tuple[NDArray[np.float64], ...] | None:
    """x, y (from -1 to 1) and z of a regular grid of scanned pixels; None where nothing was scanned."""
    scanned_rows = np.flatnonzero(np.isfinite(data).any(axis=1))
    if scanned_rows.size == 0:
        return None
    rows = scanned_rows[:: max(1, scanned_rows.size // SAMPLE_SIDE)]
    columns = np.arange(0, data.shape[1], max(1, data.shape[1] // SAMPLE_SIDE))
    z = data[np.ix_(rows, columns)].astype(np.float64)
    finite = np.isfinite(z)
    if not finite.any():  # a few scattered pixels that the grid missed
        rows, columns = np.arange(data.shape[0]), np.arange(data.shape[1])
        z = data.astype(np.float64)
        finite = np.isfinite(z)
    y, x = np.meshgrid(_unit_axis(data.shape[0])[rows], _unit_axis(data.shape[1])[columns], indexing="ij")
    return x[finite], y[finite], z[finite]


def _slope_start(
    data: NDArray[np.float32],
    powers: list[tuple[int, int]],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    z: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Coefficients of the plane with the median slopes, through the largest terrace."""
    slope_x, slope_y = _median_slope(data), _median_slope(data.T)
    known = {(0, 0): _shorth_middle(z - slope_x * x - slope_y * y), (0, 1): slope_x, (1, 0): slope_y}
    return np.array([known.get(power, 0.0) for power in powers])


def _median_slope(data: NDArray[np.float32]) -> float:
    """Median slope along the rows, per half width, over pairs of pixels a sixteenth apart; 0 where there are none."""
    length = data.shape[1]
    lag, step = max(1, length // 16), max(1, length // SAMPLE_SIDE)
    lines = data[:: max(1, data.shape[0] // SAMPLE_SIDE)]
    differences = lines[:, lag::step].astype(np.float64) - lines[:, : length - lag : step]
    finite = differences[np.isfinite(differences)]
    return float(np.median(finite)) / lag * (length - 1) / 2 if finite.size else 0.0


def _shorth_middle(values: NDArray[np.float64]) -> float:
    """Middle of the shortest interval that holds half of the values: where the largest terrace lies."""
    ordered = np.sort(values)
    half = max(1, ordered.size // 2)
    widths = ordered[half:] - ordered[: ordered.size - half]
    if widths.size == 0:
        return float(ordered[0])
    first = int(np.argmin(widths))
    return float(ordered[first] + ordered[first + half]) / 2


def _least_squares(
    basis: NDArray[np.float64], z: NDArray[np.float64], weight: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Least squares by the normal equations; a trace of ridge settles what too few lines leave open."""
    weighted = basis if weight is None else basis * weight[:, None]
    gram = weighted.T @ basis
    ridge = RIDGE * np.trace(gram) * np.eye(gram.shape[0])
    solution: NDArray[np.float64] = np.linalg.solve(gram + ridge, weighted.T @ z)
    return solution


def _least_trimmed_squares(
    basis: NDArray[np.float64], z: NDArray[np.float64], starts: list[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The best start after two concentration steps is followed to its end, as Rousseeuw and Van Driessen propose."""
    half = min(z.size, (z.size + basis.shape[1] + 1) // 2)
    tried = [_concentrate(basis, z, start, half, FIRST_STEPS) for start in starts]
    best = min(tried, key=lambda found: found[1])[0]
    best, total = _concentrate(basis, z, best, half, MOST_STEPS)
    inside = np.abs(z - basis @ best) <= CUT * LTS_CONSISTENCY * math.sqrt(total / half)
    return _least_squares(basis, z, inside.astype(np.float64)) if np.count_nonzero(inside) >= half else best


def _concentrate(
    basis: NDArray[np.float64], z: NDArray[np.float64], found: NDArray[np.float64], half: int, steps: int
) -> tuple[NDArray[np.float64], float]:
    """Fit the nearer half again and again; the sum of its squares never grows.

    Returns the coefficients, and the sum of squares of the half that they were fitted to.
    """
    total = math.inf
    for _ in range(steps):
        squares = np.square(z - basis @ found)
        near = (squares <= np.partition(squares, half - 1)[half - 1]).astype(np.float64)
        found = _least_squares(basis, z, near)
        before, total = total, float(near @ np.square(z - basis @ found))
        if total >= before * (1 - SMALL_GAIN):
            break
    return found, total
