"""The SQLite file itself: opening, transactions, and what its errors mean."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from spm_live.errors import SetupError, SpmLiveError
from spm_live.publish import schema
from spm_live.publish.claim import Claim

BUSY_S = 5.0
"""How long to wait for another program that holds the file, such as a database browser, in s."""

CLOSING_MS = 500
"""How long to wait at the end for a program that still reads, before the log is left beside the file, in ms."""

IDLE_READERS = 4
"""Reading connections kept open; more are opened while more threads read at once."""

FULL_BELOW_BYTES = 1024 * 1024
"""A disk with less room is full: the shared-memory file beside the log could not grow."""

WAL_KEPT_BYTES = 64 * 1024 * 1024
"""The write-ahead log is cut back to this after a checkpoint."""


class StoreError(SpmLiveError):
    """The store cannot be read or written now; nothing was changed, and the same call may succeed later."""


class StoreFullError(StoreError):
    """There is no room on the disk; nothing was changed, and the same call succeeds once there is."""


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written to the disk of a folder."""
    return shutil.disk_usage(folder).free


class Database:
    """One writing connection behind a lock, and a small pool of reading ones.

    Parameters
    ----------
    path : Path
        Made where it does not exist, with its folder.
    read_only : bool
        Never write, not even to migrate; the file must exist.
    exclusive : bool
        Claim the file, so that a second daemon is refused. Programs that only read never claim it.
    min_free_mb : int
        With less room than this, writing raises :class:`StoreFullError`.
    room : callable
        Tells the free bytes of a folder.

    Raises
    ------
    SetupError
        If the file is not ours, damaged, newer than this program, in use, or cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool = False,
        exclusive: bool = True,
        min_free_mb: int = 0,
        room: Callable[[Path], int] = free_bytes,
    ) -> None:
        self.path = path.absolute()
        self._min_free_mb = min_free_mb
        self._room = room
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()
        self._closed = False
        self._unsynced = False
        self._still = False
        self._writer: sqlite3.Connection | None = None
        self._claim = self._claimed() if exclusive and not read_only else None
        try:
            if read_only:
                self._still = _is_archive(self.path)
                self._idle.append(self._open_reader())
                schema.check(self._idle[0], self.path, may_migrate=False)
            else:
                self._writer = self._open_writer()
        except sqlite3.Error as error:
            self.close()
            full = isinstance(self._meaning(error), StoreFullError)
            raise SetupError(_why_not_opened(self.path, error, full=full)) from error
        except SetupError:
            self.close()
            raise

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """One transaction: all of the block is kept, or nothing.

        Parameters
        ----------
        durable : bool
            Return only when it would survive a power cut. Without it, a power cut may undo the last transactions; a
            killed process never does (sqlite.org/pragma.html#pragma_synchronous).

        Raises
        ------
        StoreFullError, StoreError
            After rolling back.
        """
        with self._lock:
            if self._closed or self._writer is None:
                raise RuntimeError(f"store {self.path} is {'closed' if self._closed else 'open for reading only'}")
            self._check_room()
            writer = self._writer
            try:
                writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                writer.execute("BEGIN IMMEDIATE")
                yield writer
                writer.execute("COMMIT")
                # The log is synced as a whole: a durable commit covers what was written before it.
                self._unsynced = not durable
            except BaseException as error:
                _roll_back(writer)
                meaning = self._meaning(error)
                if meaning is None:
                    raise
                raise meaning from error

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the file, whatever is written meanwhile.

        Raises
        ------
        StoreError
            If the file cannot be read.
        """
        try:
            reader = self._borrow()
            try:
                reader.execute("BEGIN")
                yield reader
            finally:
                self._give_back(reader)
        except sqlite3.Error as error:
            meaning = self._meaning(error)
            if meaning is None:
                raise
            raise meaning from error

    def flush(self) -> None:
        """Return when every finished transaction would survive a power cut.

        Raises
        ------
        StoreError
            If the disk does not take it.
        """
        with self._lock:
            if not self._unsynced or self._writer is None:
                return
            try:
                # A checkpoint syncs the log before it copies from it, even where readers keep it from copying all.
                self._writer.execute("PRAGMA synchronous = FULL")
                self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except sqlite3.Error as error:
                raise self._meaning(error) or error from error
            self._unsynced = False

    def close(self) -> None:
        """Write the log back into the file, close every connection and give up the claim. Closing twice is allowed."""
        with self._lock:
            with self._idle_lock:
                self._closed = True
                idle, self._idle = self._idle, []
            for reader in idle:
                reader.close()
            if self._writer is not None:
                try:
                    self._writer.execute(f"PRAGMA busy_timeout = {CLOSING_MS}")
                    self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                except sqlite3.Error:
                    pass  # disk full or busy: the log stays beside the file and is read at the next opening
                finally:
                    self._writer.close()
                    self._writer = None
            if self._claim is not None:
                self._claim.release()
                self._claim = None

    def _claimed(self) -> Claim:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(
                f"store {self.path}: its folder cannot be made ({error.strerror}); choose another store.path"
            ) from error
        return Claim(self.path)

    def _open_writer(self) -> sqlite3.Connection:
        writer = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            schema.check(writer, self.path, may_migrate=True)
            mode = writer.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if mode != "wal":
                raise SetupError(f"store {self.path}: this disk does not allow it (no WAL); use a local disk")
            writer.execute("PRAGMA synchronous = FULL")
            writer.execute("PRAGMA foreign_keys = ON")
            writer.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
            schema.migrate(writer)
        except BaseException:
            writer.close()
            raise
        return writer

    def _open_reader(self) -> sqlite3.Connection:
        place = quote(self.path.as_posix())
        uri = f"file:{'' if place.startswith('/') else '/'}{place}?mode=ro{'&immutable=1' if self._still else ''}"
        reader = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        reader.row_factory = sqlite3.Row
        return reader

    def _borrow(self) -> sqlite3.Connection:
        with self._idle_lock:
            if self._closed:
                raise RuntimeError(f"store {self.path} is closed")
            if self._idle:
                return self._idle.pop()
        return self._open_reader()

    def _give_back(self, reader: sqlite3.Connection) -> None:
        _roll_back(reader)
        with self._idle_lock:
            if not self._closed and len(self._idle) < IDLE_READERS:
                self._idle.append(reader)
                return
        reader.close()

    def _check_room(self) -> None:
        if self._min_free_mb <= 0:
            return
        try:
            free_mb = self._room(self.path.parent) // (1024 * 1024)
        except OSError as error:
            raise StoreError(f"store {self.path}: its disk cannot be reached ({error.strerror})") from error
        if free_mb < self._min_free_mb:
            raise StoreFullError(
                f"store {self.path}: {free_mb} MB free on its disk, fewer than store.min_free_mb = {self._min_free_mb}"
            )

    def _meaning(self, error: BaseException) -> StoreError | None:
        """What a SQLite error means for the caller; None for what only a bug can cause."""
        if not isinstance(error, sqlite3.DatabaseError):
            return None
        primary = error.sqlite_errorcode & 0xFF if hasattr(error, "sqlite_errorcode") else sqlite3.SQLITE_OK
        if primary == sqlite3.SQLITE_FULL or (primary == sqlite3.SQLITE_IOERR and self._is_full()):
            return StoreFullError(f"store {self.path}: no room left on its disk")
        if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return StoreError(f"store {self.path}: held by another program for {BUSY_S:g} s; close it there")
        if primary in _BROKEN:
            return StoreError(f"store {self.path}: {error}")
        return None

    def _is_full(self) -> bool:
        """Whether an input-output error was really a full disk: SQLite says so only where a plain write failed."""
        try:
            return self._room(self.path.parent) < FULL_BELOW_BYTES
        except OSError:
            return False


_BROKEN = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_NOMEM,
}


def _is_archive(path: Path) -> bool:
    """Whether nobody can be writing: SQLite must be told, or it fails to make its log there.

    After sqlite.org/wal.html, section "Read-Only Databases".
    """
    return path.is_file() and not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _why_not_opened(path: Path, error: sqlite3.Error, *, full: bool) -> str:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if full:
        return f"store {path}: no room left on its disk; free some or choose another store.path"
    if code == sqlite3.SQLITE_NOTADB:
        return f"store {path}: is not a SQLite file; choose another store.path"
    if code == sqlite3.SQLITE_CORRUPT:
        return f"store {path}: is damaged ({error}); put a copy in its place or choose another store.path"
    if code == sqlite3.SQLITE_CANTOPEN:
        return f"store {path}: cannot be opened; see that it is a file in a folder you may write, or choose another"
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return f"store {path}: held by another program; close it there"
    return f"store {path}: cannot be used ({error}); choose another store.path"
