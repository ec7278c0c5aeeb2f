"""The table of all frames in an output folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spm_live.batch.journal import Entry
from spm_live.domain import FrameInfo
from spm_live.publish.fields import describe

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


def frame_row(outputs: Iterable[str], info: FrameInfo) -> str:
    """One line of ``frames.csv``, its end included."""
    values = {"outputs": list(outputs), **describe(info)}
    line = io.StringIO()
    csv.writer(line).writerow([_cell(values[column]) for column in FRAME_COLUMNS])
    return line.getvalue()


def write_frames_table(entries: Iterable[Entry], out: Path) -> None:
    """Write ``frames.csv``, one row a frame, whole or not at all.

    Parameters
    ----------
    entries : iterable
        Of the journal; ``rows`` of each are lines.
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
            csv.writer(file).writerow(FRAME_COLUMNS)
            for entry in entries:
                file.writelines(entry["rows"])
        passing.replace(out / "frames.csv")
    except OSError:
        passing.unlink(missing_ok=True)
        raise


def _cell(value: Any) -> Any:
    return "; ".join(value) if isinstance(value, list) else value
