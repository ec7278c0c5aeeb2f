"""Things that the simulated instrument has still to do after a scan is over."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable

logger = logging.getLogger(__name__)


class LateActs:
    """Acts that are done at their time, one after another in the order in which they were owed.

    Parameters
    ----------
    clock : callable
        Time in s, never going back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._owed: deque[tuple[float, str, Callable[[], object]]] = deque()

    def __bool__(self) -> bool:
        """Whether something has still to be done."""
        return bool(self._owed)

    def owe(self, after_s: float, what: str, act: Callable[[], object]) -> None:
        """Take over an act.

        Parameters
        ----------
        after_s : float
            How long it is due from now on, in s; it also waits for those that were owed before it.
        what : str
            Logged when it is done; empty: nothing is.
        act : callable
            Does it.
        """
        self._owed.append((self._clock() + after_s, what, act))

    def due_in_s(self) -> float:
        """How long nothing is due, in s; infinite where nothing is owed."""
        return max(0.0, self._owed[0][0] - self._clock()) if self._owed else math.inf

    def do_due(self) -> None:
        """Do all that is due.

        Raises
        ------
        OSError
            If a file cannot be written.
        """
        while self._owed and self.due_in_s() <= 0:
            self._do_next()

    def do_all(self) -> None:
        """Do all that is owed, due or not; raises as :meth:`do_due`."""
        while self._owed:
            self._do_next()

    def _do_next(self) -> None:
        _, what, act = self._owed.popleft()
        act()
        if what:
            logger.info("%s", what)
