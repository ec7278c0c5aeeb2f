"""What the server asks of the store and the feed; anything with these methods will do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

Body = dict[str, Any]


class FrameStore(Protocol):
    """The part of :class:`spm_live.publish.store.Store` that the server reads; called from many threads."""

    def frames(self, limit: int, before: int | None = None, /) -> list[Body]:
        """Summaries, newest first, with ids below ``before``."""
        ...

    def frame(self, frame_id: int, /) -> Body | None:
        """One frame with its molecules."""
        ...

    def latest(self) -> Body | None:
        """The newest frame with its molecules."""
        ...

    def preview(self, frame_id: int, /) -> bytes | None:
        """PNG of the levelled frame."""
        ...

    def thumbnail(self, frame_id: int, /) -> bytes | None:
        """The same, small."""
        ...

    def faults(self, limit: int, before: int | None = None, /) -> list[Body]:
        """Faults, newest first, with ids below ``before``."""
        ...

    def totals(self) -> Body:
        """Sums over the whole store."""
        ...

    def links(self, frame_id: int, /) -> Body | None:
        """What became of the molecules of the frame before; None if there is no such frame."""
        ...

    def series(self, limit: int, /) -> list[Body]:
        """The table of drifts, newest first."""
        ...


class EventSubscription(Protocol):
    """A bounded queue of messages."""

    @property
    def dropped(self) -> int:
        """How many messages were overtaken so far."""
        ...

    def get(self, timeout: float | None = None) -> Body | None:
        """The next message; None when none came in time. 0 does not wait."""
        ...

    def close(self) -> None:
        """End."""
        ...


class EventFeed(Protocol):
    """The part of :class:`spm_live.publish.feed.Feed` that the server listens to."""

    run: str
    """Names the run of the daemon that ``seq`` counts in."""

    @property
    def seq(self) -> int:
        """Number of the last message; 0 before the first."""
        ...

    def subscribe(self, maxsize: int, wake: Callable[[], None] | None = None) -> EventSubscription:
        """Begin to listen; ``wake`` is called after each message, in the publisher's thread."""
        ...
