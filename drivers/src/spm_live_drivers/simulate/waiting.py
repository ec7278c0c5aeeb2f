"""How long somebody waits for the simulated scan."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

LONGEST_WAIT_S = 0.2
"""Whoever waits for the scan looks at the clock at least this often; a stepped clock does not tell anybody."""

SHORTEST_WAIT_S = 0.001
"""And no more often than that."""


class Deadline:
    """The end of a wait, by the clock of the scan or by the real one, whichever comes first.

    A client measures its own patience by the real one: where the clock of the scan is stepped, it must not wait for
    ever. None: there is no end.
    """

    def __init__(self, clock: Callable[[], float], timeout_s: float | None) -> None:
        self._ends = [] if timeout_s is None else [(one, one() + timeout_s) for one in (clock, time.monotonic)]

    def left_s(self) -> float:
        """Time to the end, in s; infinite where there is none."""
        return min((end_s - clock() for clock, end_s in self._ends), default=math.inf)
