"""The inspector as a whole: any lines, in any portions, and never a surprise."""

from __future__ import annotations

import itertools
import math
import pickle
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spm_live.domain import FrameInfo, FrameRef, ScanDirection, ScanGeometry, Trace
from spm_live.quality.inspect import ScanInspector
from spm_live.scanning import ScanQuality, Verdict
from spm_live_drivers.synthetic.tip_change import draw_tip_change


def info(rows: int, columns: int, unit: str = "m", direction: ScanDirection = ScanDirection.DOWN) -> FrameInfo:
    geometry = ScanGeometry(rows, columns, (columns * 0.1, rows * 0.1))
    return FrameInfo(FrameRef("drawn", channel="Z", trace=Trace.FORWARD), geometry, unit, direction=direction)


def same(one: ScanQuality, other: ScanQuality) -> bool:
    """Equal in everything, where NaN equals NaN."""

    def equal(a: object, b: object) -> bool:
        both_nan = isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)
        return both_nan or a == b

    return all(equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(ScanQuality))


SCAN, LINE = draw_tip_change(2, "height", rows=120, columns=96, size_nm=(12.0, 15.0), line=60)
FORWARD, BACKWARD = SCAN.heights.copy(), SCAN.heights_backward.copy()
FORWARD[20:23], BACKWARD[20:23] = np.nan, np.nan
FORWARD[80, :30] = np.nan
BACKWARD[100] = np.nan
WHOLE = ScanInspector(info(120, 96)).advance(FORWARD, BACKWARD)


def test_the_scan_of_these_tests_has_its_change_told() -> None:
    assert [change.line for change in WHOLE.tip_changes if abs(change.line - LINE) <= 1]


@settings(max_examples=12)
@given(st.lists(st.integers(0, 120), max_size=12))
def test_it_does_not_matter_how_many_lines_come_at_once(cuts: list[int]) -> None:
    inspector = ScanInspector(info(120, 96))
    edges = sorted([0, *cuts, 120])
    quality = None
    for first, after in itertools.pairwise(edges):
        quality = inspector.advance(FORWARD[first:after], BACKWARD[first:after])
    assert quality is not None
    assert same(quality, WHOLE)


def test_lines_are_only_read() -> None:
    lines, back = FORWARD.copy(), BACKWARD.copy()
    lines.flags.writeable = back.flags.writeable = False
    ScanInspector(info(120, 96)).advance(lines, back)


def test_before_the_first_line_nothing_is_known() -> None:
    quality = ScanInspector(info(64, 32)).advance(np.empty((0, 32), np.float32), None)
    assert (quality.lines, quality.verdict, quality.reasons) == (0, Verdict.UNKNOWN, ())
    assert math.isnan(quality.line_correlation)


def test_of_a_few_lines_nothing_is_said() -> None:
    rng = np.random.default_rng(0)
    lines = rng.standard_normal((8, 64)).astype(np.float32) * 1e-11
    quality = ScanInspector(info(64, 64)).advance(lines, lines)
    assert (quality.lines, quality.verdict, quality.tip_changes) == (8, Verdict.UNKNOWN, ())


def test_lines_without_a_value_are_drop_outs() -> None:
    quality = ScanInspector(info(64, 64)).advance(np.full((40, 64), np.nan, np.float32), None)
    assert quality.dropouts == 1
    assert quality.verdict is Verdict.BAD
    assert "100 % of the picture" in quality.reasons[0]


def test_a_plane_of_one_value_is_no_picture() -> None:
    """Z of a scan at constant height, for one."""
    quality = ScanInspector(info(64, 64)).advance(
        np.full((40, 64), 3e-9, np.float32), np.full((40, 64), 3e-9, np.float32)
    )
    assert (quality.dropouts, quality.verdict) == (1, Verdict.BAD)


def test_line_numbers_count_missing_lines_too() -> None:
    forward, backward = SCAN.heights.copy(), SCAN.heights_backward.copy()
    forward[30:40], backward[30:40] = np.nan, np.nan
    quality = ScanInspector(info(120, 96)).advance(forward, backward)
    assert any(abs(change.line - LINE) <= 1 for change in quality.tip_changes)


def test_the_way_back_may_be_missing_or_stop_coming() -> None:
    inspector = ScanInspector(info(120, 96))
    inspector.advance(FORWARD[:70], BACKWARD[:70])
    inspector.advance(FORWARD[70:72], None)
    quality = inspector.advance(FORWARD[72:], BACKWARD[72:])
    assert quality.lines == 120
    assert any(abs(change.line - LINE) <= 1 for change in quality.tip_changes)
    assert math.isnan(ScanInspector(info(120, 96)).advance(FORWARD, None).trace_agreement)


def test_lines_that_do_not_fit_the_frame_are_refused() -> None:
    inspector = ScanInspector(info(64, 32))
    with pytest.raises(ValueError, match="32 columns"):
        inspector.advance(np.zeros((2, 31), np.float32), None)
    with pytest.raises(ValueError, match="backward"):
        inspector.advance(np.zeros((2, 32), np.float32), np.zeros((1, 32), np.float32))


def test_what_is_kept_hardly_grows_with_the_frame() -> None:
    rng = np.random.default_rng(1)
    inspector = ScanInspector(info(2000, 64))
    lines = (rng.standard_normal((600, 64)) * 1e-11).astype(np.float32)
    sizes = []
    for first in range(0, 600, 200):
        inspector.advance(lines[first : first + 200], lines[first : first + 200])
        sizes.append(len(pickle.dumps(inspector)))
    # Ten numbers of a line or fewer, of nine bytes each; a line there and back takes 1024.
    assert sizes[-1] - sizes[-2] < 200 * 100


VALUES = st.one_of(
    st.floats(width=32, allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, 1.0, -1.0, np.float32(3e38), np.float32(-3e38), np.float32(1e-45), math.nan, math.inf]),
)


@settings(max_examples=40)
@given(
    hnp.arrays(np.float32, st.tuples(st.integers(0, 40), st.sampled_from([1, 2, 3, 8, 33])), elements=VALUES),
    st.booleans(),
    st.sampled_from(["m", "A", "Hz", "1"]),
)
def test_nothing_makes_it_fail_or_warn(lines: np.ndarray, both: bool, unit: str) -> None:
    inspector = ScanInspector(info(64, lines.shape[1], unit))
    quality = inspector.advance(lines, lines[:, ::-1] if both else None)
    quality = inspector.advance(np.repeat(lines, 2, axis=0), None)
    assert quality.lines == 3 * len(lines)
    assert 0 <= quality.dropouts <= 1
    assert 0 <= quality.streaks <= 1
    assert isinstance(quality.verdict, Verdict)


@pytest.mark.parametrize("columns", [1, 2, 8, 16, 600, 1500])
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e30, 3e38])
def test_any_width_and_any_size_of_values(columns: int, size: float) -> None:
    rng = np.random.default_rng(3)
    lines = (np.cumsum(rng.standard_normal((60, columns)), axis=0).clip(-20, 20) / 20 * size).astype(np.float32)
    quality = ScanInspector(info(60, columns, "A")).advance(lines, lines)
    assert quality.lines == 60
    assert np.isfinite(quality.noise_nm) or columns < 3
