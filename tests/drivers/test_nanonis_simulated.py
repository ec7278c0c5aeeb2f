"""Watching the simulated controller: what is told of each scan is that scan, whatever is done to it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from spm_live_drivers.contract import ScanDirection
from spm_live_drivers.growing import GrowingFrame, ScanEnd, ScanOutcome, ScanStart
from spm_live_drivers.nanonis.watch import ScanWatch
from spm_live_drivers.simulate import (
    ControllerOptions,
    FaultPlan,
    ScanPlan,
    SimulatedController,
    SimulatedInstrument,
)
from spm_live_drivers.simulate.faults import parse_fault
from spm_live_drivers.simulate.running import EndedScan, RunningScan

PIXELS = 32
MOST_POLLS = 20_000


@dataclass
class Watched:
    """All that was told, beside all that was done."""

    frames: dict[str, GrowingFrame] = field(default_factory=dict)
    ends: dict[str, ScanEnd] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    runs: list[RunningScan] = field(default_factory=list)
    ended: list[EndedScan] = field(default_factory=list)
    plan: FaultPlan = field(default_factory=FaultPlan)

    def run_of(self, scan: str) -> int:
        """Which of the scans that were done a told one is; it must be exactly one."""
        frame = self.frames[scan]
        forward, backward = frame.lines(0)
        found = [number for number, run in enumerate(self.runs) if is_of(run, frame, forward, backward)]
        assert len(found) == 1, f"{scan} with {frame.lines_done} lines is of the scans {found}"
        return found[0]


def is_of(
    run: RunningScan, frame: GrowingFrame, forward: NDArray[np.float32], backward: NDArray[np.float32] | None
) -> bool:
    """Whether every line that was told is a line of this scan, in its place."""
    info = frame.start.info
    same_place = np.allclose(info.geometry.center_nm, run.geometry.center_nm, atol=1e-3) and (
        (info.geometry.rows, info.geometry.columns) == (run.geometry.rows, run.geometry.columns)
        and np.allclose(info.geometry.size_nm, run.geometry.size_nm, rtol=1e-5)
        and np.isclose(info.geometry.angle_deg, run.geometry.angle_deg)
        and info.direction is run.subject.scan.direction
    )
    if not same_place or backward is None:
        return False
    height = next(channel for channel in run.channels if channel.name == "Z")
    order = slice(None, None, -1 if run.subject.scan.direction is ScanDirection.UP else 1)
    true = [np.asarray(plane, dtype=np.float32)[order][: len(forward)] for plane in (height.forward, height.backward)]
    there = np.isfinite(forward).any(axis=1)
    return all(
        np.array_equal(told[there], plane[there], equal_nan=True)
        for told, plane in zip((forward, backward), true, strict=True)
    )


def watch_scans(
    folder: Path, *, frames: int, line_s: float, faults: tuple[str, ...] = (), **options: object
) -> Watched:
    watched = Watched(plan=FaultPlan([parse_fault(text) for text in faults], seed=4))
    plan = ScanPlan(pixels=PIXELS, size_nm=12.0, line_time_s=line_s, frames=frames, seed=6)
    controller = SimulatedController(
        SimulatedInstrument(folder, plan),
        ControllerOptions(**options),  # type: ignore[arg-type]
        faults=watched.plan,
        begun=watched.runs.append,
        ended=watched.ended.append,
    )
    stop, waiter = threading.Event(), threading.Event()
    with controller:
        scanning = threading.Thread(target=controller.run, args=(stop,))
        scanning.start()
        watch = ScanWatch(*controller.address, sender="sim", poll_s=0.02, timeout_s=1.0)
        try:
            left = 3
            for _ in range(MOST_POLLS):
                left -= controller.over and not watch.trouble
                if left <= 0:
                    break
                for event in watch.poll():
                    if isinstance(event, ScanStart):
                        watched.frames[event.scan] = GrowingFrame(event)
                    elif isinstance(event, ScanEnd):
                        watched.ends[event.scan] = event
                    else:
                        watched.frames[event.scan].add(event)
                watched.faults += watch.faults()
                waiter.wait(watch.next_poll_s)
        finally:
            watch.close()
            stop.set()
            scanning.join(30)
    return watched


def check(watched: Watched) -> list[int]:
    """What must hold however slow the machine is: the scans that were told, by their place among those done."""
    told = [watched.run_of(scan) for scan, frame in watched.frames.items() if frame.lines_done]
    assert told == sorted(set(told)), "a scan was told twice, or two of them were mixed"
    files = {run.frame: end.path for run in watched.runs for end in watched.ended if end.frame == run.frame}
    for scan, end in watched.ends.items():
        frame = watched.frames[scan]
        if not frame.lines_done:
            continue
        run = watched.runs[watched.run_of(scan)]
        if end.saved_as:
            assert end.saved_as == files[run.frame]
        if end.outcome is ScanOutcome.FINISHED:
            assert frame.start.info.geometry.rows == run.geometry.rows
    return told


@pytest.mark.parametrize(("continuous", "mirrored", "release"), [(False, True, 2024), (True, False, 2021)])
def test_scans_up_and_down_are_told_as_they_are(tmp_path: Path, continuous: bool, mirrored: bool, release: int) -> None:
    watched = watch_scans(tmp_path, frames=2, line_s=0.03, continuous=continuous, mirrored=mirrored, release=release)
    assert check(watched) == [0, 1]
    directions = {frame.start.info.direction for frame in watched.frames.values()}
    assert directions == {ScanDirection.UP, ScanDirection.DOWN}
    assert {end.outcome for end in watched.ends.values()} == {ScanOutcome.FINISHED}


FAULTS = (
    "half-reply@2:10",
    "dropped-line@3:12",
    "restarted-scan@4:12",
    "changed-frame@5:14",
    "stopped@6:12",
    "wrong-size@7:8",
    "wrong-name@8:8",
    "slow-reply@9:6",
    "restart@10:8",
    "restart-anew@11:12",
    "nan-everywhere@12:12",
    "no-file@13",
    "changed-frame@14",
    "wrong-size@15:6",
    "half-reply@15:12",
)


@pytest.mark.slow
@pytest.mark.parametrize("continuous", [False, True])
def test_no_fault_mixes_two_scans_and_every_one_is_named(tmp_path: Path, continuous: bool) -> None:
    watched = watch_scans(
        tmp_path,
        frames=16,
        line_s=0.08,
        faults=FAULTS,
        continuous=continuous,
        restart_s=0.5,
        stopped_s=0.5,
        slow_reply_s=2.0,
    )
    told = check(watched)
    assert len(watched.plan.injected) == len(FAULTS)
    missed = set(range(len(watched.runs))) - set(told)
    assert not missed, f"never told: {[watched.runs[number].frame for number in missed]}"
    said = "\n".join(watched.faults)
    for text in (
        "closed the connection within its reply",
        "line 12 never came",
        "no connection",
        "no whole reply in time",
        "Scan.Action",
        "lines missing",
    ):
        assert text in said, said
    outcomes = [end.outcome for end in watched.ends.values()]
    assert ScanOutcome.STOPPED in outcomes
    assert outcomes.count(ScanOutcome.FINISHED) >= 13
