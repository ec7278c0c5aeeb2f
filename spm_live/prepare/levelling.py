"""Taking the tilt and the bow out of a frame, without being fooled by steps and molecules."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spm_live.domain import Levelling
from spm_live.prepare.rows import row_medians, row_shifts
from spm_live.prepare.scars import remove_scars
from spm_live.prepare.surface_fit import fit_surface, unit_axis

LARGEST_VALUE = 1e30
"""Larger magnitudes are cut to this, so that differences and sums of float32 stay finite."""

BLOCK_ROWS = 64
"""Rows that a surface is subtracted from at once. As a whole it would be one more array as large as the frame, and to
get the memory for such arrays from the system took as long as all the arithmetic."""


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
    :func:`spm_live.prepare.surface_fit.fit_surface` tells how the surface is found: molecules do not lift it, and of a
    frame with steps it is the largest terrace that becomes flat.
    """
    result = data.copy()
    _flatten(result, degree)
    return result


def _flatten(data: NDArray[np.float32], degree: int) -> None:
    """Do the work of :func:`subtract_polynomial` in place."""
    fit = fit_surface(data, degree)
    if fit is None:
        return
    middle, table = fit
    columns = unit_axis(data.shape[1])[None, :] ** np.arange(degree + 1)[:, None]
    rows = unit_axis(data.shape[0])[:, None] ** np.arange(degree + 1)[None, :]
    by_row, by_column = (rows @ table).astype(np.float32), columns.astype(np.float32)
    for start in range(0, data.shape[0], BLOCK_ROWS):
        part = data[start : start + BLOCK_ROWS]
        # The large constant goes first: the difference of two near float32 numbers is exact (Sterbenz's lemma).
        part -= middle
        part -= by_row[start : start + BLOCK_ROWS] @ by_column


def _finite_or_nan(data: NDArray[np.float32]) -> NDArray[np.float32]:
    clean = np.clip(data, -LARGEST_VALUE, LARGEST_VALUE)
    finite = np.isfinite(data)
    if not finite.all():
        clean[~finite] = np.nan
    return clean
