"""Results made up for tests."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from spm_live.domain import (
    ClassCount,
    Fault,
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

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MODEL = ModelIdentity("synthetic-small", "1.0", "ab" * 32)


def digest(what: object) -> str:
    """A digest that differs where ``what`` does."""
    return hashlib.sha256(str(what).encode("utf-8", "surrogatepass")).hexdigest()


def made_molecule(number: int = 0, label: str = "rod") -> Molecule:
    """A molecule that tells its number."""
    x, y = 10.0 + number, 20.0 + number
    return Molecule(
        label=label,
        score=0.95 - number / 20,
        center_nm=(x / 10, -y / 10),
        area_nm2=1.25,
        length_nm=2.0,
        width_nm=0.5,
        orientation_deg=30.0,
        box_px=(x, y, x + 5.5, y + 7.25),
        outline_px=((x, y), (x + 5.125, y), (x + 5.123, y + 7.0)),
        touches_edge=number == 0,
        spectra=("D:/data/spectrum.dat",) if number == 1 else (),
    )


def made(
    name: object = "scan",
    *,
    source: str | None = None,
    molecules: int = 2,
    complete_rows: int = 64,
    started: datetime | None = NOON,
    picture: bytes = b"png",
) -> Processed:
    """A frame of 64 x 128 px, 10 x 5 nm; its content is known by its name."""
    info = FrameInfo(
        ref=FrameRef(source or f"/data/{name}.sxm", digest(name), "Z (m)", Trace.FORWARD),
        geometry=ScanGeometry(rows=64, columns=128, size_nm=(10.0, 5.0), center_nm=(100.0, -50.0), angle_deg=15.0),
        unit="m",
        direction=ScanDirection.UP,
        complete_rows=complete_rows,
        bias_v=-1.5,
        setpoint=5e-11,
        setpoint_unit="A",
        started=started,
        ended=started + timedelta(minutes=5) if started else None,
        instrument="STM 1",
        comment="Kupferoxid, 4,8 K",
        format="nanonis-sxm",
        warnings=("the header says so",),
        metadata={"BIAS": "-1.5", "COMMENT": "Kupferoxid, 4,8 K"},
    )
    found = tuple(made_molecule(number) for number in range(molecules))
    nan = float("nan")
    counts = {
        "rod": ClassCount(molecules, min(molecules, 1), 0.04, 0.05),
        "lobe": ClassCount(0, 0, 0.0 if complete_rows else nan, nan),
    }
    area = 50.0 * complete_rows / 64
    return Processed(
        map=MoleculeMap(info, MODEL, found, counts, area, 0.05 if complete_rows else nan),
        preview_png=b"preview of " + picture,
        thumbnail_png=b"thumbnail of " + picture,
        timings_ms={"read": 1.5, "detect": 120.0},
    )


def made_fault(number: int = 0, stage: str = "read") -> Fault:
    """A fault that tells its number."""
    return Fault(
        source=f"/data/bad{number}.sxm",
        stage=stage,
        reason=f"header says 64 x 128 px, file holds {number}",
        when=NOON + timedelta(seconds=number),
        sha256=digest(f"bad{number}"),
        detail="Traceback ...",
    )


def made_links(frame: int = 2, previous: int = 1) -> dict[str, Any]:
    """The links of two frames of at least two molecules each: one stayed, one vanished and another appeared."""
    blank = {"molecule": None, "before": None, "moved_nm": None, "turned_deg": None}
    return {
        "schema": 1,
        "type": "links",
        "run": None,
        "seq": None,
        "frame": frame,
        "previous": previous,
        "minutes": 4.0,
        "drift_nm": [0.5, -1.0],
        "drift_nm_per_min": [0.125, -0.25],
        "slope": [0.0, 0.01],
        "method": "both",
        "agreement": 0.5,
        "counts": {"stayed": 1, "moved": 0, "turned": 0, "appeared": 1, "vanished": 1},
        "links": [
            {"kind": "stayed", "molecule": 0, "before": 0, "track": 1, "moved_nm": [0.01, 0.02], "turned_deg": -3.5},
            {**blank, "kind": "appeared", "molecule": 1, "track": 4},
            {**blank, "kind": "vanished", "before": 1, "track": 2},
        ],
    }
