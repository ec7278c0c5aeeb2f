"""The client of the Nanonis controller, against a server that answers whatever a test wants, byte for byte."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from spm_live_drivers.contract import ScanDirection, Trace
from spm_live_drivers.nanonis import calls, link
from spm_live_drivers.nanonis.calls import ALLOWED, Call
from spm_live_drivers.nanonis.client import NanonisClient
from spm_live_drivers.nanonis.errors import (
    CommandRefusedError,
    LinkClosedError,
    LinkError,
    ReplyError,
    ReplyTimeoutError,
)
from spm_live_drivers.nanonis.link import Link
from spm_live_drivers.nanonis.replies import read_status

GOOD = struct.pack(">Ii", 0, 0)
RUNNING = struct.pack(">I", 1) + GOOD
SHORT_S = 0.15
"""Time-out of a client whose server is not going to answer."""

READ_ONLY = {
    "Scan.StatusGet",
    "Scan.WaitEndOfScan",
    "Scan.WaitEndOfLine",
    "Scan.FrameGet",
    "Scan.BufferGet",
    "Scan.FrameDataGrab",
    "Scan.SpeedGet",
    "Signals.NamesGet",
    "Util.SessionPathGet",
    "Util.VersionGet",
}
"""Every call that the manual describes as reading, of those that are needed."""


def response(name: str, body: bytes, size: int | None = None) -> bytes:
    return struct.pack(">32siI", name.encode(), len(body) if size is None else size, 0) + body


Script = Sequence["bytes | Callable[[socket.socket, str], None] | None"]
"""What is sent for each request in turn: bytes, nothing (the connection is closed), or whatever a function does."""


class RawServer:
    """Answers one request after another from a script; later ones like the last."""

    def __init__(self, script: Script) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._script = list(script)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(10)
        self.port: int = self._listener.getsockname()[1]
        self.release = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def names(self) -> list[str]:
        return [whole[:32].rstrip(b"\0").decode() for whole in self.requests]

    def close(self) -> None:
        self._stopping = True
        self.release.set()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            pass
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        while not self._stopping:
            connection, _ = self._listener.accept()
            if self._stopping:
                connection.close()
                return
            self.connections += 1
            with connection:
                connection.settimeout(10)
                with contextlib.suppress(OSError):
                    while self._one(connection):
                        pass

    def _one(self, connection: socket.socket) -> bool:
        header = self._exactly(connection, 40)
        if len(header) < 40:
            return False
        body = self._exactly(connection, struct.unpack(">i", header[32:36])[0])
        self.requests.append(header + body)
        answer = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if answer is None:
            return False
        if callable(answer):
            answer(connection, self.names[-1])
        else:
            connection.sendall(answer)
        return True

    @staticmethod
    def _exactly(connection: socket.socket, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = connection.recv(count - len(data))
            if not part:
                return data
            data += part
        return data


Serve = Callable[..., RawServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with contextlib.ExitStack() as stack:

        def server(*script: Any) -> RawServer:
            made = RawServer(script)
            stack.callback(made.close)
            return made

        yield server


def ask_status(server: RawServer, timeout_s: float = 5.0) -> bool:
    with NanonisClient("127.0.0.1", server.port, timeout_s=timeout_s) as client:
        return client.scan_status()


def test_a_question_is_sent_as_the_manual_has_it_and_its_answer_read(serve: Serve) -> None:
    server = serve(response("Scan.StatusGet", RUNNING))
    assert ask_status(server) is True
    assert server.requests == [b"Scan.StatusGet".ljust(32, b"\0") + bytes.fromhex("00000000 0001 0000")]


def test_arguments_are_sent_as_the_manual_has_them(serve: Serve) -> None:
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    body = (struct.pack(">i", 5) + b"Z (m)" + struct.pack(">ii", 2, 3) + data.astype(">f4").tobytes() + bytes(4)) + GOOD
    server = serve(
        response("Scan.FrameDataGrab", body),
        response("Scan.FrameDataGrab", body),
        response("Scan.WaitEndOfScan", struct.pack(">Ii", 1, 0) + GOOD),
    )
    with NanonisClient("127.0.0.1", server.port) as client:
        found = client.frame_data(30, Trace.FORWARD)
        client.frame_data(30, Trace.BACKWARD)
        assert client.wait_end_of_scan(0.2).timed_out
    assert [whole[40:] for whole in server.requests] == [
        struct.pack(">II", 30, 1),
        struct.pack(">II", 30, 0),
        struct.pack(">i", 200),
    ]
    np.testing.assert_array_equal(found.data, data)
    assert found.direction is ScanDirection.DOWN


def test_a_reply_may_come_byte_by_byte(serve: Serve) -> None:
    def dribble(connection: socket.socket, name: str) -> None:
        for byte in response(name, RUNNING):
            connection.sendall(bytes([byte]))

    assert ask_status(serve(dribble)) is True


def test_a_reply_cut_at_any_byte_is_a_closed_connection_and_the_next_question_opens_another(serve: Serve) -> None:
    whole = response("Scan.StatusGet", RUNNING)

    def cut(end: int) -> Callable[[socket.socket, str], None]:
        def send(connection: socket.socket, name: str) -> None:
            connection.sendall(whole[:end])
            connection.shutdown(socket.SHUT_RDWR)

        return send

    server = serve(*(step for end in range(len(whole)) for step in (cut(end), whole)))
    with NanonisClient("127.0.0.1", server.port) as client:
        for _ in range(len(whole)):
            with pytest.raises(LinkClosedError):
                client.scan_status()
            assert client.scan_status() is True
        assert client.connections == len(whole) + 1


def test_a_frame_cut_in_its_middle_is_a_closed_connection(serve: Serve) -> None:
    body = struct.pack(">i", 5) + b"Z (m)" + struct.pack(">ii", 256, 256) + bytes(4 * 256 * 256 + 4) + GOOD

    def hang_up(connection: socket.socket, name: str) -> None:
        connection.sendall(response(name, body[:100_000], len(body)))
        connection.shutdown(socket.SHUT_RDWR)

    server = serve(hang_up, response("Scan.FrameDataGrab", body))
    with NanonisClient("127.0.0.1", server.port) as client:
        with pytest.raises(LinkClosedError, match="within its reply"):
            client.frame_data(30, Trace.FORWARD)
        assert client.frame_data(30, Trace.FORWARD).data.shape == (256, 256)


@pytest.mark.parametrize("size", [-1, -(2**31), 2**31 - 1, 7, 10_000_000])
def test_a_declared_size_that_cannot_be_is_refused_before_anything_is_read(serve: Serve, size: int) -> None:
    server = serve(response("Scan.StatusGet", RUNNING, size), response("Scan.StatusGet", RUNNING))
    with NanonisClient("127.0.0.1", server.port) as client:
        with pytest.raises(ReplyError, match=f"a reply of {size} bytes"):
            client.scan_status()
        assert client.scan_status() is True
    assert server.connections == 2


def test_a_frame_may_not_be_larger_than_its_buffer(serve: Serve) -> None:
    server = serve(response("Scan.FrameDataGrab", b"", 4 * 64 * 64 + 200_000))
    with NanonisClient("127.0.0.1", server.port) as client, pytest.raises(ReplyError, match="accepted"):
        client.frame_data(30, Trace.FORWARD, pixels=64 * 64)


def test_a_size_takes_no_memory_before_its_bytes_come(serve: Serve) -> None:
    def promise(connection: socket.socket, name: str) -> None:
        connection.sendall(response(name, bytes(100_000), 200_000_000))
        connection.shutdown(socket.SHUT_RDWR)

    asked = Link("127.0.0.1", serve(promise).port, 5.0)
    with pytest.raises(LinkClosedError):
        asked.ask(calls.FRAME_DATA, 30, 1)
    assert len(asked._buffer) <= 4 * 100_000
    asked.close()


def test_the_answer_to_another_question_is_refused(serve: Serve) -> None:
    server = serve(response("Scan.FrameGet", RUNNING), response("Scan.StatusGet", RUNNING))
    with NanonisClient("127.0.0.1", server.port) as client:
        with pytest.raises(ReplyError, match=r"Scan\.StatusGet was asked and 'Scan\.FrameGet' answered"):
            client.scan_status()
        assert client.scan_status() is True
    assert server.connections == 2


def test_a_reply_that_comes_late_is_never_taken_for_another_one(serve: Serve) -> None:
    """Both answers would fit both questions: only a new connection tells them apart."""
    late = threading.Event()

    def later(connection: socket.socket, name: str) -> None:
        late.wait(10)
        with contextlib.suppress(OSError):
            connection.sendall(response(name, RUNNING))

    server = serve(later, response("Scan.StatusGet", struct.pack(">I", 0) + GOOD))
    with NanonisClient("127.0.0.1", server.port, timeout_s=SHORT_S) as client:
        with pytest.raises(ReplyTimeoutError):
            client.scan_status()
        late.set()
        client._link.timeout_s = 5.0
        assert client.scan_status() is False


def test_a_reply_that_stops_half_way_is_given_up(serve: Serve) -> None:
    server = serve(response("Scan.StatusGet", RUNNING)[:50], response("Scan.StatusGet", RUNNING))
    with NanonisClient("127.0.0.1", server.port, timeout_s=SHORT_S) as client:
        with pytest.raises(ReplyTimeoutError, match="10 of 12 bytes came"):
            client.scan_status()
        client._link.timeout_s = 5.0
        assert client.scan_status() is True
    assert server.connections == 2


def test_bytes_that_nobody_asked_for_end_the_connection(serve: Serve) -> None:
    seen = threading.Event()

    def more(connection: socket.socket, name: str) -> None:
        connection.sendall(response(name, RUNNING) + b"more")
        seen.set()

    server = serve(more, response("Scan.StatusGet", struct.pack(">I", 0) + GOOD))
    with NanonisClient("127.0.0.1", server.port) as client:
        assert client.scan_status() is True
        seen.wait(10)
        assert client.scan_status() is False
    assert server.connections == 2


def test_a_controller_that_was_restarted_between_two_questions_is_asked_on_a_new_connection(serve: Serve) -> None:
    closed = threading.Event()

    def last(connection: socket.socket, name: str) -> None:
        connection.sendall(response(name, RUNNING))
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    server = serve(last, response("Scan.StatusGet", RUNNING))
    with NanonisClient("127.0.0.1", server.port) as client:
        assert client.scan_status() is True
        closed.wait(10)
        assert client.scan_status() is True
        assert client.connections == 2


def test_a_controller_that_is_not_there_is_told_with_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with NanonisClient("127.0.0.1", port) as client, pytest.raises(LinkClosedError, match=str(port)):
        client.scan_status()


def test_a_refusal_leaves_the_connection_as_it_is(serve: Serve) -> None:
    refusal = struct.pack(">Ii", 1, 7) + b"unknown"
    server = serve(response("Scan.WaitEndOfLine", refusal), response("Scan.StatusGet", RUNNING))
    with NanonisClient("127.0.0.1", server.port) as client:
        with pytest.raises(CommandRefusedError, match=r"Scan\.WaitEndOfLine is refused: unknown"):
            client.wait_end_of_line(0.1)
        assert client.scan_status() is True
    assert server.connections == 1


def test_a_limit_for_all_questions_together_holds_for_each(serve: Serve) -> None:
    now = [0.0]

    def slow(connection: socket.socket, name: str) -> None:
        now[0] += 0.7
        connection.sendall(response(name, RUNNING))

    server = serve(slow)
    with NanonisClient("127.0.0.1", server.port, timeout_s=5.0, clock=lambda: now[0]) as client:
        client.finish_within(1.0)
        assert client.scan_status() is True
        with pytest.raises(LinkError):
            client.scan_status()
        with pytest.raises(ReplyTimeoutError, match="was not asked"):
            client.scan_status()
        client.finish_within(None)
        assert client.scan_status() is True


def test_bytes_of_a_later_release_are_counted(serve: Serve) -> None:
    server = serve(response("Scan.StatusGet", struct.pack(">I", 1) + b"extra" + GOOD))
    with NanonisClient("127.0.0.1", server.port) as client:
        assert client.scan_status() is True
        assert client.unknown_bytes == {"Scan.StatusGet": 5}


def test_an_error_that_is_kept_does_not_hold_the_buffer(serve: Serve) -> None:
    """The buffer cannot grow while a part of it is looked at: no error may keep hold of one."""
    large = struct.pack(">i", 5) + b"Z (m)" + struct.pack(">ii", 300, 300) + bytes(4 * 90_000 + 4) + GOOD
    server = serve(
        response("Scan.StatusGet", b"\xff" * 50),
        response("Scan.FrameDataGrab", large[:60_000] + GOOD),
        response("Scan.FrameDataGrab", large),
    )
    kept = []
    with NanonisClient("127.0.0.1", server.port) as client:
        for question in (client.scan_status, lambda: client.frame_data(1, Trace.FORWARD)):
            with pytest.raises(ReplyError) as caught:
                question()
            kept.append(caught)
        assert client.frame_data(1, Trace.FORWARD).data.shape == (300, 300)
    assert len(kept) == 2


# --- read-only by construction ---------------------------------------------------------------------------------------


def test_every_call_that_can_be_sent_reads() -> None:
    assert {call.name for call in ALLOWED} == READ_ONLY
    assert isinstance(ALLOWED, frozenset)
    defined = {value for value in vars(calls).values() if isinstance(value, Call)}
    assert defined == ALLOWED
    for call in ALLOWED:
        with pytest.raises(AttributeError):
            call.name = "Scan.Action"  # type: ignore[misc]


@pytest.mark.parametrize("name", ["Scan.Action", "Scan.FrameSet", "Bias.Set", "Scan.StatusGet"])
def test_a_call_that_is_put_together_elsewhere_is_not_sent_whatever_its_name(serve: Serve, name: str) -> None:
    server = serve(response("Scan.StatusGet", RUNNING))
    asked = Link("127.0.0.1", server.port, 5.0)
    with pytest.raises(ValueError, match="not among the calls"):
        asked.ask(Call(name, read_status))
    with pytest.raises(ValueError, match="not among the calls"):
        asked.ask(name)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Scan\.StatusGet with"):
        asked.ask(calls.SCAN_STATUS, 1)
    assert asked.ask(calls.SCAN_STATUS) is True
    asked.close()
    assert server.names == ["Scan.StatusGet"]


def test_nothing_else_in_the_package_writes_to_a_socket() -> None:
    """Every request goes through ``Link.ask``, which takes members of the table."""
    writers = {name for name in ("send", "sendall", "sendto", "sendmsg", "sendfile") if f".{name}(" in _source(link)}
    assert writers == {"sendall"}
    assert _source(link).count(".sendall(") == 1
    for module in ("calls", "channels", "client", "follow", "framing", "pace", "progress", "told", "view", "watch"):
        source = _source(__import__(f"spm_live_drivers.nanonis.{module}", fromlist=["x"]))
        assert ".sendall(" not in source
        assert "socket" not in source


def _source(module: Any) -> str:
    with open(module.__file__, encoding="utf-8") as file:  # noqa: PTH123
        return file.read()
