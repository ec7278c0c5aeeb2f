"""Scans in progress over the socket: told on at once, answered, and never in the way of frames, nor frames of them."""

from __future__ import annotations

import errno
import json
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq

from spm_live.domain import Fault, Frame, FrameInfo, FrameRef, ScanGeometry, Trace
from spm_live.settings import ZeroMQSettings
from spm_live.sources import Arrival
from spm_live.sources import zeromq as zeromq_source
from spm_live.sources.inbox import Inbox
from spm_live.sources.zeromq import ZeroMQSource
from spm_live_drivers.growing import GrowingEvent, GrowingFrame, ScanEnd, ScanLines, ScanOutcome, ScanStart
from spm_live_drivers.wire import encode_frame
from spm_live_drivers.wire_growing import encode_event
from spm_live_drivers.wire_receipt import Receipt, Result, decode_receipt

ANYWHERE = "tcp://127.0.0.1:*"
WAIT_S = 20


def start(scan: str = "1") -> ScanStart:
    return ScanStart(scan, FrameInfo(FrameRef("stm/1", "", "Z", Trace.FORWARD), ScanGeometry(6, 4, (4.0, 6.0)), "m"))


def lines(first: int = 0, count: int = 1, scan: str = "1", value: float = 1.0) -> ScanLines:
    return ScanLines(scan, first, np.full((count, 4), value, dtype=np.float32))


def end(scan: str = "1") -> ScanEnd:
    return ScanEnd(scan, ScanOutcome.FINISHED, "D:/1.sxm")


def sha(number: int) -> str:
    return f"{number:064x}"


class Told:
    """Messages of one sender, numbered as they are sent."""

    def __init__(self, sender: str = "stm", session: str = "one") -> None:
        self.sender, self.session, self.sequence = sender, session, -1

    def __call__(self, event: GrowingEvent) -> list[bytes]:
        self.sequence += 1
        return encode_event(event, sender=self.sender, session=self.session, sequence=self.sequence)

    def frame(self, number: int) -> list[bytes]:
        self.sequence += 1
        info = FrameInfo(
            FrameRef(f"D:/{number}.sxm", sha(number), "Z", Trace.FORWARD),
            ScanGeometry(2, 3, (6.0, 4.0)),
            "m",
            complete_rows=2,
        )
        data = np.full((2, 3), number, dtype=np.float32)
        return encode_frame(Frame(info, data), sender=self.sender, session=self.session, sequence=self.sequence)


class Daemon:
    """Takes what a source hands over and tells, as the daemon does."""

    def __init__(self) -> None:
        self.arrivals: queue.Queue[Arrival] = queue.Queue()
        self.faults: queue.Queue[Fault] = queue.Queue()
        self.told: queue.Queue[tuple[str, str, GrowingEvent]] = queue.Queue()
        self.scans: dict[tuple[str, str], GrowingFrame] = {}

    def known(self, path: Path, size: int, mtime_ns: int) -> bool:
        return False

    def tell(self, source: str, sender: str, event: GrowingEvent) -> bool:
        if isinstance(event, ScanStart):
            self.scans[sender, event.scan] = GrowingFrame(event)
        elif (sender, event.scan) not in self.scans:
            return False
        elif isinstance(event, ScanLines):
            self.scans[sender, event.scan].add(event)
        self.told.put((source, sender, event))
        return True

    def next(self) -> GrowingEvent:
        return self.told.get(timeout=WAIT_S)[2]

    def fault(self) -> str:
        return self.faults.get(timeout=WAIT_S).reason


@contextmanager
def running(
    mode: str, inbox: Path | Inbox, daemon: Daemon, *, live: bool = True, retry_s: float = 0.01
) -> Iterator[tuple[ZeroMQSource, zmq.Socket[bytes]]]:
    """A source and a socket that is connected to it."""
    source = ZeroMQSource(
        ZeroMQSettings(mode=mode, endpoint=ANYWHERE),  # type: ignore[arg-type]
        inbox,
        retry_s=retry_s,
        tell=daemon.tell if live else None,
    )
    source.start(daemon.arrivals.put, daemon.faults.put, daemon.known)
    kind = {"agent": zmq.DEALER, "pull": zmq.PUSH, "sub": zmq.PUB}[mode]
    with zmq.Context() as context, context.socket(kind) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, WAIT_S * 1000)
        socket.connect(source.endpoint)
        try:
            yield source, socket
        finally:
            source.stop()


