"""What the simulated instrument looks at beside drawn places: recorded frames, and one place again and again."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from spm_live_drivers.contract import ReadOptions, ScanDirection, ScanGeometry, Trace
from spm_live_drivers.formats.nanonis_sxm import NanonisSxmReader
from spm_live_drivers.simulate import (
    EndedScan,
    ScanPlan,
    SimulatedController,
    SimulatedInstrument,
    main,
)
from spm_live_drivers.simulate.subjects import TipState


class Waits(threading.Event):
    """Nobody has to wait for it."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A drawn scan, saved as an instrument would."""
    instrument = SimulatedInstrument(tmp_path / "made", ScanPlan(pixels=48, size_nm=15.0, frames=2, seed=8))
    instrument.run(Waits())
    return instrument.path_of(2)


@pytest.mark.parametrize("direction", list(ScanDirection))
def test_a_recorded_scan_is_scanned_again_both_ways(tmp_path: Path, recorded: Path, direction: ScanDirection) -> None:
    plan = ScanPlan(frames=2, recorded=(recorded,))
    instrument = SimulatedInstrument(tmp_path / "again", plan, truth=tmp_path / "truth")
    assert instrument.run(Waits()) == 2
    number = 2 if direction is ScanDirection.UP else 1
    for trace in Trace:
        was = NanonisSxmReader().read(recorded, ReadOptions(trace=trace))
        now = NanonisSxmReader().read(instrument.path_of(number), ReadOptions(trace=trace))
        np.testing.assert_array_equal(now.data, was.data)
        assert now.info.direction is direction
        assert now.geometry.size_nm == pytest.approx(was.geometry.size_nm)
        assert now.geometry.center_nm == pytest.approx(was.geometry.center_nm)
    assert not list((tmp_path / "truth").iterdir())  # nobody knows it


def test_several_recorded_files_come_in_turn_and_again(tmp_path: Path, recorded: Path) -> None:
    array = tmp_path / "ramp.npy"
    np.save(array, np.linspace(0, 5e-9, 20 * 30, dtype=np.float32).reshape(20, 30))
    instrument = SimulatedInstrument(tmp_path, ScanPlan(size_nm=60.0, recorded=(recorded, array)))
    shapes = [instrument.scan(number).heights.shape for number in (1, 2, 3)]
    assert shapes == [(48, 48), (20, 30), (48, 48)]


def test_a_picture_without_a_scale_gets_the_width_of_the_plan_and_some_height(tmp_path: Path) -> None:
    array = tmp_path / "picture.npy"
    np.save(array, np.arange(20 * 30, dtype=np.uint8).reshape(20, 30))
    subject = SimulatedInstrument(tmp_path, ScanPlan(size_nm=60.0, recorded=(array,))).look(1)
    assert subject.scan.geometry.size_nm == pytest.approx((60.0, 40.0))
    assert (subject.channel, subject.unit) == ("Z", "m")
    assert (subject.scan.heights.min(), subject.scan.heights.max()) == pytest.approx((0, 0.3e-9))


def test_a_real_scan_of_another_channel_keeps_it(tmp_path: Path, data_dir: Path) -> None:
    source = data_dir / "nanonis" / "example_nc-AFM.sxm"
    instrument = SimulatedInstrument(tmp_path, ScanPlan(frames=1, recorded=(source,)))
    instrument.run(Waits())
    was, now = (NanonisSxmReader().read(path) for path in (source, instrument.path_of(1)))
    assert now.ref.channel == was.ref.channel != "Z"
    assert now.info.unit == was.info.unit
    np.testing.assert_array_equal(now.data, was.data)


def test_a_real_scan_that_was_stopped_stays_so(tmp_path: Path, data_dir: Path) -> None:
    source = data_dir / "nanonis" / "converter_9_of_256_rows.sxm"
    scan = SimulatedInstrument(tmp_path, ScanPlan(recorded=(source,))).scan(1)
    assert np.isfinite(scan.heights).any(axis=1).sum() == 9


@pytest.mark.parametrize("tip", [TipState.BLUNT, TipState.DOUBLE])
def test_a_worse_tip_shows_a_recorded_frame_worse(tmp_path: Path, recorded: Path, tip: TipState) -> None:
    instrument = SimulatedInstrument(tmp_path, ScanPlan(recorded=(recorded,)))
    sharp, worse = instrument.scan(1).heights, instrument.look(1, tip).scan.heights
    if tip is TipState.BLUNT:
        assert np.abs(np.diff(worse, axis=1)).mean() < 0.7 * np.abs(np.diff(sharp, axis=1)).mean()
        assert worse.mean() == pytest.approx(sharp.mean(), abs=0.1 * float(sharp.std()))
    else:
        assert (worse >= sharp).all()
        assert (worse > sharp).any()


