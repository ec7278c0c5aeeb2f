"""The folder source, step by step on a clock of its own."""

from __future__ import annotations

import gc
import os
import shutil
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spm_live.domain import Fault
from spm_live.errors import FrameError
from spm_live.settings import FolderSettings
from spm_live.sources import Arrival, StoppedError, folder
from spm_live.sources.folder import FolderSource
from spm_live.sources.listing import FoundFile, Unreadable, list_files
from spm_live.sources.survey import ENTRIES_A_STEP
from spm_live_drivers.contract import FileState, FileStatus, FrameRef, ReadOptions

SETTLE_S, QUIET_S, POLL_S = 0.3, 60.0, 2.0


class FakeReader:
    """What a file says of itself: ``END`` at its end, ``WAIT``, ``BAD``, ``BUG`` or ``OTHER`` at its beginning."""

    name, title, suffixes = "fake", "Fake", (".scan",)

    def __init__(self) -> None:
        self.asked: list[str] = []

    def accepts(self, path: Path, head: bytes) -> bool:
        return True

    def find(self, path: Path) -> FakeReader:
        self.asked.append(path.name)
        if not path.read_bytes() or path.read_bytes().startswith(b"NOISE"):
            raise FrameError(FrameRef(str(path)), "read", "no reader knows this file")
        return self

    def wanted(self, path: Path, options: ReadOptions) -> bool:
        return not path.read_bytes().startswith(b"OTHER")

    def state(self, path: Path) -> FileState:
        content = path.read_bytes()
        if content.startswith(b"BUG"):
            raise ZeroDivisionError("in the reader")
        if content.startswith(b"BAD"):
            raise FrameError(FrameRef(str(path)), "read", "damaged at byte 0")
        if content.startswith(b"WAIT") and not path.with_name("chain").exists():
            return FileState(FileStatus.WAITING, "chain is not there")
        return FileState(FileStatus.COMPLETE if content.endswith(b"END") else FileStatus.INCOMPLETE)


class FakeWatch:
    """Events that a test makes."""

    def __init__(self) -> None:
        self.opened: list[tuple[Path, bool]] = []
        self.closed = 0
        self.alive = True
        self.touched: set[str] = set()
        self.must_list = False
        self.refusal: OSError | None = None

    def __call__(self, root: Path, recursive: bool, wake: Callable[[], None]) -> FakeWatch:
        if self.refusal is not None:
            raise self.refusal
        self.opened.append((root, recursive))
        return self

    def take(self) -> tuple[set[str], bool]:
        taken, self.touched = self.touched, set()
        must_list, self.must_list = self.must_list, False
        return taken, must_list

    def is_alive(self) -> bool:
        return self.alive

    def close(self) -> None:
        self.closed += 1
        self.alive = True


