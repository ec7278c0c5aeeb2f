"""From a file that is finished to its message at a ZeroMQ subscriber, with the real daemon."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from bench_daemon import Daemon, DaemonError
from bench_frame import SIZES_NM
from bench_result import Line, percentile
from bench_scans import drawn_scans

SIDE = 512
SETTLE_S = 0.3
PICTURES = 8
WARM_UP = 3
GOAL_MS = 15.0
"""What may come on top of the quiet time and the model."""


def measure(folder: Path, arguments: argparse.Namespace) -> list[Line]:
    """Total, and what is left of it without the quiet time and the model."""
    pictures = [path.read_bytes() for path in drawn_scans(folder / "drawn", PICTURES, SIDE, size_nm=SIZES_NM[-1])]
    number = min(arguments.frames, 40)
    totals: list[float] = []
    model: list[float] = []
    rest: list[float] = []
    try:
        with Daemon(folder / "daemon", arguments.model, SETTLE_S) as daemon:
            for serial in range(WARM_UP + number):
                written = folder / f"frame{serial:05d}.sxm"
                written.write_bytes(pictures[serial % PICTURES] + serial.to_bytes(4, "big"))
                began_s = time.perf_counter()
                written.rename(daemon.inbox / written.name)
                message = daemon.wait_for("frame", 60.0)
                spent_ms = 1e3 * (time.perf_counter() - began_s)
                if serial >= WARM_UP:
                    totals.append(spent_ms)
                    model.append(message["timings_ms"]["detect"])
                    rest.append(spent_ms - 1e3 * SETTLE_S - model[-1])
    except DaemonError as error:
        return [Line("finished file to message", None, note=" ".join(str(error).split())[-300:])]
    p95 = f"p95 {percentile(totals, 0.95):.0f} ms over {number} frames of {SIDE} x {SIDE} px"
    return [
        Line("finished file to message, median", statistics.median(totals), "ms", note=p95),
        Line("  of it the watcher's quiet time", 1e3 * SETTLE_S, "ms"),
        Line("  of it the model, median", statistics.median(model), "ms"),
        Line(
            "  all the rest, median",
            statistics.median(rest),
            "ms",
            GOAL_MS,
            note=f"p95 {percentile(rest, 0.95):.1f} ms",
        ),
    ]
