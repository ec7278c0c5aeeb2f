"""Whose scan it is: what fits is told on, what does not is refused in words, and no two scans become one frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spm_live.domain import FrameInfo, FrameRef, ScanDirection, ScanGeometry, Trace
from spm_live.sources.growing import MOST_SENDERS, Answer, GrowingIntake
from spm_live_drivers.growing import (
    GrowingError,
    GrowingEvent,
    GrowingFrame,
    ScanEnd,
    ScanLines,
    ScanOutcome,
    ScanStart,
)
from spm_live_drivers.wire import Envelope
from spm_live_drivers.wire_growing import GrowingMessage
from spm_live_drivers.wire_receipt import Result

ROWS, COLUMNS = 6, 4


class Board:
    """Knows scans as the daemon does; ``forgetful`` loses them."""

    def __init__(self) -> None:
        self.scans: dict[tuple[str, str], GrowingFrame] = {}
        self.events: list[GrowingEvent] = []
        self.forgetful = False

    def tell(self, source: str, sender: str, event: GrowingEvent) -> bool:
        assert source == "zeromq here"
        if isinstance(event, ScanStart):
            assert (sender, event.scan) not in self.scans or self.forgetful, "a start was told twice"
            self.scans[sender, event.scan] = GrowingFrame(event)
        elif self.forgetful or (sender, event.scan) not in self.scans:
            return False
        elif isinstance(event, ScanLines):
            self.scans[sender, event.scan].add(event)
        self.events.append(event)
        return True

    def ends(self) -> list[ScanEnd]:
        return [event for event in self.events if isinstance(event, ScanEnd)]


class Bench:
    """An intake, and a board behind it."""

    def __init__(self) -> None:
        self.board = Board()
        self.intake = GrowingIntake("zeromq here", self.board.tell)

    def take(self, event: GrowingEvent, session: str = "one", sender: str = "stm") -> Answer:
        kind = {ScanStart: "start", ScanLines: "lines", ScanEnd: "end"}[type(event)]
        return self.intake.take(GrowingMessage(Envelope(kind, sender, session, 0), event))

    def kept(self, *events: GrowingEvent, session: str = "one", sender: str = "stm") -> None:
        for event in events:
            assert self.take(event, session, sender) == Answer(Result.KEPT)

    def refused(self, event: GrowingEvent, session: str = "one", sender: str = "stm") -> str:
        answer = self.take(event, session, sender)
        assert answer.result is Result.REFUSED
        return answer.reason

    def unknown(self, event: GrowingEvent, session: str = "one", sender: str = "stm") -> None:
        answer = self.take(event, session, sender)
        assert answer.result is Result.UNKNOWN
        assert "send its start and all of its lines" in answer.reason


def start(
    scan: str = "1", *, backward: bool = False, channel: str = "Z", unit: str = "m", **geometry: Any
) -> ScanStart:
    shape = {"rows": ROWS, "columns": COLUMNS, "size_nm": (4.0, 6.0), **geometry}
    return ScanStart(
        scan, FrameInfo(FrameRef("stm/1", "", channel, Trace.FORWARD), ScanGeometry(**shape), unit), backward=backward
    )


def lines(first: int = 0, count: int = 1, scan: str = "1", value: float = 1.0, columns: int = COLUMNS) -> ScanLines:
    return ScanLines(scan, first, np.full((count, columns), value, dtype=np.float32))


def end(scan: str = "1") -> ScanEnd:
    return ScanEnd(scan, ScanOutcome.FINISHED, "D:/1.sxm")


def test_a_scan_is_told_on_from_its_start_to_its_end() -> None:
    bench = Bench()
    bench.kept(start(), lines(0, 2), lines(2, 4), end())
    assert [type(event) for event in bench.board.events] == [ScanStart, ScanLines, ScanLines, ScanEnd]
    assert bench.board.ends() == [end()]
    assert bench.board.scans["stm", "1"].complete


def test_what_is_told_again_is_kept_and_the_start_is_told_on_once() -> None:
    bench = Bench()
    bench.kept(start(), lines(0, 2), start(), lines(0, 2), lines(2), end(), end())
    assert sum(isinstance(event, ScanStart) for event in bench.board.events) == 1
    assert bench.board.ends() == [end()]


def test_a_start_that_knows_the_line_time_meanwhile_is_the_same_scan() -> None:
    bench = Bench()
    bench.kept(start(), replace(start(), line_time_s=0.5), lines())


@pytest.mark.parametrize("event", [lines(), end()], ids=["lines", "end"])
def test_a_scan_that_never_began_is_unknown(event: GrowingEvent) -> None:
    bench = Bench()
    bench.unknown(event)
    bench.kept(start("2"))
    bench.unknown(event)
    assert bench.board.events == [start("2")]


def test_lines_after_the_end_are_refused() -> None:
    bench = Bench()
    bench.kept(start(), end())
    assert bench.refused(lines()) == "lines of scan '1', which is over"
    assert bench.refused(start()) == "scan '1' is over: a new scan needs a name of its own"
    bench.kept(start("2"), lines(scan="2"))
    assert bench.refused(lines()) == "lines of scan '1', which is over"


def test_a_scan_whose_end_was_lost_is_over_when_the_next_one_begins() -> None:
    bench = Bench()
    bench.kept(start(), lines(), start("2"), lines(scan="2"))
    assert bench.refused(lines(1)) == "lines of scan '1', which is over"
    bench.kept(end(), lines(1, scan="2"))


CHANGED = {
    "pixels": start(columns=5),
    "rows": start(rows=7),
    "angle": start(angle_deg=30.0),
    "size": start(size_nm=(4.0, 7.0)),
    "place": start(center_nm=(1.0, 0.0)),
    "channel": start(channel="Current"),
    "unit": start(unit="A"),
    "backward": start(backward=True),
    "trace": replace(start(), info=replace(start().info, ref=FrameRef("stm/1", "", "Z", Trace.BACKWARD))),
    "direction": replace(start(), info=replace(start().info, direction=ScanDirection.UP)),
}


@pytest.mark.parametrize("other", CHANGED.values(), ids=CHANGED)
def test_a_start_of_another_frame_under_the_same_name_ends_the_scan(other: ScanStart) -> None:
    bench = Bench()
    bench.kept(start(), lines(0, 2))
    assert bench.refused(other) == "scan '1' is begun again with another frame"
    assert bench.board.ends() == [ScanEnd("1", ScanOutcome.LOST)]
    bench.refused(lines(2, 2))
    assert bench.board.scans["stm", "1"].lines_done == 2


@pytest.mark.parametrize("odd", [lines(0, 1, columns=5), lines(5, 2), lines(2**30)], ids=["columns", "rows", "far"])
def test_lines_of_another_shape_end_the_scan(odd: ScanLines) -> None:
    bench = Bench()
    bench.kept(start(), lines(0, 2))
    assert "the frame was changed without a start" in bench.refused(odd)
    assert bench.board.ends() == [ScanEnd("1", ScanOutcome.LOST)]
    assert "is over" in bench.refused(lines(2))


def test_lines_that_contradict_end_the_scan_so_that_no_other_line_gets_in() -> None:
    bench = Bench()
    bench.kept(start(), lines(0, 3))
    assert "with other values" in bench.refused(lines(0, 1, value=2.0))
    assert bench.board.ends() == [ScanEnd("1", ScanOutcome.LOST)]
    assert "is over" in bench.refused(lines(3, 1, value=2.0))
    assert bench.board.scans["stm", "1"].lines_done == 3
    bench.kept(start("2"), lines(0, 3, "2", 2.0))


def test_a_sender_that_was_started_anew_takes_over() -> None:
    bench = Bench()
    bench.kept(start("1"), lines())
    bench.unknown(lines(1), session="two")
    bench.unknown(end(), session="two")
    bench.unknown(lines(1, scan="2"), session="two")
    bench.kept(start("2"), lines(scan="2"), session="two")
    assert bench.board.scans["stm", "2"].lines_done == 1


def test_a_scan_of_the_same_name_after_a_restart_is_another_one_to_those_who_are_told() -> None:
    bench = Bench()
    bench.kept(start(), lines(0, 3))
    bench.kept(start(), lines(0, 1, value=2.0), end(), session="two")
    bench.kept(start(), session="three")
    assert sorted(bench.board.scans) == [("stm", "1"), ("stm", "1 (2)"), ("stm", "1 (3)")]
    assert bench.board.scans["stm", "1"].frame().data[0, 0] == 1
    assert bench.board.scans["stm", "1 (2)"].frame().data[0, 0] == 2
    assert bench.board.ends() == [replace(end(), scan="1 (2)")]


def test_a_long_name_stays_short_enough_when_it_is_told_apart() -> None:
    bench = Bench()
    bench.kept(start("x" * 128))
    bench.kept(start("x" * 128), session="two")
    assert bench.board.events[-1].scan == "x" * 120 + " (2)"


def test_two_instruments_of_one_name_are_noticed_and_never_mixed() -> None:
    bench = Bench()
    bench.kept(start(), lines(0, 2), session="one")
    bench.kept(start(), lines(0, 1, value=2.0), session="two")
    for event in (lines(2), end(), start(), start("2")):
        assert bench.refused(event, session="one") == (
            "two senders call themselves 'stm': give each of them a name of its own"
        )
    bench.kept(lines(1, value=2.0), session="two")
    assert bench.board.scans["stm", "1"].lines_done == 2
    assert (bench.board.scans["stm", "1 (2)"].frame().data[:2] == 2).all()


def test_two_senders_of_two_names_do_not_disturb_each_other() -> None:
    bench = Bench()
    bench.kept(start(), lines(0, 2), sender="left")
    bench.kept(start(), lines(0, 1, value=2.0), sender="right")
    bench.kept(lines(2), end(), sender="left")
    bench.kept(lines(1, value=2.0), sender="right")
    assert bench.board.scans["left", "1"].lines_done == 3
    assert bench.board.scans["right", "1"].lines_done == 2


def test_a_scan_that_the_board_has_forgotten_is_asked_for_again() -> None:
    bench = Bench()
    bench.kept(start(), lines())
    bench.board.scans.clear()
    bench.unknown(lines(1))
    bench.unknown(lines(2))
    bench.kept(start(), lines(0, 3), end())
    assert bench.board.scans["stm", "1"].lines_done == 3


def test_a_board_that_forgets_everything_does_no_harm() -> None:
    bench = Bench()
    bench.board.forgetful = True
    for _ in range(3):
        bench.kept(start())
        bench.unknown(lines())
        bench.kept(start())
        bench.unknown(end())


def test_a_start_that_the_board_refuses_is_refused() -> None:
    bench = Bench()

    def full(source: str, sender: str, event: GrowingEvent) -> bool:
        raise GrowingError("too large")

    bench.intake = GrowingIntake("zeromq here", full)
    assert bench.refused(start()) == "too large"
    bench.unknown(lines())


def test_only_so_many_senders_are_followed() -> None:
    bench = Bench()
    for number in range(MOST_SENDERS + 1):
        bench.kept(start(), lines(), sender=f"stm {number}")
    assert bench.board.ends() == [ScanEnd("1", ScanOutcome.LOST)]
    bench.unknown(lines(1), sender="stm 0")
    bench.kept(lines(1), sender="stm 1")


scans = st.sampled_from(["1", "1", "1", "2"])
told = st.builds(start, scans, angle_deg=st.sampled_from([0.0, 0.0, 0.0, 30.0]))
grown = st.builds(lines, st.integers(0, ROWS - 1), st.just(1), scans)
ended = st.builds(end, scans)
happening = st.sampled_from([told] * 3 + [grown] * 16 + [ended]).flatmap(lambda kind: kind)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from([1.0, 2.0]), happening), min_size=5, max_size=30))
def test_no_frame_ever_holds_lines_of_two_instruments(story: list[tuple[float, GrowingEvent]]) -> None:
    """Each of two instruments of one name scans its own value; whatever they say and in whatever order."""
    bench = Bench()
    for value, event in [(1.0, start()), *story]:
        if isinstance(event, ScanLines):
            event = replace(event, forward=np.full_like(event.forward, value))
        bench.take(event, session=f"session {value}")
    for growing in bench.board.scans.values():
        seen = growing.frame().data
        assert len(np.unique(seen[~np.isnan(seen)])) <= 1
