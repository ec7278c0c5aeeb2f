"""What is done with one arrival, from the file to the message.

Exactly once: a frame is known by the digest of its file. Its map and the note that the file is dealt with go into the
store in one transaction; until then the file is found again at every start. So a kill at any moment repeats work at
most, never a result.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from spm_live.daemon.status import StatusBoard
from spm_live.daemon.worker import Worker, WorkerCrashError
from spm_live.domain import DaemonState, Fault, FrameRef, MoleculeMap, Processed
from spm_live.errors import FrameError, NotReadyError
from spm_live.find import Job
from spm_live.publish.feed import Feed
from spm_live.publish.live_message import quality_body
from spm_live.publish.message import Message, fault_message
from spm_live.publish.metrics import Metrics
from spm_live.publish.store import FileKey, Store, StoreError
from spm_live.scanning import ScanQuality
from spm_live.settings import DaemonSettings
from spm_live.sources import Arrival, StoppedError
from spm_live_drivers.registry import file_sha256

logger = logging.getLogger(__name__)

DISK_RETRY_S = 5.0
SET_ASIDE = "set-aside"
"""Folder beside the inbox; a file moved back from it into the inbox is tried again at the next start."""
STOP_GRACE_S = 7.0
"""A frame in hand when the daemon is told to stop gets this long; what is not done then is found at the next start."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A frame that was stored: its message, and a sample of its values (:func:`spm_live.likeness.sample_rows`)."""

    message: Message
    sample: NDArray[np.float32] | None


