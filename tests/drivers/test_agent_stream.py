"""The agent while the tip scans: the receiver is told line by line, and all of it again where it does not know."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from spm_live_drivers import wire_socket
from spm_live_drivers.agent import AgentSetupError, ScanStream, StreamSettings, main
from spm_live_drivers.agent.cli import parser, stream_settings_from
from spm_live_drivers.agent.settings import SocketKind, controller_address
from spm_live_drivers.agent.telling import BLOCK_BYTES, Telling
from spm_live_drivers.contract import FrameInfo, FrameRef, ScanDirection, ScanGeometry, Trace
from spm_live_drivers.growing import (
    GrowingError,
    GrowingEvent,
    GrowingFrame,
    ScanEnd,
    ScanLines,
    ScanOutcome,
    ScanStart,
)
from spm_live_drivers.wire_growing import GrowingMessage, decode_event
from spm_live_drivers.wire_receipt import Receipt, Result, encode_receipt

WAIT_S = 20


def start(scan: str = "1", rows: int = 8, columns: int = 4, direction: ScanDirection = ScanDirection.DOWN) -> ScanStart:
    info = FrameInfo(
        FrameRef(f"stm/{scan}", "", "Z", Trace.FORWARD), ScanGeometry(rows, columns, (4.0, 8.0)), "m", direction
    )
    return ScanStart(scan, info, line_time_s=0.5, backward=True)


def lines(first: int, count: int = 1, scan: str = "1", columns: int = 4) -> ScanLines:
    rows = np.repeat(np.arange(first, first + count, dtype=np.float32)[:, None], columns, axis=1)
    return ScanLines(scan, first, rows, -rows)


def end(scan: str = "1") -> ScanEnd:
    return ScanEnd(scan, ScanOutcome.FINISHED, f"D:/data/{scan}.sxm")


class ScriptedWatch:
    """Tells what it is given, as a controller's watch would."""

    def __init__(self) -> None:
        self.trouble = ""
        self.next_poll_s = 0.002
        self.news: list[GrowingEvent] = []
        self.reasons: list[str] = []
        self.closed = False

    def poll(self) -> list[GrowingEvent]:
        news, self.news = self.news, []
        return news

    def faults(self) -> list[str]:
        reasons, self.reasons = self.reasons, []
        return reasons

    def close(self) -> None:
        self.closed = True


class Clock:
    """A clock that is turned by hand, and goes on a little whenever somebody looks."""

    now = 100.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class Receiver:
    """The other end, played by hand."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], kind: int = zmq.ROUTER) -> None:
        self._context, self._kind = context, kind
        self.endpoint = "tcp://127.0.0.1:*"
        self.open()

    def open(self) -> None:
        self.socket = self._context.socket(self._kind)
        self.socket.setsockopt(zmq.LINGER, 0)
        if self._kind == zmq.SUB:
            self.socket.setsockopt(zmq.SUBSCRIBE, b"spm.")
        self.socket.bind(self.endpoint)
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def close(self) -> None:
        self.socket.unbind(self.endpoint)
        self.socket.close(linger=0)

    def take(self, stream: ScanStream) -> GrowingMessage:
        """Let the stream work until a message is here."""
        work(stream, lambda: bool(self.socket.poll(0)))
        parts = self.socket.recv_multipart()
        self.sender = parts[0]
        return decode_event(parts[-3:])

    def answer(self, message: GrowingMessage, result: Result = Result.KEPT, reason: str = "") -> None:
        receipt = Receipt(message.envelope.session, message.envelope.sequence, result, reason)
        self.socket.send_multipart([self.sender, *encode_receipt(receipt)])

    def hear(self, stream: ScanStream, result: Result = Result.KEPT, reason: str = "") -> GrowingEvent:
        """Take a message and answer it."""
        message = self.take(stream)
        self.answer(message, result, reason)
        return message.event

    def silent(self, stream: ScanStream) -> bool:
        """Whether nothing comes while the stream has nothing more to tell."""
        for _ in range(10):
            stream.step(0.01)
        return not self.socket.poll(0)


def give(stream: ScanStream, watch: ScriptedWatch, *news: GrowingEvent) -> None:
    """Let the stream learn of something."""
    watch.news = list(news)
    work(stream, lambda: not watch.news)


def work(stream: ScanStream, condition: Callable[[], bool]) -> None:
    given_up = time.monotonic() + WAIT_S
    while time.monotonic() < given_up:
        stream.step(0.01)
        if condition():
            return
    raise AssertionError("worked in vain")


@pytest.fixture(autouse=True)
def _reconnect_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets that were cut off try again soon, or the tests would wait for them."""
    monkeypatch.setattr(wire_socket, "_RECONNECT_MS", (10, 50))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with zmq.Context() as context:
        result = Receiver(context)
        yield result
        result.socket.close(linger=0)


