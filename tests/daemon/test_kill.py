"""The daemon killed at any moment: after the restart every finished frame has exactly one map.

This is the real program in a process of its own, with the model that is shipped, on files that keep coming.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
import pytest

from spm_live_drivers.contract import ScanGeometry
from spm_live_drivers.formats.nanonis_writer import SxmChannel, SxmSettings, write_sxm

CONFIG = """
[[folders]]
path = "scans"
settle_s = 0.02
[store]
path = "results/lab.sqlite3"
min_free_mb = 0
[model]
threads = 1
[web]
enabled = false
[publish]
enabled = false
"""

STALLED_S = 60.0
"""A daemon that brings no frame to its end for so long is stuck; how fast it is, is not asked here."""


class Killed:
    """A lab whose daemon is killed again and again while scans come in."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.scans = place / "scans"
        self.scans.mkdir()
        (place / "lab.toml").write_text(CONFIG)
        self.written = 0

    def write_scan(self) -> None:
        heights = np.random.default_rng(self.written).normal(0, 1e-11, (16, 16)).astype(np.float32)
        write_sxm(
            self.scans / f"scan_{self.written:05d}.sxm",
            [SxmChannel(14, "Z", "m", heights)],
            ScanGeometry(16, 16, (4.0, 4.0)),
            SxmSettings(datetime(2026, 1, 1, tzinfo=UTC)),
        )
        self.written += 1

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "spm_live", "run", "--config", str(self.place / "lab.toml")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def results(self) -> list[tuple[str, int]]:
        with closing(sqlite3.connect(self.place / "results" / "lab.sqlite3")) as store:
            return store.execute(
                "SELECT frames.sha256, COUNT(maps.frame_id) FROM frames LEFT JOIN maps ON maps.frame_id = frames.id "
                "GROUP BY frames.id"
            ).fetchall()

    def faults(self) -> list[tuple[str, str]]:
        with closing(sqlite3.connect(self.place / "results" / "lab.sqlite3")) as store:
            return store.execute("SELECT source, reason FROM faults").fetchall()


def wait_for_line(process: subprocess.Popen[str], what: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if what in line:
            return
    raise AssertionError(f"the daemon ended before it said {what!r}")


def drain(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    process.stdout.read()
    process.stdout.close()


def rounds(lab: Killed, number: int, seed: int) -> None:
    chance = random.Random(seed)
    pause = threading.Event()
    for _ in range(number):
        for _ in range(6):
            lab.write_scan()
        daemon = lab.start()
        children: list[psutil.Process] = []
        try:
            # Killed while starting, in the first frames, between two, or when all is done.
            if chance.random() < 0.8:
                wait_for_line(daemon, "after it was ready")
            pause.wait(chance.uniform(0, 0.3))
            children = psutil.Process(daemon.pid).children(recursive=True)
        finally:
            daemon.kill()
            daemon.wait(20)
            drain(daemon)
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive, "the worker outlived its daemon"


def finish(lab: Killed) -> None:
    """Let the daemon work off what is left, then end it as a person does."""
    daemon = lab.start()
    done, deadline = 0, time.monotonic() + STALLED_S
    pause = threading.Event()
    store = lab.place / "results" / "lab.sqlite3"
    reader = threading.Thread(target=drain, args=(daemon,))
    reader.start()
    try:
        while not (store.exists() and done >= lab.written):
            before, done = done, len(lab.results())
            if done > before:
                deadline = time.monotonic() + STALLED_S
            assert time.monotonic() < deadline, f"{done} of {lab.written} frames have a map: {lab.faults()}"
            assert daemon.poll() is None
            pause.wait(0.2)
    finally:
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(15) == 0
        reader.join()


@pytest.fixture
def lab(tmp_path: Path) -> Killed:
    return Killed(tmp_path)


def check_exactly_once(lab: Killed, number: int, seed: int) -> None:
    rounds(lab, number, seed)
    finish(lab)
    results = lab.results()
    assert len(results) == lab.written
    assert len({sha256 for sha256, _ in results}) == lab.written
    assert {maps for _, maps in results} == {1}
    assert lab.faults() == []


@pytest.mark.skipif(os.name == "nt", reason="SIGTERM is not delivered to a process on Windows")
class TestKill:
    def test_three_kills_lose_and_double_nothing(self, lab: Killed) -> None:
        check_exactly_once(lab, 3, seed=1)

    @pytest.mark.slow
    @pytest.mark.timeout(1800)
    def test_fifty_kills_lose_and_double_nothing(self, lab: Killed) -> None:
        check_exactly_once(lab, 50, seed=2)
