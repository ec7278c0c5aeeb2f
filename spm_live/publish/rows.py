"""A message as rows of the store's tables, and back.

The tables hold what the message holds, one number a column, so that any SQLite tool can search in it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np

from spm_live.publish.message import MESSAGE_SCHEMA, Message, outline_points, plain_text

_FRAME_AS_IT_IS = (
    *("sha256", "source", "name", "format", "channel", "trace", "direction", "unit", "rows", "columns"),
    *("complete_rows", "partial", "angle_deg", "bias_v", "setpoint", "setpoint_unit", "started", "ended"),
    *("instrument", "comment"),
)

POINT_BYTES = 8
"""Of a point of an outline: column and row, float32 each."""

SELECT_SUMMARY = """
    SELECT frames.*, maps.processed, maps.scanned_area_nm2, maps.coverage, maps.total, maps.timings_ms,
           models.name AS model_name, models.version AS model_version, models.sha256 AS model_sha256,
           qualities.quality
    FROM frames JOIN maps ON maps.frame_id = frames.id JOIN models ON models.id = maps.model_id
         LEFT JOIN qualities ON qualities.frame_id = frames.id
"""
"""Takes a WHERE; with the rows of ``counts`` it makes a summary."""

INSERT_MOLECULE = """
    INSERT INTO molecules (
        frame_id, label, score, center_x_nm, center_y_nm, area_nm2, length_nm, width_nm, orientation_deg,
        box_x1_px, box_y1_px, box_x2_px, box_y2_px, touches_edge, spectra, outline_px)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def frame_row(message: Message) -> dict[str, object]:
    """Columns of ``frames``, without its number."""
    return {
        **{name: message[name] for name in _FRAME_AS_IT_IS},
        "size_x_nm": message["size_nm"][0],
        "size_y_nm": message["size_nm"][1],
        "center_x_nm": message["center_nm"][0],
        "center_y_nm": message["center_nm"][1],
        "warnings": _json(message["warnings"]),
    }


def map_row(message: Message, frame_id: int, model_id: int) -> dict[str, object]:
    """Columns of ``maps``."""
    return {
        "frame_id": frame_id,
        "model_id": model_id,
        "processed": message["processed"],
        "scanned_area_nm2": message["scanned_area_nm2"],
        "coverage": message["coverage"],
        "total": message["total"],
        "timings_ms": _json(message["timings_ms"]),
    }


def count_rows(message: Message, frame_id: int) -> list[tuple[object, ...]]:
    """Rows of ``counts``."""
    return [
        (frame_id, label, count["total"], count["edge"], count["density_per_nm2"], count["coverage"])
        for label, count in message["counts"].items()
    ]


def molecule_rows(message: Message) -> list[tuple[object, ...]]:
    """Rows of ``molecules`` for :data:`INSERT_MOLECULE`, without the number of the frame, which stands first there."""
    outlines = [molecule["outline_px"] for molecule in message["molecules"]]
    flat = np.fromiter(chain.from_iterable(chain.from_iterable(outlines)), dtype="<f4").tobytes()
    ends = list(accumulate(len(outline) * POINT_BYTES for outline in outlines))
    return [
        (
            molecule["label"],
            molecule["score"],
            *molecule["center_nm"],
            molecule["area_nm2"],
            molecule["length_nm"],
            molecule["width_nm"],
            molecule["orientation_deg"],
            *molecule["box_px"],
            int(molecule["touches_edge"]),
            _json(molecule["spectra"]) if molecule["spectra"] else None,
            flat[start:end],
        )
        for molecule, start, end in zip(message["molecules"], [0, *ends], ends, strict=False)
    ]


def header_text(metadata: Mapping[str, str]) -> str:
    """Column of ``headers``: a JSON object in the order of the file."""
    return _json({plain_text(key): plain_text(value) for key, value in metadata.items()})


