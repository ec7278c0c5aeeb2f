"""A store full of drawn scans, a board of scans in progress, and the server on a free port."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from drawn_molecules import MODEL, molecule
from growing_scans import FakeBoard, Growing

from spm_live.domain import (
    ClassCount,
    DaemonState,
    DaemonStatus,
    FrameInfo,
    FrameRef,
    Levelling,
    MoleculeMap,
    Processed,
    ScanDirection,
    SourceStatus,
    Trace,
)
from spm_live.prepare import draw_preview, level
from spm_live.publish.feed import Feed
from spm_live.publish.live_message import NoticeLog
from spm_live.publish.message import Message
from spm_live.publish.store import Store
from spm_live.scanning import LiveState, Notice
from spm_live.web.server import WebServer, create_app
from spm_live_drivers.synthetic import MOLECULE_CLASSES, SyntheticMolecule, SyntheticScan, draw_scan

TOKEN = "a-token-that-is-long-enough"
ROWS = 128
BEGIN = datetime(2026, 3, 4, 21, 0, tzinfo=UTC)


@dataclass
class Scene:
    """A running viewer with all that lies behind it."""

    store: Store
    feed: Feed
    status: DaemonStatus
    reload: Callable[[], list[str]]
    board: FakeBoard
    notices: NoticeLog = field(default_factory=NoticeLog)
    port: int = 0
    server: WebServer | None = None
    token: str = TOKEN
    token_of_server: str = TOKEN

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def entry(self) -> str:
        """The link that the daemon would print."""
        return f"{self.url}/?token={TOKEN}"

    def start(self) -> None:
        app = create_app(
            self.store,
            self.feed,
            lambda: self.status,
            self.token_of_server,
            lambda: self.reload(),
            live=self.board,
            notices=self.notices,
        )
        self.server = WebServer(app, "127.0.0.1", self.port)
        self.port = self.server.start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None

    def add(self, processed: Processed, *, tell: bool = True) -> Message:
        """Store a frame as the daemon does, then tell it."""
        saved = self.store.save(processed)
        assert saved.message is not None
        if tell:
            self.feed.publish("frame", saved.message)
        return saved.message

    def notice(self, notice: Notice) -> Message:
        """Tell a notice as the daemon does."""
        return self.feed.publish("notice", self.notices.add(notice))

    def finish(self, growing: Growing, number: int, *, frame_first: bool = True, **changes: Any) -> Message:
        """Store the file of a scan that is over; its final map takes the place of the live one."""
        png, thumbnail = draw_preview(level(growing.heights, Levelling.ROWS))
        found = mapped(growing.info(growing.rows), growing.molecules)
        told = self.add(growing.finished(number, found, png, thumbnail), tell=frame_first)
        over = {"state": LiveState.REPLACED, "frame_id": told["id"], "saved_as": f"D:/data/{growing.name}.sxm"}
        self.board.show(growing, growing.rows, **over, **changes)
        if not frame_first:
            self.feed.publish("frame", told)
        return told

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=10)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A store without frames and a server that answers."""
    source = SourceStatus(
        "folder D:/data", True, "D:/data, with sub-folders, by events", {"arrived": 3, "duplicates": 0}
    )
    status = DaemonStatus(
        DaemonState.RUNNING, BEGIN, model=MODEL, sources=(source,), queue_size=64, counters={"frames": 3}, lag_s=0.42
    )
    with Store(tmp_path / "web.sqlite3") as store:
        feed = Feed()
        scene = Scene(store, feed, status, lambda: ["nothing changed"], FakeBoard(feed))
        scene.start()
        try:
            yield scene
        finally:
            scene.stop()


@pytest.fixture
def fill(scene: Scene) -> Callable[[int], None]:
    """Fills the store with many frames, quickly: one is stored, the rest are copies of its rows."""

    def fill(frames: int) -> None:
        scene.add(processed_scan(1), tell=False)
        copy_frames(scene.store.path, frames)

    return fill


