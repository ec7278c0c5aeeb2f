"""What goes wrong with the simulated instrument on demand, and that it says so."""

from __future__ import annotations

import json
import logging
import re
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scan_bench import HandClock, ScanBench

from spm_live_drivers.contract import Frame, ReadOptions, ScanDirection
from spm_live_drivers.formats.nanonis_sxm import NanonisSxmReader
from spm_live_drivers.growing import ScanOutcome
from spm_live_drivers.simulate import (
    SLOW_PIECES,
    ControllerOptions,
    Fault,
    FaultPlan,
    ScanPlan,
    main,
)
from spm_live_drivers.simulate.faults import FAULTS, FILE_FAULTS, REPLY_FAULTS, SXM_FAULTS, parse_fault

PX = 32
PLAN = ScanPlan(pixels=PX, size_nm=12.0, line_time_s=1.0, seed=6)


class Bench(ScanBench):
    """Saves ``.sxm`` files."""

    def __init__(self, folder: Path, *faults: Fault, plan: ScanPlan = PLAN, **options: Any) -> None:
        super().__init__(folder, *faults, plan=plan, truth=folder / "truth", **options)

    def lines(self, count: float) -> None:
        self.pass_by(count)

    def picture(self, forward: bool = True) -> np.ndarray:
        now = self.machine.moment()
        assert now is not None
        return now.run.picture(0, forward, now.position)

    def saved(self, number: int) -> Frame:
        return NanonisSxmReader().read(self.instrument.path_of(number), ReadOptions(timezone="UTC"))

    def names(self) -> list[tuple[str, int, int]]:
        return [(one.name, one.frame, one.line) for one in self.faults.injected]


