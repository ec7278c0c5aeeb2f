"""Measure how well scan quality is told: tip changes and double tips found, false alarms, on drawn scans.

    python scripts/measure_quality.py --changes 30 --clean 200 --size 256

The thresholds in ``spm_live/quality`` were set on scans of set 11 with 256 x 256 pixels (40 of each kind and scene, 200
clean ones of each scene); the figures in ``docs/explanation/scan-quality.md`` are of other sets.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from spm_live.domain import FrameInfo, FrameRef, ScanDirection, Trace
from spm_live.quality.inspect import ScanInspector
from spm_live.scanning import ScanQuality
from spm_live_drivers.synthetic.scan import SyntheticScan
from spm_live_drivers.synthetic.tip_change import NO_CHANGE, TIP_CHANGES, PlannedChange, plan_tip_change
from spm_live_drivers.synthetic.varied_change import plan_varied_tip_change

WITHIN = 5
"""A change is found if a line so near to it is told."""
SCENES = ("plain", "varied")
"""Drawn as the simulated microscope does, and as models learn from: any molecules, sparse to close-packed."""
VISIBLE = 0.2
"""A change of resolution counts as visible if it changes this part of the pixels around it by three sigma of noise."""
DOUBLE_NM = 0.25
"""A double tip is found if its copy is told within this distance."""


@dataclass(frozen=True)
class Outcome:
    """What came of one scan with a tip change."""

    scene: str
    kind: str
    found: bool
    delay: int | None
    labelled: str
    extra: int
    visible: float
    calm: bool


def planned(seed: tuple[int, int], kind: str, scene: str, size: int) -> PlannedChange:
    """Plan a scan of 0.05 to 0.2 nm pitch; odd seeds scan up."""
    if scene == "plain":
        direction = ScanDirection.UP if seed[1] % 2 else ScanDirection.DOWN
        return plan_tip_change(seed, kind, rows=size, columns=size, direction=direction)
    pitch = math.exp(np.random.default_rng((*seed, 1)).uniform(math.log(0.05), math.log(0.2)))
    return plan_varied_tip_change(seed, kind, rows=size, columns=size, size_nm=(size * pitch, size * pitch))


def inspected(scan: SyntheticScan, step: int | None = None) -> Iterator[ScanQuality]:
    """Look at a scan in the order of scanning; what is told after every ``step`` lines, or at its end."""
    info = FrameInfo(FrameRef("drawn", channel="Z", trace=Trace.FORWARD), scan.geometry, "m", direction=scan.direction)
    order = slice(None, None, -1 if scan.direction is ScanDirection.UP else 1)
    forward, backward = scan.heights[order], scan.heights_backward[order]
    inspector = ScanInspector(info)
    for first in range(0, len(forward), step or len(forward)):
        part = slice(first, first + (step or len(forward)))
        yield inspector.advance(forward[part], backward[part])


def change_outcome(seed: tuple[int, int], kind: str, scene: str, size: int) -> Outcome:
    """Draw a scan with a change, and see whether it is found, and how many lines later it is told."""
    plan = planned(seed, kind, scene, size)
    line = plan.switch.line
    delay, last = None, None
    for quality in inspected(plan.record(), step=4):
        last = quality
        near = [one for one in quality.tip_changes if abs(one.line - line) <= WITHIN]
        if near and delay is None:
            delay = quality.lines - line
    assert last is not None
    near = [one for one in last.tip_changes if abs(one.line - line) <= WITHIN]
    return Outcome(
        scene=scene,
        kind=kind,
        found=bool(near),
        delay=delay if near else None,
        labelled=near[0].kind if near else "",
        extra=len(last.tip_changes) - len(near),
        visible=plan.visible_part(),
        calm=plan.switch.unrest == 0,
    )


def clean_quality(seed: tuple[int, int], scene: str, size: int) -> tuple[ScanQuality, bool]:
    """What is told of a scan without a change at its end, and whether it was called double on the way."""
    told = list(inspected(planned(seed, NO_CHANGE, scene, size).record(), step=8))
    return told[-1], any(quality.double_tip_nm is not None for quality in told)


def double_found(seed: tuple[int, int], scene: str, size: int) -> tuple[bool, bool]:
    """Draw a scan that is all double; whether that is told, and whether the copy is told in the right place."""
    plan = planned(seed, "double", scene, size)
    both = replace(plan.switch, kind=NO_CHANGE, before=plan.switch.after, unrest=0)
    *_, last = inspected(replace(plan, switch=both).record())
    if last.double_tip_nm is None:
        return False, False
    told, true = last.double_tip_nm, plan.switch.after.double_nm
    return True, math.dist(told, true) <= DOUBLE_NM


def percent(outcomes: Sequence[Outcome], of: Callable[[Outcome], bool] = lambda _: True) -> str:
    """Part that was found, of those that ``of`` picks."""
    chosen = [one.found for one in outcomes if of(one)]
    return f"{100 * sum(chosen) / len(chosen):5.1f} % of {len(chosen):4d}" if chosen else "  -        "


def show_changes(outcomes: Sequence[Outcome]) -> None:
    """Print the table of tip changes."""
    print(f"{'kind':22}{'scene':8}{'found':>16}{'told after':>14}   told as")
    for kind in TIP_CHANGES:
        for scene in SCENES:
            some = [one for one in outcomes if one.kind == kind and one.scene == scene]
            delays = sorted(one.delay for one in some if one.delay is not None)
            names = [one.labelled for one in some if one.found]
            told = ", ".join(f"{name} {names.count(name)}" for name in sorted(set(names)))
            after = f"{delays[len(delays) // 2]} lines" if delays else "-"
            print(f"{kind:22}{scene:8}{percent(some):>16}{after:>14}   {told}")
    jump = [one for one in outcomes if "height" in one.kind]
    pure = [one for one in outcomes if "height" not in one.kind]
    print("with a jump of the height:                        ", percent(jump))
    print("resolution only:                                  ", percent(pure))
    print("  the tip being unsteady for one to three lines:  ", percent(pure, lambda one: not one.calm))
    print("  from one line to the next:                      ", percent(pure, lambda one: one.calm))
    print(
        f"    visible in {100 * VISIBLE:.0f} % of the pixels at the change:    ",
        percent(pure, lambda one: one.calm and one.visible > VISIBLE),
    )
    print(
        f"    visible in less than {100 * VISIBLE:.0f} % of them:              ",
        percent(pure, lambda one: one.calm and one.visible <= VISIBLE),
    )
    print("all:                                              ", percent(outcomes))
    print(f"scans with an alarm elsewhere: {sum(one.extra > 0 for one in outcomes)} of {len(outcomes)}")


def show_clean(outcomes: Sequence[tuple[ScanQuality, bool]]) -> None:
    """Print the false alarms on clean scans."""
    qualities = [quality for quality, _ in outcomes]
    count = len(qualities)
    alarms = sum(bool(one.tip_changes) for one in qualities)
    doubles = sum(one.double_tip_nm is not None for one in qualities)
    print(f"clean scans with a tip change told: {alarms} of {count} ({100 * alarms / count:.2f} %)")
    print(f"clean scans with a double tip told at the end: {doubles} of {count} ({100 * doubles / count:.2f} %)")
    ever = sum(on_the_way for _, on_the_way in outcomes)
    print(f"clean scans with a double tip told on the way: {ever} of {count} ({100 * ever / count:.2f} %)")
    verdicts = [one.verdict.value for one in qualities]
    print("verdicts: " + ", ".join(f"{name} {verdicts.count(name)}" for name in sorted(set(verdicts))))
    for one in qualities:
        if one.tip_changes or one.double_tip_nm is not None:
            print("   ", "; ".join(one.reasons))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=int, default=16, help="set of seeds")
    parser.add_argument("--changes", type=int, default=30, help="scans of each kind of change and each kind of scene")
    parser.add_argument("--clean", type=int, default=200, help="clean scans of each kind of scene")
    parser.add_argument("--double", type=int, default=50, help="double-tip scans of each kind of scene")
    parser.add_argument("--size", type=int, default=256, help="rows and columns")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    outcomes = [
        # Each over a scene of its own: one hard scene must not count seven times.
        change_outcome((given.set, seed), kind, scene, given.size)
        for scene in SCENES
        for place, kind in enumerate(TIP_CHANGES)
        for seed in range(place, given.changes * len(TIP_CHANGES), len(TIP_CHANGES))
    ]
    if outcomes:
        show_changes(outcomes)
    clean = [
        clean_quality((given.set, 10_000 + seed), scene, given.size) for scene in SCENES for seed in range(given.clean)
    ]
    if clean:
        show_clean(clean)
    for scene in SCENES if given.double else ():
        found = [double_found((given.set, 20_000 + seed), scene, given.size) for seed in range(given.double)]
        told, right = sum(one for one, _ in found), sum(one for _, one in found)
        print(f"double tips, {scene}: told {told} of {len(found)}, the copy within {DOUBLE_NM} nm {right}")


if __name__ == "__main__":
    main()
