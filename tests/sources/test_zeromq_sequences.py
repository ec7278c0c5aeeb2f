"""Sequence numbers and the rate of faults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live.sources.sequences import FaultRate, SequenceLog
from spm_live_drivers.wire import Envelope


def missed(log: SequenceLog, sequence: int, session: str = "s", sender: str = "a") -> int:
    return log.missed(Envelope("frame", sender, session, sequence))


@pytest.mark.parametrize(
    ("sequences", "lost"),
    [
        ([0, 1, 2], 0),
        ([7, 8], 0),
        ([0, 2], 1),
        ([0, 10, 11], 9),
        ([3, 3, 4], 0),
        ([5, 4, 6], 0),
        ([0, 2**53 - 1], 2**53 - 2),
    ],
)
def test_missing_numbers_are_counted(sequences: list[int], lost: int) -> None:
    log = SequenceLog()
    assert sum(missed(log, sequence) for sequence in sequences) == lost


def test_a_new_session_is_no_gap() -> None:
    log = SequenceLog()
    assert [missed(log, 9), missed(log, 0, "restarted"), missed(log, 1, "restarted")] == [0, 0, 0]


def test_a_sender_without_sessions_that_begins_again_is_no_gap() -> None:
    log = SequenceLog()
    assert [missed(log, number, session="") for number in (8, 9, 0, 1, 3)] == [0, 0, 0, 0, 1]


def test_senders_are_told_apart() -> None:
    log = SequenceLog()
    assert [missed(log, 0, sender="a"), missed(log, 5, sender="b"), missed(log, 1, sender="a")] == [0, 0, 0]


@given(st.sets(st.integers(0, 300), min_size=1))
def test_what_is_missed_is_what_was_left_out(sent: set[int]) -> None:
    log = SequenceLog()
    assert sum(missed(log, number) for number in sorted(sent)) == max(sent) - min(sent) + 1 - len(sent)


def test_a_flood_of_senders_takes_no_more_room() -> None:
    log = SequenceLog()
    for number in range(3000):
        missed(log, 0, session=str(number))
    assert len(log._expected) == 1000


def test_faults_are_let_through_at_the_rate_and_the_others_counted() -> None:
    now = [0.0]
    rate = FaultRate(most=2, window_s=10, clock=lambda: now[0])
    assert [rate.admit() for _ in range(5)] == [0, 0, None, None, None]
    now[0] = 10.0
    assert [rate.admit() for _ in range(3)] == [3, 0, None]
