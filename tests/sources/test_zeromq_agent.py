"""Agent and ZeroMQ source together: whatever dies and whenever, every file arrives, and once."""

from __future__ import annotations

import queue
import random
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import zmq

from spm_live.settings import CurveSettings, ZeroMQSettings
from spm_live.sources import Arrival
from spm_live.sources.inbox import Inbox
from spm_live.sources.zeromq import ZeroMQSource
from spm_live_drivers.agent import Agent, AgentSettings
from spm_live_drivers.contract import ScanGeometry
from spm_live_drivers.formats.nanonis_writer import SxmChannel, SxmSettings, write_sxm
from spm_live_drivers.registry import file_sha256, read_frame
from spm_live_drivers.wire_socket import CurveKeys

STEPS = 3000


def free_endpoint() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def scan(folder: Path, number: int) -> str:
    """Write a scan; its digest."""
    heights = np.random.default_rng(number).normal(size=(8, 8)).astype(np.float32) * 1e-10
    path = folder / f"{number:04d}.sxm"
    settings = SxmSettings(started=datetime(2026, 1, 31, 12), scan_file=path.name)
    write_sxm(path, [SxmChannel(14, "Z", "m", heights, heights)], ScanGeometry(8, 8, (4.0, 4.0)), settings)
    return file_sha256(path)


class Laboratory:
    """A folder, an agent, a source, and a store that knows each frame once; each end can be broken off."""

    def __init__(self, root: Path, make_inbox: Callable[[Path], Inbox] = Inbox) -> None:
        self.folder, self.inbox, self.make_inbox = root / "data", root / "inbox", make_inbox
        self.folder.mkdir()
        endpoint = free_endpoint()
        self.settings = AgentSettings(
            watch=self.folder,
            to=endpoint,
            spool=root / "spool",
            sender="stm",
            poll_s=1e-6,
            settle_s=0.0,
            receipt_timeout_s=0.3,
        )
        self.receiver = ZeroMQSettings(mode="agent", endpoint=endpoint)
        self.stored: list[str] = []
        self.repeated = 0
        self.agent: Agent | None = None
        self.source: ZeroMQSource | None = None
        self.arrivals: queue.Queue[Arrival] = queue.Queue()

    def start_agent(self) -> None:
        self.agent = self.agent or Agent(self.settings, retry_s=0.02)

    def break_agent(self) -> None:
        if self.agent is not None:
            self.agent.close()
            self.agent = None

    def start_source(self) -> None:
        if self.source is None:
            self.arrivals = queue.Queue()
            self.source = ZeroMQSource(self.receiver, self.make_inbox(self.inbox), retry_s=0.01)
            self.source.start(self.arrivals.put, lambda fault: None, lambda path, size, mtime_ns: False)

    def break_source(self) -> None:
        """End it; what it handed over and was not stored yet is forgotten, as by a daemon that is killed."""
        if self.source is not None:
            self.source.stop()
            self.source = None

    def store_one(self) -> None:
        try:
            arrival = self.arrivals.get_nowait()
        except queue.Empty:
            return
        sha256 = read_frame(arrival.path, arrival.options).ref.sha256
        if sha256 in self.stored:
            self.repeated += 1
        else:
            self.stored.append(sha256)
        arrival.path.unlink()

    def step(self) -> None:
        if self.agent is not None:
            self.agent.step(0.005)
        if self.source is not None:
            self.store_one()

    def settled(self) -> bool:
        assert self.agent is not None
        return self.agent.idle and not any(self.inbox.glob("*.spmframe"))

    def settle(self) -> None:
        """Let both ends work until there is nothing left to do."""
        self.start_agent()
        self.start_source()
        for _ in range(STEPS):
            self.step()
            if self.settled():
                return
        raise AssertionError("never came to rest")


@contextmanager
def laboratory(root: Path, make_inbox: Callable[[Path], Inbox] = Inbox) -> Iterator[Laboratory]:
    result = Laboratory(root, make_inbox)
    try:
        yield result
    finally:
        result.break_agent()
        result.break_source()


