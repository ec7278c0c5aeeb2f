"""The ZeroMQ source: what arrived is on the disk before anybody is told, and nothing that arrives breaks it."""

from __future__ import annotations

import errno
import json
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import zmq

from spm_live.domain import Fault
from spm_live.errors import SetupError
from spm_live.settings import CurveSettings, ZeroMQSettings
from spm_live.sources import Arrival, StoppedError
from spm_live.sources.inbox import Inbox
from spm_live.sources.sequences import FaultRate
from spm_live.sources.zeromq import ZeroMQSource
from spm_live_drivers.contract import Frame, FrameInfo, FrameRef, ScanGeometry, Trace
from spm_live_drivers.formats.spmframe import SpmFrameReader
from spm_live_drivers.wire import encode_frame
from spm_live_drivers.wire_file import write_durably
from spm_live_drivers.wire_receipt import Receipt, Result, decode_receipt

ANYWHERE = "tcp://127.0.0.1:*"
WAIT_S = 20


def sha(number: int) -> str:
    return f"{number:064x}"


def message(number: int, *, session: str = "one", sequence: int | None = None, sender: str = "stm") -> list[bytes]:
    info = FrameInfo(
        ref=FrameRef(f"D:/data/{number}.sxm", sha(number), "Z", Trace.FORWARD),
        geometry=ScanGeometry(2, 3, (6.0, 4.0)),
        unit="m",
        complete_rows=2,
    )
    frame = Frame(info, np.full((2, 3), number, dtype=np.float32))
    return encode_frame(frame, sender=sender, session=session, sequence=number if sequence is None else sequence)


class Daemon:
    """Takes what a source hands over, as the daemon does."""

    def __init__(self) -> None:
        self.arrivals: queue.Queue[Arrival] = queue.Queue()
        self.faults: queue.Queue[Fault] = queue.Queue()
        self.done: set[Path] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.stopping = threading.Event()

    def put(self, arrival: Arrival) -> None:
        while not self.gate.wait(0.02):
            if self.stopping.is_set():
                raise StoppedError
        self.arrivals.put(arrival)

    def known(self, path: Path, size: int, mtime_ns: int) -> bool:
        return path in self.done

    def next(self) -> str:
        return self.arrivals.get(timeout=WAIT_S).path.stem


@contextmanager
def running(
    mode: str, inbox: Path | Inbox, daemon: Daemon, **options: object
) -> Iterator[tuple[ZeroMQSource, zmq.Socket[bytes]]]:
    """A source and a socket that is connected to it."""
    curve = options.pop("curve", None)
    settings = ZeroMQSettings(mode=mode, endpoint=ANYWHERE, curve=curve)  # type: ignore[arg-type]
    source = ZeroMQSource(settings, inbox, **options)  # type: ignore[arg-type]
    source.start(daemon.put, daemon.faults.put, daemon.known)
    kind = {"agent": zmq.DEALER, "pull": zmq.PUSH, "sub": zmq.PUB}[mode]
    with zmq.Context() as context, context.socket(kind) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, WAIT_S * 1000)
        if curve is None:
            socket.connect(source.endpoint)
        try:
            yield source, socket
        finally:
            daemon.stopping.set()
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


def test_an_acknowledged_frame_is_on_the_disk_and_handed_over(tmp_path: Path) -> None:
    daemon = Daemon()
    with running("agent", tmp_path, daemon) as (source, socket):
        assert ask(socket, message(1)) == Receipt("one", 1, Result.KEPT)
        arrival = daemon.arrivals.get(timeout=WAIT_S)
        assert arrival.path == tmp_path / f"{sha(1)}.spmframe"
        assert arrival.delete_when_done
        assert (arrival.size, arrival.origin) == (arrival.path.stat().st_size, source.name)
        frame = SpmFrameReader().read(arrival.path, arrival.options)
        assert frame.ref.source == "D:/data/1.sxm"
        assert frame.data[0, 0] == 1
        assert source.status().ok


def test_the_same_frame_again_is_a_duplicate_and_acknowledged(tmp_path: Path) -> None:
    daemon = Daemon()
    with running("agent", tmp_path, daemon) as (source, socket):
        ask(socket, message(1))
        daemon.arrivals.get(timeout=WAIT_S).path.unlink()
        assert ask(socket, message(1, session="two")).result is Result.DUPLICATE
        ask(socket, message(2))
        assert daemon.next() == sha(2)
        assert daemon.arrivals.empty()
        assert source.status().counters["duplicates"] == 1
        assert source.status().counters["arrived"] == 2


