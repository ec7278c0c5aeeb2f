"""Links and drifts as rows of the store's tables, as messages, and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spm_live.publish.message import MESSAGE_SCHEMA, Message

KINDS = ("stayed", "moved", "turned", "appeared", "vanished")
"""What can become of a molecule, in the order in which they are counted and listed."""

PLACE = (
    *("id", "name", "channel", "trace", "direction", "instrument", "rows", "columns", "complete_rows", "angle_deg"),
    *("started", "ended", "processed", "superseded_by"),
)
"""Fields of a frame by which its place and time are known."""

SELECT_PLACE = "SELECT frames.*, maps.processed FROM frames JOIN maps ON maps.frame_id = frames.id"

# The folder is not asked for: a session may change it at midnight.
SELECT_EARLIER = f"""
    WITH this AS (SELECT * FROM frames WHERE id = ?)
    {SELECT_PLACE} JOIN this ON this.channel = frames.channel AND this.trace IS frames.trace
        AND this.instrument = frames.instrument AND this.format = frames.format
    WHERE frames.id < this.id AND frames.superseded_by IS NULL
    ORDER BY frames.id DESC LIMIT ?
"""  # noqa: S608 - made of constants

_MOLECULE = """
    molecules.id, molecules.label, molecules.center_x_nm, molecules.center_y_nm, molecules.area_nm2,
    molecules.length_nm, molecules.width_nm, molecules.orientation_deg, molecules.touches_edge, links.track
"""

SELECT_MOLECULES = f"""
    SELECT {_MOLECULE} FROM molecules LEFT JOIN links ON links.frame_id = ? AND links.molecule_id = molecules.id
    WHERE molecules.frame_id = ? ORDER BY molecules.id
"""  # noqa: S608 - made of constants

# Those without a partner, with the track that they had in the frame before.
SELECT_LEFT = f"""
    SELECT {_MOLECULE} FROM drifts JOIN molecules ON molecules.frame_id = drifts.previous_id
    LEFT JOIN links ON links.frame_id = drifts.previous_id AND links.molecule_id = molecules.id
    WHERE drifts.frame_id = :frame AND molecules.id NOT IN
        (SELECT before_id FROM links WHERE frame_id = :frame AND before_id IS NOT NULL AND molecule_id IS NOT NULL)
    ORDER BY molecules.id
"""  # noqa: S608 - made of constants

SELECT_UNLINKED = """
    SELECT newest.id FROM (SELECT id FROM frames WHERE superseded_by IS NULL ORDER BY id DESC LIMIT ?) AS newest
    LEFT JOIN drifts ON drifts.frame_id = newest.id WHERE drifts.frame_id IS NULL ORDER BY newest.id
"""

SELECT_OUTDATED = """
    SELECT drifts.frame_id, mine.superseded_by
    FROM drifts JOIN frames AS mine ON mine.id = drifts.frame_id LEFT JOIN frames AS past ON past.id = previous_id
    WHERE mine.superseded_by IS NOT NULL OR past.superseded_by IS NOT NULL
"""

_COUNTED = ", ".join(
    f"(SELECT count(*) FROM links WHERE links.frame_id = frames.id AND kind = '{kind}') AS {kind}"  # noqa: S608
    for kind in KINDS
)

SELECT_SERIES = f"""
    SELECT frames.id, frames.name, frames.started, frames.center_x_nm, frames.center_y_nm, drifts.*, {_COUNTED}
    FROM frames LEFT JOIN drifts ON drifts.frame_id = frames.id
    WHERE frames.superseded_by IS NULL ORDER BY frames.id DESC LIMIT ?
"""  # noqa: S608 - made of constants

INSERT_DRIFT = """
    INSERT INTO drifts (frame_id, previous_id, method, drift_x_nm, drift_y_nm, slope_x, slope_y, minutes, agreement)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

