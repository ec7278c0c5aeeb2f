"""The lab of a soak test: a real daemon, someone who listens to it, a webhook, and a look at what the daemon holds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import msgpack
import psutil
import zmq

TOKEN = "soak-test-soak-test"
START_S = 120.0
STOP_S = 30.0
SAMPLE_S = 1.0
CONFIGURATION = """
[[folders]]
path = '{scans}'
settle_s = 0.1
quiet_s = 8
poll_s = 0.5

[[nanonis]]
port = {controller}
name = "soak"
poll_s = 0.02
timeout_s = {timeout_s}

[live]
file_wait_s = 20

[model]
name = '{model}'

[store]
path = '{store}'

[web]
enabled = false
token = '{token}'

[publish]
endpoint = 'tcp://127.0.0.1:{port}'
snapshot_endpoint = 'tcp://127.0.0.1:{snapshot_port}'

[[rules]]
name = "bad scan"
when = "quality"

[[rules]]
name = "tip changed"
when = "tip_change"

[[rules]]
name = "covered"
when = "coverage"
above = 0.05
lines = 20
command = ['{python}', '-c', 'import sys; sys.stdin.read()']

[[rules]]
name = "done"
when = "finished"
webhook = 'http://127.0.0.1:{webhook}/done'

[[rules]]
name = "empty"
when = "nothing_found"
lines = 100
"""


class LabError(RuntimeError):
    """The daemon did not start, or ended by itself."""


class Daemon:
    """``spm-live run`` as a process of its own.

    Parameters
    ----------
    folder : Path
        For its files: ``soak.toml``, ``daemon.log``, ``scans``, ``results``.
    model : str
        Name or folder.
    controller, webhook : int
        Ports on this machine.
    timeout_s : float
        How long the daemon waits for a reply of the controller, in s.
    """

    def __init__(self, folder: Path, model: str, controller: int, webhook: int, timeout_s: float) -> None:
        self.scans = folder / "scans"
        self.store = folder / "results" / "soak.sqlite3"
        self.log = folder / "daemon.log"
        self.port, snapshot_port = _free_ports()
        self.configuration = folder / "soak.toml"
        self.configuration.write_text(
            CONFIGURATION.format(
                scans=self.scans,
                controller=controller,
                timeout_s=timeout_s,
                model=model,
                store=self.store,
                token=TOKEN,
                port=self.port,
                snapshot_port=snapshot_port,
                webhook=webhook,
                python=sys.executable,
            ),
            encoding="utf-8",
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin; ready when its first status is heard."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "spm_live", "run", "--config", str(self.configuration)],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=os.name != "nt",  # a Ctrl-C is for the soak test; it ends the daemon in good order
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )

    def stop(self) -> int:
        """End it as a service does; its exit code."""
        process = self._running()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM if os.name != "nt" else signal.CTRL_BREAK_EVENT)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        return process.returncode

    def worker(self) -> psutil.Process | None:
        """The process that computes; None while it is started anew."""
        try:
            for child in psutil.Process(self._running().pid).children():
                if any("spawn_main" in part for part in child.cmdline()):
                    return child
        except psutil.Error:
            pass
        return None

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise LabError("the daemon was not started")
        return self.process


class Listener:
    """Hears every message of a daemon, and remembers what the verdict needs.

    Parameters
    ----------
    port : int
        Of the PUB socket.
    """

    def __init__(self, port: int) -> None:
        self.counts: Counter[str] = Counter()
        self.frames: Counter[int] = Counter()
        self.scans: dict[str, tuple[int, str, str]] = {}
        """Key of each scan that was announced to its last revision, state and name."""
        self.begun: dict[str, datetime] = {}
        """Name of each scan to when the daemon first heard of it, UTC."""
        self.notices: Counter[str] = Counter()
        self.done: set[int] = set()
        """Frames that the rule "done" told of."""
        self.wrong: list[str] = []
        """What no message should be."""
        self.lost = 0
        self.ready = threading.Event()
        self.heard_s = time.monotonic()
        """When something other than a status was heard last."""
        self._port = port
        self._seq: int | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="soak-listener")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def unended(self) -> list[str]:
        """Scans that were announced and of which nobody said how they ended."""
        return [
            f"{name or key} is {state}"
            for key, (_, state, name) in self.scans.items()
            if state not in {"replaced", "ended"}
        ]

    def _listen(self) -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.set(zmq.PLAIN_USERNAME, b"spm-live")
            socket.set(zmq.PLAIN_PASSWORD, TOKEN.encode())
            socket.set(zmq.RECONNECT_IVL, 100)
            socket.set(zmq.RCVHWM, 0)
            socket.set(zmq.LINGER, 0)
            socket.subscribe("")
            socket.connect(f"tcp://127.0.0.1:{self._port}")
            while not self._stopping.is_set():
                if socket.poll(200):
                    topic, body = socket.recv_multipart()
                    self._take(topic.decode(), msgpack.unpackb(body))

    def _take(self, kind: str, message: dict[str, Any]) -> None:
        self.ready.set()
        self.counts[kind] += 1
        if kind != "live":
            if self._seq is not None:
                self.lost += message["seq"] - self._seq - 1
            self._seq = message["seq"]
        if kind != "status":
            self.heard_s = time.monotonic()
        if kind == "frame":
            self.frames[message["id"]] += 1
        elif kind == "notice":
            self.notices[message["rule"]] += 1
            if message["rule"] == "done" and message["frame_id"] is not None:
                self.done.add(message["frame_id"])
        elif kind == "live":
            self._take_live(message)

    def _take_live(self, message: dict[str, Any]) -> None:
        key, revision, state = message["key"], message["revision"], message["state"]
        before = self.scans.get(key)
        if before is not None and before[0] >= revision:
            self.wrong.append(f"scan {message['name']}: revision {revision} after {before[0]}")
        if before is not None and before[1] == "replaced":
            self.wrong.append(f"scan {message['name']}: {state} after replaced")
        if message["lines_done"] > message["rows"]:
            self.wrong.append(f"scan {message['name']}: {message['lines_done']} of {message['rows']} lines")
        self.scans[key] = (revision, state, message["name"])
        self.begun.setdefault(message["scan"], datetime.fromisoformat(message["begun"]))


class Webhook(ThreadingHTTPServer):
    """Takes notices, and says no when it was told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.frames: set[int] = set()
        self.refused: set[int] = set()
        self.refuse_next = 0
        self._thread = threading.Thread(target=self.serve_forever, name="soak-webhook")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Answer(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        notice = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        frame = notice["frame_id"]
        refuse = self.server.refuse_next > 0
        if refuse:
            self.server.refuse_next -= 1
        if frame is not None:
            (self.server.refused if refuse else self.server.frames).add(frame)
        self.send_response(404 if refuse else 204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the daemon and its worker held at one moment.

    Parameters
    ----------
    frames : int
        Frames stored by then.
    daemon_mb, worker_mb : float
        Resident memory.
    threads, files : int
        Of both together; ``files`` are open files, sockets and, on Windows, handles.
    """

    frames: int
    daemon_mb: float
    worker_mb: float
    threads: int
    files: int

    @property
    def total_mb(self) -> float:
        """Memory of both."""
        return self.daemon_mb + self.worker_mb


class Resources:
    """Looks every second at what a daemon and its worker hold.

    Parameters
    ----------
    daemon : Daemon
        Running.
    listener : Listener
        Tells how many frames were stored.
    """

    def __init__(self, daemon: Daemon, listener: Listener) -> None:
        self.samples: list[Sample] = []
        self._daemon = daemon
        self._listener = listener
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._look, name="soak-resources")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def tenths(self) -> list[Sample]:
        """Medians of the samples, a tenth of the frames each."""
        samples = list(self.samples)
        if not samples or not samples[-1].frames:
            return []
        parts: list[list[Sample]] = [[] for _ in range(10)]
        for sample in samples:
            parts[min(9, 10 * sample.frames // samples[-1].frames)].append(sample)
        return [_median(part) for part in parts if part]

    def _look(self) -> None:
        while not self._stopping.wait(SAMPLE_S):
            process, worker = self._daemon.process, self._daemon.worker()
            if process is None or worker is None:
                continue
            try:
                held = list(_held(psutil.Process(process.pid), worker))
            except psutil.Error:
                continue  # it ended between the questions
            (daemon_mb, threads, files), (worker_mb, worker_threads, worker_files) = held
            frames = self._listener.counts["frame"]
            self.samples.append(Sample(frames, daemon_mb, worker_mb, threads + worker_threads, files + worker_files))


def _held(*processes: psutil.Process) -> Iterator[tuple[float, int, int]]:
    for process in processes:
        with process.oneshot():
            files = process.num_handles() if os.name == "nt" else process.num_fds()
            yield process.memory_info().rss / 1e6, process.num_threads(), files


def _median(samples: list[Sample]) -> Sample:
    def middle(name: str) -> Any:
        values = sorted(getattr(sample, name) for sample in samples)
        return values[len(values) // 2]

    return Sample(*(middle(name) for name in ("frames", "daemon_mb", "worker_mb", "threads", "files")))


def _free_ports() -> tuple[int, int]:
    with zmq.Context() as context, context.socket(zmq.PUB) as first, context.socket(zmq.PUB) as second:
        return tuple(socket.bind_to_random_port("tcp://127.0.0.1") for socket in (first, second))  # type: ignore[return-value]
