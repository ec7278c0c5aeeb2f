"""Tracks and drifts of a stored series as tables."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from made_series import drifted, scattered
from stored_series import processed

from spm_live.batch.track import DRIFT_COLUMNS, MOLECULE_COLUMNS, track_frames, track_table
from spm_live.daemon.series import FollowSeries
from spm_live.errors import SetupError
from spm_live.publish.feed import Feed
from spm_live.publish.store import Store

STEP = np.array([0.5, -0.3])


@pytest.fixture
def path(tmp_path):
    """A series of four frames: one molecule hops before the third, and one leaves before the fourth."""
    places = scattered(40, side_nm=18)
    with Store(tmp_path / "s.sqlite3") as store:
        for number in range(4):
            if number == 2:
                places[3] += [0.9, 0.9]
            if number == 3:
                places = np.delete(places, 8, axis=0)
            store.save(processed(f"s{number}", drifted(places, STEP * number), 4 * number))
    return tmp_path / "s.sqlite3"


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_molecule_is_followed_through_the_table(path, tmp_path):
    frames, drifts_path = track_table(path, tmp_path / "out" / "table.csv")
    assert frames == 4
    rows, drifts = read(tmp_path / "out" / "table.csv"), read(drifts_path)
    assert (tuple(rows[0]), tuple(drifts[0])) == (MOLECULE_COLUMNS, DRIFT_COLUMNS)
    moved = [row for row in rows if row["kind"] == "moved"]
    assert [(row["frame"], round(float(row["moved_x_nm"]), 1)) for row in moved] == [("s2.sxm", 0.9)]
    way = [row for row in rows if row["track"] == moved[0]["track"]]
    assert [row["kind"] for row in way] == ["", "stayed", "moved", "stayed"]
    steps = np.diff([float(row["center_x_nm"]) for row in way])
    assert np.allclose(steps, [0.5, 1.4, 0.5], atol=0.01)
    (gone,) = [row for row in rows if row["kind"] == "vanished"]
    assert (gone["frame"], gone["number"], gone["label"]) == ("s3.sxm", "", "disc")


def test_the_drifts_stand_in_a_table_of_their_own(path, tmp_path):
    _, place = track_table(path, tmp_path / "table.csv")
    assert place == tmp_path / "table-drifts.csv"
    first, *rest = read(place)
    assert (first["previous_id"], first["drift_x_nm"], first["method"]) == ("", "", "none")
    assert [row["previous_id"] for row in rest] == ["1", "2", "3"]
    assert np.allclose([float(row["drift_y_nm_per_min"]) for row in rest], -0.3 / 4, atol=0.003)
    assert [row["moved"] for row in rest] == ["0", "1", "0"]
    assert [row["vanished"] for row in rest] == ["0", "0", "1"]


def test_the_table_says_what_the_daemon_said(path):
    with Store(path) as store:
        FollowSeries(store, Feed()).frame_stored(4)
        told = [store.frame_in_series(number) for number in range(1, 5)]
    for message, frame in zip(told[1:], list(track_frames(path))[1:], strict=True):
        tracks = [row["track"] for row in frame.molecules if row["kind"] != "vanished"]
        assert tracks == [molecule["track"] or molecule["id"] for molecule in message["molecules"]]


def test_only_the_frames_asked_for_are_followed(path):
    assert [frame.drift["frame_id"] for frame in track_frames(path, last=2)] == [3, 4]
    skipping = list(track_frames(path, ids=[1, 4]))
    assert [frame.drift["previous_id"] for frame in skipping] == [None, 1]
    assert np.hypot(skipping[1].drift["drift_x_nm"] - 1.5, skipping[1].drift["drift_y_nm"] + 0.9) < 0.02
    assert list(track_frames(path, ids=[1, 2, 3], last=0)) == []


def test_what_cannot_be_done_is_said(path, tmp_path):
    with pytest.raises(SetupError, match="has no frame 9"):
        list(track_frames(path, ids=[9]))
    with pytest.raises(SetupError, match="cannot be opened"):
        track_table(tmp_path / "none.sqlite3", tmp_path / "table.csv")
    (tmp_path / "file").touch()
    with pytest.raises(SetupError, match="cannot be written"):
        track_table(path, tmp_path / "file" / "table.csv")
    assert not (tmp_path / "table.csv").exists()
