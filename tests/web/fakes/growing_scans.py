"""A board of made-up scans in progress: drawn scans that grow as far as a test says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from drawn_molecules import MODEL, molecule

from spm_live.domain import FrameInfo, FrameRef, Levelling, MoleculeMap, Processed, ScanDirection, Trace
from spm_live.prepare import draw_preview, level
from spm_live.publish.feed import Feed
from spm_live.publish.live_message import live_message
from spm_live.scanning import LiveCount, LiveMap, LiveMolecule, LiveScan, LiveState, ScanQuality, TipChange, Verdict
from spm_live_drivers.synthetic import MOLECULE_CLASSES, SyntheticMolecule, draw_scan

BEGUN = datetime(2026, 3, 4, 22, 0, tzinfo=UTC)
SETTLED_PX = 24
"""Molecules this far behind the front stay as they are."""
GOOD = ScanQuality(
    lines=40,
    verdict=Verdict.GOOD,
    line_correlation=0.962,
    trace_agreement=0.948,
    streaks=0.0012,
    dropouts=0.0,
    noise_nm=0.0041,
    double_tip=0.04,
)


def bad(line: int) -> ScanQuality:
    """What is told after the tip changed at a line."""
    return ScanQuality(
        lines=line + 6,
        verdict=Verdict.BAD,
        reasons=(f"The tip changed at line {line}: it became longer.", "One pixel in nine lies in a streak."),
        line_correlation=0.71,
        trace_agreement=0.66,
        streaks=0.11,
        dropouts=0.002,
        noise_nm=0.018,
        double_tip=0.41,
        double_tip_nm=(1.3, 0.4),
        tip_changes=(TipChange(line, "height", 3.1),),
    )


@dataclass
class Growing:
    """A drawn scan and how it is told."""

    key: str
    source: str
    name: str
    rows: int = 128
    columns: int = 192
    size_nm: tuple[float, float] = (30.0, 20.0)
    seed: int = 11
    direction: ScanDirection = ScanDirection.DOWN
    revision: int = 0
    molecules: tuple[SyntheticMolecule, ...] = field(init=False)

    def __post_init__(self) -> None:
        drawn = draw_scan(
            self.seed,
            rows=self.rows,
            columns=self.columns,
            size_nm=self.size_nm,
            center_nm=(100.0, -40.0),
            angle_deg=30.0,
            direction=self.direction,
        )
        self.heights, self.geometry, self.molecules = drawn.heights, drawn.geometry, drawn.molecules

    def info(self, lines: int) -> FrameInfo:
        return FrameInfo(
            ref=FrameRef(f"{self.source}/{self.name}", sha256="", channel="Z", trace=Trace.FORWARD),
            geometry=self.geometry,
            unit="m",
            direction=self.direction,
            complete_rows=lines,
            bias_v=-1.2,
            setpoint=50e-12,
            setpoint_unit="A",
            started=BEGUN,
            format="nanonis-tcp",
        )

    def preview(self, lines: int) -> bytes:
        """The picture as far as it goes."""
        heights = self.heights.copy()
        heights[self._beyond(lines)] = np.nan
        return draw_preview(level(heights, Levelling.ROWS))[0]

    def scan(self, lines: int, *, worked: int | None = None, **changes: Any) -> LiveScan:
        """The scan after so many lines; ``worked``: of these, how many were worked on."""
        self.revision += 1
        worked = lines if worked is None else worked
        found = self._map(worked) if worked else None
        scan = LiveScan(
            key=self.key,
            source=self.source,
            scan=self.name,
            state=LiveState.SCANNING,
            revision=self.revision,
            info=self.info(lines),
            begun=BEGUN,
            updated=BEGUN + timedelta(seconds=lines),
            time_left_s=(self.rows - lines) * 1.0,
            map=found,
            quality=GOOD if found is not None else None,
        )
        return replace(scan, **changes)

    def finished(self, number: int, found: MoleculeMap, png: bytes, thumbnail: bytes) -> Processed:
        """The frame that the file of this scan becomes."""
        info = replace(
            self.info(self.rows),
            ref=FrameRef(f"D:/data/{self.name}.sxm", f"{number:064x}", "Z", Trace.FORWARD),
            ended=BEGUN + timedelta(seconds=self.rows),
            format="nanonis-sxm",
        )
        return Processed(replace(found, frame=info), png, thumbnail, {"detect": 40.0})

    def _beyond(self, lines: int) -> slice:
        return slice(0, self.rows - lines) if self.direction is ScanDirection.UP else slice(lines, self.rows)

    def _map(self, lines: int) -> LiveMap:
        info = self.info(lines)
        molecules = tuple(each for truth in self.molecules if (each := self._seen(info, truth)) is not None)
        area = info.geometry.pixel_area_nm2 * lines * self.columns
        counts = {label: _count([each for each in molecules if each.molecule.label == label], area) for label in NAMES}
        covered = sum(count.coverage for count in counts.values())
        settled = max(0, lines - SETTLED_PX)
        return LiveMap(info, MODEL, molecules, counts, area, covered, settled, timings_ms={"detect": 12.0})

    def _seen(self, info: FrameInfo, truth: SyntheticMolecule) -> LiveMolecule | None:
        """A molecule as far as the tip has come; None where it has not come."""
        x1, y1, x2, y2 = truth.box_px
        beyond = self._beyond(info.complete_rows)
        hidden = np.zeros(y2 - y1, dtype=np.bool_)
        hidden[max(0, beyond.start - y1) : max(0, beyond.stop - y1)] = True
        shown = truth.mask & ~hidden[:, None]
        if np.count_nonzero(shown) < 12:
            return None
        cut = bool((truth.mask & hidden[:, None]).any())
        last = self.rows - y1 if self.direction is ScanDirection.UP else y2
        there = np.flatnonzero(shown.any(axis=1))
        y1, y2, shown = y1 + int(there[0]), y1 + int(there[-1]) + 1, shown[there[0] : there[-1] + 1]
        found = molecule(info, replace(truth, box_px=(x1, y1, x2, y2), mask=shown))
        return LiveMolecule(found, cut, not cut and last <= info.complete_rows - SETTLED_PX)


NAMES = MOLECULE_CLASSES


def _count(molecules: Sequence[LiveMolecule], area: float) -> LiveCount:
    whole = [each.molecule for each in molecules if not each.cut_by_front]
    cut, edge = len(molecules) - len(whole), sum(each.touches_edge for each in whole)
    number = len(whole) - edge / 2 + cut / 2
    return LiveCount(
        len(whole),
        edge,
        cut,
        number / area,
        math.sqrt(max(number, 1)) / area,
        sum(each.molecule.area_nm2 for each in molecules) / area,
    )


class FakeBoard:
    """Shows what a test puts on it, and tells it as the daemon's board does."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._scans: dict[str, LiveScan] = {}
        self._previews: dict[str, bytes] = {}

    def scans(self) -> Sequence[LiveScan]:
        return list(self._scans.values())

    def preview(self, key: str) -> bytes | None:
        return self._previews.get(key)

    def show(self, growing: Growing, lines: int, **changes: Any) -> LiveScan:
        """Let a scan grow to so many lines, and tell it."""
        scan = growing.scan(lines, **changes)
        if scan.map is not None:
            self._previews[growing.key] = growing.preview(scan.map.frame.complete_rows)
        self._scans[growing.key] = scan
        self._feed.publish("live", live_message(scan))
        if scan.state is LiveState.REPLACED:
            self.forget(growing.key)
        return scan

    def forget(self, key: str) -> None:
        """Take a scan off the board without telling."""
        self._scans.pop(key, None)
        self._previews.pop(key, None)
