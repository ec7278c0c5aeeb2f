from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from made_results import NOON, made
from made_scans import QUALITY, Shown, made_notice, made_scan

from spm_live.domain import DaemonState, DaemonStatus
from spm_live.publish.feed import Feed
from spm_live.publish.live_message import NoticeLog, live_message, notice_message
from spm_live.publish.message import frame_message, summary
from spm_live.publish.snapshot import answer
from spm_live.publish.store import Store
from spm_live.scanning import LiveState, ScanQuality, Verdict

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "messages.md"
ENVELOPE = {"schema", "type", "run", "seq"}


@pytest.mark.parametrize("scan", [made_scan(), made_scan(map=None, quality=None, time_left_s=None)])
def test_a_scan_in_progress_is_the_same_after_json_and_after_msgpack(scan) -> None:
    message = live_message(scan)
    assert json.loads(json.dumps(message, allow_nan=False)) == message
    assert msgpack.unpackb(msgpack.packb(message)) == message


def test_it_tells_what_is_known_so_far() -> None:
    message = live_message(made_scan())
    assert (message["type"], message["key"], message["state"], message["revision"]) == ("live", "a1", "scanning", 3)
    assert (message["rows"], message["columns"], message["lines_done"], message["lines_mapped"]) == (64, 128, 32, 30)
    assert (message["total"], message["settled_rows"], message["lines_missing"]) == (1, 20, 1)
    assert message["counts"]["rod"] == {
        "total": 1,
        "edge": 1,
        "cut_by_front": 1,
        "density_per_nm2": 0.04,
        "density_error_per_nm2": 0.03,
        "coverage": 0.05,
    }
    assert [(each["cut_by_front"], each["settled"]) for each in message["molecules"]] == [(False, True), (True, False)]
    assert message["quality"]["verdict"] == "doubtful"
    assert message["quality"]["double_tip_nm"] == [1.2, -0.4]
    assert message["quality"]["tip_changes"] == [{"line": 12, "kind": "height", "strength": 2.5}]


def test_it_shares_its_molecules_and_its_geometry_with_finished_frames() -> None:
    live, frame = live_message(made_scan()), frame_message(1, made(complete_rows=32), when=NOON)
    for told, stored in zip(live["molecules"], frame["molecules"], strict=True):
        assert stored.items() <= told.items()
    shared = set(live) & set(summary(frame)) - {"counts", "coverage", "scanned_area_nm2", "total", "timings_ms"}
    same = {name for name in shared - ENVELOPE if live[name] == frame[name]}
    assert shared - ENVELOPE - same <= {"name", "source", "quality"}
    assert {"size_nm", "center_nm", "angle_deg", "direction", "unit", "bias_v"} <= same


def test_before_its_first_lines_it_is_told_without_map_and_quality() -> None:
    message = live_message(made_scan(lines=0, map=None, quality=None))
    assert (message["total"], message["counts"], message["molecules"]) == (0, {}, [])
    assert (message["model"], message["quality"], message["coverage"]) == (None, None, None)
    assert message.keys() == live_message(made_scan()).keys()


def test_what_is_not_a_number_is_told_as_none_and_numpy_as_plain_numbers() -> None:
    scan = made_scan()
    found = replace(scan.map, coverage=math.nan, scanned_area_nm2=np.float32(2.5), settled_rows=np.int64(3))
    message = live_message(replace(scan, map=found, quality=ScanQuality(lines=2), time_left_s=math.inf))
    assert (message["coverage"], message["time_left_s"], message["scanned_area_nm2"]) == (None, None, 2.5)
    assert type(message["settled_rows"]) is int
    quality = message["quality"]
    assert (quality["verdict"], quality["line_correlation"], quality["streaks"]) == (Verdict.UNKNOWN, None, 0.0)
    json.dumps(message, allow_nan=False)


def test_it_is_called_after_its_file_once_that_is_known() -> None:
    assert live_message(made_scan())["name"] == "2026-11-21 12:00 7"
    over = made_scan(state=LiveState.REPLACED, saved_as="D:\\data\\Au_0007.sxm", frame_id=9)
    assert (live_message(over)["name"], live_message(over)["frame_id"]) == ("Au_0007.sxm", 9)


def test_a_notice_tells_rule_scan_and_line() -> None:
    message = notice_message(made_notice(4, text="Coverage is above 0.3\udcff", frame_id=2))
    assert (message["type"], message["rule"], message["lines"], message["frame_id"]) == ("notice", "rule 4", 4, 2)
    assert message["when"] == "2026-11-21T12:00:04.000000Z"
    assert json.dumps(message).encode()


def test_the_newest_notices_are_kept_newest_first() -> None:
    log = NoticeLog(kept=3)
    told = [log.add(made_notice(number)) for number in range(5)]
    assert log.newest() == told[:1:-1]


def test_a_snapshot_over_zeromq_holds_scans_in_progress_and_notices(tmp_path) -> None:
    log, scan, status = NoticeLog(), made_scan(), DaemonStatus(DaemonState.RUNNING, NOON)
    told = log.add(made_notice())
    asked = msgpack.packb({"kind": "snapshot", "token": "t", "last": 1})
    with Store(tmp_path / "s") as store:
        reply, _ = answer(asked, "t", Feed(), store, lambda: status, Shown(scan), log)
        without, _ = answer(asked, "t", Feed(), store, lambda: status)
    assert msgpack.unpackb(reply)["live"] == [live_message(scan)]
    assert msgpack.unpackb(reply)["notices"] == [told]
    assert (msgpack.unpackb(without)["live"], msgpack.unpackb(without)["notices"]) == ([], [])


def documented() -> dict[str, set[str]]:
    """Fields that the reference lists: heading to the names in the first column of the table under it."""
    fields: dict[str, set[str]] = {}
    heading = ""
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("| `"):
            fields.setdefault(heading, set()).update(re.findall(r"`(\w+)`", line.split("|")[1]))
    return fields


def test_the_reference_lists_every_field_of_scans_in_progress_and_no_other() -> None:
    message, listed = live_message(made_scan()), documented()
    molecule: dict[str, Any] = message["molecules"][0]
    told = {
        "live": message.keys() - ENVELOPE,
        "live counts": set(message["counts"]["rod"]),
        "live molecules": molecule.keys() - listed["molecules"],
        "quality": set(message["quality"]),
        "tip change": set(message["quality"]["tip_changes"][0]),
        "notice": notice_message(made_notice()).keys() - ENVELOPE,
    }
    assert {heading: listed.get(heading) for heading in told} == told
    assert QUALITY.tip_changes
