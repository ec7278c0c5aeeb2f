"""The server of the simulated controller: framing, connections, calls that cannot be, and replies that go wrong."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scan_bench import HandClock

from spm_live_drivers.simulate import (
    ControllerOptions,
    Fault,
    FaultPlan,
    ScanPlan,
    SimulatedController,
    SimulatedInstrument,
)
from spm_live_drivers.simulate.framing import RequestError, read_header, reply, status, string, strings, table

PLAN = ScanPlan(pixels=32, size_nm=12.0, line_time_s=1.0, seed=2)
NEVER_S = 20.0


Make = Callable[..., tuple[SimulatedController, HandClock]]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with contextlib.ExitStack() as stack:

        def controller(*faults: Fault, **options: Any) -> tuple[SimulatedController, HandClock]:
            clock = HandClock(50.0)
            made = SimulatedController(
                SimulatedInstrument(tmp_path, PLAN),
                ControllerOptions(**options),
                faults=FaultPlan(faults, seed=3),
                clock=clock,
            )
            stack.enter_context(made)
            made.step()
            return made, clock

        yield controller


def request(name: str, body: bytes = b"", size: int | None = None, wanted: int = 1) -> bytes:
    return struct.pack(">32siHH", name.encode(), len(body) if size is None else size, wanted, 0) + body


def read(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = peer.recv(count - len(data))
        if not part:
            raise EOFError(f"closed after {len(data)} of {count} bytes")
        data += part
    return data


def ask(peer: socket.socket, name: str, body: bytes = b"") -> tuple[str, bytes]:
    peer.sendall(request(name, body))
    head, size = struct.unpack(">32si4x", read(peer, 40))
    return head.rstrip(b"\0").decode(), read(peer, size)


@contextlib.contextmanager
def connected(controller: SimulatedController) -> Iterator[socket.socket]:
    with socket.create_connection(controller.address, timeout=NEVER_S) as peer:
        yield peer


def test_the_bytes_are_those_of_the_manual() -> None:
    sent = bytes.fromhex("466F6C4D652E5859506F73476574" + "00" * 18 + "00000004" + "0001" + "0000")
    header = read_header(sent)
    assert (header.name, header.body_bytes, header.reply_wanted) == ("FolMe.XYPosGet", 4, True)
    body = struct.pack(">dd", 5e-9, -5e-9) + status()
    expected = bytes.fromhex(
        "466F6C4D652E5859506F73476574"
        + "00" * 18
        + "00000018"
        + "00" * 4
        # The manual prints the first eight digits of each number: 5 nm and -5 nm.
        + "3E35798EE2308C3A"
        + "BE35798EE2308C3A"
        + "00" * 8
    )
    assert reply("FolMe.XYPosGet", body) == expected


def test_the_parts_of_a_reply_are_laid_out_as_documented() -> None:
    assert string("ab") == b"\0\0\0\2ab"
    assert strings(["a", "bc"]) == b"\0\0\0\x0b" + b"\0\0\0\2" + b"\0\0\0\1a" + b"\0\0\0\2bc"
    assert table(np.array([[1.0, 2.0]], np.float32)) == struct.pack(">iiff", 1, 2, 1.0, 2.0)
    assert status("no") == b"\0\0\0\1" + b"\0\0\0\2no"


@pytest.mark.parametrize("size", [-1, -(2**31), 65537, 2**31 - 1])
def test_a_wild_size_is_no_request_and_closes_the_connection(make: Make, size: int) -> None:
    with pytest.raises(RequestError, match=str(size)):
        read_header(request("Scan.StatusGet", size=size))
    controller, _ = make()
    with connected(controller) as peer:
        peer.sendall(request("Scan.StatusGet", size=size))
        assert peer.recv(1) == b""
    with connected(controller) as peer:
        assert ask(peer, "Scan.StatusGet")[1] == struct.pack(">IIi", 1, 0, 0)


@pytest.mark.parametrize("name", [b"", b"\xff\xfe", b"a\nb"])
def test_a_name_that_is_no_text_closes_the_connection(make: Make, name: bytes) -> None:
    controller, _ = make()
    with connected(controller) as peer:
        peer.sendall(struct.pack(">32siHH", name, 0, 1, 0))
        assert peer.recv(1) == b""


def test_an_unknown_call_gets_an_error_and_the_connection_lives(make: Make) -> None:
    controller, _ = make()
    with connected(controller) as peer:
        name, body = ask(peer, "Scan.Action", bytes(6))
        assert name == "Scan.Action"
        failed, size = struct.unpack(">Ii", body[:8])
        assert failed == 1
        assert len(body) == 8 + size
        assert b"not known" in body
        assert ask(peer, "Scan.StatusGet")[1] == struct.pack(">IIi", 1, 0, 0)


@pytest.mark.parametrize("body", [b"", bytes(7), bytes(9), struct.pack(">II", 99, 1), struct.pack(">II", 30, 7)])
def test_arguments_that_make_no_sense_get_an_error(make: Make, body: bytes) -> None:
    controller, _ = make()
    with connected(controller) as peer:
        answer = ask(peer, "Scan.FrameDataGrab", body)[1]
        assert b"Scan.FrameDataGrab: " in answer
        assert ask(peer, "Scan.StatusGet")[1][:4] == b"\0\0\0\1"


def test_a_request_that_wants_no_reply_gets_none(make: Make) -> None:
    controller, _ = make()
    with connected(controller) as peer:
        peer.sendall(request("Scan.FrameGet", wanted=0))
        assert ask(peer, "Scan.StatusGet")[0] == "Scan.StatusGet"


def test_the_older_release_does_not_know_the_end_of_a_line(make: Make) -> None:
    controller, _ = make(release=2021)
    with connected(controller) as peer:
        assert b"not known" in ask(peer, "Scan.WaitEndOfLine", struct.pack(">i", 0))[1]
        version = ask(peer, "Util.VersionGet")[1]
        assert struct.unpack(">I", version[-16:-12])[0] < 11798


def test_four_clients_are_served_and_a_fifth_is_turned_away(make: Make) -> None:
    controller, _ = make()
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(connected(controller)) for _ in range(4)]
        for peer in peers:
            assert ask(peer, "Scan.StatusGet")[1][:4] == b"\0\0\0\1"
        fifth = stack.enter_context(connected(controller))
        assert fifth.recv(1) == b""
        assert ask(peers[0], "Scan.StatusGet")[1][:4] == b"\0\0\0\1"


def test_the_end_of_a_line_is_waited_for(make: Make) -> None:
    controller, clock = make()
    with connected(controller) as peer, ThreadPoolExecutor(1) as pool:
        assert struct.unpack(">I", ask(peer, "Scan.WaitEndOfLine", struct.pack(">i", 0))[1][:4]) == (1,)
        waiting = pool.submit(ask, peer, "Scan.WaitEndOfLine", struct.pack(">i", -1))
        while not waiting.done():  # nobody knows when the request arrives
            clock.now += 0.5
            controller.step()
        timed_out, line, move, number = struct.unpack(">IiHi", waiting.result()[1][:14])
    assert (timed_out, number) == (0, 0)
    assert move in (0, 1)
    assert 0 <= line < 32


def test_a_waiting_client_is_let_go_when_the_server_stops(make: Make) -> None:
    controller, _ = make()
    with connected(controller) as peer, ThreadPoolExecutor(1) as pool:
        assert ask(peer, "Scan.StatusGet")[0] == "Scan.StatusGet"
        waiting = pool.submit(ask, peer, "Scan.WaitEndOfScan", struct.pack(">i", -1))
        controller.stop()
        with pytest.raises((EOFError, OSError)):
            waiting.result(timeout=NEVER_S)


def test_half_a_reply_ends_the_connection_and_the_next_one_is_whole(make: Make) -> None:
    controller, clock = make(Fault("half-reply", 1, 3))
    with connected(controller) as peer:
        ask(peer, "Scan.StatusGet")
        clock.now += 3
        controller.step()
        with pytest.raises(EOFError):
            ask(peer, "Scan.FrameDataGrab", struct.pack(">II", 30, 1))
    with connected(controller) as peer:
        assert ask(peer, "Scan.FrameDataGrab", struct.pack(">II", 30, 1))[1][-8:] == bytes(8)
    (injected,) = controller.faults.injected
    assert (injected.name, injected.frame, injected.line) == ("half-reply", 1, 3)
    assert "Scan.FrameDataGrab" in injected.detail
    assert "frame=1 number=1 line=3" in str(injected)


def test_a_fault_may_wait_for_the_reply_to_one_call(make: Make) -> None:
    controller, clock = make(Fault("wrong-name", 1, 1, "Scan.FrameGet"))
    clock.now += 1
    controller.step()
    with connected(controller) as peer:
        assert ask(peer, "Scan.StatusGet")[0] == "Scan.StatusGet"
        assert controller.faults.injected == ()
        assert ask(peer, "Scan.FrameGet")[0] == "Scan.Action"
        assert ask(peer, "Scan.FrameGet")[0] == "Scan.FrameGet"
    with pytest.raises(ValueError, match="no fault of a reply"):
        Fault("stopped", 1, 1, "Scan.FrameGet")


def test_a_reply_under_another_name(make: Make) -> None:
    controller, clock = make(Fault("wrong-name", 1, 1))
    clock.now += 1
    controller.step()
    with connected(controller) as peer:
        assert ask(peer, "Scan.StatusGet")[0] == "Scan.Action"
        assert ask(peer, "Scan.StatusGet")[0] == "Scan.StatusGet"


def test_wrong_sizes_are_of_every_kind(make: Make) -> None:
    controller, clock = make(*(Fault("wrong-size", 1, line) for line in range(16)))
    declared = set()
    for _ in range(16):
        clock.now += 1
        controller.step()
        with connected(controller) as peer:
            peer.sendall(request("Scan.FrameDataGrab", struct.pack(">II", 30, 1)))
            size, inner = struct.unpack(">32xi4xi", read(peer, 44))
            declared.add((size, inner))
    true = 4 + len("Z (m)") + 8 + 4 * 32 * 32 + 4 + 8
    assert declared == {(-1, 5), (2**31 - 1, 5), (true - 8, 5), (true, 2**31 - 1)}
    assert len(controller.faults.injected) == 16


def test_a_slow_reply_comes_whole_in_the_end_and_does_not_hold_up_a_stop(make: Make) -> None:
    controller, _ = make(Fault("slow-reply", 1, 0), Fault("slow-reply", 1, 0), slow_reply_s=0.0)
    controller.step()
    with connected(controller) as peer:
        assert len(ask(peer, "Scan.FrameDataGrab", struct.pack(">II", 30, 1))[1]) > 4096
    slow, _ = make(Fault("slow-reply", 1, 0), slow_reply_s=3600.0)
    slow.step()
    with connected(slow) as peer:
        peer.sendall(request("Scan.FrameGet"))
        assert read(peer, 1)
        slow.stop()
        with contextlib.suppress(OSError):
            assert len(peer.recv(1000)) < 68


@pytest.mark.parametrize("name", ["restart", "restart-anew"])
def test_a_restart_drops_everybody_and_comes_back_on_the_same_port(make: Make, name: str) -> None:
    controller, clock = make(Fault(name, 1, 5), restart_s=4.0)
    with connected(controller) as peer:
        ask(peer, "Scan.StatusGet")
        clock.now += 5
        controller.step()
        with contextlib.suppress(OSError):
            assert peer.recv(1) == b""
    with pytest.raises(OSError), connected(controller) as peer:
        ask(peer, "Scan.StatusGet")
    clock.now += 4
    controller.step()
    with connected(controller) as peer:
        data = ask(peer, "Scan.FrameDataGrab", struct.pack(">II", 30, 1))[1]
    picture = np.frombuffer(data, ">f4", 32 * 32, offset=4 + 5 + 8).reshape(32, 32)
    done = int(np.isfinite(picture).all(axis=1).sum())
    assert done == (9 if name == "restart" else 0)


def test_a_port_that_is_taken_is_refused_and_nothing_is_left(make: Make, tmp_path: Path) -> None:
    controller, _ = make()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        second = SimulatedController(SimulatedInstrument(tmp_path, PLAN), port=other.getsockname()[1])
        with pytest.raises(OSError):
            second.start()
        second.stop()
    controller.stop()
    controller.stop()
