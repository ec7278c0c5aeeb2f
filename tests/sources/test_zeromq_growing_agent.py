"""Agent and ZeroMQ source together while the tip scans: whatever is broken off, the live scan comes back whole."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq

from spm_live.domain import Fault, FrameInfo, FrameRef, ScanDirection, ScanGeometry, Trace
from spm_live.settings import CurveSettings, ZeroMQSettings
from spm_live.sources.zeromq import ZeroMQSource
from spm_live_drivers import wire_socket
from spm_live_drivers.agent import ScanStream, StreamSettings
from spm_live_drivers.agent.settings import SocketKind
from spm_live_drivers.growing import GrowingEvent, GrowingFrame, ScanEnd, ScanLines, ScanOutcome, ScanStart
from spm_live_drivers.wire_socket import CurveKeys

WAIT_S = 30
ROWS, COLUMNS = 48, 32
MODES = {SocketKind.AGENT: "agent", SocketKind.PUSH: "pull", SocketKind.PUB: "sub"}


def free_endpoint() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(autouse=True)
def _reconnect_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets that were cut off try again soon, or the tests would wait for them."""
    monkeypatch.setattr(wire_socket, "_RECONNECT_MS", (10, 50))


def work(stream: ScanStream, condition: Callable[[], bool]) -> None:
    """Let the agent work until something is so."""
    given_up = time.monotonic() + WAIT_S
    while time.monotonic() < given_up:
        stream.step(0.01)
        if condition():
            return
    raise AssertionError("worked in vain")


class Instrument:
    """Scans one frame after the other, a line whenever it is told to; asked as a controller's watch is."""

    trouble = ""
    next_poll_s = 0.001

    def __init__(self) -> None:
        self.scan, self.row = 0, ROWS
        self.news: list[GrowingEvent] = []
        self.pictures: dict[str, np.ndarray] = {}

    def begin(self) -> None:
        self.scan += 1
        name = f"scan {self.scan}"
        direction = ScanDirection.UP if self.scan % 2 else ScanDirection.DOWN
        heights = np.random.default_rng(self.scan).normal(size=(2, ROWS, COLUMNS)).astype(np.float32)
        self.pictures[name] = heights
        self.row, self.up = 0, direction is ScanDirection.UP
        info = FrameInfo(
            FrameRef(f"stm/{name}", "", "Z", Trace.FORWARD), ScanGeometry(ROWS, COLUMNS, (4.0, 6.0)), "m", direction
        )
        self.news.append(ScanStart(name, info, 0.5, backward=True))

    def line(self) -> None:
        name = f"scan {self.scan}"
        row = ROWS - 1 - self.row if self.up else self.row
        forward, backward = self.pictures[name][:, row : row + 1]
        self.news.append(ScanLines(name, row, forward, backward))
        self.row += 1
        if self.row == ROWS:
            self.news.append(ScanEnd(name, ScanOutcome.FINISHED, f"D:/{name}.sxm"))

    def poll(self) -> list[GrowingEvent]:
        news, self.news = self.news, []
        return news

    def faults(self) -> list[str]:
        return []

    def close(self) -> None:
        pass


class Laboratory:
    """An instrument, its agent, and a receiver that knows nothing after a restart."""

    def __init__(self, inbox: Path, kind: SocketKind) -> None:
        self.instrument = Instrument()
        self.inbox = inbox
        endpoint = free_endpoint()
        self.settings = StreamSettings(
            "127.0.0.1", 6501, endpoint, "stm", socket=kind, receipt_timeout_s=0.3, repeat_s=0.05
        )
        self.receiver = ZeroMQSettings(mode=MODES[kind], endpoint=endpoint)  # type: ignore[arg-type]
        self.source: ZeroMQSource | None = None
        self.scans: dict[str, GrowingFrame] = {}
        self.ended: dict[str, ScanEnd] = {}
        self.faults: list[Fault] = []
        self.stream = ScanStream(self.settings, self.instrument, retry_s=0.02)

    def tell(self, source: str, sender: str, event: GrowingEvent) -> bool:
        if isinstance(event, ScanStart):
            self.scans[event.scan] = GrowingFrame(event)
        elif event.scan not in self.scans:
            return False
        elif isinstance(event, ScanLines):
            self.scans[event.scan].add(event)
        else:
            self.ended[event.scan] = event
        return True

    def start_source(self) -> None:
        if self.source is None:
            self.scans, self.ended = {}, {}
            self.source = ZeroMQSource(self.receiver, self.inbox, tell=self.tell)
            self.source.start(lambda arrival: None, self.faults.append, lambda path, size, mtime_ns: False)

    def break_source(self) -> None:
        if self.source is not None:
            self.source.stop()
            self.source = None

    def restart_agent(self) -> None:
        """A new process knows nothing, but the controller gives all lines so far."""
        self.stream.close()
        self.stream = ScanStream(self.settings, self.instrument, retry_s=0.02)
        done = self.instrument.row
        picture = self.instrument.pictures[f"scan {self.instrument.scan}"]
        self.instrument.scan, name = self.instrument.scan + 1000, f"scan {self.instrument.scan + 1000}"
        self.instrument.pictures[name] = picture
        direction = ScanDirection.UP if self.instrument.up else ScanDirection.DOWN
        info = FrameInfo(
            FrameRef(f"stm/{name}", "", "Z", Trace.FORWARD), ScanGeometry(ROWS, COLUMNS, (4.0, 6.0)), "m", direction
        )
        self.instrument.news = [ScanStart(name, info, 0.5, backward=True)]
        self.instrument.row = 0
        for _ in range(done):
            self.instrument.line()

    def shows(self, lines: int) -> bool:
        """Whether the receiver has the newest scan complete up to this line, both traces."""
        name = f"scan {self.instrument.scan}"
        growing = self.scans.get(name)
        if growing is None or growing.lines_done < lines or growing.lines_missing:
            return False
        forward, backward = growing.lines(0)
        assert backward is not None
        for seen, true in zip((forward, backward), self.instrument.pictures[name], strict=True):
            np.testing.assert_array_equal(seen, (true[::-1] if self.instrument.up else true)[: growing.lines_done])
        return True

    def settle(self, lines: int) -> None:
        work(self.stream, lambda: self.shows(lines))


