"""Exports Parquet tables, which keep their types and are quick to load by column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from spm_live.errors import SetupError
from spm_live.publish.exporters.files import whole
from spm_live.publish.exporters.tables import TABLES, Table

ROWS_AT_ONCE = 20_000
"""Rows held in memory before they are written as one row group."""


def export_parquet(frames: Iterable[Mapping[str, Any]], out: Path) -> int:
    """Write ``frames.parquet``, ``molecules.parquet`` and ``counts.parquet``.

    Parameters
    ----------
    frames : iterable of dict
        Full frame messages.
    out : Path
        Folder.

    Returns
    -------
    int
        How many frames.

    Raises
    ------
    SetupError
        If pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401 - asked for before anything is written
    except ImportError as error:
        raise SetupError('Parquet needs pyarrow: pip install "spm-live[parquet]"') from error
    paths = [out / f"{table.name}.parquet" for table in TABLES]
    with ExitStack() as stack:
        sheets = [
            stack.enter_context(_Sheet(table, stack.enter_context(whole(path))))
            for table, path in zip(TABLES, paths, strict=True)
        ]
        done = 0
        for message in frames:
            done += 1
            for sheet in sheets:
                sheet.add(message)
    return done


class _Sheet:
    """One table that is being written."""

    def __init__(self, table: Table, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {
            "int": pa.int64(),
            "float": pa.float64(),
            "text": pa.string(),
            "bool": pa.bool_(),
            "time": pa.timestamp("us", tz="UTC"),
        }
        self._table = table
        self._schema = pa.schema([(column.name, types[column.kind]) for column in table.columns])
        self._times = [index for index, column in enumerate(table.columns) if column.kind == "time"]
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[list[Any]] = []

    def __enter__(self) -> _Sheet:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()

    def add(self, message: Mapping[str, Any]) -> None:
        for row in self._table.values(message):
            for index in self._times:
                row[index] = datetime.fromisoformat(row[index]) if row[index] is not None else None
            self._rows.append(row)
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        columns = zip(*self._rows, strict=True) if self._rows else [()] * len(self._schema)
        arrays = [pa.array(list(values), type=field.type) for values, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows.clear()