def test_pull_takes_every_frame(tmp_path: Path) -> None:
    daemon = Daemon()
    with running("pull", tmp_path, daemon) as (_, socket):
        for number in range(20):
            socket.send_multipart(message(number))
        assert [daemon.next() for _ in range(20)] == [sha(number) for number in range(20)]


def test_sub_counts_what_is_missing(tmp_path: Path) -> None:
    daemon = Daemon()
    with running("sub", tmp_path, daemon) as (source, socket):
        for number in range(10_000):  # a subscription takes a moment to reach the publisher
            socket.send_multipart(message(number, sequence=0, session=f"before {number}"))
            try:
                daemon.arrivals.get(timeout=0.05)
                break
            except queue.Empty:
                continue
        for sequence in (5, 6, 9, 20):
            socket.send_multipart(message(20_000 + sequence, session="s", sequence=sequence))
        socket.send_multipart(message(30_000, session="after a restart", sequence=0))
        socket.send_multipart([b"weather", b"{}", b""])
        until(lambda: sha(30_000) in [path.stem for path in tmp_path.iterdir()])
        counters = source.status().counters
        assert (counters["gaps"], counters["missed"]) == (2, 12)
        assert counters["malformed"] == 0


@pytest.mark.parametrize("correlate", [0, 1])
def test_a_req_socket_gets_its_answer_too(tmp_path: Path, correlate: int) -> None:
    daemon = Daemon()
    with running("agent", tmp_path, daemon) as (source, _), zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, WAIT_S * 1000)
        socket.setsockopt(zmq.REQ_CORRELATE, correlate)
        socket.connect(source.endpoint)
        assert ask(socket, message(1)).result is Result.KEPT
        assert ask(socket, [b"a", b"b"]).result is Result.REFUSED
        assert ask(socket, [b"a"] * 9).result is Result.REFUSED


BAD = [
    [b""],
    [b"", b""],
    [b"spm.frame", b"{}", b""],
    [b"spm.frame", b"\xff" * 50, b"x" * 50],
    [b"x" * 5000, b"{", b""],
    [b"\x80\x04\x95", b"[" * 5000, b"payload"],
    [b""] * 100,
    [*message(1), b"one more"],
    [message(1)[0], message(1)[1], b"cut"],
]


@pytest.mark.parametrize("parts", BAD, ids=lambda parts: f"{len(parts)} parts of {len(parts[-1])}")
@pytest.mark.parametrize("mode", ["agent", "pull"])
def test_a_malformed_message_is_counted_and_reported_and_the_next_one_taken(
    tmp_path: Path, mode: str, parts: list[bytes]
) -> None:
    daemon = Daemon()
    with running(mode, tmp_path, daemon) as (source, socket):
        socket.send_multipart(parts)
        socket.send_multipart(message(7))
        assert daemon.next() == sha(7)
        fault = daemon.faults.get(timeout=WAIT_S)
        assert fault.stage == "receive"
        assert fault.reason
        assert source.status().counters["malformed"] == 1
        assert source.status().ok


def test_a_refused_frame_is_told_its_own_number(tmp_path: Path) -> None:
    daemon = Daemon()
    parts = message(3, session="mine", sequence=12)
    newer = json.dumps({**json.loads(parts[1]), "schema": 2}).encode()
    with running("agent", tmp_path, daemon) as (_, socket):
        receipt = ask(socket, [parts[0], newer, parts[2]])
    assert (receipt.session, receipt.sequence, receipt.result) == ("mine", 12, Result.REFUSED)
    assert "schema 2" in receipt.reason


def test_strange_routing_ids_are_answered(tmp_path: Path) -> None:
    daemon = Daemon()
    with running("agent", tmp_path, daemon) as (source, _), zmq.Context() as context:
        for identity in (b"\xff" * 255, b"\x01", "µ".encode(), b"\n\x1b[31m"):
            with context.socket(zmq.DEALER) as socket:
                socket.setsockopt(zmq.LINGER, 0)
                socket.setsockopt(zmq.RCVTIMEO, WAIT_S * 1000)
                socket.setsockopt(zmq.ROUTING_ID, identity)
                socket.connect(source.endpoint)
                assert ask(socket, message(1)).result in (Result.KEPT, Result.DUPLICATE)


