from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from any_results import processeds, times
from hypothesis import given
from made_results import MODEL, NOON, made, made_fault

from spm_live.domain import DaemonState, DaemonStatus, Fault, SourceStatus
from spm_live.publish.message import (
    fault_message,
    frame_message,
    iso,
    outline_points,
    plain_text,
    status_message,
    summary,
)

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "messages.md"

STATUS = DaemonStatus(
    state=DaemonState.RUNNING,
    since=NOON,
    detail="",
    model=MODEL,
    sources=(SourceStatus("folder /data", True, "watching", {"arrived": 3}),),
    queued=1,
    queue_size=64,
    in_hand="/data/scan.sxm",
    counters={"frames": 3},
    lag_s=float("nan"),
)


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        assert all(type(key) is str for key in value)
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


@given(processeds)
def test_a_frame_is_the_same_after_json_and_after_msgpack(processed):
    message = frame_message(7, processed, when=NOON)
    assert json.loads(json.dumps(message, allow_nan=False, ensure_ascii=False).encode()) == message
    assert msgpack.unpackb(msgpack.packb(message)) == message


@given(processeds)
def test_every_value_of_a_frame_is_plain_and_every_number_finite(processed):
    for value in leaves(frame_message(7, processed, when=NOON)):
        assert type(value) in {str, int, float, bool, type(None)}
        assert not isinstance(value, float) or math.isfinite(value)


def test_what_is_not_a_number_is_told_as_none():
    message = frame_message(1, made(complete_rows=0), when=NOON)
    assert message["coverage"] is None
    assert message["counts"]["lobe"]["density_per_nm2"] is None
    assert status_message(STATUS)["lag_s"] is None


def test_numpy_numbers_are_told_as_plain_ones():
    processed = made()
    molecule = replace(processed.map.molecules[0], score=np.float32(0.25), touches_edge=np.bool_(True))
    processed = replace(processed, map=replace(processed.map, molecules=(molecule,)))
    told = frame_message(1, processed, when=NOON)["molecules"][0]
    assert type(told["score"]) is float
    assert told["touches_edge"] is True
    assert json.dumps(told)


def test_a_frame_tells_what_was_found():
    message = frame_message(7, made("scan", complete_rows=32), when=NOON, supersedes=[5, 3])
    assert (message["id"], message["name"], message["source"]) == (7, "scan.sxm", "/data/scan.sxm")
    assert (message["partial"], message["complete_rows"], message["rows"], message["columns"]) == (True, 32, 64, 128)
    assert message["size_nm"] == [10.0, 5.0]
    assert message["nm_per_px"] == [10 / 128, 5 / 64]
    assert (message["started"], message["ended"]) == ("2026-11-21T12:00:00.000000Z", "2026-11-21T12:05:00.000000Z")
    assert message["model"] == {"name": "synthetic-small", "version": "1.0", "sha256": "ab" * 32}
    assert message["counts"]["rod"] == {"total": 2, "edge": 1, "density_per_nm2": 0.04, "coverage": 0.05}
    assert message["supersedes"] == [3, 5]
    assert message["molecules"][0]["outline_px"] == [[10.0, 20.0], [15.12, 20.0], [15.12, 27.0]]
    assert message["molecules"][1]["spectra"] == ["D:/data/spectrum.dat"]


def test_a_windows_path_is_named_by_its_last_part():
    assert frame_message(1, made(source="D:\\scans\\a.sxm"), when=NOON)["name"] == "a.sxm"
    assert fault_message(1, Fault("D:\\scans\\b.sxm", "read", "cut", NOON))["name"] == "b.sxm"


def test_a_summary_leaves_out_the_molecules_and_nothing_else():
    message = frame_message(1, made(), when=NOON)
    assert message.keys() - summary(message).keys() == {"molecules"}
    assert message["total"] == summary(message)["total"] == 2


def test_a_fault_tells_where_and_why():
    assert fault_message(3, made_fault(4)) == {
        "schema": 1,
        "type": "fault",
        "run": None,
        "seq": None,
        "id": 3,
        "source": "/data/bad4.sxm",
        "name": "bad4.sxm",
        "sha256": made_fault(4).sha256,
        "stage": "read",
        "reason": "header says 64 x 128 px, file holds 4",
        "when": "2026-11-21T12:00:04.000000Z",
        "detail": "Traceback ...",
    }


@given(times, times)
def test_written_times_sort_as_the_times_do(one, other):
    assert (iso(one) < iso(other)) == (one.astimezone(UTC) < other.astimezone(UTC))
    assert len(iso(one)) == 27


@given(times)
def test_a_written_time_is_read_back_as_the_same_moment(when):
    assert datetime.fromisoformat(iso(when)) == when.astimezone(UTC)


def test_a_time_without_zone_is_refused():
    with pytest.raises(ValueError, match="no time zone"):
        iso(datetime(2026, 1, 1))
    assert iso(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == "2026-01-01T00:00:00.000000Z"


def test_a_name_that_is_no_text_is_spelled_out():
    name = b"scan\xff\xe9.sxm".decode("utf-8", "surrogateescape")
    assert plain_text(name) == "scan\\udcff\\udce9.sxm"
    assert json.dumps(frame_message(1, made(source=f"/data/{name}"), when=NOON), ensure_ascii=False).encode()


def test_rounding_an_outline_twice_changes_nothing():
    points = np.random.default_rng(3).uniform(-1, 8192, 2000).astype(np.float32)
    (once,) = outline_points(points, [1000])
    assert outline_points(np.asarray(once, dtype=np.float32).ravel(), [1000]) == [once]
    assert np.abs(np.asarray(once).ravel() - points).max() < 0.0051


def test_outlines_are_parted_by_their_lengths():
    flat = np.arange(8, dtype=np.float32)
    assert outline_points(flat, [1, 0, 3]) == [[[0, 1]], [], [[2, 3], [4, 5], [6, 7]]]
    assert outline_points(flat[:0], []) == []


def documented() -> dict[str, list[str]]:
    """Fields that the reference lists: heading to the first column of the table under it."""
    fields: dict[str, list[str]] = {}
    heading = ""
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("| `"):
            fields.setdefault(heading, []).append(line.split("`")[1])
    return fields


def test_the_reference_lists_every_field_and_no_other():
    frame, status = frame_message(1, made(), when=NOON), status_message(STATUS)
    envelope = ["schema", "type", "run", "seq"]
    told = {
        "Every message": envelope,
        "frame": [name for name in frame if name not in envelope],
        "model": list(frame["model"]),
        "counts": list(frame["counts"]["rod"]),
        "molecules": list(frame["molecules"][0]),
        "fault": [name for name in fault_message(1, made_fault()) if name not in envelope],
        "status": [name for name in status if name not in envelope],
        "sources": list(status["sources"][0]),
    }
    listed = documented()
    assert {heading: sorted(listed.get(heading, [])) for heading in told} == {
        heading: sorted(names) for heading, names in told.items()
    }
