"""A scan that is running: which pixels there are at a given time, and how it ended."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import ScanDirection, ScanGeometry
from spm_live_drivers.formats.nanonis_writer import SxmChannel
from spm_live_drivers.growing import ScanOutcome
from spm_live_drivers.simulate.subjects import Subject
from spm_live_drivers.synthetic import SyntheticScan

PIECE_PX = 16
"""Pixels of the line in progress appear in pieces of so many: the granularity of the controller's buffer."""

ROUNDING_LINES = 1e-6
"""A clock that is stepped by whole lines must find them done in spite of rounding."""

Planes = tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
"""Forward and backward picture of every channel."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """How far a scan has got: lines that are done, then pixels of the forward and of the backward trace."""

    lines: int
    forward_px: int = 0
    backward_px: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class RunningScan:
    """One attempt at one frame, with all that it is going to show.

    Parameters
    ----------
    frame : int
        Which frame of this run, counted from 1.
    number : int
        Number of its file.
    attempt : int
        How often this frame was begun before.
    subject : Subject
        What is scanned, faults included.
    channels : tuple of SxmChannel
        What is recorded: row 0 at the top, x to the right; NaN where it never will be scanned.
    under : Planes or None
        The channels as the buffer held them before: seen until they are overwritten.
    started_s : float
        Time of the first pixel by the clock of the controller.
    started : datetime
        The same, in local time.
    line_s : float
        Time of one line, forward and backward together, in s.
    """

    frame: int
    number: int
    attempt: int
    subject: Subject
    channels: tuple[SxmChannel, ...]
    under: Planes | None
    started_s: float
    started: datetime
    line_s: float

    @property
    def geometry(self) -> ScanGeometry:
        """Shorthand for that of the subject."""
        return self.subject.scan.geometry

    @property
    def up(self) -> bool:
        """Whether the bottom line comes first."""
        return self.subject.scan.direction is ScanDirection.UP

    @property
    def end(self) -> Position:
        """Where it ends."""
        return Position(self.geometry.rows)

    def position(self, now_s: float) -> Position:
        """How far it has got at a time, if nothing stops it."""
        rows, columns = self.geometry.rows, self.geometry.columns
        elapsed = max(0.0, now_s - self.started_s)
        if self.line_s <= 0 or elapsed >= rows * self.line_s:
            return self.end
        lines, within = divmod(elapsed / self.line_s + ROUNDING_LINES, 1.0)
        if lines >= rows:
            return self.end
        forward = _pieces(min(1.0, 2 * within), columns)
        backward = _pieces(2 * within - 1, columns) if within >= 0.5 else 0
        return Position(int(lines), forward, backward)

    def trace_end_s(self, traces: int) -> float:
        """When so many traces are done, by the clock of the controller; a line has two."""
        return self.started_s + traces * self.line_s / 2

    def traces(self, position: Position) -> int:
        """Traces that are done at a position."""
        return 2 * position.lines + (position.forward_px == self.geometry.columns)

    def picture(self, channel: int, forward: bool, position: Position) -> NDArray[np.float32]:
        """What the buffer holds of a channel.

        Parameters
        ----------
        channel : int
            Index into ``channels``.
        forward : bool
            Which trace.
        position : Position
            How far the scan has got.

        Returns
        -------
        (rows, columns) float32 array
            Row 0 at the top, x to the right in both traces; NaN where nothing was scanned yet.
        """
        one = self.channels[channel]
        true = one.forward if forward or one.backward is None else one.backward
        if self.under is None:
            seen = np.full(true.shape, np.nan, dtype=np.float32)
        else:
            seen = np.array(self.under[channel][0 if forward else 1], dtype=np.float32)
        lines, source = (seen[::-1], true[::-1]) if self.up else (seen, true)
        done = position.lines
        lines[:done] = source[:done]
        if done < len(lines):
            columns = true.shape[1]
            part = slice(0, position.forward_px) if forward else slice(columns - position.backward_px, columns)
            lines[done, part] = source[done, part]
        return seen


@dataclass(frozen=True, slots=True, eq=False)
class EndedScan:
    """A scan that is over.

    Parameters
    ----------
    serial : int
        Counts the ends of scans, from 1.
    frame, number : int
        Which frame of this run, and the number of its file.
    scan : SyntheticScan
        What it showed, faults included; the molecules are those of the whole frame.
    lines : int
        How many were scanned.
    outcome : ScanOutcome
        ``FINISHED`` or ``STOPPED``.
    path : str
        The file; empty if none was saved.
    """

    serial: int
    frame: int
    number: int
    scan: SyntheticScan
    lines: int
    outcome: ScanOutcome
    path: str


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of the scan at one time."""

    run: RunningScan
    position: Position
    running: bool


def _pieces(share: float, columns: int) -> int:
    """Pixels that have appeared when a share of a trace is done."""
    if share >= 1:
        return columns
    return min(columns, math.floor(max(0.0, share) * columns / PIECE_PX) * PIECE_PX)
