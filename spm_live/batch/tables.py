"""The table of all frames in an output folder."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spm_live.batch.journal import Entry

FRAME_COLUMNS = (
    "outputs",
    "source",
    "format",
    "channel",
    "trace",
    "direction",
    "unit",
    "rows",
    "columns",
    "complete_rows",
    "partial",
    "width_nm",
    "height_nm",
    "center_x_nm",
    "center_y_nm",
    "angle_deg",
    "nm_per_px_x",
    "nm_per_px_y",
    "bias_v",
    "setpoint",
    "setpoint_unit",
    "started",
    "ended",
    "instrument",
    "comment",
    "warnings",
)
"""Columns of ``frames.csv``; lists are joined by semicolons."""


def write_frames_table(entries: Iterable[Entry], out: Path) -> None:
    """Write ``frames.csv``, one row a frame, whole or not at all.

    Parameters
    ----------
    entries : iterable
        Of the journal; ``frames`` of each are rows.
    out : Path
        The output folder.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    passing = out / "frames.csv.part"
    try:
        with passing.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = csv.DictWriter(file, FRAME_COLUMNS, extrasaction="ignore")
            rows.writeheader()
            for entry in entries:
                rows.writerows({name: _cell(value) for name, value in frame.items()} for frame in entry["frames"])
        passing.replace(out / "frames.csv")
    except OSError:
        passing.unlink(missing_ok=True)
        raise


def _cell(value: Any) -> Any:
    return "; ".join(value) if isinstance(value, list) else value
