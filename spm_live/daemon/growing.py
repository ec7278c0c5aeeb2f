"""The board of scans in progress: what the sources tell of them, what the worker made of it, what is told to people.

Sources tell events from their own threads and never wait. The daemon's thread takes one job at a time: all lines of a
scan that the worker has not seen. So updates that come faster than they can be computed are overtaken, the newest wins,
and they are counted. Nothing here is stored: a scan becomes a frame by its file (see :mod:`spm_live.sources.handover`),
and then its final map takes the place of the live one.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.daemon.frame_memory import FrameMemory, StoredFrame
from spm_live.daemon.scan_state import EndedScan, ScanState, frame_in_words, in_words, scan_key
from spm_live.domain import FrameRef
from spm_live.live.follow import LiveJob, LiveResult
from spm_live.scanning import LiveScan, LiveState
from spm_live_drivers.growing import (
    GrowingError,
    GrowingEvent,
    GrowingFrame,
    ScanEnd,
    ScanLines,
    ScanOutcome,
    ScanStart,
)

logger = logging.getLogger(__name__)

PREVIEW_PERIOD_S = 0.4
"""The picture is drawn anew at most so often: a person sees no more."""
TELL_PERIOD_S = 1.0
"""A scan whose lines wait for the worker is told again after this time, so that its progress is seen."""
MOST_SCANS = 32
"""Scans on the board; of more, the oldest whose files are known go first."""
REMEMBERED_SCANS = 500
"""Scans that are over: a sender that tells one once more, because a receipt was lost, must not begin it anew."""
SILENT_S = 900.0
"""A scan of which nothing was heard for so long, and for 30 of its lines, is taken for lost: its sender died. If it is
told on after all, it is asked for from its start."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class LiveBoard:
    """Every scan in progress; its methods may be called from any thread.

    Parameters
    ----------
    publish : callable
        Takes every new state of a scan; must not wait.
    clock : callable
        Monotonic time in s.
    now : callable
        The time, timezone-aware, UTC.
    """

    def __init__(
        self,
        publish: Callable[[LiveScan], object],
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.wake: Callable[[], None] = lambda: None
        """Called when there is something to compute; must not wait."""
        self.waiting_since: Callable[[], float] = lambda: math.inf
        """Since when the file that waits longest has been ready, monotonic s; infinite where none waits."""
        self.told: Callable[[LiveScan], None] = lambda _scan: None
        """Takes every new state after it was published; must not wait, nor ask the board."""
        self._publish = publish
        self._clock = clock
        self._now = now
        self._lock = threading.RLock()
        self._scans: dict[str, ScanState] = {}
        self._over: list[str] = []
        self._gone: deque[str] = deque(maxlen=REMEMBERED_SCANS)
        self._frames = FrameMemory()
        self._overtaken = 0

    # --- from the sources --------------------------------------------------------------------------------------------

    def tell(self, source: str, sender: str, event: GrowingEvent) -> bool:
        """Take an event in.

        Parameters
        ----------
        source : str
            Name of the source.
        sender : str
            Who told the source: the scan's name is unique among this sender's.
        event : GrowingEvent
            What happened.

        Returns
        -------
        bool
            False if the scan is not known here: its start and all of its lines must be told again.

        Raises
        ------
        GrowingError
            If the event does not fit the scan. The scan stays as it was.
        """
        key = scan_key(source, sender, event.scan)
        with self._lock:
            if key in self._gone:
                return True
            if isinstance(event, ScanStart):
                self._begin(key, source, sender, event)
                return True
            scan = self._scans.get(key)
            if scan is None:
                return False
            if scan.state is not LiveState.SCANNING:
                if isinstance(event, ScanLines):
                    raise GrowingError(f"lines of scan {event.scan!r}, which is over")
                return True
            scan.updated, scan.heard_s = self._now(), self._clock()
            if isinstance(event, ScanLines):
                self._extend(scan, event)
            else:
                self._end(scan, event)
        self.wake()
        return True

    def source_stopped(self, source: str) -> None:
        """Nobody tells of the scans of a source any more: the configuration was changed."""
        with self._lock:
            for scan in self._running(source):
                self._end(scan, ScanEnd(scan.growing.start.scan, ScanOutcome.LOST))

    def give_up_silent(self) -> None:
        """End the scans that nobody tells of any more; called now and then."""
        with self._lock:
            for scan in list(self._scans.values()):
                silent_s = self._clock() - scan.heard_s
                patience_s = max(SILENT_S, 30 * (scan.growing.start.line_time_s or 0.0))
                if scan.state is LiveState.SCANNING and silent_s > patience_s:
                    logger.warning("%s: nothing was heard of scan %s for %.0f s", scan.sender, scan.key, silent_s)
                    scan.state, scan.outcome = LiveState.ENDED, ScanOutcome.LOST
                    self._tell(scan)
                    self._forget(scan)
                    self._gone.remove(scan.key)

    def _begin(self, key: str, source: str, sender: str, start: ScanStart) -> None:
        known = self._scans.get(key)
        if known is not None:
            if known.growing.start.info.geometry != start.info.geometry:
                raise GrowingError(f"scan {start.scan!r} is begun again with another frame")
            return
        growing = GrowingFrame(start)
        for other in self._running(source):
            if other.sender == sender:  # its end was not told, or was lost on the way
                self._end(other, ScanEnd(other.growing.start.scan, ScanOutcome.STOPPED))
        for other in list(self._scans.values()):
            if (other.source, other.sender, other.state) == (source, sender, LiveState.ENDED):
                self._forget(other)
        now = self._now()
        scan = self._scans[key] = ScanState(key, source, sender, growing, now, now, heard_s=self._clock())
        logger.info("%s: scan %s has begun, %s", sender, start.scan, frame_in_words(start.info.geometry))
        while len(self._scans) > MOST_SCANS and self._let_one_go():
            pass
        self._tell(scan)

    def _let_one_go(self) -> bool:
        """Forget the oldest scan whose file is known, and so is worked on without it; it gets its end all the same."""
        for old in self._scans.values():
            if old.state is LiveState.ENDED or (old.state is LiveState.WAITING and old.saved_as):
                if old.state is LiveState.WAITING:
                    logger.warning("%s is not followed any more: too many files wait to be worked on", old.name)
                    old.state = LiveState.ENDED
                    self._tell(old)
                self._forget(old)
                return True
        return False

    def _extend(self, scan: ScanState, lines: ScanLines) -> None:
        new = scan.growing.add(lines)
        if not new:
            return
        now_s = self._clock()
        if scan.first is None:
            scan.first = (scan.growing.lines_done, now_s)
        if scan.untold and not scan.failed:
            scan.overtaken += 1
            self._overtaken += 1
        scan.untold += 1
        if now_s - scan.told_s > TELL_PERIOD_S:
            self._tell(scan)

    def _end(self, scan: ScanState, end: ScanEnd) -> None:
        scan.state, scan.outcome, scan.saved_as = LiveState.WAITING, end.outcome, end.saved_as
        scan.ended_s = self._clock()
        logger.info(
            "%s: scan %s is %s after %d of %d lines%s",
            scan.sender,
            end.scan,
            end.outcome.value,
            scan.growing.lines_done,
            scan.growing.start.info.geometry.rows,
            f", saved as {end.saved_as}" if end.saved_as else "",
        )
        stored = self._frames.find(scan)
        if stored is not None:
            self._replace(scan, stored)
            return
        self._tell(scan)

    def _running(self, source: str) -> list[ScanState]:
        return [scan for scan in self._scans.values() if scan.source == source and scan.state is LiveState.SCANNING]

    # --- to and from the worker --------------------------------------------------------------------------------------

    def next_job(self) -> LiveJob | None:
        """All lines of one scan that the worker has not seen; of several scans, the one served longest ago."""
        with self._lock:
            waiting = [
                scan
                for scan in self._scans.values()
                if scan.worked < scan.growing.lines_done
                and not scan.failed
                and scan.state in {LiveState.SCANNING, LiveState.WAITING}
            ]
            if not waiting:
                return None
            scan = min(waiting, key=lambda scan: scan.served_s)
            scan.served_s = now_s = self._clock()
            scan.untold = 0
            forward, backward = scan.growing.lines(scan.worked)
            preview = now_s >= scan.preview_due_s or scan.growing.complete or scan.state is LiveState.WAITING
            if preview:
                scan.preview_due_s = now_s + PREVIEW_PERIOD_S
            info = replace(scan.growing.start.info, complete_rows=scan.growing.lines_done)
            ended, self._over = tuple(self._over), []
            return LiveJob(scan.key, info, scan.worked, forward, backward, preview, ended)

    def done(self, job: LiveJob, result: LiveResult) -> LiveScan | None:
        """Take in what the worker found.

        Returns
        -------
        LiveScan or None
            The scan as it is now; None if it is gone, or must be told to the worker from its first line.
        """
        with self._lock:
            scan = self._scans.get(job.key)
            if scan is None or scan.state not in {LiveState.SCANNING, LiveState.WAITING}:
                return None
            if result.map is None:
                scan.worked = 0
                return None
            scan.worked = job.after_last
            scan.preview = result.map.preview_png or scan.preview
            scan.map = replace(result.map, preview_png=b"")
            scan.quality = result.quality
            told = self._tell(scan)
            tenth = 10 * scan.worked // scan.growing.start.info.geometry.rows
            if tenth > scan.logged:
                scan.logged = tenth
                logger.info("%s: %s", scan.name, in_words(told))
            return told

    def failed(self, job: LiveJob) -> FrameRef | None:
        """Give a scan up: it is still shown, without molecules, and its file is worked on as any other.

        Returns
        -------
        FrameRef or None
            To be named in the fault; None if the scan is gone.
        """
        with self._lock:
            scan = self._scans.get(job.key)
            if scan is None:
                return None
            scan.failed = True
            return scan.growing.start.info.ref

    def lost_worker(self) -> None:
        """The worker was started anew and knows nothing: tell it everything again."""
        with self._lock:
            for scan in self._scans.values():
                scan.worked = 0

    # --- from the store ----------------------------------------------------------------------------------------------

    def remember(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """Frames that were stored before this run: a sender may tell their scans again."""
        with self._lock:
            self._frames.remember(messages)

    def frame_stored(
        self, message: Mapping[str, Any], sample: NDArray[np.float32] | None = None
    ) -> tuple[LiveScan | None, int | None]:
        """A frame was stored: where it is that of a scan on the board, it takes the scan's place.

        Parameters
        ----------
        message : mapping
            The frame's message.
        sample : (rows, n) float32 array or None
            Of its values (:func:`spm_live.likeness.sample_rows`), to know it by where its name was not told.

        Returns
        -------
        scan : LiveScan or None
            The scan that was replaced.
        outdated : int or None
            The frame that was put together from lines of the same scan, because its file came so late.
        """
        with self._lock:
            frame = self._frames.add(message, sample)
            for scan in self._scans.values():
                if scan.state is LiveState.WAITING and self._frames.is_of(frame, scan):
                    return self._replace(scan, frame), None
            return None, self._frames.kept_for(frame)

    def ended(self) -> list[EndedScan]:
        """Scans that are over and whose file was not worked on yet."""
        with self._lock:
            # What was ready by then has been worked on: time counts only as far as the files have been seen.
            seen_s = min(self._clock(), self.waiting_since())
            return [
                EndedScan(scan, scan.outcome, max(0.0, seen_s - scan.ended_s))
                for scan in self._scans.values()
                if scan.state is LiveState.WAITING and scan.outcome is not None
            ]

    def end_without_file(self, key: str) -> None:
        """No frame will come of a scan: say so."""
        with self._lock:
            scan = self._scans.get(key)
            if scan is not None and scan.state is LiveState.WAITING:
                scan.state = LiveState.ENDED
                self._over.append(key)
                self._tell(scan)

    def name_file(self, key: str, saved_as: str) -> None:
        """The frame of a scan will be known by this name."""
        with self._lock:
            if key in self._scans:
                self._scans[key].saved_as = saved_as

    def _replace(self, scan: ScanState, frame: StoredFrame) -> LiveScan:
        self._frames.take(frame.id)
        scan.state, scan.frame_id = LiveState.REPLACED, frame.id
        scan.saved_as = scan.saved_as or str(frame.message["source"])
        waited_s = self._clock() - scan.ended_s
        logger.info("%s has become frame %d, %.1f s after its end", scan.name, frame.id, waited_s)
        told = self._tell(scan)
        self._forget(scan)
        return told

    def _forget(self, scan: ScanState) -> None:
        self._scans.pop(scan.key, None)
        self._over.append(scan.key)
        self._gone.append(scan.key)

    # --- for people --------------------------------------------------------------------------------------------------

    def scans(self) -> Sequence[LiveScan]:
        """Every scan on the board, as it was last told; the oldest first."""
        with self._lock:
            return [scan.seen(self._clock()) for scan in self._scans.values()]

    def preview(self, key: str) -> bytes | None:
        """The newest picture of a scan, as PNG; None where there is none."""
        with self._lock:
            scan = self._scans.get(key)
            return (scan.preview or None) if scan is not None else None

    def counters(self) -> dict[str, int]:
        """``scanning``: scans in progress; ``overtaken``: updates that a newer one took the place of."""
        with self._lock:
            scanning = sum(scan.state is LiveState.SCANNING for scan in self._scans.values())
            return {"scanning": scanning, "overtaken": self._overtaken}

    def _tell(self, scan: ScanState) -> LiveScan:
        scan.revision += 1
        scan.told_s = self._clock()
        seen = scan.seen(self._clock())
        self._publish(seen)
        self.told(seen)
        return seen
