"""The daemon with scans in progress: beside finished frames, through crashes, into notices and frames."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spm_live.daemon.growing import LiveBoard
from spm_live.daemon.life import Daemon
from spm_live.daemon.worker import MakeWork
from spm_live.domain import FrameInfo, FrameRef, ReadOptions, ScanGeometry, SourceStatus, Trace
from spm_live.publish.feed import Feed
from spm_live.publish.live_message import NoticeLog, live_message
from spm_live.publish.metrics import Metrics
from spm_live.publish.store import Store
from spm_live.settings import settings_from
from spm_live.sources import Arrival, Known, Put, Report
from spm_live.sources.handover import Handover
from spm_live.sources.inbox import Inbox
from spm_live_drivers.growing import ScanEnd, ScanLines, ScanOutcome, ScanStart

ROWS, COLUMNS = 16, 8


class Lab:
    """A daemon whose one source is the test."""

    name = "test"

    def __init__(self, place: Path, make_work: MakeWork) -> None:
        self.store = Store(place / "store.sqlite3")
        self.feed = Feed()
        self.heard = self.feed.subscribe(100_000)
        self.notices = NoticeLog()
        self.board = LiveBoard(lambda scan: self.feed.publish("live", live_message(scan)))
        self.settings = settings_from(
            {
                "folders": [{"path": place}],
                "model": {"name": "fake"},
                "rules": [
                    {"name": "enough", "when": "count", "above": 8},
                    {"name": "over", "when": "finished"},
                ],
            }
        )
        handover = Handover(self.board, self.settings.live, Inbox(place / "inbox"))
        self.daemon = Daemon(
            self.settings,
            store=self.store,
            feed=self.feed,
            metrics=Metrics(),
            make_sources=lambda _settings: [self, handover],
            make_work=make_work,
            live=self.board,
            notices=self.notices,
        )
        self.started = threading.Event()
        self.thread = threading.Thread(target=self.daemon.run)
        self.messages: list[dict[str, Any]] = []

    def start(self, put: Put, report: Report, known: Known) -> None:
        self.put = put
        self.started.set()

    def stop(self) -> None: ...
    def status(self) -> SourceStatus:
        return SourceStatus(self.name, True, "the test")

    def tell(self, event: ScanStart | ScanLines | ScanEnd) -> bool:
        return self.board.tell(self.name, "stm", event)

    def scan(self, name: str, rows: range) -> None:
        for row in rows:
            self.tell(ScanLines(name, row, np.full((1, COLUMNS), row, np.float32)))

    def wait(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            message = self.heard.get(1.0)
            if message is not None:
                self.messages.append(message)
                if wanted(message):
                    return message
        raise AssertionError(f"not told: {self.messages[-3:]}")


@pytest.fixture
def lab(tmp_path: Path, make_work: MakeWork) -> Iterator[Lab]:
    lab = Lab(tmp_path, make_work)
    lab.thread.start()
    yield lab
    lab.daemon.stop()
    lab.thread.join(30)
    lab.heard.close()
    lab.store.close()


def begin(name: str, source: str = "stm/s") -> ScanStart:
    info = FrameInfo(
        FrameRef(source, "", "Z", Trace.FORWARD),
        ScanGeometry(ROWS, COLUMNS, (10.0, 10.0)),
        "m",
        started=datetime(2026, 11, 22, tzinfo=UTC),
        format="test",
    )
    return ScanStart(name, info)


def lines_worked(number: int) -> Callable[[dict[str, Any]], bool]:
    return lambda message: message["type"] == "live" and message["total"] == number


def test_a_scan_is_followed_told_and_kept_once(lab: Lab) -> None:
    lab.tell(begin("s1"))
    lab.scan("s1", range(4))
    lab.wait(lines_worked(4))
    lab.scan("s1", range(4, 10))
    lab.wait(lines_worked(10))
    lab.scan("s1", range(10, ROWS))
    lab.wait(lines_worked(ROWS))
    lab.tell(ScanEnd("s1", ScanOutcome.FINISHED))
    frame = lab.wait(lambda message: message["type"] == "frame")
    replaced = lab.wait(lambda message: message["type"] == "live" and message["state"] == "replaced")
    assert replaced["frame_id"] == frame["id"]
    over = next((message for message in lab.messages if message.get("rule") == "over"), None)
    over = over or lab.wait(lambda message: message.get("rule") == "over")
    assert over["frame_id"] == frame["id"]
    assert [notice["rule"] for notice in lab.notices.newest()] == ["over", "enough"]
    assert replaced["quality"] is not None
    lab.daemon.stop()
    lab.thread.join(30)
    (kept,) = lab.store.frames(10)
    assert kept["quality"] == replaced["quality"]
    assert lab.board.scans() == []


def test_the_board_knows_since_when_a_file_waits(lab: Lab, tmp_path: Path) -> None:
    assert lab.started.wait(60)
    assert lab.board.waiting_since() == math.inf
    path = tmp_path / "a.scan"
    path.write_text("wait for the chain")
    stat, ready_s = path.stat(), time.monotonic()
    lab.put(Arrival(path, stat.st_size, stat.st_mtime_ns, ReadOptions(), lab.name, ready_s=ready_s))
    assert lab.board.waiting_since() == ready_s, "in the queue, in hand, or put off: it waits"
    path.with_suffix(".chain").touch()
    lab.wait(lambda message: message["type"] == "frame")
    lab.tell(begin("s1"))  # the daemon goes on only when the file is out of its hands
    lab.scan("s1", range(4))
    lab.wait(lines_worked(4))
    assert lab.board.waiting_since() == math.inf


def test_a_recogniser_that_fails_on_a_scan_costs_that_scan_its_molecules_only(lab: Lab) -> None:
    lab.tell(begin("s1", "stm/fault"))
    lab.scan("s1", range(4))
    fault = lab.wait(lambda message: message["type"] == "fault")
    assert (fault["stage"], "NaN" in fault["reason"]) == ("detect", True)
    lab.scan("s1", range(4, ROWS))
    lab.tell(ScanEnd("s1", ScanOutcome.STOPPED))
    lab.wait(lambda message: message["type"] == "live" and message["state"] == "ended")
    lab.tell(begin("s2"))
    lab.scan("s2", range(4))
    lab.wait(lines_worked(4))


def test_a_scan_that_crashes_the_worker_is_shown_without_molecules_and_the_others_go_on(lab: Lab) -> None:
    lab.board.tell(lab.name, "another", begin("s1"))
    lab.board.tell(lab.name, "another", ScanLines("s1", 0, np.zeros((3, COLUMNS), np.float32)))
    lab.wait(lines_worked(3))
    lab.tell(begin("s1", "stm/crash"))
    lab.scan("s1", range(4))
    fault = lab.wait(lambda message: message["type"] == "fault")
    assert "crashed the worker 2 times" in fault["reason"]
    assert lab.daemon.status().counters["worker_restarts"] == 2
    lab.board.tell(lab.name, "another", ScanLines("s1", 3, np.zeros((2, COLUMNS), np.float32)))
    lab.wait(lines_worked(5))
