"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

MAX_STEM = 120


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to; it is renamed at the end, or removed if that fails.

    Missing folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    passing = path.with_name(f".{path.name}.part")
    try:
        yield passing
        passing.replace(path)
    finally:
        passing.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_text(path: Path) -> Iterator[TextIO]:
    """As :func:`whole`, opened for text in UTF-8, line ends left as they are written."""
    with whole(path) as passing, passing.open("w", encoding="utf-8", newline="") as file:
        yield file


def write_whole(path: Path, content: bytes) -> None:
    """Write a file at once."""
    with whole(path) as passing:
        passing.write_bytes(content)


def frame_stem(frame_id: int, name: str) -> str:
    """Part of a file name for one frame: its number, which is unique, and its own name, for a person.

    Examples
    --------
    >>> frame_stem(7, "scan: 3/4?.sxm")
    '000007_scan_3_4_.sxm'
    """
    plain = re.sub(r"[^\w.+-]+", "_", name)
    return f"{frame_id:06d}_{plain[:MAX_STEM]}"
