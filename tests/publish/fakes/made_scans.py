"""Scans in progress made up for tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from made_results import MODEL, NOON, made, made_molecule

from spm_live.scanning import (
    LiveCount,
    LiveMap,
    LiveMolecule,
    LiveScan,
    LiveState,
    Notice,
    ScanQuality,
    TipChange,
    Verdict,
)

QUALITY = ScanQuality(
    lines=30,
    verdict=Verdict.DOUBTFUL,
    reasons=("The tip changed at line 12.",),
    line_correlation=0.93,
    trace_agreement=0.9,
    streaks=0.01,
    dropouts=0.0,
    noise_nm=0.004,
    double_tip=0.1,
    double_tip_nm=(1.2, -0.4),
    tip_changes=(TipChange(12, "height", 2.5),),
)


def made_scan(key: str = "a1", *, lines: int = 32, **changes: Any) -> LiveScan:
    """A scan of 64 x 128 px of which two molecules are seen, the second cut by the front."""
    info = replace(made(complete_rows=lines).map.frame, ended=None)
    molecules = (LiveMolecule(made_molecule(0), False, True), LiveMolecule(made_molecule(1), True, False))
    found = LiveMap(
        frame=replace(info, complete_rows=max(lines - 2, 0)),
        model=MODEL,
        molecules=molecules,
        counts={"rod": LiveCount(1, 1, 1, 0.04, 0.03, 0.05), "lobe": LiveCount(0, 0, 0, 0.0, 0.04, 0.0)},
        scanned_area_nm2=25.0,
        coverage=0.05,
        settled_rows=20,
        preview_png=b"png of " + key.encode(),
        timings_ms={"detect": 40.0},
    )
    scan = LiveScan(
        key=key,
        source="nanonis 127.0.0.1:6501",
        scan="2026-11-21 12:00 7",
        state=LiveState.SCANNING,
        revision=3,
        info=info,
        begun=NOON,
        updated=NOON + timedelta(minutes=2),
        lines_missing=1,
        time_left_s=100.0,
        overtaken=4,
        map=found,
        quality=QUALITY,
    )
    return replace(scan, **changes)


def made_notice(number: int = 0, **changes: Any) -> Notice:
    """A notice that tells its number."""
    when = datetime(2026, 11, 21, 12, 0, tzinfo=UTC) + timedelta(seconds=number)
    notice = Notice(f"rule {number}", f"Notice {number}.", when, "nanonis", "7", key="a1", lines=number)
    return replace(notice, **changes)


class Shown:
    """A live view of scans that a test puts there."""

    def __init__(self, *scans: LiveScan) -> None:
        self.all = list(scans)

    def scans(self) -> list[LiveScan]:
        return self.all

    def preview(self, key: str) -> bytes | None:
        return next((scan.map.preview_png for scan in self.all if scan.key == key and scan.map is not None), None)
