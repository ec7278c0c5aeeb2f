"""Links each stored frame to the one before of the same place, and tells it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from spm_live.publish.database import StoreError
from spm_live.publish.feed import Feed
from spm_live.publish.link_rows import with_head
from spm_live.publish.message import Message
from spm_live.publish.store import Store
from spm_live.series.frames import Lost, SeriesFrame
from spm_live.series.links import FrameLinks
from spm_live.series.memory import MEMORY, carry
from spm_live.series.message import field_of, links_message, molecules, series_frame
from spm_live.series.place import frame_before
from spm_live.series.step import follow

logger = logging.getLogger(__name__)

LOOK_BACK = 100
"""Newest frames of the channel among which the frame before is looked for."""
CATCH_UP = 20
"""Newest frames that are linked if a kill kept them from it; what is older, ``spm-live track`` works out."""


class FollowSeries:
    """Follows molecules from frame to frame as the frames are stored.

    What was found lies in the store; here is no state but the counters, so that a killed daemon goes on where it was.

    Parameters
    ----------
    store : Store
        Where frames lie and links are kept.
    feed : Feed
        Where links are told.
    """

    def __init__(self, store: Store, feed: Feed) -> None:
        self._store = store
        self._feed = feed
        self._counters = {"linked": 0, "first_of_place": 0, "link_failures": 0}

    @property
    def counters(self) -> Mapping[str, int]:
        """``linked``: frames with a frame before; ``first_of_place``: without; ``link_failures``: what went wrong."""
        return dict(self._counters)

    def frame_stored(self, frame_id: int) -> None:
        """Link a frame that was just stored, and those that a kill or a superseded frame left without links.

        Never raises for what a frame or the store does: a frame without links is still a frame.
        """
        try:
            outdated = self._store.drop_superseded_links()
            waiting = self._store.frames_without_links(CATCH_UP)
        except StoreError as error:
            self._counters["link_failures"] += 1
            logger.warning("frame %d: its links must wait (%s)", frame_id, error)
            return
        for number in sorted({*outdated, *waiting, frame_id}):
            self._link(number)

    def _link(self, number: int) -> None:
        try:
            message = self._worked_out(number)
            if not self._store.save_links(message):
                return
        except StoreError as error:
            self._counters["link_failures"] += 1
            logger.warning("frame %d: its links must wait (%s)", number, error)
            return
        if message["previous"] is None:
            self._counters["first_of_place"] += 1
            return
        self._counters["linked"] += 1
        self._feed.publish("links", message)
        logger.info("frame %d: %s", number, sentence(message))

    def _worked_out(self, number: int) -> Message:
        try:
            return with_head(links_message(self._links_of(number)))
        except StoreError:
            raise
        except Exception:
            # Told and kept as a frame without links, so that it is not tried again and again.
            self._counters["link_failures"] += 1
            logger.exception("frame %d: its molecules could not be followed", number)
            return with_head(links_message(FrameLinks(number)))

    def _links_of(self, number: int) -> FrameLinks:
        message = self._store.frame_in_series(number)
        before = frame_before(message, self._store.earlier_frames(number, LOOK_BACK)) if message is not None else None
        if message is None or before is None:
            return FrameLinks(number)
        current = series_frame(message, self._store.preview(number))
        return follow(self._previous(before["id"]), current)

    def _previous(self, number: int) -> SeriesFrame:
        message = self._store.frame_in_series(number)
        if message is None:
            raise LookupError(f"frame {number} has gone from the store")
        return series_frame(message, self._store.preview(number), self._lost_by(number))

    def _lost_by(self, number: int) -> Lost:
        """The molecules that a frame misses, from what is stored of the last steps to it."""
        steps: list[tuple[int, Message]] = []
        step: int | None = number
        while step is not None and len(steps) < MEMORY:
            drift = self._store.drift(step)
            if drift is None:
                break
            steps.append((step, drift))
            step = drift["previous"]
        lost = Lost()
        for step, drift in reversed(steps):
            message = self._store.frame_in_series(step)
            if message is None:
                return Lost()
            shown = series_frame(message)
            field = field_of(drift, shown.geometry)
            if field is None:
                lost = Lost()
            else:
                lost = carry(lost, field, molecules(self._store.left_behind(step)), shown.molecules)
        return lost


def sentence(message: Message) -> str:
    """Say in words what became of the molecules.

    Returns
    -------
    str
        Such as ``"against frame 7: 41 stayed, 3 moved; drift 0.84 nm (both)"``.
    """
    found = ", ".join(f"{count} {kind}" for kind, count in message["counts"].items() if count)
    drift = message["drift_nm"]
    way = f"drift {(drift[0] ** 2 + drift[1] ** 2) ** 0.5:.2f} nm" if drift is not None else "no drift found"
    return f"against frame {message['previous']}: {found or 'no molecule linked'}; {way} ({message['method']})"
