"""Frames of a series as the daemon stores them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta

import numpy as np
from made_series import EVENING, GEOMETRY, picture
from numpy.typing import NDArray

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
from spm_live.png import encode_png


def processed(
    name: str,
    places: NDArray[np.float64],
    minutes: float = 0.0,
    *,
    geometry: ScanGeometry = GEOMETRY,
    channel: str = "Z",
    instrument: str = "STM 1",
    complete_rows: int | None = None,
    source: str = "",
    preview: bytes | None = None,
) -> Processed:
    """A frame that shows round molecules at these places, begun so many minutes after the evening did."""
    rows = geometry.rows if complete_rows is None else complete_rows
    began = EVENING + timedelta(minutes=minutes)
    digest = hashlib.sha256(f"{name} {rows}".encode()).hexdigest()
    info = FrameInfo(
        FrameRef(source or f"/data/{name}.sxm", digest, channel, Trace.FORWARD),
        geometry,
        "m",
        ScanDirection.DOWN,
        rows,
        started=began,
        ended=began + timedelta(minutes=3.6),
        instrument=instrument,
        format="nanonis-sxm",
    )
    shown = picture(geometry, places, seed=int(digest[:6], 16))
    shown[rows:] = 0
    px = geometry.to_px(places)
    here = (px > -0.5).all(axis=1) & (px[:, 0] < geometry.columns - 0.5) & (px[:, 1] < rows - 0.5)
    found = tuple(_molecule(place, at) for place, at in zip(places[here].tolist(), px[here].tolist(), strict=True))
    counts = {"disc": ClassCount(len(found), 0, 0.1, 0.1)}
    identity = ModelIdentity("made", "1", "00")
    return Processed(
        MoleculeMap(info, identity, found, counts, 400.0 * rows / geometry.rows, 0.1),
        encode_png(shown) if preview is None else preview,
        b"thumbnail",
    )


def _molecule(place: list[float], at: list[float]) -> Molecule:
    x, y = at
    outline = ((x - 3, y - 3), (x + 3, y - 3), (x + 3, y + 3))
    made = Molecule("disc", 0.9, (0.0, 0.0), 0.8, 1.0, 1.0, 0.0, (x - 3, y - 3, x + 3, y + 3), outline, False)
    return replace(made, center_nm=(place[0], place[1]))
