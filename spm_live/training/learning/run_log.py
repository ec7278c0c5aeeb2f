"""The log of a run: a table for the report and for people, and events for TensorBoard."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

logger = logging.getLogger(__name__)

Row = dict[str, float]
"""Numbers by name; always with ``step``."""


def read_rows(path: Path) -> list[Row]:
    """Read a table; empty where there is none. Cells that hold no number are left out."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [_numbers(line) for line in csv.DictReader(file) if _numbers(line).get("step") is not None]


def _numbers(line: Mapping[str | Any, str | Any]) -> Row:
    row: Row = {}
    for name, cell in line.items():
        try:
            row[str(name)] = float(cell)
        except (TypeError, ValueError):
            continue
    return row


class Table:
    """A CSV file that grows by rows.

    Parameters
    ----------
    path : Path
        Its folder exists.
    columns : sequence of str
        Names; ``step`` first.
    until : int
        Rows of an earlier run are kept as far as this step: training goes on from there.
    """

    def __init__(self, path: Path, columns: Sequence[str], until: int) -> None:
        kept = [row for row in read_rows(path) if row["step"] <= until]
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._file, list(columns), restval="", extrasaction="ignore")
        self._writer.writeheader()
        self._writer.writerows([row | {"step": int(row["step"])} for row in kept])
        self._file.flush()
        self.rows: list[Row] = kept

    def add(self, row: Row) -> None:
        """Write a row at once, so that a killed run leaves a full log."""
        self.rows.append(row)
        self._writer.writerow(row | {"step": int(row["step"])})
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RunLog:
    """Both tables of a run, ``steps.csv`` and ``looks.csv``, and TensorBoard's events under ``tensorboard``.

    Parameters
    ----------
    folder : Path
        Of the run.
    losses, looks : sequence of str
        Columns.
    until : int
        As in :class:`Table`.
    """

    def __init__(self, folder: Path, losses: Sequence[str], looks: Sequence[str], until: int) -> None:
        self._clean(folder)
        self.steps = Table(folder / "steps.csv", ["step", "rate", "steps_per_s", *losses], until)
        self.looks = Table(folder / "looks.csv", ["step", *looks], until)
        self._board = _tensorboard(folder / "tensorboard")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.steps.close()
        self.looks.close()
        if self._board is not None:
            self._board.close()

    def step(self, row: Row) -> None:
        """Note what the last steps gave."""
        self.steps.add(row)
        self._tell("train", row)

    def look(self, row: Row) -> None:
        """Note what a look at the validation pictures gave."""
        self.looks.add(row)
        self._tell("validation", row)

    def _tell(self, group: str, row: Row) -> None:
        if self._board is None:
            return
        import tensorflow as tf

        # tf.summary.scalar wants the package tensorboard; what it writes needs TensorFlow alone: a tensor marked for
        # the plug-in "scalars" (tensorboard.plugins.scalar.metadata).
        about = tf.compat.v1.SummaryMetadata(data_class="DATA_CLASS_SCALAR")
        about.plugin_data.plugin_name = "scalars"
        with self._board.as_default():
            for name, value in row.items():
                if name != "step":
                    tf.summary.write(f"{group}/{name}", np.float32(value), step=int(row["step"]), metadata=about)
        self._board.flush()

    @staticmethod
    def _clean(folder: Path) -> None:
        for path in folder.glob(".*.part"):
            if re.search(r"\.(npz|json)\.part$", path.name):
                path.unlink(missing_ok=True)


def _tensorboard(folder: Path) -> Any:
    import keras

    if keras.backend.backend() != "tensorflow":
        logger.warning("no TensorBoard log: it is written where TensorFlow is the backend; see steps.csv and looks.csv")
        return None
    import tensorflow as tf

    return tf.summary.create_file_writer(str(folder))
