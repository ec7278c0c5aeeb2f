from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from any_results import processeds
from hypothesis import HealthCheck, given, settings
from made_results import NOON, digest, made, made_fault
from made_scans import QUALITY

from spm_live.publish.live_message import quality_body
from spm_live.publish.message import fault_message, frame_message, iso, summary
from spm_live.publish.store import FileKey, Store


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "results" / "store.sqlite3", clock=lambda: NOON) as store:
        yield store


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory):
    with Store(tmp_path_factory.mktemp("shared") / "store.sqlite3", clock=lambda: NOON) as store:
        yield store


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(processeds)
def test_a_stored_frame_reads_as_it_was_told(shared_store, processed):
    # The same source may come up twice; then the older partial one is superseded, which other tests look at.
    saved = shared_store.save(processed)
    if not saved.new:
        return
    assert shared_store.frame(saved.id) == saved.message
    assert saved.message == frame_message(saved.id, processed, when=NOON, supersedes=saved.message["supersedes"])
    assert shared_store.preview(saved.id) == processed.preview_png
    assert shared_store.thumbnail(saved.id) == processed.thumbnail_png


def test_the_same_content_is_stored_once(store):
    first = store.save(made("a", picture=b"1"))
    again = store.save(made("a", source="/data/copy.sxm", picture=b"2"))
    assert (first.new, again.new, again.id, again.message) == (True, False, first.id, None)
    assert store.totals()["frames"] == 1
    assert store.totals()["molecules"] == 2
    assert store.preview(first.id) == b"preview of 1"
    assert store.known(digest("a")) == first.id
    assert store.known(digest("b")) is None


def test_a_frame_without_digest_is_refused(store):
    processed = made("a")
    ref = processed.map.frame.ref
    object.__setattr__(ref, "sha256", "")
    with pytest.raises(ValueError, match="without digest"):
        store.save(processed)


def test_saving_remembers_the_file_and_clears_its_tries(store):
    assert [store.count_crash(digest("a"), "/data/a.sxm") for _ in range(3)] == [1, 2, 3]
    store.save(made("a"), file=FileKey("/data/a.sxm", 100, 5))
    assert store.file_known("/data/a.sxm", 100, 5)
    assert store.count_crash(digest("a"), "/data/a.sxm") == 1


def test_a_duplicate_remembers_its_own_file_too(store):
    store.save(made("a"), file=FileKey("/data/a.sxm", 100, 5))
    store.save(made("a"), file=FileKey("/data/copy.sxm", 100, 9))
    assert store.file_known(Path("/data/copy.sxm"), 100, 9)


def test_a_file_is_known_in_the_state_it_was_seen_in_only(store):
    store.remember_file(Path("/data/a.sxm"), 100, 5, digest("a"), "unwanted")
    assert store.file_known(Path("/data/a.sxm"), 100, 5)
    assert not store.file_known(Path("/data/a.sxm"), 101, 5)
    assert not store.file_known(Path("/data/a.sxm"), 100, 6)
    store.remember_file(Path("/data/a.sxm"), 101, 6, digest("b"), "unwanted")
    assert not store.file_known(Path("/data/a.sxm"), 100, 5)


def test_what_is_only_noted_is_made_durable_when_asked_or_with_the_next_frame(store):
    for make_durable in (store.durable, lambda: store.save(made("a")), lambda: store.count_crash("aa", "a")):
        store.remember_file("/data/a.sxm", 100, 5, digest("a"), "unwanted")
        assert store._database._unsynced
        make_durable()
        assert not store._database._unsynced
    store.durable()


def test_a_file_whose_name_is_no_text_is_remembered(store):
    name = b"/data/scan\xff.sxm".decode("utf-8", "surrogateescape")
    store.save(made("a", source=name), file=FileKey(name, 1, 2))
    assert store.file_known(name, 1, 2)
    assert store.count_crash(digest("x"), name) == 1
    assert store.retry(name) == 1


def test_tries_are_counted_apart(store):
    assert store.count_crash("aa", "a") == 1
    assert store.count_crash("bb", "b") == 1
    assert store.count_crash("aa", "a") == 2


def test_tries_are_still_counted_after_closing(tmp_path):
    with Store(tmp_path / "s") as store:
        store.count_crash("aa", "a")
    with Store(tmp_path / "s") as store:
        assert store.count_crash("aa", "a") == 2


def test_a_later_state_of_a_file_takes_the_place_of_a_partial_one(store):
    first = store.save(made("rows 10", source="/data/a.sxm", complete_rows=10))
    second = store.save(made("rows 30", source="/data/a.sxm", complete_rows=30))
    other = store.save(made("other", source="/data/b.sxm", complete_rows=10))
    whole = store.save(made("rows 64", source="/data/a.sxm"))
    assert second.message["supersedes"] == [first.id]
    assert whole.message["supersedes"] == [second.id]
    assert [frame["id"] for frame in store.frames(10)] == [whole.id, other.id]
    assert [frame["id"] for frame in store.frames(10, superseded=True)] == [whole.id, other.id, second.id, first.id]
    assert store.frame(first.id)["superseded_by"] == second.id
    assert store.frame(second.id)["superseded_by"] == whole.id
    assert [frame["id"] for frame in store.iter_frames()] == [other.id, whole.id]
    totals = store.totals()
    assert (totals["frames"], totals["superseded"], totals["partial"], totals["molecules"]) == (2, 2, 1, 4)