INSERT_LINK = """
    INSERT INTO links (frame_id, kind, molecule_id, before_id, track, moved_x_nm, moved_y_nm, turned_deg)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


def links_message(
    drift: Mapping[str, Any] | sqlite3.Row,
    links: Iterable[Mapping[str, Any] | sqlite3.Row],
    places: Mapping[int, int],
    before: Mapping[int, int],
) -> Message:
    """Put the message of a frame's links together from rows of ``drifts`` and ``links``.

    Parameters
    ----------
    drift : row
        Of ``drifts``.
    links : iterable of rows
        Of ``links``.
    places, before : mapping of int to int
        Number of a molecule to its place in the list of its frame; of the frame, and of the one before.
    """
    found = [
        {
            "kind": row["kind"],
            "molecule": None if row["molecule_id"] is None else places[row["molecule_id"]],
            "before": None if row["before_id"] is None else before[row["before_id"]],
            "track": row["track"],
            "moved_nm": _pair(row["moved_x_nm"], row["moved_y_nm"]),
            "turned_deg": row["turned_deg"],
        }
        for row in links
    ]
    body = {"frame": drift["frame_id"], **drift_of(drift), "counts": _counts(found), "links": found}
    return with_head(body)


def with_head(body: Mapping[str, Any]) -> Message:
    """Make a ``links`` message of what linking found."""
    return {"schema": MESSAGE_SCHEMA, "type": "links", "run": None, "seq": None, **body}


def no_links(frame_id: int) -> Message:
    """The message of a frame that nobody has linked."""
    blank: dict[str, Any] = dict.fromkeys(
        ("previous_id", "drift_x_nm", "drift_y_nm", "slope_x", "slope_y", "minutes", "agreement")
    )
    return links_message({**blank, "frame_id": frame_id, "method": "none"}, (), {}, {})


def series_row(row: sqlite3.Row) -> Message:
    """One row of the table of drifts, from a row of :data:`SELECT_SERIES`."""
    return {
        "frame": row["id"],
        "name": row["name"],
        "started": row["started"],
        "center_nm": [row["center_x_nm"], row["center_y_nm"]],
        **drift_of(row),
        "method": row["method"] or "none",
        "counts": {kind: row[kind] for kind in KINDS},
    }


def drift_of(row: Mapping[str, Any] | sqlite3.Row) -> Message:
    """What a row of ``drifts`` tells, as fields of a message."""
    drift, minutes = _pair(row["drift_x_nm"], row["drift_y_nm"]), row["minutes"]
    rate = [part / minutes for part in drift] if drift is not None and minutes else None
    return {
        "previous": row["previous_id"],
        "minutes": minutes,
        "drift_nm": drift,
        "drift_nm_per_min": rate,
        "slope": _pair(row["slope_x"], row["slope_y"]),
        "method": row["method"],
        "agreement": row["agreement"],
    }


def drift_row(message: Message) -> tuple[object, ...]:
    """Values for :data:`INSERT_DRIFT`."""
    return (
        message["frame"],
        message["previous"],
        message["method"],
        *(message["drift_nm"] or (None, None)),
        *(message["slope"] or (None, None)),
        message["minutes"],
        message["agreement"],
    )


def link_rows(message: Message, numbers: Sequence[int], before: Sequence[int]) -> list[tuple[object, ...]]:
    """Values for :data:`INSERT_LINK`.

    Raises
    ------
    ValueError
        If a link names a molecule that is not there.
    """
    return [
        (
            message["frame"],
            link["kind"],
            _number(link["molecule"], numbers),
            _number(link["before"], before),
            link["track"],
            *(link["moved_nm"] or (None, None)),
            link["turned_deg"],
        )
        for link in message["links"]
    ]


def places(connection: sqlite3.Connection, frame_id: int | None) -> dict[int, int]:
    """Number of each molecule of a frame to its place in the frame's list, in that order."""
    found = connection.execute("SELECT id FROM molecules WHERE frame_id = ? ORDER BY id", (frame_id,))
    return {int(row[0]): place for place, row in enumerate(found)}


def place_of(row: sqlite3.Row) -> Message:
    """Where and when a frame was taken, from a row of :data:`SELECT_PLACE`."""
    return {
        **{name: row[name] for name in PLACE},
        "size_nm": [row["size_x_nm"], row["size_y_nm"]],
        "center_nm": [row["center_x_nm"], row["center_y_nm"]],
    }


def molecule(row: sqlite3.Row) -> Message:
    """A molecule as linking needs it, from a row with the columns of :data:`SELECT_MOLECULES`."""
    names = ("id", "label", "area_nm2", "length_nm", "width_nm", "orientation_deg", "track")
    return {
        **{name: row[name] for name in names},
        "center_nm": [row["center_x_nm"], row["center_y_nm"]],
        "touches_edge": bool(row["touches_edge"]),
    }


def _counts(links: Sequence[Message]) -> dict[str, int]:
    kinds = [link["kind"] for link in links]
    return {kind: kinds.count(kind) for kind in KINDS}


def _pair(x: float | None, y: float | None) -> list[float] | None:
    return None if x is None or y is None else [x, y]


def _number(place: int | None, numbers: Sequence[int]) -> int | None:
    if place is None:
        return None
    if not 0 <= place < len(numbers):
        raise ValueError(f"there is no molecule {place} among {len(numbers)}")
    return numbers[place]