@contextmanager
def laboratory(inbox: Path, kind: SocketKind = SocketKind.AGENT) -> Iterator[Laboratory]:
    lab = Laboratory(inbox, kind)
    try:
        yield lab
    finally:
        lab.stream.close()
        lab.break_source()


@pytest.mark.parametrize("kind", SocketKind)
def test_a_receiver_that_is_restarted_in_mid_scan_has_all_of_it_again(tmp_path: Path, kind: SocketKind) -> None:
    with laboratory(tmp_path, kind) as lab:
        lab.start_source()
        lab.instrument.begin()
        for _ in range(10):
            lab.instrument.line()
        lab.settle(10)
        lab.break_source()
        for _ in range(6):
            lab.instrument.line()
            lab.stream.step(0.0)
        lab.start_source()
        assert lab.scans == {}
        lab.instrument.line()
        lab.settle(17)
        while lab.instrument.row < ROWS:
            lab.instrument.line()
        lab.settle(ROWS)
        work(lab.stream, lambda: bool(lab.ended))
        assert lab.ended == {"scan 1": ScanEnd("scan 1", ScanOutcome.FINISHED, "D:/scan 1.sxm")}
        assert lab.faults == []


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_broken_off_the_newest_scan_is_whole_in_the_end(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    with laboratory(tmp_path) as lab:
        lab.start_source()
        lab.instrument.begin()
        for _ in range(60):
            for _ in range(chance.randrange(4)):
                if lab.instrument.row < ROWS:
                    lab.instrument.line()
            event = chance.random()
            if event < 0.1:
                lab.break_source()
            elif event < 0.3:
                lab.start_source()
            elif event < 0.35:
                lab.restart_agent()
            elif event < 0.4 or lab.instrument.row == ROWS:
                lab.instrument.begin()
            for _ in range(chance.randrange(6)):
                lab.stream.step(0.005)
        lab.start_source()
        lab.settle(lab.instrument.row)
        assert lab.faults == []


@pytest.mark.skipif(not zmq.has("curve"), reason="this ZeroMQ has no CURVE")
def test_with_keys_on_both_sides_lines_arrive(tmp_path: Path) -> None:
    (server, server_secret), (client, client_secret) = (
        tuple(key.decode() for key in zmq.curve_keypair()) for _ in range(2)
    )
    with laboratory(tmp_path) as lab:
        lab.receiver = lab.receiver.model_copy(
            update={"curve": CurveSettings(public_key=server, secret_key=server_secret)}
        )
        keys = CurveKeys(client, client_secret, server_key=server)
        lab.stream.close()
        settings = StreamSettings("127.0.0.1", 6501, lab.settings.to, "stm", curve=keys)
        lab.stream = ScanStream(settings, lab.instrument, retry_s=0.02)
        lab.start_source()
        lab.instrument.begin()
        lab.instrument.line()
        lab.settle(1)


def test_the_second_of_two_agents_of_one_name_is_followed_and_the_first_told_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with laboratory(tmp_path) as lab:
        lab.start_source()
        lab.instrument.begin()
        lab.instrument.line()
        lab.settle(1)
        other = Instrument()
        other.scan = 6
        with ScanStream(lab.settings, other, retry_s=0.02) as second:
            other.begin()
            other.line()
            work(second, lambda: "scan 7" in lab.scans and lab.scans["scan 7"].lines_done == 1)
            lab.instrument.line()
            work(lab.stream, lambda: bool(lab.stream.counters["refused"]))
        assert "two senders call themselves 'stm'" in caplog.text
        assert lab.scans["scan 1"].lines_done == 1
        assert sorted(lab.scans) == ["scan 1", "scan 7"]
        work(lab.stream, lambda: any("two senders" in fault.reason for fault in lab.faults))
