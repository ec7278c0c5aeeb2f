"""Tells results over ZeroMQ: a PUB socket with every message, a ROUTER socket for those who join late.

How to join without a gap is written in ``docs/reference/messages.md``.
"""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import msgpack
import zmq

from spm_live.domain import DaemonStatus
from spm_live.errors import SetupError
from spm_live.publish.feed import LIVE, Feed, Subscription
from spm_live.publish.history import History
from spm_live.publish.live_message import LiveView, NoticeLog
from spm_live.publish.message import Message, status_message
from spm_live.publish.snapshot import MAX_REQUEST_BYTES, answer
from spm_live.publish.zap import ZAP_DOMAIN, ZAP_ENDPOINT, zap_reply
from spm_live.settings import PublishSettings

logger = logging.getLogger(__name__)

FEED_WAITING = 1000
"""Messages of the feed that may wait for the sending thread."""
PEER_WAITING = 200
"""Messages that may wait for one slow peer; then it loses the newest, and sees so in ``seq``."""
PER_ROUND = 100
"""Peers that are heard before messages are sent again: a flood of them must not hold up the rest."""
POLL_MS = 200
STOP_S = 2.0
PLAIN_BYTES = 255
"""Longest password of PLAIN (rfc.zeromq.org/spec/24)."""
HEARTBEAT_MS = 5_000
"""A peer that does not answer three of these is taken for gone, and what waits for it is let go."""


@dataclass(frozen=True, slots=True)
class _Sockets:
    publish: zmq.Socket[bytes]
    snapshots: zmq.Socket[bytes]
    zap: zmq.Socket[bytes]


