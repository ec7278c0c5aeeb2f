"""Lists what lies in a folder, and says which of it is worth a look."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

TEMPORARY_SUFFIXES = (".tmp", ".temp", ".part", ".partial", ".filepart", ".crdownload")
"""Names that programs give a file until they rename it; looked at only under its last name."""

DATABASE_SUFFIXES = (".sqlite3", ".sqlite3-wal", ".sqlite3-shm", ".sqlite3-journal")
"""A store in the watched folder changes with every frame and never is one."""


class FoundFile(NamedTuple):
    """A regular file, as a listing found it.

    On Windows, size and time of a file that is open for writing lag behind in a listing: ``os.stat`` has the last word.
    """

    path: str
    size: int
    mtime_ns: int


class Unreadable(NamedTuple):
    """A sub-folder that could not be listed; nothing is known of the files in it."""

    path: str
    reason: str


Listing = Callable[[Path, bool], Iterator["FoundFile | Unreadable"]]
"""Takes a folder and whether to go into its sub-folders; raises ``OSError`` if the folder itself cannot be listed."""


def list_files(root: Path, recursive: bool) -> Iterator[FoundFile | Unreadable]:
    """Walk through a folder without holding it in memory.

    Links are followed, each folder is visited once, so that a link to a parent ends the walk instead of spinning it.
    Hidden folders, sockets, pipes and broken links are left out.

    Parameters
    ----------
    root : Path
        The folder.
    recursive : bool
        Whether to go into sub-folders.

    Yields
    ------
    FoundFile or Unreadable

    Raises
    ------
    OSError
        If the folder itself cannot be listed.
    """
    folders = [str(root)]
    visited: set[tuple[int, int]] = set()
    while folders:
        folder = folders.pop()
        try:
            # os.stat, since a directory entry has no inode on Windows.
            found = os.stat(folder)  # noqa: PTH116 - paths are kept as text, 100,000 of them
            if (found.st_dev, found.st_ino) in visited:
                continue
            visited.add((found.st_dev, found.st_ino))
            with os.scandir(folder) as entries:
                for entry in entries:
                    if _is_folder(entry):
                        if recursive and not entry.name.startswith("."):
                            folders.append(entry.path)
                    elif (file := _as_file(entry)) is not None:
                        yield file
        except OSError as error:
            if folder == str(root):
                raise
            yield Unreadable(folder, error.strerror or str(error))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _as_file(entry: os.DirEntry[str]) -> FoundFile | None:
    try:
        found = entry.stat()
    except OSError:  # a broken link, or gone since
        return None
    if not stat.S_ISREG(found.st_mode) or _marked_hidden(found):
        return None
    return FoundFile(entry.path, found.st_size, found.st_mtime_ns)


def _marked_hidden(found: os.stat_result) -> bool:
    return bool(getattr(found, "st_file_attributes", 0) & stat.FILE_ATTRIBUTE_HIDDEN)


class NameFilter:
    """Tells by name alone whether a file is worth a look.

    Parameters
    ----------
    root : Path
        The watched folder.
    include, exclude : iterable of str
        Shell patterns, without regard to case. A pattern with a slash is held against the path below the folder,
        any other against the file's name.
    ignored : iterable of Path
        Files and folders of our own; everything whose path begins so is left alone.

    Examples
    --------
    >>> worth = NameFilter(Path("/data"), include=("*.sxm",), exclude=("test*", "old/*"))
    >>> [worth(name) for name in ("/data/a.SXM", "/data/test1.sxm", "/data/old/a.sxm", "/data/.a.sxm")]
    [True, False, False, False]
    """

    def __init__(
        self, root: Path, include: Iterable[str] = ("*",), exclude: Iterable[str] = (), ignored: Iterable[Path] = ()
    ) -> None:
        self._skip = len(os.path.join(root, ""))  # noqa: PTH118 - the separator at the end is what matters
        self._include = [_compiled(pattern) for pattern in include]
        self._exclude = [_compiled(pattern) for pattern in exclude]
        self._ignored = tuple(str(path.absolute()) for path in ignored)

    def __call__(self, path: str) -> bool:
        """Whether a file below the folder is worth a look."""
        below = path[self._skip :].replace(os.sep, "/")
        name = below.rsplit("/", 1)[-1]
        if below.startswith(".") or "/." in below or name.startswith("~$"):
            return False
        if name.lower().endswith(TEMPORARY_SUFFIXES + DATABASE_SUFFIXES) or path.startswith(self._ignored):
            return False
        return _any_match(self._include, name, below) and not _any_match(self._exclude, name, below)


def _compiled(pattern: str) -> tuple[bool, re.Pattern[str]]:
    pattern = pattern.replace("\\", "/")
    return "/" in pattern, re.compile(fnmatch.translate(pattern), re.IGNORECASE)


def _any_match(patterns: Iterable[tuple[bool, re.Pattern[str]]], name: str, below: str) -> bool:
    return any(pattern.match(below if whole else name) for whole, pattern in patterns)