def test_a_part_of_a_recorded_frame_is_its_middle(tmp_path: Path, recorded: Path) -> None:
    instrument = SimulatedInstrument(tmp_path, ScanPlan(recorded=(recorded,)))
    whole = instrument.scan(1)
    half = ScanGeometry(24, 24, (7.5, 7.5), whole.geometry.center_nm)
    np.testing.assert_array_equal(instrument.look(1, geometry=half).scan.heights, whole.heights[12:36, 12:36])


def test_a_place_drifts_and_the_truth_says_who_is_who(tmp_path: Path) -> None:
    plan = ScanPlan(pixels=48, size_nm=15.0, frames=7, drift_nm=0.6, hops=0.2, place_frames=3)
    SimulatedInstrument(tmp_path / "scans", plan, truth=tmp_path / "truth").run(Waits())
    truths = [
        json.loads((tmp_path / "truth" / f"sim_{number:04d}.json").read_text(encoding="utf-8"))
        for number in range(1, 8)
    ]
    for number, truth in enumerate(truths):
        length = float(np.hypot(*truth["drift_nm"]))
        assert length == pytest.approx(0.6 if number % 3 else 0.0)
        assert truth["center_nm"] == truths[number // 3 * 3]["center_nm"]
    assert truths[0]["center_nm"] != truths[3]["center_nm"]
    before, now = (
        {one["id"]: np.array(one["center_nm"]) for one in truth["molecules"]} for truth in (truths[0], truths[1])
    )
    both = before.keys() & now.keys()
    moved = {key for key in both if np.hypot(*(now[key] - before[key] - truths[1]["drift_nm"])) > 1e-6}
    assert len(both) > 5
    assert moved == set(truths[1]["hopped"]) & both


def test_a_frame_of_a_drifting_place_is_the_same_whenever_it_is_asked_for(tmp_path: Path) -> None:
    instrument = SimulatedInstrument(tmp_path, ScanPlan(pixels=32, size_nm=12.0, drift_nm=0.5, hops=0.3))
    first = {number: instrument.scan(number).heights for number in (1, 2, 3, 11)}
    blunt = instrument.look(11, TipState.BLUNT).scan.heights
    assert not np.array_equal(blunt, first[11])
    for number in (3, 1, 11, 2):
        np.testing.assert_array_equal(instrument.scan(number).heights, first[number])
    assert instrument.scan(2).direction is ScanDirection.UP


def test_a_controller_scans_serves_and_saves_in_one_thread(tmp_path: Path) -> None:
    ended: list[EndedScan] = []
    plan = ScanPlan(pixels=16, size_nm=8.0, frame_time_s=0.0, frames=5)
    with SimulatedController(SimulatedInstrument(tmp_path, plan), ended=ended.append) as controller:
        thread = threading.Thread(target=controller.run, args=(threading.Event(),))
        thread.start()
        thread.join(timeout=30)
        assert not thread.is_alive()
        assert controller.saved == 5
        assert controller.address[0] == "127.0.0.1"
        assert controller.address[1] > 0
    assert [Path(one.path).name for one in ended] == [f"sim_{number:04d}.sxm" for number in range(1, 6)]


def test_a_run_ends_when_it_is_told_to(tmp_path: Path) -> None:
    plan = ScanPlan(pixels=16, size_nm=8.0, frame_time_s=3600.0)
    begun, stop = threading.Event(), threading.Event()
    with SimulatedController(SimulatedInstrument(tmp_path, plan), begun=lambda _: begun.set()) as controller:
        thread = threading.Thread(target=controller.run, args=(stop,))
        thread.start()
        assert begun.wait(timeout=30)
        stop.set()
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        {"drift_nm": -1.0},
        {"drift_nm": float("inf")},
        {"hops": 1.5},
        {"place_frames": 0},
        {"line_time_s": -1.0},
        {"recorded": (Path("a.sxm"),), "hops": 0.1},
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"frame|times"):
        ScanPlan(**wrong)  # type: ignore[arg-type]


def test_the_command_line_says_which_recorded_file_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("no scan")
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path / "out"), "--recorded", str(tmp_path / "notes.txt"), "--frames", "1"])
    assert stopped.value.code == 2
    assert "notes.txt" in capsys.readouterr().err


def test_the_command_line_scans_a_recorded_file(tmp_path: Path, recorded: Path) -> None:
    out = tmp_path / "out"
    assert main([str(out), "--recorded", str(recorded), "--frames", "2", "--line-time", "0"]) == 0
    was, now = (NanonisSxmReader().read(path) for path in (recorded, out / "sim_0002.sxm"))
    np.testing.assert_array_equal(now.data, was.data)
