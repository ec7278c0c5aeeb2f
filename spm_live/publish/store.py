"""Keeps every result in one SQLite file: store first, tell second.

::

    with Store(path) as store:
        saved = store.save(processed, file=FileKey(path, size, mtime_ns))
        if saved.new:
            feed.publish("frame", saved.message)

The file is in WAL mode, so that reading never waits for writing. ``save``, ``save_fault`` and ``count_crash`` return
when the disk has the result (``synchronous = FULL``: about 1 ms a frame on a solid-state disk), so that a received
message may be deleted as soon as its frame is saved, whatever happens to the power next.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from spm_live.domain import Fault, Processed
from spm_live.publish import rows
from spm_live.publish.database import Database, StoreError, StoreFullError, free_bytes
from spm_live.publish.link_store import LinkStore
from spm_live.publish.message import Message, fault_message, frame_message, iso, plain_text

__all__ = ["FileKey", "Saved", "Store", "StoreError", "StoreFullError"]


@dataclass(frozen=True, slots=True)
class FileKey:
    """One state of a file: the same path with another size or time is to be looked at again."""

    path: str | Path
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Saved:
    """What became of a frame.

    Parameters
    ----------
    id : int
        Its number in the store.
    new : bool
        False if its content was stored before; then nothing was added.
    message : dict or None
        The full message to tell, for a new one.
    """

    id: int
    new: bool
    message: Message | None = None


def _now() -> datetime:
    return datetime.now(UTC)


class Store(LinkStore):
    """The results, for any number of threads.

    Parameters
    ----------
    path : Path
        The SQLite file, on a local disk; made with its folder where it does not exist.
    read_only : bool
        For programs that only read, beside a running daemon.
    exclusive : bool
        Refuse to open what another process holds, and be held against others. A person's tool that writes little
        (:meth:`retry`) sets it to False; SQLite keeps the two from mixing.
    min_free_mb : int
        With less room than this on the disk, every writing call raises :class:`StoreFullError`.
    clock : callable
        Tells the time, timezone-aware.
    room : callable
        Tells the free bytes of a folder.

    Raises
    ------
    SetupError
        If the file is not ours, damaged, newer than this program, in use by another daemon, or cannot be opened.

    Notes
    -----
    Every method may raise :class:`StoreError`, and the writing ones its child :class:`StoreFullError`: then nothing was
    changed and the call may be repeated.
    """

    def __init__(
        self,
        path: Path,
        *,
        read_only: bool = False,
        exclusive: bool = True,
        min_free_mb: int = 0,
        clock: Callable[[], datetime] = _now,
        room: Callable[[Path], int] = free_bytes,
    ) -> None:
        super().__init__(Database(path, read_only=read_only, exclusive=exclusive, min_free_mb=min_free_mb, room=room))
        self._clock = clock

    def remember_file(self, path: str | Path, size: int, mtime_ns: int, sha256: str, outcome: str) -> None:
        """Note that this state of a file needs no second look.

        Survives a killed process at once and a power cut shortly after: what is forgotten is only looked at again.

        Parameters
        ----------
        outcome : str
            Why, in a word: ``"frame"``, ``"fault"``, ``"duplicate"``, ``"unwanted"``, ...
        """
        with self._database.write(durable=False) as connection:
            self._remember(connection, FileKey(path, size, mtime_ns), sha256, outcome)

    def durable(self) -> None:
        """Return when everything acknowledged so far would survive a power cut.

        Quick: only what :meth:`remember_file` noted last may still have to be written.
        """
        self._database.flush()

    def count_crash(self, sha256: str, source: str) -> int:
        """Count that a content crashed the worker, so that the next start knows of it too.

        Returns
        -------
        int
            How often it did: 1, 2, ...; counted from 1 again once the frame was saved.
        """
        row = (sha256, plain_text(source), iso(self._clock()))
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO tries (sha256, source, count, begun) VALUES (?, ?, 1, ?) ON CONFLICT (sha256) "
                "DO UPDATE SET count = count + 1, source = excluded.source, begun = excluded.begun",
                row,
            )
            return int(connection.execute("SELECT count FROM tries WHERE sha256 = ?", (sha256,)).fetchone()[0])

    def retry(self, what: str | Path) -> int:
        """Forget that a file was given up, so that it is tried again.

        Its faults stay on record. A file whose frame is stored stays done.

        Parameters
        ----------
        what : str or Path
            Path of the file, or digest of its content.

        Returns
        -------
        int
            How many files will be tried again; 0 if none was given up under that name.
        """
        key = plain_text(str(what))
        with self._database.write() as connection:
            contents = {row[0] for row in connection.execute("SELECT sha256 FROM files WHERE path = ?", (key,))}
            contents |= {row[0] for row in connection.execute("SELECT sha256 FROM tries WHERE source = ?", (key,))}
            return self._forget(connection, contents | {key}, key)

    def save(self, processed: Processed, *, file: FileKey | None = None) -> Saved:
        """Keep a frame, exactly once, in one transaction.

        Frame, map, molecules, previews and the state of its file are kept and its tries cleared. Older partial states
        of the same source are marked as superseded, and a frame that was put together from the lines of this scan.

        Parameters
        ----------
        processed : Processed
            With the digest of its content.
        file : FileKey or None
            The file it came from.

        Raises
        ------
        ValueError
            If the frame has no digest.
        """
        sha256 = processed.map.frame.ref.sha256
        if not sha256:
            raise ValueError(f"{processed.map.frame.ref.source}: a frame without digest cannot be stored once")
        # Put together before the lock is taken: the numbers are filled in below.
        message = frame_message(0, processed, when=self._clock())
        molecules = rows.molecule_rows(message)
        header = rows.header_text(processed.map.frame.metadata)
        with self._database.write() as connection:
            connection.execute("DELETE FROM tries WHERE sha256 = ?", (sha256,))
            if file is not None:
                self._remember(connection, file, sha256, "frame")
            found = connection.execute("SELECT id FROM frames WHERE sha256 = ?", (sha256,)).fetchone()
            if found is not None:
                return Saved(int(found[0]), new=False)
            frame_id = rows.insert(connection, "frames", rows.frame_row(message))
            message["id"] = frame_id
            message["supersedes"] = self._supersede(connection, message, frame_id)
            message["quality"] = self._hand_on_quality(connection, frame_id)
            rows.insert(connection, "maps", rows.map_row(message, frame_id, self._model_id(connection, message)))
            connection.executemany("INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?)", rows.count_rows(message, frame_id))
            connection.executemany(rows.INSERT_MOLECULE, [(frame_id, *molecule) for molecule in molecules])
            connection.execute("INSERT INTO headers VALUES (?, ?)", (frame_id, header))
            pictures = (frame_id, processed.thumbnail_png, processed.preview_png)
            connection.execute("INSERT INTO previews VALUES (?, ?, ?)", pictures)
        return Saved(frame_id, new=True, message=message)

    def supersede(self, outdated: int, frame_id: int) -> Message:
        """Let one frame take the place of another.

        Returns
        -------
        dict
            The message of the frame that is left, as it is now.

        Raises
        ------
        ValueError
            If there is no such frame.
        """
        with self._database.write() as connection:
            connection.execute(
                "UPDATE frames SET superseded_by = :new WHERE id = :old "
                "AND EXISTS (SELECT 1 FROM frames WHERE id = :new)",
                {"new": frame_id, "old": outdated},
            )
            self._hand_on_quality(connection, frame_id)
        message = self.frame(frame_id)
        if message is None:
            raise ValueError(f"there is no frame {frame_id}")
        return message

    def save_quality(self, frame_id: int, quality: Message) -> bool:
        """Keep how good a scan looked while it was followed, with the frame that it became.

        Survives a killed process at once and a power cut shortly after.

        Parameters
        ----------
        frame_id : int
            Number of the frame.
        quality : dict
            As :func:`spm_live.publish.live_message.quality_body` makes it.

        Returns
        -------
        bool
            False if there is no such frame, or its quality was kept before; then nothing was changed.
        """
        row = rows.quality_row(frame_id, quality)
        with self._database.write(durable=False) as connection:
            if connection.execute("SELECT 1 FROM frames WHERE id = ?", (frame_id,)).fetchone() is None:
                return False
            query = "INSERT OR IGNORE INTO qualities VALUES (:frame_id, :verdict, :quality)"
            return connection.execute(query, row).rowcount > 0

    def save_fault(self, fault: Fault, *, file: FileKey | None = None) -> int:
        """Keep a fault and, with it, that its file needs no second look.

        Returns
        -------
        int
            Its number.
        """
        message = fault_message(0, fault)
        with self._database.write() as connection:
            if file is not None:
                self._remember(connection, file, fault.sha256, "fault")
            return rows.insert(connection, "faults", rows.fault_row(message))

    def attach_spectrum(self, frame_id: int, molecule: int, source: str) -> Message:
        """Note that a spectrum was taken on a molecule, after the frame was stored.

        Parameters
        ----------
        frame_id : int
            Number of the frame.
        molecule : int
            Place of the molecule in the frame's list.
        source : str
            Path of the spectrum.

        Returns
        -------
        dict
            The frame's message as it is now.

        Raises
        ------
        ValueError
            If there is no such frame or molecule.
        """
        with self._database.write() as connection:
            query = "SELECT id, spectra FROM molecules WHERE frame_id = ? ORDER BY id LIMIT 1 OFFSET ?"
            row = connection.execute(query, (frame_id, molecule)).fetchone()
            if row is None:
                raise ValueError(f"frame {frame_id} has no molecule {molecule}")
            spectra = [*(json.loads(row[1]) if row[1] else []), plain_text(source)]
            connection.execute("UPDATE molecules SET spectra = ? WHERE id = ?", (json.dumps(spectra), row[0]))
        message = self.frame(frame_id)
        if message is None:
            raise ValueError(f"there is no frame {frame_id}")
        return message

    def clear_faults(self, stage: str | None = None) -> int:
        """Take faults off the record and let their files be tried again.

        Parameters
        ----------
        stage : str or None
            Only those of one stage.

        Returns
        -------
        int
            How many faults.
        """
        where, values = ("WHERE stage = ?", (stage,)) if stage is not None else ("", ())
        with self._database.write() as connection:
            faults = connection.execute(f"SELECT DISTINCT sha256, source FROM faults {where}", values).fetchall()  # noqa: S608
            for sha256, source in faults:
                self._forget(connection, {sha256}, source)
            return int(connection.execute(f"DELETE FROM faults {where}", values).rowcount)  # noqa: S608

    def _remember(self, connection: sqlite3.Connection, file: FileKey, sha256: str, outcome: str) -> None:
        row = (plain_text(str(file.path)), file.size, file.mtime_ns, sha256, outcome, iso(self._clock()))
        connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", row)

    @staticmethod
    def _forget(connection: sqlite3.Connection, contents: set[str], path: str) -> int:
        given_up = "DELETE FROM files WHERE outcome <> 'frame' AND"
        files = connection.execute(f"{given_up} path = ?", (path,)).rowcount
        tries = 0
        for content in contents - {""}:
            files += connection.execute(f"{given_up} sha256 = ?", (content,)).rowcount
            tries += connection.execute("DELETE FROM tries WHERE sha256 = ?", (content,)).rowcount
        return max(tries, files)

    @staticmethod
    def _supersede(connection: sqlite3.Connection, message: Message, frame_id: int) -> list[int]:
        """Mark partial states of the same file, and what was put together from lines before the file came."""
        partial = "source = :source AND partial = 1 AND superseded_by IS NULL AND id < :me"
        growing = (
            "name = :name AND format = 'growing' AND superseded_by IS NULL AND id < :me AND rows = :rows "
            "AND columns = :columns AND abs(center_x_nm - :x) <= size_x_nm / 100 "
            "AND abs(center_y_nm - :y) <= size_y_nm / 100"
        )
        x, y = message["center_nm"]
        values = {**message, "me": frame_id, "x": x, "y": y}
        older: list[int] = []
        for mine in (partial, growing):
            older.extend(row[0] for row in connection.execute(f"SELECT id FROM frames WHERE {mine}", values))  # noqa: S608
            connection.execute(f"UPDATE frames SET superseded_by = :me WHERE {mine}", values)  # noqa: S608
        return sorted(older)

    @staticmethod
    def _hand_on_quality(connection: sqlite3.Connection, frame_id: int) -> Message | None:
        """The quality that was seen belongs to the scan, and so to the frame that took the place of its lines."""
        added = connection.execute(
            "INSERT OR IGNORE INTO qualities SELECT :new, verdict, quality FROM qualities JOIN frames ON id = frame_id "
            "WHERE superseded_by = :new AND format = 'growing' ORDER BY id DESC LIMIT 1",
            {"new": frame_id},
        )
        if added.rowcount < 1:
            return None
        query = "SELECT quality FROM qualities WHERE frame_id = ?"
        quality: Message = json.loads(connection.execute(query, (frame_id,)).fetchone()[0])
        return quality

    @staticmethod
    def _model_id(connection: sqlite3.Connection, message: Message) -> int:
        model = message["model"]
        connection.execute(
            "INSERT INTO models (name, version, sha256) VALUES (:name, :version, :sha256) ON CONFLICT DO NOTHING", model
        )
        query = "SELECT id FROM models WHERE name = :name AND version = :version AND sha256 = :sha256"
        return int(connection.execute(query, model).fetchone()[0])