def test_a_whole_frame_is_never_superseded(store):
    whole = store.save(made("rows 64", source="/data/a.sxm"))
    another = store.save(made("scanned anew", source="/data/a.sxm", complete_rows=5))
    assert another.message["supersedes"] == []
    assert [frame["id"] for frame in store.frames(10)] == [another.id, whole.id]


def test_the_file_of_a_scan_takes_the_place_of_the_lines_that_were_kept_of_it(store):
    def kept(name, frame_format, source):
        processed = made(name, source=source)
        info = replace(processed.map.frame, format=frame_format)
        return store.save(replace(processed, map=replace(processed.map, frame=info)))

    lines = kept("lines", "growing", "C:/data/a.sxm")
    other = kept("another file", "nanonis-sxm", "/old/a.sxm")
    late = kept("file", "nanonis-sxm", "/mnt/data/a.sxm")
    assert other.message["supersedes"] == [lines.id]
    assert late.message["supersedes"] == []
    assert [frame["id"] for frame in store.frames(10)] == [late.id, other.id]


def test_a_frame_takes_the_place_of_another_when_that_is_found_out_later(store):
    kept, late = store.save(made("kept")), store.save(made("late"))
    message = store.supersede(kept.id, late.id)
    assert (message["id"], message["supersedes"]) == (late.id, [kept.id])
    assert [frame["id"] for frame in store.frames(10)] == [late.id]
    with pytest.raises(ValueError, match="no frame"):
        store.supersede(late.id, 99)
    assert [frame["id"] for frame in store.frames(10)] == [late.id]


def test_how_good_a_scan_looked_is_kept_once_with_its_frame(store):
    saved = store.save(made("a"))
    quality = quality_body(QUALITY)
    assert saved.message["quality"] is None
    assert store.save_quality(saved.id, quality)
    assert not store.save_quality(saved.id, {**quality, "verdict": "good"}), "it was kept before"
    assert not store.save_quality(99, quality), "there is no such frame"
    assert store.frame(saved.id) == {**saved.message, "quality": quality}
    assert store.frames(1)[0]["quality"] == store.latest()["quality"] == quality


@pytest.mark.parametrize("found_late", [False, True])
def test_the_quality_goes_from_the_lines_of_a_scan_to_its_file(store, found_late):
    lines = made("lines", source="C:/data/a.sxm")
    info = replace(lines.map.frame, format="growing")
    kept = store.save(replace(lines, map=replace(lines.map, frame=info)))
    store.save_quality(kept.id, quality_body(QUALITY))
    if found_late:
        late = store.save(made("file", source="D:/elsewhere/b.sxm"))
        assert late.message["quality"] is None
        told = store.supersede(kept.id, late.id)
    else:
        told = store.save(made("file", source="/mnt/a.sxm")).message
    assert told["supersedes"] == [kept.id]
    assert told["quality"] == store.frame(told["id"])["quality"] == quality_body(QUALITY)


def test_a_longer_state_of_a_file_does_not_inherit_the_quality_of_a_shorter_one(store):
    short = store.save(made("rows 10", source="/data/a.sxm", complete_rows=10))
    store.save_quality(short.id, quality_body(QUALITY))
    whole = store.save(made("rows 64", source="/data/a.sxm"))
    assert whole.message["supersedes"] == [short.id]
    assert whole.message["quality"] is None


def test_frames_are_listed_newest_first_a_page_at_a_time(store):
    ids = [store.save(made(number)).id for number in range(7)]
    first = store.frames(3)
    second = store.frames(3, before=first[-1]["id"])
    third = store.frames(3, before=second[-1]["id"])
    assert [frame["id"] for frame in (*first, *second, *third)] == ids[::-1]
    assert store.frames(0) == store.frames(-1) == store.frames(3, before=ids[0]) == []
    assert first[0] == summary(store.frame(ids[-1]))


def test_the_latest_frame_is_given_in_full(store):
    assert store.latest() is None
    store.save(made("a"))
    saved = store.save(made("b"))
    assert store.latest() == saved.message
    assert store.last_frames(5) == [store.frame(1), saved.message]
    assert store.last_frames(0) == []


def test_what_is_not_there_is_none(store):
    assert store.frame(1) is store.preview(1) is store.thumbnail(1) is store.header(1) is None


def test_the_header_of_the_file_is_kept(store):
    saved = store.save(made("a"))
    assert store.header(saved.id) == {"BIAS": "-1.5", "COMMENT": "Kupferoxid, 4,8 K"}


def test_faults_are_listed_newest_first_as_they_were_told(store):
    ids = [store.save_fault(made_fault(number)) for number in range(5)]
    listed = store.faults(2)
    assert [fault["id"] for fault in listed] == ids[:2:-1]
    assert listed[0] == fault_message(ids[4], made_fault(4))
    assert [fault["id"] for fault in store.faults(10, before=ids[3])] == ids[2::-1]
    assert store.totals()["faults"] == 5


