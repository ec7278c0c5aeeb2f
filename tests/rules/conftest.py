"""Scans in progress and finished frames, made up as a test needs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from spm_live.domain import (
    ClassCount,
    FrameInfo,
    FrameRef,
    ModelIdentity,
    Molecule,
    MoleculeMap,
    Processed,
    ScanDirection,
    ScanGeometry,
    Trace,
)
from spm_live.publish.message import frame_message
from spm_live.scanning import LiveCount, LiveMap, LiveMolecule, LiveScan, LiveState, ScanQuality

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MODEL = ModelIdentity("made-up", "1", "ab" * 32)
ROWS = 256

MakeScan = Callable[..., LiveScan]
MakeMessage = Callable[..., dict[str, Any]]


def info(lines: int, source: str = "sim/17", rows: int = ROWS) -> FrameInfo:
    return FrameInfo(
        ref=FrameRef(source, "", "Z", Trace.FORWARD),
        geometry=ScanGeometry(rows, rows, (40.0, 40.0)),
        complete_rows=lines,
        unit="m",
        format="test",
        direction=ScanDirection.DOWN,
    )


def molecule(label: str) -> Molecule:
    return Molecule(label, 0.9, (0.0, 0.0), 1.0, 1.0, 1.0, 0.0, (0, 0, 2, 2), ((0, 0), (1, 0), (1, 1)), False)


@pytest.fixture
def make_scan() -> MakeScan:
    """A scan of 256 lines, with as many molecules as are asked for."""

    def make(
        lines: int,
        counts: Mapping[str, int] | None = None,
        *,
        settled: Mapping[str, int] | None = None,
        cut: Mapping[str, int] | None = None,
        coverage: float = 0.0,
        worked: int | None = None,
        quality: ScanQuality | None = None,
        state: LiveState = LiveState.SCANNING,
        key: str = "k1",
        scan: str = "17",
        source: str = "nanonis lab",
        saved_as: str = "",
        frame_id: int | None = None,
        settled_rows: int = 0,
    ) -> LiveScan:
        found = None
        if counts is not None:
            worked = lines if worked is None else worked
            settled, cut = settled or {}, cut or {}
            molecules = [
                LiveMolecule(molecule(label), cut_by_front=False, settled=number < settled.get(label, 0))
                for label, total in counts.items()
                for number in range(total)
            ]
            molecules += [
                LiveMolecule(molecule(label), cut_by_front=True, settled=False)
                for label, total in cut.items()
                for _ in range(total)
            ]
            found = LiveMap(
                frame=info(worked),
                model=MODEL,
                molecules=tuple(molecules),
                counts={
                    label: LiveCount(total, 0, cut.get(label, 0), 0.1, 0.01, 0.1) for label, total in counts.items()
                },
                scanned_area_nm2=1600.0 * worked / ROWS,
                coverage=coverage,
                settled_rows=settled_rows,
            )
        return LiveScan(
            key=key,
            source=source,
            scan=scan,
            state=state,
            revision=lines,
            info=info(lines),
            begun=NOON,
            updated=NOON,
            map=found,
            quality=quality,
            saved_as=saved_as,
            frame_id=frame_id,
        )

    return make


@pytest.fixture
def make_message() -> MakeMessage:
    """The message of a stored frame."""

    def make(
        frame_id: int,
        counts: Mapping[str, int],
        *,
        source: str = "D:\\data\\sim_0001.sxm",
        lines: int = ROWS,
        coverage: float = 0.0,
        supersedes: tuple[int, ...] = (),
    ) -> dict[str, Any]:
        found = MoleculeMap(
            frame=info(lines, source),
            model=MODEL,
            molecules=tuple(molecule(label) for label, total in counts.items() for _ in range(total)),
            counts={label: ClassCount(total, 0, 0.1, 0.1) for label, total in counts.items()},
            scanned_area_nm2=1600.0 * lines / ROWS,
            coverage=coverage if lines else float("nan"),
        )
        return frame_message(frame_id, Processed(found, b"", b""), when=NOON, supersedes=supersedes)

    return make