def test_every_file_arrives_once_and_in_order(tmp_path: Path) -> None:
    with laboratory(tmp_path) as lab:
        digests = [scan(lab.folder, number) for number in range(12)]
        lab.settle()
        assert lab.stored == digests
        assert lab.repeated == 0
        assert lab.source is not None
        counters = lab.source.status().counters
        assert (counters["arrived"], counters["duplicates"], counters["gaps"]) == (12, 0, 0)


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_or_doubled_when_either_end_is_broken_off_at_random(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    with laboratory(tmp_path) as lab:
        digests = []
        for _ in range(25):
            if chance.random() < 0.6:
                digests.append(scan(lab.folder, len(digests)))
            chance.choice([lab.start_agent, lab.start_agent, lab.break_agent])()
            chance.choice([lab.start_source, lab.start_source, lab.break_source])()
            for _ in range(chance.randrange(12)):
                lab.step()
        lab.settle()
        assert sorted(lab.stored) == sorted(digests)


class CutAfterWriting(Inbox):
    """Writes a frame, but the power goes before that can be told."""

    cut = True

    def keep(self, sha256: str, parts: Sequence[bytes]) -> Path | None:
        path = super().keep(sha256, parts)
        if type(self).cut:
            raise OSError("the power went")
        return path


def test_a_receiver_that_dies_between_writing_and_acknowledging_has_the_frame_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with laboratory(tmp_path, CutAfterWriting) as lab:
        digest = scan(lab.folder, 1)
        lab.start_agent()
        lab.start_source()
        for _ in range(STEPS):
            lab.step()
            if any(lab.inbox.glob("*.spmframe")):
                break
        lab.break_source()
        assert lab.stored == []
        monkeypatch.setattr(CutAfterWriting, "cut", False)
        lab.settle()
        assert lab.stored == [digest]


def test_an_agent_that_dies_between_spooling_and_sending_sends_after_its_restart(tmp_path: Path) -> None:
    with laboratory(tmp_path) as lab:
        digests = [scan(lab.folder, number) for number in range(3)]
        lab.start_agent()
        for _ in range(STEPS):
            lab.step()
            if len(list(lab.settings.spool.glob("*.spmframe"))) == 3:
                break
        lab.break_agent()
        for path in lab.folder.iterdir():
            path.unlink()
        lab.settle()
        assert lab.stored == digests
        assert lab.repeated == 0


@pytest.mark.skipif(not zmq.has("curve"), reason="this ZeroMQ has no CURVE")
def test_with_keys_on_both_sides_frames_arrive(tmp_path: Path) -> None:
    (server, server_secret), (client, client_secret) = (
        tuple(key.decode() for key in zmq.curve_keypair()) for _ in range(2)
    )
    with laboratory(tmp_path) as lab:
        keys = CurveSettings(public_key=server, secret_key=server_secret)
        lab.receiver = lab.receiver.model_copy(update={"curve": keys})
        lab.settings = replace(lab.settings, curve=CurveKeys(client, client_secret, server_key=server))
        digest = scan(lab.folder, 1)
        lab.settle()
        assert lab.stored == [digest]


RECEIVER = """
import queue, sqlite3, sys
from pathlib import Path
from spm_live.settings import ZeroMQSettings
from spm_live.sources.zeromq import ZeroMQSource
from spm_live_drivers.registry import read_frame

endpoint, inbox, database = sys.argv[1:]
store = sqlite3.connect(database, isolation_level=None)
store.execute("CREATE TABLE IF NOT EXISTS frames (sha256 TEXT PRIMARY KEY)")
arrivals = queue.Queue()
source = ZeroMQSource(ZeroMQSettings(mode="agent", endpoint=endpoint), Path(inbox))
source.start(arrivals.put, lambda fault: print(fault, flush=True), lambda *_: False)
while True:
    arrival = arrivals.get()
    frame = read_frame(arrival.path, arrival.options)
    store.execute("INSERT OR IGNORE INTO frames VALUES (?)", (frame.ref.sha256,))
    arrival.path.unlink()
"""
AGENT = "import sys; from spm_live_drivers.agent import main; sys.exit(main(sys.argv[1:]))"


@contextmanager
def process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed at the end, whatever happens."""
    with subprocess.Popen(command) as started:
        try:
            yield started
        finally:
            started.kill()


def live(running: subprocess.Popen[bytes], for_s: float) -> None:
    """Give a process time; it must not end by itself."""
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(for_s)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_lost_when_either_process_is_killed(tmp_path: Path) -> None:
    folder, database, endpoint = tmp_path / "data", tmp_path / "store.sqlite3", free_endpoint()
    folder.mkdir()
    receiver = [sys.executable, "-c", RECEIVER, endpoint, str(tmp_path / "inbox"), str(database)]
    told = ["--watch", str(folder), "--to", endpoint, "--spool", str(tmp_path / "spool")]
    agent = [sys.executable, "-c", AGENT, *told, "--settle-s", "0.01", "--poll-s", "0.05"]
    chance, digests = random.Random(1), set()
    for _ in range(20):
        with process(receiver) as one, process(agent) as other:
            for _ in range(15):
                digests.add(scan(folder, len(digests)))
                live(one, chance.uniform(0.01, 0.2))
            dead, survivor = chance.sample([one, other], 2)
            dead.kill()
            dead.wait()
            live(survivor, chance.uniform(0.01, 0.5))
    with process(receiver) as one:
        ended = subprocess.run([*agent, "--once"], timeout=120, check=False)
        stored: set[str] = set()
        for _ in range(300):
            with closing(sqlite3.connect(database)) as store:
                stored = {sha256 for (sha256,) in store.execute("SELECT sha256 FROM frames")}
            if stored == digests:
                break
            live(one, 0.1)
    assert ended.returncode == 0
    assert stored == digests
    assert not list((tmp_path / "spool").glob("*.spmframe"))
    assert not list((tmp_path / "inbox").glob("*.spmframe"))
