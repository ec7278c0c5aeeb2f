"""The daemon's life: start the sources, handle one arrival after another, reload, stop."""

from __future__ import annotations

import heapq
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import Empty, Full, Queue

from spm_live.daemon.following import Following
from spm_live.daemon.growing import LiveBoard
from spm_live.daemon.handling import Handling
from spm_live.daemon.late_spectra import LateSpectra
from spm_live.daemon.notices import Notices
from spm_live.daemon.series import FollowSeries
from spm_live.daemon.status import StatusBoard
from spm_live.daemon.worker import MakeWork, Worker
from spm_live.domain import DaemonState, DaemonStatus
from spm_live.errors import NotReadyError, SetupError
from spm_live.find import FindMolecules
from spm_live.publish.feed import Feed
from spm_live.publish.live_message import NoticeLog
from spm_live.publish.message import status_message
from spm_live.publish.metrics import Metrics
from spm_live.publish.store import Store
from spm_live.settings import Settings
from spm_live.sources import Arrival, Put, Source, StoppedError

logger = logging.getLogger(__name__)

STATUS_PERIOD_S = 1.0
IDLE_S = 0.2
NOT_READY_RETRY_S = 2.0
NOT_READY_TRIES = 60
SPECTRA_PERIOD_S = 5.0
RELOAD_TIMEOUT_S = 150.0

MakeSources = Callable[[Settings], Sequence[Source]]


@dataclass(order=True, slots=True)
class _Later:
    """An arrival that was not ready, and when to try it again."""

    due_s: float
    tries: int
    arrival: Arrival = field(compare=False)


