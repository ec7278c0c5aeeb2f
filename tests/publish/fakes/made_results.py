"""Results made up for tests: one by hand, and any that hypothesis can think of."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

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
        score=0.9 / (number + 1),
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


texts = st.text(st.characters(exclude_categories=()), max_size=20)  # lone surrogates too: file names on Linux
any_floats = st.floats()
finite_floats = st.floats(allow_nan=False, allow_infinity=False)
times = st.datetimes(timezones=st.timezones(), min_value=datetime(1970, 1, 3), max_value=datetime(2200, 1, 1))
pixels = st.floats(-1, 8192)

molecules = st.builds(
    Molecule,
    label=texts,
    score=st.floats(0, 1),
    center_nm=st.tuples(any_floats, any_floats),
    area_nm2=any_floats,
    length_nm=any_floats,
    width_nm=any_floats,
    orientation_deg=any_floats,
    box_px=st.tuples(pixels, pixels, pixels, pixels),
    outline_px=st.lists(st.tuples(pixels, pixels), max_size=6).map(tuple),
    touches_edge=st.booleans(),
    spectra=st.lists(texts, max_size=2).map(tuple),
)


@st.composite
def frame_infos(draw: st.DrawFn) -> FrameInfo:
    """Any frame that the contract allows."""
    rows = draw(st.integers(1, 8192))
    positive = st.floats(1e-3, 1e6)
    return FrameInfo(
        ref=FrameRef(draw(texts), digest(draw(st.integers())), draw(texts), draw(st.sampled_from([*Trace, None]))),
        geometry=ScanGeometry(
            rows=rows,
            columns=draw(st.integers(1, 8192)),
            size_nm=(draw(positive), draw(positive)),
            center_nm=(draw(finite_floats), draw(finite_floats)),
            angle_deg=draw(finite_floats),
        ),
        unit=draw(texts),
        direction=draw(st.sampled_from(ScanDirection)),
        complete_rows=draw(st.integers(0, rows)),
        bias_v=draw(st.none() | any_floats),
        setpoint=draw(st.none() | any_floats),
        setpoint_unit=draw(texts),
        started=draw(st.none() | times),
        ended=draw(st.none() | times),
        instrument=draw(texts),
        comment=draw(texts),
        format=draw(texts),
        warnings=tuple(draw(st.lists(texts, max_size=2))),
        metadata=draw(st.dictionaries(texts, texts, max_size=3)),
    )


counts = st.builds(
    ClassCount,
    total=st.integers(0, 10_000),
    edge=st.integers(0, 10_000),
    density_per_nm2=any_floats,
    coverage=any_floats,
)

processeds = st.builds(
    Processed,
    map=st.builds(
        MoleculeMap,
        frame=frame_infos(),
        model=st.builds(ModelIdentity, texts, texts, texts),
        molecules=st.lists(molecules, max_size=4).map(tuple),
        counts=st.dictionaries(texts, counts, max_size=3),
        scanned_area_nm2=any_floats,
        coverage=any_floats,
    ),
    preview_png=st.binary(max_size=20),
    thumbnail_png=st.binary(max_size=20),
    timings_ms=st.dictionaries(texts, any_floats, max_size=3),
)
