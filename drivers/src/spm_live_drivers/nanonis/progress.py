"""How far a scan has got, told from what its buffer holds from look to look.

The controller does not say how many lines are done. Where it clears the buffer, values stand for what was scanned; in
continuous scanning it writes over the picture before, line by line, and old values stand for what was not. Both are one
case here: what counts is not whether a pixel has a value but whether it has *another* one than at the first look.

That needs two looks before anything is known. Then the line in progress is where something changed, and the lines
before it are of this scan too, since lines are scanned one after another.

A line is complete where its last pixel was written, forward and backward, or where a later line was begun. A scan was
begun anew where lines that were complete have other values, or none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Lines = NDArray[np.float32]
_Flags = NDArray[np.bool_]
_Numbers = NDArray[np.intp]

PIECE_PX = 16
"""The line in progress arrives in pieces of so many pixels (observed; a frame has a multiple of it per line)."""
_PATIENCE = 3
"""So many lines forward without any pixel backward mean that the backward trace is not there."""
_NONE: _Numbers = np.empty(0, dtype=np.intp)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What a look has brought.

    Parameters
    ----------
    lines : (n,) int array
        Lines that are complete now and were not before, in the order of scanning.
    restarted : bool
        Another scan was begun; ``lines`` are the last ones of this one.
    wiped : bool
        With ``restarted``: nothing of this scan is left behind the place where the new one is.
    """

    lines: _Numbers
    restarted: bool = False
    wiped: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Trace:
    """What changed in one trace since the values that are kept."""

    touched: _Flags  # (lines, columns): has a value, and another one
    lost: _Flags  # (lines,): some pixel that had a value has another one, or none
    any: _Flags  # (lines,)
    end: _Flags  # (lines,): the pixel that is written last
    tail: _Flags  # (lines,): any of the piece that is written last