@pytest.fixture
def watch() -> ScriptedWatch:
    return ScriptedWatch()


@contextmanager
def streaming(
    receiver: Receiver, watch: ScriptedWatch, clock: Clock | None = None, **changes: object
) -> Iterator[ScanStream]:
    settings = StreamSettings("127.0.0.1", 6501, receiver.endpoint, "stm")
    settings = replace(settings, **changes)  # type: ignore[arg-type]
    options = {} if clock is None else {"clock": clock}
    with ScanStream(settings, watch, retry_s=0.0, **options) as stream:  # type: ignore[arg-type]
        yield stream


def same(one: GrowingEvent, other: GrowingEvent) -> bool:
    if not isinstance(one, ScanLines) or not isinstance(other, ScanLines):
        return one == other
    traces = [(one.forward, other.forward), (one.backward, other.backward)]
    return (one.scan, one.first_row) == (other.scan, other.first_row) and all(
        a is not None and b is not None and np.array_equal(a, b) for a, b in traces
    )


# --- the link ---------------------------------------------------------------------------------------------------------


def test_a_scan_is_told_as_it_is_seen(receiver: Receiver, watch: ScriptedWatch) -> None:
    with streaming(receiver, watch) as stream:
        for number, events in enumerate([[start()], [lines(0, 2)], [lines(2)], [lines(3, 5), end()]]):
            watch.news = list(events)
            for event in events:
                message = receiver.take(stream)
                assert (message.envelope.sender, message.envelope.type) == (
                    "stm",
                    {ScanStart: "start", ScanLines: "lines", ScanEnd: "end"}[type(event)],
                )
                assert message.envelope.sequence == stream.counters["told"]
                assert same(message.event, event), number
                receiver.answer(message)
                work(stream, lambda told=message.envelope.sequence: stream.counters["told"] == told + 1)
        assert receiver.silent(stream)
        assert stream.counters == {"scans": 1, "told": 5, "anew": 0, "refused": 0, "dropped": 0}
    assert watch.closed


def test_lines_that_pile_up_while_the_receiver_is_slow_come_in_one_message(
    receiver: Receiver, watch: ScriptedWatch
) -> None:
    with streaming(receiver, watch) as stream:
        watch.news = [start()]
        message = receiver.take(stream)
        for row in range(4):
            give(stream, watch, lines(row))
        receiver.answer(message)
        assert same(receiver.hear(stream), lines(0, 4))


@pytest.mark.parametrize("event", ["lines", "end"])
def test_a_receiver_that_does_not_know_the_scan_is_told_all_of_it(
    receiver: Receiver, watch: ScriptedWatch, event: str
) -> None:
    with streaming(receiver, watch) as stream:
        watch.news = [start(), lines(0, 2)]
        assert same(receiver.hear(stream), start())
        assert same(receiver.hear(stream), lines(0, 2))
        watch.news = [lines(2)] if event == "lines" else [end()]
        receiver.hear(stream, Result.UNKNOWN)
        assert same(receiver.hear(stream), start())
        assert same(receiver.hear(stream), lines(0, 3 if event == "lines" else 2))
        if event == "end":
            assert same(receiver.hear(stream), end())
        assert receiver.silent(stream)
        assert stream.counters["anew"] == 1


