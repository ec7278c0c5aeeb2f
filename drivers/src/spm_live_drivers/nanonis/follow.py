"""Makes events of looks: where a scan begins, goes on and ends. It asks nothing, and forgets nothing it was shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from spm_live_drivers.growing import GrowingEvent, ScanOutcome
from spm_live_drivers.nanonis.progress import Look, Progress
from spm_live_drivers.nanonis.told import ScanNotes, ToldScan
from spm_live_drivers.nanonis.traces import MirrorJudge
from spm_live_drivers.nanonis.view import Setup, View

_LAST_LINES, _LAST_S = 2, 0.15
"""The end of a scan is near in its last lines, or so many s before it where lines are quick."""

_TIME_SLACK = 1.05
"""Lines may be so much quicker than the controller tells."""

_LONGEST_SCAN_S = 30 * 86400.0


@dataclass(slots=True)
class Circumstances:
    """What the one who looks knows besides; kept up to date by it.

    Parameters
    ----------
    line_s : float or None
        Time from one line to the next.
    away : bool
        The controller could not be asked for a while.
    since_look_s : float
        Time since the look before, in s.
    instrument, session_path : str
        What the controller calls itself, and the folder it saves in.
    """

    line_s: float | None = None
    away: bool = False
    since_look_s: float = 0.0
    instrument: str = ""
    session_path: str = ""


class Follower:
    """Follows scan after scan.

    Parameters
    ----------
    sender : str
        Name of the instrument.
    now : callable
        Time of day, timezone-aware: scans are named by it, and by a number.
    """

    def __init__(self, sender: str, now: Callable[[], datetime]) -> None:
        self.circumstances = Circumstances()
        self._sender, self._now = sender, now
        self._judge = MirrorJudge()
        self._setup: Setup | None = None
        self._progress: Progress | None = None
        self._told: ToldScan | None = None
        self._scans = 0
        self._saved = self._last_saved = ""
        self._events: list[GrowingEvent] = []
        self._faults: list[str] = []

    @property
    def looking(self) -> bool:
        """Whether a look was taken at a scan that is not over."""
        return self._progress is not None

    @property
    def following(self) -> bool:
        """Whether the beginning of a scan was told and its end was not."""
        return self._told is not None

    @property
    def saved(self) -> bool:
        """Whether it is known where the scan was saved."""
        return bool(self._saved)

    @property
    def near_end(self) -> bool:
        """Whether the tip is in the last lines of the scan, or through."""
        return (
            self.following and self._progress is not None and self._progress.front >= self._progress.lines - _LAST_LINES
        )

    def events(self) -> list[GrowingEvent]:
        """What is to be told since this was last asked."""
        found, self._events = self._events, []
        return found

    def faults(self) -> list[str]:
        """What is to be said since this was last asked."""
        found, self._faults = self._faults, []
        return found

    def take(self, view: View, *, over: bool = False) -> None:
        """Take a look in.

        Parameters
        ----------
        view : View
            What it has found.
        over : bool
            No scan runs any more; :meth:`finish` comes next.
        """
        if self._progress is None or self._setup is None:
            self._begin(view)
        elif view.setup != self._setup:
            self._changed(view, self._setup, self._progress)
        else:
            self._goes_on(view, self._progress, over=over)

    def note_saved(self, path: str) -> None:
        """Learn where the scan was saved; a path that was told before is that of the scan before."""
        if path and path != self._last_saved:
            self._saved = path

    def finish(self) -> None:
        """No scan runs any more, and the last look was taken in."""
        progress = self._progress
        if progress is None or self._told is None:
            self._forget()
            return
        # A last line that holds no value is one that was dropped, where the scan was saved.
        finished = progress.complete or (progress.left == 1 and self.saved)
        reason = "" if finished else f"it ended with {progress.left} of {progress.lines} lines missing"
        self._end(ScanOutcome.FINISHED if finished else ScanOutcome.STOPPED, reason)

    def lose(self, reason: str) -> None:
        """Nobody knows any more what becomes of the scan."""
        self._end(ScanOutcome.LOST, reason)

    # --- a look ------------------------------------------------------------------------------------------------------

    def _begin(self, view: View, *, trusting: bool = True) -> None:
        """Take a look for the first one; a scan is told once something has changed since."""
        self._setup = view.setup
        self._progress = Progress(view.forward, view.backward, trusting=trusting)
        self._judge.next_scan()

    def _goes_on(self, view: View, progress: Progress, *, over: bool) -> None:
        mirrored = None if self._judge.assumed else self._judge.mirrored
        look = progress.look(view.forward, view.backward, mirrored=mirrored, over=over)
        if progress.first is not None:
            self._tell(view.setup, progress, look, last=over or look.restarted)
        if look.restarted:
            outcome = self._outcome(progress, last_lines_seen=not look.wiped)
            self._end(outcome, self._reason(outcome, progress, "another scan was begun in its place"))
            self._begin(view)
        elif progress.complete and self.saved:
            self._end(ScanOutcome.FINISHED)
            self._begin(view)

    def _tell(self, setup: Setup, progress: Progress, look: Look, *, last: bool) -> None:
        if self._told is None:
            self._told = ToldScan(setup, self._notes(progress), progress, self._judge)
            self._events.append(self._told.start)
        known = self._judge.mirrored is not None
        self._events += self._told.lines(look.lines, last=last)
        if not known and self._judge.assumed:
            self._faults.append("nothing shows whether backward lines come mirrored; they are taken as they come")
        for line in self._told.new_gaps():
            self._faults.append(f"scan {self._told.name}: line {line} never came")

    def _notes(self, progress: Progress) -> ScanNotes:
        self._scans += 1
        now, line = self._now(), progress.first or 0
        known = self.circumstances
        return ScanNotes(
            scan=f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03d}-{self._scans}",
            sender=self._sender,
            started=now - timedelta(seconds=min(line * (known.line_s or 0.0), _LONGEST_SCAN_S)),
            line_s=known.line_s,
            instrument=known.instrument,
            session_path=known.session_path,
            warnings=(f"found running in line {line} of {progress.lines}",) if line > 1 else (),
        )

    def _changed(self, view: View, before: Setup, progress: Progress) -> None:
        """The frame is another one now.

        Where the buffer is as it was, the scan goes on with another frame: what is in it belongs to the one before.
        Else it was begun anew.
        """
        goes_on = (
            self._told is not None
            and view.forward.shape == (progress.lines, before.geometry.columns)
            and (before.direction, before.name, before.unit) == (view.setup.direction, view.setup.name, view.setup.unit)
            and progress.unchanged(view.forward, view.backward)
        )
        outcome = self._outcome(progress, last_lines_seen=goes_on)
        self._end(outcome, self._reason(outcome, progress, f"the scan was changed: {before.changed_to(view.setup)}"))
        self._begin(view, trusting=not goes_on)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _outcome(self, progress: Progress, *, last_lines_seen: bool) -> ScanOutcome:
        """How a scan has ended that another one took the place of.

        Where its last lines were overwritten before they were seen, the time tells whether it can have got to its end.
        """
        known = self.circumstances
        if progress.complete:
            return ScanOutcome.FINISHED
        if known.away:
            return ScanOutcome.LOST
        if last_lines_seen:
            return ScanOutcome.STOPPED
        unseen = progress.lines - 1 - progress.begun
        in_time = known.line_s is not None and unseen * known.line_s <= _TIME_SLACK * known.since_look_s
        return ScanOutcome.FINISHED if in_time or (self.saved and unseen <= _LAST_LINES) else ScanOutcome.STOPPED

    def _reason(self, outcome: ScanOutcome, progress: Progress, cause: str) -> str:
        if outcome is not ScanOutcome.FINISHED:
            return cause
        return "" if progress.complete else f"its last {progress.left} lines were overwritten before they were seen"

    def _end(self, outcome: ScanOutcome, reason: str = "") -> None:
        """Tell the end of the scan, if its beginning was told, and forget it."""
        told, saved = self._told, self._saved
        self._forget()
        if told is None:
            return
        self._events += told.rest()
        if reason:
            self._faults.append(f"scan {told.name}: {reason}")
        self._last_saved = saved or self._last_saved
        self._events.append(told.end(outcome, saved))

    def _forget(self) -> None:
        self._setup, self._progress, self._told, self._saved = None, None, None, ""
