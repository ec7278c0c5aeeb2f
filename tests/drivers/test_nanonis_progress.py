"""How far a scan has got, told from its buffer alone: against a scanner of which all is known.

The scanner here is the slow, obvious version: it writes pixel after pixel, forward then backward, in pieces of 16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from spm_live_drivers.contract import ScanDirection, ScanGeometry
from spm_live_drivers.growing import GrowingEvent, GrowingFrame, ScanEnd, ScanLines, ScanOutcome, ScanStart
from spm_live_drivers.nanonis.follow import Follower
from spm_live_drivers.nanonis.progress import PIECE_PX, Progress
from spm_live_drivers.nanonis.replies import ScanBuffer, ScanFrame
from spm_live_drivers.nanonis.traces import MirrorJudge
from spm_live_drivers.nanonis.view import Setup, View

COLUMNS = 32
PIECES = COLUMNS // PIECE_PX
STEPS = 2 * PIECES
"""Pieces of a line, both traces."""


def picture(
    rng: np.random.Generator, lines: int, quantum: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Forward and backward in the order of scanning, x to the right; they resemble each other.

    With a quantum, as converters have one, pixels of two pictures are alike now and then.
    """
    slope = rng.uniform(0.5, 2) * np.arange(COLUMNS) / COLUMNS + rng.normal(size=(lines, 1))
    forward = slope + 0.05 * rng.normal(size=(lines, COLUMNS))
    backward = forward + 0.01 * rng.normal(size=forward.shape)
    if quantum:
        forward, backward = (np.round(plane / quantum) * quantum for plane in (forward, backward))
    return forward.astype(np.float32), backward.astype(np.float32)


@dataclass
class Scanner:
    """A scanner with its buffer, in the order of scanning.

    Parameters
    ----------
    lines : int
        Of a frame.
    mirrored : bool
        Whether the buffer gives backward lines right to left.
    """

    lines: int
    mirrored: bool = False
    up: bool = False
    size_nm: float = 10.0
    channel: str = "Z"

    def __post_init__(self) -> None:
        self.buffer = [np.full((self.lines, COLUMNS), np.nan, dtype=np.float32) for _ in range(2)]
        self.truth = [plane.copy() for plane in self.buffer]
        self.dropped: frozenset[int] = frozenset()
        self.step = 0

    def begin(self, truth: tuple[NDArray[np.float32], NDArray[np.float32]], *, clear: bool) -> None:
        self.truth, self.step = list(truth), 0
        if clear:
            self.buffer = [np.full((self.lines, COLUMNS), np.nan, dtype=np.float32) for _ in range(2)]

    @property
    def steps(self) -> int:
        return self.lines * STEPS

    @property
    def done(self) -> bool:
        return self.step >= self.steps

    def advance(self, steps: int) -> None:
        for _ in range(steps):
            if self.done:
                return
            line, step = divmod(self.step, STEPS)
            trace, piece = divmod(step, PIECES)
            start = (piece if trace == 0 else PIECES - 1 - piece) * PIECE_PX
            if line not in self.dropped:
                part = slice(start, start + PIECE_PX)
                self.buffer[trace][line, part] = self.truth[trace][line, part]
            self.step += 1

    def view(self, between: int = 0, *, backward: bool = True) -> View:
        """Look, while the scan goes on by some steps between forward and backward."""
        direction = ScanDirection.UP if self.up else ScanDirection.DOWN
        geometry = ScanGeometry(self.lines, COLUMNS, (self.size_nm, 10.0))
        asked = ScanFrame((0.0, 0.0), (self.size_nm * 1e-9, 1e-8), 0.0), ScanBuffer((30,), COLUMNS, self.lines)
        setup = Setup(geometry, self.channel, "m", direction)
        forward = self.buffer[0].copy()
        self.advance(between)
        other = self.buffer[1][:, ::-1] if self.mirrored else self.buffer[1]
        return View(setup, asked, forward, other.copy() if backward else None)


