"""The growing frame, against an obvious slow one: lines in any order, told again, with holes, contradicted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from spm_live_drivers.contract import MAX_FRAME_PIXELS, FrameInfo, FrameRef, ScanDirection, ScanGeometry, Trace
from spm_live_drivers.growing import GrowingError, GrowingFrame, ScanLines, ScanStart


def start_of(
    rows: int, columns: int, direction: ScanDirection = ScanDirection.DOWN, *, backward: bool = False
) -> ScanStart:
    info = FrameInfo(
        ref=FrameRef("stm/scan 1", "", "Z", Trace.FORWARD),
        geometry=ScanGeometry(rows, columns, (4.0, 2.0)),
        unit="m",
        direction=direction,
    )
    return ScanStart("scan 1", info, backward=backward)


@dataclass
class SlowFrame:
    """What a growing frame is, said row by row."""

    start: ScanStart
    forward: dict[int, list[float]] = field(default_factory=dict)
    backward: dict[int, list[float]] = field(default_factory=dict)

    def add(self, first_row: int, forward: NDArray[np.float32], backward: NDArray[np.float32] | None) -> int | None:
        """How many lines are new; None if they contradict."""
        told = [(self.forward, forward)]
        if backward is not None and self.start.backward:
            told.append((self.backward, backward))
        for known, data in told:
            for row, values in enumerate(data, first_row):
                if row in known and not all(
                    a == b or (np.isnan(a) and np.isnan(b)) for a, b in zip(known[row], values, strict=True)
                ):
                    return None
        new = sum(row not in self.forward for row in range(first_row, first_row + len(forward)))
        for known, data in told:
            for row, values in enumerate(data, first_row):
                known.setdefault(row, values.tolist())
        return new

    def order(self) -> list[int]:
        rows = list(range(self.start.info.geometry.rows))
        return rows[::-1] if self.start.info.direction is ScanDirection.UP else rows

    def done(self) -> int:
        return max((number + 1 for number, row in enumerate(self.order()) if row in self.forward), default=0)

    def picture(self, known: dict[int, list[float]], rows: list[int]) -> NDArray[np.float32]:
        columns = self.start.info.geometry.columns
        nothing = [np.nan] * columns
        return np.array([known.get(row, nothing) for row in rows], dtype=np.float32).reshape(len(rows), columns)


VALUES = st.sampled_from([0.0, 1.0, 2.5, -1.0, float("nan"), float("inf")])


@st.composite
def stories(draw: st.DrawFn) -> tuple[ScanStart, list[ScanLines]]:
    """A frame and what is told of it; most of it is true, some of it contradicts."""
    rows, columns = draw(st.integers(1, 7)), draw(st.integers(1, 3))
    start = start_of(rows, columns, draw(st.sampled_from(ScanDirection)), backward=draw(st.booleans()))
    pixels = st.lists(VALUES, min_size=rows * columns, max_size=rows * columns)
    truth = [np.array(draw(pixels), dtype=np.float32).reshape(rows, columns) for _ in range(2)]
    told = []
    for _ in range(draw(st.integers(0, 10))):
        first = draw(st.integers(0, rows - 1))
        part = slice(first, draw(st.integers(first, rows)))
        forward, backward = truth[0][part].copy(), truth[1][part].copy()
        if forward.size and draw(st.integers(0, 4)) == 0:
            wrong = draw(st.sampled_from([forward, backward]))
            wrong[draw(st.integers(0, len(wrong) - 1)), 0] = 77
        told.append(ScanLines("scan 1", first, forward, draw(st.sampled_from([backward, None]))))
    return start, told


@given(stories(), st.data())
def test_it_is_what_a_slow_one_is(story: tuple[ScanStart, list[ScanLines]], data: st.DataObject) -> None:
    start, told = story
    growing, slow = GrowingFrame(start), SlowFrame(start)
    for lines in told:
        expected = slow.add(lines.first_row, lines.forward, lines.backward)
        if expected is None:
            with pytest.raises(GrowingError, match="other values"):
                growing.add(lines)
        else:
            assert growing.add(lines) == expected
        assert growing.lines_done == slow.done()
        assert growing.lines_missing == slow.done() - len(slow.forward)
    rows, order = start.info.geometry.rows, slow.order()
    frame = growing.frame()
    np.testing.assert_array_equal(frame.data, slow.picture(slow.forward, list(range(rows))))
    assert frame.info == replace(start.info, complete_rows=slow.done())
    assert growing.complete == (slow.done() == rows)
    assert growing.rows_here().tolist() == [row in slow.forward for row in range(rows)]
    first = data.draw(st.integers(0, rows))
    last = data.draw(st.none() | st.integers(first, rows))
    forward, backward = growing.lines(first, last)
    wanted = order[first : slow.done() if last is None else last]
    np.testing.assert_array_equal(forward, slow.picture(slow.forward, wanted))
    if start.backward:
        np.testing.assert_array_equal(backward, slow.picture(slow.backward, wanted))
    else:
        assert backward is None


@given(stories())
def test_what_is_told_again_from_its_rows_makes_the_same_frame(story: tuple[ScanStart, list[ScanLines]]) -> None:
    start, told = story
    growing, again = GrowingFrame(start), GrowingFrame(start)
    for lines in told:
        try:
            growing.add(lines)
        except GrowingError:
            continue
    for row in np.flatnonzero(growing.rows_here()).tolist():
        again.add(growing.rows(row, row + 1))
    np.testing.assert_array_equal(again.frame().data, growing.frame().data)
    assert (again.lines_done, again.lines_missing) == (growing.lines_done, growing.lines_missing)
    assert growing.add(growing.rows(0, 0)) == 0


BAD = {
    "another scan": ScanLines("scan 2", 0, np.zeros((1, 3), np.float32)),
    "too few columns": ScanLines("scan 1", 0, np.zeros((1, 2), np.float32)),
    "too many columns": ScanLines("scan 1", 0, np.zeros((1, 4), np.float32)),
    "flat": ScanLines("scan 1", 0, np.zeros(3, np.float32)),
    "doubles": ScanLines("scan 1", 0, np.zeros((1, 3))),  # type: ignore[arg-type]
    "above the frame": ScanLines("scan 1", -1, np.zeros((1, 3), np.float32)),
    "below the frame": ScanLines("scan 1", 3, np.zeros((2, 3), np.float32)),
    "far below": ScanLines("scan 1", 2**40, np.zeros((1, 3), np.float32)),
    "fewer backward": ScanLines("scan 1", 0, np.zeros((2, 3), np.float32), np.zeros((1, 3), np.float32)),
    "narrow backward": ScanLines("scan 1", 0, np.zeros((1, 3), np.float32), np.zeros((1, 2), np.float32)),
}


@pytest.mark.parametrize("lines", BAD.values(), ids=BAD)
def test_lines_that_do_not_fit_are_refused_and_change_nothing(lines: ScanLines) -> None:
    growing = GrowingFrame(start_of(4, 3, backward=True))
    with pytest.raises(GrowingError):
        growing.add(lines)
    assert growing.lines_done == 0
    assert np.isnan(growing.frame().data).all()


def test_a_frame_larger_than_any_reader_takes_is_refused() -> None:
    with pytest.raises(GrowingError, match="are accepted"):
        GrowingFrame(start_of(MAX_FRAME_PIXELS // 64 + 1, 64))


def test_what_is_copied_out_is_not_the_frame_itself() -> None:
    growing = GrowingFrame(start_of(2, 2, ScanDirection.UP, backward=True))
    growing.add(ScanLines("scan 1", 1, np.ones((1, 2), np.float32), np.ones((1, 2), np.float32)))
    forward, backward = growing.lines(0)
    assert backward is not None
    forward[:], backward[:] = 9, 9
    growing.rows(0, 2).forward[:] = 9
    growing.rows_here()[:] = False
    assert growing.frame().data[1].tolist() == [1, 1]
    assert growing.lines_done == 1


def test_the_lines_given_may_be_changed_afterwards() -> None:
    growing, data = GrowingFrame(start_of(2, 2)), np.ones((1, 2), np.float32)
    growing.add(ScanLines("scan 1", 0, data))
    data[:] = 5
    assert growing.lines(0)[0].tolist() == [[1, 1]]
