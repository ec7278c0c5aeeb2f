"""Keeps what became of molecules from one frame of a place to the next."""

from __future__ import annotations

from spm_live.publish import link_rows
from spm_live.publish.history import History
from spm_live.publish.message import Message

__all__ = ["LinkStore"]


class LinkStore(History):
    """The part of :class:`spm_live.publish.store.Store` that writes series."""

    def save_links(self, message: Message) -> bool:
        """Keep the links of a frame, exactly once, in one transaction.

        Survives a killed process at once and a power cut shortly after: what is forgotten is worked out again.

        Parameters
        ----------
        message : dict
            As :func:`spm_live.publish.link_rows.links_message` makes it.

        Returns
        -------
        bool
            False if the frame was linked before, or has been superseded; then nothing was changed.

        Raises
        ------
        ValueError
            If a link names a molecule that the frame does not have.
        """
        frame_id, previous = message["frame"], message["previous"]
        with self._database.write(durable=False) as connection:
            live = "SELECT 1 FROM frames WHERE id = ? AND superseded_by IS NULL"
            if connection.execute(live, (frame_id,)).fetchone() is None:
                return False
            if connection.execute("SELECT 1 FROM drifts WHERE frame_id = ?", (frame_id,)).fetchone() is not None:
                return False
            connection.execute(link_rows.INSERT_DRIFT, link_rows.drift_row(message))
            numbers = list(link_rows.places(connection, frame_id))
            before = list(link_rows.places(connection, previous))
            connection.executemany(link_rows.INSERT_LINK, link_rows.link_rows(message, numbers, before))
        return True

    def drop_superseded_links(self) -> list[int]:
        """Forget the links from and to frames that a later state of their file took the place of.

        Returns
        -------
        list of int
            Frames that are shown and have no links any more: they are to be linked anew, oldest first.
        """
        with self._database.read() as connection:
            found = connection.execute(link_rows.SELECT_OUTDATED).fetchall()
        if not found:
            return []
        outdated = [int(row["frame_id"]) for row in found]
        with self._database.write(durable=False) as connection:
            connection.executemany("DELETE FROM links WHERE frame_id = ?", [(number,) for number in outdated])
            connection.executemany("DELETE FROM drifts WHERE frame_id = ?", [(number,) for number in outdated])
        return sorted(int(row["frame_id"]) for row in found if row["superseded_by"] is None)
