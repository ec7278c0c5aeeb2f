"""Looks results up in the store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from spm_live.publish import rows
from spm_live.publish.link_history import LinkHistory
from spm_live.publish.message import Message, iso, plain_text

BATCH_FRAMES = 100
"""Frames that an export reads at once: a long reading transaction would keep the log from being written back."""


class History(LinkHistory):
    """The reading half of :class:`spm_live.publish.store.Store`, for any number of threads.

    Every method may raise :class:`spm_live.publish.database.StoreError`.
    """

    @property
    def path(self) -> Path:
        """The SQLite file, absolute."""
        return self._database.path

    def close(self) -> None:
        """Write everything into the one file and let it go. Closing twice is allowed."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def known(self, sha256: str) -> int | None:
        """Tell the number of the frame with this content, if it is stored."""
        found: int | None = self._one("SELECT id FROM frames WHERE sha256 = ?", (sha256,))
        return found

    def file_known(self, path: str | Path, size: int, mtime_ns: int) -> bool:
        """Whether this state of a file was dealt with, with whatever outcome."""
        key = (plain_text(str(path)), size, mtime_ns)
        return self._one("SELECT 1 FROM files WHERE path = ? AND size = ? AND mtime_ns = ?", key) is not None

    def frames(self, limit: int, before: int | None = None, *, superseded: bool = False) -> list[Message]:
        """List frames without their molecules, newest first.

        Parameters
        ----------
        limit : int
            At most so many.
        before : int or None
            Only those with a smaller number: the last one of the page before.
        superseded : bool
            Also the partial states that a later one took the place of.
        """
        conditions = ["frames.id < ?"] + ([] if superseded else ["frames.superseded_by IS NULL"])
        query = f"{rows.SELECT_SUMMARY} WHERE {' AND '.join(conditions)} ORDER BY frames.id DESC LIMIT ?"
        with self._database.read() as connection:
            found = connection.execute(query, (_below(before), max(limit, 0))).fetchall()
            return [_summary(connection, row) for row in found]

    def frame(self, frame_id: int) -> Message | None:
        """Give one frame in full."""
        with self._database.read() as connection:
            row = connection.execute(f"{rows.SELECT_SUMMARY} WHERE frames.id = ?", (frame_id,)).fetchone()
            return _full(connection, row) if row is not None else None

    def latest(self) -> Message | None:
        """Give the newest frame in full."""
        query = f"{rows.SELECT_SUMMARY} WHERE frames.superseded_by IS NULL ORDER BY frames.id DESC LIMIT 1"
        with self._database.read() as connection:
            row = connection.execute(query).fetchone()
            return _full(connection, row) if row is not None else None

    def last_frames(self, limit: int) -> list[Message]:
        """Give the newest frames in full, oldest first: what a late joiner needs."""
        query = f"{rows.SELECT_SUMMARY} WHERE frames.superseded_by IS NULL ORDER BY frames.id DESC LIMIT ?"
        with self._database.read() as connection:
            found = connection.execute(query, (max(limit, 0),)).fetchall()
            return [_full(connection, row) for row in reversed(found)]

    def iter_frames(self, since: datetime | None = None, until: datetime | None = None) -> Iterator[Message]:
        """Go through the frames in full, oldest first, without those superseded.

        Parameters
        ----------
        since, until : datetime or None
            From (included) and to (not included) when the scan began or, where the file does not say, when the frame
            was stored; timezone-aware.
        """
        taken = "coalesce(frames.started, maps.processed)"
        query = (
            f"{rows.SELECT_SUMMARY} WHERE frames.id > ? AND frames.superseded_by IS NULL "
            f"AND {taken} >= ? AND {taken} < ? ORDER BY frames.id LIMIT ?"
        )
        bounds = (iso(since) or "", iso(until) or "~")  # "~" sorts after every time
        after = 0
        while True:
            with self._database.read() as connection:
                found = connection.execute(query, (after, *bounds, BATCH_FRAMES)).fetchall()
                batch = [_full(connection, row) for row in found]
            if not batch:
                return
            yield from batch
            after = batch[-1]["id"]

    def preview(self, frame_id: int) -> bytes | None:
        """Give the levelled picture of a frame, as PNG."""
        png: bytes | None = self._one("SELECT preview_png FROM previews WHERE frame_id = ?", (frame_id,))
        return png

    def thumbnail(self, frame_id: int) -> bytes | None:
        """Give the small picture of a frame, as PNG."""
        png: bytes | None = self._one("SELECT thumbnail_png FROM previews WHERE frame_id = ?", (frame_id,))
        return png

    def header(self, frame_id: int) -> dict[str, str] | None:
        """Give the header of a frame's file, key to value; None for a frame stored before headers were kept."""
        text = self._one("SELECT header FROM headers WHERE frame_id = ?", (frame_id,))
        header: dict[str, str] | None = json.loads(text) if text is not None else None
        return header

    def faults(self, limit: int, before: int | None = None) -> list[Message]:
        """List faults, newest first; as for :meth:`frames`."""
        query = "SELECT * FROM faults WHERE id < ? ORDER BY id DESC LIMIT ?"
        with self._database.read() as connection:
            return [rows.fault_row_message(row) for row in connection.execute(query, (_below(before), max(limit, 0)))]

    def totals(self) -> dict[str, Any]:
        """Sum up the history, without superseded frames.

        Returns
        -------
        dict
            ``frames``, ``partial``, ``superseded``, ``molecules``, ``faults`` (int), ``scanned_area_nm2`` (float),
            ``counts`` (label to ``total`` and ``edge``), ``first`` and ``last`` (times of storing, or None).
        """
        shown = "FROM frames JOIN maps ON maps.frame_id = frames.id WHERE frames.superseded_by IS NULL"
        with self._database.read() as connection:
            sums = connection.execute(
                "SELECT count(*), total(partial), total(maps.total), total(scanned_area_nm2), min(processed), "
                f"max(processed) {shown}"
            ).fetchone()
            every = connection.execute("SELECT count(*) FROM frames").fetchone()[0]
            counts = connection.execute(
                "SELECT label, sum(counts.total), sum(edge) FROM counts JOIN frames ON frames.id = frame_id "
                "WHERE superseded_by IS NULL GROUP BY label ORDER BY label"
            ).fetchall()
            faults = connection.execute("SELECT count(*) FROM faults").fetchone()[0]
        return {
            "frames": sums[0],
            "partial": int(sums[1]),
            "superseded": every - sums[0],
            "molecules": int(sums[2]),
            "scanned_area_nm2": sums[3],
            "first": sums[4],
            "last": sums[5],
            "faults": faults,
            "counts": {label: {"total": total, "edge": edge} for label, total, edge in counts},
        }

    def _one(self, query: str, values: Sequence[object]) -> Any:
        with self._database.read() as connection:
            row = connection.execute(query, values).fetchone()
            return row[0] if row is not None else None


def _below(before: int | None) -> int:
    return before if before is not None else 2**63 - 1


def _summary(connection: sqlite3.Connection, row: sqlite3.Row) -> Message:
    counts = connection.execute("SELECT * FROM counts WHERE frame_id = ? ORDER BY label", (row["id"],))
    supersedes = connection.execute("SELECT id FROM frames WHERE superseded_by = ? ORDER BY id", (row["id"],))
    return rows.summary_message(row, counts, [older[0] for older in supersedes])


def _full(connection: sqlite3.Connection, row: sqlite3.Row) -> Message:
    molecules = connection.execute("SELECT * FROM molecules WHERE frame_id = ? ORDER BY id", (row["id"],)).fetchall()
    return {**_summary(connection, row), "molecules": rows.molecule_messages(molecules)}
