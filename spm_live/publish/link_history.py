"""Looks up in the store what became of molecules from one frame of a place to the next."""

from __future__ import annotations

from typing import Any

from spm_live.publish import link_rows
from spm_live.publish.database import Database
from spm_live.publish.message import Message

__all__ = ["LinkHistory"]


class LinkHistory:
    """The part of :class:`spm_live.publish.history.History` that tells of series."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def links(self, frame_id: int) -> Message | None:
        """Give the links of a frame to the one before, as a ``links`` message.

        Returns
        -------
        dict or None
            None if there is no such frame. With ``previous`` None and no links where it was the first of its place,
            and where nobody has looked.
        """
        with self._database.read() as connection:
            if connection.execute("SELECT 1 FROM frames WHERE id = ?", (frame_id,)).fetchone() is None:
                return None
            drift = connection.execute("SELECT * FROM drifts WHERE frame_id = ?", (frame_id,)).fetchone()
            if drift is None:
                return link_rows.no_links(frame_id)
            found = connection.execute("SELECT * FROM links WHERE frame_id = ? ORDER BY id", (frame_id,)).fetchall()
            places = link_rows.places(connection, frame_id)
            before = link_rows.places(connection, drift["previous_id"])
        return link_rows.links_message(drift, found, places, before)

    def series(self, limit: int) -> list[Message]:
        """Give the table of drifts: a row a frame, newest first, without superseded frames.

        Parameters
        ----------
        limit : int
            At most so many frames.
        """
        with self._database.read() as connection:
            found = connection.execute(link_rows.SELECT_SERIES, (max(limit, 0),)).fetchall()
        return [link_rows.series_row(row) for row in found]

    def frame_in_series(self, frame_id: int) -> Message | None:
        """Give what linking needs of a frame, without outlines, counts and texts.

        Returns
        -------
        dict or None
            The fields of :data:`spm_live.publish.link_rows.PLACE`, ``size_nm``, ``center_nm`` and ``molecules``: of
            each ``id`` (its number in the store, rising as the list of the frame does), ``label``, ``center_nm``,
            ``area_nm2``, ``length_nm``, ``width_nm``, ``orientation_deg``, ``touches_edge``, and ``track`` (None
            where it has not been linked).
        """
        with self._database.read() as connection:
            row = connection.execute(f"{link_rows.SELECT_PLACE} WHERE frames.id = ?", (frame_id,)).fetchone()
            if row is None:
                return None
            molecules = connection.execute(link_rows.SELECT_MOLECULES, (frame_id, frame_id)).fetchall()
        return {**link_rows.place_of(row), "molecules": [link_rows.molecule(found) for found in molecules]}

    def earlier_frames(self, frame_id: int, limit: int) -> list[Message]:
        """List frames stored before one, newest first, that show the same channel and trace of the same instrument.

        Returns
        -------
        list of dict
            As :meth:`frame_in_series`, without molecules; none that are superseded.
        """
        with self._database.read() as connection:
            found = connection.execute(link_rows.SELECT_EARLIER, (frame_id, max(limit, 0))).fetchall()
        return [link_rows.place_of(row) for row in found]

    def left_behind(self, frame_id: int) -> list[Message]:
        """Give the molecules of the frame before that have no partner in this one, as they lay in the frame before.

        Returns
        -------
        list of dict
            Molecules as in :meth:`frame_in_series`, with the track that they had there.
        """
        with self._database.read() as connection:
            found = connection.execute(link_rows.SELECT_LEFT, {"frame": frame_id}).fetchall()
        return [link_rows.molecule(row) for row in found]

    def drift(self, frame_id: int) -> Message | None:
        """Give the drift of a frame against the one before, without its links: fields as in a ``links`` message.

        Returns
        -------
        dict or None
            None where nobody has looked.
        """
        with self._database.read() as connection:
            row = connection.execute("SELECT * FROM drifts WHERE frame_id = ?", (frame_id,)).fetchone()
        return link_rows.drift_of(row) if row is not None else None

    def frames_without_links(self, last: int) -> list[int]:
        """Tell which of the newest frames nobody has linked yet, oldest first; none that are superseded.

        Parameters
        ----------
        last : int
            Among so many of the newest frames.
        """
        with self._database.read() as connection:
            found: list[Any] = connection.execute(link_rows.SELECT_UNLINKED, (max(last, 0),)).fetchall()
        return [int(row[0]) for row in found]
