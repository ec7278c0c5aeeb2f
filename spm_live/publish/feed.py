"""Hands every message to everyone who listens, and lets nobody slow the others."""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from spm_live.publish.message import Message

LIVE = "live"
"""Kind of the messages that may be overtaken: see :class:`Feed`."""
MAX_LIVE_WAITING = 64
"""Scans in progress whose newest state may wait for one listener."""


class Feed:
    """Fan-out of messages to the publishers of one process.

    Messages are numbered, so that a listener sees what it missed. Those of kind ``"live"`` are not: a scan in progress
    is told several times a second and only its newest state matters, so the newer takes the place of the older that
    still waits. They carry the number of the message before them, their own ``revision`` tells their order, and they
    never push a numbered message out of a queue.

    Parameters
    ----------
    run : str, optional
        Names this run of the daemon; a random one by default. A listener that sees it change knows that the daemon
        was started anew and that ``seq`` counts from 1 again.

    Examples
    --------
    >>> feed = Feed(run="a")
    >>> with feed.subscribe(maxsize=8) as subscription:
    ...     _ = feed.publish("status", {"state": "running"})
    ...     subscription.get(timeout=1)
    {'state': 'running', 'type': 'status', 'run': 'a', 'seq': 1}
    """

    def __init__(self, run: str | None = None) -> None:
        self.run = run if run is not None else secrets.token_hex(8)
        self._lock = threading.Lock()
        self._seq = 0
        self._subscriptions: list[Subscription] = []

    @property
    def seq(self) -> int:
        """Number of the last message published; 0 before the first."""
        with self._lock:
            return self._seq

    def publish(self, kind: str, body: dict[str, Any]) -> Message:
        """Stamp a message with its kind, run and number and hand it to every subscription; never waits for one.

        Parameters
        ----------
        kind : str
            ``"frame"``, ``"fault"``, ``"status"``, ``"live"``, ...
        body : dict
            The message; not changed. One of kind ``"live"`` names its scan by ``key``.

        Returns
        -------
        dict
            What was handed out. All listeners share it: none may change it.
        """
        with self._lock:
            if kind != LIVE:
                self._seq += 1
            message = {**body, "type": kind, "run": self.run, "seq": self._seq}
            subscriptions = tuple(self._subscriptions)
            # Put while the lock is held, so that every listener sees the numbers in order.
            for subscription in subscriptions:
                subscription._put(message)
        for subscription in subscriptions:
            if subscription.wake is not None:
                subscription.wake()
        return message

    def subscribe(self, maxsize: int, wake: Callable[[], None] | None = None) -> Subscription:
        """Listen from now on.

        Parameters
        ----------
        maxsize : int
            Messages that may wait; when there are more, the oldest is dropped and counted. Of every scan in progress
            one more may wait.
        wake : callable, optional
            Called after each message, in the publisher's thread, for listeners that wait on something else (an event
            loop, a socket). It must return at once and not raise.

        Raises
        ------
        ValueError
            If nothing could ever wait.
        """
        if maxsize < 1:
            raise ValueError(f"a subscription of {maxsize} messages")
        subscription = Subscription(self, maxsize, wake)
        with self._lock:
            self._subscriptions.append(subscription)
        return subscription

    def _forget(self, subscription: Subscription) -> None:
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)


class Subscription:
    """One listener's queue; made by :meth:`Feed.subscribe`."""

    def __init__(self, feed: Feed, maxsize: int, wake: Callable[[], None] | None) -> None:
        self.wake = wake
        self._feed = feed
        self._waiting: deque[Message] = deque(maxlen=maxsize)
        self._live: dict[str, Message] = {}  # by key; in the order in which they began to wait
        self._changed = threading.Condition()
        self._dropped = 0
        self._replaced = 0
        self._closed = False

    @property
    def dropped(self) -> int:
        """Numbered messages that were overtaken because this listener was too slow."""
        with self._changed:
            return self._dropped

    @property
    def replaced(self) -> int:
        """States of scans in progress that a newer one took the place of; nothing is missed by that."""
        with self._changed:
            return self._replaced

    @property
    def closed(self) -> bool:
        """Whether nothing more will come; what already waits can still be taken."""
        with self._changed:
            return self._closed

    def get(self, timeout: float | None = None) -> Message | None:
        """Take the oldest message that waits; states of scans in progress come after the numbered ones.

        Parameters
        ----------
        timeout : float or None
            Longest wait, in s; 0 does not wait; None waits until there is a message or the subscription is closed.

        Returns
        -------
        dict or None
            None when nothing came in time, or when the subscription is closed and empty.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._live or self._closed, timeout)
            if self._waiting:
                return self._waiting.popleft()
            return self._live.pop(next(iter(self._live))) if self._live else None

    def close(self) -> None:
        """Stop listening, and wake whoever waits in :meth:`get`."""
        self._feed._forget(self)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _put(self, message: Message) -> None:
        with self._changed:
            if message["type"] == LIVE:
                self._put_live(message)
            else:
                if len(self._waiting) == self._waiting.maxlen:
                    self._dropped += 1
                self._waiting.append(message)
            self._changed.notify()

    def _put_live(self, message: Message) -> None:
        key = message["key"]
        if key in self._live or len(self._live) >= MAX_LIVE_WAITING:
            self._replaced += 1
        if key not in self._live and len(self._live) >= MAX_LIVE_WAITING:
            del self._live[next(iter(self._live))]
        self._live[key] = message  # in the place of the older one: a scan told often does not fall behind the others

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