class Lab:
    """A folder, a source on it, and a clock that moves only when told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 1000.0
        self.wall = 1_700_000_000.0
        self.reader = FakeReader()
        self.watch = FakeWatch()
        self.arrivals: list[tuple[str, float, bool]] = []
        self.given: list[Arrival] = []
        self.faults: list[Fault] = []
        self.known: set[str] = set()
        self.listings = 0
        self.listing = list_files
        self.source: FolderSource

    def open(self, **settings: object) -> FolderSource:
        given = {"observer": "native", "settle_s": SETTLE_S, "quiet_s": QUIET_S, "poll_s": POLL_S, **settings}
        self.source = FolderSource(
            FolderSettings(path=self.root, **given),  # type: ignore[arg-type]
            ignored=[self.root / "own"],
            clock=lambda: self.now,
            wall_clock=lambda: self.wall,
            listing=self._list,
            watcher=self.watch,
            find=self.reader.find,
            suffixes=(".scan",),
        )
        self.source.prepare(self._put, self.faults.append, lambda path, size, mtime_ns: path.name in self.known)
        return self.source

    def _list(self, root: Path, recursive: bool) -> Iterator[FoundFile | Unreadable]:
        self.listings += 1
        yield from self.listing(root, recursive)

    def _put(self, arrival: Arrival) -> None:
        self.given.append(arrival)
        self.arrivals.append((arrival.path.name, round(self.now, 6), arrival.partial))

    def write(self, name: str, content: bytes, *, mtime: float | None = None, tell: bool = True) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if mtime is not None:
            os.utime(path, (mtime, mtime))
        if tell:
            self.watch.touched.add(str(path))
        return path

    def run(self, seconds: float) -> None:
        """Let time pass, waking the source when it asked to be."""
        end = self.now + seconds
        while True:
            rest = self.source.step()
            if self.now + rest >= end:
                self.now = end
                while self.source.step() == 0:
                    pass
                return
            self.now += rest

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.arrivals]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    root = tmp_path / "data"
    root.mkdir()
    return Lab(root)


def test_a_complete_file_arrives_when_it_has_been_still_for_the_settling_time(lab):
    lab.open()
    lab.run(10)
    path = lab.write("a.scan", b"dataEND")
    lab.run(5)
    assert lab.arrivals == [("a.scan", 1010 + SETTLE_S, False)]
    arrival = lab.given[0]
    status = path.stat()
    assert (arrival.path, arrival.size, arrival.mtime_ns) == (path, status.st_size, status.st_mtime_ns)
    assert (arrival.origin, arrival.ready_s) == (lab.source.name, pytest.approx(1010 + SETTLE_S))
    assert arrival.path.is_absolute()


def test_a_file_that_is_still_written_is_not_taken(lab):
    lab.open()
    lab.run(10)
    for count in range(1, 6):
        lab.write("a.scan", b"x" * count + b"END")
        lab.run(0.2)
    assert lab.arrivals == []
    lab.run(1)
    assert lab.arrivals == [("a.scan", pytest.approx(1010.8 + SETTLE_S), False)]


def test_a_change_that_no_event_told_of_is_noticed_before_the_file_is_taken(lab):
    lab.open()
    lab.run(10)
    lab.write("a.scan", b"END")
    lab.run(0.2)
    lab.write("a.scan", b"more and END", tell=False)
    lab.run(0.2)
    assert lab.arrivals == []
    lab.run(1)
    assert lab.arrivals == [("a.scan", pytest.approx(1010 + 2 * SETTLE_S), False)]


def test_an_incomplete_file_arrives_as_partial_when_it_was_quiet_and_again_when_it_grew(lab):
    lab.open()
    lab.run(10)
    lab.write("a.scan", b"half")
    lab.run(QUIET_S - 0.1)
    assert lab.arrivals == []
    lab.run(0.2)
    assert lab.arrivals == [("a.scan", 1010 + QUIET_S, True)]
    lab.run(1000)
    assert len(lab.arrivals) == 1
    lab.write("a.scan", b"half and END")
    lab.run(1)
    assert lab.arrivals[1:] == [("a.scan", pytest.approx(lab.now - 1 + SETTLE_S), False)]


def test_a_waiting_file_is_told_of_and_taken_as_soon_as_it_has_what_it_waits_for(lab, caplog):
    caplog.set_level("INFO", logger="spm_live.sources")
    lab.open()
    lab.run(10)
    caplog.clear()
    lab.write("a.scan", b"WAITEND")
    lab.run(4)
    assert caplog.messages == [], "MATRIX lists every scan a moment after it has written it"
    lab.run(296)
    assert caplog.messages == [f"{lab.root / 'a.scan'}: waits: chain is not there"]
    status = lab.source.status()
    assert status.counters["waiting"] == 1
    assert "a.scan: chain is not there" in status.detail
    lab.write("chain", b"NOISE")
    lab.run(1)
    assert lab.arrivals == [("a.scan", pytest.approx(1310 + SETTLE_S, abs=0.01), False)]
    assert lab.source.status().counters["waiting"] == 0


def test_files_that_waited_for_the_same_are_taken_in_the_order_they_were_written(lab):
    lab.open()
    lab.run(10)
    names = [f"{place}.scan" for place in "hbfaigdce"]
    for second, name in enumerate(names):
        lab.write(name, b"WAITEND")
        os.utime(lab.root / name, (lab.wall + second,) * 2)
    lab.run(300)
    lab.write("chain", b"NOISE")
    lab.run(5)
    assert lab.names == names


@pytest.mark.parametrize("include", [("*",), ("*.scan",)])
def test_a_waiting_file_is_taken_even_if_no_event_comes_from_what_it_waits_for(lab, include):
    lab.open(include=include)
    lab.run(10)
    lab.write("a.scan", b"WAITEND")
    lab.run(5)
    lab.write("chain", b"NOISE", tell=False)
    lab.run(2)
    assert lab.names == ["a.scan"]


def test_a_file_that_waits_in_vain_is_given_up_once_with_the_reason(lab):
    lab.open()
    lab.run(10)
    lab.write("a.scan", b"WAITEND")
    lab.run(10 * QUIET_S - 1)
    assert lab.faults == []
    lab.run(2)
    (fault,) = lab.faults
    assert fault.source == str(lab.root / "a.scan")
    assert fault.reason == "given up after 600 s: chain is not there"
    assert fault.when.tzinfo is not None
    asked = len(lab.reader.asked)
    assert asked < 60, "it is asked ever more seldom"
    lab.run(5000)
    assert len(lab.faults) == 1
    assert len(lab.reader.asked) == asked


def test_a_waiting_file_that_is_not_wanted_is_never_a_fault(lab):
    lab.reader.wanted = lambda path, options: False
    lab.open()
    lab.run(1)
    lab.write("a.scan", b"WAITEND")
    lab.run(11 * QUIET_S)
    assert (lab.faults, lab.arrivals) == ([], [])
    assert lab.source.status().counters["unwanted"] == 1


@pytest.mark.parametrize("content", [b"BAD", b"NOISE", b""])
def test_a_broken_file_is_reported_once_for_each_of_its_states_and_only_when_quiet(lab, content):
    lab.open()
    lab.run(10)
    lab.write("a.scan", content)
    lab.run(QUIET_S - 1)
    assert lab.faults == []
    lab.run(1000)
    assert [fault.source for fault in lab.faults] == [str(lab.root / "a.scan")]
    lab.write("a.scan", b"BAD and longer")
    lab.run(1000)
    assert len(lab.faults) == 2


def test_a_file_whose_beginning_comes_late_is_no_fault(lab):
    lab.open()
    lab.run(10)
    lab.write("a.scan", b"")
    lab.run(QUIET_S - 1)
    lab.write("a.scan", b"dataEND")
    lab.run(1000)
    assert (lab.faults, lab.names) == ([], ["a.scan"])


@pytest.mark.parametrize("name", ["notes.txt", "Thumbs.db", "settings.ini", "no_suffix"])
def test_what_no_reader_knows_and_no_suffix_promises_is_ignored_in_silence(lab, name):
    lab.open()
    lab.run(10)
    lab.write(name, b"NOISE")
    lab.run(11 * QUIET_S)
    assert (lab.faults, lab.arrivals) == ([], [])
    assert lab.source.status().counters["ignored"] == 1
    assert lab.reader.asked == [name], "and looked at once"


def test_a_scan_with_a_wrong_suffix_is_taken_for_its_content(lab):
    lab.open()
    lab.run(10)
    lab.write("scan.txt", b"dataEND")
    lab.run(1)
    assert lab.names == ["scan.txt"]


@pytest.mark.parametrize("content", [b"OTHERdataEND", b"OTHER"])
def test_a_file_of_another_channel_is_not_taken(lab, content):
    lab.open()
    lab.run(10)
    lab.write("a.scan", content)
    lab.run(100)
    assert lab.arrivals == []
    assert lab.source.status().counters["unwanted"] == 1


def test_a_bug_in_a_reader_is_a_fault_with_its_traceback_and_the_watch_goes_on(lab):
    lab.open()
    lab.run(10)
    lab.write("a.scan", b"BUG")
    lab.write("b.scan", b"END")
    lab.run(1)
    assert lab.names == ["b.scan"]
    (fault,) = lab.faults
    assert "ZeroDivisionError" in fault.reason
    assert "Traceback" in fault.detail


def test_the_backlog_comes_in_the_order_it_was_written(lab):
    for name, mtime in (("b.scan", 300), ("c.scan", 100), ("sub/a.scan", 200)):
        lab.write(name, b"END", mtime=mtime, tell=False)
    lab.open()
    lab.run(1)
    assert lab.names == ["c.scan", "a.scan", "b.scan"]


def test_what_comes_now_goes_before_the_backlog(lab):
    for number in range(5):
        lab.write(f"old{number}.scan", b"END", mtime=100 + number, tell=False)
    lab.open()
    lab.source.step()
    lab.write("new.scan", b"END")
    lab.source.step()
    lab.now += SETTLE_S + 0.01
    lab.source.step()
    assert lab.names == ["new.scan"]
    lab.run(1)
    assert lab.names == ["new.scan", *(f"old{number}.scan" for number in range(5))]


def test_what_was_dealt_with_in_an_earlier_run_is_skipped_unread(lab):
    lab.write("a.scan", b"END", tell=False)
    lab.write("b.scan", b"END", tell=False)
    lab.known = {"a.scan"}
    lab.open()
    lab.run(200)
    assert lab.names == ["b.scan"]
    assert lab.reader.asked == ["b.scan"]
    assert lab.source.status().counters["skipped"] == 1


def test_without_backlog_only_what_comes_later_is_taken(lab):
    lab.write("old.scan", b"END", tell=False)
    growing = lab.write("growing.scan", b"half", tell=False)
    lab.open(backlog=False)
    lab.run(1000)
    assert lab.arrivals == []
    growing.write_bytes(b"half and END")
    lab.watch.touched.add(str(growing))
    lab.write("new.scan", b"END")
    lab.run(1)
    assert sorted(lab.names) == ["growing.scan", "new.scan"]


def test_without_backlog_a_folder_that_comes_late_gives_what_was_written_since_the_start(lab):
    lab.root.rmdir()
    lab.open(backlog=False)
    lab.run(10)
    lab.write("old.scan", b"END", mtime=lab.wall - 100, tell=False)
    lab.write("new.scan", b"END", mtime=lab.wall + 5, tell=False)
    lab.run(10)
    assert lab.names == ["new.scan"]


def test_a_file_that_gets_its_last_name_when_it_is_finished_arrives_under_it(lab):
    lab.open()
    lab.run(10)
    path = lab.write("a.scan.tmp", b"dataEND")
    lab.run(100)
    assert lab.arrivals == []
    path.rename(lab.root / "a.scan")
    lab.watch.touched |= {str(path), str(lab.root / "a.scan")}
    lab.run(1)
    assert lab.names == ["a.scan"]


def test_a_file_that_is_renamed_before_it_settled_arrives_once(lab):
    lab.open()
    lab.run(10)
    path = lab.write("a.scan", b"END")
    lab.run(0.1)
    path.rename(lab.root / "b.scan")
    lab.watch.touched |= {str(path), str(lab.root / "b.scan")}
    lab.run(100)
    assert lab.names == ["b.scan"]
    assert lab.source.status().counters["open"] == 0


def test_a_file_that_is_replaced_arrives_again(lab):
    lab.open()
    lab.run(10)
    lab.write("a.scan", b"oneEND", mtime=100)
    lab.run(1)
    other = lab.write("b.tmp", b"twoEND", mtime=200)
    other.replace(lab.root / "a.scan")
    lab.watch.touched.add(str(lab.root / "a.scan"))
    lab.run(1)
    assert lab.names == ["a.scan", "a.scan"]


def test_a_file_that_nothing_happened_to_arrives_once_however_often_it_is_told_of(lab):
    lab.open()
    lab.run(10)
    path = lab.write("a.scan", b"END")
    for _ in range(200):
        lab.run(5)
        lab.watch.touched.add(str(path))
    assert lab.names == ["a.scan"]


def test_a_lost_event_is_made_up_for_by_the_next_listing(lab):
    lab.open()
    lab.run(10)
    lab.write("a.scan", b"END", tell=False)
    lab.run(40)
    assert lab.arrivals == []
    lab.run(20)
    assert lab.names == ["a.scan"]


def test_a_new_folder_is_listed_at_once(lab):
    lab.open()
    lab.run(10)
    lab.write("new/deep/a.scan", b"END", tell=False)
    lab.watch.must_list = True
    lab.run(1)
    assert lab.names == ["a.scan"]


def test_polling_looks_every_so_often_and_needs_no_watch(lab):
    lab.open(observer="polling")
    lab.run(10)
    assert lab.watch.opened == []
    lab.write("a.scan", b"END", tell=False)
    lab.run(POLL_S + SETTLE_S + 0.01)
    assert lab.names == ["a.scan"]
    assert lab.listings == 7
    assert "a look every 2 s" in lab.source.status().detail


def test_a_slow_listing_is_given_rest(lab):
    def slow(root: Path, recursive: bool) -> Iterator[FoundFile | Unreadable]:
        lab.now += 10
        yield from list_files(root, recursive)

    lab.listing = slow
    lab.open(observer="polling")
    lab.run(200)
    assert lab.listings <= 5


def test_in_polling_a_file_that_waits_is_asked_when_its_folder_changed(lab):
    lab.open(observer="polling")
    lab.run(10)
    lab.write("a.scan", b"WAITEND")
    lab.run(500)
    lab.write("chain", b"NOISE", tell=False)
    lab.run(POLL_S + 2 * SETTLE_S)
    assert lab.names == ["a.scan"]


def test_a_share_is_polled_without_being_told_and_says_so(lab, monkeypatch):
    monkeypatch.setattr(folder, "share_type", lambda path: "cifs")
    lab.open(observer="auto")
    lab.run(1)
    assert lab.watch.opened == []
    assert "network share (cifs)" in lab.source.status().detail
    lab.open(observer="native")
    lab.run(1)
    assert len(lab.watch.opened) == 1


def test_a_local_folder_is_watched_by_events_without_being_told(lab, monkeypatch):
    monkeypatch.setattr(folder, "share_type", lambda path: None)
    lab.open(observer="auto", recursive=False)
    lab.run(1)
    assert lab.watch.opened == [(lab.root, False)]


def test_a_system_without_events_left_is_polled_and_says_so(lab):
    lab.watch.refusal = OSError(28, "inotify watch limit reached")
    lab.open()
    lab.run(1)
    lab.write("a.scan", b"END", tell=False)
    lab.run(5)
    assert lab.names == ["a.scan"]
    status = lab.source.status()
    assert status.ok
    assert "inotify watch limit reached" in status.detail


def test_a_folder_that_is_not_there_is_waited_for(lab):
    lab.root.rmdir()
    lab.open()
    lab.run(10)
    status = lab.source.status()
    assert not status.ok
    assert f"{lab.root} cannot be reached" in status.detail
    lab.root.mkdir()
    lab.write("a.scan", b"END", tell=False)
    lab.run(POLL_S + SETTLE_S)
    assert lab.names == ["a.scan"]
    assert lab.source.status().ok


def test_a_file_in_place_of_the_folder_is_said_so(lab):
    lab.root.rmdir()
    lab.root.write_text("a file")
    lab.open()
    lab.run(10)
    assert "is not a folder" in lab.source.status().detail


def test_a_folder_that_disappears_and_comes_back_gives_only_what_is_new(lab, tmp_path):
    lab.open()
    lab.run(10)
    lab.write("a.scan", b"END")
    lab.run(10)
    lab.root.rename(tmp_path / "away")
    lab.run(10)
    assert not lab.source.status().ok
    assert lab.watch.closed == 1
    (tmp_path / "away").rename(lab.root)
    lab.write("b.scan", b"END", tell=False)
    lab.run(10)
    assert lab.source.status().ok
    assert len(lab.watch.opened) == 2
    assert lab.names == ["a.scan", "b.scan"]


def test_another_folder_in_its_place_is_watched_anew(lab, tmp_path):
    lab.open()
    lab.run(10)
    lab.root.rename(tmp_path / "away")
    lab.root.mkdir()
    lab.write("b.scan", b"END", tell=False)
    lab.run(POLL_S + SETTLE_S)
    assert len(lab.watch.opened) == 2
    assert lab.names == ["b.scan"]


def test_a_watch_that_died_is_opened_again_and_the_folder_listed(lab):
    lab.open()
    lab.run(10)
    lab.watch.alive = False
    lab.write("b.scan", b"END", tell=False)
    lab.run(POLL_S + SETTLE_S)
    assert len(lab.watch.opened) == 2
    assert lab.names == ["b.scan"]


def test_a_sub_folder_that_cannot_be_read_for_a_while_loses_nothing_and_repeats_nothing(lab):
    lab.write("sub/a.scan", b"END", tell=False)
    lab.open(observer="polling")
    lab.run(10)
    lab.listing = lambda root, recursive: iter([Unreadable(str(root / "sub"), "Permission denied")])
    lab.run(10)
    assert "sub: Permission denied" in lab.source.status().detail
    lab.listing = list_files
    lab.run(10)
    assert lab.names == ["a.scan"]


def test_only_what_the_patterns_name_is_looked_at(lab):
    lab.open(include=["*.SCAN"], exclude=["test*"])
    names = [
        "a.scan",
        "test.scan",
        "a.txt",
        ".hidden.scan",
        ".git/a.scan",
        "own/b.scan",
        "c.scan.part",
        "x.sqlite3-wal",
    ]
    for name in names:
        lab.write(name, b"END", tell=False)
    lab.run(1)
    for name in names:
        lab.watch.touched.add(str(lab.root / name))
    lab.run(1)
    assert lab.reader.asked == ["a.scan"]


def test_without_sub_folders_they_are_left_alone(lab):
    lab.write("sub/a.scan", b"END", tell=False)
    lab.open(recursive=False)
    lab.run(100)
    assert lab.arrivals == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_never_opened(lab):
    os.mkfifo(lab.root / "a.scan")
    lab.watch.touched.add(str(lab.root / "a.scan"))
    lab.open()
    lab.run(100)
    assert lab.reader.asked == []


def test_a_long_listing_does_not_hold_up_a_file_that_is_finished(lab):
    seen = []

    def many(root: Path, recursive: bool) -> Iterator[FoundFile | Unreadable]:
        for number in range(20 * ENTRIES_A_STEP):
            if number == ENTRIES_A_STEP:
                lab.write("a.scan", b"END")
            if number % ENTRIES_A_STEP == 0:
                lab.now += 0.2
                seen.append(len(lab.arrivals))
            yield FoundFile(str(root / f"none{number}.txt"), 1, 1)

    lab.open()
    lab.run(10)
    lab.listing = many
    lab.known = {f"none{number}.txt" for number in range(20 * ENTRIES_A_STEP)}
    lab.run(70)
    assert seen[1] == 0
    assert seen[8] == 1


def test_a_file_finished_while_a_listing_runs_is_not_forgotten_by_it(lab):
    lab.open()
    lab.run(10)

    def empty(root: Path, recursive: bool) -> Iterator[FoundFile | Unreadable]:
        """The walk has passed the file's folder before the file came."""
        lab.write("a.scan", b"END")
        for number in range(4 * ENTRIES_A_STEP):
            lab.now += 0.001
            yield FoundFile(str(root / f"none{number}.txt"), 1, 1)

    lab.listing = empty
    lab.known = {f"none{number}.txt" for number in range(4 * ENTRIES_A_STEP)}
    lab.run(55)
    assert lab.names == ["a.scan"]
    lab.listing = list_files
    lab.run(200)
    assert lab.names == ["a.scan"]


