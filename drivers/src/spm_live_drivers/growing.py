"""A frame that is still being scanned: what is told about it while it grows, and the frame that this makes.

Whoever watches an instrument (:mod:`spm_live_drivers.nanonis`, the agent, a program of somebody else over ZeroMQ) tells
it in three kinds of events: a start, lines, an end. Rows are rows of the picture, row 0 at its top, as everywhere here;
*lines* are counted as they are scanned, line 0 first: in an up scan line 0 is the bottom row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import MAX_FRAME_PIXELS, Frame, FrameInfo, ScanDirection


class ScanOutcome(StrEnum):
    """How a scan ended."""

    FINISHED = "finished"
    """The last line was scanned."""
    STOPPED = "stopped"
    """Somebody stopped it, or began another one, before its last line."""
    LOST = "lost"
    """The instrument could not be asked any more; nobody knows."""


class GrowingError(ValueError):
    """An event that does not fit the scan it names; its text is the reason that people see."""


@dataclass(frozen=True, slots=True)
class ScanStart:
    """A scan has begun, or is found running.

    Parameters
    ----------
    scan : str
        Names this scan among all of its sender: never given to another one. At most 128 characters, one line.
    info : FrameInfo
        The frame; ``complete_rows`` is 0 and ``ref.source`` names sender and scan, since there is no file yet.
    line_time_s : float or None
        Time from one line to the next, forward and backward together, in s; None where it is not known.
    backward : bool
        Whether the lines come with their backward trace.
    """

    scan: str
    info: FrameInfo
    line_time_s: float | None = None
    backward: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ScanLines:
    """Lines that were scanned to their end.

    Parameters
    ----------
    scan : str
        As in :class:`ScanStart`.
    first_row : int
        Row of the picture that the first of them is.
    forward : (n, columns) float32 array
        Neighbouring rows, top to bottom whatever the scan direction; x grows to the right; NaN where not scanned.
    backward : (n, columns) float32 array or None
        The same rows of the backward trace, also with x growing to the right.
    """

    scan: str
    first_row: int
    forward: NDArray[np.float32]
    backward: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class ScanEnd:
    """A scan is over.

    Parameters
    ----------
    scan : str
        As in :class:`ScanStart`.
    outcome : ScanOutcome
        How it ended.
    saved_as : str
        Path of the file that the instrument wrote of it; empty where it wrote none, or where that is not known.
    """

    scan: str
    outcome: ScanOutcome
    saved_as: str = ""


GrowingEvent = ScanStart | ScanLines | ScanEnd


class GrowingFrame:
    """Puts a frame together, line by line.

    Repeated lines change nothing, so that a sender may tell everything again after a connection was lost. Lines that
    never came stay NaN. A start alone takes next to no memory, however large a frame it announces.

    Parameters
    ----------
    start : ScanStart
        The beginning.

    Raises
    ------
    GrowingError
        If the frame would be larger than any reader accepts.
    """

    def __init__(self, start: ScanStart) -> None:
        geometry = start.info.geometry
        if geometry.rows * geometry.columns > MAX_FRAME_PIXELS:
            raise GrowingError(f"a scan of {geometry.rows} x {geometry.columns} px; {MAX_FRAME_PIXELS} px are accepted")
        self.start = start
        self.lines_done = 0
        """Lines up to the front, those that never came included."""
        self.lines_missing = 0
        """Of these, how many never came."""
        self._forward = _Trace(geometry.rows, geometry.columns)
        self._backward = _Trace(geometry.rows, geometry.columns) if start.backward else None

    @property
    def complete(self) -> bool:
        """Whether the front has reached the last line."""
        return self.lines_done == self.start.info.geometry.rows

    def add(self, lines: ScanLines) -> int:
        """Take lines in.

        A backward trace is taken in if the start announced one; it may come later than the forward trace, or not at
        all.

        Returns
        -------
        int
            How many of them are new; lines behind the front that were missing are taken in too.

        Raises
        ------
        GrowingError
            If they are of another scan, do not fit the frame, or contradict what came before. Nothing is taken in.
        """
        self._check(lines)
        new = self._forward.take(lines.first_row, lines.forward)
        if self._backward is not None and lines.backward is not None:
            self._backward.take(lines.first_row, lines.backward)
        here = np.flatnonzero(self._forward.here[:: -1 if self._up else 1])
        self.lines_done = int(here[-1]) + 1 if here.size else 0
        self.lines_missing = self.lines_done - here.size
        return new

    def lines(
        self, first: int, after_last: int | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Copy lines as they were scanned.

        Parameters
        ----------
        first, after_last : int
            Numbers of lines, 0 is the first that was scanned; None: up to the front.

        Returns
        -------
        forward, backward : (n, columns) float32 array
            In the order of scanning; ``backward`` is None where it is not told.
        """
        rows = self.start.info.geometry.rows
        begin, end, _ = slice(first, self.lines_done if after_last is None else after_last).indices(rows)
        end = max(begin, end)
        if not self._up:
            lines = self.rows(begin, end)
            return lines.forward, lines.backward
        lines = self.rows(rows - end, rows - begin)
        return lines.forward[::-1].copy(), None if lines.backward is None else lines.backward[::-1].copy()

    def rows(self, first_row: int, after_last: int) -> ScanLines:
        """Copy rows of the picture, to tell them again; NaN where not scanned.

        Parameters
        ----------
        first_row, after_last : int
            Rows, 0 is the top of the picture; 0 to the number of rows.
        """
        backward = None if self._backward is None else self._backward.copy(first_row, after_last)
        return ScanLines(self.start.scan, first_row, self._forward.copy(first_row, after_last), backward)

    def rows_here(self) -> NDArray[np.bool_]:
        """Which rows of the picture came: (rows,), a copy."""
        return self._forward.here.copy()

    def frame(self) -> Frame:
        """The frame as far as it goes: a copy, NaN where not scanned, ``complete_rows`` up to the front."""
        data = self._forward.copy(0, self.start.info.geometry.rows)
        return Frame(replace(self.start.info, complete_rows=self.lines_done), data)

    @property
    def _up(self) -> bool:
        return self.start.info.direction is ScanDirection.UP

    def _check(self, lines: ScanLines) -> None:
        geometry = self.start.info.geometry
        if lines.scan != self.start.scan:
            raise GrowingError(f"lines of scan {lines.scan!r} in scan {self.start.scan!r}")
        for name, data in (("forward", lines.forward), ("backward", lines.backward)):
            if data is None:
                continue
            if data.dtype != np.float32 or data.ndim != 2 or data.shape[1] != geometry.columns:
                raise GrowingError(
                    f"{name} lines of shape {data.shape} and type {data.dtype} in a frame of {geometry.columns} columns"
                )
        if lines.backward is not None and lines.backward.shape != lines.forward.shape:
            raise GrowingError(f"{len(lines.forward)} forward and {len(lines.backward)} backward lines")
        first, last = lines.first_row, lines.first_row + len(lines.forward)
        if first < 0 or last > geometry.rows:
            raise GrowingError(f"rows {first} to {last - 1} in a frame of {geometry.rows}")
        for trace, data in ((self._forward, lines.forward), (self._backward, lines.backward)):
            if trace is not None and data is not None and trace.contradicts(first, data):
                raise GrowingError("lines that came before come again with other values: the scan was begun anew")


class _Trace:
    """The rows of one trace. Memory is touched only where rows came, and what was never written is never shown."""

    def __init__(self, rows: int, columns: int) -> None:
        self.here = np.zeros(rows, dtype=np.bool_)
        self._data = np.empty((rows, columns), dtype=np.float32)

    def contradicts(self, first: int, data: NDArray[np.float32]) -> bool:
        rows = slice(first, first + len(data))
        known = self.here[rows]
        return not np.array_equal(self._data[rows][known], data[known], equal_nan=True)

    def take(self, first: int, data: NDArray[np.float32]) -> int:
        """Take in the rows that are not here yet, and say how many they are."""
        rows = slice(first, first + len(data))
        new = ~self.here[rows]
        self._data[rows][new] = data[new]
        self.here[rows] = True
        return int(np.count_nonzero(new))

    def copy(self, first: int, after_last: int) -> NDArray[np.float32]:
        rows = self._data[first:after_last].copy()
        rows[~self.here[first:after_last]] = np.nan
        return rows
