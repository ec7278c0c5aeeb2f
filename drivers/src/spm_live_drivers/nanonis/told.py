"""A scan as it is told: lines with their numbers become events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import FrameInfo, FrameRef, ScanDirection, Trace
from spm_live_drivers.growing import ScanEnd, ScanLines, ScanOutcome, ScanStart
from spm_live_drivers.nanonis.progress import Progress
from spm_live_drivers.nanonis.traces import MirrorJudge
from spm_live_drivers.nanonis.view import Setup

FORMAT = "nanonis-tcp"


@dataclass(frozen=True, slots=True)
class ScanNotes:
    """What is known about a scan besides its frame.

    Parameters
    ----------
    scan, sender : str
        Their names.
    started : datetime
        When it began, timezone-aware; estimated where it was found running.
    line_s : float or None
        Time from one line to the next.
    instrument : str
        What the controller calls itself.
    session_path : str
        Folder that it saves in; empty where it does not say.
    warnings : tuple of str
        What people should know.
    """

    scan: str
    sender: str
    started: datetime
    line_s: float | None
    instrument: str = ""
    session_path: str = ""
    warnings: tuple[str, ...] = ()


class ToldScan:
    """One scan that was told the start of.

    Parameters
    ----------
    setup : Setup
        Its frame.
    notes : ScanNotes
        The rest.
    progress : Progress
        Keeps its lines.
    judge : MirrorJudge
        Whether backward lines are turned round. Lines are held back until it knows, eight at most.
    """

    def __init__(self, setup: Setup, notes: ScanNotes, progress: Progress, judge: MirrorJudge) -> None:
        self.name = notes.scan
        self._up = setup.direction is ScanDirection.UP
        self._progress, self._judge = progress, judge
        self._held = np.empty(0, dtype=np.intp)
        self._reported: set[int] = set()
        ref = FrameRef(f"{notes.sender}/{notes.scan}", channel=setup.name, trace=Trace.FORWARD)
        info = FrameInfo(
            ref=ref,
            geometry=setup.geometry,
            unit=setup.unit,
            direction=setup.direction,
            started=notes.started,
            instrument=notes.instrument,
            format=FORMAT,
            warnings=notes.warnings,
            metadata={"Session path": notes.session_path} if notes.session_path else {},
        )
        self.start = ScanStart(notes.scan, info, notes.line_s, progress.has_backward)

    def lines(self, numbers: NDArray[np.intp], *, last: bool = False) -> list[ScanLines]:
        """Tell of lines that have become complete.

        Parameters
        ----------
        numbers : (n,) int array
            Lines in the order of scanning.
        last : bool
            There will be no more of them: nothing is held back.
        """
        if not self._progress.has_backward:
            told, self._held = np.concatenate([self._held, numbers]), self._held[:0]
            return list(self._blocks(np.sort(told)))
        forward, backward = self._progress.values(numbers)
        if backward is not None:
            self._judge.judge(forward, backward, now=last)
        self._held = np.concatenate([self._held, numbers])
        if self._judge.mirrored is None:
            return []
        told, self._held = self._held, self._held[:0]
        return list(self._blocks(np.sort(told)))

    def rest(self) -> list[ScanLines]:
        """Tell what was held back: there will be no more lines."""
        return self.lines(self._held[:0], last=True)

    def end(self, outcome: ScanOutcome, saved_as: str) -> ScanEnd:
        """The end."""
        return ScanEnd(self.name, outcome, saved_as)

    def new_gaps(self) -> list[int]:
        """Lines that never came and were not asked for before."""
        found = [int(line) for line in self._progress.missing() if int(line) not in self._reported]
        self._reported.update(found)
        return found

    def _blocks(self, numbers: NDArray[np.intp]) -> Iterator[ScanLines]:
        """Neighbouring lines together, as rows of the picture from top to bottom."""
        if not numbers.size:
            return
        for run in np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1):
            forward, backward = self._progress.values(run)
            if backward is not None and self._judge.mirrored:
                backward = backward[:, ::-1]
            first_row = int(run[0])
            if self._up:
                forward, backward = forward[::-1], None if backward is None else backward[::-1]
                first_row = self._progress.lines - 1 - int(run[-1])
            block = ScanLines(self.name, first_row, np.ascontiguousarray(forward))
            yield block if backward is None else replace(block, backward=np.ascontiguousarray(backward))
