"""The simulated instrument where it saves MATRIX scans, and its parameter chain where that comes late."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from access2thematrix import MtrxData
from scan_bench import HandClock, ScanBench

from spm_live_drivers.contract import FileStatus, Frame, ReadOptions, ScanDirection, ScanGeometry, Trace
from spm_live_drivers.errors import FrameError, NotReadyError
from spm_live_drivers.formats.omicron_matrix import OmicronMatrixReader
from spm_live_drivers.simulate import (
    SLOW_PIECES,
    ControllerOptions,
    Fault,
    FaultPlan,
    ScanPlan,
    SimulatedController,
    SimulatedInstrument,
    main,
)
from spm_live_drivers.simulate.subjects import Subject
from spm_live_drivers.synthetic import SyntheticScan

PX = 16
PLAN = ScanPlan(pixels=PX, size_nm=8.0, line_time_s=1.0, seed=6, format="matrix")
READER = OmicronMatrixReader()


class Bench(ScanBench):
    """Saves MATRIX files."""

    def __init__(self, folder: Path, *faults: Fault, plan: ScanPlan = PLAN, **options: Any) -> None:
        super().__init__(folder, *faults, plan=plan, **options)

    @property
    def chain(self) -> Path:
        return self.folder / "sim_0001.mtrx"

    def frame(self) -> None:
        """Scan a whole one, and begin the next."""
        self.pass_by(PX)
        self.pass_by(0)

    def saved(self, number: int, **options: Any) -> Frame:
        return READER.read(self.instrument.path_of(number), ReadOptions(**options))

    def states(self) -> list[FileStatus]:
        return [READER.state(self.instrument.path_of(one.number)).status for one in self.ended]


def test_the_saved_frames_are_the_drawn_ones_and_all_of_them_are_scanned_upwards(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for number in (1, 2, 3):
        bench.frame()
        drawn = bench.instrument.scan(number)
        for trace, heights in ((Trace.FORWARD, drawn.heights), (Trace.BACKWARD, drawn.heights_backward)):
            frame = bench.saved(number, trace=trace)
            assert np.abs(frame.data - heights).max() < 0.3e-15, "half a step of the instrument"
        assert frame.info.geometry.center_nm == pytest.approx(drawn.geometry.center_nm)
        assert frame.info.geometry.size_nm == pytest.approx((8.0, 8.0))
        assert (frame.info.direction, drawn.direction) == (ScanDirection.UP, ScanDirection.UP)
        assert frame.info.setpoint == 50e-12
        assert frame.info.warnings == ()
        assert frame.info.ended is not None
        assert frame.info.started is not None
        assert (frame.info.ended - frame.info.started).total_seconds() == PX
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted([f"sim--1_{n}.{c}_mtrx" for n in (1, 2, 3) for c in "IZ"] + ["sim_0001.mtrx"])
    assert [one.path for one in bench.ended] == [str(tmp_path / f"sim--1_{number}.Z_mtrx") for number in (1, 2, 3)]


def test_the_library_reads_both_channels(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.frame()
    for channel in "ZI":
        path = tmp_path / f"sim--1_1.{channel}_mtrx"
        library = MtrxData()
        traces, message = library.open(str(path))
        assert message.startswith("Successfully")
        assert list(traces.values()) == ["forward/up", "backward/up"]
        image, _ = library.select_image("forward/up")
        frame = READER.read(path)
        np.testing.assert_array_equal(frame.data, image.data[::-1].astype(np.float32))
    assert np.median(frame.data) == pytest.approx(50e-12, rel=0.05)


def test_of_the_first_scan_there_is_no_chain_until_it_comes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="spm_live_drivers.simulate"):
        bench = Bench(tmp_path, Fault("late-chain", 1), late_chain_s=5.0)
        bench.frame()
        assert bench.machine.saved == 1
        assert (tmp_path / "sim--1_1.I_mtrx").exists()
        assert not bench.chain.exists()
        with pytest.raises(NotReadyError, match="is not beside it"):
            bench.saved(1)
        assert bench.machine.due_in_s() == 5.0
        bench.pass_by(4.9)
        assert not bench.chain.exists()
        bench.pass_by(0.1)
    assert not bench.saved(1).info.partial
    (injected,) = bench.faults.injected
    assert (injected.name, injected.frame, injected.line, injected.detail) == ("late-chain", 1, PX, "by 5 s")
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == str(injected)
    assert told[-1] == "frame 1 is in its chain now"


def test_of_a_later_scan_only_its_own_entry_is_late_and_those_after_it_come_behind_it(tmp_path: Path) -> None:
    complete, waiting = FileStatus.COMPLETE, FileStatus.WAITING
    bench = Bench(tmp_path, Fault("late-chain", 2), late_chain_s=PX + 4.0)
    bench.frame()
    before = bench.chain.read_bytes()
    bench.frame()
    assert bench.chain.read_bytes() == before
    assert bench.states() == [complete, waiting]
    bench.frame()
    assert bench.states() == [complete, waiting, waiting], "an entry cannot come before the one before it"
    bench.pass_by(4.0)
    assert bench.states() == [complete] * 3
    assert bench.chain.read_bytes().startswith(before)
    bench.frame()
    assert bench.states() == [complete] * 4
    at_once = Bench(tmp_path / "at_once")
    for number in (1, 2, 3):
        at_once.frame()
        np.testing.assert_array_equal(at_once.saved(number).data, bench.saved(number).data)
    assert [one.name for one in bench.faults.injected] == ["late-chain"]


def test_a_run_is_over_when_its_chain_is_complete(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Fault("late-chain", 1), plan=replace(PLAN, frames=1), late_chain_s=3.0)
    bench.frame()
    assert (bench.machine.saved, bench.machine.over) == (1, False)
    assert bench.machine.due_in_s() == 3.0
    bench.pass_by(3.0)
    assert bench.machine.over
    assert bench.states() == [FileStatus.COMPLETE]


def test_whoever_stops_the_instrument_gets_the_chain_at_once(tmp_path: Path) -> None:
    clock = HandClock()
    faults = FaultPlan([Fault("late-chain")])
    options = ControllerOptions(late_chain_s=1e6)
    controller = SimulatedController(SimulatedInstrument(tmp_path, PLAN), options, faults=faults, clock=clock)

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            clock.now += PX
            if controller.saved == 2:
                assert not (tmp_path / "sim_0001.mtrx").exists()
                self.set()
            return self.is_set()

    assert controller.run(Stop()) == 2
    for number in (1, 2):
        assert not READER.read(tmp_path / f"sim--1_{number}.Z_mtrx").info.partial


def test_a_stopped_scan_is_saved_as_far_as_it_got_and_another_frame_is_told_in_the_chain(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Fault("stopped", 1, 10), Fault("changed-frame", None, 0))
    bench.frame()
    usual = bench.instrument.scan(1).geometry
    frame = bench.saved(1)
    assert (frame.info.complete_rows, frame.geometry.rows) == (10, bench.ended[0].scan.geometry.rows)
    assert np.isnan(frame.data[:-10]).all()
    assert np.abs(frame.data[-10:] - bench.ended[0].scan.heights[-10:]).max() < 0.3e-15
    seen: set[str] = set()
    for _ in range(10):
        bench.frame()
        bench.pass_by(5)
    for one in bench.ended:
        geometry, saved = one.scan.geometry, bench.saved(one.number)
        assert saved.data.shape == (geometry.rows, geometry.columns)
        assert saved.geometry.size_nm == pytest.approx(geometry.size_nm)
        assert saved.geometry.angle_deg == pytest.approx(geometry.angle_deg)
        assert saved.info.warnings == ()
        seen |= _changed(usual, geometry)
    assert seen == {"rows", "size", "angle"}


def _changed(usual: ScanGeometry, geometry: ScanGeometry) -> set[str]:
    differs = {
        "rows": geometry.rows != usual.rows,
        "size": geometry.size_nm != usual.size_nm,
        "angle": geometry.angle_deg != usual.angle_deg,
    }
    return {name for name, differ in differs.items() if differ}


def test_slow_files_take_as_long_as_one_and_a_frame_that_is_not_saved_leaves_its_number_free(tmp_path: Path) -> None:
    bench = Bench(tmp_path, Fault("slow-file", 1), Fault("no-file", 2), slow_file_s=4.0)
    for _ in range(3):
        bench.frame()
    # Two files of half as many pieces: the pauses between them, and a little less than the time they should take.
    assert bench.waited == [4.0 / SLOW_PIECES] * (SLOW_PIECES - 2)
    assert bench.ended[1].path == ""
    assert not bench.instrument.path_of(2).exists()
    assert not bench.saved(1).info.partial
    assert not bench.saved(3).info.partial


def test_successive_frames_of_one_place_are_all_scanned_upwards_and_a_restart_goes_on(tmp_path: Path) -> None:
    plan = replace(PLAN, drift_nm=1.0, frames=3, frame_time_s=0.0, line_time_s=None)
    for _ in range(2):
        assert SimulatedInstrument(tmp_path, plan).run(threading.Event()) == 3
    for number in range(1, 7):
        drawn = SimulatedInstrument(tmp_path, plan).scan(number)
        assert drawn.direction is ScanDirection.UP
        frame = READER.read(tmp_path / f"sim--1_{number}.Z_mtrx")
        assert np.abs(frame.data - drawn.heights).max() < 0.3e-15
    assert len(list(tmp_path.glob("*.mtrx"))) == 1


@pytest.mark.parametrize(
    ("unit", "channel", "scale"), [("m", "Z", 1e-5), ("A", "I", 1e-3), ("Hz", "Df", 40.0), ("V", "Aux1", 1e-9)]
)
def test_another_channel_is_saved_under_its_name_however_large_its_values(
    tmp_path: Path, unit: str, channel: str, scale: float
) -> None:
    values = np.random.default_rng(1).normal(scale=scale, size=(2, 9, 12)).astype(np.float32)
    scan = SyntheticScan(values[0], values[1], ScanGeometry(9, 12, (3.0, 4.0)), ScanDirection.UP, ())
    subject = Subject(scan, "OC M1 Freq. Shift", unit)
    instrument = SimulatedInstrument(tmp_path, PLAN)
    path = instrument.save(1, subject, instrument.channels(1, subject), instrument.now(), lambda: None)
    assert path.name == f"sim--1_1.{channel}_mtrx"
    frame = READER.read(path)
    assert frame.info.unit == unit
    np.testing.assert_allclose(frame.data, values[0], rtol=1e-7, atol=float(np.abs(values).max()) * 2e-9)


def test_a_recorded_scan_with_gaps_is_refused_since_integers_have_none(tmp_path: Path) -> None:
    values = np.ones((9, 12), dtype=np.float32)
    values[3] = np.nan
    np.save(tmp_path / "gaps.npy", values)
    SimulatedInstrument(tmp_path, ScanPlan(recorded=(tmp_path / "gaps.npy",)))
    with pytest.raises(FrameError, match="lacks values"):
        SimulatedInstrument(tmp_path, replace(PLAN, recorded=(tmp_path / "gaps.npy",)))


def test_what_cannot_happen_in_a_format_is_refused_with_what_to_do(tmp_path: Path) -> None:
    sxm = SimulatedInstrument(tmp_path, replace(PLAN, format="sxm"))
    with pytest.raises(ValueError, match=r"late-chain cannot happen to \.sxm files.*--format matrix"):
        SimulatedController(sxm, faults=FaultPlan([Fault("late-chain", 2), Fault("stopped")]))
    matrix = SimulatedInstrument(tmp_path, PLAN)
    with pytest.raises(ValueError, match="dropped-line and nan-everywhere cannot happen to MATRIX files"):
        SimulatedController(matrix, faults=FaultPlan([Fault("nan-everywhere"), Fault("dropped-line")]))
    with pytest.raises(ValueError, match="leave the server"):
        SimulatedController(matrix).start()
    with pytest.raises(ValueError, match="no scan can be saved as 'tiff'"):
        ScanPlan(format="tiff")
    assert "late-chain" not in {fault.name for fault in FaultPlan.scattered(1, 100, 1.0).faults}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fault", "late-chain@2"], "save MATRIX files (--format matrix)"),
        (["--format", "matrix", "--fault", "dropped-line"], "save .sxm files (--format sxm)"),
        (["--format", "matrix", "--tcp-port", "0"], "leave the server (--tcp-port) out"),
        (["--format", "tiff"], "invalid choice"),
    ],
)
def test_the_command_line_says_so_too(
    tmp_path: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "scans"), *arguments])
    assert stopped.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "scans").exists()


def test_the_command_line_saves_matrix_scans(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arguments = ["--frames", "2", "--frame-time", "0", "--pixels", "16", "--size-nm", "8", "--series", "lab-"]
    with caplog.at_level(logging.INFO, logger="spm_live_drivers.simulate"):
        assert main([str(tmp_path), *arguments, "--format", "matrix", "--fault", "stopped@2:5"]) == 0
    assert "injected stopped: frame=2" in caplog.text
    assert (tmp_path / "lab_0001.mtrx").exists()
    assert READER.read(tmp_path / "lab--1_2.Z_mtrx").info.complete_rows == 5
