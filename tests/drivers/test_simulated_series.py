"""Drawn series of one place: drift, hops, and the identity of every molecule."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from spm_live_drivers.contract import ScanDirection
from spm_live_drivers.simulate import SAMPLE
from spm_live_drivers.synthetic import Tip
from spm_live_drivers.synthetic.population import Changes
from spm_live_drivers.synthetic.series import DriftingPlace, SeriesScan, drifting_series

QUIET = Tip(white_nm=0, pink_nm=0, line_nm=0, scars=0, dropouts=0, jump=0)
PITCH_NM = 20.0 / 128


def draw(seed: int, frames: int, drift_nm: float | tuple[float, float], hops: float = 0.0, **rest: float) -> list:
    return list(
        drifting_series(
            seed, frames, drift_nm, hops, rows=128, columns=128, size_nm=20.0, sample=SAMPLE, tip=QUIET, **rest
        )
    )


def moved(before: SeriesScan, now: SeriesScan) -> dict[int, float]:
    """How far each molecule that both frames show went beside the drift, in nm."""
    old = dict(zip(before.ids, before.molecules, strict=True))
    new = dict(zip(now.ids, now.molecules, strict=True))
    drift = np.array(now.drift_nm) * (1, -1)
    both = old.keys() & new.keys()
    ways = {key: (np.array(new[key].center_px) - old[key].center_px) * PITCH_NM - drift for key in both}
    return {key: float(np.hypot(*way)) for key, way in ways.items()}


def test_a_drift_of_whole_pixels_moves_the_picture_and_nothing_else() -> None:
    first, second = draw(3, 2, (4 * PITCH_NM, -3 * PITCH_NM))
    np.testing.assert_allclose(second.scan.heights[3:, 4:], first.scan.heights[:-3, :-4], atol=1e-15)
    assert not np.allclose(second.scan.heights, first.scan.heights, atol=1e-11)
    assert second.drift_nm == pytest.approx((4 * PITCH_NM, -3 * PITCH_NM))
    assert second.scan.geometry == first.scan.geometry


@pytest.mark.parametrize("drift_nm", [0.0, 0.7, 2.0])
def test_exactly_those_that_hopped_moved_beside_the_drift(drift_nm: float) -> None:
    series = draw(7, 4, drift_nm, 0.1)
    assert series[0].drift_nm == (0.0, 0.0)
    for before, now in itertools.pairwise(series):
        assert np.hypot(*now.drift_nm) == pytest.approx(drift_nm)
        ways = moved(before, now)
        assert len(ways) > 20
        assert {key for key, way in ways.items() if way > 1e-6} == set(now.hopped) & ways.keys()
        assert 0.05 < len(now.hopped) / len(ways) < 0.15


def test_molecules_that_go_and_come_and_turn_are_named() -> None:
    series = draw(1, 4, 0.5, 0.0, turn_share=0.1, vanish_share=0.1, appear_share=0.1)
    known = set(series[0].ids)
    for before, now in itertools.pairwise(series):
        assert now.vanished
        assert now.appeared
        assert set(now.vanished) <= set(before.ids)
        assert not set(now.vanished) & set(now.ids)
        assert not set(now.appeared) & known
        known |= {*now.ids, *now.appeared}
        old = dict(zip(before.ids, before.molecules, strict=True))
        new = dict(zip(now.ids, now.molecules, strict=True))
        both = old.keys() & new.keys()
        assert {key for key in both if old[key].angle_deg != new[key].angle_deg} == set(now.turned) & both
        assert all(old[key].label == new[key].label for key in both)


def test_molecules_keep_clear_of_each_other_after_many_hops() -> None:
    last = draw(2, 8, 0.0, 0.5)[-1]
    places = np.array([molecule.center_px for molecule in last.molecules]) * PITCH_NM
    away = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    # Those of an island lie nearer than two discs: a breadth and a bit, as in a single scan.
    assert away[np.triu_indices(len(places), 1)].min() > 0.6


def test_one_seed_gives_one_series_and_scans_go_down_and_up() -> None:
    one, other = draw(5, 3, 0.3, 0.2), draw(5, 3, 0.3, 0.2)
    for first, second in zip(one, other, strict=True):
        np.testing.assert_array_equal(first.scan.heights, second.scan.heights)
        assert first.ids == second.ids
    down, up = ScanDirection.DOWN, ScanDirection.UP
    assert [item.scan.direction for item in one] == [down, up, down]
    assert not np.array_equal(one[0].scan.heights, draw(6, 1, 0.3)[0].scan.heights)


def test_what_makes_no_series_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        drifting_series(0, 0)
    with pytest.raises(ValueError, match="finite drift"):
        drifting_series(0, 2, float("nan"))
    with pytest.raises(ValueError, match="shares"):
        Changes(hop=1.5)
    place = DriftingPlace(0, 1, rows=32, columns=32, size_nm=10.0)
    place.next_scan()
    with pytest.raises(ValueError, match="all 1 frames"):
        place.next_scan()
