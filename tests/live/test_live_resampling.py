"""Rows that are made as lines come are those of the whole frame."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spm_live.domain import Letterbox
from spm_live.live.resampling import LineResampling
from spm_live.prepare import resample

shapes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def made_of(data: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, list[int]]:
    """The rows, and how many there were after each line."""
    lines, wide = data.shape
    resampling = LineResampling(lines, wide, Letterbox(columns / wide, rows / lines, rows, columns))
    made: list[np.ndarray] = []
    after = []
    for line in data:
        made += resampling.take(line)
        after.append(len(made))
    return np.stack(made), after


@given(shape=shapes, wanted=shapes, missing=st.sampled_from([0.0, 0.2, 0.8]), seed=st.integers(0, 1000))
def test_rows_made_one_by_one_are_those_of_the_whole_frame(
    shape: tuple[int, int], wanted: tuple[int, int], missing: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    data = rng.normal(size=shape).astype(np.float32)
    data[rng.random(shape) < missing] = np.nan
    whole = resample(data, *wanted)
    made, after = made_of(data, *wanted)
    assert made.shape == whole.shape
    both = np.isfinite(made) & np.isfinite(whole)
    # where exactly half of a pixel was scanned, rounding decides whether it counts
    assert np.mean(np.isfinite(made) != np.isfinite(whole)) <= (0.1 if missing else 0)
    # next to nothing of cover under a value magnifies the rounding
    np.testing.assert_allclose(made[both], whole[both], atol=2e-4)
    # float64, exactly: rows are there as soon as what they are made of is
    centres = (np.arange(wanted[0]) + 0.5) * shape[0] / wanted[0] - 0.5
    reach = centres if wanted[0] > shape[0] else (np.arange(wanted[0]) + 1) * shape[0] / wanted[0] - 1
    needed = np.clip(np.ceil(reach - 1e-9), 0, shape[0] - 1) + 1
    assert after == [int(np.count_nonzero(needed <= lines)) for lines in range(1, shape[0] + 1)]


@given(shape=shapes, wanted=shapes, seed=st.integers(0, 1000))
def test_it_does_not_matter_from_which_end_lines_come(
    shape: tuple[int, int], wanted: tuple[int, int], seed: int
) -> None:
    data = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    down, _ = made_of(data, *wanted)
    up, _ = made_of(data[::-1], *wanted)
    np.testing.assert_allclose(up[::-1], down, atol=1e-5)


def test_the_same_pitch_leaves_every_pixel_as_it_is() -> None:
    data = np.random.default_rng(1).normal(size=(9, 7)).astype(np.float32)
    data[3] = np.nan
    made, after = made_of(data, 9, 7)
    assert np.array_equal(made, data, equal_nan=True)
    assert after == list(range(1, 10))