def test_without_faults_the_frames_are_the_drawn_ones_and_nothing_is_noted(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for number in (1, 2, 3):
        bench.lines(PX)
        np.testing.assert_array_equal(bench.saved(number).data, bench.instrument.scan(number).heights)
        bench.lines(0)
    assert [one.outcome for one in bench.ended] == [ScanOutcome.FINISHED] * 3
    assert [one.path for one in bench.ended] == [str(bench.instrument.path_of(number)) for number in (1, 2, 3)]
    assert [run.frame for run in bench.begun] == [1, 2, 3, 4]
    assert bench.names() == []
    assert bench.ended[0].scan.molecules


def test_a_leap_of_the_clock_passes_no_frame_unseen(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.lines(1000 * PX)
    assert [one.number for one in bench.ended] == [1]
    bench.lines(0)
    assert [run.number for run in bench.begun] == [1, 2]


def test_a_dropped_line_stays_empty_on_the_screen_and_in_the_file(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Fault("dropped-line", 1, 10))
    bench.lines(10)
    assert bench.names() == [("dropped-line", 1, 10)]
    bench.lines(PX - 10)
    for picture in (bench.picture(), bench.picture(forward=False), bench.saved(1).data):
        assert np.isnan(picture[10]).all()
        assert np.isfinite(np.delete(picture, 10, axis=0)).all()


def test_from_a_line_on_everything_is_empty(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Fault("nan-everywhere", 2))
    for _ in range(2):
        bench.lines(PX)
        bench.lines(0)
    assert np.isfinite(bench.saved(1).data).all()
    assert np.isnan(bench.ended[1].scan.heights).all()


@pytest.mark.parametrize("frame", [1, 2])
def test_a_tip_changes_at_its_line_in_both_traces(tmp_path: Path, frame: int) -> None:
    bench = Bench(tmp_path, Fault("tip-change", frame, 12))
    for _ in range(frame):
        bench.lines(PX)
        bench.lines(0)
    true, seen = bench.instrument.scan(frame), bench.ended[frame - 1].scan
    up = true.direction is ScanDirection.UP
    for was, now in ((true.heights, seen.heights), (true.heights_backward, seen.heights_backward)):
        away = (now - was)[::-1] if up else now - was
        assert not away[:12].any()
        assert 0.05e-9 < abs(np.median(away[12:])) < 0.45e-9
        assert (away[12:] != away[12, 0]).any()  # not the jump alone: the shape too
    assert seen.molecules == true.molecules or len(seen.molecules) == len(true.molecules)
    (injected,) = bench.faults.injected
    assert (injected.name, injected.frame, injected.line) == ("tip-change", frame, 12)
    assert "jump of" in injected.detail


def test_a_second_apex_only_adds(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Fault("double-tip", 1, 8))
    bench.lines(PX)
    away = bench.ended[0].scan.heights - bench.instrument.scan(1).heights
    assert not away[:8].any()
    assert (away[8:] > 5e-11).mean() > 0.01


def test_a_scan_that_is_stopped_rests_and_is_saved_as_far_as_it_got(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Fault("stopped", 1, 20), stopped_s=5.0)
    bench.lines(25)
    now = bench.machine.moment()
    assert now is not None
    assert (now.running, now.position.lines) == (False, 20)
    assert bench.saved(1).info.complete_rows == 20
    assert (bench.ended[0].outcome, bench.ended[0].lines) == (ScanOutcome.STOPPED, 20)
    bench.lines(4)
    assert len(bench.begun) == 1
    bench.lines(1)
    assert (bench.begun[1].frame, bench.begun[1].number, bench.begun[1].up) == (2, 2, True)


def test_lines_after_one_at_which_a_scan_ends_are_never_seen(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Fault("restarted-scan", 1, 20))
    bench.clock.now += 30
    now = bench.machine.moment()  # nobody has stepped yet
    assert now is not None
    assert now.position.lines == 20


def test_a_scan_that_is_begun_anew_has_other_values_and_one_file(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Fault("restarted-scan", 1, 20))
    bench.lines(19)
    before = bench.picture()
    bench.lines(1)
    assert np.isnan(bench.picture()).all()
    bench.lines(19)
    after = bench.picture()
    assert not np.any(before[:19] == after[:19])
    assert np.isnan(after[19:]).all()
    bench.lines(PX - 19)
    np.testing.assert_array_equal(bench.saved(1).data, bench.ended[1].scan.heights)
    assert [(one.outcome, bool(one.path)) for one in bench.ended] == [
        (ScanOutcome.STOPPED, False),
        (ScanOutcome.FINISHED, True),
    ]
    assert [(run.frame, run.attempt) for run in bench.begun] == [(1, 0), (1, 1)]
    assert bench.names() == [("restarted-scan", 1, 20)]


def test_a_restart_leaves_the_scan_alone_or_begins_it_anew(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Fault("restart", 1, 4), Fault("restart-anew", 1, 8), restart_s=3.0)
    bench.lines(5)
    assert (bench.restarts, len(bench.begun)) == (1, 1)
    bench.lines(3)
    assert (bench.restarts, len(bench.begun)) == (2, 1)
    bench.lines(3)
    assert [(run.frame, run.attempt) for run in bench.begun] == [(1, 0), (1, 1)]


@pytest.mark.parametrize("line", [0, 11])
def test_a_frame_changes_in_one_of_three_ways(tmp_path: Path, line: int) -> None:
    seen = set()
    bench = Bench(tmp_path, Fault("changed-frame", None, line))
    for _ in range(12):
        frame = bench.machine.moment().run.frame  # type: ignore[union-attr]
        usual = bench.instrument.scan(frame).geometry
        bench.lines(line)
        run = bench.machine.moment().run  # type: ignore[union-attr]
        assert run.attempt == (1 if line else 0)
        changed = run.geometry
        assert changed != usual
        seen |= {
            name
            for name, one in (
                ("rows", changed.rows != usual.rows),
                ("size", changed.size_nm != usual.size_nm),
                ("angle", changed.angle_deg != usual.angle_deg),
            )
            if one
        }
        bench.lines(changed.rows)
        saved = bench.saved(frame)
        assert saved.geometry.rows == changed.rows
        assert saved.geometry.angle_deg == pytest.approx(changed.angle_deg)
        bench.lines(0)
    assert seen == {"rows", "size", "angle"}


def test_a_file_is_written_slowly_or_not_at_all(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Fault("slow-file", 1), Fault("no-file", 2), slow_file_s=4.0)
    bench.lines(PX)
    assert bench.waited == [4.0 / SLOW_PIECES] * (SLOW_PIECES - 1)
    assert not bench.saved(1).info.partial
    bench.lines(0)
    bench.lines(PX)
    assert bench.ended[1].path == ""
    assert not bench.instrument.path_of(2).exists()
    assert [name for name, *_ in bench.names()] == ["slow-file", "no-file"]


def test_without_autosave_no_file_is_told_of(tmp_path: Path) -> None:
    bench = Bench(tmp_path, autosave=False)
    bench.lines(PX)
    assert bench.ended[0].path == ""
    assert not list(tmp_path.glob("*.sxm"))
    assert bench.machine.saved == 0


def test_the_truth_of_a_frame_with_a_fault_is_that_of_the_surface(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Fault("tip-change", 1, 5))
    bench.lines(PX)
    kept = json.loads((tmp_path / "truth" / "sim_0001.json").read_text(encoding="utf-8"))
    assert len(kept["molecules"]) == len(bench.instrument.scan(1).molecules) > 0


def test_the_end_of_every_trace_is_waited_for(tmp_path: Path) -> None:
    bench = Bench(tmp_path)

    def alive() -> bool:
        bench.clock.now += 0.5
        return True

    ends = [bench.machine.wait_end_of_trace(None, alive) for _ in range(4)]
    assert ends == [(0, True), (0, False), (1, True), (1, False)]
    assert bench.machine.wait_end_of_trace(0.0, lambda: True) is None
    assert bench.machine.wait_end_of_scan(None, lambda: False) is None


def test_every_fault_of_a_long_run_is_noted_and_logged_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [name for name in SXM_FAULTS if name not in REPLY_FAULTS]
    plan = FaultPlan.scattered(4, 30, 0.8, names)
    assert len(plan.faults) == 24
    with caplog.at_level(logging.INFO, logger="spm_live_drivers.simulate"):
        bench = Bench(tmp_path, *plan.faults, plan=replace(PLAN, pixels=16, size_nm=8.0, frames=30))
        while not bench.machine.over:
            bench.lines(1)
    planned = sorted((fault.name, fault.frame) for fault in plan.faults)
    assert sorted((one.name, one.frame) for one in bench.faults.injected) == planned
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("injected ")]
    assert told == [str(one) for one in bench.faults.injected]
    again = FaultPlan.scattered(4, 30, 0.8, names)
    assert again.faults == plan.faults
    assert [one.frame for one in bench.ended if one.outcome is ScanOutcome.FINISHED or one.path] == list(range(1, 31))


def test_faults_are_due_in_the_order_of_their_lines_and_within_the_frame() -> None:
    plan = FaultPlan([Fault(name) for name in FAULTS] + [Fault("stopped", 7, 10_000)], seed=1)
    for frame in range(1, 20):
        due = plan.of_frame(frame, 64)
        assert [fault.line for fault in due] == sorted(fault.line for fault in due)
        for fault in due:
            assert fault.line == 64 if fault.name in FILE_FAULTS else 0 <= fault.line < 64
        assert due == plan.of_frame(frame, 64)
    assert len({plan.of_frame(frame, 64) for frame in range(1, 20)}) > 10


def test_a_fault_is_read_as_people_write_it() -> None:
    assert parse_fault("stopped") == Fault("stopped")
    assert parse_fault("stopped@3") == Fault("stopped", 3)
    assert parse_fault("stopped@3:100") == Fault("stopped", 3, 100)


@pytest.mark.parametrize("text", ["", "stopped@", "stopped@3:", "stopped@x", "stopped:3", "meltdown", "stopped@0"])
def test_what_is_no_fault_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"fault|frames"):
        parse_fault(text)
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), "--fault", text])
    assert stopped.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [{"release": 1999}, {"restart_s": -1.0}, {"slow_reply_s": float("nan")}, {"connections": 0}]
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"release|times|connections"):
        ControllerOptions(**wrong)


