"""The quick versions against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spm_live.prepare.small import median, solve_symmetric

VALUES = st.floats(-1e12, 1e12)


@given(hnp.arrays(np.float64, st.integers(1, 60), elements=VALUES))
def test_the_median_is_numpys(values: np.ndarray) -> None:
    assert median(values) == np.median(values)


@given(hnp.arrays(np.float64, (3, 12), elements=st.floats(-1, 1)), st.floats(1e-12, 1))
def test_a_solution_solves_also_where_the_matrix_is_nearly_singular(basis: np.ndarray, ridge: float) -> None:
    matrix = basis @ basis.T + ridge * np.eye(3)
    wanted = np.array([1.0, -2.0, 0.5])
    right = matrix @ wanted

    found = solve_symmetric(matrix, right)

    np.testing.assert_allclose(matrix @ found, right, atol=1e-9 * np.abs(matrix).max())


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_every_size_agrees_with_lapack(size: int) -> None:
    basis = np.random.default_rng(size).normal(size=(size, 40))
    matrix, right = basis @ basis.T, basis @ np.arange(40.0)

    np.testing.assert_allclose(solve_symmetric(matrix, right), np.linalg.solve(matrix, right), rtol=1e-10)
