"""Finds the reader for a file among those that installed packages announce."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from pathlib import Path

from spm_live_drivers.contract import Frame, Reader, ReadOptions
from spm_live_drivers.errors import FrameError
from spm_live_drivers.formats.opening import digest, file_ref, open_regular

logger = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "spm_live.drivers"
HEAD_BYTES = 4096

AMBIGUOUS_SUFFIXES = frozenset({".dat"})
"""Of scans (Createc) and of much else (Nanonis spectra): a file called so that no reader knows is no fault."""


@dataclass(frozen=True, slots=True)
class BrokenReader:
    """A reader that a package announces and that cannot be used: the entry point, and why."""

    entry_point: str
    reason: str


def readers() -> tuple[Reader, ...]:
    """Every installed reader that can be used, in the order of their names."""
    return _survey()[0]


def broken_readers() -> tuple[BrokenReader, ...]:
    """Those that cannot: the other formats are read all the same."""
    return _survey()[1]


@lru_cache(maxsize=1)
def _survey() -> tuple[tuple[Reader, ...], tuple[BrokenReader, ...]]:
    found: list[Reader] = []
    broken: list[BrokenReader] = []
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        name = f"{point.name} = {point.value}"
        try:
            reader = point.load()()
        except Exception as error:  # noqa: BLE001 - code of another package; whatever it does must not stop the others
            broken.append(BrokenReader(name, f"cannot be loaded: {type(error).__name__}: {error}"))
            logger.warning("the reader %s cannot be loaded: %s: %s", name, type(error).__name__, error)
            continue
        if isinstance(reader, Reader):
            found.append(reader)
        else:
            broken.append(BrokenReader(name, "is not a reader: see spm_live_drivers.contract.Reader"))
            logger.warning("the reader %s is not a reader", name)
    return tuple(found), tuple(broken)


def scan_suffixes() -> frozenset[str]:
    """Suffixes that promise a scan, lower case: a file called so that no reader knows is worth a report."""
    return frozenset(suffix.lower() for reader in readers() for suffix in reader.suffixes) - AMBIGUOUS_SUFFIXES


def find_reader(path: Path) -> Reader:
    """Find the reader that knows the content of a file.

    Raises
    ------
    FrameError
        If the file cannot be opened, is no regular file, is empty, or no reader knows it.
    """
    ref = file_ref(path)
    with open_regular(path) as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise FrameError(ref, "read", "the file is empty")
    for reader in readers():
        if reader.accepts(path, head):
            return reader
    known = ", ".join(reader.title for reader in readers())
    raise FrameError(ref, "read", f"no reader knows this file; installed readers: {known}")


def read_frame(path: Path, options: ReadOptions = ReadOptions()) -> Frame:
    """Read one channel of a file with whichever reader knows it.

    Raises
    ------
    FrameError
        As :func:`find_reader` and :meth:`Reader.read` do.
    """
    return find_reader(path).read(path, options)


def file_sha256(path: Path) -> str:
    """Hex digest of a file's content, read in blocks.

    Raises
    ------
    FrameError
        If the file cannot be read.
    """
    with open_regular(path) as file:
        return digest(file)
