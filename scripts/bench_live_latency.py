"""From a line that arrives to its detections at a ZeroMQ subscriber, with the real daemon and a sender of lines."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from bench_daemon import Daemon, DaemonError
from bench_result import Line, percentile

SIDE = 512
PITCH_NM = 0.1
"""The pitch of ``molecule-generic``: one tile a window."""
FIRST = 24
"""Lines before the first that is timed: with fewer, nothing is recognised yet."""
LINE_S = 0.6
"""Time from one line to the next: slower than any update, so that none is overtaken."""
GOAL_MS = 400.0


def measure(folder: Path, arguments: argparse.Namespace) -> list[Line]:
    """Median and 95th percentile over lines spread over a frame, and the part of the network in them."""
    from spm_live_drivers.synthetic import draw_scan

    scan = draw_scan(1, rows=SIDE, columns=SIDE, size_nm=SIDE * PITCH_NM)
    number = min(arguments.frames, 40)
    try:
        with Daemon(folder / "daemon", arguments.model, growing=True) as daemon:
            totals, network, molecules = _timed(daemon, scan, number)
    except DaemonError as error:
        return [Line("line to detections", None, note=" ".join(str(error).split())[-300:])]
    note = f"p95 {percentile(totals, 0.95):.0f} ms over {number} lines of a frame of {SIDE} x {SIDE} px, {molecules}"
    return [
        Line("line to detections at a subscriber, median", statistics.median(totals), "ms", GOAL_MS, note=note),
        Line("  of it the network, median", statistics.median(network), "ms"),
    ]


def _timed(daemon: Daemon, scan: object, number: int) -> tuple[list[float], list[float], str]:
    from spm_live_drivers.contract import FrameInfo, FrameRef, Trace
    from spm_live_drivers.growing import ScanLines, ScanStart

    heights, geometry = scan.heights, scan.geometry  # type: ignore[attr-defined]
    info = FrameInfo(FrameRef("bench/scan", "", "Z", Trace.FORWARD), geometry, "m")
    daemon.tell(ScanStart("scan", info, backward=False))
    step = (SIDE - FIRST - number) // number
    done = FIRST
    daemon.tell(ScanLines("scan", 0, heights[:done]))
    daemon.wait_for("live", 60.0, lambda message: message["lines_mapped"] == done)
    totals: list[float] = []
    network: list[float] = []
    message: dict[str, object] = {}
    for _ in range(number):
        # Some lines at once, so that the front moves over the whole frame, then one that is timed.
        for lines in (step, 1):
            time.sleep(LINE_S)
            began_s = time.perf_counter()
            daemon.tell(ScanLines("scan", done, heights[done : done + lines]))
            done += lines
            front = done
            message = daemon.wait_for("live", 60.0, lambda message: message["lines_mapped"] == front)  # noqa: B023
            spent_ms = 1e3 * (time.perf_counter() - began_s)
        totals.append(spent_ms)
        network.append(float(message["timings_ms"].get("detect", 0.0)))  # type: ignore[attr-defined]
    return totals, network, f"{message['total']} molecules at the end"
