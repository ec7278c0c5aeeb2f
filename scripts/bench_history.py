"""A long history: listing it, and opening the page on it."""

from __future__ import annotations

import argparse
import json
import statistics
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_result import Line
from bench_scans import drawn_scans

if TYPE_CHECKING:
    from spm_live.domain import Processed
    from spm_live.publish.store import Store

TOKEN = "benchmark-benchmark"
SIDE = 256
PICTURES = 4
MOLECULES = 40
PAGE = 50
GOAL_MS = 1000.0


def measure(folder: Path, arguments: argparse.Namespace) -> list[Line]:
    """Times over a store of 10,000 frames of 40 molecules."""
    from spm_live.domain import DaemonState, DaemonStatus
    from spm_live.publish.feed import Feed
    from spm_live.publish.store import Store
    from spm_live.web.server import WebServer, create_app

    with Store(folder / "store.sqlite3") as store:
        began_s = time.perf_counter()
        _fill(store, folder, arguments.history)
        filled_s = time.perf_counter() - began_s
        note = f"{arguments.history} frames of {MOLECULES} molecules, {store.path.stat().st_size / 1e6:.0f} MB"
        lines = [
            Line("storing a frame, mean", 1e3 * filled_s / arguments.history, "ms", note=note),
            _timed("frames(limit=50)", lambda: store.frames(PAGE), arguments.rounds),
            _timed("totals()", store.totals, arguments.rounds),
            _timed("latest()", store.latest, arguments.rounds),
        ]
        status = DaemonStatus(DaemonState.RUNNING, datetime.now(UTC))
        server = WebServer(create_app(store, Feed(), lambda: status, TOKEN, None), "127.0.0.1", 0)
        address = f"http://127.0.0.1:{server.start()}"
        try:
            request = urllib.request.Request(
                f"{address}/api/frames?limit={PAGE}", headers={"Authorization": f"Bearer {TOKEN}"}
            )
            lines.append(_timed("/api/frames", lambda: _got(request), arguments.rounds))
            lines.append(_page(f"{address}/?token={TOKEN}", arguments.rounds))
        finally:
            server.stop()
    return lines


def _fill(store: Store, folder: Path, number: int) -> None:
    made = [_made(path) for path in drawn_scans(folder / "drawn", PICTURES, SIDE)]
    first = datetime(2026, 1, 1, tzinfo=UTC)
    for serial in range(number):
        template = made[serial % PICTURES]
        ref = replace(template.map.frame.ref, source=f"/archive/scan{serial:05d}.sxm", sha256=f"{serial:064x}")
        info = replace(template.map.frame, ref=ref, started=first + timedelta(minutes=10 * serial))
        store.save(replace(template, map=replace(template.map, frame=info)))


def _made(path: Path) -> Processed:
    """A frame with as many molecules as the history's are to have, whatever a model would find."""
    import numpy as np

    from spm_live.domain import Detections, Levelling, ModelIdentity, Processed, ReadOptions
    from spm_live.locate import locate
    from spm_live.prepare import draw_preview, letterbox_for, level
    from spm_live_drivers.registry import read_frame

    frame = read_frame(path, ReadOptions())
    rng = np.random.default_rng(MOLECULES)
    corners = rng.uniform(0, SIDE - 20, size=(MOLECULES, 2))
    boxes = np.hstack([corners, corners + rng.uniform(8, 20, size=(MOLECULES, 2))]).astype(np.float32)
    scores = np.sort(rng.uniform(0.5, 1, size=MOLECULES))[::-1].astype(np.float32)
    classes = (np.arange(MOLECULES) % 3).astype(np.int64)
    y, x = np.mgrid[-1:1:14j, -1:1:14j]  # type: ignore[misc]
    masks = np.repeat((np.hypot(x, y) < 1).astype(np.float32)[None], MOLECULES, axis=0)
    letterbox = letterbox_for(frame.geometry, frame.geometry.nm_per_px[0], frame.ref)
    identity = ModelIdentity("bench", "1", "0" * 64)
    labels = ("three-lobe", "four-lobe", "rod")
    found = locate(Detections(boxes, scores, classes, masks), letterbox, frame, labels, identity, ())
    return Processed(found, *draw_preview(level(frame.data, Levelling.ROWS)), {"read": 1.0, "detect": 100.0})


def _timed(what: str, action: Callable[[], Any], rounds: int) -> Line:
    action()
    spent = []
    for _ in range(rounds):
        began_s = time.perf_counter()
        action()
        spent.append(1e3 * (time.perf_counter() - began_s))
    return Line(f"{what}, median", statistics.median(spent), "ms", note=f"slowest {max(spent):.1f} ms of {rounds}")


def _got(request: urllib.request.Request) -> Any:
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def _page(link: str, rounds: int) -> Line:
    """From asking for the page to the newest frame drawn, in Chromium, nothing cached."""
    what = "page opened to newest frame shown, median"
    try:
        from viewer_timing import time_opening

        time_opening(link, 1)  # the first start of the browser fills the system's file cache
        opening = time_opening(link, rounds)
    except (ImportError, RuntimeError) as error:
        return Line(what, None, note=str(error))
    return Line(what, opening.frame_ms, "ms", GOAL_MS, note=f"{opening.requests} requests, {opening.rows} rows")
