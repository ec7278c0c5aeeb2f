"""Hands the files of the inbox, and the faults of the receiver, to the daemon."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from spm_live.domain import Fault, ReadOptions
from spm_live.sources import Arrival, Known, Put, Report, StoppedError
from spm_live.sources.inbox import Inbox

logger = logging.getLogger(__name__)

_PENDING_FAULTS = 100


class Courier:
    """A thread that may be blocked by the daemon, so that the one that receives never is.

    Parameters
    ----------
    name : str
        Of the source, for its arrivals.
    inbox : Inbox
        What an earlier run left there is handed over first.
    clock : callable
        Monotonic time in s.
    """

    def __init__(self, name: str, inbox: Inbox, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._inbox = inbox
        self._clock = clock
        self._arrivals: deque[Path] = deque()  # as many as the inbox holds
        self._faults: deque[Fault] = deque(maxlen=_PENDING_FAULTS)
        self._news = threading.Event()
        self._stopping = threading.Event()
        self.backlog = 0
        """Files that an earlier run left."""

    def bring(self, path: Path) -> None:
        """Take a file to be handed over."""
        self._arrivals.append(path)
        self._news.set()

    def tell(self, fault: Fault) -> None:
        """Take a fault to be reported."""
        self._faults.append(fault)
        self._news.set()

    def stop(self) -> None:
        """End :meth:`run` as soon as the daemon lets go of it."""
        self._stopping.set()
        self._news.set()

    def give_back(self) -> None:
        """Leave to the next run what was not handed over; call it once nothing is received any more."""
        while self._arrivals:
            self._inbox.release(self._arrivals.popleft())

    def run(self, put: Put, report: Report, known: Known) -> None:
        """Hand over until stopped: what the thread does."""
        try:
            for path in self._inbox.claim_backlog():
                self.backlog += 1
                self._arrivals.append(path)
            self._news.set()
            while not self._stopping.is_set():
                if self._news.wait(1.0):
                    self._news.clear()
                    self._deliver(put, report, known)
        except StoppedError:
            pass

    def _deliver(self, put: Put, report: Report, known: Known) -> None:
        while (self._arrivals or self._faults) and not self._stopping.is_set():
            if self._faults:
                report(self._faults.popleft())
            if self._arrivals:
                self._put(self._arrivals.popleft(), put, known)

    def _put(self, path: Path, put: Put, known: Known) -> None:
        """Hand over one file, unless an earlier run was done with it and died before it removed it."""
        try:
            stat = path.stat()
            if known(path, stat.st_size, stat.st_mtime_ns):
                path.unlink()
                return
        except FileNotFoundError:
            return
        except OSError as error:
            logger.error("%s: %s (%s); it is tried again at the next start", self._name, path, error.strerror or error)
            return
        arrival = Arrival(
            path=path,
            size=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            options=ReadOptions(),
            origin=self._name,
            delete_when_done=True,
            ready_s=self._clock(),
            sha256=path.stem,
        )
        try:
            put(arrival)
        except StoppedError:
            self._inbox.release(path)
            raise
