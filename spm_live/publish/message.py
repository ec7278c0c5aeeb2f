"""The messages: the one shape in which results are told, by ZeroMQ (msgpack), WebSocket and HTTP (JSON).

Every message is a dictionary of plain values, so that both encodings take it as it is: no number in it is NaN or
infinite (those become None) and every time is text in UTC, as in ``2026-11-21T22:50:07.000000Z``, which sorts as the
times do. ``docs/reference/messages.md`` explains each field; a test holds the two together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.domain import (
    ClassCount,
    DaemonStatus,
    Fault,
    FrameInfo,
    FrameRef,
    ModelIdentity,
    Molecule,
    Processed,
    SourceStatus,
)

Message = dict[str, Any]

MESSAGE_SCHEMA = 1
"""Raised when a field changes its meaning or goes away; a new field does not raise it."""

OUTLINE_DECIMALS = 2
"""Outlines are told to 0.01 px: far finer than a mask, and a third of the bytes of a full float."""


def frame_message(
    frame_id: int,
    processed: Processed,
    *,
    when: datetime,
    supersedes: Sequence[int] = (),
    superseded_by: int | None = None,
) -> Message:
    """Tell one finished frame in full.

    Parameters
    ----------
    frame_id : int
        Its number in the store.
    processed : Processed
        What was found.
    when : datetime
        When it was stored; timezone-aware.
    supersedes : sequence of int
        Older, partial states of the same file that this one takes the place of.
    superseded_by : int or None
        The frame that took this one's place.

    Returns
    -------
    dict
        ``seq`` and ``run`` are None until the feed stamps them.
    """
    found = processed.map
    info = found.frame
    return {
        **envelope("frame"),
        "id": frame_id,
        "name": plain_text(info.ref.name),
        "source": plain_text(info.ref.source),
        "sha256": plain_text(info.ref.sha256),
        "format": plain_text(info.format),
        **scan_fields(info),
        "complete_rows": int(info.complete_rows),
        "partial": info.partial,
        "ended": iso(info.ended),
        "processed": iso(when),
        "model": model_body(found.model),
        "scanned_area_nm2": finite(found.scanned_area_nm2),
        "coverage": finite(found.coverage),
        "total": found.total,
        "counts": {plain_text(label): _count(found.counts[label]) for label in sorted(found.counts)},
        "timings_ms": {plain_text(stage): finite(spent) for stage, spent in processed.timings_ms.items()},
        "quality": None,  # known when the scan it came of is found: see Store.save_quality
        "supersedes": sorted(supersedes),
        "superseded_by": superseded_by,
        "molecules": molecule_bodies(found.molecules),
    }


def summary(message: Mapping[str, Any]) -> Message:
    """Leave out the molecules: a frame as lists show it."""
    return {name: value for name, value in message.items() if name != "molecules"}


def fault_message(fault_id: int, fault: Fault) -> Message:
    """Tell a fault.

    Parameters
    ----------
    fault_id : int
        Its number in the store.
    fault : Fault
        What went wrong.
    """
    return {
        **envelope("fault"),
        "id": fault_id,
        "source": plain_text(fault.source),
        "name": plain_text(FrameRef(fault.source).name),
        "sha256": plain_text(fault.sha256),
        "stage": plain_text(fault.stage),
        "reason": plain_text(fault.reason),
        "when": iso(fault.when),
        "detail": plain_text(fault.detail),
    }


def status_message(status: DaemonStatus) -> Message:
    """Tell how the daemon stands."""
    return {
        **envelope("status"),
        "state": str(status.state),
        "detail": plain_text(status.detail),
        "since": iso(status.since),
        "model": model_body(status.model) if status.model is not None else None,
        "sources": [_source(source) for source in status.sources],
        "queued": int(status.queued),
        "queue_size": int(status.queue_size),
        "in_hand": plain_text(status.in_hand),
        "counters": {plain_text(name): int(count) for name, count in status.counters.items()},
        "lag_s": finite(status.lag_s),
    }


def iso(when: datetime | None) -> str | None:
    """Write a time as ISO 8601 text in UTC, always 27 characters, so that text sorts as time does.

    Raises
    ------
    ValueError
        If the time has no zone: nobody could tell what it means.

    Examples
    --------
    >>> iso(datetime(2026, 11, 21, 22, 50, 7, tzinfo=UTC))
    '2026-11-21T22:50:07.000000Z'
    """
    if when is None:
        return None
    if when.utcoffset() is None:
        raise ValueError(f"{when} has no time zone")
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def finite(number: float | None) -> float | None:
    """Turn any float, numpy's too, into a plain one; None for NaN and infinity, which JSON does not know.

    Examples
    --------
    >>> finite(np.float32(0.5)), finite(float("nan"))
    (0.5, None)
    """
    return None if number is None or not math.isfinite(number) else float(number)


def plain_text(text: str) -> str:
    r"""Make text that UTF-8 can carry.

    File names on Linux may hold bytes that are no text; Python keeps them as lone surrogates, which neither SQLite nor
    JSON nor msgpack takes. They are spelled out.

    Examples
    --------
    >>> plain_text("scan\udcff.sxm")
    'scan\\udcff.sxm'
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def outline_points(flat: NDArray[np.float32], lengths: Iterable[int]) -> list[list[list[float]]]:
    """Round polygons to :data:`OUTLINE_DECIMALS`: the same whether they were just found or come from the store.

    Those of a whole frame at once: numpy takes longer to begin than to round one of them.

    Parameters
    ----------
    flat : (2 N,) float32 array
        Column, row, column, row, ... of all polygons, in frame pixels.
    lengths : iterable of int
        Points of each; N together.

    Returns
    -------
    list of list of [float, float]
        Columns and rows of each.
    """
    points = iter(flat.astype(np.float64).round(OUTLINE_DECIMALS).reshape(-1, 2).tolist())
    return [list(islice(points, length)) for length in lengths]


