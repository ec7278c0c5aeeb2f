"""Everything but the model, for a frame of 512 x 512 px: from the file on the disk to the message that was sent."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_result import Line, percentile
from bench_scans import drawn_scans

SIDE = 512
SIZES_NM = (15.0, 40.0)
"""The second as the demonstration scans: molecules of 1 to 2 nm, each some 20 px wide, up to three hundred of them."""
PICTURES = 8
WARM_UP = 5
GOAL_MS = 15.0
STAGES = ("digest", "read", "prepare", "locate", "draw", "pipe", "store", "publish")


def measure(folder: Path, arguments: argparse.Namespace) -> list[Line]:
    """Median and 95th percentile of every stage, and of their sum, with few molecules in the frame and with many."""
    from spm_live.daemon.worker import Worker
    from spm_live.errors import SetupError
    from spm_live.settings import ModelSettings

    try:
        worker = Worker(ModelSettings(name=arguments.model))
    except SetupError as error:
        return [Line("everything but the model", None, note=str(error))]
    lines: list[Line] = []
    for size_nm in SIZES_NM:
        place = folder / f"{size_nm:g}nm"
        place.mkdir()
        with _Publishing(place) as publishing:
            lines += _measure_size(place, size_nm, arguments.frames, worker, publishing)
    worker.stop()
    return lines


def _measure_size(folder: Path, size_nm: float, frames: int, worker: Any, publishing: _Publishing) -> list[Line]:
    pictures = [path.read_bytes() for path in drawn_scans(folder / "drawn", PICTURES, SIDE, size_nm=size_nm)]
    laps: dict[str, list[float]] = {stage: [] for stage in (*STAGES, "detect")}
    molecules: list[int] = []
    for number in range(WARM_UP + frames):
        path = folder / f"frame{number:05d}.sxm"
        # Another byte at the end makes another content, as the store sees it, of the same picture.
        path.write_bytes(pictures[number % PICTURES] + number.to_bytes(4, "big"))
        spent, found = _one_frame(path, worker, publishing)
        path.unlink()
        if number >= WARM_UP:
            molecules.append(found)
            for stage in laps:
                laps[stage].append(spent[stage])
    totals = [sum(laps[stage][i] for stage in STAGES) for i in range(frames)]
    what = f"everything but the model, {SIDE} x {SIDE} px, {size_nm:g} nm"
    note = f"{frames} frames, {statistics.mean(molecules):.0f} molecules each; p95 {percentile(totals, 0.95):.1f} ms"
    return [
        Line(f"{what}, median", statistics.median(totals), "ms", GOAL_MS, note=note),
        *(
            Line(f"  {stage}, median", statistics.median(spent), "ms", note=f"p95 {percentile(spent, 0.95):.2f} ms")
            for stage, spent in laps.items()
        ),
    ]


class _Publishing:
    """A store, a feed and the ZeroMQ publisher with one subscriber."""

    def __init__(self, folder: Path) -> None:
        from datetime import UTC, datetime

        import zmq

        from spm_live.domain import DaemonState, DaemonStatus
        from spm_live.publish.feed import Feed
        from spm_live.publish.store import Store
        from spm_live.publish.zeromq import ZeroMQPublisher
        from spm_live.settings import PublishSettings

        token = "benchmark-benchmark"
        status = DaemonStatus(DaemonState.RUNNING, datetime.now(UTC))
        self.store, self.feed = Store(folder / "store.sqlite3"), Feed()
        settings = PublishSettings(endpoint="tcp://127.0.0.1:*", snapshot_endpoint="tcp://127.0.0.1:*")
        self._publisher = ZeroMQPublisher(settings, self.feed, self.store, lambda: status, token)
        self._publisher.start()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.set(zmq.PLAIN_USERNAME, b"spm-live")
        self._socket.set(zmq.PLAIN_PASSWORD, token.encode())
        self._socket.subscribe("")
        self._socket.connect(self._publisher.endpoint)
        self.receive()  # the status that greets a subscriber: from here on nothing is missed

    def receive(self) -> None:
        """Wait for one message."""
        if not self._socket.poll(10_000):
            raise RuntimeError("no message came within 10 s")
        self._socket.recv_multipart()

    def __enter__(self) -> _Publishing:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close(0)
        self._context.term()
        self._publisher.stop()
        self.store.close()


def _one_frame(path: Path, worker: Any, publishing: _Publishing) -> tuple[dict[str, float], int]:
    """What the daemon does, call for call, with a worker process as it has."""
    from spm_live.domain import ReadOptions
    from spm_live.find import Job
    from spm_live.publish.store import FileKey
    from spm_live_drivers.registry import file_sha256

    spent: dict[str, float] = {}
    lap = _laps(spent)
    sha256 = file_sha256(path)
    publishing.store.known(sha256)
    lap("digest")
    processed = worker.process(Job(path, ReadOptions(), sha256), timeout_s=60)
    lap("pipe")
    spent["pipe"] -= sum(processed.timings_ms.values())
    status = path.stat()
    saved = publishing.store.save(processed, file=FileKey(path, status.st_size, status.st_mtime_ns))
    lap("store")
    if saved.message is None:
        raise RuntimeError(f"{path}: stored before")
    publishing.feed.publish("frame", saved.message)
    publishing.receive()
    lap("publish")
    return {**spent, **processed.timings_ms}, processed.map.total


def _laps(spent: dict[str, float]) -> Callable[[str], None]:
    last_s = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal last_s
        now_s = time.perf_counter()
        spent[stage] = 1e3 * (now_s - last_s)
        last_s = now_s

    return lap
