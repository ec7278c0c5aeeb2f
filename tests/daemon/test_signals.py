"""Signals to the real program in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
[[folders]]
path = "scans"
[store]
path = "results/lab.sqlite3"
min_free_mb = 0
[model]
threads = 1
[web]
port = 0
[publish]
enabled = false
"""


def read_until(process: subprocess.Popen[str], what: str) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if what in line:
            return line
    raise AssertionError(f"the daemon ended before it said {what!r}")


@pytest.mark.skipif(os.name == "nt", reason="these signals are not delivered to a process on Windows")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reloads_and_another_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "lab.toml").write_text(CONFIG)
    with subprocess.Popen(
        [sys.executable, "-m", "spm_live", "run", "--config", str(tmp_path / "lab.toml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as daemon:
        try:
            read_until(daemon, "viewer: http://127.0.0.1:")
            read_until(daemon, "watching")
            daemon.send_signal(signal.SIGHUP)
            read_until(daemon, "reload: nothing changed")
            (tmp_path / "lab.toml").write_text(CONFIG.replace("[[folders]]", "[[folder]]"))
            daemon.send_signal(signal.SIGHUP)
            assert "did you mean 'folders'?" in read_until(daemon, "was not taken up")
            daemon.send_signal(number)
            assert daemon.wait(10) == 0
            assert daemon.stdout is not None
            assert "Traceback" not in daemon.stdout.read()
        finally:
            daemon.kill()