def test_a_flood_of_malformed_messages_is_counted_but_reported_seldom(tmp_path: Path) -> None:
    daemon = Daemon()
    now = [0.0]
    rate = FaultRate(most=3, window_s=60, clock=lambda: now[0])
    with running("pull", tmp_path, daemon, fault_rate=rate) as (source, socket):
        for _ in range(200):
            socket.send_multipart([b"junk"])
        until(lambda: source.status().counters["malformed"] == 200)
        now[0] = 61.0
        socket.send_multipart([b"junk"])
        socket.send_multipart(message(1))
        daemon.next()
        until(lambda: daemon.faults.qsize() == 4)
        reasons = [daemon.faults.get_nowait().reason for _ in range(4)]
        assert "197 more faults" in reasons[-1]


def test_what_a_crash_left_in_the_inbox_comes_first_and_oldest_first(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        write_durably(tmp_path / f"{sha(number)}.spmframe", message(number))
        os.utime(tmp_path / f"{sha(number)}.spmframe", ns=(number * 10**9, number * 10**9))
    (tmp_path / f".{sha(4)}.spmframe.part").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("not a frame")
    daemon = Daemon()
    daemon.done.add(tmp_path / f"{sha(2)}.spmframe")
    with running("agent", tmp_path, daemon) as (source, socket):
        assert [daemon.next(), daemon.next()] == [sha(1), sha(3)]
        assert ask(socket, message(3)).result is Result.DUPLICATE
        assert source.status().counters["backlog"] == 3
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted([f"{sha(1)}.spmframe", f"{sha(3)}.spmframe", "notes.txt"])


def test_frames_are_received_while_the_daemon_takes_none(tmp_path: Path) -> None:
    daemon = Daemon()
    daemon.gate.clear()
    with running("agent", tmp_path, daemon) as (_, socket):
        for number in range(8):
            assert ask(socket, message(number)).result is Result.KEPT
        daemon.gate.set()
        assert [daemon.next() for _ in range(8)] == [sha(number) for number in range(8)]


def test_stop_ends_while_the_daemon_takes_none_and_the_next_run_finds_everything(tmp_path: Path) -> None:
    inbox, daemon = Inbox(tmp_path), Daemon()
    daemon.gate.clear()
    with running("agent", inbox, daemon) as (source, socket):
        for number in range(4):
            ask(socket, message(number))
    assert not source.status().ok
    again = Daemon()
    with running("agent", inbox, again):
        assert {again.next() for _ in range(4)} == {sha(number) for number in range(4)}


def test_two_sources_on_one_inbox_hand_over_each_file_once(tmp_path: Path) -> None:
    for number in range(6):
        write_durably(tmp_path / f"{sha(number)}.spmframe", message(number))
    inbox, daemon = Inbox(tmp_path), Daemon()
    with running("agent", inbox, daemon) as (_, first), running("pull", inbox, daemon) as (_, second):
        ask(first, message(6))
        second.send_multipart(message(6))
        second.send_multipart(message(7))
        assert {daemon.next() for _ in range(8)} == {sha(number) for number in range(8)}
        assert daemon.arrivals.empty()


class FullDisk(Inbox):
    """An inbox whose disk is full until it is not."""

    full = True

    def keep(self, sha256: str, parts: Sequence[bytes]) -> Path | None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().keep(sha256, parts)


def test_an_agent_is_put_off_while_the_disk_is_full(tmp_path: Path) -> None:
    inbox, daemon = FullDisk(tmp_path), Daemon()
    with running("agent", inbox, daemon) as (source, socket):
        for _ in range(3):
            receipt = ask(socket, message(1))
            assert receipt.result is Result.LATER
            assert "No space left" in receipt.reason
        assert "No space left" in daemon.faults.get(timeout=WAIT_S).reason
        assert not source.status().ok
        inbox.full = False
        assert ask(socket, message(1)).result is Result.KEPT
        assert source.status().ok
        assert daemon.next() == sha(1)
        assert daemon.faults.empty()


def test_a_pushed_frame_waits_for_room_on_the_disk(tmp_path: Path) -> None:
    inbox, daemon = FullDisk(tmp_path), Daemon()
    with running("pull", inbox, daemon, retry_s=0.01) as (source, socket):
        socket.send_multipart(message(1))
        socket.send_multipart(message(2))
        assert "No space left" in daemon.faults.get(timeout=WAIT_S).reason
        assert not source.status().ok
        inbox.full = False
        assert [daemon.next(), daemon.next()] == [sha(1), sha(2)]
        until(lambda: source.status().ok)


def test_a_full_inbox_puts_agents_off_until_frames_are_done(tmp_path: Path) -> None:
    inbox, daemon = Inbox(tmp_path, limit=2), Daemon()
    with running("agent", inbox, daemon) as (source, socket):
        ask(socket, message(1))
        ask(socket, message(2))
        assert ask(socket, message(3)).result is Result.LATER
        assert "full" in source.status().detail
        daemon.arrivals.get(timeout=WAIT_S).path.unlink()
        assert ask(socket, message(3)).result is Result.KEPT
        assert source.status().ok


def test_a_full_inbox_stops_reading_a_pushing_sender(tmp_path: Path) -> None:
    inbox, daemon = Inbox(tmp_path, limit=1), Daemon()
    with running("pull", inbox, daemon, retry_s=0.01) as (source, socket):
        socket.send_multipart(message(1))
        first = daemon.arrivals.get(timeout=WAIT_S)
        until(lambda: "full" in source.status().detail)
        socket.send_multipart(message(2))
        first.path.unlink()
        assert daemon.next() == sha(2)


def test_a_port_in_use_is_told_before_anything_starts(tmp_path: Path) -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        source = ZeroMQSource(ZeroMQSettings(endpoint=f"tcp://127.0.0.1:{port}"), tmp_path)
        with pytest.raises(SetupError, match="in use by another program"):
            source.start(Daemon().put, lambda fault: None, Daemon().known)
        assert not source.status().ok
        source.stop()


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:99999", "tcp://127.0.0.1", "tcp://localhost:port"])
def test_an_endpoint_that_is_none_is_a_setup_problem(tmp_path: Path, endpoint: str) -> None:
    source = ZeroMQSource(ZeroMQSettings(endpoint=endpoint), tmp_path)
    with pytest.raises(SetupError, match="endpoint"):
        source.start(Daemon().put, lambda fault: None, Daemon().known)


def test_an_inbox_that_cannot_be_made_is_a_setup_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    source = ZeroMQSource(ZeroMQSettings(endpoint=ANYWHERE), tmp_path / "file" / "inbox")
    with pytest.raises(SetupError, match="inbox"):
        source.start(Daemon().put, lambda fault: None, Daemon().known)


needs_curve = pytest.mark.skipif(not zmq.has("curve"), reason="this ZeroMQ has no CURVE")


def curve_pair() -> tuple[str, str]:
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


@needs_curve
def test_with_keys_only_those_who_know_the_server_are_heard(tmp_path: Path) -> None:
    (public, secret), (client, client_secret) = curve_pair(), curve_pair()
    daemon = Daemon()
    keys = CurveSettings(public_key=public, secret_key=secret)
    with running("agent", tmp_path, daemon, curve=keys) as (source, socket), zmq.Context() as context:
        with context.socket(zmq.DEALER) as stranger:
            stranger.setsockopt(zmq.LINGER, 0)
            stranger.connect(source.endpoint)
            with suppress(zmq.Again):  # once the handshake has failed there is nobody to send to
                stranger.send_multipart(message(1), zmq.NOBLOCK)
            socket.setsockopt(zmq.CURVE_SERVERKEY, public.encode())
            socket.setsockopt(zmq.CURVE_PUBLICKEY, client.encode())
            socket.setsockopt(zmq.CURVE_SECRETKEY, client_secret.encode())
            socket.connect(source.endpoint)
            assert ask(socket, message(2)).result is Result.KEPT
        assert daemon.next() == sha(2)
        assert source.status().counters["received"] == 1


@needs_curve
def test_keys_that_are_none_are_a_setup_problem(tmp_path: Path) -> None:
    keys = CurveSettings(public_key="#" * 39 + "~", secret_key="~" * 40)
    source = ZeroMQSource(ZeroMQSettings(endpoint=ANYWHERE, curve=keys), tmp_path)
    with pytest.raises(SetupError, match="Z85"):
        source.start(Daemon().put, lambda fault: None, Daemon().known)
