"""How the writers put a file on the disk: whole, or slowly."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def put_file(path: Path, content: bytes, pieces: int = 1, pause: Callable[[], object] | None = None) -> None:
    """Write a file, all at once or piece by piece.

    Parameters
    ----------
    path : Path
        Where; an older file there is replaced.
    content : bytes
        All of it.
    pieces : int
        1 writes beside the path and renames, so that nobody ever sees half a file. More write the file itself in so
        many pieces, each flushed, as an instrument on a slow disk or share does.
    pause : callable or None
        Called between two pieces.

    Raises
    ------
    ValueError
        If ``pieces`` is less than 1.
    OSError
        If the file cannot be written.
    """
    if pieces < 1:
        raise ValueError(f"a file cannot be written in {pieces} pieces")
    if pieces == 1:
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        part.replace(path)
        return
    size = -(-len(content) // pieces)
    with path.open("wb") as file:
        for start in range(0, len(content), size):
            if start and pause is not None:
                pause()
            file.write(content[start : start + size])
            file.flush()
            os.fsync(file.fileno())
