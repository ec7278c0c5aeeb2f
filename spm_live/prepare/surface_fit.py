"""Finding the plane, or the bowed surface, that most of a frame lies on."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spm_live.prepare.rows import scanned_rows
from spm_live.prepare.small import median, solve_symmetric

SAMPLE_SIDE = 40
"""The surface is fitted to a grid of about this many points a side: some 1600 points fix six numbers well enough."""
MOST_STEPS = 6
"""Concentration steps at most."""
SMALL_GAIN = 1e-3
"""The steps end when the sum of squares falls by less than this part."""
RIDGE = 1e-12
"""Part of the trace added to the normal equations, so that a single scanned line, too, has a solution."""
CUT = 2.5
"""Points further from the trimmed fit than this many standard deviations take no part in the last one."""
WIDE, NARROW = (0.5, 2.648), (0.3, 4.535)
"""Part of the points that a trimmed fit is made to, and the standard deviation of a normal distribution over the root
mean square of that part of it around the middle."""


def fit_surface(data: NDArray[np.float32], degree: int) -> tuple[np.float32, NDArray[np.float64]] | None:
    """Find the polynomial surface that most of a frame lies on.

    Parameters
    ----------
    data : (rows, columns) float32 array
        NaN where not scanned.
    degree : int
        Highest total power of x and y.

    Returns
    -------
    middle : float32
        A constant to be subtracted first.
    table : (degree + 1, degree + 1) float64 array
        Coefficient of y^i x^j at [i, j], for x and y from -1 to 1 over the frame's pixel centres.

    None where nothing was scanned.

    Notes
    -----
    Least trimmed squares with concentration steps (Rousseeuw and Van Driessen, Data Min. Knowl. Disc. 12 (2006) 29,
    doi:10.1007/s10618-005-0024-4), then least squares over the points within 2.5 standard deviations, so that molecules
    do not lift the surface. Two starts are followed: the least-squares surface, with half of the points; and, since
    over a flight of terraces that one runs down the stairs, the plane whose slopes are the medians of the local slopes,
    with three tenths of the points, which one terrace can hold. The one that leaves the frame flatter from point to
    point is taken: the one along the terraces, where there are any.
    """
    grid = _grid(data)
    if grid is None:
        return None
    x, y, z = grid
    finite = np.isfinite(z)
    middle = np.float32(median(z[finite]))
    z = z - float(middle)
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    full = np.stack([np.multiply.outer(y**i, x**j) for i, j in powers])
    basis, values = np.compress(finite.ravel(), full.reshape(len(powers), -1), axis=1), z[finite]
    products = _products(basis, values)
    found = _trimmed(basis, values, products, _least_squares(products, np.ones(values.size)), *WIDE)
    if degree > 0:
        other = _trimmed(basis, values, products, _along_terraces(x, y, z, powers), *NARROW)
        found = min(found, other, key=lambda fit: _unevenness(z - np.tensordot(fit, full, 1)))
    table = np.zeros((degree + 1, degree + 1))
    for (i, j), value in zip(powers, found, strict=True):
        table[i, j] = value
    return middle, table


def unit_axis(length: int) -> NDArray[np.float64]:
    """Pixel positions from -1 to 1, so that powers of them stay well conditioned."""
    return np.linspace(-1.0, 1.0, length) if length > 1 else np.zeros(1)


def _grid(data: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]] | None:
    """x, y (from -1 to 1) and z on a grid over the scanned rows; None where nothing was scanned."""
    scanned = scanned_rows(data)
    if scanned.size == 0:
        return None
    rows = scanned[:: max(1, scanned.size // SAMPLE_SIDE)]
    columns = np.arange(0, data.shape[1], max(1, data.shape[1] // SAMPLE_SIDE))
    z = data[np.ix_(rows, columns)].astype(np.float64)
    if not np.isfinite(z).any():  # a few scattered pixels that the grid missed
        rows, columns = scanned, np.flatnonzero(np.isfinite(data).any(axis=0))
        z = data[np.ix_(rows, columns)].astype(np.float64)
    return unit_axis(data.shape[1])[columns], unit_axis(data.shape[0])[rows], z


def _along_terraces(
    x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64], powers: list[tuple[int, int]]
) -> NDArray[np.float64]:
    """Coefficients of the plane with the median slopes, through the height that most points are near to."""
    known = {(0, 1): _median_slope(z, x), (1, 0): _median_slope(z.T, y)}
    rest = z - known[0, 1] * x[None, :] - known[1, 0] * y[:, None]
    known[0, 0] = _densest(rest[np.isfinite(rest)])
    return np.array([known.get(power, 0.0) for power in powers])


def _median_slope(z: NDArray[np.float64], x: NDArray[np.float64]) -> float:
    """Median slope along the second axis between points a sixteenth of the grid apart; 0 where there are none."""
    lag = _lag(x.size)
    slopes = (z[:, lag:] - z[:, :-lag]) / (x[lag:] - x[:-lag])
    finite = slopes[np.isfinite(slopes)]
    return median(finite) if finite.size else 0.0


def _unevenness(rest: NDArray[np.float64]) -> float:
    """Median difference between points a sixteenth of the grid apart, along both axes together."""
    total = 0.0
    for lines in (rest, rest.T):
        lag = _lag(lines.shape[1])
        differences = np.abs(lines[:, lag:] - lines[:, :-lag])
        finite = differences[np.isfinite(differences)]
        total += median(finite) if finite.size else 0.0
    return total


def _lag(length: int) -> int:
    return max(1, length // 16)


def _densest(values: NDArray[np.float64]) -> float:
    """Middle of the shortest interval that holds three tenths of the values."""
    ordered = np.sort(values)
    held = max(1, int(NARROW[0] * ordered.size))
    widths = ordered[held:] - ordered[: ordered.size - held]
    if widths.size == 0:
        return float(ordered[0])
    first = int(np.argmin(widths))
    return float(ordered[first] + ordered[first + held]) / 2


def _products(basis: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each point what it adds to the normal equations, [matrix, right-hand side]: (K, K + 1, points)."""
    return np.asarray(basis[:, None] * np.concatenate([basis, z[None]])[None], dtype=np.float64)


def _least_squares(products: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares by the normal equations; a trace of ridge settles what too few lines leave open."""
    equations = products @ weight
    gram = equations[:, :-1]
    gram.flat[:: len(gram) + 1] += RIDGE * gram.trace()  # in place: made of np.eye it took a third of all this
    return solve_symmetric(gram, equations[:, -1])


def _trimmed(
    basis: NDArray[np.float64],
    z: NDArray[np.float64],
    products: NDArray[np.float64],
    found: NDArray[np.float64],
    part: float,
    consistency: float,
) -> NDArray[np.float64]:
    """From a start, fit the nearest part of the points again and again, then all that are near enough."""
    held = min(z.size, int(part * z.size) + basis.shape[0])
    total = math.inf
    for _ in range(MOST_STEPS):
        squares = np.square(z - found @ basis)
        limit = np.partition(squares, held - 1)[held - 1]
        near = (squares <= limit).astype(np.float64)
        before, total = total, float(near @ squares)
        if total >= before * (1 - SMALL_GAIN):
            break
        found = _least_squares(products, near)
    inside = np.abs(z - found @ basis) <= CUT * consistency * math.sqrt(total / held)
    return _least_squares(products, inside.astype(np.float64)) if np.count_nonzero(inside) >= held else found
