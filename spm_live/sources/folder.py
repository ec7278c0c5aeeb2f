"""A watched folder as a source of frames."""

from __future__ import annotations

import math
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from spm_live.domain import SourceStatus
from spm_live.settings import FolderSettings, Observer
from spm_live.sources import Arrival, Known, Put, Report, StoppedError
from spm_live.sources.candidates import Candidates
from spm_live.sources.listing import FoundFile, Listing, NameFilter, Unreadable, list_files
from spm_live.sources.shares import share_type
from spm_live.sources.survey import Survey
from spm_live.sources.watching import NativeWatch, Watch, Watcher
from spm_live_drivers.contract import Reader
from spm_live_drivers.registry import find_reader

RELIST_S = 60.0
"""Time between two listings of a folder that sends events: events can be lost, files must not."""

LISTING_SHARE = 4
"""After a listing comes at least this many times its duration of rest, so that watching costs a fifth of a core."""

SILENT_S = 30.0
"""A folder that keeps its thread longer than this does not answer (a dead network mount)."""


class FolderSource:
    """Watch a folder and hand on every file that is finished.

    One thread does all: it takes the events, lists the folder now and then, asks the readers, and waits.

    Parameters
    ----------
    settings : FolderSettings
        What to watch and how.
    ignored : iterable of Path
        Files and folders of our own below the folder, such as the store.
    clock : callable
        Monotonic time in s.
    wall_clock : callable
        Time in s since 1970, to tell the backlog from what is new where the folder comes later than the source.
    listing : callable
        Lists the folder; as :func:`spm_live.sources.listing.list_files`.
    watcher : callable
        Starts a watch; as :class:`spm_live.sources.watching.NativeWatch`.
    find : callable
        Finds the reader for a file.
    suffixes : tuple of str or None
        Suffixes that promise a scan; None: those of the installed readers.

    Examples
    --------
    >>> source = FolderSource(FolderSettings(path="/data/stm"))
    >>> source.name
    'folder /data/stm'
    """

    def __init__(
        self,
        settings: FolderSettings,
        *,
        ignored: Iterable[Path] = (),
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        listing: Listing = list_files,
        watcher: Watcher = NativeWatch,
        find: Callable[[Path], Reader] = find_reader,
        suffixes: tuple[str, ...] | None = None,
    ) -> None:
        self.name = f"folder {settings.path.as_posix()}"
        self._settings = settings
        self._root = settings.path.absolute()
        self._clock, self._wall_clock = clock, wall_clock
        self._listing, self._watcher = listing, watcher
        self._find, self._suffixes = find, suffixes
        self._worth = NameFilter(self._root, settings.include, settings.exclude, ignored)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._candidates: Candidates | None = None
        self._watch: Watch | None = None
        self._watched: tuple[int, int] | None = None
        self._survey: Survey | None = None
        self._surveyed = self._came_late = self._must_list = False
        self._next_survey = self._next_visit = self._rest_until = -math.inf
        self._started_wall = wall_clock()
        self._trouble = "not started"
        self._how = ""
        self._unreadable: list[Unreadable] = []
        self._listings = 0
        self._answered = clock()
        self._handing_over = False

    def start(self, put: Put, report: Report, known: Known) -> None:
        """Begin; returns at once. A folder that is not there is waited for."""
        self.prepare(put, report, known)
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def prepare(self, put: Put, report: Report, known: Known) -> None:
        """Make ready for :meth:`step` without a thread."""

        def patient_put(arrival: Arrival) -> None:
            self._handing_over = True
            try:
                put(arrival)
            finally:
                self._handing_over = False
                self._answered = self._clock()

        self._trouble = f"{self._root} has not been looked at yet"
        self._candidates = Candidates(
            self._settings, self.name, patient_put, report, known, self._clock, self._find, self._suffixes
        )

    def stop(self) -> None:
        """End, and wait for the thread, at most 5 s."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
            self._thread = None

    def status(self) -> SourceStatus:
        """How it stands; called from other threads."""
        candidates, trouble = self._candidates, self._trouble
        counters = {"listings": self._listings, "open": 0, "waiting": 0}
        detail = f"{self._root}: {self._how}"
        for sub_folder in self._unreadable[:1]:
            detail += f"; {len(self._unreadable)} sub-folders unreadable, {sub_folder.path}: {sub_folder.reason}"
        if candidates is not None:
            waiting, reason = candidates.waiting()
            counters = {**candidates.counters, **counters, "open": len(candidates), "waiting": waiting}
            if waiting:
                detail += f"; {waiting} waiting, {reason}"
        silent_s = self._clock() - self._answered
        if self._thread is not None and not trouble:
            if not self._thread.is_alive():
                trouble = "the watching thread has ended because of a bug; the log has the traceback"
            elif silent_s > SILENT_S and not self._handing_over:
                trouble = f"{self._root} has not answered for {silent_s:.0f} s"
        return SourceStatus(name=self.name, ok=not trouble, detail=trouble or detail, counters=counters)

    def step(self) -> float:
        """Do one piece of work: what the thread does again and again.

        Returns
        -------
        float
            For how long there is nothing to do unless something happens, in s.

        Raises
        ------
        StoppedError
            From ``put``: the daemon is stopping.
        """
        candidates = self._candidates
        if candidates is None:
            raise RuntimeError("start or prepare the source first")
        self._answered = self._clock()
        if self._answered >= self._next_visit:
            self._visit()
        if self._trouble:
            return max(0.0, self._next_visit - self._clock())
        self._follow(candidates)
        listing = self._list(candidates)
        if candidates.look_at_next() or listing:
            return 0.0
        return max(0.0, min(self._next_visit, self._next_survey, candidates.next_due()) - self._clock())

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                rest_s = self.step()
                if rest_s > 0:
                    self._wake.wait(rest_s)
                self._wake.clear()
        except StoppedError:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """End the watch and the listing under way; :meth:`stop` does it where there is a thread."""
        self._lose("stopped")

    def _visit(self) -> None:
        """See that the folder is there and is still the one being watched."""
        self._next_visit = self._clock() + self._settings.poll_s
        try:
            found = os.stat(self._root)  # noqa: PTH116 - its errors are wanted
            if not stat.S_ISDIR(found.st_mode):
                self._lose(f"{self._root} is not a folder")
                return
            identity = (found.st_dev, found.st_ino)
            if self._watch is not None and (identity != self._watched or not self._watch.is_alive()):
                self._lose(f"{self._root} is watched anew")
            if self._trouble:
                self._open_watch(identity)
        except OSError as error:
            self._lose(self._unreachable(error))

    def _open_watch(self, identity: tuple[int, int]) -> None:
        polling = f"a look every {self._settings.poll_s:g} s"
        native = f"events of the operating system, and a look every {RELIST_S:g} s"
        share = share_type(self._root) if self._settings.observer is Observer.AUTO else None
        if self._settings.observer is Observer.POLLING:
            self._how = polling
        elif share is not None:
            self._how = f"{polling}, since it is on a network share ({share})"
        else:
            try:
                self._watch, self._watched = (
                    self._watcher(self._root, self._settings.recursive, self._wake.set),
                    identity,
                )
                self._how = native
            except FileNotFoundError:
                raise
            except OSError as error:
                self._how = f"{polling}, since the system gives no events ({error.strerror or error})"
        self._trouble = ""
        self._next_survey = -math.inf

    def _lose(self, trouble: str) -> None:
        self._trouble = trouble
        self._came_late = self._came_late or not self._surveyed
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if self._survey is not None:
            self._survey.abandon()
            self._survey = None

    def _unreachable(self, error: OSError) -> str:
        reason = error.strerror or str(error)
        return f"{self._root} cannot be reached ({reason}); trying again every {self._settings.poll_s:g} s"

    def _follow(self, candidates: Candidates) -> None:
        if self._watch is None:
            return
        touched, must_list = self._watch.take()
        for folder in {os.path.dirname(path) for path in touched}:  # noqa: PTH120 - paths are kept as text
            candidates.stir(folder)
        for path in touched:
            if self._worth(path):
                candidates.touch(path)
        self._must_list = self._must_list or must_list
        if self._must_list and self._survey is None:
            soon = max(self._clock() + self._settings.settle_s, self._rest_until)
            self._next_survey = min(self._next_survey, soon)
            self._must_list = False

    def _list(self, candidates: Candidates) -> bool:
        """Go on with the listing under way, or begin one if it is time; whether there is more to do at once."""
        if self._survey is None:
            if self._clock() < self._next_survey:
                return False
            self._survey = Survey(
                self._listing(self._root, self._settings.recursive),
                candidates,
                self._worth,
                started=self._clock(),
                first=not self._surveyed,
                left_alone=self._left_alone,
            )
        survey = self._survey
        try:
            if survey.go_on():
                return True
        except OSError as error:
            self._lose(self._unreachable(error))
            return False
        survey.conclude()
        self._survey, self._surveyed = None, True
        self._unreadable = survey.unreadable
        self._listings += 1
        now = self._clock()
        self._rest_until = now + LISTING_SHARE * (now - survey.started)
        period_s = self._settings.poll_s if self._watch is None else RELIST_S
        self._next_survey = max(now + period_s, self._rest_until)
        return False

    def _left_alone(self, found: FoundFile) -> bool:
        """Whether a file belongs to a backlog that is not wanted.

        Where the folder came later than the source, what was written since the start is no backlog.
        """
        if self._surveyed or self._settings.backlog:
            return False
        return not self._came_late or found.mtime_ns < self._started_wall * 1e9
