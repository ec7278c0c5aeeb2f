"""What the daemon knows of itself, kept where other threads can read it."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime

from spm_live.domain import DaemonState, DaemonStatus, ModelIdentity, Processed, SourceStatus

COUNTERS = (
    "frames",
    "molecules",
    "duplicates",
    "faults",
    "retries",
    "quarantined",
    "worker_restarts",
    "live_updates",
    "notices",
)


class StatusBoard:
    """Counters and states, behind one lock.

    Parameters
    ----------
    since : datetime
        Start of the process; timezone-aware, UTC.
    queue_size : int
        How many arrivals may wait.
    """

    def __init__(self, since: datetime, queue_size: int) -> None:
        self._since = since
        self._queue_size = queue_size
        self._lock = threading.Lock()
        self._counters: Counter[str] = Counter(dict.fromkeys(COUNTERS, 0))
        self._state = DaemonState.STARTING
        self._detail = ""
        self._in_hand = ""
        self._lag_s: float | None = None
        self._model: ModelIdentity | None = None

    def enter(self, state: DaemonState, detail: str = "") -> None:
        """Change the state, and say why."""
        with self._lock:
            self._state, self._detail = state, detail

    def leave(self, state: DaemonState) -> None:
        """Go back to running, if this is the state."""
        with self._lock:
            if self._state is state:
                self._state, self._detail = DaemonState.RUNNING, ""

    def use_model(self, identity: ModelIdentity) -> None:
        """Name the model in use."""
        with self._lock:
            self._model = identity

    def take_in_hand(self, source: str) -> None:
        """Name the frame being worked on; empty for none."""
        with self._lock:
            self._in_hand = source

    def count(self, what: str, by: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self._counters[what] += by

    def frame_done(self, processed: Processed, lag_s: float) -> None:
        """Count a frame that was stored."""
        with self._lock:
            self._counters["frames"] += 1
            self._counters["molecules"] += processed.map.total
            self._lag_s = lag_s

    def snapshot(self, sources: tuple[SourceStatus, ...], queued: int) -> DaemonStatus:
        """Everything at one moment."""
        with self._lock:
            return DaemonStatus(
                state=self._state,
                since=self._since,
                detail=self._detail,
                model=self._model,
                sources=sources,
                queued=queued,
                queue_size=self._queue_size,
                in_hand=self._in_hand,
                counters=dict(self._counters),
                lag_s=self._lag_s,
            )
