from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live.publish.feed import MAX_LIVE_WAITING, Feed


def drain(subscription):
    messages = []
    while (message := subscription.get(0)) is not None:
        messages.append(message)
    return messages


def test_numbers_rise_by_one_over_all_kinds():
    feed = Feed(run="r")
    assert feed.seq == 0
    with feed.subscribe(10) as subscription:
        for kind in ("status", "frame", "fault", "frame"):
            feed.publish(kind, {"id": 1})
        told = drain(subscription)
    assert [(message["type"], message["seq"]) for message in told] == [
        ("status", 1),
        ("frame", 2),
        ("fault", 3),
        ("frame", 4),
    ]
    assert {message["run"] for message in told} == {"r"}
    assert feed.seq == 4


def test_two_runs_have_different_names():
    assert Feed().run != Feed().run


def test_publishing_leaves_the_body_as_it_is_and_returns_what_was_told():
    feed, body = Feed(), {"seq": None, "id": 3}
    with feed.subscribe(1) as subscription:
        told = feed.publish("frame", body)
        assert subscription.get(0) == told
    assert body == {"seq": None, "id": 3}


@given(st.integers(1, 8), st.integers(0, 30))
def test_a_full_subscription_keeps_the_newest_and_counts_the_rest(maxsize, published):
    feed = Feed()
    with feed.subscribe(maxsize) as subscription:
        for _ in range(published):
            feed.publish("frame", {})
        assert [message["seq"] for message in drain(subscription)] == list(range(1, published + 1))[-maxsize:]
        assert subscription.dropped == max(0, published - maxsize)


def test_one_slow_listener_takes_nothing_from_another():
    feed = Feed()
    with feed.subscribe(1) as slow, feed.subscribe(100) as quick:
        for _ in range(50):
            feed.publish("frame", {})
        assert (slow.dropped, quick.dropped) == (49, 0)
        assert len(drain(quick)) == 50


def test_messages_before_the_subscription_and_after_its_end_are_not_told():
    feed = Feed()
    feed.publish("frame", {})
    subscription = feed.subscribe(10)
    feed.publish("frame", {})
    subscription.close()
    feed.publish("frame", {})
    assert [message["seq"] for message in drain(subscription)] == [2]
    assert subscription.closed
    subscription.close()


def test_waiting_ends_when_a_message_comes():
    feed, got = Feed(), []
    with feed.subscribe(1) as subscription:
        waiting = threading.Thread(target=lambda: got.append(subscription.get(30)))
        waiting.start()
        feed.publish("frame", {"id": 1})
        waiting.join(30)
    assert got[0]["id"] == 1


def test_waiting_ends_when_the_subscription_is_closed():
    subscription, got = Feed().subscribe(1), []
    waiting = threading.Thread(target=lambda: got.append(subscription.get(None)))
    waiting.start()
    subscription.close()
    waiting.join(30)
    assert got == [None]


def test_the_wake_call_comes_after_the_message():
    feed, seen = Feed(), []
    subscription = feed.subscribe(5, wake=lambda: seen.append(subscription.get(0)["seq"]))
    feed.publish("frame", {})
    feed.publish("frame", {})
    subscription.close()
    assert seen == [1, 2]


def test_every_listener_sees_the_messages_of_many_threads_in_one_order():
    feed = Feed()
    with feed.subscribe(1000) as one, feed.subscribe(1000) as other:
        writers = [threading.Thread(target=lambda: [feed.publish("frame", {}) for _ in range(100)]) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert [message["seq"] for message in drain(one)] == list(range(1, 401))
        assert [message["seq"] for message in drain(other)] == list(range(1, 401))


def test_a_subscription_without_room_is_refused():
    with pytest.raises(ValueError, match="0 messages"):
        Feed().subscribe(0)


def test_scans_in_progress_are_not_numbered_and_tell_the_number_before_them():
    feed = Feed()
    with feed.subscribe(10) as subscription:
        feed.publish("frame", {})
        feed.publish("live", {"key": "a"})
        feed.publish("frame", {})
        told = drain(subscription)
    assert feed.seq == 2
    assert [(message["type"], message["seq"]) for message in told] == [("frame", 1), ("frame", 2), ("live", 1)]


def test_a_newer_state_of_a_scan_takes_the_place_of_the_older_that_waits():
    feed = Feed()
    with feed.subscribe(10) as subscription:
        for revision in range(5):
            for key in ("a", "b"):
                feed.publish("live", {"key": key, "revision": revision})
        told = drain(subscription)
        assert (subscription.dropped, subscription.replaced) == (0, 8)
        feed.publish("live", {"key": "a", "revision": 5})
        assert subscription.get(0)["revision"] == 5
    assert [(message["key"], message["revision"]) for message in told] == [("a", 4), ("b", 4)]


def test_scans_in_progress_push_no_frame_and_no_fault_out():
    feed = Feed()
    with feed.subscribe(2) as subscription:
        feed.publish("fault", {})
        feed.publish("frame", {})
        for revision in range(100):
            feed.publish("live", {"key": "a", "revision": revision})
        assert [message["type"] for message in drain(subscription)] == ["fault", "frame", "live"]
        assert subscription.dropped == 0


def test_a_scan_that_is_told_often_does_not_keep_another_from_being_heard():
    feed, heard = Feed(), set()
    with feed.subscribe(2) as subscription:
        for revision in range(6):
            for key in ("a", "b", "a"):
                feed.publish("live", {"key": key, "revision": revision})
            heard.add(subscription.get(0)["key"])
    assert heard == {"a", "b"}


def test_endless_scans_do_not_fill_the_memory():
    feed = Feed()
    with feed.subscribe(2) as subscription:
        for key in range(MAX_LIVE_WAITING + 3):
            feed.publish("live", {"key": str(key)})
        told = drain(subscription)
        assert (len(told), subscription.replaced) == (MAX_LIVE_WAITING, 3)
    assert told[-1]["key"] == str(MAX_LIVE_WAITING + 2)
