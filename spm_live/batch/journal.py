"""Remembers what a batch has done: one JSON line a file, only ever appended to.

A line that was cut off by a crash is passed over; its file is done again. In memory a file takes 16 bytes: the hash of
its name and where its last line begins.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Entry = Mapping[str, Any]
"""One line: ``name`` (of the outputs, unique) and whatever the batch wants back."""


class Journal:
    """An append-only record, the last line of a name being the one that counts.

    Parameters
    ----------
    path : Path
        Made if it is not there.

    Raises
    ------
    OSError
        If it cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names, self._starts = _index(path)
        self._file = path.open("ab", buffering=0)
        self._reading = path.open("rb")
        self._end_torn_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._reading.close()

    def find(self, name: str) -> Entry | None:
        """The last entry of a name as it was when the journal was opened, or None."""
        key = _key(name)
        at = int(np.searchsorted(self._names, key))
        if at == len(self._names) or self._names[at] != key:
            return None
        self._reading.seek(int(self._starts[at]))
        entry = _parse(self._reading.readline())
        return entry if entry is not None and entry["name"] == name else None

    def append(self, entry: Entry) -> None:
        """Add a line; once this returns it outlives the process.

        Raises
        ------
        OSError
            If the disk is full.
        """
        line = json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n"
        if self._file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def entries(self) -> Iterator[Entry]:
        """The last entry of every name, those of this run included, in the order in which they were written."""
        wanted = _last_starts(self._path)
        for start, line in _lines(self._path):
            at = int(np.searchsorted(wanted, start))
            if at < len(wanted) and wanted[at] == start and (entry := _parse(line)) is not None:
                yield entry

    def _end_torn_line(self) -> None:
        if self._file.tell() == 0:
            return
        self._reading.seek(-1, os.SEEK_END)
        if self._reading.read(1) != b"\n":
            self._file.write(b"\n")


def _last_starts(path: Path) -> NDArray[np.uint64]:
    """Where the lines begin that are the last of their names, rising."""
    return np.sort(_index(path)[1])


def _index(path: Path) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Hash of every name, rising, and the start of its last line; two names with one 64-bit hash count as one."""
    names, starts = array("Q"), array("Q")
    for start, line in _lines(path):
        entry = _parse(line)
        if entry is not None:
            names.append(int(_key(entry["name"])))
            starts.append(start)
    keys = np.array(names, dtype=np.uint64)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    last = np.append(keys[1:] != keys[:-1], True) if len(keys) else np.zeros(0, dtype=bool)
    return keys[last], np.array(starts, dtype=np.uint64)[order][last]


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if not path.exists():
        return
    start = 0
    with path.open("rb") as file:
        for line in file:
            yield start, line
            start += len(line)


def _parse(line: bytes) -> Entry | None:
    """The entry, or None for a line that a crash cut off or a disk spoilt."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("name"), str) else None


def _key(name: str) -> np.uint64:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))
