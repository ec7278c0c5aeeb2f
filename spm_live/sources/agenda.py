"""What to look at, and when."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class _Date:
    due: float
    queued: float
    """The time its entry in the queue bears; never later than ``due``."""
    ticket: int
    backlog: bool


class Agenda:
    """Names with a date each; what is new goes before what belongs to the backlog.

    A name whose date is put off again and again costs one entry, so that a file that grows for hours costs no memory.

    Examples
    --------
    >>> agenda = Agenda()
    >>> agenda.set("old", 1.0, backlog=True)
    >>> agenda.set("new", 2.0)
    >>> agenda.take(0.5), agenda.take(3.0), agenda.take(3.0), agenda.take(3.0)
    (None, 'new', 'old', None)
    """

    def __init__(self) -> None:
        self._dates: dict[str, _Date] = {}
        self._live: list[tuple[float, int, str]] = []
        self._backlog: list[tuple[float, int, str]] = []
        self._tickets = itertools.count()

    def set(self, name: str, due: float, *, backlog: bool = False) -> None:
        """Enter a name, or give it another date."""
        date = self._dates.get(name)
        if date is None:
            date = self._dates[name] = _Date(due, math.inf, 0, backlog)
        date.due = due
        if due < date.queued:
            self._enter(name, date)

    def due(self, name: str) -> float:
        """The date of a name; infinity for one that is not entered."""
        return self._dates[name].due if name in self._dates else math.inf

    def drop(self, name: str) -> None:
        """Strike a name."""
        self._dates.pop(name, None)

    def next_due(self) -> float:
        """The earliest date, or a time shortly before it; infinity if there is none."""
        for queue in (self._live, self._backlog):
            while queue and self._stale(queue[0]):
                heapq.heappop(queue)
        return min((queue[0][0] for queue in (self._live, self._backlog) if queue), default=math.inf)

    def take(self, now: float) -> str | None:
        """Strike and return a name whose date has come: the earliest new one, else the earliest of the backlog."""
        for queue in (self._live, self._backlog):
            while queue and queue[0][0] <= now:
                entry = heapq.heappop(queue)
                if self._stale(entry):
                    continue
                name = entry[2]
                date = self._dates[name]
                if date.due <= entry[0]:
                    del self._dates[name]
                    return name
                self._enter(name, date)  # it was put off meanwhile: others may go before it
        return None

    def _enter(self, name: str, date: _Date) -> None:
        date.queued, date.ticket = date.due, next(self._tickets)
        heapq.heappush(self._backlog if date.backlog else self._live, (date.due, date.ticket, name))

    def _stale(self, entry: tuple[float, int, str]) -> bool:
        date = self._dates.get(entry[2])
        return date is None or date.ticket != entry[1]