class Progress:
    """Follows one scan.

    Parameters
    ----------
    forward, backward : (lines, columns) float32 array, and the same or None
        The first look, in the order of scanning; ``backward`` with its columns as the controller gives them. They are
        kept and changed.
    trusting : bool
        Whether lines before the one in progress are of this scan. False where the frame was changed while the scan
        went on: then only lines that were wholly scanned since the first look are.
    """

    def __init__(self, forward: _Lines, backward: _Lines | None, *, trusting: bool = True) -> None:
        self._kept = [forward] if backward is None else [forward, backward]
        self._trusting = trusting
        self.settled: _Flags = np.zeros(len(forward), dtype=np.bool_)
        """Lines that are complete: they must not change any more."""
        self.first: int | None = None
        """Line that was in progress at the first look; None while nothing has changed since."""
        self.front = -1
        """Last line with a value of this scan in every trace."""
        self.begun = -1
        """Last line with a value of this scan in any trace: the tip is there."""

    @property
    def lines(self) -> int:
        """Lines of the frame."""
        return len(self.settled)

    @property
    def has_backward(self) -> bool:
        """Whether the backward trace is followed; it is given up if it never comes."""
        return len(self._kept) == 2

    @property
    def complete(self) -> bool:
        """Whether the last line is complete."""
        return bool(self.settled[-1])

    @property
    def left(self) -> int:
        """Lines behind the last complete one."""
        done = np.flatnonzero(self.settled)
        return self.lines - (int(done[-1]) + 1 if done.size else 0)

    def missing(self) -> _Numbers:
        """Lines that the tip has passed and that never came."""
        return np.flatnonzero(~self.settled[: max(self.front - 1, 0)]) if self.settled.any() else _NONE

    def values(self, lines: _Numbers) -> tuple[_Lines, _Lines | None]:
        """Copy complete lines."""
        return self._kept[0][lines], self._kept[1][lines] if self.has_backward else None

    def unchanged(self, forward: _Lines, backward: _Lines | None) -> bool:
        """Whether all complete lines are as they were."""
        traces = self._compare(forward, backward, None)
        return not any((trace.lost & self.settled).any() for trace in traces)

    def look(
        self, forward: _Lines, backward: _Lines | None, *, mirrored: bool | None = None, over: bool = False
    ) -> Look:
        """Take in what the buffer holds now.

        Parameters
        ----------
        forward, backward : (lines, columns) float32 array, and the same or None
            As at the beginning.
        mirrored : bool or None
            Whether backward columns are in the order of scanning, right to left; None while that is not known.
        over : bool
            The scan does not run any more, so that no line is in progress.
        """
        now = [forward, backward] if self.has_backward and backward is not None else [forward]
        traces = self._compare(forward, backward, mirrored)
        lost = np.logical_or.reduce([trace.lost & self.settled for trace in traces])
        if lost.any():
            return self._restarted(now, traces, lost)
        for kept, one, trace in zip(self._kept, now, traces, strict=True):
            for line in np.flatnonzero(trace.lost & ~self.settled):
                kept[line, np.isnan(one[line])] = np.nan  # it was cleared: any value is a new one
        if self.first is None and not self._begin(now, traces):
            return Look(_NONE)
        if self._begun_below(traces):
            return Look(_NONE, restarted=True, wiped=False)
        self._give_up_backward(traces)
        now, traces = now[: len(self._kept)], traces[: len(self._kept)]
        return Look(self._settle(now, traces, self._done(traces, over=over)))

    def _compare(self, forward: _Lines, backward: _Lines | None, mirrored: bool | None) -> list[_Trace]:
        found = [_compared(forward, self._kept[0], first_written=0)]
        if self.has_backward and backward is not None:
            written = None if mirrored is None else (0 if mirrored else -1)
            found.append(_compared(backward, self._kept[1], first_written=written))
        return found

    def _begin(self, now: list[_Lines], traces: list[_Trace]) -> bool:
        """Find the line in progress, by what changed since the first look; False where that is not certain yet."""
        touched = np.flatnonzero(np.logical_or.reduce([trace.any for trace in traces]))
        if not touched.size:
            return False
        first, last = int(touched[0]), int(touched[-1])
        # Two places at once: one scan ended there and another began here. All lines at once: the same, seen too late.
        whole = last - first + 1 == touched.size and (touched.size < self.lines or self.lines == 1)
        ended = traces[0].tail[first:last].copy()  # a line must be written to its end before the next one is
        if ended.size and len(traces) > 1:
            ended[0] |= traces[1].any[first]
        ordered = bool(ended.all())
        if not (whole and ordered):
            self._kept = [one.copy() for one in now]
            return False
        self.first = first
        if not self._trusting:
            self.settled[:first] = True
        return True

    def _begun_below(self, traces: list[_Trace]) -> bool:
        """Whether a line far behind the front has come to life, with no complete line before it.

        With complete lines before it that are as they were, it is a line that comes late.
        """
        behind = slice(0, max(self.front - 1, 0))
        late = np.flatnonzero(traces[0].any[behind] & ~self.settled[behind])
        return bool(late.size) and late[0] != self.first and not self.settled[: late[0]].any()

    def _give_up_backward(self, traces: list[_Trace]) -> None:
        if len(traces) < 2 or self.first is None or self.settled.any() or traces[1].any.any():
            return
        begun = np.flatnonzero(traces[0].any)
        if begun.size and begun[-1] - self.first >= _PATIENCE and not np.isfinite(self._kept[1]).any():
            self._kept = self._kept[:1]

    def _done(self, traces: list[_Trace], *, over: bool) -> _Flags:
        """Lines that are complete in every trace, each judged by itself: they were not read at one time."""
        number = np.arange(self.lines)
        done = np.ones(self.lines, dtype=np.bool_)
        fronts = []
        for trace in traces:
            begun = np.flatnonzero(trace.any | self.settled)
            fronts.append(int(begun[-1]) if begun.size else -1)
            done &= (number < fronts[-1]) | (trace.tail if over else trace.end)
        self.front, self.begun = max(self.front, min(fronts)), max(self.begun, *fronts)
        return done | (number < (self.first or 0))

    def _settle(self, now: list[_Lines], traces: list[_Trace], done: _Flags) -> _Numbers:
        """Keep the lines that are complete; those that are of this scan are returned."""
        first = self.first or 0
        number = np.arange(self.lines)
        has_values = np.isfinite(now[0]).any(axis=1)
        joined = (number <= first) & has_values if self._trusting else np.zeros_like(has_values)
        fresh = np.flatnonzero(done & (traces[0].any | joined) & ~self.settled)
        for kept, one, trace in zip(self._kept, now, traces, strict=True):
            kept[fresh] = one[fresh]
            kept[fresh[~(trace.any | joined)[fresh]]] = np.nan  # a trace that did not come holds the picture before
        self.settled[fresh] = True
        if self._trusting:
            return fresh
        wholly = np.logical_and.reduce([trace.touched[:, 0] & trace.touched[:, -1] for trace in traces])
        told: _Numbers = fresh[wholly[fresh] | (fresh > first)]
        return told

    def _restarted(self, now: list[_Lines], traces: list[_Trace], lost: _Flags) -> Look:
        """Another scan was begun. Lines behind one that is still there are the last of this one."""
        as_it_was = np.flatnonzero(self.settled & ~lost & np.isfinite(self._kept[0]).any(axis=1))
        behind = as_it_was[as_it_was > np.flatnonzero(lost)[-1]]
        if not behind.size:
            return Look(_NONE, restarted=True, wiped=True)
        done = self._done(traces, over=True) & (np.arange(self.lines) > behind[0])
        return Look(self._settle(now, traces, done) if self.first is not None else _NONE, restarted=True)


def _compared(now: _Lines, kept: _Lines, *, first_written: int | None) -> _Trace:
    """Compare a trace with what is kept of it.

    Parameters
    ----------
    first_written : int or None
        Column that is written first, 0 or -1; None where that is not known: then both ends must be there.
    """
    there, was = np.isfinite(now), np.isfinite(kept)
    other = now != kept
    touched = there & other
    lost = (was & other).any(axis=1)
    pieces = {-1: touched[:, :PIECE_PX].any(axis=1), 0: touched[:, -PIECE_PX:].any(axis=1)}
    ends = {-1: touched[:, 0], 0: touched[:, -1]}
    if first_written is None:
        end, tail = ends[0] & ends[-1], pieces[0] & pieces[-1]
    else:
        end, tail = ends[first_written], pieces[first_written]
    return _Trace(touched, lost, touched.any(axis=1), end, tail)
