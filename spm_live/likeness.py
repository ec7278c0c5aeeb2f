"""Knows two pictures of one scan by their values: what was seen growing, and what its file holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST_COLUMNS = 16
"""Columns of a sample: a few thousand values, each with its noise, are unlike those of any other scan."""
SAME_VALUE = 1e-5
"""Relative difference of two values that are the same: the file and the network both hold float32."""
LEAST_VALUES = 16
"""So many values must be seen in both; noise makes each of them unlike any other scan's."""


def sample_rows(data: NDArray[np.float32]) -> NDArray[np.float32]:
    """Some values of each row, spread over it.

    Parameters
    ----------
    data : (rows, columns) float32 array
        NaN where not scanned.

    Returns
    -------
    (rows, n) float32 array
        A copy of at most 16 columns.
    """
    return data[:, :: -(-data.shape[1] // MOST_COLUMNS)].copy()


def shows_the_same(there: NDArray[np.float32], here: NDArray[np.float32]) -> bool:
    """Whether a file holds what was seen of a scan.

    Parameters
    ----------
    there, here : (rows, n) float32 array
        Of the file and of the lines; NaN where not scanned.
    """
    if there.shape != here.shape:
        return False
    seen = np.isfinite(here)
    if np.count_nonzero(seen) < LEAST_VALUES or not np.isfinite(there[seen]).all():
        return False
    return bool(np.allclose(there[seen], here[seen], rtol=SAME_VALUE, atol=0.0))