def test_the_command_line_scans_with_faults_and_a_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arguments = ["--frames", "3", "--frame-time", "0", "--pixels", "16", "--size-nm", "8", "--tcp-port", "0"]
    with caplog.at_level(logging.INFO, logger="spm_live_drivers.simulate"):
        assert main([str(tmp_path), *arguments, "--fault", "no-file@2", "--fault", "dropped-line@3:4"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sim_0001.sxm", "sim_0003.sxm"]
    text = caplog.text
    assert "serving on 127.0.0.1 port" in text
    assert "injected no-file: frame=2 number=2" in text
    assert "injected dropped-line: frame=3 number=3 line=4" in text


PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "simulate.md"


def test_the_page_names_every_fault_and_no_option_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z]+(?:-[a-z]+)*)`", page))
    assert set(FAULTS) <= named
    with pytest.raises(SystemExit):
        main(["--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert set(re.findall(r"--[a-z][a-z-]+", page)) <= options


def test_the_example_of_the_page_runs(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    lines = page.split("## In a test\n")[1].split("\n\n`controller.run")[0]
    code = textwrap.dedent(lines).replace("frames=500", "frames=3").replace("pixels=64", "pixels=16")
    clock = HandClock()
    names = {"folder": tmp_path, "clock": clock}
    exec(compile(code, str(PAGE), "exec"), names)
    assert names["controller"].over
    assert clock.now >= 2 * 16