def ask(socket: zmq.Socket[bytes], parts: Sequence[bytes]) -> Receipt:
    socket.send_multipart(parts)
    return decode_receipt(socket.recv_multipart())


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that a thread does."""
    waiting = threading.Event()
    for _ in range(WAIT_S * 100):
        if condition():
            return
        waiting.wait(0.01)
    raise AssertionError("waited in vain")


def counters(source: ZeroMQSource, *names: str) -> list[int]:
    found = source.status().counters
    return [found[name] for name in names]


def test_events_are_told_on_and_answered_and_written_nowhere(tmp_path: Path) -> None:
    daemon, told = Daemon(), Told()
    with running("agent", tmp_path, daemon) as (source, socket):
        for number, event in enumerate([start(), lines(0, 2), lines(2, 4), end()]):
            assert ask(socket, told(event)) == Receipt("one", number, Result.KEPT)
            origin, sender, heard = daemon.told.get(timeout=WAIT_S)
            assert (origin, sender, type(heard)) == (source.name, "stm", type(event))
        assert counters(source, "live", "live_unknown", "live_refused", "malformed", "gaps") == [4, 0, 0, 0, 0]
    assert daemon.scans["stm", "1"].complete
    assert not list(tmp_path.iterdir())


def test_a_frame_and_the_next_scan_share_a_sender_and_a_socket(tmp_path: Path) -> None:
    daemon, told = Daemon(), Told()
    with running("agent", tmp_path, daemon) as (source, socket):
        for parts in (told(start()), told(lines(0, 6)), told(end()), told.frame(1), told(start("2"))):
            assert ask(socket, parts).result is Result.KEPT
        assert daemon.arrivals.get(timeout=WAIT_S).path.stem == sha(1)
        assert counters(source, "arrived", "live", "gaps") == [1, 4, 0]


def test_an_agent_is_told_that_its_scan_is_not_known(tmp_path: Path) -> None:
    daemon, told = Daemon(), Told()
    with running("agent", tmp_path, daemon) as (source, socket):
        for event in (lines(3), end()):
            receipt = ask(socket, told(event))
            assert receipt.result is Result.UNKNOWN
            assert "send its start and all of its lines" in receipt.reason
        assert counters(source, "live", "live_unknown") == [2, 2]
    assert daemon.faults.empty()
    assert daemon.told.empty()


@pytest.mark.parametrize("mode", ["agent", "pull"])
def test_what_contradicts_is_a_fault(tmp_path: Path, mode: str) -> None:
    daemon, told = Daemon(), Told()
    with running(mode, tmp_path, daemon) as (source, socket):
        for event in (start(), lines(0, 3), lines(0, value=2.0), lines(3), start("2"), lines(0, scan="2")):
            socket.send_multipart(told(event))
        assert "with other values" in daemon.fault()
        assert "which is over" in daemon.fault()
        heard = [daemon.next() for _ in range(5)]
        assert [type(event) for event in heard] == [ScanStart, ScanLines, ScanEnd, ScanStart, ScanLines]
        assert heard[2] == ScanEnd("1", ScanOutcome.LOST)
        until(lambda: counters(source, "live") == [6])
        assert counters(source, "live_refused") == [2]
        assert source.status().ok
        if mode == "agent":
            results = [decode_receipt(socket.recv_multipart()).result for _ in range(6)]
            assert [result is Result.REFUSED for result in results] == [False, False, True, True, False, False]
    assert daemon.scans["stm", "1"].lines_done == 3


@pytest.mark.parametrize("mode", ["agent", "pull"])
def test_two_instruments_of_one_name_are_a_fault(tmp_path: Path, mode: str) -> None:
    daemon, left, right = Daemon(), Told(session="left"), Told(session="right")
    with running(mode, tmp_path, daemon) as (_, socket):
        for parts in (left(start()), left(lines()), right(start()), left(lines(1)), right(lines(0, value=2.0))):
            socket.send_multipart(parts)
        assert daemon.fault() == "two senders call themselves 'stm': give each of them a name of its own"
        until(lambda: daemon.told.qsize() == 4)
    assert daemon.scans["stm", "1"].lines_done == 1
    assert daemon.scans["stm", "1 (2)"].frame().data[0, 0] == 2


def heard_by(source: ZeroMQSource, socket: zmq.Socket[bytes], told: Told) -> bool:
    """Publish once more: a subscription takes a moment to reach the publisher."""
    socket.send_multipart(told(lines(0)))
    return counters(source, "live") != [0]


@pytest.mark.parametrize("mode", ["pull", "sub"])
def test_without_receipts_an_unknown_scan_is_passed_over_until_it_begins(tmp_path: Path, mode: str) -> None:
    daemon, told = Daemon(), Told()
    with running(mode, tmp_path, daemon) as (source, socket):
        if mode == "sub":
            until(lambda: heard_by(source, socket, told))
        before = counters(source, "live_unknown")[0]
        for event in (lines(1), end(), start("2"), lines(0, 2, "2")):
            socket.send_multipart(told(event))
        assert [type(daemon.next()) for _ in range(2)] == [ScanStart, ScanLines]
        assert "'1' is not known here" in daemon.fault()
        assert counters(source, "live_unknown")[0] >= before + 2
        assert daemon.faults.empty()
        assert source.status().ok


BROKEN = {
    "lines without their pixels": lambda parts: [*parts[:2], b""],
    "lines with a wrong checksum": lambda parts: [*parts[:2], bytes(len(parts[2]) - 4) + b"\x01\0\0\0"],
    "lines without a session": lambda parts: [parts[0], parts[1].replace(b'"session"', b'"season"'), parts[2]],
    "lines of two billion columns": lambda parts: [
        parts[0],
        json.dumps({**json.loads(parts[1]), "columns": 2**31}).encode(),
        parts[2],
    ],
}


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("mode", ["agent", "pull"])
def test_a_malformed_event_is_counted_and_reported_and_the_scan_goes_on(
    tmp_path: Path, mode: str, damage: Callable[[list[bytes]], list[bytes]]
) -> None:
    daemon, told = Daemon(), Told()
    with running(mode, tmp_path, daemon) as (source, socket):
        socket.send_multipart(told(start()))
        socket.send_multipart(damage(told(lines(0))))
        socket.send_multipart(told(lines(1)))
        assert [type(daemon.next()) for _ in range(2)] == [ScanStart, ScanLines]
        assert daemon.fault()
        assert counters(source, "malformed", "live") == [1, 2]
        if mode == "agent":
            assert [decode_receipt(socket.recv_multipart()).result for _ in range(3)] == [
                Result.KEPT,
                Result.REFUSED,
                Result.KEPT,
            ]


@pytest.mark.parametrize("mode", ["agent", "pull"])
def test_where_scans_in_progress_are_not_wanted_they_are_counted_and_passed_over(tmp_path: Path, mode: str) -> None:
    daemon, told = Daemon(), Told()
    with running(mode, tmp_path, daemon, live=False) as (source, socket):
        for event in (lines(5), start(), lines(0), end()):
            socket.send_multipart(told(event))
        socket.send_multipart(told.frame(1))
        assert daemon.arrivals.get(timeout=WAIT_S).path.stem == sha(1)
        assert counters(source, "live", "live_unknown", "live_refused", "gaps") == [4, 0, 0, 0]
        if mode == "agent":
            assert {decode_receipt(socket.recv_multipart()).result for _ in range(5)} == {Result.KEPT}
    assert daemon.faults.empty()


def test_lost_lines_are_counted(tmp_path: Path) -> None:
    daemon, told = Daemon(), Told()
    with running("pull", tmp_path, daemon) as (source, socket):
        socket.send_multipart(told(start()))
        told.sequence += 3
        socket.send_multipart(told(lines(3)))
        assert [type(daemon.next()) for _ in range(2)] == [ScanStart, ScanLines]
        assert counters(source, "gaps", "missed") == [1, 3]
    assert daemon.scans["stm", "1"].lines_missing == 3


class FullDisk(Inbox):
    """An inbox whose disk is full until it is not."""

    full = True

    def keep(self, sha256: str, parts: Sequence[bytes]) -> Path | None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().keep(sha256, parts)


@pytest.mark.parametrize("mode", ["agent", "pull"])
@pytest.mark.parametrize("trouble", ["full disk", "full inbox"])
def test_a_scan_is_followed_whatever_the_disk_does(tmp_path: Path, mode: str, trouble: str) -> None:
    daemon, told, files = Daemon(), Told(session="scan"), Told(session="files")
    inbox = FullDisk(tmp_path) if trouble == "full disk" else Inbox(tmp_path, limit=0)
    with running(mode, inbox, daemon) as (source, socket):
        socket.send_multipart(told(start()))
        for number in range(5):
            socket.send_multipart(files.frame(number))
            socket.send_multipart(told(lines(number)))
        assert isinstance(daemon.next(), ScanStart)
        for number in range(5):
            event = daemon.next()
            assert isinstance(event, ScanLines)
            assert event.first_row == number
        assert not source.status().ok
        assert daemon.arrivals.empty()
        if mode == "pull" and isinstance(inbox, FullDisk):
            inbox.full = False
            assert [daemon.arrivals.get(timeout=WAIT_S).path.stem for _ in range(5)] == [sha(n) for n in range(5)]
            until(lambda: source.status().ok)
    if mode == "pull":  # what was held beyond the limit of the inbox is there for the next run
        assert {path.stem for path in tmp_path.iterdir()} == {sha(number) for number in range(5)}


def test_only_so_much_is_held_for_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon, told, inbox = Daemon(), Told(), FullDisk(tmp_path)
    monkeypatch.setattr(zeromq_source, "HELD_BYTES", 2 * sum(map(len, Told().frame(1))) - 1)
    with running("pull", inbox, daemon) as (source, socket):
        for number in range(4):
            socket.send_multipart(told.frame(number))
        until(lambda: len(source._held) == 2)
        assert counters(source, "received") == [2]
        inbox.full = False
        assert [daemon.arrivals.get(timeout=WAIT_S).path.stem for _ in range(4)] == [sha(n) for n in range(4)]
