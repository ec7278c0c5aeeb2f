"""Any result that hypothesis can think of."""

from __future__ import annotations

from datetime import datetime

from hypothesis import strategies as st
from made_results import digest

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
