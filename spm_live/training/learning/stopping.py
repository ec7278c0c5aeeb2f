"""When to stop: because nothing gets better, or because somebody says so."""

from __future__ import annotations

import logging
import signal
import threading
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Best:
    """The best look so far, and how long ago anything was gained.

    Parameters
    ----------
    step : int
        Steps done at it; -1 before the first. Of equal looks the last: its weights have learnt longer.
    score : float
        Of that look.
    mark : float
        What a look must beat to be a gain.
    poor : int
        Looks since the last gain.
    """

    step: int = -1
    score: float = float("-inf")
    mark: float = float("-inf")
    poor: int = 0

    def look(self, step: int, score: float, least_gain: float = 0.0) -> bool:
        """Take in a look; True if it is the best. A score that is not a number counts as the worst."""
        score = score if score == score else float("-inf")
        if self.step < 0 or score > self.mark + least_gain:
            self.mark, self.poor = score, 0
        else:
            self.poor += 1
        if score < self.score:
            return False
        self.step, self.score = step, score
        return True


class StopRequest:
    """Ctrl-C, or SIGTERM, asks for an end after the step in hand; a second Ctrl-C does not wait.

    Outside of the main thread signals cannot be taken over; there it only carries :meth:`ask`.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for one in (signal.SIGINT, signal.SIGTERM):
                self._before[one] = signal.signal(one, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)
        self._before.clear()

    @property
    def asked(self) -> bool:
        """Whether training is to end."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Ask for an end."""
        self._asked.set()

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()
        logger.warning("%s: ending after this step; once more to end at once", signal.Signals(number).name)
