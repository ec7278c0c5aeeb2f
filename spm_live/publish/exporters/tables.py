"""The columns of exported tables: what they are called, of which type they are, and where they come from.

Units stand in the names. ``frame_id`` joins the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal

Kind = Literal["int", "float", "text", "bool", "time"]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Parameters
    ----------
    name : str
        With its unit.
    kind : str
        ``"int"``, ``"float"``, ``"text"``, ``"bool"`` or ``"time"`` (ISO 8601, UTC).
    value : callable
        Takes it out of a row; None where unknown.
    """

    name: str
    kind: Kind
    value: Callable[[Row], Any]


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its columns, and the rows that a frame message gives."""

    name: str
    columns: tuple[Column, ...]
    rows: Callable[[Row], Iterator[Row]]

    def values(self, message: Row) -> Iterator[list[Any]]:
        """The rows of one frame message, as values in the order of the columns."""
        for row in self.rows(message):
            yield [column.value(row) for column in self.columns]


def _plain(name: str, kind: Kind) -> Column:
    return Column(name, kind, itemgetter(name))


def _part(name: str, of: str, index: int) -> Column:
    return Column(name, "float", lambda row: row[of][index])


def _joined(name: str) -> Column:
    return Column(name, "text", lambda row: "; ".join(row[name]))


def _of_frame(name: str, kind: Kind, key: str) -> Column:
    return Column(name, kind, lambda row: row["frame"][key])


def _tip_changes(row: Row) -> str | None:
    """Lines at which the tip changed, counted as scanned; empty for none, None where nobody looked."""
    quality = row["quality"]
    return "; ".join(str(change["line"]) for change in quality["tip_changes"]) if quality else None


def _each_frame(message: Row) -> Iterator[Row]:
    yield message


def _each_molecule(message: Row) -> Iterator[Row]:
    for number, molecule in enumerate(message["molecules"], 1):
        yield {**molecule, "frame": message, "number": number}


def _each_count(message: Row) -> Iterator[Row]:
    for label, count in message["counts"].items():
        yield {**count, "frame": message, "label": label}


FRAMES = Table(
    "frames",
    (
        Column("frame_id", "int", itemgetter("id")),
        _plain("name", "text"),
        _plain("source", "text"),
        _plain("sha256", "text"),
        _plain("format", "text"),
        _plain("channel", "text"),
        _plain("trace", "text"),
        _plain("direction", "text"),
        _plain("unit", "text"),
        _plain("rows", "int"),
        _plain("columns", "int"),
        _plain("complete_rows", "int"),
        _plain("partial", "bool"),
        _part("width_nm", "size_nm", 0),
        _part("height_nm", "size_nm", 1),
        _part("center_x_nm", "center_nm", 0),
        _part("center_y_nm", "center_nm", 1),
        _plain("angle_deg", "float"),
        _part("nm_per_px_x", "nm_per_px", 0),
        _part("nm_per_px_y", "nm_per_px", 1),
        _plain("bias_v", "float"),
        _plain("setpoint", "float"),
        _plain("setpoint_unit", "text"),
        _plain("started", "time"),
        _plain("ended", "time"),
        _plain("processed", "time"),
        _plain("instrument", "text"),
        _plain("comment", "text"),
        _joined("warnings"),
        Column("model", "text", lambda row: row["model"]["name"]),
        Column("model_version", "text", lambda row: row["model"]["version"]),
        Column("model_sha256", "text", lambda row: row["model"]["sha256"]),
        _plain("scanned_area_nm2", "float"),
        _plain("coverage", "float"),
        Column("molecules", "int", itemgetter("total")),
        Column("quality", "text", lambda row: row["quality"]["verdict"] if row["quality"] else None),
        Column("tip_changes", "text", _tip_changes),
    ),
    _each_frame,
)
MOLECULES = Table(
    "molecules",
    (
        _of_frame("frame_id", "int", "id"),
        _of_frame("frame", "text", "name"),
        _of_frame("started", "time", "started"),
        _plain("number", "int"),
        _plain("label", "text"),
        _plain("score", "float"),
        _part("center_x_nm", "center_nm", 0),
        _part("center_y_nm", "center_nm", 1),
        _plain("area_nm2", "float"),
        _plain("length_nm", "float"),
        _plain("width_nm", "float"),
        _plain("orientation_deg", "float"),
        _plain("touches_edge", "bool"),
        _part("box_x1_px", "box_px", 0),
        _part("box_y1_px", "box_px", 1),
        _part("box_x2_px", "box_px", 2),
        _part("box_y2_px", "box_px", 3),
        _joined("spectra"),
    ),
    _each_molecule,
)
COUNTS = Table(
    "counts",
    (
        _of_frame("frame_id", "int", "id"),
        _of_frame("frame", "text", "name"),
        _of_frame("started", "time", "started"),
        _plain("label", "text"),
        _plain("total", "int"),
        _plain("edge", "int"),
        _plain("density_per_nm2", "float"),
        _plain("coverage", "float"),
    ),
    _each_count,
)
TABLES = (FRAMES, MOLECULES, COUNTS)
