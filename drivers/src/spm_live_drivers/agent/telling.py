"""One scan in progress: what the receiver was told of it, and what it still has to be told."""

from __future__ import annotations

import numpy as np

from spm_live_drivers.contract import ScanDirection
from spm_live_drivers.growing import (
    GrowingError,
    GrowingEvent,
    GrowingFrame,
    ScanEnd,
    ScanLines,
    ScanOutcome,
    ScanStart,
)

BLOCK_BYTES = 256 * 1024
"""Lines are told in messages of about this size at most; one line always fits."""


class Telling:
    """Keeps a scan as far as it goes, so that all of it can be told again.

    There is no queue of messages: what comes next follows from what is known and what was told. So a receiver that was
    away, or is slow, is never behind by more than one frame.

    Parameters
    ----------
    start : ScanStart
        The beginning.

    Raises
    ------
    GrowingError
        If the frame is too large.
    """

    def __init__(self, start: ScanStart) -> None:
        self.start = start
        self.dropped = False
        """Nothing more is told of it."""
        self._growing = GrowingFrame(start)
        self._end: ScanEnd | None = None
        self._start_told = self._end_told = False
        self._untold = self._growing.rows_here()
        traces = 2 if start.backward else 1
        self._rows_a_message = max(1, BLOCK_BYTES // (4 * traces * start.info.geometry.columns))

    @property
    def over(self) -> bool:
        """Whether the scan has ended, told or not."""
        return self._end is not None

    def take(self, event: ScanLines | ScanEnd) -> None:
        """Learn more of the scan.

        Raises
        ------
        GrowingError
            If lines contradict those that came before; the scan is lost then.
        """
        if self._end is not None:
            return
        if isinstance(event, ScanEnd):
            self._end = event
            return
        before = self._growing.rows_here()
        try:
            self._growing.add(event)
        except GrowingError:
            self._end = ScanEnd(self.start.scan, ScanOutcome.LOST)
            raise
        self._untold |= self._growing.rows_here() & ~before

    def next(self) -> GrowingEvent | None:
        """What the receiver must be told now: the start, then lines as they were scanned, then the end."""
        if self.dropped:
            return None
        if not self._start_told:
            return self.start
        return self._lines() or (self._end if not self._end_told else None)

    def told(self, event: GrowingEvent) -> None:
        """The receiver has been told."""
        if isinstance(event, ScanStart):
            self._start_told = True
        elif isinstance(event, ScanLines):
            self._untold[event.first_row : event.first_row + len(event.forward)] = False
        else:
            self._end_told = True

    def tell_anew(self) -> None:
        """The receiver knows nothing of this scan, or may not."""
        self._start_told = self._end_told = False
        self._untold = self._growing.rows_here()

    def _lines(self) -> ScanLines | None:
        """The lines told next: neighbours, and not more than fit a message."""
        rows = np.flatnonzero(self._untold)
        if not rows.size:
            return None
        if self.start.info.direction is ScanDirection.UP:
            rows = rows[::-1]
        gaps = np.flatnonzero(np.abs(np.diff(rows)) != 1)
        neighbours = int(gaps[0]) + 1 if gaps.size else int(rows.size)
        ends = int(rows[0]), int(rows[min(neighbours, self._rows_a_message) - 1])
        return self._growing.rows(min(ends), max(ends) + 1)
