"""The simulated microscope."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from spm_live_drivers.contract import ReadOptions, ScanDirection
from spm_live_drivers.formats.nanonis_sxm import NanonisSxmReader
from spm_live_drivers.simulate import SAMPLE, SLOW_PIECES, ScanPlan, SimulatedInstrument, main
from spm_live_drivers.synthetic.truth_file import truth_of

SMALL = ScanPlan(pixels=32, size_nm=12.0, frame_time_s=5.0, frames=3)


class Waits(threading.Event):
    """An event on which nobody has to wait: it notes for how long somebody would have, and is set after some."""

    def __init__(self, until: int | None = None) -> None:
        super().__init__()
        self.waited: list[float | None] = []
        self._until = until

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout)
        if self._until is not None and len(self.waited) >= self._until:
            self.set()
        return self.is_set()


def test_it_saves_as_many_frames_as_planned_each_after_its_time(tmp_path: Path) -> None:
    stop = Waits()
    assert SimulatedInstrument(tmp_path / "new" / "folder", SMALL).run(stop) == 3
    assert stop.waited == [5.0] * 3
    names = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert names == ["sim_0001.sxm", "sim_0002.sxm", "sim_0003.sxm"]


def test_a_saved_frame_is_the_drawn_one(tmp_path: Path) -> None:
    when = datetime(2026, 5, 4, 3, 2, 1)
    instrument = SimulatedInstrument(tmp_path, SMALL, now=lambda: when)
    instrument.run(Waits())
    for number in (1, 2, 3):
        drawn = instrument.scan(number)
        frame = NanonisSxmReader().read(tmp_path / f"sim_{number:04d}.sxm", ReadOptions(timezone="UTC"))
        np.testing.assert_array_equal(frame.data, drawn.heights)
        assert frame.info.geometry.center_nm == pytest.approx(drawn.geometry.center_nm, abs=1e-3)
        assert frame.info.geometry.size_nm == pytest.approx((12.0, 12.0))
        assert frame.info.direction is (ScanDirection.UP if number == 2 else ScanDirection.DOWN)
        assert frame.info.started is not None
        assert frame.info.started.replace(tzinfo=None) == when


def test_the_frames_differ_and_two_instruments_with_one_seed_agree(tmp_path: Path) -> None:
    one, other = SimulatedInstrument(tmp_path, SMALL), SimulatedInstrument(tmp_path, SMALL)
    assert np.array_equal(one.scan(2).heights, other.scan(2).heights)
    assert not np.array_equal(one.scan(1).heights, one.scan(2).heights)
    another = SimulatedInstrument(tmp_path, ScanPlan(pixels=32, size_nm=12.0, seed=1))
    assert not np.array_equal(one.scan(1).heights, another.scan(1).heights)


def test_the_current_wavers_around_the_set_point(tmp_path: Path) -> None:
    SimulatedInstrument(tmp_path, SMALL).run(Waits())
    frame = NanonisSxmReader().read(tmp_path / "sim_0001.sxm", ReadOptions(channel="Current"))
    assert np.median(frame.data) == pytest.approx(frame.info.setpoint, rel=0.05)
    assert frame.data.std() > 0


def test_the_truth_lies_beside_every_frame(tmp_path: Path) -> None:
    truth = tmp_path / "truth"
    instrument = SimulatedInstrument(tmp_path / "scans", SMALL, truth=truth)
    instrument.run(Waits())
    for number in (1, 2, 3):
        kept = json.loads((truth / f"sim_{number:04d}.json").read_text(encoding="utf-8"))
        assert kept == json.loads(json.dumps(truth_of(instrument.scan(number), f"sim_{number:04d}.sxm")))
        assert {molecule["label"] for molecule in kept["molecules"]} <= {one.label for one in SAMPLE.species}
    assert any(json.loads(path.read_text(encoding="utf-8"))["molecules"] for path in truth.iterdir())


def test_after_a_restart_the_numbers_go_on(tmp_path: Path) -> None:
    (tmp_path / "sim_0041.sxm").write_bytes(b"an older scan")
    (tmp_path / "other_0077.sxm").write_bytes(b"of another series")
    SimulatedInstrument(tmp_path, SMALL).run(Waits())
    assert (tmp_path / "sim_0041.sxm").read_bytes() == b"an older scan"
    assert {path.name for path in tmp_path.glob("sim_*")} == {f"sim_{n:04d}.sxm" for n in (41, 42, 43, 44)}


def test_a_stop_in_the_middle_of_a_frame_ends_it_at_once_without_a_file(tmp_path: Path) -> None:
    endless = ScanPlan(pixels=32, size_nm=12.0, frame_time_s=5.0)
    assert SimulatedInstrument(tmp_path, endless).run(Waits(until=3)) == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_a_slow_file_is_written_in_pieces_and_finished_even_when_stopped(tmp_path: Path) -> None:
    plan = ScanPlan(pixels=32, size_nm=12.0, frame_time_s=5.0, slow_write_s=2.0)
    stop = Waits(until=4)
    assert SimulatedInstrument(tmp_path, plan).run(stop) == 1
    assert stop.waited == [5.0] + [2.0 / SLOW_PIECES] * (SLOW_PIECES - 1)
    frame = NanonisSxmReader().read(tmp_path / "sim_0001.sxm")
    assert not frame.info.partial


def test_it_runs_in_a_thread_until_it_is_told_to_stop(tmp_path: Path) -> None:
    stop = threading.Event()
    thread = threading.Thread(
        target=SimulatedInstrument(tmp_path, ScanPlan(pixels=32, size_nm=12.0, frame_time_s=600.0)).run, args=(stop,)
    )
    thread.start()
    stop.set()
    thread.join(timeout=10)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    "wrong",
    [
        {"pixels": 4},
        {"pixels": 100_000},
        {"size_nm": 0.0},
        {"size_nm": float("nan")},
        {"frame_time_s": -1.0},
        {"slow_write_s": -1.0},
        {"frames": -1},
        {"seed": -1},
        {"series": "../escape"},
        {"series": ""},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"frames|times|seed|name of a file"):
        ScanPlan(**wrong)  # type: ignore[arg-type]


def test_the_command_line_saves_frames_and_gives_the_signals_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    arguments = ["--frames", "2", "--frame-time", "0", "--pixels", "16", "--size-nm", "8", "--series", "lab-"]
    assert main([str(tmp_path / "scans"), *arguments, "--truth", str(tmp_path / "truth")]) == 0
    assert sorted(path.name for path in (tmp_path / "scans").iterdir()) == ["lab-0001.sxm", "lab-0002.sxm"]
    assert sorted(path.name for path in (tmp_path / "truth").iterdir()) == ["lab-0001.json", "lab-0002.json"]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("extra", [["--pixels", "2"], ["--frames", "many"], ["--series", "a/b"]])
def test_the_command_line_refuses_what_it_cannot_do(
    tmp_path: Path, extra: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), *extra])
    assert stopped.value.code == 2
    assert "spm-live-simulate: error:" in capsys.readouterr().err


def test_the_command_line_says_in_a_sentence_that_a_folder_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "file"), "--frames", "1", "--frame-time", "0", "--pixels", "16", "--size-nm", "8"])
    assert stopped.value.code == 2
    assert "spm-live-simulate:" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for one process on Windows")
def test_ctrl_c_ends_the_command_cleanly(tmp_path: Path) -> None:
    arguments = ["--frame-time", "0.01", "--pixels", "16", "--size-nm", "8"]
    with subprocess.Popen(
        [sys.executable, "-m", "spm_live_drivers.simulate", str(tmp_path), *arguments],
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stderr is not None
        assert "molecules" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        _, rest = child.communicate(timeout=30)
    assert child.returncode == 0
    assert "Traceback" not in rest
    assert not list(tmp_path.glob("*.part"))