def insert(connection: sqlite3.Connection, table: str, row: Mapping[str, object]) -> int:
    """Add a row and tell its number. Table and columns come from this package, never from outside."""
    columns = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join(f":{name}" for name in row)
    cursor = connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", dict(row))  # noqa: S608
    return int(cursor.lastrowid or 0)


def quality_row(frame_id: int, quality: Message) -> dict[str, object]:
    """Columns of ``qualities``."""
    return {"frame_id": frame_id, "verdict": quality["verdict"], "quality": _json(quality)}


def fault_row(message: Message) -> dict[str, object]:
    """Columns of ``faults``, without its number."""
    return {
        **{name: message[name] for name in ("source", "sha256", "stage", "reason", "detail")},
        "occurred": message["when"],
    }


def summary_message(row: sqlite3.Row, counts: Iterable[sqlite3.Row], supersedes: Sequence[int]) -> Message:
    """Put a frame's message together, without its molecules.

    Parameters
    ----------
    row : sqlite3.Row
        Of :data:`SELECT_SUMMARY`.
    counts : iterable of sqlite3.Row
        Of ``counts``, in the order of their labels.
    supersedes : sequence of int
        Frames whose place it took.
    """
    return {
        "schema": MESSAGE_SCHEMA,
        "type": "frame",
        "run": None,
        "seq": None,
        "id": row["id"],
        **{name: row[name] for name in _FRAME_AS_IT_IS},
        "partial": bool(row["partial"]),
        "size_nm": [row["size_x_nm"], row["size_y_nm"]],
        "center_nm": [row["center_x_nm"], row["center_y_nm"]],
        "nm_per_px": [row["size_x_nm"] / row["columns"], row["size_y_nm"] / row["rows"]],
        "processed": row["processed"],
        "warnings": json.loads(row["warnings"]),
        "model": {"name": row["model_name"], "version": row["model_version"], "sha256": row["model_sha256"]},
        "scanned_area_nm2": row["scanned_area_nm2"],
        "coverage": row["coverage"],
        "total": row["total"],
        "counts": {
            count["label"]: {name: count[name] for name in ("total", "edge", "density_per_nm2", "coverage")}
            for count in counts
        },
        "timings_ms": json.loads(row["timings_ms"]),
        "quality": json.loads(row["quality"]) if row["quality"] is not None else None,
        "supersedes": list(supersedes),
        "superseded_by": row["superseded_by"],
    }


def molecule_messages(found: Sequence[sqlite3.Row]) -> list[Message]:
    """Put the molecules of a frame together from the rows of ``molecules``."""
    flat = np.frombuffer(b"".join(row["outline_px"] for row in found), dtype="<f4")
    outlines = outline_points(flat, (len(row["outline_px"]) // POINT_BYTES for row in found))
    return [_molecule_message(row, outline) for row, outline in zip(found, outlines, strict=True)]


def _molecule_message(row: sqlite3.Row, outline: list[list[float]]) -> Message:
    return {
        "label": row["label"],
        "score": row["score"],
        "center_nm": [row["center_x_nm"], row["center_y_nm"]],
        "area_nm2": row["area_nm2"],
        "length_nm": row["length_nm"],
        "width_nm": row["width_nm"],
        "orientation_deg": row["orientation_deg"],
        "box_px": [row["box_x1_px"], row["box_y1_px"], row["box_x2_px"], row["box_y2_px"]],
        "outline_px": outline,
        "touches_edge": bool(row["touches_edge"]),
        "spectra": json.loads(row["spectra"]) if row["spectra"] is not None else [],
    }


def fault_row_message(row: sqlite3.Row) -> Message:
    """Put the message of a fault together from a row of ``faults``."""
    return {
        "schema": MESSAGE_SCHEMA,
        "type": "fault",
        "run": None,
        "seq": None,
        "id": row["id"],
        "source": row["source"],
        "name": row["source"].replace("\\", "/").rsplit("/", 1)[-1],
        "sha256": row["sha256"],
        "stage": row["stage"],
        "reason": row["reason"],
        "when": row["occurred"],
        "detail": row["detail"],
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
