"""The drift between two frames: from the pictures, from the molecules, and where they contradict each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_series import GEOMETRY, drifted, frame, lattice, molecules, picture, scattered

from spm_live.domain import ScanDirection, ScanGeometry
from spm_live.series import DriftField, Method, Molecules
from spm_live.series.drift import find_drift, steady_slope
from spm_live.series.frames import minutes_between, overlap
from spm_live.series.pictures import pair_up, shifts

UP = ScanDirection.UP
PLACES = scattered(60, side_nm=28)
DRIFT = (1.37, -0.84)
NONE = np.empty((0, 2))


def error_nm(found, drift=DRIFT) -> float:
    return float(np.hypot(*(np.array(found.field.drift_nm) - drift)))


numbers = st.floats(-50, 50)


@settings(max_examples=30)
@given(st.tuples(numbers, numbers), st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)), st.floats(-180, 180))
def test_a_field_forth_and_back_is_identity(drift, slope, angle):
    field = DriftField(drift, slope, (3.0, -4.0), angle)
    assert np.allclose(field.back(field.forward(PLACES)), PLACES, atol=1e-6)


@settings(max_examples=30)
@given(st.floats(-180, 180))
def test_the_slow_axis_points_up_in_the_picture(angle):
    geometry = ScanGeometry(64, 32, (8.0, 16.0), (5.0, 6.0), angle)
    top, bottom = geometry.to_nm(np.array([[15.5, -0.5], [15.5, 63.5]]))
    along = DriftField.on(geometry, np.zeros(2)).along_slow(np.array([top, bottom]))
    assert np.allclose(along, [8.0, -8.0])


@pytest.mark.parametrize("rows", [0.0, 0.5])
def test_pictures_alone_tell_a_drift_to_a_small_part_of_a_pixel(rows):
    before, after = frame(PLACES, 1, found=NONE, rows=rows), frame(drifted(PLACES, DRIFT), 2, found=NONE, rows=rows)
    found = find_drift(before, after)
    assert found.method is Method.PICTURES
    assert found.agreement is None
    assert error_nm(found) < 0.25 * GEOMETRY.nm_per_px[0]


def test_offsets_of_lines_do_not_hold_the_drift_at_zero():
    rng = np.random.default_rng(3)
    lines = rng.normal(0, 60, (128, 1))
    one, two = (picture(GEOMETRY, places) + lines for places in (PLACES, drifted(PLACES, DRIFT)))
    before, after = (
        replace(frame(PLACES, number, drawn=False, found=NONE), picture=np.clip(shown, 1, 255).astype(np.uint8))
        for number, shown in ((1, one), (2, two))
    )
    assert error_nm(find_drift(before, after)) < 0.25 * GEOMETRY.nm_per_px[0]


def test_molecules_alone_tell_a_drift():
    before, after = frame(PLACES, 1, drawn=False), frame(drifted(PLACES, DRIFT), 2, drawn=False)
    found = find_drift(before, after)
    assert found.method is Method.MOLECULES
    assert found.agreement > 0.95
    assert error_nm(found) < 1e-6


def test_both_agree_and_say_so():
    found = find_drift(frame(PLACES, 1), frame(drifted(PLACES, DRIFT), 2))
    assert found.method is Method.BOTH
    assert found.agreement > 0.95
    assert error_nm(found) < 1e-6


@pytest.mark.parametrize("drift", [(1.0, 0.1), (-0.9, 1.1), (1.9, -0.4)])
def test_on_a_lattice_the_pictures_choose_the_vector(drift):
    layer, dirt = lattice(spacing_nm=1.5), scattered(6, seed=5, side_nm=14)
    before = frame(layer, 1, dirt=dirt)
    after = frame(drifted(layer, drift), 2, dirt=drifted(dirt, drift))
    found = find_drift(before, after)
    assert found.method is Method.BOTH
    assert error_nm(found, drift) < 0.02


def test_where_they_contradict_each_other_many_molecules_are_believed():
    before, after = frame(PLACES, 1), frame(drifted(PLACES, DRIFT), 2)
    after = replace(after, picture=picture(GEOMETRY, drifted(PLACES, (-3.0, 2.0))))
    found = find_drift(before, after)
    assert found.method is Method.MOLECULES_NOT_PICTURES
    assert error_nm(found) < 1e-6


def test_where_they_contradict_each_other_few_molecules_are_not_believed():
    before = frame(PLACES, 1, found=scattered(5, seed=8))
    after = frame(drifted(PLACES, DRIFT), 2, found=scattered(5, seed=9))
    found = find_drift(before, after)
    assert found.method is Method.PICTURES_NOT_MOLECULES
    assert error_nm(found) < 0.25 * GEOMETRY.nm_per_px[0]


def test_pictures_of_different_surfaces_without_molecules_tell_nothing():
    found = find_drift(frame(PLACES, 1, found=NONE), frame(scattered(60, seed=2, side_nm=28), 2, found=NONE))
    assert (found.method, found.field) == (Method.NONE, None)


def test_without_pictures_and_molecules_there_is_no_drift():
    found = find_drift(frame(NONE, 1, drawn=False), frame(NONE, 2, drawn=False))
    assert (found.method, found.field, found.agreement) == (Method.NONE, None, None)


@pytest.mark.parametrize(
    "geometry",
    [
        ScanGeometry(100, 160, (20.0, 12.5), (2.0, -1.0)),  # another place, size and pixel
        ScanGeometry(128, 128, (14.0, 14.0), (1.0, 1.0), 30.0),  # turned
        ScanGeometry(256, 256, (20.0, 20.0), (0.0, 0.0), 90.0),
    ],
)
@pytest.mark.parametrize("found", [None, NONE])
def test_frames_are_compared_in_scanner_coordinates(geometry, found):
    before = frame(PLACES, 1, found=found)
    after = frame(drifted(PLACES, DRIFT), 2, geometry=geometry, found=found)
    assert error_nm(find_drift(before, after)) < (0.05 if found is not None else 1e-6)


def test_a_partial_frame_is_compared_where_it_was_scanned():
    after = frame(drifted(PLACES, DRIFT), 2)
    shown = after.picture.copy()
    shown[60:] = 0
    keep = after.geometry.to_px(after.molecules.xy_nm)[:, 1] < 59.5
    after = replace(after, complete_rows=60, picture=shown, molecules=after.molecules.take(keep))
    found = find_drift(frame(PLACES, 1), after)
    assert found.agreement > 0.95
    assert error_nm(found) < 1e-6


def test_a_steady_drift_stretches_a_scan_up_against_one_down():
    drift = (1.2, 1.6)
    steady = 2 * 0.9 / 20.0  # a scan takes nine tenths of the time from frame to frame
    slope = (drift[0] * steady, drift[1] * steady)
    after = frame(drifted(PLACES, drift, slope), 2, direction=UP)
    before = frame(PLACES, 1)
    assert steady_slope(before, after) == pytest.approx(steady)
    assert steady_slope(before, replace(after, direction=before.direction)) == 0
    assert steady_slope(replace(before, direction=UP), replace(after, direction=before.direction)) == -steady
    found = find_drift(before, after)
    assert found.agreement > 0.95
    assert error_nm(found, drift) < 0.01
    assert np.allclose(found.field.slope, slope, atol=0.002)


def test_no_slope_is_fitted_where_there_is_none():
    rng = np.random.default_rng(4)
    moved = drifted(PLACES, DRIFT)
    after = frame(moved, 2, direction=UP, found=moved + rng.normal(0, 0.07, moved.shape))
    assert find_drift(frame(PLACES, 1), after).field.slope == (0.0, 0.0)


def test_peaks_of_the_correlation_stand_in_falling_order():
    pair = pair_up(frame(PLACES, 1), frame(drifted(PLACES, DRIFT), 2))
    found = shifts(pair)
    heights = [height for _, height in found]
    assert heights == sorted(heights, reverse=True)
    assert heights[0] > 2 * heights[1]


def test_pictures_that_share_little_are_not_compared():
    far = ScanGeometry(128, 128, (20.0, 20.0), (18.5, 0.0))
    assert pair_up(frame(PLACES, 1), frame(PLACES, 2, geometry=far)) is None
    assert pair_up(frame(PLACES, 1), frame(PLACES, 2, drawn=False)) is None


def test_the_overlap_is_the_part_of_the_later_frame():
    before = frame(NONE, 1, drawn=False)
    right = ScanGeometry(128, 128, (20.0, 20.0), (10.0, 0.0))
    inner = ScanGeometry(128, 128, (10.0, 10.0), (0.0, 0.0), 45.0)
    assert overlap(before, frame(NONE, 2, drawn=False)) == 1.0
    assert overlap(before, frame(NONE, 2, drawn=False, geometry=right)) == pytest.approx(0.5, abs=0.04)
    assert overlap(before, frame(NONE, 2, drawn=False, geometry=inner)) == 1.0
    half = replace(before, complete_rows=64)
    assert overlap(half, frame(NONE, 2, drawn=False)) == pytest.approx(0.5, abs=0.04)


def test_time_goes_from_middle_to_middle_or_is_unknown():
    before, after = frame(NONE, 1, drawn=False), frame(NONE, 3, drawn=False)
    assert minutes_between(before, after) == pytest.approx(8.0)
    assert minutes_between(after, before) is None
    assert minutes_between(replace(before, ended=None), replace(after, ended=None)) == pytest.approx(8.0)
    assert minutes_between(replace(before, started=None, ended=None), after) is None
    longer = replace(after, ended=after.ended + (after.ended - after.started))
    assert minutes_between(before, longer) == pytest.approx(8.0 + 1.8)


def test_molecules_of_another_class_do_not_vote():
    places = drifted(PLACES, DRIFT)
    other = molecules(places, 2000, labels=np.array(["rod"] * len(places)))
    before, after = frame(PLACES, 1, drawn=False), frame(places, 2, drawn=False, found=other)
    assert find_drift(before, after).method is Method.NONE
    assert len(Molecules.none()) == 0