class ZeroMQPublisher:
    """Publishes a feed, from threads of its own.

    Without CURVE keys, the PUB socket asks for PLAIN with user name ``spm-live`` and the token as password, and a
    snapshot request carries the token. With keys, both sockets are encrypted.

    Parameters
    ----------
    settings : PublishSettings
        Endpoints and keys. Port ``*`` takes any free one; see :attr:`endpoint`.
    feed : Feed
        What is told.
    store : Store
        Where snapshots are read from.
    status : callable
        Tells how the daemon stands; called from the threads made here.
    token : str
        What a client must know.
    live : LiveView or None
        The scans in progress, for snapshots.
    notices : NoticeLog or None
        The newest notices, for snapshots.
    """

    def __init__(
        self,
        settings: PublishSettings,
        feed: Feed,
        store: History,
        status: Callable[[], DaemonStatus],
        token: str,
        *,
        live: LiveView | None = None,
        notices: NoticeLog | None = None,
    ) -> None:
        self._settings = settings
        self._feed = feed
        self._store = store
        self._status = status
        self._token = token
        self._live = live
        self._notices = notices
        self._stopping = threading.Event()
        self._counts: Counter[str] = Counter()
        self._counts_lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._open = ExitStack()
        self.endpoint = settings.endpoint
        """Where the PUB socket listens; the true port once started."""
        self.snapshot_endpoint = settings.snapshot_endpoint
        """Where the ROUTER socket listens."""

    def start(self) -> None:
        """Open the sockets and begin.

        Raises
        ------
        SetupError
            If an endpoint cannot be bound (both are named where both fail), or the token is too long.
        """
        if self._settings.curve is None and len(self._token.encode("utf-8")) > PLAIN_BYTES:
            raise SetupError(f"web.token: ZeroMQ carries at most {PLAIN_BYTES} bytes; choose a shorter one")
        with ExitStack() as opening:
            context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
            opening.callback(context.term)
            sockets = self._bind(context, opening)
            alarm, heard = socket.socketpair()
            for end in (alarm, heard):
                opening.callback(end.close)
                end.setblocking(False)
            subscription = self._feed.subscribe(FEED_WAITING, wake=lambda: _ring(alarm))
            opening.callback(subscription.close)
            self._open = opening.pop_all()
        loops: dict[str, Callable[[], None]] = {
            "spm-live-publisher": lambda: self._publish(sockets, subscription, heard),
            "spm-live-snapshots": lambda: self._answer(sockets.snapshots),
        }
        self._threads = [threading.Thread(target=loop, name=name) for name, loop in loops.items()]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End within 2 s; what is still to be sent is let go. Does nothing if it was never started."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(STOP_S)
        if any(thread.is_alive() for thread in self._threads):
            # Closing a socket under a running thread crashes libzmq: better to leave it open and say so.
            logger.error("the ZeroMQ publisher did not stop within %g s", STOP_S)
            return
        self._open.close()

    def counters(self) -> dict[str, int]:
        """Tell what was done and refused.

        Returns
        -------
        dict
            ``published``, ``overtaken`` (not sent because this thread was too slow), ``snapshots``, ``refused`` (wrong
            token or key), ``malformed`` and ``failed`` (store not readable).
        """
        names = ("published", "overtaken", "snapshots", "refused", "malformed", "failed")
        with self._counts_lock:
            return {name: self._counts[name] for name in names}

    def _bind(self, context: zmq.Context[zmq.Socket[bytes]], opening: ExitStack) -> _Sockets:
        def made(kind: int) -> zmq.Socket[bytes]:
            made = context.socket(kind)
            opening.callback(made.close, 0)
            made.set(zmq.LINGER, 0)
            return made

        zap = made(zmq.REP)
        zap.bind(ZAP_ENDPOINT)  # before any socket that asks it
        publish, snapshots = made(zmq.XPUB), made(zmq.ROUTER)
        publish.set(zmq.XPUB_VERBOSE, 1)
        self._guard(publish, plain=True)
        self._guard(snapshots, plain=False)
        problems = []
        for end, field in ((publish, "endpoint"), (snapshots, "snapshot_endpoint")):
            try:
                end.bind(getattr(self._settings, field))
                setattr(self, field, end.get_string(zmq.LAST_ENDPOINT))
            except zmq.ZMQError as error:
                problems.append(_why_not_bound(field, getattr(self._settings, field), error))
        if problems:
            raise SetupError(problems)
        return _Sockets(publish, snapshots, zap)

    def _guard(self, end: zmq.Socket[bytes], *, plain: bool) -> None:
        """Bound what peers may send and let wait, and ask who they are."""
        end.set(zmq.SNDHWM, PEER_WAITING)
        end.set(zmq.RCVHWM, PEER_WAITING)
        end.set(zmq.MAXMSGSIZE, MAX_REQUEST_BYTES)
        end.set(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        end.set(zmq.HEARTBEAT_TIMEOUT, 3 * HEARTBEAT_MS)
        end.set(zmq.HANDSHAKE_IVL, HEARTBEAT_MS)
        curve = self._settings.curve
        if curve is not None:
            end.set(zmq.CURVE_SERVER, 1)
            end.set(zmq.CURVE_SECRETKEY, curve.secret_key.encode("ascii"))
            end.set(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
        elif plain:
            end.set(zmq.PLAIN_SERVER, 1)
            end.set(zmq.ZAP_DOMAIN, ZAP_DOMAIN)

    def _publish(self, sockets: _Sockets, subscription: Subscription, heard: socket.socket) -> None:
        poller = zmq.Poller()
        for end in (heard, sockets.zap, sockets.publish):
            poller.register(end, zmq.POLLIN)
        last: tuple[str, int] = (self._feed.run, 0)
        while not self._stopping.is_set():
            poller.poll(POLL_MS)
            with suppress(BlockingIOError):
                heard.recv(4096)
            self._admit(sockets.zap)
            if self._joined(sockets.publish):
                # Answers the subscription to status: those made before it hold from here on.
                self._send(sockets.publish, {**status_message(self._status()), "run": last[0], "seq": last[1]})
            while not self._stopping.is_set() and (message := subscription.get(0)) is not None:
                self._send(sockets.publish, message)
                if message["type"] != LIVE:  # not numbered: it may come after a message with a higher number
                    last = (message["run"], message["seq"])
                self._count("published")
            with self._counts_lock:
                self._counts["overtaken"] = subscription.dropped

    def _send(self, publish: zmq.Socket[bytes], message: Message) -> None:
        publish.send_multipart([message["type"].encode("ascii"), msgpack.packb(message)])

    def _admit(self, zap: zmq.Socket[bytes]) -> None:
        for _ in range(PER_ROUND):
            if not zap.poll(0):
                return
            reply, welcome = zap_reply(zap.recv_multipart(), token=self._token, clients=self._settings.curve_clients)
            zap.send_multipart(reply)
            if not welcome:
                self._count("refused")

    @staticmethod
    def _joined(publish: zmq.Socket[bytes]) -> bool:
        """Read what subscribers say; tell whether one now listens to status."""
        joined = False
        for _ in range(PER_ROUND):
            if not publish.poll(0):
                break
            said = publish.recv_multipart()[0]
            joined |= said[:1] == b"\x01" and b"status".startswith(said[1:])
        return joined

    def _answer(self, snapshots: zmq.Socket[bytes]) -> None:
        while not self._stopping.is_set():
            if not snapshots.poll(POLL_MS):
                continue
            peer, *envelope, body = snapshots.recv_multipart()
            if envelope not in ([], [b""]):  # DEALER, or REQ with its empty frame
                self._count("malformed")
                continue
            reply, what = answer(body, self._token, self._feed, self._store, self._status, self._live, self._notices)
            self._count(what)
            with suppress(zmq.Again, zmq.ZMQError):  # gone, or not reading: its loss
                snapshots.send_multipart([peer, *envelope, reply], zmq.NOBLOCK)

    def _count(self, what: str) -> None:
        with self._counts_lock:
            self._counts[what] += 1


def _ring(alarm: socket.socket) -> None:
    with suppress(BlockingIOError, OSError):  # rung often enough already, or closing
        alarm.send(b"\0")


def _why_not_bound(field: str, endpoint: str, error: zmq.ZMQError) -> str:
    place = f"publish.{field} {endpoint}"
    if error.errno in {zmq.EADDRINUSE, errno.EADDRINUSE}:
        return f"{place}: the port is taken by another program; choose another"
    if error.errno in {zmq.EADDRNOTAVAIL, errno.ENODEV, errno.EADDRNOTAVAIL}:
        return f"{place}: this machine has no such address; use 127.0.0.1 or one of its own"
    if error.errno == errno.EACCES:
        return f"{place}: not allowed for this user; choose a port above 1023"
    return f"{place}: cannot be bound ({error.strerror})"
