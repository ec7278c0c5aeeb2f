"""Which reader a file of a batch gets, and which files are left alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from spm_live.batch.plan import FileTask
from spm_live.errors import FrameError
from spm_live_drivers.contract import Reader
from spm_live_drivers.registry import find_reader, scan_suffixes


def reader_for(task: FileTask) -> Reader | None:
    """Find the reader of a file.

    Returns
    -------
    Reader or None
        None for a file that was found in a folder and neither is a scan nor is called like one: a folder of scans also
        holds spectra, notes and thumbnails.

    Raises
    ------
    FrameError
        If a file that was named, or is called like a scan, cannot be read.
    """
    try:
        return find_reader(Path(task.path))
    except FrameError:
        if task.explicit or task.size < 0 or Path(task.path).suffix.lower() in _known_suffixes():
            raise
        return None


@cache
def _known_suffixes() -> frozenset[str]:
    return scan_suffixes()
