"""Finds the files of a folder that the instrument has finished."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from spm_live_drivers.contract import FileStatus, FrameRef, ReadOptions
from spm_live_drivers.errors import FrameError, NotReadyError
from spm_live_drivers.registry import find_reader, scan_suffixes

logger = logging.getLogger(__name__)

_REST_SHARE = 4
"""After a look comes at least this many times its duration of rest, so that watching costs a fifth of a core."""


_GIVE_UP_AFTER = 10
"""A file that waits for another one is given up after this many times ``quiet_s``."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One state of a file."""

    path: Path
    size: int
    mtime_ns: int


@dataclass(slots=True)
class _Open:
    """A file whose last word is not spoken."""

    found: FoundFile
    since: float
    told: bool = False


List = Callable[[Path], Iterable[FoundFile]]


def list_files(folder: Path) -> Iterator[FoundFile]:
    """List the regular files of a folder and its sub-folders; sub-folders that cannot be read are passed over.

    Raises
    ------
    OSError
        If the folder itself cannot be listed.
    """
    folders = [folder]
    while folders:
        current = folders.pop()
        try:
            with os.scandir(current) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    elif (found := _stat(entry)) is not None:
                        yield found
        except OSError as error:
            if current == folder:
                raise
            logger.debug("%s: cannot be listed (%s)", current, error.strerror or error)


def _stat(entry: os.DirEntry[str]) -> FoundFile | None:
    try:
        # On Windows what the listing itself says of a file being written is out of date; stat asks the file.
        status = os.stat(entry.path)  # noqa: PTH116 - a listing of 100,000 files
        return FoundFile(Path(entry.path), status.st_size, status.st_mtime_ns) if entry.is_file() else None
    except OSError:
        return None  # gone, or a link to nothing


class Watch:
    """Looks at a folder again and again, and says which files are finished.

    Parameters
    ----------
    folder : Path
        The folder.
    options : ReadOptions
        Tells which files are wanted.
    settle_s, quiet_s : float
        As in :class:`AgentSettings`.
    dealt : mapping of path to (size, mtime_ns)
        What was taken up in earlier runs.
    clock : callable
        Monotonic time in s.
    listing : callable
        Lists the folder.
    """

    def __init__(
        self,
        folder: Path,
        options: ReadOptions,
        *,
        settle_s: float,
        quiet_s: float,
        dealt: Mapping[str, tuple[int, int]],
        clock: Callable[[], float],
        listing: List = list_files,
    ) -> None:
        self._folder, self._options = folder, options
        self._settle_s, self._quiet_s = settle_s, quiet_s
        self._dealt = dict(dealt)
        self._clock, self._listing = clock, listing
        self._open: dict[str, _Open] = {}
        self.away = False
        """Whether the folder could not be listed."""
        self.rest_s = 0.0
        """How long the folder should be left alone after the last look, in s."""
        self.faults = 0

    @property
    def open_files(self) -> int:
        """Files that are still being written, or wait for another one."""
        return len(self._open)

    @property
    def settling(self) -> bool:
        """Whether a file may be finished before the next regular look."""
        now = self._clock()
        return any(now - file.since < self._settle_s for file in self._open.values())

    def look(self) -> list[FoundFile]:
        """List the folder.

        Returns
        -------
        list of FoundFile
            The files that can be read now, oldest first. Each comes again at the next look until :meth:`deal_with`,
            :meth:`put_off` or :meth:`give_up` is called for it.
        """
        begun = self._clock()
        try:
            fresh = [file for file in self._listing(self._folder) if not self._is_dealt_with(file)]
        except OSError as error:
            if not self.away:
                logger.warning("%s: cannot be listed (%s); waiting for it", self._folder, error.strerror or error)
            self.away = True
            return []
        if self.away:
            logger.info("%s: is back", self._folder)
            self.away = False
        for gone in self._open.keys() - {str(file.path) for file in fresh}:
            del self._open[gone]
        ready = [file for file in fresh if self._ready(file)]
        self.rest_s = _REST_SHARE * (self._clock() - begun)
        return sorted(ready, key=lambda file: (file.mtime_ns, file.path))

    def deal_with(self, file: FoundFile) -> None:
        """Do not name this state of a file again."""
        self._dealt[str(file.path)] = (file.size, file.mtime_ns)
        self._open.pop(str(file.path), None)

    def put_off(self, file: FoundFile, error: FrameError) -> None:
        """A file could not be read: try again if that may help, else give up."""
        opened = self._open.get(str(file.path))
        still_s = self._clock() - opened.since if opened is not None else 0.0
        if isinstance(error, NotReadyError):
            self._wait(file, error)
        elif not isinstance(error.__cause__, OSError) or still_s >= self._quiet_s:
            # Until then an instrument may hold the file locked, or a share may be away.
            self.give_up(file, error)

    def give_up(self, file: FoundFile, error: FrameError) -> None:
        """Log once why a file is not sent; another state of it gets another chance."""
        self.faults += 1
        logger.error("%s: %s: %s", file.path, error.stage, error.reason)
        self.deal_with(file)

    def forget(self, paths: Iterable[str]) -> None:
        """Name these files again, whatever was done with them."""
        for path in paths:
            self._dealt.pop(path, None)

    def _is_dealt_with(self, file: FoundFile) -> bool:
        return self._dealt.get(str(file.path)) == (file.size, file.mtime_ns)

    def _ready(self, file: FoundFile) -> bool:
        now = self._clock()
        opened = self._open.get(str(file.path))
        if opened is None or opened.found != file:
            opened = self._open[str(file.path)] = _Open(file, now)
        still_s = now - opened.since
        if still_s < self._settle_s:
            return False
        quiet = still_s >= self._quiet_s
        try:
            return self._judge(file, quiet=quiet)
        except FrameError as error:
            self.put_off(file, error)
        return False

    def _judge(self, file: FoundFile, *, quiet: bool) -> bool:
        promising = file.path.suffix.lower() in _suffixes()
        if file.size == 0 and not quiet:
            return False
        try:
            reader = find_reader(file.path)
        except FrameError as error:
            if isinstance(error.__cause__, OSError):
                raise
            if not promising:
                logger.debug("%s: %s", file.path, error.reason)
                self.deal_with(file)
                return False
            if quiet:  # until then the start of a scan file may not be written yet
                raise
            return False
        if not reader.wanted(file.path, self._options):
            self.deal_with(file)
            return False
        state = reader.state(file.path)
        if state.status is FileStatus.WAITING:
            raise NotReadyError(FrameRef(str(file.path)), "read", state.reason)
        return state.status is FileStatus.COMPLETE or quiet

    def _wait(self, file: FoundFile, error: NotReadyError) -> None:
        """The file needs another one: wait for it, though not for ever."""
        opened = self._open.get(str(file.path))
        if opened is None:
            return
        if self._clock() - opened.since >= _GIVE_UP_AFTER * self._quiet_s:
            self.give_up(file, error)
        elif not opened.told:
            opened.told = True
            logger.info("%s: waits: %s", file.path, error.reason)


@cache
def _suffixes() -> frozenset[str]:
    return scan_suffixes()