def test_files_that_are_gone_are_forgotten(lab):
    lab.open(observer="polling")
    for number in range(50):
        lab.write(f"{number}.scan", b"END")
    lab.run(10)
    assert len(lab.source._candidates._done) == 50
    shutil.rmtree(lab.root)
    lab.root.mkdir()
    lab.run(10)
    assert lab.source._candidates._done == {}


def test_memory_stays_flat_in_a_large_folder(lab):
    count = 3_000

    def held() -> int:
        """What the sources hold: other tests may have left threads and garbage that come and go meanwhile."""
        gc.collect()
        mine = tracemalloc.take_snapshot().filter_traces(
            [tracemalloc.Filter(True, str(Path("*", "spm_live", "sources", "*")))]
        )
        return sum(trace.size for trace in mine.traces)

    def many(root: Path, recursive: bool) -> Iterator[FoundFile | Unreadable]:
        return (
            FoundFile(f"{root}/a_rather_long_name_of_a_scan_{number}.scan", number, number) for number in range(count)
        )

    lab.listing = many
    lab.open(observer="polling", backlog=False)
    tracemalloc.start()
    try:
        lab.run(3)
        after_one = held()
        lab.run(20)
        after_many = held()
    finally:
        tracemalloc.stop()
    assert lab.listings > 5
    assert 20 < after_one / count < 200, "bytes a file"
    assert after_many < 1.05 * after_one


