"""The benchmarks run and tell figures; what the figures are is not a test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[1] / "scripts" / "bench.py"
SMALL = ["--files", "12", "--rounds", "1", "--frames", "3", "--history", "20", "--daemon-frames", "500"]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bench", ["convert", "frame", "latency", "history", "daemon-memory"])
def test_every_benchmark_tells_its_figures(bench: str, tmp_path: Path) -> None:
    found = tmp_path / "found.json"

    done = subprocess.run(
        [sys.executable, BENCH, bench, *SMALL, "--folder", tmp_path, "--json", found],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )

    assert done.returncode in {0, 1}, done.stderr
    lines = json.loads(found.read_text())["lines"]
    assert any(line["goal"] for line in lines)
    assert [line["note"] for line in lines if line["value"] is None and "Chromium" not in line["note"]] == []
