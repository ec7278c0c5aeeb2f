"""The daemon's life, with work that does as it is told and a source that yields what it is given."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from spm_live.daemon import handling, life
from spm_live.daemon.life import Daemon
from spm_live.daemon.worker import MakeWork
from spm_live.domain import DaemonState, ReadOptions, SourceStatus
from spm_live.errors import SetupError
from spm_live.publish.feed import Feed
from spm_live.publish.metrics import Metrics
from spm_live.publish.store import Store, StoreFullError
from spm_live.settings import Settings, settings_from
from spm_live.sources import Arrival, Known, Put, Report, StoppedError


class ListSource:
    """Yields files from a thread, as a folder would; each state of a file once, and none that is known."""

    def __init__(self, paths: list[Path]) -> None:
        self.name = "list"
        self._paths = paths
        self._thread: threading.Thread | None = None

    def start(self, put: Put, report: Report, known: Known) -> None:
        def run() -> None:
            for path in self._paths:
                stat = path.stat()
                if known(path, stat.st_size, stat.st_mtime_ns):
                    continue
                ready_s = time.monotonic()
                try:
                    put(Arrival(path, stat.st_size, stat.st_mtime_ns, ReadOptions(), self.name, ready_s=ready_s))
                except StoppedError:
                    return

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._thread.join(5)

    def status(self) -> SourceStatus:
        return SourceStatus(self.name, True, "yields a list")


class Lab:
    """A folder, a store and a daemon over them."""

    def __init__(self, place: Path, make_work: MakeWork) -> None:
        self.place = place
        self.make_work = make_work
        self.store = Store(place / "store.sqlite3")
        self.feed = Feed()
        self.settings: Settings = settings_from(
            {"folders": [{"path": place}], "model": {"name": "fake"}, "daemon": {"queue_size": 2}}
        )

    def write(self, *texts: str) -> list[Path]:
        paths = []
        for number, text in enumerate(texts):
            path = self.place / f"{number:03d}.scan"
            path.write_text(f"{text} {number}" if text != "same" else "ok same")
            paths.append(path)
        return paths

    def daemon(self, paths: list[Path], load: Callable[[], Settings] | None = None) -> Daemon:
        return Daemon(
            self.settings,
            store=self.store,
            feed=self.feed,
            metrics=Metrics(),
            make_sources=lambda _settings: [ListSource(paths)],
            load=load,
            make_work=self.make_work,
        )


@pytest.fixture
def lab(tmp_path: Path, make_work: MakeWork) -> Iterator[Lab]:
    lab = Lab(tmp_path, make_work)
    yield lab
    lab.store.close()


def run_until(daemon: Daemon, done: Callable[[], bool]) -> None:
    """Run a daemon in a thread until something holds, then stop it."""
    thread = threading.Thread(target=daemon.run)
    thread.start()
    deadline = time.monotonic() + 60
    try:
        pause = threading.Event()
        while not done():
            assert thread.is_alive(), "the daemon ended by itself"
            assert time.monotonic() < deadline, daemon.status()
            pause.wait(0.02)
    finally:
        daemon.stop()
        thread.join(30)
    assert not thread.is_alive()


def counted(daemon: Daemon, **expected: int) -> Callable[[], bool]:
    return lambda: all(daemon.status().counters[name] >= number for name, number in expected.items())


def test_every_file_gets_one_map_also_more_than_the_queue_holds(lab: Lab) -> None:
    daemon = lab.daemon(lab.write(*["ok"] * 7))
    with lab.feed.subscribe(100) as heard:
        run_until(daemon, counted(daemon, frames=7))
        messages = [message for message in iter(lambda: heard.get(0), None) if message["type"] == "frame"]
    assert [message["id"] for message in messages] == [1, 2, 3, 4, 5, 6, 7]
    assert lab.store.totals()["frames"] == 7
    assert daemon.status().state is DaemonState.STOPPED
    assert daemon.status().lag_s is not None


def test_what_was_done_before_is_not_done_again_after_a_restart(lab: Lab) -> None:
    paths = lab.write(*["ok"] * 3)
    daemon = lab.daemon(paths)
    run_until(daemon, counted(daemon, frames=3))
    paths += [lab.place / "new.scan"]
    paths[-1].write_text("ok new")
    again = lab.daemon(paths)
    run_until(again, counted(again, frames=1))
    assert again.status().counters["duplicates"] == 0
    assert lab.store.totals()["frames"] == 4


def test_the_same_content_twice_is_one_frame(lab: Lab) -> None:
    daemon = lab.daemon(lab.write("same", "same", "ok"))
    run_until(daemon, counted(daemon, frames=2, duplicates=1))
    assert lab.store.totals()["frames"] == 2


def test_a_bad_frame_is_a_fault_and_stops_nothing(lab: Lab) -> None:
    daemon = lab.daemon(lab.write("ok", "fault", "ok"))
    run_until(daemon, counted(daemon, frames=2, faults=1))
    (fault,) = lab.store.faults(10)
    assert (fault["stage"], fault["reason"]) == ("read", "the header says so")
    assert fault["source"].endswith("001.scan")


def test_a_fault_is_not_told_again_after_a_restart(lab: Lab) -> None:
    paths = lab.write("fault")
    daemon = lab.daemon(paths)
    run_until(daemon, counted(daemon, faults=1))
    (lab.place / "new.scan").write_text("ok")
    again = lab.daemon([*paths, lab.place / "new.scan"])
    run_until(again, counted(again, frames=1))
    assert len(lab.store.faults(10)) == 1


@pytest.mark.parametrize("how", ["crash", "bug"])
def test_a_frame_that_crashes_the_worker_is_set_aside_after_its_second_try(lab: Lab, how: str) -> None:
    daemon = lab.daemon(lab.write(how, "ok"))
    run_until(daemon, counted(daemon, frames=1, quarantined=1))
    (fault,) = lab.store.faults(10)
    assert fault["stage"] == "worker"
    assert "2 times" in fault["reason"]
    assert ("ZeroDivisionError" in fault["detail"]) == (how == "bug")


def test_a_set_aside_frame_is_tried_again_when_asked_for(lab: Lab) -> None:
    paths = lab.write("crash")
    daemon = lab.daemon(paths)
    run_until(daemon, counted(daemon, quarantined=1))
    assert lab.store.retry(str(paths[0])) > 0
    again = lab.daemon(paths)
    run_until(again, counted(again, quarantined=1))
    assert again.status().counters["worker_restarts"] == 2


def test_a_frame_that_hangs_is_set_aside(lab: Lab) -> None:
    lab.settings = lab.settings.model_copy(
        update={"daemon": lab.settings.daemon.model_copy(update={"frame_timeout_s": 0.3})}
    )
    daemon = lab.daemon(lab.write("hang", "ok"))
    run_until(daemon, counted(daemon, frames=1, quarantined=1))
    assert "took longer than 0.3 s" in lab.store.faults(1)[0]["reason"]


def test_a_full_disk_keeps_the_frame_and_goes_on_when_there_is_room(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handling, "DISK_RETRY_S", 0.02)
    save, room, states = lab.store.save, threading.Event(), []

    def save_where_there_is_room(*arguments: object, **named: object) -> object:
        if not room.is_set():
            raise StoreFullError("0 MB are free")
        return save(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(lab.store, "save", save_where_there_is_room)
    daemon = lab.daemon(lab.write("ok", "ok"))

    def seen_waiting_then_done() -> bool:
        states.append(daemon.status().state)
        if DaemonState.WAITING in states:
            room.set()
        return daemon.status().counters["frames"] == 2

    run_until(daemon, seen_waiting_then_done)
    assert DaemonState.WAITING in states
    assert lab.store.totals()["frames"] == 2


def test_stopping_with_a_full_disk_leaves_the_frame_for_the_next_start(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_arguments: object, **_named: object) -> object:
        raise StoreFullError("0 MB are free")

    paths = lab.write("ok")
    with monkeypatch.context() as patch:
        patch.setattr(lab.store, "save", no_room)
        daemon = lab.daemon(paths)
        run_until(daemon, lambda: daemon.status().state is DaemonState.WAITING)
    again = lab.daemon(paths)
    run_until(again, counted(again, frames=1))


def test_a_file_that_is_not_ready_does_not_hold_up_the_others(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "NOT_READY_RETRY_S", 0.05)
    paths = lab.write("wait", "ok", "ok")
    daemon = lab.daemon(paths)

    def written_late() -> bool:
        if daemon.status().counters["frames"] == 2:
            paths[0].with_suffix(".chain").touch()
        return daemon.status().counters["frames"] == 3

    run_until(daemon, written_late)
    assert lab.store.faults(10) == []


def test_a_file_that_never_gets_ready_is_a_fault_with_its_reason(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "NOT_READY_RETRY_S", 0.01)
    monkeypatch.setattr(life, "NOT_READY_TRIES", 3)
    daemon = lab.daemon(lab.write("wait"))
    run_until(daemon, counted(daemon, faults=1))
    assert lab.store.faults(1)[0]["reason"] == "the chain does not list it yet"


def test_stopping_does_not_wait_for_a_frame_that_hangs_and_holds_nothing_against_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handling, "STOP_GRACE_S", 0.2)
    paths = lab.write("hang")
    daemon = lab.daemon(paths)
    run_until(daemon, lambda: daemon.status().in_hand != "")
    assert lab.store.faults(10) == []
    paths[0].write_text("ok")
    again = lab.daemon(paths)
    run_until(again, counted(again, frames=1))


def test_a_reload_takes_up_the_new_model(lab: Lab) -> None:
    new = lab.settings.model_copy(update={"model": lab.settings.model.model_copy(update={"name": "newer"})})
    daemon = lab.daemon(lab.write("ok"), load=lambda: new)
    answers: list[list[str]] = []

    def reloaded() -> bool:
        if not answers:
            answers.append(daemon.reload())
        return daemon.status().counters["frames"] == 1

    run_until(daemon, reloaded)
    assert answers == [["model newer is in use"]]
    assert daemon.status().model is not None
    assert daemon.status().model.name == "newer"


def test_a_reload_with_a_mistake_changes_nothing(lab: Lab) -> None:
    broken = lab.settings.model_copy(update={"model": lab.settings.model.model_copy(update={"name": "broken"})})
    daemon = lab.daemon(lab.write("ok"), load=lambda: broken)
    problems: list[str] = []

    def refused() -> bool:
        if not problems:
            with pytest.raises(SetupError) as caught:
                daemon.reload()
            problems.extend(caught.value.problems)
        return daemon.status().counters["frames"] == 1

    run_until(daemon, refused)
    assert len(problems) == 2
    assert daemon.status().model is not None
    assert daemon.status().model.name == "fake"


class Inbox(ListSource):
    """Yields files that are its own."""

    def start(self, put: Put, report: Report, known: Known) -> None:
        super().start(lambda arrival: put(replace(arrival, delete_when_done=True)), report, known)


def test_a_received_frame_is_removed_once_it_is_stored_and_set_aside_if_it_cannot_be_used(lab: Lab) -> None:
    inbox = lab.place / "inbox"
    inbox.mkdir()
    good, bad = inbox / "good.spmframe", inbox / "bad.spmframe"
    good.write_text("ok")
    bad.write_text("fault")
    daemon = Daemon(
        lab.settings,
        store=lab.store,
        feed=lab.feed,
        metrics=Metrics(),
        make_sources=lambda _settings: [Inbox([good, bad, good])],
        make_work=lab.make_work,
    )
    run_until(daemon, lambda: counted(daemon, frames=1, faults=1)() and not list(inbox.iterdir()))
    assert lab.store.totals()["frames"] == 1
    assert [path.name for path in (lab.place / "set-aside").iterdir()] == ["bad.spmframe"]


def test_a_reload_does_not_wait_for_a_source_that_waits_for_the_queue(lab: Lab) -> None:
    paths = lab.write(*["ok"] * 12)
    folders = lab.settings.model_copy(
        update={"folders": (lab.settings.folders[0].model_copy(update={"quiet_s": 7.0}),)}
    )
    daemon = lab.daemon(paths, load=lambda: folders)
    asked = daemon.ask_reload()
    run_until(daemon, counted(daemon, frames=12))
    assert asked.result(0) == ["1 source(s) are watched"]
    assert lab.store.totals()["frames"] == 12
