"""What was scanned of a frame, and what lies beyond it."""

from __future__ import annotations

import numpy as np
import pytest

from spm_live.locate.scanned import survey


def test_of_a_partial_frame_the_first_and_last_columns_were_scanned_too() -> None:
    data = np.ones((6, 8), dtype=np.float32)
    data[4:] = np.nan
    area = survey(data)
    assert area.beyond is not None
    assert np.array_equal(area.beyond, np.isnan(data))
    assert area.extent == (0, 0, 8, 4)
    assert area.holds(np.array([[0.0, 1.0], [7.0, 1.0], [0.0, 4.0]])).tolist() == [True, True, False]


@pytest.mark.parametrize("columns", [[0], [0, 1], [3, 4, 5], [7]])
def test_what_is_missing_at_the_border_or_in_three_pixels_lies_beyond(columns: list[int]) -> None:
    data = np.ones((5, 8), dtype=np.float32)
    data[2, columns] = np.nan
    beyond = survey(data).beyond
    assert beyond is not None
    assert np.array_equal(beyond, np.isnan(data))


@pytest.mark.parametrize("columns", [[2], [2, 3], [1, 2, 5]])
def test_one_or_two_missing_pixels_are_a_drop_out(columns: list[int]) -> None:
    data = np.ones((5, 8), dtype=np.float32)
    data[2, columns] = np.nan
    assert survey(data).beyond is None
