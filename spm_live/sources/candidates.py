"""Decides when a file of a watched folder is finished: by its content, and by how long it has been still."""

from __future__ import annotations

import logging
import os
import stat
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from spm_live.domain import Fault, FileState, FileStatus
from spm_live.errors import FrameError, NotReadyError
from spm_live.settings import FolderSettings
from spm_live.sources import Arrival, Known, Put, Report
from spm_live.sources.agenda import Agenda
from spm_live.sources.listing import FoundFile
from spm_live_drivers.contract import Reader
from spm_live_drivers.registry import find_reader, scan_suffixes

logger = logging.getLogger(__name__)

GIVE_UP_AFTER = 10
"""A file that waits for another one is given up after this many times ``quiet_s``."""

SAID_AFTER_S = 5.0
"""A file that waits for another one is named in the log after this time: a moment is usual, a while is not."""
RECHECK_S = 1.0
"""A waiting file is asked again after this time, and then ever more seldom."""

_Ending = Literal["arrived", "skipped", "ignored", "unwanted", "faults"]


@dataclass(slots=True, eq=False)
class _Candidate:
    """A file whose last word is not spoken."""

    size: int
    mtime_ns: int
    since: float
    """When this size and time were first seen, on the monotonic clock, in s."""
    reason: str = ""
    """Why it waits for another file, or empty."""
    told: bool = False
    """Whether the log says that it is not complete, or what it waits for."""


