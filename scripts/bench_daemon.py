"""A real daemon as a process of its own, and someone who listens to it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgpack
import zmq

if TYPE_CHECKING:
    from spm_live_drivers.growing import GrowingEvent

Message = dict[str, Any]

TOKEN = "benchmark-benchmark"
START_S = 120.0
CONFIGURATION = """
[[folders]]
path = '{inbox}'
settle_s = {settle_s}

[model]
name = '{model}'

[store]
path = '{store}'

{growing}
[web]
enabled = false
token = '{token}'

[publish]
endpoint = 'tcp://127.0.0.1:{port}'
snapshot_endpoint = 'tcp://127.0.0.1:{snapshot_port}'

[daemon]
log_level = 'WARNING'
"""

GROWING = """
[[zeromq]]
mode = 'agent'
endpoint = 'tcp://127.0.0.1:{port}'
"""


class DaemonError(RuntimeError):
    """The daemon did not start, or did not answer."""


class Daemon:
    """``spm-live run`` with a folder of its own, and a subscriber that hears every message.

    Parameters
    ----------
    folder : Path
        For its files.
    model : str
        Name or folder.
    settle_s : float
        The watcher's quiet time.
    growing : bool
        Whether it is told of scans in progress, by :meth:`tell`.
    """

    def __init__(self, folder: Path, model: str, settle_s: float = 0.3, *, growing: bool = False) -> None:
        self.inbox = folder / "inbox"
        self.inbox.mkdir(parents=True)
        self._context: zmq.Context[Any] = zmq.Context()
        port, snapshot_port, growing_port = _free_ports(self._context)
        configuration = folder / "bench.toml"
        values = {"inbox": self.inbox, "store": folder / "store.sqlite3", "model": model, "token": TOKEN}
        ports = {"port": port, "snapshot_port": snapshot_port, "settle_s": settle_s}
        values["growing"] = GROWING.format(port=growing_port) if growing else ""
        configuration.write_text(CONFIGURATION.format(**values, **ports), encoding="utf-8")
        self._log = (folder / "daemon.log").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "spm_live", "run", "--config", str(configuration)],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._socket = self._context.socket(zmq.SUB)
        self._socket.set(zmq.PLAIN_USERNAME, b"spm-live")
        self._socket.set(zmq.PLAIN_PASSWORD, TOKEN.encode())
        self._socket.set(zmq.RECONNECT_IVL, 100)
        self._socket.set(zmq.RCVHWM, 0)
        self._socket.subscribe("")
        self._socket.connect(f"tcp://127.0.0.1:{port}")
        self._sender = self._context.socket(zmq.REQ)
        self._sender.connect(f"tcp://127.0.0.1:{growing_port}")
        self._told = 0

    def __enter__(self) -> Self:
        try:
            self.wait_for("status", START_S)
        except DaemonError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._socket.close(0)
        self._sender.close(0)
        self._context.term()
        self._log.close()

    def tell(self, event: GrowingEvent) -> None:
        """Tell of a scan in progress, and wait for the receipt."""
        from spm_live_drivers.wire_growing import encode_event

        self._sender.send_multipart(encode_event(event, sender="bench", session="bench", sequence=self._told))
        self._told += 1
        if not self._sender.poll(int(1000 * START_S)):
            raise DaemonError("no receipt")
        receipt = json.loads(self._sender.recv_multipart()[-1])
        if receipt["result"] != "kept":
            raise DaemonError(f"{receipt['result']}: {receipt['reason']}")

    def wait_for(self, kind: str, timeout_s: float, wanted: Callable[[Message], bool] = lambda _: True) -> Message:
        """The next message of a kind that is wanted; others are passed over, but a fault ends it."""
        deadline = time.perf_counter() + timeout_s
        while (left_s := deadline - time.perf_counter()) > 0:
            if self.process.poll() is not None:
                break
            if self._socket.poll(min(200, max(1, int(1000 * left_s)))):
                topic, body = self._socket.recv_multipart()
                if topic == kind.encode():
                    message: Message = msgpack.unpackb(body)
                    if wanted(message):
                        return message
                if topic == b"fault":
                    raise DaemonError(f"the daemon reports {msgpack.unpackb(body)}")
        self._log.seek(0)
        raise DaemonError(f"no {kind} within {timeout_s:g} s; it said: {self._log.read()[-2000:]}")


def _free_ports(context: zmq.Context[Any]) -> tuple[int, int, int]:
    sockets = [context.socket(zmq.PUB) for _ in range(3)]
    try:
        first, second, third = (socket.bind_to_random_port("tcp://127.0.0.1") for socket in sockets)
    finally:
        for socket in sockets:
            socket.close(0)
    return first, second, third
