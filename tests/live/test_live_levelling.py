"""Levelling line by line: steady, deaf to molecules, and never at the cost of what comes later."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spm_live.domain import Levelling
from spm_live.live.levelling import LineLevelling

NOISE = 2e-12


def levelled(data: np.ndarray, how: Levelling = Levelling.ROWS) -> np.ndarray:
    levelling = LineLevelling(data.shape[1], how)
    return np.stack([levelling.take(line) for line in data.astype(np.float32)])


def bare(rows: int = 200, columns: int = 256, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns)) * NOISE


def with_molecules(data: np.ndarray, cover: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Round molecules, 150 pm high, until so much is covered; and where they are not."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: data.shape[0], : data.shape[1]]
    height = np.zeros(data.shape)
    while (height > 5e-12).mean() < cover:
        column, row = rng.uniform(0, data.shape[1]), rng.uniform(0, data.shape[0])
        height = np.maximum(height, 150e-12 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 40))
    return data + height, height < 1e-12


def ground_of(flat: np.ndarray, free: np.ndarray) -> np.ndarray:
    """Height of the bare surface in each line."""
    return np.array([np.median(line[where]) for line, where in zip(flat, free, strict=True)])


def test_tilt_drift_jitter_and_jumps_of_the_tip_go_and_what_is_there_stays() -> None:
    rows, columns = 200, 256
    y, x = np.mgrid[:rows, :columns]
    truth, free = with_molecules(bare(), 0.3)
    jitter = np.cumsum(np.random.default_rng(2).normal(size=rows)) * 20e-12
    jitter[90:] += 3e-9
    jitter[150:] -= 2e-9
    seen = truth + 3e-12 * x - 7e-12 * y + 1e-14 * y**2 + jitter[:, None] + 4e-7
    flat = levelled(seen)
    # float32 keeps 3e-14 of 4e-7; the ground is as flat as an eighth of the noise of the molecules' height
    assert np.abs(ground_of(flat, free)[3:]).max() < 8e-12
    # from line to line it moves by less than the noise, so nothing is striped
    assert np.std(np.diff(ground_of(flat, free))[3:]) < 0.5 * NOISE
    assert np.std((flat - truth)[8:]) < 2.5 * NOISE


def test_an_island_that_takes_up_nearly_half_of_a_line_does_not_pull_it_down() -> None:
    data, free = with_molecules(bare(), 0.08)
    data[100:140, 60:170] += 150e-12
    free[100:140, 60:170] = False
    ground = ground_of(levelled(data), free)
    assert np.abs(ground[100:140] - ground[90:100].mean()).max() < 10e-12


def test_a_tip_that_jumps_in_the_middle_of_a_line_spoils_that_line_only() -> None:
    data = bare()
    data[80, 100:] += 1e-9
    data[81:] += 1e-9
    ground = np.median(levelled(data), axis=1)
    assert np.abs(ground[81:]).max() < 2 * NOISE


def test_a_terrace_whose_edge_crosses_the_lines_stays() -> None:
    y, x = np.mgrid[:200, :256]
    high = x + 0.3 * y > 150
    flat = levelled(bare() + 200e-12 * high)
    step = np.median(flat[120:140][high[120:140]]) - np.median(flat[120:140][~high[120:140]])
    assert step == pytest.approx(200e-12, rel=0.05)


@given(
    data=arrays(
        np.float32,
        st.tuples(st.integers(1, 20), st.integers(1, 40)),
        elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
    ),
    how=st.sampled_from(list(Levelling)),
)
def test_any_values_give_values_where_there_were_any(data: np.ndarray, how: Levelling) -> None:
    before = data.copy()
    with np.errstate(all="raise", under="ignore"):
        flat = levelled(data, how)
    assert flat.dtype == np.float32
    assert np.array_equal(np.isfinite(flat), np.isfinite(data))
    assert np.array_equal(data, before, equal_nan=True), "the lines given are not written"


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), cut=st.integers(1, 39))
def test_no_line_depends_on_a_later_one(seed: int, cut: int) -> None:
    data = bare(40, 64, seed)
    other = data.copy()
    other[cut:] = bare(40, 64, seed + 1)[cut:] + 1e-9
    assert np.array_equal(levelled(data)[:cut], levelled(other)[:cut])


def test_a_line_that_was_lost_changes_nothing_for_the_others() -> None:
    data, _ = with_molecules(bare(60), 0.2)
    lost = np.insert(data, [0, 10, 10, 30], np.nan, axis=0)
    flat = levelled(lost)
    kept = ~np.isnan(lost).all(axis=1)
    assert np.isnan(flat[~kept]).all()
    assert np.array_equal(flat[kept], levelled(data))


def test_a_line_of_which_a_part_was_lost_fits_the_others() -> None:
    data = bare(60) + 1e-9 * np.arange(60)[:, None]
    data[20:35, 40:] = np.nan
    ground = np.nanmedian(levelled(data), axis=1)
    assert np.abs(ground).max() < 2 * NOISE


def test_without_levelling_the_values_stay() -> None:
    data = bare(20).astype(np.float32) + np.float32(3e-7)
    assert np.array_equal(levelled(data, Levelling.NONE), data)
