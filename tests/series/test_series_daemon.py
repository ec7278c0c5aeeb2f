"""Each stored frame is linked to the one before of its place, once, and nothing that a frame does stops the daemon."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from made_series import drifted, scattered
from stored_series import processed

from spm_live.daemon import series as daemon_series
from spm_live.daemon.series import FollowSeries
from spm_live.domain import ScanGeometry
from spm_live.publish.feed import Feed
from spm_live.publish.store import Store, StoreError

PLACES = scattered(40, side_nm=26)
STEP = np.array([0.5, -0.3])
ELSEWHERE = ScanGeometry(128, 128, (20.0, 20.0), (200.0, 0.0))


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "s.sqlite3") as store:
        yield store


@pytest.fixture
def feed():
    return Feed()


@pytest.fixture
def following(store, feed):
    return FollowSeries(store, feed)


def at(number: int):
    return drifted(PLACES, STEP * number)


def test_a_series_is_linked_told_and_kept(store, feed, following):
    with feed.subscribe(10) as heard:
        for number in range(3):
            following.frame_stored(store.save(processed(f"s{number}", at(number), 4 * number)).id)
        told = [heard.get(0), heard.get(0)]
        assert heard.get(0) is None
    for number, message in enumerate(told, 2):
        kept = store.links(number)
        assert {**message, "run": None, "seq": None} == kept
        assert (kept["type"], kept["frame"], kept["previous"], kept["method"]) == ("links", number, number - 1, "both")
        assert np.allclose(kept["drift_nm"], STEP, atol=0.01)
        assert np.allclose(kept["drift_nm_per_min"], STEP / 4, atol=0.01)
        assert kept["counts"]["moved"] == kept["counts"]["vanished"] == kept["counts"]["appeared"] == 0
        assert kept["counts"]["stayed"] > 15
    assert store.links(1)["previous"] is None
    assert following.counters == {"linked": 2, "first_of_place": 1, "link_failures": 0}
    assert [row["previous"] for row in store.series(5)] == [2, 1, None]


def test_a_track_goes_through_the_whole_series(store, following):
    for number in range(4):
        following.frame_stored(store.save(processed(f"s{number}", at(number), 4 * number)).id)
    first = {molecule["id"] for molecule in store.frame_in_series(1)["molecules"]}
    last = {molecule["track"] for molecule in store.frame_in_series(4)["molecules"]}
    assert len(first & last) > 15


def test_places_that_take_turns_are_followed_each_for_itself(store, following):
    far = PLACES + np.array([200.0, 0.0])
    for number in range(4):
        here = processed(f"here{number}", at(number), 10 * number)
        there = processed(f"there{number}", drifted(far, STEP * number), 10 * number + 5, geometry=ELSEWHERE)
        following.frame_stored(store.save(here).id)
        following.frame_stored(store.save(there).id)
    assert [row["previous"] for row in reversed(store.series(10))] == [None, None, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "changed",
    [
        {"minutes": 12 * 60 + 1},
        {"minutes": -1},
        {"channel": "Current"},
        {"instrument": "STM 2"},
        {"geometry": ScanGeometry(128, 128, (20.0, 20.0), (11.0, 0.0))},
        {"geometry": ScanGeometry(128, 128, (60.0, 60.0))},
    ],
)
def test_a_frame_of_another_place_time_channel_or_instrument_is_not_the_one_before(store, following, changed):
    following.frame_stored(store.save(processed("a", at(0))).id)
    following.frame_stored(store.save(processed("b", at(1), **{"minutes": 4, **changed})).id)
    assert store.links(2)["previous"] is None
    assert following.counters["first_of_place"] == 2


def test_a_zoom_into_the_place_is_linked(store, following):
    following.frame_stored(store.save(processed("a", at(0))).id)
    zoom = ScanGeometry(128, 128, (12.0, 12.0), (1.0, 1.0))
    following.frame_stored(store.save(processed("b", at(1), 4, geometry=zoom)).id)
    links = store.links(2)
    assert links["previous"] == 1
    assert np.allclose(links["drift_nm"], STEP, atol=0.01)
    assert {kind for kind, count in links["counts"].items() if count} == {"stayed"}


def test_what_a_kill_left_undone_is_made_up_for_and_nothing_is_done_twice(store, feed, following):
    for number in range(4):
        saved = store.save(processed(f"s{number}", at(number), 4 * number))
        if number == 1:
            following.frame_stored(saved.id)
    with feed.subscribe(10) as heard:
        again = FollowSeries(store, feed)
        again.frame_stored(4)
        assert [heard.get(0)["frame"] for _ in range(2)] == [3, 4]
        again.frame_stored(4)
        again.frame_stored(2)
        assert heard.get(0) is None
    assert [row["previous"] for row in reversed(store.series(10))] == [None, 1, 2, 3]


def test_only_the_newest_frames_of_an_old_store_are_made_up_for(store, following, monkeypatch):
    monkeypatch.setattr(daemon_series, "CATCH_UP", 2)
    for number in range(4):
        store.save(processed(f"s{number}", at(number), 4 * number))
    following.frame_stored(4)
    assert store.frames_without_links(10) == [1, 2]


def test_a_molecule_that_one_frame_missed_keeps_its_track_after_a_restart(store, feed):
    for number in range(4):
        made = processed(f"s{number}", at(number), 4 * number)
        if number in {1, 2}:
            found = made.map.molecules
            made = replace(made, map=replace(made.map, molecules=found[:5] + found[6:]))
        FollowSeries(store, feed).frame_stored(store.save(made).id)
    first = store.frame_in_series(1)["molecules"][5]
    assert first["id"] not in {molecule["track"] for molecule in store.frame_in_series(3)["molecules"]}
    assert first["id"] in {molecule["track"] for molecule in store.frame_in_series(4)["molecules"]}


def test_the_links_of_a_partial_frame_go_when_the_whole_one_comes(store, following):
    following.frame_stored(store.save(processed("a", at(0))).id)
    following.frame_stored(store.save(processed("b", at(1), 4, complete_rows=80)).id)
    following.frame_stored(store.save(processed("c", at(2), 8)).id)
    assert store.links(2)["previous"] == 1
    assert store.links(3)["previous"] == 2
    whole = store.save(processed("b", at(1), 4))
    assert whole.message["supersedes"] == [2]
    following.frame_stored(whole.id)
    assert store.links(2)["links"] == []
    assert store.links(3)["previous"] == 1
    assert store.links(whole.id)["previous"] == 1
    assert [row["frame"] for row in store.series(10)] == [4, 3, 1]


def test_a_preview_that_is_no_picture_leaves_the_molecules(store, following):
    following.frame_stored(store.save(processed("a", at(0))).id)
    following.frame_stored(store.save(processed("b", at(1), 4, preview=b"no picture")).id)
    assert store.links(2)["method"] == "molecules"
    assert following.counters["link_failures"] == 0


def test_a_frame_that_cannot_be_followed_is_logged_counted_and_not_tried_again(store, feed, following, caplog):
    following.frame_stored(store.save(processed("a", at(0))).id)
    made = processed("b", at(1), 4)
    nan = float("nan")
    broken = tuple(replace(molecule, center_nm=(nan, nan)) for molecule in made.map.molecules)
    with caplog.at_level(logging.ERROR):
        following.frame_stored(store.save(replace(made, map=replace(made.map, molecules=broken))).id)
    assert "could not be followed" in caplog.text
    assert following.counters["link_failures"] == 1
    assert store.links(2)["previous"] is None
    following.frame_stored(store.save(processed("c", at(2), 8)).id)
    assert following.counters["link_failures"] == 2  # the frame before this one is the broken one
    following.frame_stored(store.save(processed("d", at(3), 12)).id)
    assert store.links(4)["previous"] == 3


def test_a_store_that_is_away_is_waited_for(store, feed, following, caplog, monkeypatch):
    saved = store.save(processed("a", at(0)))
    monkeypatch.setattr(store, "save_links", raises_store_error)
    following.frame_stored(saved.id)
    assert "must wait" in caplog.text
    monkeypatch.undo()
    following.frame_stored(store.save(processed("b", at(1), 4)).id)
    assert store.links(2)["previous"] == 1
    assert store.frames_without_links(10) == []


def raises_store_error(_message: object) -> bool:
    raise StoreError("no room")


def test_a_frame_that_is_not_there_is_nothing(store, following):
    following.frame_stored(7)
    assert store.links(7) is None
    assert following.counters == {"linked": 0, "first_of_place": 0, "link_failures": 0}


def test_frames_without_times_are_ordered_by_their_storing(store, following):
    for name in "ab":
        made = processed(name, at(0))
        info = replace(made.map.frame, started=None, ended=None)
        following.frame_stored(store.save(replace(made, map=replace(made.map, frame=info))).id)
    links = store.links(2)
    assert (links["previous"], links["minutes"], links["drift_nm_per_min"]) == (1, None, None)