class Daemon:
    """Runs until told to stop.

    Parameters
    ----------
    settings : Settings
        The configuration.
    store, feed, metrics
        Where results are kept, told and counted; closed by whoever opened them.
    make_sources : callable
        Builds the sources of a configuration.
    live : LiveBoard or None
        Where sources tell of scans in progress; None: an empty one.
    notices : NoticeLog or None
        Where the newest notices are kept; None: an empty one.
    load : callable or None
        Reads the configuration again, for :meth:`reload`.
    make_work : callable
        What the worker does; tests put their own here.

    Raises
    ------
    SetupError
        If the model cannot be loaded.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        feed: Feed,
        metrics: Metrics,
        make_sources: MakeSources,
        load: Callable[[], Settings] | None = None,
        make_work: MakeWork = FindMolecules,
        live: LiveBoard | None = None,
        notices: NoticeLog | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._feed = feed
        self._make_sources = make_sources
        self._load = load
        self._make_work = make_work
        self._queue: Queue[Arrival] = Queue(settings.daemon.queue_size)
        self._later: list[_Later] = []
        self._in_hand_since = math.inf  # monotonic s
        self._sources: list[Source] = []
        self._sources_ended = threading.Event()
        self._news = threading.Event()
        self._stopping = threading.Event()
        self._reloads: Queue[Future[list[str]]] = Queue()
        self._board = StatusBoard(datetime.now(UTC), settings.daemon.queue_size)
        self._handling = Handling(
            settings.daemon, store=store, feed=feed, metrics=metrics, board=self._board, stopping=self._stopping
        )
        self._late_spectra = LateSpectra(store, feed)
        self._series = FollowSeries(store, feed)
        self._notices = Notices(
            feed, notices or NoticeLog(), self._handling.report, lambda: self._board.count("notices")
        )
        self._following = Following(live or LiveBoard(lambda _scan: None), self._handling, self._board, self._notices)
        self._following.board.wake = self._news.set
        self._following.board.waiting_since = self._waiting_since
        self._worker = Worker(settings.model, make_work)
        self._board.use_model(self._worker.identity)

    def run(self) -> None:
        """Live until :meth:`stop`.

        Raises
        ------
        SetupError
            If a source cannot start.
        """
        ticker = threading.Thread(target=self._tell_status, name="spm-live-status")
        ticker.start()
        try:
            self._notices.use(self._settings.rules)
            self._start_sources(self._settings)
            self._board.enter(DaemonState.RUNNING)
            spectra_due_s = time.monotonic() + SPECTRA_PERIOD_S
            while not self._stopping.is_set():
                self._reload_where_asked()
                # One finished frame, then one update of a scan in progress: neither holds the other up for long.
                self._news.clear()
                arrival, tries = self._next()
                if arrival is not None:
                    self._handle(arrival, tries)
                followed = self._following.step(self._worker)
                if arrival is not None or followed:
                    continue
                if time.monotonic() > spectra_due_s:
                    self._late_spectra.look()
                    spectra_due_s = time.monotonic() + SPECTRA_PERIOD_S
                self._news.wait(IDLE_S)
        except StoppedError:
            pass
        finally:
            self._stopping.set()
            self._board.enter(DaemonState.STOPPING)
            self._stop_sources()
            with suppress(StoppedError):  # the disk is full
                self._following.keep_qualities()
            self._notices.stop()
            self._worker.stop()
            ticker.join()
            self._board.enter(DaemonState.STOPPED)
            self._feed.publish("status", status_message(self.status()))

    def stop(self) -> None:
        """Ask it to end: the frame in hand is finished, the rest is found again at the next start."""
        self._stopping.set()

    def close(self) -> None:
        """End the worker of a daemon that may never have run; does nothing after :meth:`run`."""
        self._worker.stop()

    def status(self) -> DaemonStatus:
        """How it stands; called from other threads."""
        sources = tuple(source.status() for source in list(self._sources))
        return self._board.snapshot(sources, self._queue.qsize() + len(self._later))

    def _handle(self, arrival: Arrival, tries: int) -> None:
        self._board.take_in_hand(str(arrival.path))
        try:
            stored = self._handling.handle(arrival, self._worker)
            self._late_spectra.frame_stored(arrival.path, arrival.options.timezone)
            if stored is not None:
                self._following.frame_stored(stored)
                if self._settings.live.track:
                    self._series.frame_stored(stored.message["id"])
        except NotReadyError as error:
            if tries < NOT_READY_TRIES:
                heapq.heappush(self._later, _Later(time.monotonic() + NOT_READY_RETRY_S, tries + 1, arrival))
            else:
                self._handling.give_up(arrival, error)
        finally:
            self._board.take_in_hand("")
            self._in_hand_since = math.inf

    def _waiting_since(self) -> float:
        """Since when the file that waits longest has been ready; called from the sources' threads."""
        with self._queue.mutex:
            waiting: list[float] = [arrival.ready_s for arrival in self._queue.queue]
        waiting += [later.arrival.ready_s for later in list(self._later)]
        return min([*waiting, self._in_hand_since])

    def _next(self) -> tuple[Arrival | None, int]:
        self._in_hand_since = self._waiting_since()  # before it is taken: it is never in neither place
        if self._later and self._later[0].due_s <= time.monotonic():
            later = heapq.heappop(self._later)
            return later.arrival, later.tries
        try:
            return self._queue.get_nowait(), 0
        except Empty:
            self._in_hand_since = math.inf
            return None, 0

    def _putter(self, ended: threading.Event) -> Put:
        """What the sources of one configuration put arrivals with; it ends with them."""

        def put(arrival: Arrival) -> None:
            while not (self._stopping.is_set() or ended.is_set()):
                try:
                    self._queue.put(arrival, timeout=0.2)
                except Full:
                    continue
                self._news.set()
                return
            raise StoppedError

        return put

    # --- sources and configuration ----------------------------------------------------------------------------------

    def ask_reload(self) -> Future[list[str]]:
        """Have the configuration read again between two frames; safe in a signal handler.

        Returns
        -------
        Future of list of str
            What changed, a sentence each; or the :class:`SetupError` for which everything stayed as it was.
        """
        asked: Future[list[str]] = Future()
        self._reloads.put(asked)
        return asked

    def reload(self) -> list[str]:
        """Have the configuration read again, and wait for it; for other threads than the daemon's own.

        Raises
        ------
        SetupError
            If the new configuration does not hold; the old one goes on.
        """
        return self.ask_reload().result(RELOAD_TIMEOUT_S)

    def _reload_where_asked(self) -> None:
        while not self._reloads.empty():
            asked = self._reloads.get()
            try:
                changes = self._reload()
            except SetupError as error:
                logger.error("the configuration was not taken up: %s", error)
                asked.set_exception(error)
            else:
                for change in changes:
                    logger.info("reload: %s", change)
                asked.set_result(changes)

    def _reload(self) -> list[str]:
        if self._load is None:
            raise SetupError("this daemon was started without a configuration file: there is nothing to read again")
        new, old = self._load(), self._settings
        # The model is always opened again: its folder may hold a new one under the old name.
        worker = Worker(new.model, self._make_work)
        changes = [] if worker.identity == self._worker.identity else [f"model {worker.identity.name} is in use"]
        self._worker.stop()
        self._worker = worker
        self._following.board.lost_worker()
        self._board.use_model(worker.identity)
        if (new.folders, new.zeromq, new.nanonis, new.live) != (old.folders, old.zeromq, old.nanonis, old.live):
            self._stop_sources()
            self._settings = new
            self._start_sources(new)
            changes.append(f"{len(self._sources)} source(s) are watched")
        if new.rules != old.rules:
            self._notices.use(new.rules)
            changes.append(f"{len(new.rules)} rule(s) are in force")
        self._settings = new
        self._handling.settings = new.daemon
        changes.extend(
            f"[{section}] changed: it is taken up at the next start"
            for section in ("store", "web", "publish")
            if getattr(new, section) != getattr(old, section)
        )
        return changes or ["nothing changed"]

    def _start_sources(self, settings: Settings) -> None:
        self._sources_ended = threading.Event()
        put = self._putter(self._sources_ended)
        for source in self._make_sources(settings):
            source.start(put, self._handling.report, self._store.file_known)
            self._sources.append(source)
            logger.info("watching %s", source.name)

    def _stop_sources(self) -> None:
        self._sources_ended.set()
        for source in self._sources:
            source.stop()
            self._following.board.source_stopped(source.name)
        self._sources = []

    def _tell_status(self) -> None:
        while not self._stopping.wait(STATUS_PERIOD_S):
            self._feed.publish("status", status_message(self.status()))
            self._following.board.give_up_silent()
