"""Tip changes: told where they are, and not where they are not."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import pytest

from spm_live.domain import FrameInfo, FrameRef, ScanDirection, ScanGeometry, Trace
from spm_live.quality.inspect import ScanInspector
from spm_live.scanning import ScanQuality, Verdict
from spm_live_drivers.synthetic.scan import SyntheticScan
from spm_live_drivers.synthetic.tip_change import NO_CHANGE, TIP_CHANGES, PlannedChange, plan_tip_change
from spm_live_drivers.synthetic.varied_change import plan_varied_tip_change

ROWS, COLUMNS = 160, 192
JUMPS = tuple(kind for kind in TIP_CHANGES if "height" in kind)


def inspected(scan: SyntheticScan) -> ScanQuality:
    info = FrameInfo(FrameRef("drawn", channel="Z", trace=Trace.FORWARD), scan.geometry, "m", direction=scan.direction)
    order = slice(None, None, -1 if scan.direction is ScanDirection.UP else 1)
    return ScanInspector(info).advance(scan.heights[order], scan.heights_backward[order])


def look(lines: np.ndarray, unit: str = "m") -> ScanQuality:
    geometry = ScanGeometry(lines.shape[0], lines.shape[1], (lines.shape[1] * 0.1, lines.shape[0] * 0.1))
    info = FrameInfo(FrameRef("drawn", channel="Z", trace=Trace.FORWARD), geometry, unit)
    rng = np.random.default_rng(1)
    scale = 1e-9 if unit == "m" else 1.0
    there, back = (lines + rng.standard_normal(lines.shape) * 0.004 for _ in range(2))
    return ScanInspector(info).advance((there * scale).astype(np.float32), (back * scale).astype(np.float32))


def bumps(seed: int = 0, count: int = 90, sigma: float = 4.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:ROWS, :COLUMNS]
    heights = np.zeros((ROWS, COLUMNS))
    for row, column in rng.uniform(0, (ROWS, COLUMNS), (count, 2)):
        heights += 0.2 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / 2 / sigma**2)
    return heights


def later(line: int) -> np.ndarray:
    return np.arange(ROWS)[:, None] >= line


@pytest.mark.parametrize("height", [0.05, -0.2])
@pytest.mark.parametrize("line", [60, 121])
def test_a_jump_is_told_with_its_line_its_height_and_a_sentence(line: int, height: float) -> None:
    quality = look(bumps() + height * later(line))
    assert [change.line for change in quality.tip_changes] == [line]
    assert quality.tip_changes[0].kind == "height"
    assert quality.tip_changes[0].strength >= 1
    assert quality.verdict is Verdict.DOUBTFUL
    (reason,) = quality.reasons
    told = re.fullmatch(r"the tip changed at line (\d+): heights jumped by ([\d.]+) nm", reason)
    assert told is not None
    assert int(told[1]) == line
    assert float(told[2]) == pytest.approx(abs(height), rel=0.1)


def test_a_jump_is_told_five_lines_after_it() -> None:
    assert look((bumps() + 0.1 * later(60))[:65]).tip_changes[0].line == 60


def test_a_blunter_tip_is_told() -> None:
    sharp, blunt = bumps(sigma=3.0), bumps(sigma=6.0) * 0.4
    quality = look(np.where(later(80), blunt, sharp))
    assert [change.kind for change in quality.tip_changes] == ["resolution"]
    assert abs(quality.tip_changes[0].line - 80) <= 1
    assert "the resolution is another one" in quality.reasons[0]


def test_lines_in_which_the_tip_was_unsteady_all_along_are_told() -> None:
    scan = bumps()
    scan[70:73] += np.random.default_rng(2).standard_normal((3, COLUMNS)) * 0.3
    quality = look(scan)
    assert any(abs(change.line - 73) <= 3 for change in quality.tip_changes)


def test_three_changes_are_bad() -> None:
    quality = look(bumps() + 0.1 * later(50) - 0.1 * later(80) + 0.1 * later(110))
    assert len(quality.tip_changes) == 3
    assert quality.verdict is Verdict.BAD


def stepped(angle_deg: float) -> np.ndarray:
    y, x = np.mgrid[:ROWS, :COLUMNS]
    turn = math.radians(angle_deg)
    return 0.24 / (1 + np.exp(-(math.cos(turn) * (y - 80) + math.sin(turn) * (x - 96)) / 2))


@pytest.mark.parametrize(
    "what", ["step 5", "step 20", "step 90", "tilt", "creep", "island", "scar", "burst", "begins", "bow"]
)
def test_what_is_no_tip_change_is_not_told(what: str) -> None:
    y, x = np.mgrid[:ROWS, :COLUMNS]
    scan = bumps()
    rng = np.random.default_rng(5)
    match what.split():
        case ["step", angle]:
            scan = scan + stepped(float(angle))
        case ["tilt"]:
            scan = scan + 0.05 * x - 0.1 * y
        case ["creep"]:
            scan = scan + 2 * np.exp(-y / 30)
        case ["island"]:
            inside = 1 / (1 + np.exp((np.hypot(x - 96, y - 100) - 50) / 1.5))
            scan = scan * (1 - inside) + inside * (0.3 + 0.05 * np.cos(x / 2) * np.cos(y / 2))
        case ["scar"]:
            scan[77, 20:170] += 0.3
        case ["burst"]:
            scan[77:81, 20:100] += 0.3 + 0.2 * rng.standard_normal((4, 80))
        case ["begins"]:
            scan = np.where(later(70), scan, 0) * np.clip((y - 70) / 8, 0, 1)
        case ["bow"]:
            scan = scan + ((y - 80) / 40) ** 2
    assert look(scan).tip_changes == ()


def test_a_current_that_grows_by_and_by_is_no_jump() -> None:
    """As over a molecule at constant height: quiet for long, then more and more from line to line."""
    y = np.arange(ROWS)[:, None]
    scan = -0.004 * np.exp((np.minimum(y, 100) - 60) / 12) + np.zeros((ROWS, COLUMNS))
    assert look(scan, "A").tip_changes == ()


def test_a_sharp_step_edge_exactly_along_the_lines_cannot_be_told_from_a_jump() -> None:
    """Documented in docs/explanation/scan-quality.md: all of one line lies higher than all of the line before."""
    assert [change.kind for change in look(bumps() + 0.24 * later(80)).tip_changes] == ["height"]


def planned(seed: int, kind: str, scene: str, size: int = 256) -> PlannedChange:
    if scene == "plain":
        direction = ScanDirection.UP if seed % 2 else ScanDirection.DOWN
        return plan_tip_change((14, seed), kind, rows=size, columns=size, direction=direction)
    pitch = math.exp(np.random.default_rng((15, seed)).uniform(math.log(0.05), math.log(0.2)))
    return plan_varied_tip_change((14, seed), kind, rows=size, columns=size, size_nm=(size * pitch, size * pitch))


def plans_of(kinds: Sequence[str], count: int) -> list[PlannedChange]:
    """So many of each kind over each kind of scene, no two over the same one: one hard scene must not count often."""
    return [
        planned(seed, kind, scene)
        for scene in ("plain", "varied")
        for place, kind in enumerate(kinds)
        for seed in range(place, count * len(kinds), len(kinds))
    ]


def found(plan: PlannedChange) -> bool:
    changes = inspected(plan.record()).tip_changes
    return any(abs(change.line - plan.switch.line) <= 5 for change in changes)


@pytest.mark.parametrize("scene", ["plain", "varied"])
def test_a_few_drawn_changes_are_found_and_a_few_clean_scans_are_left_alone(scene: str) -> None:
    assert sum(found(planned(seed, kind, scene, 160)) for seed, kind in enumerate(JUMPS)) >= 3
    for seed in range(100, 103):
        assert inspected(planned(seed, NO_CHANGE, scene, 160).record()).tip_changes == ()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nine_of_ten_drawn_changes_are_found_within_five_lines() -> None:
    """Every kind that comes with a jump of 0.05 to 0.3 nm, at the usual noise, over any scene."""
    plans = plans_of(JUMPS, 13)
    assert len(plans) >= 100
    assert np.mean([found(plan) for plan in plans]) >= 0.9


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_most_changes_of_resolution_that_can_be_seen_are_found() -> None:
    plans = plans_of(("blunter", "sharper", "double"), 40)
    visible = [plan for plan in plans if plan.visible_part() > 0.2]
    assert len(visible) >= 50
    assert np.mean([found(plan) for plan in visible]) >= 0.65


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fewer_than_one_of_fifty_clean_drawn_scans_raise_an_alarm() -> None:
    qualities = [
        inspected(planned(seed, NO_CHANGE, scene).record()) for scene in ("plain", "varied") for seed in range(200, 300)
    ]
    assert np.mean([bool(quality.tip_changes) for quality in qualities]) < 1 / 50
    assert np.mean([quality.double_tip_nm is not None for quality in qualities]) < 1 / 50
