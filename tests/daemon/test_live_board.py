"""The board of scans in progress: newest wins, nothing is mixed, the file takes over."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live.daemon.growing import LiveBoard
from spm_live.domain import FrameInfo, FrameRef, ModelIdentity, ScanDirection, ScanGeometry, Trace
from spm_live.likeness import sample_rows
from spm_live.live.follow import LiveJob, LiveResult
from spm_live.publish.message import iso
from spm_live.scanning import LiveCount, LiveMap, LiveScan, LiveState, ScanQuality
from spm_live_drivers.growing import GrowingError, ScanEnd, ScanLines, ScanOutcome, ScanStart

ROWS, COLUMNS = 12, 8
BEGUN = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def info(sender: str = "stm", scan: str = "s1", **changed: Any) -> FrameInfo:
    geometry = ScanGeometry(changed.pop("rows", ROWS), COLUMNS, (10.0, 10.0), changed.pop("center_nm", (5.0, -3.0)))
    ref = FrameRef(f"{sender}/{scan}", "", "Z", Trace.FORWARD)
    return FrameInfo(ref, geometry, "m", **{"direction": ScanDirection.DOWN, **changed})


def start(scan: str = "s1", **changed: Any) -> ScanStart:
    return ScanStart(scan, info(scan=scan, **changed), line_time_s=2.0)


def lines(scan: str, first: int, number: int = 1, value: float = 0.0) -> ScanLines:
    data = np.add.outer(np.arange(first, first + number), np.arange(COLUMNS)).astype(np.float32) + np.float32(value)
    return ScanLines(scan, first, data)


def stored(name: str, frame_id: int = 7, **changed: Any) -> dict[str, Any]:
    values = {
        "id": frame_id,
        "name": name,
        "source": f"/data/{name}",
        "rows": ROWS,
        "columns": COLUMNS,
        "center_nm": [5.0, -3.0],
        "format": "nanonis-sxm",
        "processed": iso(BEGUN + timedelta(hours=1)),
        "molecules": [],
    }
    return {**values, **changed}


class Bench:
    """A board with a stepped clock, a worker that counts lines, and all that was told."""

    def __init__(self) -> None:
        self.told: list[LiveScan] = []
        self.now_s = 0.0
        self.woken = 0
        self.board = LiveBoard(
            self.told.append, clock=lambda: self.now_s, now=lambda: BEGUN + timedelta(seconds=self.now_s)
        )
        self.board.wake = self._wake
        self.known: dict[str, np.ndarray] = {}

    def _wake(self) -> None:
        self.woken += 1

    def tell(self, event: ScanStart | ScanLines | ScanEnd, sender: str = "stm", source: str = "tcp") -> bool:
        return self.board.tell(source, sender, event)

    def work(self) -> LiveJob | None:
        job = self.board.next_job()
        if job is None:
            return None
        before = self.known.get(job.key, np.zeros((0, COLUMNS), np.float32)) if job.first_line else job.forward[:0]
        if len(before) != job.first_line:
            self.board.done(job, LiveResult(None, None))
            return job
        self.known[job.key] = np.concatenate([before, job.forward])
        counts = {"m": LiveCount(job.after_last, 0, 0, 0.0, 0.0, 0.0)}
        model = ModelIdentity("fake", "1", "0")
        preview = b"png" if job.preview else b""
        found = LiveMap(job.info, model, (), counts, 1.0, 0.0, 0, preview)
        self.board.done(job, LiveResult(found, ScanQuality(job.after_last)))
        return job


def test_a_scan_is_told_from_its_start_to_the_frame_that_replaces_it() -> None:
    bench = Bench()
    assert bench.tell(start())
    assert bench.told[-1].state is LiveState.SCANNING
    assert bench.told[-1].map is None
    for row in range(ROWS):
        bench.now_s += 2
        assert bench.tell(lines("s1", row))
        assert bench.work() is not None
        assert bench.told[-1].map is not None
        assert bench.told[-1].map.total == row + 1
        assert bench.told[-1].time_left_s == 2.0 * (ROWS - row - 1)
    assert bench.tell(ScanEnd("s1", ScanOutcome.FINISHED, "C:\\data\\a.sxm"))
    assert bench.told[-1].state is LiveState.WAITING
    assert bench.board.frame_stored(stored("b.sxm")) == (None, None)
    replaced, _ = bench.board.frame_stored(stored("a.sxm"))
    assert replaced is not None
    assert (bench.told[-1].state, bench.told[-1].frame_id) == (LiveState.REPLACED, 7)
    assert bench.board.scans() == []
    revisions = [scan.revision for scan in bench.told]
    assert revisions == sorted(set(revisions))


def test_a_file_that_was_stored_before_the_end_was_told_takes_over_at_once() -> None:
    bench = Bench()
    bench.tell(start())
    bench.tell(lines("s1", 0, ROWS))
    bench.board.frame_stored(stored("a.sxm"))
    assert bench.told[-1].state is LiveState.SCANNING
    bench.tell(ScanEnd("s1", ScanOutcome.FINISHED, "/data/a.sxm"))
    assert bench.told[-1].state is LiveState.REPLACED


def seen_values(rows: int = ROWS) -> np.ndarray:
    """What the lines of this test hold, NaN below the first so many rows."""
    data = np.add.outer(np.arange(ROWS), np.arange(COLUMNS)).astype(np.float32)
    data[rows:] = np.nan
    return data


@pytest.mark.parametrize(
    ("changed", "values", "found"),
    [
        ({}, seen_values(), True),
        ({"direction": "up"}, seen_values(), False),
        ({"center_nm": [6.0, -3.0]}, seen_values(), False),
        ({"channel": "Current"}, seen_values(), False),
        ({}, seen_values() * np.float32(1.001), False),
        ({}, seen_values(8), False),  # the file lacks lines that were seen
    ],
)
@pytest.mark.parametrize("late", [True, False])
def test_a_file_that_nobody_named_is_known_by_what_it_shows(
    changed: dict[str, Any], values: np.ndarray, found: bool, late: bool
) -> None:
    bench = Bench()
    bench.tell(start())
    bench.tell(lines("s1", 0, 10))  # the last two were not seen
    frame = stored("x.sxm", **{"direction": "down", "channel": "Z", "format": "nanonis-sxm", **changed})
    if not late:
        bench.board.frame_stored(frame, sample_rows(values))
    bench.tell(ScanEnd("s1", ScanOutcome.FINISHED))
    if late:
        bench.board.frame_stored(frame, sample_rows(values))
    assert (bench.told[-1].state is LiveState.REPLACED) is found
    assert (bench.told[-1].saved_as == "/data/x.sxm") is found


def test_one_frame_is_that_of_one_scan() -> None:
    bench = Bench()
    frame = stored("x.sxm", direction="down", channel="Z", format="nanonis-sxm")
    bench.tell(start("s1"))
    bench.tell(lines("s1", 0, ROWS))
    bench.board.frame_stored(frame, sample_rows(seen_values()))
    bench.tell(ScanEnd("s1", ScanOutcome.FINISHED))
    bench.tell(start("s2"))
    bench.tell(lines("s2", 0, ROWS))
    bench.tell(ScanEnd("s2", ScanOutcome.FINISHED))
    assert [(scan.scan, scan.state) for scan in bench.board.scans()] == [("s2", LiveState.WAITING)]


def test_a_file_that_comes_after_its_scan_was_kept_outdates_what_was_kept() -> None:
    bench = Bench()
    bench.tell(start())
    bench.tell(lines("s1", 0, ROWS))
    bench.tell(ScanEnd("s1", ScanOutcome.FINISHED))
    bench.board.name_file(bench.told[-1].key, "stm/s1")
    kept = stored("s1", 3, source="stm/s1", direction="down", channel="Z", format="growing")
    replaced, outdated = bench.board.frame_stored(kept, sample_rows(seen_values()))
    assert replaced is not None
    assert outdated is None
    other = stored("other.sxm", 4, direction="down", channel="Z", format="nanonis-sxm")
    assert bench.board.frame_stored(other, sample_rows(seen_values() + np.float32(1))) == (None, None)
    late = stored("late.sxm", 5, direction="down", channel="Z", format="nanonis-sxm")
    assert bench.board.frame_stored(late, sample_rows(seen_values())) == (None, 3)


@pytest.mark.parametrize("changed", [{"rows": 13}, {"columns": 9}, {"center_nm": [6.0, -3.0]}, {"name": "b.sxm"}])
def test_a_frame_of_another_place_or_name_replaces_nothing(changed: dict[str, Any]) -> None:
    bench = Bench()
    bench.tell(start())
    bench.tell(lines("s1", 0, ROWS))
    bench.tell(ScanEnd("s1", ScanOutcome.FINISHED, "/data/a.sxm"))
    assert bench.board.frame_stored(stored("a.sxm") | changed) == (None, None)


def test_an_old_frame_of_the_same_name_is_not_taken_for_the_scan() -> None:
    bench = Bench()
    yesterday = stored("a.sxm", source="/yesterday/a.sxm", processed=iso(BEGUN - timedelta(days=1)))
    bench.board.remember([yesterday])
    bench.tell(start())
    bench.tell(lines("s1", 0, ROWS))
    bench.tell(ScanEnd("s1", ScanOutcome.FINISHED, "/data/a.sxm"))
    assert bench.told[-1].state is LiveState.WAITING


def test_a_scan_told_again_after_a_restart_finds_the_frame_that_came_of_it() -> None:
    bench = Bench()
    bench.board.remember([stored("a.sxm", source="stm:/data/a.sxm", processed=iso(BEGUN - timedelta(minutes=1)))])
    bench.tell(start())
    bench.tell(lines("s1", 0, ROWS))
    bench.tell(ScanEnd("s1", ScanOutcome.FINISHED, "/data/a.sxm"))
    assert bench.told[-1].state is LiveState.REPLACED


@given(st.lists(st.sampled_from(["line", "line", "line", "work", "crash", "forgot"]), max_size=60))
def test_whatever_the_pace_the_worker_sees_every_line_once_and_in_order(steps: list[str]) -> None:
    bench = Bench()
    bench.tell(start())
    sent = overtaken = pending = 0
    for step in steps:
        if step == "line" and sent < ROWS:
            bench.tell(lines("s1", sent))
            sent += 1
            overtaken += pending > 0
            pending += 1
        elif step == "crash":
            bench.known.clear()
            bench.board.lost_worker()
        elif step == "forgot" and sent < ROWS:  # as if there were more scans than it follows
            bench.known.clear()
            bench.tell(lines("s1", sent))
            sent += 1
            overtaken += pending > 0
            pending += 1
        elif step == "work" and bench.work() is not None:
            pending = 0
    while bench.work() is not None:
        pass
    expected = np.add.outer(np.arange(sent), np.arange(COLUMNS))
    key = bench.told[0].key
    assert sent == 0 or np.array_equal(bench.known[key], expected)
    assert bench.board.counters()["overtaken"] == overtaken


def test_an_up_scan_reaches_the_worker_in_the_order_of_scanning() -> None:
    bench = Bench()
    bench.tell(start(direction=ScanDirection.UP))
    bench.tell(lines("s1", ROWS - 3, 3))
    job = bench.work()
    assert job is not None
    assert job.forward[:, 0].tolist() == [ROWS - 1, ROWS - 2, ROWS - 3]


def test_a_new_start_of_the_same_sender_ends_the_old_scan_and_nothing_is_mixed() -> None:
    bench = Bench()
    bench.tell(start("s1"))
    bench.tell(lines("s1", 0, 5))
    bench.tell(start("s2"))
    assert [(scan.scan, scan.state) for scan in bench.board.scans()] == [
        ("s1", LiveState.WAITING),
        ("s2", LiveState.SCANNING),
    ]
    with pytest.raises(GrowingError, match="over"):
        bench.tell(lines("s1", 5))


def test_two_senders_do_not_disturb_each_other() -> None:
    bench = Bench()
    bench.tell(start("s1"), sender="a")
    bench.tell(start("s1", rows=20), sender="b")
    bench.tell(lines("s1", 0, 4), sender="a")
    bench.tell(lines("s1", 0, 9), sender="b")
    jobs = [bench.work(), bench.work()]
    assert sorted(job.after_last for job in jobs if job) == [4, 9]
    assert bench.work() is None


def test_lines_of_an_unknown_scan_are_asked_for_from_the_start() -> None:
    bench = Bench()
    assert not bench.tell(lines("s1", 3))
    assert not bench.tell(ScanEnd("s1", ScanOutcome.FINISHED))


def test_a_start_that_is_repeated_changes_nothing_and_another_frame_under_its_name_is_refused() -> None:
    bench = Bench()
    bench.tell(start())
    bench.tell(lines("s1", 0, 4))
    assert bench.tell(start())
    assert bench.tell(lines("s1", 0, 4))
    assert bench.board.scans()[0].info.complete_rows == 4
    with pytest.raises(GrowingError, match="another frame"):
        bench.tell(start(rows=13))


def test_what_is_told_again_of_a_scan_that_was_replaced_does_not_begin_it_anew() -> None:
    bench = Bench()
    for _ in range(2):
        assert bench.tell(start())
        assert bench.tell(lines("s1", 0, ROWS))
        assert bench.tell(ScanEnd("s1", ScanOutcome.FINISHED, "/data/a.sxm"))
        bench.board.frame_stored(stored("a.sxm"))
    assert bench.board.scans() == []


def test_a_scan_that_failed_is_still_shown_and_its_lines_still_count() -> None:
    bench = Bench()
    bench.tell(start())
    bench.tell(lines("s1", 0, 4))
    job = bench.board.next_job()
    assert job is not None
    assert bench.board.failed(job) == info().ref
    bench.now_s += 2
    bench.tell(lines("s1", 4, 4))
    assert bench.board.next_job() is None
    assert bench.told[-1].info.complete_rows == 8
    assert bench.told[-1].map is None


def test_a_scan_whose_sender_died_is_given_up_and_taken_up_again_if_it_is_told_after_all() -> None:
    bench = Bench()
    bench.tell(start())
    bench.tell(lines("s1", 0, 3))
    bench.now_s += 899
    bench.board.give_up_silent()
    assert bench.told[-1].state is LiveState.SCANNING
    bench.now_s += 2
    bench.board.give_up_silent()
    assert bench.told[-1].state is LiveState.ENDED
    assert bench.board.scans() == []
    assert not bench.tell(lines("s1", 3))
    bench.tell(start())
    bench.tell(lines("s1", 0, 4))
    assert bench.board.scans()[0].info.complete_rows == 4


def test_the_log_tells_how_a_scan_stands_ten_times(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.tell(start())
    with caplog.at_level("INFO", logger="spm_live.daemon.growing"):
        for row in range(ROWS):
            bench.tell(lines("s1", row))
            bench.work()
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 10
    assert told[0] == "stm: scan s1: 2 of 12 lines, 20 s left: 2 molecules (m 2), 0.0000 ± 0.0000 per nm², " + (
        "coverage 0.0 %, quality unknown"
    )
    assert "12 of 12 lines, 0 s left: 12 molecules" in told[-1]


def test_a_scan_is_not_waited_for_in_vain_while_files_wait_for_the_worker() -> None:
    bench = Bench()
    bench.tell(start())
    bench.tell(lines("s1", 0, ROWS))
    bench.tell(ScanEnd("s1", ScanOutcome.FINISHED, "/data/a.sxm"))
    end_s = bench.now_s
    bench.now_s += 50
    assert bench.board.ended()[0].waited_s == 50
    bench.board.waiting_since = lambda: end_s - 3
    assert bench.board.ended()[0].waited_s == 0, "an older file is in the way: its own may stand behind it"
    bench.board.waiting_since = lambda: end_s + 20
    assert bench.board.ended()[0].waited_s == 20, "of what was ready in the first 20 s, nothing was its own"
    bench.board.waiting_since = lambda: math.inf
    assert bench.board.ended()[0].waited_s == 50


def test_a_scan_without_a_file_is_given_up_although_files_never_cease_to_come() -> None:
    bench = Bench()
    bench.tell(start())
    bench.tell(lines("s1", 0, ROWS))
    bench.tell(ScanEnd("s1", ScanOutcome.FINISHED))
    waits = []
    for _ in range(30):
        bench.now_s += 1
        bench.board.waiting_since = lambda now_s=bench.now_s: now_s - 0.5
        waits.append(bench.board.ended()[0].waited_s)
    assert waits == sorted(waits)
    assert waits[-1] == 29.5


def test_the_board_stays_small_and_every_scan_gets_an_end() -> None:
    bench = Bench()
    for number in range(200):
        bench.tell(start(f"s{number}"))
        bench.tell(lines(f"s{number}", 0, 2))
        bench.tell(ScanEnd(f"s{number}", ScanOutcome.FINISHED, f"/data/{number}.sxm"))
    assert len(bench.board.scans()) <= 32
    ended = [scan.scan for scan in bench.told if scan.state is LiveState.ENDED]
    assert ended == [f"s{number}" for number in range(200 - len(bench.board.scans()))]


def test_a_scan_without_a_file_is_never_let_go_before_it_is_kept() -> None:
    bench = Bench()
    for number in range(40):
        bench.tell(start(f"s{number}"))
        bench.tell(lines(f"s{number}", 0, ROWS))
        bench.tell(ScanEnd(f"s{number}", ScanOutcome.FINISHED))
    assert len(bench.board.ended()) == 40


def test_the_picture_is_drawn_a_few_times_a_second_and_at_the_end() -> None:
    bench = Bench()
    bench.tell(start())
    drawn = []
    for row in range(ROWS):
        bench.now_s += 0.1
        bench.tell(lines("s1", row))
        job = bench.work()
        assert job is not None
        drawn.append(job.preview)
    assert drawn[0]
    assert drawn[-1]
    assert 3 <= sum(drawn) <= 5
    assert bench.board.preview(bench.told[0].key) == b"png"
    assert bench.board.preview("nothing") is None
