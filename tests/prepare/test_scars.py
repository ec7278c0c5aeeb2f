"""Scars are found where they are, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest

from spm_live.prepare import mark_scars, remove_scars


def slow_mark(data, high, low, shortest, widest):
    """Go through every pixel and every width, as the definition says."""
    rows, columns = data.shape
    unit = np.sqrt(np.mean(np.diff(data.astype(np.float64), axis=0) ** 2))
    marked = np.zeros(data.shape, dtype=bool)
    for sign in (1, -1):
        z = sign * data
        strong, weak = np.zeros(data.shape, dtype=bool), np.zeros(data.shape, dtype=bool)
        for column in range(columns):
            for width in range(1, min(widest, rows - 2) + 1):
                for top in range(1, rows - width):
                    above, below = z[top - 1, column], z[top + width, column]
                    if top > 1:
                        above = above + abs(above - z[top - 2, column])
                    if top + width + 1 < rows:
                        below = below + abs(below - z[top + width + 1, column])
                    rise = z[top : top + width, column].min() - max(above, below)
                    if rise > low * unit:
                        weak[top : top + width, column] = True
                    if rise > high * unit:
                        strong[top : top + width, column] = True
        for row in range(rows):
            column = 0
            while column < columns:
                end = column
                while end < columns and weak[row, end]:
                    end += 1
                if end - column >= shortest and strong[row, column:end].any():
                    marked[row, column:end] = True
                column = max(end, column + 1)
    return marked


@pytest.mark.parametrize("seed", range(6))
def test_the_quick_way_marks_what_the_slow_way_marks(seed):
    rng = np.random.default_rng(seed)
    data = (0.2 * rng.normal(size=(24, 40))).astype(np.float32)
    for _ in range(12):
        row, column, length = rng.integers(0, 23), rng.integers(0, 30), rng.integers(3, 25)
        data[row : row + rng.integers(1, 5), column : column + length] += rng.choice([-2, 2])
    settings = {"high": 0.6, "low": 0.25, "shortest_px": 8, "widest_px": 3}
    expected = slow_mark(data, *settings.values())
    assert expected.any()
    assert np.array_equal(mark_scars(data, **settings), expected)


def test_a_scar_is_mended_and_the_rest_is_left_as_it_was():
    y, x = np.mgrid[:64, :64]
    truth = (0.1 * x + 0.05 * y).astype(np.float32)
    scarred = truth.copy()
    scarred[20, 10:50] += 3
    scarred[40:42, 5:30] -= 3
    marked = mark_scars(scarred)
    assert np.array_equal(marked, scarred != truth)
    mended = remove_scars(scarred)
    assert np.allclose(mended, truth, atol=1e-5)
    assert np.array_equal(mended[~marked], scarred[~marked])


def test_a_round_molecule_is_no_scar():
    y, x = np.mgrid[:64, :64]
    data = np.exp(-((x - 30) ** 2 + (y - 30) ** 2) / 50).astype(np.float32)
    assert not mark_scars(data).any()


def test_nothing_is_marked_beside_what_was_not_scanned():
    data = np.random.default_rng(0).normal(size=(40, 60)).astype(np.float32) * 0.1
    data[20:] = np.nan
    data[19] += 5  # the last scanned line: without a line after it nobody knows whether the tip came back
    assert not mark_scars(data).any()
    assert np.array_equal(remove_scars(data), data, equal_nan=True)
