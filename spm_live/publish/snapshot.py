"""Answers a program that joins late: what is known by now, and from which message on to listen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack

from spm_live.domain import DaemonStatus
from spm_live.publish.database import StoreError
from spm_live.publish.feed import Feed
from spm_live.publish.history import History
from spm_live.publish.live_message import LiveView, NoticeLog, live_message
from spm_live.publish.message import MESSAGE_SCHEMA, Message, status_message
from spm_live.publish.zap import same_token

MAX_REQUEST_BYTES = 4096
MAX_SNAPSHOT_FRAMES = 100
"""More is asked for over HTTP, page by page."""
DEFAULT_SNAPSHOT_FRAMES = 20

_UNPACK_ERRORS = (ValueError, TypeError, OverflowError, msgpack.UnpackException)


class RequestError(Exception):
    """A request that cannot be answered; the text goes to whoever asked."""


class RefusedError(RequestError):
    """A request with the wrong token."""


def parse_request(body: bytes, token: str) -> int:
    """Check a request.

    Parameters
    ----------
    body : bytes
        msgpack of ``{"kind": "snapshot", "token": ..., "last": N}``.
    token : str
        What the sender must know.

    Returns
    -------
    int
        How many frames are asked for, 0 to :data:`MAX_SNAPSHOT_FRAMES`.

    Raises
    ------
    RefusedError
        If the token is wrong; said before anything else about the request.
    RequestError
        If it is no such request.
    """
    if len(body) > MAX_REQUEST_BYTES:
        raise RequestError(f"a request of {len(body)} bytes; at most {MAX_REQUEST_BYTES}")
    try:
        request = msgpack.unpackb(body)
    except _UNPACK_ERRORS as error:
        raise RequestError("not msgpack") from error
    if not isinstance(request, dict) or not same_token(request.get("token"), token):
        raise RefusedError("wrong token")
    if request.get("kind") != "snapshot":
        raise RequestError("kind must be 'snapshot'")
    last = request.get("last", DEFAULT_SNAPSHOT_FRAMES)
    if type(last) is not int or not 0 <= last <= MAX_SNAPSHOT_FRAMES:
        raise RequestError(f"last must be a whole number from 0 to {MAX_SNAPSHOT_FRAMES}")
    return last


def snapshot_message(
    last: int,
    feed: Feed,
    store: History,
    status: Callable[[], DaemonStatus],
    live: LiveView | None = None,
    notices: NoticeLog | None = None,
) -> Message:
    """Put the answer together.

    The number is read before the store: what is told is stored first, so every frame up to that number is found; one
    that comes in between is in the snapshot and told as well.
    """
    run, seq = feed.run, feed.seq
    frames = store.last_frames(last)
    return {
        "schema": MESSAGE_SCHEMA,
        "type": "snapshot",
        "run": run,
        "seq": seq,
        "status": status_message(status()),
        "frames": frames,
        "live": [live_message(scan) for scan in live.scans()] if live is not None else [],
        "notices": notices.newest() if notices is not None else [],
    }


def answer(
    body: bytes,
    token: str,
    feed: Feed,
    store: History,
    status: Callable[[], DaemonStatus],
    live: LiveView | None = None,
    notices: NoticeLog | None = None,
) -> tuple[bytes, str]:
    """Answer any request whatever.

    Returns
    -------
    bytes
        msgpack of the snapshot, or of ``{"type": "error", "reason": ...}``.
    str
        ``"snapshots"``, ``"refused"``, ``"malformed"`` or ``"failed"``, to be counted.
    """
    try:
        reply: dict[str, Any] = snapshot_message(parse_request(body, token), feed, store, status, live, notices)
    except RefusedError as error:
        return _error(str(error)), "refused"
    except RequestError as error:
        return _error(str(error)), "malformed"
    except StoreError as error:
        return _error(str(error)), "failed"
    return msgpack.packb(reply), "snapshots"


def _error(reason: str) -> bytes:
    packed: bytes = msgpack.packb({"schema": MESSAGE_SCHEMA, "type": "error", "reason": reason})
    return packed
