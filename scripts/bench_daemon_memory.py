"""The memory of the daemon and its worker over many frames."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import psutil
from bench_daemon import Daemon, DaemonError
from bench_model import make_instant_model
from bench_result import Line, tree_memory_mb
from bench_scans import drawn_scans

SIDE = 128
PICTURES = 16
AHEAD = 50
"""Files that may lie in the folder unprocessed."""
MARKS = (200, 500, 1000, 2000)
GOAL_GROWTH_MB = 10.0


def measure(folder: Path, arguments: argparse.Namespace) -> list[Line]:
    """Memory after 200, 500, 1000 and 2000 frames, and how much it grew from the first mark to the last."""
    pictures = [path.read_bytes() for path in drawn_scans(folder / "drawn", PICTURES, SIDE)]
    marks = [mark for mark in MARKS if mark <= arguments.daemon_frames]
    if len(marks) < 2:
        return [Line("memory of the daemon", None, note=f"needs at least {MARKS[1]} frames")]
    held: dict[int, tuple[float, float]] = {}
    try:
        model = make_instant_model(folder / "model")
        with Daemon(folder / "daemon", str(model), 0.0) as daemon:
            root = psutil.Process(daemon.process.pid)
            written = 0
            for done in range(1, marks[-1] + 1):
                while written < min(marks[-1], done + AHEAD):
                    path = folder / f"frame{written:05d}.sxm"
                    path.write_bytes(pictures[written % PICTURES] + written.to_bytes(4, "big"))
                    shutil.move(path, daemon.inbox / path.name)
                    written += 1
                daemon.wait_for("frame", 60.0)
                if done in marks:
                    held[done] = (root.memory_info().rss / 1e6, tree_memory_mb(root)[0])
    except (DaemonError, ImportError) as error:
        return [Line("memory of the daemon", None, note=" ".join(str(error).split())[-300:])]
    lines = [
        Line(f"daemon after {mark} frames (RSS)", daemon_mb, "MB", note=f"with its worker {tree_mb:.0f} MB")
        for mark, (daemon_mb, tree_mb) in held.items()
    ]
    first, last = held[marks[0]][1], held[marks[-1]][1]
    what = f"growth from {marks[0]} to {marks[-1]} frames, with the worker"
    return [*lines, Line(what, last - first, "MB", GOAL_GROWTH_MB)]
