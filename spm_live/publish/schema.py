"""The tables of the store, as the steps that made them.

A new file goes through every step; an older one through those it lacks. A step that was released is never changed: a
change of the tables is a new step at the end. ``docs/reference/database.md`` explains each column; a test holds the two
together.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from spm_live import __version__
from spm_live.errors import SetupError

APPLICATION_ID = 0x53504D4C
"""``SPML``: marks the file as ours in its header (sqlite.org/pragma.html#pragma_application_id)."""

_FIRST = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE models (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        version TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        UNIQUE (name, version, sha256))""",
    # AUTOINCREMENT: a number that was told to a listener is never given to another frame.
    """CREATE TABLE frames (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        sha256 TEXT NOT NULL UNIQUE,
        source TEXT NOT NULL,
        name TEXT NOT NULL,
        format TEXT NOT NULL,
        channel TEXT NOT NULL,
        trace TEXT,
        direction TEXT NOT NULL,
        unit TEXT NOT NULL,
        rows INTEGER NOT NULL,
        columns INTEGER NOT NULL,
        complete_rows INTEGER NOT NULL,
        partial INTEGER NOT NULL,
        size_x_nm REAL NOT NULL,
        size_y_nm REAL NOT NULL,
        center_x_nm REAL NOT NULL,
        center_y_nm REAL NOT NULL,
        angle_deg REAL NOT NULL,
        bias_v REAL,
        setpoint REAL,
        setpoint_unit TEXT NOT NULL,
        started TEXT,
        ended TEXT,
        instrument TEXT NOT NULL,
        comment TEXT NOT NULL,
        warnings TEXT NOT NULL,
        superseded_by INTEGER REFERENCES frames (id))""",
    "CREATE INDEX frames_shown ON frames (id) WHERE superseded_by IS NULL",
    "CREATE INDEX frames_superseded ON frames (superseded_by) WHERE superseded_by IS NOT NULL",
    "CREATE INDEX frames_partial ON frames (source) WHERE partial = 1 AND superseded_by IS NULL",
    """CREATE TABLE maps (
        frame_id INTEGER PRIMARY KEY REFERENCES frames (id) ON DELETE CASCADE,
        model_id INTEGER NOT NULL REFERENCES models (id),
        processed TEXT NOT NULL,
        scanned_area_nm2 REAL,
        coverage REAL,
        total INTEGER NOT NULL,
        timings_ms TEXT NOT NULL)""",
    """CREATE TABLE counts (
        frame_id INTEGER NOT NULL REFERENCES frames (id) ON DELETE CASCADE,
        label TEXT NOT NULL,
        total INTEGER NOT NULL,
        edge INTEGER NOT NULL,
        density_per_nm2 REAL,
        coverage REAL,
        PRIMARY KEY (frame_id, label)) WITHOUT ROWID""",
    """CREATE TABLE molecules (
        id INTEGER PRIMARY KEY,
        frame_id INTEGER NOT NULL REFERENCES frames (id) ON DELETE CASCADE,
        label TEXT NOT NULL,
        score REAL,
        center_x_nm REAL,
        center_y_nm REAL,
        area_nm2 REAL,
        length_nm REAL,
        width_nm REAL,
        orientation_deg REAL,
        box_x1_px REAL,
        box_y1_px REAL,
        box_x2_px REAL,
        box_y2_px REAL,
        touches_edge INTEGER NOT NULL,
        spectra TEXT,
        outline_px BLOB NOT NULL)""",
    "CREATE INDEX molecules_of_frame ON molecules (frame_id)",
    # The thumbnail stands first: to reach a column, SQLite walks through all the pages of those before it.
    """CREATE TABLE previews (
        frame_id INTEGER PRIMARY KEY REFERENCES frames (id) ON DELETE CASCADE,
        thumbnail_png BLOB NOT NULL,
        preview_png BLOB NOT NULL)""",
    """CREATE TABLE faults (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        source TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        stage TEXT NOT NULL,
        reason TEXT NOT NULL,
        occurred TEXT NOT NULL,
        detail TEXT NOT NULL)""",
    """CREATE TABLE files (
        path TEXT PRIMARY KEY,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        outcome TEXT NOT NULL,
        seen TEXT NOT NULL)""",
    "CREATE INDEX files_by_content ON files (sha256)",
    """CREATE TABLE tries (
        sha256 TEXT PRIMARY KEY,
        source TEXT NOT NULL,
        count INTEGER NOT NULL,
        begun TEXT NOT NULL)""",
)

# The header as the file has it, so that a person can look up what the columns of frames leave out.
_HEADERS = (
    """CREATE TABLE headers (
        frame_id INTEGER PRIMARY KEY REFERENCES frames (id) ON DELETE CASCADE,
        header TEXT NOT NULL)""",
)

# What became of the molecules from one frame of a place to the next. A frame that has a row in drifts was dealt with.
_SERIES = (
    """CREATE TABLE drifts (
        frame_id INTEGER PRIMARY KEY REFERENCES frames (id) ON DELETE CASCADE,
        previous_id INTEGER REFERENCES frames (id) ON DELETE CASCADE,
        method TEXT NOT NULL,
        drift_x_nm REAL,
        drift_y_nm REAL,
        slope_x REAL,
        slope_y REAL,
        minutes REAL,
        agreement REAL)""",
    "CREATE INDEX drifts_from ON drifts (previous_id) WHERE previous_id IS NOT NULL",
    """CREATE TABLE links (
        id INTEGER PRIMARY KEY,
        frame_id INTEGER NOT NULL REFERENCES frames (id) ON DELETE CASCADE,
        kind TEXT NOT NULL,
        molecule_id INTEGER REFERENCES molecules (id) ON DELETE CASCADE,
        before_id INTEGER REFERENCES molecules (id) ON DELETE CASCADE,
        track INTEGER NOT NULL,
        moved_x_nm REAL,
        moved_y_nm REAL,
        turned_deg REAL)""",
    "CREATE INDEX links_of_frame ON links (frame_id, molecule_id)",
    "CREATE INDEX links_of_track ON links (track)",
)

# Frames that were put together from lines, until their file comes.
_GROWING = ("CREATE INDEX frames_growing ON frames (name) WHERE format = 'growing' AND superseded_by IS NULL",)

# How good the scan looked while it was followed. The body is as in messages; the verdict can be asked for in SQL.
_QUALITY = (
    """CREATE TABLE qualities (
        frame_id INTEGER PRIMARY KEY REFERENCES frames (id) ON DELETE CASCADE,
        verdict TEXT NOT NULL,
        quality TEXT NOT NULL)""",
)

STEPS: tuple[tuple[str, ...], ...] = (_FIRST, _HEADERS, _SERIES, _GROWING, _QUALITY)
"""Statements that take a file of version n to n + 1."""

SCHEMA_VERSION = len(STEPS)


def migrate(connection: sqlite3.Connection, steps: tuple[tuple[str, ...], ...] = STEPS) -> int:
    """Bring a file up to date, each step in a transaction of its own: a kill in between leaves a sound older file.

    Parameters
    ----------
    connection : sqlite3.Connection
        In autocommit mode (``isolation_level=None``), outside a transaction.
    steps : tuple of tuples of str
        As :data:`STEPS`.

    Returns
    -------
    int
        The version the file had before; 0 for a new one.
    """
    before = version_of(connection)
    for number in range(before, len(steps)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in steps[number]:
                connection.execute(statement)
            connection.execute("INSERT INTO meta VALUES (?, ?)", (f"schema {number + 1} by", f"spm-live {__version__}"))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number + 1}")
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return before


def check(connection: sqlite3.Connection, path: Path, *, may_migrate: bool) -> None:
    """Refuse a file that is not ours before anything is changed in it.

    Raises
    ------
    SetupError
        With a sentence that says what to do.
    """
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    mark = connection.execute("PRAGMA application_id").fetchone()[0]
    version = version_of(connection)
    if mark != APPLICATION_ID and (tables or version):
        raise SetupError(f"store {path}: is a database of another program; choose another store.path")
    if version > SCHEMA_VERSION:
        raise SetupError(
            f"store {path}: was written by a newer spm-live (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); update spm-live or choose another store.path"
        )
    if version < SCHEMA_VERSION and not may_migrate:
        raise SetupError(
            f"store {path}: was written by an older spm-live (schema {version}); start 'spm-live run' on it once to "
            "bring it up to date"
        )


def version_of(connection: sqlite3.Connection) -> int:
    """Schema version written in a file's header; 0 for an empty file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
