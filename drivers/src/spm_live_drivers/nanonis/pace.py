"""When a controller is asked again: for data at most once a line, and just after one where the controller says so."""

from __future__ import annotations

from collections.abc import Callable

_LATER = 1.1
"""Without a word from the controller, looks come this much later than lines: they drift until the end of one is met."""


class Pace:
    """Plans visits (short questions) and looks (data).

    Parameters
    ----------
    poll_s : float
        Least time between two visits, in s.
    wait_s : float
        How long a visit may wait for the controller to say that a line or scan has ended, in s.
    clock : callable
        Monotonic time in s.
    """

    def __init__(self, poll_s: float, wait_s: float, clock: Callable[[], float]) -> None:
        self.poll_s, self.wait_s = poll_s, wait_s
        self._clock = clock
        self._visit = self._look = clock()
        self._last_look: float | None = None

    @property
    def since_look_s(self) -> float:
        """Time since data were last asked for, in s; 0 where they never were."""
        return 0.0 if self._last_look is None else self._clock() - self._last_look

    @property
    def next_visit_s(self) -> float:
        """Time until the next visit, in s."""
        return max(0.0, self._visit - self._clock())

    @property
    def visit_due(self) -> bool:
        """Whether it is time for a visit."""
        return self._clock() >= self._visit

    @property
    def look_due(self) -> bool:
        """Whether data may be asked for again without a word from the controller."""
        return self._clock() >= self._look

    def wait_for(self, line_s: float | None) -> float:
        """How long to wait at most within a visit, in s."""
        return self.wait_s if line_s is None else min(self.wait_s, line_s)

    def looked(self, line_s: float | None, *, waiting: bool, met: bool) -> None:
        """Data were asked for: plan the next time.

        Parameters
        ----------
        line_s : float or None
            Time from one line to the next.
        waiting : bool
            Whether the next visit waits for the end of a line: it comes so much earlier.
        met : bool
            Whether this one came with the end of a line.
        """
        now, line = self._clock(), line_s or 0.0
        self._last_look = now
        self._look = now + max(self.poll_s, line if met or not waiting else _LATER * line)
        early = self.wait_for(line_s) * (0.5 if met else 1.0) if waiting else 0.0
        self._visit = self._look - early

    def again_in(self, seconds: float) -> None:
        """Visit again after so long."""
        self._visit = self._clock() + seconds

    def idle(self) -> None:
        """Nothing to wait for: visit again after the least time."""
        self.again_in(self.poll_s)
