"""Counts what was lost on the way, and keeps a flood of faults from filling the store."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

from spm_live_drivers.wire import Envelope

_SENDERS = 1000
"""Sessions that are followed; the one that was silent longest is forgotten first."""


class SequenceLog:
    """Follows the sequence numbers of every session of every sender."""

    def __init__(self) -> None:
        self._expected: OrderedDict[tuple[str, str], int] = OrderedDict()

    def missed(self, envelope: Envelope) -> int:
        """How many messages are missing between the last one of this session and this one.

        0 for the first message of a session, since a subscriber may come late, and for one that was sent again. A
        sender that names no session and begins again with a smaller number has been restarted.
        """
        key = (envelope.sender, envelope.session)
        expected = self._expected.pop(key, envelope.sequence)
        following = envelope.sequence + 1
        self._expected[key] = max(expected, following) if envelope.session else following
        if len(self._expected) > _SENDERS:
            self._expected.popitem(last=False)
        return max(0, envelope.sequence - expected)


class FaultRate:
    """Lets through a few faults in a while, and counts the others.

    Parameters
    ----------
    most : int
        Faults let through in any window.
    window_s : float
        Length of the window, in s.
    clock : callable
        Monotonic time in s.
    """

    def __init__(self, most: int = 10, window_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._window_s = window_s
        self._clock = clock
        self._times: deque[float] = deque(maxlen=most)
        self._withheld = 0

    def admit(self) -> int | None:
        """Ask for one fault.

        Returns
        -------
        int or None
            None if it must be withheld; else how many were withheld since the last one that was let through.
        """
        now = self._clock()
        if len(self._times) == self._times.maxlen and now - self._times[0] < self._window_s:
            self._withheld += 1
            return None
        self._times.append(now)
        withheld, self._withheld = self._withheld, 0
        return withheld
