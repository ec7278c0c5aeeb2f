"""Watches what a Nanonis controller scans, and tells it as events.

A look asks for the data of the frame, at most once a line; :mod:`spm_live_drivers.nanonis.follow` finds what is new in
them. Whatever goes wrong, the connection is opened anew and the scan goes on if it is still the same one.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from spm_live_drivers.growing import GrowingEvent
from spm_live_drivers.nanonis.channels import ChannelFinder, answer_of
from spm_live_drivers.nanonis.client import NanonisClient
from spm_live_drivers.nanonis.errors import CommandRefusedError, LinkError, NanonisError, UnsettledError
from spm_live_drivers.nanonis.follow import Follower
from spm_live_drivers.nanonis.pace import Pace
from spm_live_drivers.nanonis.replies import EndOfLine, Movement
from spm_live_drivers.nanonis.view import Asked, look_at

Answer = TypeVar("Answer")

_WAIT_S = 0.25
"""A poll waits so long at most for a line or the scan to end, in s."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 15.0
_LOST_AFTER_S = 120.0
_SLOW_LINE_S = 1.0
_LINES_UNSEEN, _LONGEST_UNSEEN_S = 4, 0.4
"""While the end of a scan is waited for, data of quicker lines are left until then, unless it takes longer."""
_MOST_FAULTS = 1000
_FAILURES_ARE_LOSS = 5
_TRIES = 2
"""So many connections may break on a call that can be done without, before it is done without."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class ScanWatch:
    """Asks one controller again and again; for one thread. It owns a connection of its own.

    Parameters
    ----------
    host, port : str and int
        Where the controller listens.
    sender : str
        Name of the instrument; ``ref.source`` of frames is sender and scan.
    channel : str
        Channel by name, with or without its unit.
    backward : bool
        Whether the backward trace is told too.
    poll_s : float
        Least time between two questions, in s.
    timeout_s : float
        How long a poll may take, all questions together, in s; a large frame gets a second more per MiB.
    clock : callable
        Monotonic time in s.
    now : callable
        Time of day, timezone-aware: scans are named by it.

    Examples
    --------
    ::

        watch = ScanWatch("127.0.0.1", 6501, sender="stm")
        while True:
            for event in watch.poll():
                ...
            time.sleep(watch.next_poll_s)
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        sender: str,
        channel: str = "Z",
        backward: bool = True,
        poll_s: float = 0.5,
        timeout_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.trouble = ""
        """What is wrong at the moment; empty while all is well."""
        self._client = NanonisClient(host, port, timeout_s=timeout_s)
        self._timeout_s, self._backward, self._clock = timeout_s, backward, clock
        self._pace = Pace(poll_s, min(_WAIT_S, timeout_s / 4), clock)
        self._finder = ChannelFinder(channel)
        self._follower = Follower(sender, now)
        self._faults: deque[str] = deque(maxlen=_MOST_FAULTS)
        self._broken: Counter[str] = Counter()
        self._layouts: set[str] = set()
        self._failures = self._unsettled = 0
        self._away_since: float | None = None
        self._asked: Asked | None = None

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    @property
    def next_poll_s(self) -> float:
        """When to ask again, in s from now."""
        return self._pace.next_visit_s

    def faults(self) -> list[str]:
        """What went wrong since this was last asked, a sentence each."""
        found = list(self._faults)
        self._faults.clear()
        return found

    def poll(self) -> list[GrowingEvent]:
        """Ask what has happened.

        Returns
        -------
        list of GrowingEvent
            Empty, too, where it is not time yet, or the controller cannot be asked; ``trouble`` says why.
        """
        if not self._pace.visit_due:
            return []
        self._client.finish_within(self._timeout_s)
        try:
            self._visit()
        except LinkError as error:
            self._link_lost(error)
        except UnsettledError as error:
            self._not_settled(error)
        except NanonisError as error:
            self._cannot_look(error)
        else:
            self.trouble, self._failures, self._unsettled, self._away_since = "", 0, 0, None
        self._faults += self._follower.faults()
        self._note_layouts()
        return self._follower.events()

    # --- one visit ---------------------------------------------------------------------------------------------------

    def _visit(self) -> None:
        if not self._client.scan_status():
            if self._follower.looking:
                self._scan_is_over()
            self._pace.idle()
            return
        began = self._clock()
        met = self._wait()
        looks = met or (self._pace.look_due and not self._waits_without_a_look)
        if looks:
            self._look(at_once=met)
            self._pace.looked(self._line_s, waiting=self._waits_for_lines, met=met)
        else:
            self._pace.idle()
        if self._waits_for_scan:
            waited_s = self._pace.wait_for(self._line_s) if looks else self._clock() - began
            self._pace.again_in(max(0.0, self._pace.wait_for(self._line_s) - waited_s))

    def _look(self, *, over: bool = False, at_once: bool = False) -> None:
        """Ask for the data, and take them in.

        Parameters
        ----------
        over : bool
            No scan runs any more.
        at_once : bool
            The next scan may overwrite the last lines at any moment: nothing else is asked first.
        """
        known = self._follower.circumstances
        if not at_once:
            known.line_s = self._client.scan_speed().line_s
        before, self._asked = self._asked if at_once else None, None
        view = look_at(self._client, self._finder, backward=self._backward, before=before)
        self._asked = view.asked
        if not known.instrument:
            self._introduce()
        known.away = self._away_since is not None
        known.since_look_s = self._pace.since_look_s
        self._follower.take(view, over=over)

    def _introduce(self) -> None:
        known, version = self._follower.circumstances, self._finder.version
        known.session_path = answer_of(self._client.session_path) or ""
        known.instrument = "Nanonis"
        if version is not None:
            known.instrument = f"{version.product} {version.version} R{version.host_release}".strip()

    def _scan_is_over(self) -> None:
        self._look(over=True)
        if self._follower.following and not self._follower.saved:
            end = self._if_there("Scan.WaitEndOfScan", lambda: self._client.wait_end_of_scan(self._pace.wait_s))
            if end is not None:
                self._follower.note_saved(end.saved_as)
        self._follower.finish()

    # --- waiting -----------------------------------------------------------------------------------------------------

    @property
    def _line_s(self) -> float | None:
        return self._follower.circumstances.line_s

    @property
    def _waits_for_scan(self) -> bool:
        """Whether the scan is about to end: only who waits for that learns where it is saved."""
        return self._follower.near_end and self._broken["Scan.WaitEndOfScan"] < _TRIES

    @property
    def _waits_without_a_look(self) -> bool:
        """Whether a look would take a good part of the time in which the scan ends, and can wait until it has."""
        line_s = self._line_s or 0.0
        unseen_s = max(_LINES_UNSEEN * line_s, _LONGEST_UNSEEN_S)
        return self._waits_for_scan and line_s < _SLOW_LINE_S and self._pace.since_look_s < unseen_s

    @property
    def _waits_for_lines(self) -> bool:
        """Whether waiting for the end of a line is possible and worth it."""
        if self._broken["Scan.WaitEndOfLine"] >= _TRIES or self._line_s is None or not self._follower.following:
            return False
        return self._line_s > max(self._pace.poll_s, 2 * self._pace.wait_s)

    def _wait(self) -> bool:
        """Wait a little for the end of the scan, or of a line; whether it came."""
        limit_s = self._pace.wait_for(self._line_s)
        if self._waits_for_scan:
            end = self._if_there("Scan.WaitEndOfScan", lambda: self._client.wait_end_of_scan(limit_s))
            if end is None or end.timed_out:
                return False
            self._follower.note_saved(end.saved_as)
            return True
        began = self._clock()
        for _ in (Movement.FORWARD, Movement.BACKWARD):
            if not self._waits_for_lines:
                return False
            line = self._end_of_line(limit_s - (self._clock() - began))
            if line is None or line.timed_out:
                return False
            if line.movement != Movement.FORWARD or not self._backward:
                return True
        return False

    def _end_of_line(self, limit_s: float) -> EndOfLine | None:
        return self._if_there("Scan.WaitEndOfLine", lambda: self._client.wait_end_of_line(max(0.0, limit_s)))

    def _if_there(self, command: str, question: Callable[[], Answer]) -> Answer | None:
        """Ask for something that can be done without; a controller that does not have it is not asked again."""
        if self._broken[command] >= _TRIES:
            return None
        try:
            answer = question()
        except (CommandRefusedError, LinkError) as error:
            self._broken[command] += _TRIES if isinstance(error, CommandRefusedError) else 1
            self._fault(f"{error}; {command} is {'done without' if self._broken[command] >= _TRIES else 'tried again'}")
            return None
        self._broken[command] = 0
        return answer

    # --- trouble -----------------------------------------------------------------------------------------------------

    def _link_lost(self, error: LinkError) -> None:
        now = self._clock()
        self._away_since = now if self._away_since is None else self._away_since
        self._finder.forget()
        self._follower.circumstances.instrument = ""
        self._fault(str(error), is_trouble=True)
        if self._follower.following and now - self._away_since > _LOST_AFTER_S:
            self._follower.lose("the controller does not answer any more")
        self._pause()

    def _cannot_look(self, error: NanonisError) -> None:
        """The controller answers, but not what is wanted: the channel is gone, or a call is refused."""
        self._fault(str(error), is_trouble=True)
        self._pause()
        if self._follower.following and self._failures >= _FAILURES_ARE_LOSS:
            self._follower.lose("it cannot be looked at any more")

    def _not_settled(self, error: UnsettledError) -> None:
        """Something is being changed: the next look will find it."""
        self._unsettled += 1
        self._pace.idle()
        self._fault(str(error), is_trouble=self._unsettled >= _FAILURES_ARE_LOSS)
        if self._follower.following and self._unsettled >= _FAILURES_ARE_LOSS:
            self._follower.lose("it cannot be looked at any more")

    def _pause(self) -> None:
        """Ask again later, and later still while it does not help."""
        self._pace.again_in(min(_LONGEST_PAUSE_S, max(self._pace.poll_s, _FIRST_PAUSE_S) * 2.0**self._failures))
        self._failures = min(self._failures + 1, 10)

    def _fault(self, text: str, *, is_trouble: bool = False) -> None:
        """Tell of a fault; trouble that goes on is told once."""
        if not is_trouble or text != self.trouble:
            self._faults.append(text)
        if is_trouble:
            self.trouble = text

    def _note_layouts(self) -> None:
        for name, size in self._client.unknown_bytes.items():
            if name not in self._layouts:
                self._layouts.add(name)
                self._faults.append(f"{name} tells {size} bytes more than is known here; they are passed over")