def scan_fields(info: FrameInfo) -> Message:
    """Tell what finished frames and those in progress have in common: channel, geometry, and how it was scanned."""
    geometry = info.geometry
    return {
        "channel": plain_text(info.ref.channel),
        "trace": str(info.ref.trace) if info.ref.trace is not None else None,
        "direction": str(info.direction),
        "unit": plain_text(info.unit),
        "rows": int(geometry.rows),
        "columns": int(geometry.columns),
        "size_nm": numbers(geometry.size_nm),
        "center_nm": numbers(geometry.center_nm),
        "angle_deg": finite(geometry.angle_deg),
        "nm_per_px": numbers(geometry.nm_per_px),
        "bias_v": finite(info.bias_v),
        "setpoint": finite(info.setpoint),
        "setpoint_unit": plain_text(info.setpoint_unit),
        "started": iso(info.started),
        "instrument": plain_text(info.instrument),
        "comment": plain_text(info.comment),
        "warnings": [plain_text(warning) for warning in info.warnings],
    }


def envelope(kind: str) -> Message:
    """The fields of every message; ``run`` and ``seq`` are None until the feed stamps them."""
    return {"schema": MESSAGE_SCHEMA, "type": kind, "run": None, "seq": None}


def numbers(values: Iterable[float]) -> list[float | None]:
    """Several at once through :func:`finite`."""
    return [finite(value) for value in values]


def model_body(model: ModelIdentity) -> Message:
    """Tell which model."""
    return {"name": plain_text(model.name), "version": plain_text(model.version), "sha256": plain_text(model.sha256)}


def _count(count: ClassCount) -> Message:
    return {
        "total": int(count.total),
        "edge": int(count.edge),
        "density_per_nm2": finite(count.density_per_nm2),
        "coverage": finite(count.coverage),
    }


def molecule_bodies(molecules: Sequence[Molecule]) -> list[Message]:
    """Tell molecules, in the order they are in."""
    outlines = [molecule.outline_px for molecule in molecules]
    flat = np.fromiter(chain.from_iterable(chain.from_iterable(outlines)), dtype=np.float32)
    rounded = outline_points(flat, map(len, outlines))
    return [_molecule(molecule, outline) for molecule, outline in zip(molecules, rounded, strict=True)]


def _molecule(molecule: Molecule, outline: list[list[float]]) -> Message:
    return {
        "label": plain_text(molecule.label),
        "score": finite(molecule.score),
        "center_nm": numbers(molecule.center_nm),
        "area_nm2": finite(molecule.area_nm2),
        "length_nm": finite(molecule.length_nm),
        "width_nm": finite(molecule.width_nm),
        "orientation_deg": finite(molecule.orientation_deg),
        "box_px": numbers(molecule.box_px),
        "outline_px": outline,
        "touches_edge": bool(molecule.touches_edge),
        "spectra": [plain_text(source) for source in molecule.spectra],
    }


def _source(source: SourceStatus) -> Message:
    return {
        "name": plain_text(source.name),
        "ok": bool(source.ok),
        "detail": plain_text(source.detail),
        "counters": {plain_text(name): int(count) for name, count in source.counters.items()},
    }