class Handling:
    """Store, tell, count: everything an arrival leads to.

    Parameters
    ----------
    settings : DaemonSettings
        Limits.
    store, feed, metrics, board
        Where results go, in this order.
    stopping : threading.Event
        Set when the daemon is told to stop.
    """

    def __init__(
        self,
        settings: DaemonSettings,
        *,
        store: Store,
        feed: Feed,
        metrics: Metrics,
        board: StatusBoard,
        stopping: threading.Event,
    ) -> None:
        self.settings = settings
        self._store = store
        self._feed = feed
        self._metrics = metrics
        self._board = board
        self._stopping = stopping
        self._stop_seen_s: float | None = None

    def handle(self, arrival: Arrival, worker: Worker) -> Stored | None:
        """Bring one arrival to its end: a stored map, a stored fault, or a duplicate.

        Returns
        -------
        Stored or None
            A frame that was stored just now.

        Raises
        ------
        NotReadyError
            If the file must be tried again later.
        StoppedError
            If the daemon stops before the end was reached.
        """
        if arrival.delete_when_done and not arrival.path.exists():
            return None  # handed over twice, around a reload, and done the first time
        key = FileKey(arrival.path, arrival.size, arrival.mtime_ns)
        sha256 = ""
        try:
            sha256 = arrival.sha256 or file_sha256(arrival.path)
            known = self.stored(lambda: self._store.known(sha256))
            if known is not None:
                self._duplicate(arrival, key, sha256, known)
                return None
            processed = self._work(arrival, sha256, worker)
            if _state_of(str(arrival.path)) in {key, None}:
                return self._keep(arrival, key, processed)
            logger.info("%s: changed while it was read; it comes again", arrival.path.name)
        except FrameError as error:
            if isinstance(error, NotReadyError):
                raise
            self.give_up(arrival, error, sha256)
        return None

    def give_up(self, arrival: Arrival, error: FrameError, sha256: str = "") -> None:
        """End an arrival with a fault."""
        detail = error.detail if isinstance(error, QuarantineError) else ""
        fault = Fault(error.ref.source, error.stage, error.reason, datetime.now(UTC), sha256, detail)
        self.report(fault, FileKey(arrival.path, arrival.size, arrival.mtime_ns))
        if arrival.delete_when_done:
            self._set_aside(arrival)

    def report(self, fault: Fault, key: FileKey | None = None) -> None:
        """Count, store and tell a fault; called from the sources' threads too.

        A file that it names is remembered in its present state, so that the next start does not report it again.
        """
        file = key or _state_of(fault.source)
        fault_id = self.stored(lambda: self._store.save_fault(fault, file=file))
        self._board.count("faults")
        self._metrics.observe_fault(fault)
        self._feed.publish("fault", fault_message(fault_id, fault))
        logger.warning("%s: %s: %s", fault.source, fault.stage, fault.reason)

    def supersede(self, outdated: int, frame_id: int) -> None:
        """Let a frame take the place of one that was put together from lines, and tell it again."""
        self._feed.publish("frame", self.stored(lambda: self._store.supersede(outdated, frame_id)))

    def keep_quality(self, frame_id: int, quality: ScanQuality) -> None:
        """Keep how good a scan looked with the frame that it became; its ``live`` message has told it."""
        self.stored(lambda: self._store.save_quality(frame_id, quality_body(quality)))

    def stored(self, action: Callable[[], T]) -> T:
        """Do something with the store, waiting while the disk is full or away: a result is never thrown away.

        Raises
        ------
        StoppedError
            If the daemon stops while it waits.
        """
        while True:
            try:
                result = action()
            except StoreError as error:
                self._board.enter(DaemonState.WAITING, str(error))
                logger.error("%s; trying again every %g s", error, DISK_RETRY_S)
                if self._stopping.wait(DISK_RETRY_S):
                    raise StoppedError from error
            else:
                self._board.leave(DaemonState.WAITING)
                return result

    def _work(self, arrival: Arrival, sha256: str, worker: Worker) -> Processed:
        """Have the worker do it; a frame that keeps crashing it is quarantined."""
        job = Job(arrival.path, arrival.options, sha256)
        while True:
            try:
                return worker.process(job, timeout_s=self.settings.frame_timeout_s, give_up=self.out_of_time)
            except InterruptedError as error:
                raise StoppedError from error
            except WorkerCrashError as crash:
                # Only crashes seen here are counted: a daemon killed from outside must not cost a good frame its map.
                tries = self.stored(lambda: self._store.count_crash(sha256, str(arrival.path)))
                self._board.count("worker_restarts" if crash.died else "retries")
                logger.error("%s: the worker %s (try %d)\n%s", arrival.path, crash.reason, tries, crash.detail)
                if tries >= self.settings.max_tries:
                    self._board.count("quarantined")
                    ref = FrameRef(str(arrival.path), sha256)
                    raise QuarantineError(ref, tries, crash) from crash

    def out_of_time(self) -> bool:
        """Whether the daemon was told to stop so long ago that what is in hand is left."""
        if not self._stopping.is_set():
            return False
        if self._stop_seen_s is None:
            self._stop_seen_s = time.monotonic()
        return time.monotonic() - self._stop_seen_s > STOP_GRACE_S

    def _duplicate(self, arrival: Arrival, key: FileKey, sha256: str, known: int) -> None:
        self.stored(lambda: self._store.remember_file(key.path, key.size, key.mtime_ns, sha256, "duplicate"))
        self._board.count("duplicates")
        logger.info("%s: the same content as frame %d, which is stored already", arrival.path.name, known)
        self._let_go(arrival)

    def _keep(self, arrival: Arrival, key: FileKey, processed: Processed) -> Stored | None:
        saved = self.stored(lambda: self._store.save(processed, file=key))
        if saved.new:
            lag_s = time.monotonic() - arrival.ready_s
            self._board.frame_done(processed, lag_s)
            self._metrics.observe(processed)
            if saved.message is not None:
                self._feed.publish("frame", saved.message)
            name = processed.map.frame.ref.name
            logger.info("%s: %s, %.2f s after it was ready", name, sentence(processed.map), lag_s)
        self._let_go(arrival)
        return Stored(saved.message, processed.sample) if saved.new and saved.message is not None else None

    def _let_go(self, arrival: Arrival) -> None:
        """Remove a file that is the source's own: what came of it is on the disk when the store returns."""
        if arrival.delete_when_done:
            arrival.path.unlink(missing_ok=True)

    def _set_aside(self, arrival: Arrival) -> None:
        """Keep a received frame that could not be used: its sender was told that it is safe and has forgotten it."""
        place = arrival.path.parent.with_name(SET_ASIDE)
        try:
            place.mkdir(exist_ok=True)
            arrival.path.replace(place / arrival.path.name)
        except OSError as error:
            logger.error("%s: cannot be set aside (%s); it stays where it is", arrival.path, error)


def _state_of(source: str) -> FileKey | None:
    try:
        stat = Path(source).stat()
    except (OSError, ValueError):
        return None  # not a file: a message, or gone by now
    return FileKey(Path(source), stat.st_size, stat.st_mtime_ns)


class QuarantineError(FrameError):
    """A frame that crashed the worker too often; ``spm-live retry`` gives it another chance."""

    def __init__(self, ref: FrameRef, tries: int, crash: WorkerCrashError) -> None:
        reason = f"crashed the worker {tries} times and is set aside: it {crash.reason}"
        super().__init__(ref, "worker", reason)
        self.detail = crash.detail


def sentence(molecule_map: MoleculeMap) -> str:
    """Say in words what was found.

    Returns
    -------
    str
        Such as ``"14 molecules (three-lobe 12, rod 2) on 100 nm²"``.
    """
    found = ", ".join(f"{label} {count.total}" for label, count in molecule_map.counts.items() if count.total)
    partial = f", partial: {molecule_map.frame.complete_rows} of {molecule_map.frame.geometry.rows} rows"
    return (
        f"{molecule_map.total} molecule{'' if molecule_map.total == 1 else 's'}"
        + (f" ({found})" if found else "")
        + f" on {molecule_map.scanned_area_nm2:.4g} nm²"
        + (partial if molecule_map.frame.partial else "")
    )
