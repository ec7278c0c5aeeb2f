"""A finished scan becomes one frame: by its file where there is one, else as it was seen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from spm_live.domain import Fault, FrameInfo, FrameRef, ScanGeometry, Trace
from spm_live.settings_live import LiveSettings
from spm_live.sources import Arrival
from spm_live.sources.handover import Handover
from spm_live.sources.inbox import Inbox
from spm_live_drivers.formats.nanonis_writer import SxmChannel, SxmSettings, write_sxm
from spm_live_drivers.growing import GrowingFrame, ScanLines, ScanOutcome, ScanStart
from spm_live_drivers.registry import read_frame

GEOMETRY = ScanGeometry(8, 8, (10.0, 10.0))


@dataclass
class Over:
    """A scan that is over."""

    key: str
    growing: GrowingFrame
    outcome: ScanOutcome = ScanOutcome.FINISHED
    saved_as: str = ""
    waited_s: float = 16.0
    sender: str = "stm"


@dataclass
class FakeBoard:
    """Says which scans are over, and remembers what became of them."""

    over: list[Over] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)

    def ended(self) -> list[Over]:
        return [scan for scan in self.over if scan.key not in self.given_up]

    def end_without_file(self, key: str) -> None:
        self.given_up.append(key)

    def name_file(self, key: str, saved_as: str) -> None:
        self.named[key] = saved_as


def seen(lines: int = 8) -> GrowingFrame:
    info = FrameInfo(FrameRef("stm/s1", "", "Z", Trace.FORWARD), GEOMETRY, "m", format="nanonis-tcp")
    growing = GrowingFrame(ScanStart("s1", info))
    if lines:
        growing.add(ScanLines("s1", 0, np.ones((lines, 8), np.float32)))
    return growing


class Desk:
    """A handover whose looks the test takes itself."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.board = FakeBoard()
        self.arrived: list[Arrival] = []
        self.faults: list[Fault] = []
        self.came = threading.Event()
        self.inbox = Inbox(folder / "inbox")
        watched = [folder / "watched"]
        self.handover = Handover(self.board, LiveSettings(**settings), self.inbox, watched)  # type: ignore[arg-type]
        self.handover.start(self.put, self.report, lambda *_: False)

    def put(self, arrival: Arrival) -> None:
        self.arrived.append(arrival)
        self.came.set()

    def report(self, fault: Fault) -> None:
        self.faults.append(fault)
        self.came.set()

    def look(self) -> None:
        self.handover.look(self.put, lambda *_: False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "watched").mkdir()
    return tmp_path


@pytest.fixture
def desk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr("spm_live.sources.handover.PERIOD_S", 3600)
    desk = Desk(folder)
    yield desk
    desk.handover.stop()


def write_scan(path: Path) -> None:
    data = np.full((8, 8), 1e-9, np.float32)
    write_sxm(path, (SxmChannel(14, "Z", "m", data, data, 1e-8),), GEOMETRY, SxmSettings(datetime(2026, 11, 22)))


def test_a_scan_that_was_not_saved_is_kept_as_it_was_seen_and_once(desk: Desk) -> None:
    desk.board.over = [Over("k", seen(), waited_s=20)]
    desk.look()
    desk.look()
    assert desk.came.wait(10)
    (arrival,) = desk.arrived
    frame = read_frame(arrival.path)
    assert np.array_equal(frame.data, np.ones((8, 8), np.float32))
    assert frame.ref.source == "stm/s1" == desk.board.named["k"]
    assert arrival.delete_when_done
    assert arrival.sha256 == frame.ref.sha256
    assert any("lines that were seen" in warning for warning in frame.info.warnings)
    assert desk.faults == []


def test_a_scan_whose_file_nobody_named_is_given_time_where_files_come_by_themselves(desk: Desk) -> None:
    scan = Over("k", seen(), waited_s=14)
    desk.board.over = [scan]
    desk.look()
    assert desk.handover.status().counters["kept"] == 0
    scan.waited_s = 16
    desk.look()
    assert desk.handover.status().counters["kept"] == 1
    assert desk.came.wait(10)


def test_a_file_on_this_machine_that_nobody_watches_is_handed_over_once_it_is_complete(
    desk: Desk, folder: Path
) -> None:
    path = folder / "elsewhere.sxm"
    desk.board.over = [Over("k", seen(), saved_as=str(path))]
    desk.look()
    assert desk.arrived == []
    write_scan(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    desk.look()
    assert desk.arrived == []
    path.write_bytes(whole)
    desk.look()
    desk.look()
    assert [arrival.path for arrival in desk.arrived] == [path]
    assert desk.arrived[0].options.channel == "Z"


def test_a_file_in_a_watched_folder_comes_by_itself(desk: Desk, folder: Path) -> None:
    path = folder / "watched" / "a.sxm"
    write_scan(path)
    desk.board.over = [Over("k", seen(), saved_as=str(path))]
    desk.look()
    assert desk.arrived == []
    assert desk.board.given_up == []


def test_a_file_that_never_arrives_is_a_fault_and_the_scan_is_kept_under_its_name(desk: Desk) -> None:
    desk.board.over = [Over("k", seen(), saved_as="C:\\Nanonis\\a.sxm", waited_s=61)]
    desk.look()
    assert desk.came.wait(10)
    desk.came.clear()
    while not (desk.arrived and desk.faults):
        assert desk.came.wait(10)
        desk.came.clear()
    assert "watch its folder" in desk.faults[0].reason
    assert read_frame(desk.arrived[0].path).ref.name == "a.sxm"


@pytest.mark.parametrize(
    ("keep", "outcome", "lines", "kept"),
    [
        ("finished", ScanOutcome.FINISHED, 8, True),
        ("finished", ScanOutcome.STOPPED, 5, False),
        ("finished", ScanOutcome.LOST, 5, False),
        ("all", ScanOutcome.STOPPED, 5, True),
        ("all", ScanOutcome.STOPPED, 0, False),
        ("none", ScanOutcome.FINISHED, 8, False),
    ],
)
def test_what_is_kept_is_what_was_asked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, keep: str, outcome: ScanOutcome, lines: int, kept: bool
) -> None:
    monkeypatch.setattr("spm_live.sources.handover.PERIOD_S", 3600)
    desk = Desk(folder, keep=keep)
    try:
        desk.board.over = [Over("k", seen(lines), outcome)]
        desk.look()
        assert (desk.board.given_up == []) is kept
        if kept:
            assert desk.came.wait(10)
            assert read_frame(desk.arrived[0].path).info.complete_rows == lines
    finally:
        desk.handover.stop()


def test_a_full_disk_leaves_the_scan_waiting_and_says_so(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    desk.board.over = [Over("k", seen())]
    with monkeypatch.context() as patch:
        patch.setattr(desk.inbox, "keep", no_room)
        desk.look()
    assert "No space left" in desk.handover.status().detail
    assert not desk.handover.status().ok
    desk.look()
    assert desk.came.wait(10)
    assert desk.handover.status().ok