class Told:
    """Puts events together, and notices what they must never do."""

    def __init__(self) -> None:
        self.frames: dict[str, GrowingFrame] = {}
        self.ends: dict[str, ScanEnd] = {}
        self.order: list[str] = []

    def take(self, events: list[GrowingEvent]) -> None:
        for event in events:
            if isinstance(event, ScanStart):
                assert event.scan not in self.frames
                assert all(name in self.ends for name in self.order), "a scan begins while another one goes on"
                self.frames[event.scan] = GrowingFrame(event)
                self.order.append(event.scan)
                continue
            assert event.scan == self.order[-1]
            assert event.scan not in self.ends
            if isinstance(event, ScanLines):
                assert self.frames[event.scan].add(event) == len(event.forward), "a line was told twice"
            else:
                self.ends[event.scan] = event

    def lines(self, scan: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Forward and backward of a scan, in the order of scanning, NaN where nothing was told."""
        frame = self.frames[self.order[scan]]
        forward, backward = frame.lines(0, frame.start.info.geometry.rows)
        assert backward is not None
        return forward, backward


def follower() -> Follower:
    made = Follower("stm", lambda: datetime(2026, 11, 4, 12, tzinfo=UTC))
    made.circumstances.line_s = 1.0
    return made


def look(follow: Follower, told: Told, view: View, *, over: bool = False, since_s: float = 1.0) -> None:
    follow.circumstances.since_look_s = since_s
    follow.take(view, over=over)
    if over:
        follow.finish()
    told.take(follow.events())


def same(told: NDArray[np.float32], true: NDArray[np.float32]) -> bool:
    return np.array_equal(told, true, equal_nan=True)


def only_of(told: NDArray[np.float32], true: NDArray[np.float32]) -> bool:
    """Whether every line that was told is a whole line of this frame."""
    there = np.isfinite(told).any(axis=1)
    return same(told[there], true[there])


polls = st.lists(st.tuples(st.integers(0, 2 * STEPS), st.integers(0, 3)), max_size=60)
scanners = st.builds(Scanner, lines=st.integers(4, 12), mirrored=st.booleans(), up=st.booleans())


@given(scanners, polls, st.booleans(), st.integers(0, 2**31))
@settings(max_examples=60)
def test_whenever_one_looks_the_lines_told_are_those_that_were_scanned(
    scanner: Scanner, steps: list[tuple[int, int]], clear: bool, seed: int
) -> None:
    """One frame over an empty buffer, or over the picture before."""
    rng = np.random.default_rng(seed)
    scanner.begin(picture(rng, scanner.lines), clear=True)
    scanner.advance(scanner.steps)
    scanner.begin(picture(rng, scanner.lines), clear=clear)
    follow, told = follower(), Told()
    look(follow, told, scanner.view())
    for step, between in [*steps, *[(STEPS, 1)] * (scanner.lines + 1)]:
        scanner.advance(step)
        over = scanner.done
        look(follow, told, scanner.view(between), over=over)
        if told.order:
            assert told.frames[told.order[-1]].lines_done <= scanner.step // STEPS
        if over:
            break
    if told.order:  # nothing is told where all lines came at once, or one look saw the whole scan
        assert len(told.order) == 1
        forward, backward = told.lines(0)
        assert same(forward, scanner.truth[0])
        assert same(backward, scanner.truth[1])
        assert told.ends[told.order[0]].outcome is ScanOutcome.FINISHED
        info = told.frames[told.order[0]].start.info
        assert info.direction is (ScanDirection.UP if scanner.up else ScanDirection.DOWN)


def test_a_scan_that_is_looked_at_once_a_line_is_told_line_by_line() -> None:
    for up in (False, True):
        scanner = Scanner(10, up=up)
        scanner.begin(picture(np.random.default_rng(1), 10), clear=True)
        follow, told = follower(), Told()
        done = []
        for _ in range(11):
            look(follow, told, scanner.view())
            done.append(told.frames[told.order[0]].lines_done if told.order else 0)
            scanner.advance(STEPS)
        assert done == list(range(11))
        rows = told.frames[told.order[0]].frame().data
        assert same(rows[::-1] if up else rows, scanner.truth[0])


def test_the_line_in_progress_is_not_told_before_its_last_backward_pixel() -> None:
    scanner = Scanner(4, mirrored=True)
    scanner.begin(picture(np.random.default_rng(2), 4), clear=True)
    follow, told = follower(), Told()
    look(follow, told, scanner.view())
    for step in range(1, 3 * STEPS):
        scanner.advance(1)
        look(follow, told, scanner.view())
        if told.order:
            assert told.frames[told.order[0]].lines_done == step // STEPS


@given(
    st.integers(0, 2**31),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(1, STEPS), min_size=10, max_size=40),
    st.sampled_from([0.0, 0.1]),
)
@settings(max_examples=50)
def test_frames_that_follow_one_another_are_never_mixed(
    seed: int, clear: bool, bouncy: bool, steps: list[int], quantum: float
) -> None:
    """Continuous scanning: the next frame begins at once, and the buffer is cleared or not."""
    rng = np.random.default_rng(seed)
    scanner = Scanner(6, mirrored=bool(seed % 2))
    truths = [picture(rng, 6, quantum) for _ in range(4)]
    follow, told = follower(), Told()
    number = 0
    scanner.begin(truths[0], clear=True)
    seen: list[int] = []
    since_s = 0.0
    for step in (steps * 20)[:200]:
        look(follow, told, scanner.view(), since_s=since_s)
        since_s = step / STEPS
        seen += [number] * (len(told.order) - len(seen))
        for _ in range(step):
            scanner.advance(1)
            if scanner.done and number + 1 < len(truths):
                number += 1
                if bouncy:
                    scanner.buffer = [plane[::-1].copy() for plane in scanner.buffer]
                    scanner.up = not scanner.up
                scanner.begin(truths[number], clear=clear)
        if scanner.done:
            look(follow, told, scanner.view(), over=True)
            seen += [number] * (len(told.order) - len(seen))
            break
    assert seen == list(range(4))
    for scan, truth in enumerate(truths):
        forward, backward = told.lines(scan)
        assert only_of(forward, truth[0])
        assert only_of(backward, truth[1])
        assert told.ends[told.order[scan]].outcome is ScanOutcome.FINISHED
        if not clear and not bouncy:  # the end of one frame is still there when the next one has begun
            assert same(forward, truth[0])


@given(st.integers(0, 2**31), st.integers(2, 9), st.booleans(), st.integers(1, STEPS), st.booleans())
@settings(max_examples=60)
def test_a_scan_begun_anew_is_a_new_scan(seed: int, line: int, clear: bool, after: int, in_line: bool) -> None:
    rng = np.random.default_rng(seed)
    scanner = Scanner(10)
    first, second = picture(rng, 10), picture(rng, 10)
    scanner.begin(first, clear=True)
    follow, told = follower(), Told()
    for _ in range(line):
        look(follow, told, scanner.view())
        scanner.advance(STEPS)
    look(follow, told, scanner.view())
    scanner.advance(1 if in_line else 0)
    scanner.begin(second, clear=clear)
    scanner.advance(after)
    for _ in range(12):
        look(follow, told, scanner.view(), over=scanner.done, since_s=0.5)
        scanner.advance(STEPS)
        if len(told.ends) == 2:
            break
    assert len(told.order) == 2
    assert told.ends[told.order[0]].outcome is ScanOutcome.STOPPED
    assert told.ends[told.order[1]].outcome is ScanOutcome.FINISHED
    for scan, truth in enumerate((first, second)):
        forward, backward = told.lines(scan)
        assert only_of(forward, truth[0])
        assert only_of(backward, truth[1])
    assert same(told.lines(0)[0][:line], first[0][:line])
    assert same(told.lines(1)[0], second[0])


@pytest.mark.parametrize("change", [{"size_nm": 12.0}, {"channel": "Current"}, {"up": True}])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_frame_changed_in_mid_scan_is_a_new_scan_without_the_lines_before(
    change: dict[str, Any], restarts: bool
) -> None:
    rng = np.random.default_rng(5)
    scanner = Scanner(10)
    truth, other = picture(rng, 10), picture(rng, 10)
    scanner.begin(truth, clear=True)
    follow, told = follower(), Told()
    for _ in range(4):
        look(follow, told, scanner.view())
        scanner.advance(STEPS)
    look(follow, told, scanner.view())
    scanner.advance(1)
    for name, value in change.items():
        setattr(scanner, name, value)
    if restarts:
        scanner.begin(other, clear=True)
    while not scanner.done:
        look(follow, told, scanner.view())
        scanner.advance(STEPS)
    look(follow, told, scanner.view(), over=True)
    assert told.ends[told.order[0]].outcome is ScanOutcome.STOPPED
    assert same(told.lines(0)[0][:4], truth[0][:4])
    assert np.isnan(told.lines(0)[0][4:]).all()
    after = told.lines(1)[0]
    if restarts:
        assert same(after, other[0])
    elif "size_nm" in change:
        assert np.isnan(after[:5]).all(), "lines of the frame before"
        assert same(after[5:], truth[0][5:])
    assert told.frames[told.order[1]].start.info.geometry.size_nm[0] == scanner.size_nm
    assert not any("never came" in fault for fault in follow.faults())


def test_a_changed_number_of_pixels_is_a_new_scan() -> None:
    rng = np.random.default_rng(6)
    follow, told = follower(), Told()
    for lines in (8, 6):
        scanner = Scanner(lines)
        scanner.begin(picture(rng, lines), clear=True)
        for _ in range(4):
            look(follow, told, scanner.view())
            scanner.advance(STEPS)
    look(follow, told, scanner.view())
    assert [told.frames[name].start.info.geometry.rows for name in told.order] == [8, 6]
    assert told.ends[told.order[0]].outcome is ScanOutcome.STOPPED


@pytest.mark.parametrize("overwriting", [False, True])
def test_a_dropped_line_stays_away_and_is_named(overwriting: bool) -> None:
    rng = np.random.default_rng(7)
    scanner = Scanner(8)
    scanner.begin(picture(rng, 8), clear=True)
    scanner.advance(scanner.steps)
    scanner.begin(picture(rng, 8), clear=not overwriting)
    scanner.dropped = frozenset({3})
    follow, told = follower(), Told()
    for _ in range(8):
        look(follow, told, scanner.view())
        scanner.advance(STEPS)
    look(follow, told, scanner.view(), over=True)
    forward, backward = told.lines(0)
    assert np.isnan(forward[3]).all()
    assert np.isnan(backward[3]).all()
    assert same(np.delete(forward, 3, 0), np.delete(scanner.truth[0], 3, 0))
    assert told.frames[told.order[0]].lines_missing == 1
    assert [fault for fault in follow.faults() if "line 3 never came" in fault]
    assert told.ends[told.order[0]].outcome is ScanOutcome.FINISHED


@pytest.mark.parametrize("line", [1, 2, 5])
@pytest.mark.parametrize("after", [1, 2, STEPS, STEPS + 1])
def test_a_scan_begun_anew_before_it_was_known_where_it_is_tells_only_the_new_one(line: int, after: int) -> None:
    """Between the first look and the second, one scan goes on by a piece and another one begins over it."""
    rng = np.random.default_rng(16)
    scanner = Scanner(8)
    first, second = picture(rng, 8), picture(rng, 8)
    scanner.begin(first, clear=True)
    scanner.advance(line * STEPS + 1)
    follow, told = follower(), Told()
    look(follow, told, scanner.view())
    scanner.advance(1)
    scanner.begin(second, clear=False)
    scanner.advance(after)
    while not scanner.done:
        look(follow, told, scanner.view())
        scanner.advance(STEPS)
    look(follow, told, scanner.view(), over=True)
    assert same(told.lines(-1)[0], second[0])
    assert same(told.lines(-1)[1], second[1])
    for scan in range(len(told.order) - 1):
        assert only_of(told.lines(scan)[0], first[0])


def test_a_scan_begun_anew_is_found_by_its_forward_lines_alone() -> None:
    """Line 1 of one scan goes on, then line 0 of the next one begins: line 0 is not complete by that."""
    rng = np.random.default_rng(22)
    scanner = Scanner(6)
    scanner.begin(picture(rng, 6), clear=True)
    scanner.advance(STEPS + 1)
    follow, told = follower(), Told()
    look(follow, told, scanner.view(backward=False))
    scanner.advance(1)
    second = picture(rng, 6)
    scanner.begin(second, clear=False)
    scanner.advance(1)
    while not scanner.done:
        look(follow, told, scanner.view(backward=False))
        scanner.advance(STEPS)
    look(follow, told, scanner.view(backward=False), over=True)
    assert len(told.order) == 1
    assert same(told.frames[told.order[0]].lines(0)[0], second[0])


def test_a_look_that_comes_a_whole_frame_late_tells_nothing_of_two_frames() -> None:
    rng = np.random.default_rng(23)
    scanner = Scanner(6)
    first, second = picture(rng, 6), picture(rng, 6)
    scanner.begin(first, clear=True)
    scanner.advance(3 * STEPS + 1)
    follow, told = follower(), Told()
    look(follow, told, scanner.view())
    scanner.advance(scanner.steps)
    scanner.begin(second, clear=False)
    scanner.advance(3 * STEPS)  # every line has changed since: three of each scan
    while not scanner.done:
        look(follow, told, scanner.view())
        scanner.advance(STEPS)
    look(follow, told, scanner.view(), over=True)
    assert len(told.order) == 1
    assert same(told.lines(0)[0], second[0])


def test_the_same_picture_scanned_again_is_seen_once_the_buffer_was_cleared() -> None:
    scanner = Scanner(6)
    truth = picture(np.random.default_rng(17), 6)
    scanner.begin(truth, clear=True)
    scanner.advance(scanner.steps)
    follow, told = follower(), Told()
    look(follow, told, scanner.view())
    scanner.begin(truth, clear=True)
    while not scanner.done:
        look(follow, told, scanner.view())
        scanner.advance(STEPS)
    look(follow, told, scanner.view(), over=True)
    assert same(told.lines(0)[0], truth[0])


def test_a_line_dropped_in_one_trace_does_not_bring_back_the_picture_before() -> None:
    rng = np.random.default_rng(18)
    scanner = Scanner(8)
    scanner.begin(picture(rng, 8), clear=True)
    scanner.advance(scanner.steps)
    old = scanner.buffer[1][3].copy()
    scanner.begin(picture(rng, 8), clear=False)
    follow, told = follower(), Told()
    for _ in range(8):
        look(follow, told, scanner.view())
        scanner.advance(STEPS)
        scanner.buffer[1][3] = old
    look(follow, told, scanner.view(), over=True)
    forward, backward = told.lines(0)
    assert same(forward, scanner.truth[0])
    assert np.isnan(backward[3]).all()
    assert same(np.delete(backward, 3, 0), np.delete(scanner.truth[1], 3, 0))


@pytest.mark.parametrize("dropped", [0, 1])
@pytest.mark.parametrize("after", range(1, 3 * STEPS))
def test_a_line_that_was_dropped_is_not_filled_by_the_next_scan(dropped: int, after: int) -> None:
    rng = np.random.default_rng(19)
    scanner = Scanner(8)
    first, second = picture(rng, 8), picture(rng, 8)
    scanner.begin(first, clear=True)
    scanner.dropped = frozenset({dropped})
    follow, told = follower(), Told()
    for _ in range(6):
        look(follow, told, scanner.view())
        scanner.advance(STEPS)
    look(follow, told, scanner.view())
    scanner.dropped = frozenset()
    scanner.begin(second, clear=False)
    scanner.advance(after)
    while not scanner.done:
        look(follow, told, scanner.view(), since_s=0.5)
        scanner.advance(STEPS)
    look(follow, told, scanner.view(), over=True)
    assert len(told.order) == 2
    assert np.isnan(told.lines(0)[0][dropped]).all()
    assert only_of(told.lines(0)[0], first[0])
    assert same(told.lines(1)[0], second[0])


def test_half_a_piece_is_not_the_end_of_a_line() -> None:
    """Should pieces not come whole, the last pixel decides while the scan runs."""
    empty = np.full((4, COLUMNS), np.nan, dtype=np.float32)
    forward, backward = picture(np.random.default_rng(20), 4)
    progress = Progress(empty.copy(), empty.copy())
    now = [empty.copy(), empty.copy()]
    now[0][0], now[1][0, 4:] = forward[0], backward[0, 4:]
    assert progress.look(now[0].copy(), now[1].copy(), mirrored=False).lines.size == 0
    now[1][0] = backward[0]
    assert progress.look(now[0].copy(), now[1].copy(), mirrored=False).lines.tolist() == [0]


def test_a_next_scan_elsewhere_is_told_from_its_first_line() -> None:
    """Continuous scanning with a frame that is moved in between: nothing of the first look is of another scan."""
    rng = np.random.default_rng(21)
    scanner = Scanner(6)
    truths = [picture(rng, 6) for _ in range(2)]
    follow, told = follower(), Told()
    for number, truth in enumerate(truths):
        scanner.size_nm = 10.0 + number
        scanner.begin(truth, clear=number == 0)
        for _ in range(6):
            scanner.advance(STEPS)
            look(follow, told, scanner.view())
            if number == 0 and scanner.done:
                follow.note_saved("first.sxm")
                look(follow, told, scanner.view())
    look(follow, told, scanner.view(), over=True)
    assert told.ends[told.order[0]] == ScanEnd(told.order[0], ScanOutcome.FINISHED, "first.sxm")
    assert same(told.lines(1)[0], truths[1][0])
    assert told.frames[told.order[1]].start.info.geometry.size_nm[0] == 11.0


def test_a_line_that_comes_late_is_taken_in() -> None:
    rng = np.random.default_rng(8)
    scanner = Scanner(8)
    scanner.begin(picture(rng, 8), clear=True)
    scanner.dropped = frozenset({3})
    follow, told = follower(), Told()
    for _ in range(6):
        look(follow, told, scanner.view())
        scanner.advance(STEPS)
    for trace in range(2):
        scanner.buffer[trace][3] = scanner.truth[trace][3]
    for _ in range(3):
        look(follow, told, scanner.view())
        scanner.advance(STEPS)
    assert len(told.order) == 1
    assert same(told.lines(0)[0], scanner.truth[0])


def test_nan_everywhere_is_no_line_and_no_scan() -> None:
    scanner = Scanner(6)
    follow, told = follower(), Told()
    for over in (False, False, False, True):
        look(follow, told, scanner.view(), over=over)
    assert told.order == []


def test_values_that_end_in_mid_scan_end_its_lines() -> None:
    scanner = Scanner(8)
    truth = picture(np.random.default_rng(9), 8)
    for plane in truth:
        plane[4:] = np.nan
    scanner.begin(truth, clear=True)
    follow, told = follower(), Told()
    for _ in range(8):
        look(follow, told, scanner.view())
        scanner.advance(STEPS)
    look(follow, told, scanner.view(), over=True)
    assert same(told.lines(0)[0], truth[0])
    assert told.ends[told.order[0]].outcome is ScanOutcome.STOPPED
    assert any("4 of 8 lines missing" in fault for fault in follow.faults())


def test_a_scan_that_is_stopped_ends_with_its_last_whole_line() -> None:
    scanner = Scanner(8)
    scanner.begin(picture(np.random.default_rng(10), 8), clear=True)
    follow, told = follower(), Told()
    for _ in range(4):
        look(follow, told, scanner.view())
        scanner.advance(STEPS)
    scanner.advance(STEPS - 1)
    look(follow, told, scanner.view(), over=True)
    assert told.frames[told.order[0]].lines_done == 4
    assert told.ends[told.order[0]].outcome is ScanOutcome.STOPPED


def test_a_scan_found_running_has_all_its_lines_and_says_so() -> None:
    for clear in (True, False):
        rng = np.random.default_rng(11)
        scanner = Scanner(10)
        scanner.begin(picture(rng, 10), clear=True)
        scanner.advance(scanner.steps)
        scanner.begin(picture(rng, 10), clear=clear)
        scanner.advance(5 * STEPS + 1)
        follow, told = follower(), Told()
        for _ in range(5):
            look(follow, told, scanner.view())
            scanner.advance(STEPS)
        look(follow, told, scanner.view(), over=True)
        assert same(told.lines(0)[0], scanner.truth[0])
        assert same(told.lines(0)[1], scanner.truth[1])
        info = told.frames[told.order[0]].start.info
        assert info.warnings == ("found running in line 5 of 10",)
        assert info.started == datetime(2026, 11, 4, 11, 59, 55, tzinfo=UTC)


def test_only_the_forward_trace_is_told_where_no_other_is_wanted() -> None:
    scanner = Scanner(5)
    scanner.begin(picture(np.random.default_rng(12), 5), clear=True)
    follow, told = follower(), Told()
    for _ in range(5):
        look(follow, told, scanner.view(backward=False))
        scanner.advance(STEPS)
    look(follow, told, scanner.view(backward=False), over=True)
    frame = told.frames[told.order[0]]
    assert not frame.start.backward
    assert same(frame.frame().data, scanner.truth[0])


def test_a_backward_trace_that_never_comes_is_done_without() -> None:
    scanner = Scanner(9)
    forward, backward = picture(np.random.default_rng(13), 9)
    scanner.begin((forward, np.full_like(backward, np.nan)), clear=True)
    follow, told = follower(), Told()
    for _ in range(9):
        look(follow, told, scanner.view())
        scanner.advance(STEPS)
    look(follow, told, scanner.view(), over=True)
    assert len(told.order) == 1
    assert same(told.lines(0)[0], forward)
    assert told.ends[told.order[0]].outcome is ScanOutcome.FINISHED


def test_lost_lines_after_the_controller_was_away_are_nobodys_fault() -> None:
    rng = np.random.default_rng(14)
    scanner = Scanner(8)
    first = picture(rng, 8)
    scanner.begin(first, clear=True)
    follow, told = follower(), Told()
    for _ in range(4):
        look(follow, told, scanner.view())
        scanner.advance(STEPS)
    follow.circumstances.away = True
    scanner.advance(STEPS)
    look(follow, told, scanner.view())
    assert told.frames[told.order[0]].lines_done == 5, "the same scan goes on"
    scanner.begin(picture(rng, 8), clear=True)
    scanner.advance(STEPS)
    look(follow, told, scanner.view())
    assert told.ends[told.order[0]].outcome is ScanOutcome.LOST


# --- backward lines --------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.booleans(), st.floats(0, 0.3), st.integers(0, 4))
@settings(max_examples=60)
def test_mirrored_backward_lines_are_recognised(seed: int, mirrored: bool, noise: float, shift: int) -> None:
    """Molecules on a tilted surface, shifted and noisy as backward traces are."""
    rng = np.random.default_rng(seed)
    x = np.arange(256)
    bumps = sum(np.exp(-(((x - centre) / 8) ** 2)) for centre in rng.integers(0, 256, 6))
    line = bumps + 0.004 * rng.uniform(-1, 1) * x
    forward = np.array([line + noise * rng.normal(size=256) for _ in range(8)], dtype=np.float32)
    backward = np.array([np.roll(line, shift) + noise * rng.normal(size=256) for _ in range(8)], dtype=np.float32)
    judge = MirrorJudge()
    judge.judge(forward, backward[:, ::-1] if mirrored else backward, now=True)
    if not judge.assumed:
        assert judge.mirrored is mirrored
    straight, turned = (np.corrcoef(line, other)[0, 1] for other in (np.roll(line, shift), np.roll(line, shift)[::-1]))
    if noise < 0.1 and straight - turned > 0.6:
        assert judge.mirrored is mirrored
        assert not judge.assumed


def test_flat_lines_tell_nothing_and_are_judged_again() -> None:
    judge = MirrorJudge()
    flat = np.ones((8, 64), dtype=np.float32)
    judge.judge(flat[:3], flat[:3])
    assert judge.mirrored is None
    judge.judge(flat[:5], flat[:5])
    assert judge.mirrored is False
    assert judge.assumed
    judge.next_scan()
    slope = np.tile(np.arange(64, dtype=np.float32), (2, 1))
    judge.judge(slope, slope[:, ::-1])
    assert judge.mirrored is True
    assert not judge.assumed
    judge.next_scan()
    assert judge.mirrored is True


def test_lines_that_are_held_back_are_told_in_the_end() -> None:
    scanner = Scanner(5)
    flat = np.tile(np.arange(5, dtype=np.float32)[:, None], (1, COLUMNS))
    scanner.begin((flat, flat.copy()), clear=True)
    follow, told = follower(), Told()
    for _ in range(5):
        look(follow, told, scanner.view())
        scanner.advance(STEPS)
    assert told.frames[told.order[0]].lines_done == 0
    look(follow, told, scanner.view(), over=True)
    assert same(told.lines(0)[0], flat)
    assert same(told.lines(0)[1], flat)
    assert any("mirrored" in fault for fault in follow.faults())


# --- the slow version ------------------------------------------------------------------------------------------------


def scanned_lines(
    first: list[NDArray[np.float32]], now: list[NDArray[np.float32]], front: Callable[[int], int]
) -> list[int]:
    """Which lines are complete, pixel by pixel."""
    complete = []
    for line in range(len(now[0])):
        ends = [now[0][line, -1], now[1][line, 0]]
        were = [first[0][line, -1], first[1][line, 0]]
        done = [
            front(trace) > line or (end == end and end != was)
            for trace, (end, was) in enumerate(zip(ends, were, strict=True))
        ]
        if all(done):
            complete.append(line)
    return complete


@given(st.integers(0, 2**31), st.lists(st.integers(1, 2 * STEPS), max_size=12), st.booleans())
@settings(max_examples=60)
def test_complete_lines_are_those_of_the_slow_version(seed: int, steps: list[int], clear: bool) -> None:
    rng = np.random.default_rng(seed)
    scanner = Scanner(12)
    scanner.begin(picture(rng, 12), clear=True)
    scanner.advance(scanner.steps)
    scanner.begin(picture(rng, 12), clear=clear)
    first = [plane.copy() for plane in scanner.buffer]
    progress = Progress(scanner.buffer[0].copy(), scanner.buffer[1].copy())
    told: list[int] = []
    for step in steps:
        scanner.advance(step)
        found = progress.look(scanner.buffer[0].copy(), scanner.buffer[1].copy(), mirrored=False)
        assert not found.restarted
        told += found.lines.tolist()

        def front(trace: int) -> int:
            touched = np.isfinite(scanner.buffer[trace]) & (scanner.buffer[trace] != first[trace])
            begun = np.flatnonzero(touched.any(axis=1))
            return int(begun[-1]) if begun.size else -1

        if progress.first is not None:
            assert sorted(told) == scanned_lines(first, scanner.buffer, front)
    assert len(told) == len(set(told))


def test_scan_names_are_unlike() -> None:
    rng = np.random.default_rng(15)
    scanner = Scanner(4)
    follow, told = follower(), Told()
    for _ in range(3):
        scanner.begin(picture(rng, 4), clear=True)
        for _ in range(4):
            look(follow, told, scanner.view())
            scanner.advance(STEPS)
        look(follow, told, scanner.view(), over=True)
    assert len(set(told.order)) == 3
    assert all("\n" not in name and len(name) <= 128 for name in told.order)
    info = told.frames[told.order[1]].start.info
    assert info.ref.source == f"stm/{told.order[1]}"
    assert info.format == "nanonis-tcp"
    assert replace(info, complete_rows=4).partial is False
