"""Exports tables of comma-separated values."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from spm_live.publish.exporters.files import whole_text
from spm_live.publish.exporters.tables import TABLES


def export_csv(frames: Iterable[Mapping[str, Any]], out: Path) -> int:
    """Write ``frames.csv``, ``molecules.csv`` and ``counts.csv``.

    Parameters
    ----------
    frames : iterable of dict
        Full frame messages.
    out : Path
        Folder.

    Returns
    -------
    int
        How many frames. In the files unknown values are empty, truth values are ``true`` and ``false``, and numbers
        have all the digits that tell them from their neighbours.
    """
    paths = [out / f"{table.name}.csv" for table in TABLES]
    with ExitStack() as stack:
        writers = [csv.writer(stack.enter_context(whole_text(path))) for path in paths]
        for table, writer in zip(TABLES, writers, strict=True):
            writer.writerow([column.name for column in table.columns])
        done = 0
        for message in frames:
            done += 1
            for table, writer in zip(TABLES, writers, strict=True):
                writer.writerows([_cell(value) for value in row] for row in table.values(message))
    return done


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
