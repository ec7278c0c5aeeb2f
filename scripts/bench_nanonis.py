"""Asking a Nanonis controller for a frame, beside the public client nanonis_spm on the same connection speed.

Both ask one server over loopback, in this process: a server that sends a reply it has put together beforehand, so that
its own work counts for little. nanonis_spm is asked through ``Scan_FrameDataGrab``, as its users do.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import socket
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from bench_result import Line

SIDE = 512
CHANNEL = 30
GOAL_RATIO = 20.0
OURS_PER_ROUND = 20
THEIRS_PER_ROUND = 2


def measure(folder: Path, arguments: argparse.Namespace) -> list[Line]:
    """What a look costs, and the ratio of the two clients."""
    return bench_frame_data_grab(rounds=arguments.rounds) + _bench_look()


def bench_frame_data_grab(side: int = SIDE, rounds: int = 5) -> list[Line]:
    """Time a Scan.FrameDataGrab with both clients in turn; the median of the ratios of the rounds counts.

    Parameters
    ----------
    side : int
        Pixels per line, and lines.
    rounds : int
        Repetitions.
    """
    try:
        from nanonis_spm import Nanonis
    except ImportError:
        return [Line("FrameDataGrab, over nanonis_spm", None, note="nanonis_spm is not installed")]
    from spm_live_drivers.contract import Trace
    from spm_live_drivers.nanonis.client import NanonisClient

    frame = np.random.default_rng(0).normal(scale=1e-10, size=(side, side)).astype(np.float32)
    ours: list[float] = []
    theirs: list[float] = []
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(_server(frame))
        client = stack.enter_context(NanonisClient("127.0.0.1", port))
        public = Nanonis(stack.enter_context(socket.create_connection(("127.0.0.1", port))))
        _check(frame, client.frame_data(CHANNEL, Trace.FORWARD).data, _quiet(public))
        for _ in range(rounds):
            ours.append(_per_call_ms(lambda: client.frame_data(CHANNEL, Trace.FORWARD), OURS_PER_ROUND))
            theirs.append(_per_call_ms(lambda: _quiet(public), THEIRS_PER_ROUND))
    ratios = [slow / fast for slow, fast in zip(theirs, ours, strict=True)]
    spread = f"{min(ratios):.0f} to {max(ratios):.0f} over {rounds} rounds"
    return [
        Line(f"FrameDataGrab {side} x {side}, nanonis_spm", statistics.median(theirs), "ms"),
        Line(f"FrameDataGrab {side} x {side}, ours", statistics.median(ours), "ms"),
        Line("FrameDataGrab, over nanonis_spm", statistics.median(ratios), "x", GOAL_RATIO, at_least=True, note=spread),
    ]


def _bench_look() -> list[Line]:
    """What finding the new lines costs once the data are there."""
    from spm_live_drivers.nanonis.progress import Progress

    lines = []
    for side in (SIDE, 2048):
        rng = np.random.default_rng(1)
        truth = rng.normal(size=(2, side, side)).astype(np.float32)
        progress = Progress(*(np.full((side, side), np.nan, dtype=np.float32) for _ in range(2)))
        spent: list[float] = []
        for done in range(side // 2, side // 2 + 12):
            buffer = np.full_like(truth, np.nan)
            buffer[:, :done] = truth[:, :done]
            began_s = time.perf_counter()
            progress.look(buffer[0], buffer[1], mirrored=False)
            spent.append(1e3 * (time.perf_counter() - began_s))
        lines.append(Line(f"new lines found in both traces, {side} x {side}", statistics.median(spent[2:]), "ms"))
    return lines


def _check(frame: np.ndarray, ours: np.ndarray, theirs: Any) -> None:
    """Both clients must have read the frame."""
    parsed = next(part for part in theirs[2] if isinstance(part, np.ndarray))
    if not (np.array_equal(ours, frame) and np.array_equal(parsed.astype(np.float32), frame)):
        raise RuntimeError("the two clients do not read the same frame")


def _quiet(public: Any) -> Any:
    """Ask with nanonis_spm, which prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return public.Scan_FrameDataGrab(CHANNEL, 1)


def _per_call_ms(call: Callable[[], object], count: int) -> float:
    began_s = time.perf_counter()
    for _ in range(count):
        call()
    return 1e3 * (time.perf_counter() - began_s) / count


@contextlib.contextmanager
def _server(frame: np.ndarray) -> Iterator[int]:
    """Answer every request with one frame, on two connections."""
    name = b"Z (m)"
    body = struct.pack(">i", len(name)) + name + struct.pack(">ii", *frame.shape) + frame.astype(">f4").tobytes()
    body += struct.pack(">I", 1) + struct.pack(">Ii", 0, 0)
    reply = struct.pack(">32siI", b"Scan.FrameDataGrab", len(body), 0) + body

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while _read(connection, 48):
                connection.sendall(reply)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads: list[threading.Thread] = []

        def accept() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        yield listener.getsockname()[1]
        accepting.join(5)
    for thread in threads:
        thread.join(5)


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            return b""
        data += part
    return data


if __name__ == "__main__":
    for line in bench_frame_data_grab() + _bench_look():
        print(line)
