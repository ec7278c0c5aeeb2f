"""The journal: which files were taken up, so that a restart sends nothing twice and misses nothing."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from spm_live_drivers.agent.settings import AgentSetupError
from spm_live_drivers.agent.watch import FoundFile

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha256 TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS sent (sha256 TEXT PRIMARY KEY);
"""


class Journal:
    """A small SQLite file that one agent holds locked.

    A file is *taken up* once its frame lies in the spool, and *sent* once the receiver has it. Both are noted after the
    fact: a crash in between repeats a step, and the digest of the frame shows that it was done before.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    AgentSetupError
        If it cannot be opened, is damaged, or another agent uses it.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._database = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise AgentSetupError(f"{path}: the journal cannot be opened ({error}); give another --spool") from error
        try:
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute("BEGIN EXCLUSIVE")
            for statement in _SCHEMA.split(";"):
                self._database.execute(statement)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            self._database.close()
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise AgentSetupError(
                    f"{path.parent}: another agent uses this spool; end it, or give --spool"
                ) from error
            raise AgentSetupError(
                f"{path}: the journal cannot be used ({error}); rename it to begin a new one, and every file of the "
                "folder is sent again"
            ) from error

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def taken(self, spooled: Iterable[str]) -> dict[str, tuple[int, int]]:
        """The files that need not be read again: their frames are in the spool or were sent.

        Parameters
        ----------
        spooled : iterable of str
            Digests of the frames in the spool.

        Returns
        -------
        dict of path to (size, mtime_ns)
        """
        safe = set(spooled)
        rows = self._database.execute(
            "SELECT path, size, mtime_ns, files.sha256, sent.sha256 FROM files LEFT JOIN sent USING (sha256)"
        )
        return {path: (size, mtime_ns) for path, size, mtime_ns, sha256, sent in rows if sent or sha256 in safe}

    def take(self, file: FoundFile, sha256: str) -> None:
        """Note that the frame of a file lies in the spool, or was sent before.

        Raises
        ------
        OSError
            If it cannot be written, as on a full disk.
        """
        path = str(file.path).encode("utf-8", "replace").decode()
        self._run("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (path, file.size, file.mtime_ns, sha256))

    def send(self, sha256: str) -> None:
        """Note that the receiver has a frame.

        Raises
        ------
        OSError
            If it cannot be written, as on a full disk.
        """
        self._run("INSERT OR IGNORE INTO sent VALUES (?)", (sha256,))

    def forget(self, sha256: str) -> list[str]:
        """Forget the files of a frame that was lost here, and say which they are.

        Raises
        ------
        OSError
            If the journal cannot be used.
        """
        paths = [path for (path,) in self._run("SELECT path FROM files WHERE sha256 = ?", (sha256,))]
        self._run("DELETE FROM files WHERE sha256 = ?", (sha256,))
        return paths

    def was_sent(self, sha256: str) -> bool:
        """Whether the receiver has a frame.

        Raises
        ------
        OSError
            If the journal cannot be read.
        """
        return self._run("SELECT 1 FROM sent WHERE sha256 = ?", (sha256,)) != []

    def _run(self, statement: str, values: tuple[str | int, ...]) -> list[tuple[str, ...]]:
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise OSError(errno.EIO, f"the journal cannot be used: {error}") from error