def test_a_faulty_file_needs_no_second_look_until_a_person_asks(store):
    fault = made_fault(1)
    store.save_fault(fault, file=FileKey(fault.source, 10, 20))
    for _ in range(2):
        store.count_crash(fault.sha256, fault.source)
    assert store.file_known(fault.source, 10, 20)
    assert store.retry(fault.source) == 1
    assert not store.file_known(fault.source, 10, 20)
    assert store.count_crash(fault.sha256, fault.source) == 1
    assert store.totals()["faults"] == 1


def test_a_retry_by_digest_finds_every_copy(store):
    fault = made_fault(1)
    for path in ("/data/one.sxm", "/data/two.sxm"):
        store.save_fault(fault, file=FileKey(path, 10, 20))
    assert store.retry(fault.sha256) == 2
    assert not store.file_known("/data/one.sxm", 10, 20)
    assert store.retry(fault.sha256) == 0


def test_a_retry_leaves_stored_frames_and_files_without_digest_alone(store):
    store.save(made("a"), file=FileKey("/data/a.sxm", 1, 2))
    store.remember_file("/data/other.txt", 1, 2, "", "unwanted")
    store.remember_file("/data/cut.sxm", 1, 2, "", "fault")
    assert store.retry("/data/a.sxm") == 0
    assert store.file_known("/data/a.sxm", 1, 2)
    assert store.retry("/data/cut.sxm") == 1
    assert store.file_known("/data/other.txt", 1, 2)


def test_clearing_faults_lets_their_files_be_tried_again(store):
    read, detect = made_fault(1, "read"), made_fault(2, "detect")
    for fault in (read, detect):
        store.save_fault(fault, file=FileKey(fault.source, 10, 20))
    assert store.clear_faults("detect") == 1
    assert [fault["stage"] for fault in store.faults(10)] == ["read"]
    assert store.file_known(read.source, 10, 20)
    assert not store.file_known(detect.source, 10, 20)
    assert store.clear_faults() == 1
    assert store.faults(10) == []


def test_frames_are_gone_through_by_the_time_of_the_scan(tmp_path):
    moments = iter(NOON + timedelta(days=100 + day) for day in range(10))
    with Store(tmp_path / "s", clock=lambda: next(moments)) as store:
        for hour in range(3):
            store.save(made(hour, started=NOON + timedelta(hours=hour)))
        undated = store.save(made("undated", started=None))
        later = NOON + timedelta(hours=1)
        assert [frame["id"] for frame in store.iter_frames(since=later)] == [2, 3, undated.id]
        assert [frame["id"] for frame in store.iter_frames(until=later)] == [1]
        assert [frame["id"] for frame in store.iter_frames(later, later + timedelta(hours=1))] == [2]
        assert [frame["id"] for frame in store.iter_frames(since=NOON + timedelta(days=2))] == [undated.id]


def test_going_through_many_frames_gives_each_once(store, monkeypatch):
    monkeypatch.setattr("spm_live.publish.history.BATCH_FRAMES", 3)
    ids = [store.save(made(number, molecules=1)).id for number in range(10)]
    assert [frame["id"] for frame in store.iter_frames()] == ids
    assert [len(frame["molecules"]) for frame in store.iter_frames()] == [1] * 10


def test_totals_of_an_empty_store_are_zero(store):
    assert store.totals() == {
        "frames": 0,
        "partial": 0,
        "superseded": 0,
        "molecules": 0,
        "scanned_area_nm2": 0.0,
        "first": None,
        "last": None,
        "faults": 0,
        "counts": {},
    }


def test_totals_sum_up_by_class(store):
    store.save(made("a", molecules=2))
    store.save(made("b", molecules=3))
    totals = store.totals()
    assert totals["counts"] == {"lobe": {"total": 0, "edge": 0}, "rod": {"total": 5, "edge": 2}}
    assert totals["scanned_area_nm2"] == 100.0
    assert (totals["first"], totals["last"]) == (iso(NOON), iso(NOON))


def test_a_closed_store_says_so(tmp_path):
    store = Store(tmp_path / "s")
    store.close()
    store.close()
    with pytest.raises(RuntimeError, match="closed"):
        store.frames(1)
    with pytest.raises(RuntimeError, match="closed"):
        store.count_crash("aa", "a")


def test_closing_leaves_one_file_and_the_claim(tmp_path):
    with Store(tmp_path / "s") as store:
        store.save(made("a"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s", "s.lock"]


def test_results_are_there_after_opening_again(tmp_path):
    with Store(tmp_path / "s") as store:
        told = store.save(made("a")).message
    with Store(tmp_path / "s") as store:
        assert store.latest() == told
        assert not store.save(made("a")).new


def test_models_are_kept_once(store):
    for name in range(3):
        store.save(made(name))
    with store._database.read() as connection:
        assert connection.execute("SELECT count(*) FROM models").fetchone()[0] == 1
