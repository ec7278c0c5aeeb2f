"""The folder source with the system's own events, in its own thread."""

from __future__ import annotations

import queue
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from spm_live.settings import FolderSettings
from spm_live.sources import Arrival
from spm_live.sources.folder import FolderSource
from spm_live.sources.watching import MAX_TOUCHED, NativeWatch
from spm_live_drivers.contract import FileState, FileStatus, ReadOptions

PATIENCE_S = 20.0


class EndReader:
    """Complete when it ends in ``END``."""

    name, title, suffixes = "end", "End", (".scan",)

    def accepts(self, path: Path, head: bytes) -> bool:
        return True

    def wanted(self, path: Path, options: ReadOptions) -> bool:
        return True

    def state(self, path: Path) -> FileState:
        return FileState(FileStatus.COMPLETE if path.read_bytes().endswith(b"END") else FileStatus.INCOMPLETE)


Arrivals = queue.Queue[Arrival]


@pytest.fixture(params=["native", "polling"])
def watched(request, tmp_path) -> Iterator[tuple[Path, Arrivals]]:
    """A folder being watched, and what arrives from it."""
    root = tmp_path / "data"
    root.mkdir()
    # No second listing within a test of the events: what arrives, arrived by them.
    poll_s = 0.05 if request.param == "polling" else 0.5
    settings = FolderSettings(path=root, observer=request.param, settle_s=0.02, poll_s=poll_s)
    source = FolderSource(settings, find=lambda path: EndReader(), suffixes=(".scan",))
    arrivals: Arrivals = queue.Queue()
    source.start(arrivals.put, lambda fault: pytest.fail(fault.reason), lambda *_: False)
    try:
        (root / "first.scan").write_bytes(b"END")
        assert arrivals.get(timeout=PATIENCE_S).path.name == "first.scan"
        yield root, arrivals
    finally:
        source.stop()


def test_a_file_written_in_pieces_arrives_once(watched):
    root, arrivals = watched
    with (root / "a.scan").open("wb") as file:
        for _ in range(20):
            file.write(b"x" * 1000)
            file.flush()
        file.write(b"END")
    arrival = arrivals.get(timeout=PATIENCE_S)
    assert (arrival.path, arrival.size) == (root / "a.scan", 20_003)
    (root / "last.scan").write_bytes(b"END")
    assert arrivals.get(timeout=PATIENCE_S).path.name == "last.scan"


def test_a_file_in_a_new_folder_arrives(watched):
    root, arrivals = watched
    (root / "2026" / "11").mkdir(parents=True)
    (root / "2026" / "11" / "a.scan").write_bytes(b"END")
    assert arrivals.get(timeout=PATIENCE_S).path == root / "2026" / "11" / "a.scan"


def test_a_folder_moved_in_brings_its_files(watched, tmp_path):
    root, arrivals = watched
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.scan").write_bytes(b"END")
    (tmp_path / "elsewhere").rename(root / "moved")
    assert arrivals.get(timeout=PATIENCE_S).path == root / "moved" / "a.scan"


def test_a_file_renamed_to_its_last_name_arrives_under_it(watched):
    root, arrivals = watched
    (root / "a.scan.tmp").write_bytes(b"END")
    (root / "a.scan.tmp").rename(root / "a.scan")
    assert arrivals.get(timeout=PATIENCE_S).path.name == "a.scan"


def test_a_folder_that_went_and_came_back_is_watched_again(watched):
    root, arrivals = watched
    shutil.rmtree(root)
    root.mkdir()
    (root / "b.scan").write_bytes(b"END")
    assert arrivals.get(timeout=PATIENCE_S).path.name == "b.scan"


def test_a_link_to_the_folder_is_watched_and_names_stay_as_given(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    settings = FolderSettings(path=tmp_path / "link", observer="native", settle_s=0.02)
    source = FolderSource(settings, find=lambda path: EndReader(), suffixes=(".scan",))
    arrivals: Arrivals = queue.Queue()
    source.start(arrivals.put, lambda fault: pytest.fail(fault.reason), lambda *_: False)
    try:
        (tmp_path / "real" / "first.scan").write_bytes(b"END")
        arrivals.get(timeout=PATIENCE_S)
        (tmp_path / "real" / "a.scan").write_bytes(b"END")
        assert arrivals.get(timeout=PATIENCE_S).path == tmp_path / "link" / "a.scan"
    finally:
        source.stop()


def test_too_many_events_are_forgotten_and_the_folder_listed_instead(tmp_path):
    from watchdog.events import FileModifiedEvent

    watch = NativeWatch(tmp_path, True, lambda: None)
    try:
        for number in range(MAX_TOUCHED + 5):
            watch.on_any_event(FileModifiedEvent(str(tmp_path / str(number))))
        touched, must_list = watch.take()
        assert must_list
        assert len(touched) < MAX_TOUCHED
        assert watch.take() == (set(), False)
    finally:
        watch.close()


def test_a_watch_whose_thread_ended_says_so(tmp_path):
    watch = NativeWatch(tmp_path, True, lambda: None)
    assert watch.is_alive()
    watch.close()
    assert not watch.is_alive()


def test_a_folder_that_is_not_there_cannot_be_watched_and_leaves_no_thread(tmp_path):
    with pytest.raises(OSError):
        NativeWatch(tmp_path / "none", True, lambda: None)
