"""Scans drawn with a tip change in them: the same surface and noise before and after, another tip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from spm_live_drivers.contract import ScanDirection
from spm_live_drivers.synthetic import Sample, Species, Tip
from spm_live_drivers.synthetic.surface import Grid
from spm_live_drivers.synthetic.tip_change import CALM, TIP_CHANGES, TipSwitch, draw_tip_change, record_switch, see

GRID = Grid((64, 48), (0.1, 0.1))
SAMPLE = Sample((Species("three-lobe", 1.4, 0.2, 0.6),), (1.0,), steps=0.0)


def surface() -> np.ndarray:
    rng = np.random.default_rng(0)
    heights = np.zeros(GRID.shape, dtype=np.float32)
    for row, column in rng.integers(5, 43, (12, 2)):
        heights[row, column] = 1.0
    return see(heights, replace(CALM, blur_nm=0.2), GRID)


@pytest.mark.parametrize("kind", TIP_CHANGES)
@pytest.mark.parametrize("direction", list(ScanDirection))
def test_a_change_lies_between_15_and_85_percent_and_one_seed_draws_one(kind: str, direction: ScanDirection) -> None:
    scan, line = draw_tip_change(3, kind, rows=60, columns=40, direction=direction, sample=SAMPLE)
    again, _ = draw_tip_change(3, kind, rows=60, columns=40, direction=direction, sample=SAMPLE)
    assert 9 <= line <= 51
    assert scan.heights.dtype == scan.heights_backward.dtype == np.float32
    assert np.isfinite(scan.heights).all()
    assert scan.heights.tobytes() == again.heights.tobytes()


@pytest.mark.parametrize("up", [False, True])
def test_lines_before_and_after_are_those_of_the_two_tips(up: bool) -> None:
    blunt = replace(CALM, blur_nm=0.4)
    switch = TipSwitch("height and blunter", CALM, blunt, 0.1, line=30, sample=20)
    forward, backward = record_switch(np.random.default_rng(1), surface(), switch, GRID, up=up)
    order = slice(None, None, -1 if up else 1)
    before, after = see(surface(), CALM, GRID)[order], see(surface(), blunt, GRID)[order] + 0.1
    for trace in (forward[order], backward[order]):
        np.testing.assert_allclose(trace[:29], before[:29], atol=1e-6)
        np.testing.assert_allclose(trace[30:], after[30:], atol=1e-6)
    # In the line between it happened at sample 20 of the way there: the way back is new all along.
    np.testing.assert_allclose(forward[order][29], [*before[29][:20], *after[29][20:]], atol=1e-6)
    np.testing.assert_allclose(backward[order][29], after[29], atol=1e-6)


def test_noise_and_faults_stay_as_they_were() -> None:
    noisy = Tip(blur_nm=CALM.blur_nm, tilt=(0.02, 0.01), creep_nm=0.1, white_nm=0.01, scars=0.0, dropouts=0.0, jump=0.0)
    switch = TipSwitch("height", noisy, noisy, 0.2, line=30, sample=0)
    changed, _ = record_switch(np.random.default_rng(1), surface(), switch, GRID, up=False)
    same, _ = record_switch(np.random.default_rng(1), surface(), replace(switch, jump_nm=0.0), GRID, up=False)
    np.testing.assert_allclose(changed[:29], same[:29])
    np.testing.assert_allclose(changed[30:], same[30:] + np.float32(0.2), atol=1e-6)


def test_an_unsteady_tip_spoils_only_lines_before_the_change() -> None:
    switch = TipSwitch("height", CALM, CALM, 0.2, line=30, sample=0, unrest=3)
    forward, _ = record_switch(np.random.default_rng(1), surface(), switch, GRID, up=False)
    wrong = np.abs(forward - see(surface(), CALM, GRID) - 0.2 * (np.arange(64) >= 30)[:, None]).max(axis=1) > 1e-5
    assert wrong.nonzero()[0].tolist() == [27, 28, 29]


def test_a_blur_lowers_tops_and_a_second_apex_only_adds() -> None:
    still = surface()
    assert see(still, replace(CALM, blur_nm=0.3), GRID).max() < still.max()
    double = see(still, replace(CALM, double_nm=(0.5, 0.3), double_depth_nm=0.02), GRID)
    assert (double >= see(still, CALM, GRID)).all()
    assert (double > see(still, CALM, GRID) + 1e-3).any()


@pytest.mark.parametrize(("kind", "line"), [("sideways", None), ("height", 0), ("height", 60)])
def test_what_cannot_be_drawn_is_refused(kind: str, line: int | None) -> None:
    with pytest.raises(ValueError, match="tip change"):
        draw_tip_change(0, kind, rows=60, columns=40, line=line)
