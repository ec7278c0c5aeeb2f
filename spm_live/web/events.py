"""The WebSocket: a snapshot first, then every message of the feed as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable

import anyio
from fastapi import APIRouter, WebSocket, WebSocketDisconnect

from spm_live.domain import DaemonStatus
from spm_live.publish.live_message import LiveView, NoticeLog, live_message
from spm_live.publish.message import MESSAGE_SCHEMA, status_message
from spm_live.publish.store import StoreError
from spm_live.web.ports import Body, EventFeed, EventSubscription, FrameStore

logger = logging.getLogger(__name__)

MAX_SOCKETS = 32
"""Open pages at a time."""
QUEUE_SIZE = 64
"""Messages that may wait for one slow page before the oldest is overtaken."""
SNAPSHOT_FRAMES = 60
SNAPSHOT_FAULTS = 20
HEARTBEAT_S = 2.0
"""The status is told at least this often, so that a page can tell a quiet daemon from a dead connection."""

INTERNAL_ERROR = 1011
TRY_AGAIN_LATER = 1013  # RFC 6455 section 7.4 and the IANA registry of WebSocket close codes


class Events:
    """Serves ``/api/events`` to every open page.

    Parameters
    ----------
    store, feed, status, live, notices
        As in :func:`spm_live.web.server.create_app`.
    page : str
        Digest of the page's files, told in the snapshot.
    """

    def __init__(
        self,
        store: FrameStore,
        feed: EventFeed,
        status: Callable[[], DaemonStatus],
        page: str,
        *,
        live: LiveView | None = None,
        notices: NoticeLog | None = None,
    ) -> None:
        self._store = store
        self._feed = feed
        self._status = status
        self._page = page
        self._live = live
        self._notices = notices
        self.open_sockets = 0
        self.overtaken = 0
        """Messages that slow pages did not get, all pages together."""

    def router(self) -> APIRouter:
        """The route."""
        router = APIRouter()
        router.add_api_websocket_route("/api/events", self.serve)
        return router

    async def serve(self, socket: WebSocket) -> None:
        """One page, from its connection to its end."""
        if self.open_sockets >= MAX_SOCKETS:
            await socket.accept()
            await socket.close(TRY_AGAIN_LATER, "too many open pages")
            return
        self.open_sockets += 1
        news = asyncio.Event()
        subscription = self._feed.subscribe(QUEUE_SIZE, _waker(news, asyncio.get_running_loop()))
        try:
            await socket.accept()
            async with anyio.create_task_group() as group:
                group.start_soon(_until_gone, socket, group.cancel_scope)
                with contextlib.suppress(WebSocketDisconnect):
                    await self._tell(socket, subscription, news)
                group.cancel_scope.cancel()
        finally:
            subscription.close()
            self.open_sockets -= 1

    async def _tell(self, socket: WebSocket, subscription: EventSubscription, news: asyncio.Event) -> None:
        # Subscribed before the snapshot is read: a frame may come twice, never not at all.
        try:
            snapshot = await anyio.to_thread.run_sync(self._snapshot)
        except StoreError as error:
            logger.warning("no snapshot for a page: %s", error)
            await socket.close(INTERNAL_ERROR, "the store could not be read")
            return
        await _send(socket, snapshot)
        missed_before, status_s = 0, time.monotonic()
        while True:
            with anyio.move_on_after(max(0.0, status_s + HEARTBEAT_S - time.monotonic())):
                await news.wait()
            news.clear()
            while (message := subscription.get(0)) is not None:
                missed = subscription.dropped - missed_before
                if missed:
                    missed_before += missed
                    self.overtaken += missed
                    await _send(socket, {"type": "overtaken", "missed": missed})
                await _send(socket, message)
                if message["type"] == "status":
                    status_s = time.monotonic()
            if time.monotonic() - status_s >= HEARTBEAT_S:
                await _send(socket, status_message(await anyio.to_thread.run_sync(self._status)))
                status_s = time.monotonic()

    def _snapshot(self) -> Body:
        seq = self._feed.seq  # before the store is read, so that no message after it is already left out
        return {
            "schema": MESSAGE_SCHEMA,
            "type": "snapshot",
            "run": self._feed.run,
            "seq": seq,
            "page": self._page,
            "status": status_message(self._status()),
            "totals": self._store.totals(),
            "frames": self._store.frames(SNAPSHOT_FRAMES),
            "latest": self._store.latest(),
            "faults": self._store.faults(SNAPSHOT_FAULTS),
            # Last: a scan that ended while the store was read is told as over, and its frame is on its way.
            "live": [live_message(scan) for scan in self._live.scans()] if self._live is not None else [],
            "notices": self._notices.newest() if self._notices is not None else [],
        }


def _waker(news: asyncio.Event, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    def wake() -> None:
        # The publisher may hold this subscription for a moment longer than the loop lives.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(news.set)

    return wake


async def _until_gone(socket: WebSocket, scope: anyio.CancelScope) -> None:
    """Wait for the page to leave or the server to stop; whatever a page says is not listened to."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass
    scope.cancel()


async def _send(socket: WebSocket, message: Body) -> None:
    await socket.send_text(json.dumps(message, allow_nan=False, separators=(",", ":")))
