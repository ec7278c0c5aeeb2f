"""While the tip scans: what a controller is doing goes to the receiver line by line, on a connection of its own.

Nothing of this is spooled. A finished scan arrives as a file anyway; a receiver that was away is told the scan in
progress anew, its start and all of its lines.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Protocol, Self

from spm_live_drivers.agent.link import Link
from spm_live_drivers.agent.settings import SocketKind, StreamSettings, check_stream
from spm_live_drivers.agent.telling import Telling
from spm_live_drivers.growing import GrowingError, GrowingEvent, ScanEnd, ScanOutcome, ScanStart
from spm_live_drivers.nanonis.watch import ScanWatch
from spm_live_drivers.wire_growing import encode_event
from spm_live_drivers.wire_receipt import Result

logger = logging.getLogger(__name__)

_TICK_S = 0.2
_RETRY_S = 2.0
"""Time between two tries while the receiver is away, puts us off, or does not know the scan, in s."""
_PACE_S = 0.02
"""Time between two messages to a socket that gives no receipts, in s: it drops what it cannot pass on at once."""
_MOST_SCANS = 2
"""Scans that are kept: the newest, and the one before while it is not told to its end."""
_LAST_STEPS = 10


class Watch(Protocol):
    """Who is asked what is scanned: :class:`spm_live_drivers.nanonis.watch.ScanWatch`, or a stand-in."""

    trouble: str

    @property
    def next_poll_s(self) -> float:
        """When to ask again, in s from now."""
        ...

    def poll(self) -> Sequence[GrowingEvent]:
        """What happened since the last time."""
        ...

    def faults(self) -> Sequence[str]:
        """What went wrong since the last time."""
        ...

    def close(self) -> None:
        """End the connection to the instrument."""
        ...


class ScanStream:
    """Tells the receiver of the scan in progress; a context manager.

    Parameters
    ----------
    settings : StreamSettings
        Which controller, and where to.
    watch : Watch or None
        Who is asked; None: the controller of the settings. It is closed at the end.
    clock : callable
        Monotonic time in s.
    retry_s : float
        Time between two tries while the receiver is away, puts us off, or does not know the scan, in s.

    Raises
    ------
    AgentSetupError
        If the settings or the socket are no good.
    """

    def __init__(
        self,
        settings: StreamSettings,
        watch: Watch | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        retry_s: float = _RETRY_S,
    ) -> None:
        check_stream(settings)
        self.name = settings.name
        self._settings, self._clock, self._retry_s = settings, clock, retry_s
        self._session, self._sequence = secrets.token_hex(8), 0
        self._scans: deque[Telling] = deque()
        self._sent: tuple[Telling, GrowingEvent] | None = None
        self._next_poll = self._next_send = 0.0
        self._next_repeat = clock() + settings.repeat_s
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._trouble = ""
        self._away = False
        self.counters = dict.fromkeys(("scans", "told", "anew", "refused", "dropped"), 0)
        with ExitStack() as stack:
            self._watch = watch if watch is not None else _watch_for(settings)
            stack.callback(self._watch.close)
            self._link = stack.enter_context(Link(settings, clock))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close both connections."""
        self._stack.close()

    def stop(self) -> None:
        """Ask :meth:`run` to end; for signal handlers and other threads."""
        self._stopping.set()
        self._wake.set()

    def run(self) -> None:
        """Work until stopped; then say that the scan in progress is not followed any more."""
        while not self._stopping.is_set():
            self.step(_TICK_S)
        for scan in self._scans:
            scan.take(ScanEnd(scan.start.scan, ScanOutcome.LOST))
        for _ in range(_LAST_STEPS):
            self._next_send = 0.0
            if not self._link.in_flight and not self._send():
                break
            self._hear(_TICK_S / 2)

    def step(self, wait_s: float) -> None:
        """Ask the instrument if it is time, tell what can be told, then wait, at most ``wait_s``."""
        if self._clock() >= self._next_poll:
            self._ask()
        wait_s = max(0.0, min(wait_s, self._next_poll - self._clock()))
        if self._link.in_flight or self._send():
            self._hear(wait_s)
        else:
            pause_s = self._next_send - self._clock()
            self._wake.wait(min(wait_s, pause_s) if pause_s > 0 else wait_s)

    # --- from the instrument -----------------------------------------------------------------------------------------

    def _ask(self) -> None:
        for event in self._watch.poll():
            try:
                self._take(event)
            except GrowingError as error:
                logger.warning("%s: scan %s: %s; it is not followed any more", self._settings.name, event.scan, error)
        if self._watch.trouble != self._trouble:
            self._trouble = self._watch.trouble
            logger.warning("%s: %s", self._settings.name, self._trouble or "answers again")
        for fault in self._watch.faults():
            if fault != self._trouble:  # said just now
                logger.warning("%s: %s", self._settings.name, fault)
        self._next_poll = self._clock() + self._watch.next_poll_s

    def _take(self, event: GrowingEvent) -> None:
        if isinstance(event, ScanStart):
            if self._scans and self._scans[-1].start.scan == event.scan:
                return
            scan = Telling(event)
            self.counters["scans"] += 1
            self._scans.append(scan)
            if len(self._scans) > _MOST_SCANS:
                self._drop(self._scans[0])
            self._next_repeat = self._clock() + self._settings.repeat_s
            return
        for scan in self._scans:
            if scan.start.scan == event.scan:
                scan.take(event)

    # --- to the receiver ---------------------------------------------------------------------------------------------

    def _send(self) -> bool:
        """Tell the next thing, if there is one and the receiver is there; whether something was told."""
        now = self._clock()
        if now < self._next_send:
            return False
        scan = self._first()
        event = scan.next() if scan is not None else None
        if scan is None or event is None:
            return False
        try:
            parts = encode_event(event, sender=self._settings.sender, session=self._session, sequence=self._sequence)
        except ValueError as error:
            logger.error("%s: scan %s cannot be told: %s", self._settings.name, event.scan, error)
            self._drop(scan)
            return False
        result = self._link.send(parts, self._session, self._sequence)
        if result is Result.LATER:
            self._postpone("the receiver is not there")
            return False
        self._sequence += 1
        if result is None:
            self._sent = scan, event
        else:
            self._conclude(scan, event, result, "")
            self._next_send = now + _PACE_S
        return True

    def _hear(self, wait_s: float) -> None:
        """Wait for the receipt of what was told."""
        receipt = self._link.receipt(wait_s)
        if receipt is not None and self._sent is not None:
            (scan, event), self._sent = self._sent, None
            self._conclude(scan, event, receipt.result, receipt.reason)

    def _conclude(self, scan: Telling, event: GrowingEvent, result: Result, reason: str) -> None:
        if result is Result.LATER:
            self._postpone(reason)
            return
        if self._away:
            self._away = False
            logger.info("%s: the receiver is there again", self._settings.to)
        if result is Result.REFUSED:
            self.counters["refused"] += 1
            logger.error("%s: scan %s is refused: %s", self._settings.to, event.scan, reason)
            self._drop(scan)
        elif result is not Result.UNKNOWN:
            self.counters["told"] += 1
            scan.told(event)
        elif scan is self._scans[-1]:
            self.counters["anew"] += 1
            scan.tell_anew()
            self._next_send = self._clock() + self._retry_s
        else:
            self._drop(scan)

    def _first(self) -> Telling | None:
        """The scan that is told of now: the one before the newest is told to its end first."""
        while len(self._scans) > 1 and self._scans[0].next() is None:
            self._scans.popleft()
        if not self._scans:
            return None
        scan = self._scans[-1]
        if self._settings.socket is not SocketKind.AGENT and self._clock() >= self._next_repeat and not scan.over:
            self._next_repeat = self._clock() + self._settings.repeat_s  # for those who joined late
            scan.tell_anew()
        return self._scans[0]

    def _drop(self, scan: Telling) -> None:
        """Tell no more of a scan; the newest is kept, so that its further lines are known to be of it."""
        self.counters["dropped"] += 1
        scan.dropped = True
        if scan is not self._scans[-1] and scan in self._scans:
            self._scans.remove(scan)

    def _postpone(self, reason: str) -> None:
        self._next_send = self._clock() + self._retry_s
        if not self._away:
            self._away = True
            logger.warning("%s: %s; scans in progress are told once it is there", self._settings.to, reason)


def _watch_for(settings: StreamSettings) -> Watch:
    return ScanWatch(
        settings.host, settings.port, sender=settings.sender, channel=settings.channel, backward=settings.backward
    )