class Candidates:
    """The files of one folder that are on their way to be read.

    What is finished is kept as two integers a file, so that a folder of 100,000 files costs about 10 MB.

    Parameters
    ----------
    settings : FolderSettings
        Quiet times and read options.
    origin : str
        Name of the source, for its arrivals.
    put, report, known : callable
        As :class:`spm_live.sources.Source` gets them.
    clock : callable
        Monotonic time in s.
    find : callable
        Finds the reader for a file, as :func:`spm_live_drivers.registry.find_reader`.
    suffixes : tuple of str or None
        Suffixes that promise a scan; a file with another one that no reader knows is left alone in silence. None:
        those of :func:`spm_live_drivers.registry.scan_suffixes`.
    """

    def __init__(
        self,
        settings: FolderSettings,
        origin: str,
        put: Put,
        report: Report,
        known: Known,
        clock: Callable[[], float],
        find: Callable[[Path], Reader] = find_reader,
        suffixes: tuple[str, ...] | None = None,
    ) -> None:
        self._settings, self._origin = settings, origin
        self._put, self._report, self._known = put, report, known
        self._clock, self._find = clock, find
        self._suffixes = suffixes if suffixes is not None else tuple(scan_suffixes())
        self._options = settings.read_options()
        self._patience_s = GIVE_UP_AFTER * settings.quiet_s
        self._agenda = Agenda()
        self._open: dict[str, _Candidate] = {}
        # Hash of a path to hash of its size and time: 64 bits, so that among 100,000 files a mix-up has odds of 1e-9.
        self._done: dict[int, int] = {}
        self._present: set[int] | None = None
        self._waiting: dict[str, set[str]] = {}
        self.counters: dict[str, int] = dict.fromkeys(
            ("arrived", "partial", "skipped", "ignored", "unwanted", "faults"), 0
        )

    def __len__(self) -> int:
        return len(self._open)

    def waiting(self) -> tuple[int, str]:
        """How many files wait for another one, and what one of them waits for; called from other threads."""
        paths = [path for group in tuple(self._waiting.values()) for path in tuple(group)]
        for path in paths:
            if (file := self._open.get(path)) is not None and file.reason:
                return len(paths), f"{_name(path)}: {file.reason}"
        return 0, ""

    def begin_listing(self) -> None:
        """Note from now on which files are there."""
        self._present = set()

    def is_news(self, found: FoundFile) -> bool:
        """Whether this state of a file was never dealt with, now or in an earlier run, and is not being watched."""
        if self._present is not None:
            self._present.add(hash(found.path))
        if self._done.get(hash(found.path)) == hash((found.size, found.mtime_ns)):
            return False
        if (file := self._open.get(found.path)) is not None:
            return (file.size, file.mtime_ns) != (found.size, found.mtime_ns)
        if self._known(Path(found.path), found.size, found.mtime_ns):
            self.counters["skipped"] += 1
            self.pass_over(found)
            return False
        return True

    def end_listing(self, *, whole: bool) -> None:
        """Forget finished files that are gone, if the listing reached every folder."""
        present, self._present = self._present, None
        if whole and present is not None:
            for key in [key for key in self._done if key not in present]:
                del self._done[key]

    def pass_over(self, found: FoundFile) -> None:
        """Take this state of a file as dealt with, unread."""
        self._done[hash(found.path)] = hash((found.size, found.mtime_ns))
        if self._present is not None:
            self._present.add(hash(found.path))

    def add(self, found: FoundFile, *, backlog: bool = False) -> None:
        """Take up a new state of a file; those of the backlog are looked at in the order they are added."""
        if (file := self._open.get(found.path)) is not None:
            self._changed(found.path, file, found.size, found.mtime_ns)
        else:
            now = self._clock()
            self._open[found.path] = _Candidate(found.size, found.mtime_ns, now)
            self._agenda.set(found.path, now + self._settings.settle_s, backlog=backlog)

    def touch(self, path: str) -> None:
        """Something happened to a file: it was written, came, or went."""
        try:
            found = os.stat(path)  # noqa: PTH116 - paths are kept as text
        except OSError:
            # Gone. Where it only cannot be looked at for now, a listing finds it again.
            self._forget(path)
            return
        entry = FoundFile(path, found.st_size, found.st_mtime_ns)
        if stat.S_ISREG(found.st_mode) and self.is_news(entry):
            self.add(entry)

    def stir(self, folder: str) -> None:
        """Something happened in a folder: what waits there may have got what it waits for."""
        group = self._waiting.get(folder, ())
        # A parameter chain changes many times a second: the more files wait, the less often they are asked.
        due = self._clock() + self._settings.settle_s + 0.001 * len(group)
        # In the order they were written: one chain may bring several scans, and each is followed from the one before.
        for path in sorted(group, key=self._written):
            if due < self._agenda.due(path):
                self._agenda.set(path, due)

    def _written(self, path: str) -> int:
        file = self._open.get(path)
        return file.mtime_ns if file is not None else 0

    def next_due(self) -> float:
        """When the next file wants to be looked at, on the monotonic clock; infinity if none does."""
        return self._agenda.next_due()

    def look_at_next(self) -> bool:
        """Look at one file whose time has come.

        Returns
        -------
        bool
            False if no file's time has come.

        Raises
        ------
        StoppedError
            From ``put``: the daemon is stopping.
        """
        now = self._clock()
        path = self._agenda.take(now)
        if path is None:
            return False
        file = self._open[path]
        try:
            found = os.stat(path)  # noqa: PTH116 - as above
        except OSError:
            self._forget(path)
            return True
        if (found.st_size, found.st_mtime_ns) != (file.size, file.mtime_ns):
            self._changed(path, file, found.st_size, found.st_mtime_ns)
        elif self._done.get(hash(path)) == hash((file.size, file.mtime_ns)):
            self._finish(path, file)  # a listing on Windows told an outdated size
        else:
            self._judge(path, file, now - file.since)
        return True

    def _judge(self, path: str, file: _Candidate, still_s: float) -> None:
        try:
            verdict = self._ask(path, still_s)
        except FrameError as error:
            # For good only once it is quiet: its first bytes may not have been written yet.
            if still_s >= self._settings.quiet_s:
                self._fault(path, file, error.reason)
            else:
                self._agenda.set(path, file.since + self._settings.quiet_s)
            return
        except Exception as error:  # noqa: BLE001 - readers come from other packages; a bug in one must not end the watch
            self._fault(path, file, f"the reader failed: {type(error).__name__}: {error}", traceback.format_exc())
            return
        if not isinstance(verdict, FileState):
            self._finish(path, file, verdict)
        elif verdict.status is FileStatus.WAITING:
            self._wait(path, file, still_s, verdict.reason)
        elif verdict.status is FileStatus.COMPLETE:
            self._deliver(path, file, partial=False)
        elif still_s >= self._settings.quiet_s:
            self._deliver(path, file, partial=True)
        else:
            if not file.told:
                logger.info("%s: is not complete yet: %s", path, verdict.reason)
                file.told = True
            self._stop_waiting(path, file)
            self._agenda.set(path, file.since + self._settings.quiet_s)

    def _ask(self, path: str, still_s: float) -> FileState | Literal["ignored", "unwanted"]:
        try:
            reader = self._find(Path(path))
        except FrameError:
            if path.lower().endswith(self._suffixes):
                raise
            return "ignored"
        # While a file waits, it is not yet known whether it is wanted: the files beside it may decide that.
        try:
            state = reader.state(Path(path))
        except NotReadyError as error:
            state = FileState(FileStatus.WAITING, error.reason)
        except FrameError:
            if reader.wanted(Path(path), self._options):
                raise
            return "unwanted"
        if state.status is FileStatus.WAITING and still_s < self._patience_s:
            return state
        return state if reader.wanted(Path(path), self._options) else "unwanted"

    def _wait(self, path: str, file: _Candidate, still_s: float, reason: str) -> None:
        if still_s >= self._patience_s:
            self._fault(path, file, f"given up after {still_s:.0f} s: {reason}")
            return
        if still_s >= SAID_AFTER_S and not file.told:
            logger.info("%s: waits: %s", path, reason)
            file.told = True
        file.reason = reason
        self._waiting.setdefault(_folder(path), set()).add(path)
        self._agenda.set(path, min(self._clock() + max(RECHECK_S, 0.1 * still_s), file.since + self._patience_s))

    def _deliver(self, path: str, file: _Candidate, *, partial: bool) -> None:
        self._put(
            Arrival(
                path=Path(path),
                size=file.size,
                mtime_ns=file.mtime_ns,
                options=self._options,
                origin=self._origin,
                partial=partial,
                ready_s=self._clock(),
            )
        )
        self.counters["partial"] += partial
        self._finish(path, file, "arrived")

    def _fault(self, path: str, file: _Candidate, reason: str, detail: str = "") -> None:
        self._finish(path, file, "faults")
        self._report(Fault(source=path, stage="read", reason=reason, when=datetime.now(UTC), detail=detail))

    def _changed(self, path: str, file: _Candidate, size: int, mtime_ns: int) -> None:
        now = self._clock()
        file.size, file.mtime_ns, file.since = size, mtime_ns, now
        self._stop_waiting(path, file)
        self._agenda.set(path, now + self._settings.settle_s)

    def _stop_waiting(self, path: str, file: _Candidate) -> None:
        file.reason = ""
        group = self._waiting.get(_folder(path))
        if group is not None:
            group.discard(path)
            if not group:
                del self._waiting[_folder(path)]

    def _finish(self, path: str, file: _Candidate, ending: _Ending | None = None) -> None:
        if ending is not None:
            self.counters[ending] += 1
        self.pass_over(FoundFile(path, file.size, file.mtime_ns))
        self._drop(path)

    def _forget(self, path: str) -> None:
        self._done.pop(hash(path), None)
        self._drop(path)

    def _drop(self, path: str) -> None:
        self._agenda.drop(path)
        file = self._open.pop(path, None)
        if file is not None:
            self._stop_waiting(path, file)


def _name(path: str) -> str:
    return os.path.basename(path)  # noqa: PTH119 - paths are kept as text


def _folder(path: str) -> str:
    return os.path.dirname(path)  # noqa: PTH120 - paths are kept as text