def test_while_the_receiver_is_away_nothing_is_queued_and_then_all_of_the_newest_scan_is_told(
    receiver: Receiver, watch: ScriptedWatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    receiver.close()
    with streaming(receiver, watch) as stream:
        for number in range(5):
            give(stream, watch, start(str(number)), lines(0, 3, str(number)), end(str(number)))
        give(stream, watch, start("last"))
        for row in range(4):
            give(stream, watch, lines(row, scan="last"))
        assert len(stream._scans) == 2
        receiver.open()
        heard = [receiver.hear(stream, Result.KEPT)]
        while not same(heard[-1], lines(0, 4, "last")):
            heard.append(receiver.hear(stream))
        assert [event.scan for event in heard] == ["4", "4", "4", "last", "last"]
        work(stream, lambda: "is there again" in caplog.text)
    assert caplog.text.count("is not there") == 1


def test_a_scan_that_is_over_is_not_told_anew_to_one_who_does_not_know_it(
    receiver: Receiver, watch: ScriptedWatch
) -> None:
    with streaming(receiver, watch) as stream:
        watch.news = [start("1"), lines(0, 8)]
        receiver.hear(stream)
        message = receiver.take(stream)
        give(stream, watch, end("1"), start("2"))
        receiver.answer(message, Result.UNKNOWN)
        assert same(receiver.hear(stream), start("2"))
        assert receiver.silent(stream)


def test_a_receipt_that_does_not_come_makes_the_message_be_sent_again(receiver: Receiver, watch: ScriptedWatch) -> None:
    clock = Clock()
    with streaming(receiver, watch, clock) as stream:
        watch.news = [start()]
        first = receiver.take(stream)
        clock.now += 60
        again = receiver.take(stream)
        assert same(again.event, first.event)
        assert again.envelope.sequence == first.envelope.sequence + 1
        receiver.answer(again)
        work(stream, lambda: stream.counters["told"] == 1)


def test_a_receiver_that_puts_us_off_is_told_again(receiver: Receiver, watch: ScriptedWatch) -> None:
    with streaming(receiver, watch) as stream:
        watch.news = [start()]
        receiver.hear(stream, Result.LATER, "busy")
        assert same(receiver.hear(stream), start())


def test_a_refused_scan_is_left_alone_and_the_next_one_told(
    receiver: Receiver, watch: ScriptedWatch, caplog: pytest.LogCaptureFixture
) -> None:
    with streaming(receiver, watch) as stream:
        watch.news = [start("1"), lines(0)]
        receiver.hear(stream, Result.REFUSED, "two senders call themselves 'stm'")
        work(stream, lambda: stream.counters["refused"] == 1)
        watch.news = [lines(1)]
        assert receiver.silent(stream)
        watch.news = [end("1"), start("2")]
        assert same(receiver.hear(stream), start("2"))
        assert "two senders call themselves 'stm'" in caplog.text


def test_a_scan_begun_anew_without_a_word_is_followed_no_further(
    receiver: Receiver, watch: ScriptedWatch, caplog: pytest.LogCaptureFixture
) -> None:
    with streaming(receiver, watch) as stream:
        watch.news = [start(), lines(0, 2)]
        receiver.hear(stream)
        receiver.hear(stream)
        watch.news = [replace(lines(0, 2), forward=np.full((2, 4), 7, np.float32))]
        assert same(receiver.hear(stream), ScanEnd("1", ScanOutcome.LOST))
        watch.news = [lines(2), start()]
        assert receiver.silent(stream)
    assert "the scan was begun anew; it is not followed any more" in caplog.text


def test_a_scan_that_cannot_be_told_is_passed_over(
    receiver: Receiver, watch: ScriptedWatch, caplog: pytest.LogCaptureFixture
) -> None:
    with streaming(receiver, watch) as stream:
        watch.news = [replace(start("1"), info=replace(start().info, unit="")), lines(0)]
        work(stream, lambda: stream.counters["dropped"] == 1)
        watch.news = [start("2")]
        assert same(receiver.hear(stream), start("2"))
    assert "unit is missing" in caplog.text


def test_what_is_wrong_with_the_instrument_is_logged_once(
    receiver: Receiver, watch: ScriptedWatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with streaming(receiver, watch) as stream:
        watch.trouble = "the controller does not answer"
        watch.reasons = ["half a reply", "the controller does not answer"]
        work(stream, lambda: not watch.reasons)
        for _ in range(5):
            stream.step(0.01)
        watch.trouble = ""
        work(stream, lambda: "answers again" in caplog.text)
    assert caplog.text.count("nanonis 127.0.0.1:6501: the controller does not answer") == 1
    assert caplog.text.count("half a reply") == 1
    assert caplog.text.count("answers again") == 1


def test_the_instrument_is_asked_when_it_wants_to_be(receiver: Receiver, watch: ScriptedWatch) -> None:
    clock = Clock()
    with streaming(receiver, watch, clock) as stream:
        watch.next_poll_s = 10.0
        stream.step(0.0)
        stream.step(0.0)
        watch.news = [start()]
        clock.now += 9.0
        assert receiver.silent(stream)
        assert watch.news
        clock.now += 1.0
        assert same(receiver.hear(stream), start())


def test_run_says_at_the_end_that_nobody_follows_the_scan_any_more(receiver: Receiver, watch: ScriptedWatch) -> None:
    with streaming(receiver, watch) as stream:
        watch.news = [start(), lines(0)]
        thread = threading.Thread(target=stream.run)
        thread.start()
        for expected in (start(), lines(0), ScanEnd("1", ScanOutcome.LOST)):
            assert receiver.socket.poll(WAIT_S * 1000)
            parts = receiver.socket.recv_multipart()
            receiver.sender, message = parts[0], decode_event(parts[1:])
            if expected == lines(0):
                stream.stop()
            assert same(message.event, expected)
            if isinstance(expected, ScanLines):
                stream.stop()
            receiver.answer(message)
        thread.join(timeout=WAIT_S)
        assert not thread.is_alive()


def test_run_ends_where_nobody_is_there_to_be_told(receiver: Receiver, watch: ScriptedWatch) -> None:
    receiver.close()
    with streaming(receiver, watch) as stream:
        give(stream, watch, start())
        stream.stop()
        stream.run()
    assert watch.closed


@pytest.mark.parametrize(("socket", "kind"), [(SocketKind.PUSH, zmq.PULL), (SocketKind.PUB, zmq.SUB)])
def test_without_receipts_all_of_the_scan_is_told_again_and_again(
    watch: ScriptedWatch, socket: SocketKind, kind: int
) -> None:
    clock = Clock()
    with zmq.Context() as context:
        receiver = Receiver(context, kind)
        with streaming(receiver, watch, clock, socket=socket, repeat_s=15.0) as stream:
            watch.news = [start(), lines(0, 3)]
            for _ in range(WAIT_S * 100):  # a subscription takes a moment to reach the publisher
                clock.now += 16
                stream.step(0.01)
                if receiver.socket.poll(0):
                    break
            seen: list[GrowingEvent] = []
            while not (len(seen) > 1 and same(seen[-2], start()) and same(seen[-1], lines(0, 3))):
                clock.now += 1
                seen.append(receiver.take(stream).event)
            while receiver.socket.poll(100):
                receiver.take(stream)
            clock.now += 1
            watch.news = [lines(3)]
            assert same(receiver.take(stream).event, lines(3))
            clock.now += 1
            assert receiver.silent(stream)
            clock.now += 16
            assert same(receiver.take(stream).event, start())
            clock.now += 1
            assert same(receiver.take(stream).event, lines(0, 4))
            watch.news = [end()]
            clock.now += 1
            assert same(receiver.take(stream).event, end())
            clock.now += 16
            assert receiver.silent(stream)
        receiver.close()


# --- what is told of one scan -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ScanDirection)
def test_lines_are_told_as_they_were_scanned_in_messages_of_bounded_size(direction: ScanDirection) -> None:
    columns = BLOCK_BYTES // 8 // 3
    telling = Telling(start("1", 8, columns, direction))
    telling.take(lines(0, 8, columns=columns))
    telling.told(telling.start)
    blocks = []
    while isinstance(block := telling.next(), ScanLines):
        telling.told(block)
        blocks.append((block.first_row, len(block.forward)))
    assert blocks == ([(0, 3), (3, 3), (6, 2)] if direction is ScanDirection.DOWN else [(5, 3), (2, 3), (0, 2)])


@st.composite
def lives(draw: st.DrawFn) -> tuple[ScanDirection, list[str | tuple[int, int]]]:
    """What happens to a scan: lines come, are told, and the receiver forgets it now and then."""
    row = st.integers(0, 7).flatmap(lambda first: st.tuples(st.just(first), st.integers(1, 8 - first)))
    return draw(st.sampled_from(ScanDirection)), draw(st.lists(row | st.sampled_from(["tell", "tell", "anew"])))


@given(lives())
def test_in_the_end_the_receiver_has_every_line(life: tuple[ScanDirection, list[str | tuple[int, int]]]) -> None:
    direction, story = life
    telling, known = Telling(start("1", direction=direction)), GrowingFrame(start("1", direction=direction))
    receiver: GrowingFrame | None = None
    over = False
    for step in [*story, "end", *["tell"] * 20]:
        if isinstance(step, tuple):
            telling.take(lines(*step))
            known.add(lines(*step))
        elif step == "end":
            telling.take(end())
        elif step == "anew":
            telling.tell_anew()
            receiver = None
        elif (event := telling.next()) is not None:
            if isinstance(event, ScanStart):
                receiver = GrowingFrame(event)
            elif isinstance(event, ScanLines):
                assert receiver is not None
                assert receiver.add(event) == len(event.forward)
            else:
                over = True
            telling.told(event)
    assert over
    assert telling.next() is None
    assert receiver is not None
    np.testing.assert_array_equal(receiver.frame().data, known.frame().data)


def test_a_contradiction_is_the_end_of_a_scan() -> None:
    telling = Telling(start())
    telling.take(lines(0))
    with pytest.raises(GrowingError):
        telling.take(replace(lines(0), forward=np.full((1, 4), 9, np.float32)))
    telling.take(lines(1))
    told = []
    while (event := telling.next()) is not None:
        telling.told(event)
        told.append(event)
    assert [type(event) for event in told] == [ScanStart, ScanLines, ScanEnd]
    assert told[-1] == ScanEnd("1", ScanOutcome.LOST)


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_controller_alone_is_enough() -> None:
    arguments = parser().parse_args(["--nanonis", "192.168.0.7:6502", "--to", "tcp://pc:5650", "--no-backward"])
    settings = stream_settings_from(arguments)
    assert (settings.host, settings.port, settings.to) == ("192.168.0.7", 6502, "tcp://pc:5650")
    assert (settings.channel, settings.backward) == ("Z", False)
    assert settings.sender.endswith("/192.168.0.7:6502")


def test_files_and_scan_in_progress_come_from_one_sender(tmp_path: Path) -> None:
    told = ["--nanonis", "localhost:6501", "--nanonis-channel", "Current", "--watch", str(tmp_path / "Sessions")]
    settings = stream_settings_from(parser().parse_args([*told, "--to", "tcp://pc:5650", "--live-to", "tcp://pc:5651"]))
    assert settings.sender.endswith("/Sessions")
    assert (settings.to, settings.channel) == ("tcp://pc:5651", "Current")


@pytest.mark.parametrize("address", ["", ":", "host", "host:", ":6501", "host:0", "host:99999", "host:port", "h:²"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(AgentSetupError, match="--nanonis"):
        controller_address(address)


def test_a_numeric_address_may_stand_in_brackets() -> None:
    assert controller_address("[::1]:6501") == ("::1", 6501)


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ([], "nothing to send"),
        (["--nanonis", "localhost"], "write host and port"),
        (["--nanonis", "localhost:6501", "--once"], "leave --nanonis out"),
        (["--nanonis", "localhost:6501", "--sender", "a\nb"], "--sender"),
        (["--nanonis", "localhost:6501", "--nanonis-channel", " "], "--nanonis-channel"),
        (["--nanonis", "localhost:6501", "--watch", ".", "--bind"], "--live-to"),
        (["--nanonis", "localhost:6501", "--curve-key-file", "/no/such/file"], "cannot be read"),
    ],
    ids=str,
)
def test_the_command_line_says_in_one_sentence_why_it_cannot_run(
    told: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*told, "--to", "tcp://127.0.0.1:5650"]) == 2
    assert problem in capsys.readouterr().err


def test_an_endpoint_that_is_none_is_refused(watch: ScriptedWatch) -> None:
    with pytest.raises(AgentSetupError, match="not an endpoint"):
        ScanStream(StreamSettings("h", 1, "pc:5650", "stm"), watch)
    with pytest.raises(AgentSetupError, match="not an endpoint"):
        ScanStream(StreamSettings("h", 1, "tcp://127.0.0.1:99999", "stm"), watch)
    assert watch.closed