def copy_frames(path: Path, frames: int) -> None:
    """Multiply frame 1 of a store until there are so many."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for table in ("frames", "maps", "counts", "previews"):
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            key = "id" if table == "frames" else "frame_id"
            changed = {
                key: "n",
                "sha256": "printf('%064x', n)",
                "name": "printf('scan_%05d.sxm', n)",
                "preview_png": f"CASE WHEN n > {frames - 100} THEN preview_png ELSE x'' END",
                "thumbnail_png": f"CASE WHEN n > {frames - 300} THEN thumbnail_png ELSE x'' END",
            }
            columns = ", ".join(f'"{name}"' for name in names)
            values = ", ".join(changed.get(name, f'"{name}"') for name in names)
            connection.execute(
                f"WITH RECURSIVE many(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM many WHERE n < ?) "
                f"INSERT INTO {table} ({columns}) SELECT {values} FROM many, {table} WHERE {table}.{key} = 1",
                (frames,),
            )


@pytest.fixture
def draw() -> Callable[..., Processed]:
    """Makes a finished frame out of a drawn scan: see :func:`processed_scan`."""
    return processed_scan


def processed_scan(
    number: int = 1, *, name: str | None = None, source: str | None = None, **changes: object
) -> Processed:
    """A finished frame, its molecules being the truth of a drawn scan.

    Parameters
    ----------
    number : int
        Gives digest, name and time; the picture is one of three.
    **changes
        Fields of the frame that differ.
    """
    rows = changes.get("complete_rows", ROWS)
    scan, png, thumbnail = drawn(number % 3, rows, changes.get("direction") is ScanDirection.UP)
    source = source or f"D:/data/{name or f'scan_{number:04d}.sxm'}"
    info = FrameInfo(
        ref=FrameRef(source, sha256=f"{number:064x}", channel="Z", trace=Trace.FORWARD),
        geometry=scan.geometry,
        unit="m",
        direction=scan.direction,
        complete_rows=ROWS,
        bias_v=-1.2,
        setpoint=50e-12,
        setpoint_unit="A",
        started=BEGIN + timedelta(minutes=4 * number - 4),
        ended=BEGIN + timedelta(minutes=4 * number),
        format="nanonis-sxm",
    )
    found = mapped(replace(info, **changes), scan.molecules)
    return Processed(found, png, thumbnail, {"read": 1.0, "detect": 40.0})


@lru_cache(maxsize=16)
def drawn(seed: int, complete_rows: int, up: bool) -> tuple[SyntheticScan, bytes, bytes]:
    scan = draw_scan(seed + 11, rows=ROWS, columns=192, size_nm=(30.0, 20.0), center_nm=(100.0, -40.0), angle_deg=30.0)
    heights = scan.heights.copy()
    heights[slice(0, ROWS - complete_rows) if up else slice(complete_rows, ROWS)] = np.nan
    return scan, *draw_preview(level(heights, Levelling.ROWS))


def mapped(info: FrameInfo, truth: tuple[SyntheticMolecule, ...]) -> MoleculeMap:
    """The truth of a drawn scan as a map."""
    molecules = tuple(molecule(info, each) for each in truth)
    area = info.geometry.pixel_area_nm2 * info.complete_rows * info.geometry.columns
    counts = {}
    for label in MOLECULE_CLASSES:
        mine = [each for each in molecules if each.label == label]
        edge = sum(each.touches_edge for each in mine)
        covered = sum(each.area_nm2 for each in mine)
        nothing = area == 0
        counts[label] = ClassCount(
            len(mine),
            edge,
            math.nan if nothing else (len(mine) - edge / 2) / area,
            math.nan if nothing else covered / area,
        )
    coverage = math.nan if area == 0 else sum(each.area_nm2 for each in molecules) / area
    return MoleculeMap(info, MODEL, molecules, counts, area, coverage)
