"""Measures what spm-live promises, on this machine.

::

    python scripts/bench.py [convert|frame|latency|history|daemon-memory|recogniser|live|live-latency|nanonis|all]

Ratios are taken side by side: every round runs both sides, and the median over the rounds counts. Needs the ``bench``
and ``test`` extras; what is missing is told, not guessed. Exit code 1 if a goal was missed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench_result import Line

BENCHES = {
    "convert": "bench_convert",
    "frame": "bench_frame",
    "latency": "bench_latency",
    "history": "bench_history",
    "daemon-memory": "bench_daemon_memory",
    "recogniser": "bench_recogniser",
    "live": "bench_live",
    "live-latency": "bench_live_latency",
    "nanonis": "bench_nanonis",
}
BUSY = 0.5
"""Load per core from which the figures are not to be trusted."""
PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "onnxruntime",
    "tensorflow-cpu",
    "tensorflow",
    "keras",
    "nanonispy2",
    "matplotlib",
)


def main() -> int:
    """Run the benchmarks that were asked for and print a table."""
    arguments = _arguments()
    # Worker processes import this file again under another name: nothing heavy may stand at its top.
    sys.path.insert(0, str(Path(__file__).parent))
    machine = _machine()
    print(", ".join(f"{name} {value}" for name, value in machine.items()), flush=True)
    if float(machine.get("load at the start", 0)) > BUSY * (os.cpu_count() or 1):
        print("this machine is busy with other work: times say little, and ratios favour whichever uses one core")
    lines: list[Line] = []
    for name in BENCHES if arguments.bench == "all" else [arguments.bench]:
        began_s = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="spm-live-bench-", dir=arguments.folder) as folder:
            module = importlib.import_module(BENCHES[name])
            found = module.measure(Path(folder), arguments)
        print(f"\n{name} ({time.perf_counter() - began_s:.0f} s)")
        for line in found:
            print(f"  {line}", flush=True)
        lines += found
    if arguments.json:
        document = {"machine": machine, "lines": [line.as_dict() for line in lines]}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0 if all(line.reached is not False for line in lines) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures what spm-live promises, on this machine.")
    parser.add_argument("bench", nargs="?", default="all", choices=[*BENCHES, "all"])
    parser.add_argument("--data", type=Path, default=_data(), help="folder of real scans (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where temporary files go (left out: the system's place)")
    parser.add_argument("--files", type=int, default=1200, help="files of convert (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions, of which the median counts (%(default)s)")
    parser.add_argument("--frames", type=int, default=100, help="frames of frame and latency (%(default)s)")
    parser.add_argument("--history", type=int, default=10_000, help="frames in the history (%(default)s)")
    parser.add_argument("--daemon-frames", type=int, default=2_000, help="frames of daemon-memory (%(default)s)")
    parser.add_argument("--model", default="molecule-generic", help="model of frame and latency (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file, too")
    return parser.parse_args()


def _data() -> Path:
    root = Path(__file__).resolve().parents[1]
    return Path(os.environ.get("SPM_LIVE_TEST_DATA", root.parent / "shared" / "data"))


def _machine() -> dict[str, str]:
    found = {
        "machine": platform.node(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "missing"
    if hasattr(os, "getloadavg"):
        found["load at the start"] = f"{os.getloadavg()[0]:.1f}"
    return found


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    raise SystemExit(main())