def test_a_file_that_grows_for_hours_costs_no_memory(lab):
    lab.open()
    lab.run(10)
    path = lab.write("a.scan", b"x")
    for _ in range(2000):
        with path.open("ab") as file:
            file.write(b"x")
        lab.watch.touched.add(str(path))
        lab.run(1)
    agenda = lab.source._candidates._agenda
    assert len(agenda._live) < 200
    assert lab.arrivals == []


def test_a_daemon_that_stops_ends_the_thread(lab):
    lab.write("a.scan", b"END", tell=False)
    stopped = threading.Event()

    def put(arrival: Arrival) -> None:
        stopped.set()
        raise StoppedError

    source = FolderSource(
        FolderSettings(path=lab.root, observer="polling", settle_s=0), find=lab.reader.find, suffixes=(".scan",)
    )
    source.start(put, lab.faults.append, lambda *_: False)
    assert stopped.wait(10)
    source.stop()
    assert not source.status().ok
    assert lab.faults == []


def test_a_full_queue_holds_the_source_up_and_is_no_trouble_of_the_folder(lab):
    lab.write("a.scan", b"END", tell=False)
    arrived, go_on = threading.Event(), threading.Event()

    def put(arrival: Arrival) -> None:
        arrived.set()
        go_on.wait(10)

    source = FolderSource(
        FolderSettings(path=lab.root, observer="polling", settle_s=0),
        clock=lambda: lab.now,
        find=lab.reader.find,
        suffixes=(".scan",),
    )
    source.start(put, lab.faults.append, lambda *_: False)
    assert arrived.wait(10)
    lab.now += 3600
    assert source.status().ok
    go_on.set()
    source.stop()


def test_a_folder_that_does_not_answer_is_said_so(lab):
    asked, go_on = threading.Event(), threading.Event()

    def dead(root: Path, recursive: bool) -> Iterator[FoundFile | Unreadable]:
        asked.set()
        go_on.wait(10)
        yield from ()

    source = FolderSource(
        FolderSettings(path=lab.root, observer="polling"), clock=lambda: lab.now, listing=dead, suffixes=(".scan",)
    )
    source.start(lab._put, lab.faults.append, lambda *_: False)
    assert asked.wait(10)
    assert source.status().ok
    lab.now += 100
    status = source.status()
    assert not status.ok
    assert "has not answered for 100 s" in status.detail
    go_on.set()
    source.stop()


def test_a_source_that_was_not_started_says_so(lab):
    source = FolderSource(FolderSettings(path=lab.root))
    assert not source.status().ok
    with pytest.raises(RuntimeError):
        source.step()
