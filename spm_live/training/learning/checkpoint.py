"""Checkpoints: written whole or not at all, and never believed without their checksum."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

SCHEMA = 1
KEPT = 2
"""Checkpoints that are kept: the one before is there if the last one is damaged."""
PREFIX = "checkpoint-"
NUMBERED = re.compile(rf"^{PREFIX}(\d+)\.json$")


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A state that training can go on from.

    Parameters
    ----------
    step : int
        Steps done.
    notes : mapping
        Whatever JSON holds.
    arrays : mapping of str to array
        Weights, optimiser, average.
    """

    step: int
    notes: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; it is flushed to disk and renamed at the end, or removed on failure."""
    passing = path.with_name(f".{path.name}.part")
    try:
        yield passing
        with passing.open("rb+") as file:
            os.fsync(file.fileno())
        passing.replace(path)
    finally:
        passing.unlink(missing_ok=True)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint and remove all but the last :data:`KEPT`.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    checkpoint : Checkpoint
        What to keep.

    Returns
    -------
    Path
        The file of its notes, which is written last: without it the arrays are not looked at.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{PREFIX}{checkpoint.step:09d}"
    arrays, notes = folder / f"{stem}.npz", folder / f"{stem}.json"
    with whole(arrays) as passing, passing.open("wb") as file:
        np.savez(file, allow_pickle=False, **checkpoint.arrays)
    content = {"schema": SCHEMA, "step": checkpoint.step, "sha256": _digest(arrays), "notes": dict(checkpoint.notes)}
    with whole(notes) as passing:
        passing.write_text(json.dumps(content, indent=1), encoding="utf-8")
    for old in _numbers(folder)[:-KEPT]:
        for suffix in (".json", ".npz"):
            (folder / f"{PREFIX}{old:09d}{suffix}").unlink(missing_ok=True)
    return notes


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the last checkpoint that is sound.

    Returns
    -------
    Checkpoint or None
        None where there is none. A damaged one is left where it is and told about in the log.
    """
    for step in reversed(_numbers(folder)):
        stem = folder / f"{PREFIX}{step:09d}"
        try:
            return _read(stem.with_suffix(".json"), stem.with_suffix(".npz"))
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            logger.warning("%s is damaged (%s); going back to the checkpoint before it", stem.name, error)
    return None


def remove_after(folder: Path, step: int) -> None:
    """Remove checkpoints of later steps than ``step``."""
    for number in _numbers(folder):
        if number > step:
            for suffix in (".json", ".npz"):
                (folder / f"{PREFIX}{number:09d}{suffix}").unlink(missing_ok=True)


def _read(notes: Path, arrays: Path) -> Checkpoint:
    content = json.loads(notes.read_text(encoding="utf-8"))
    if content["schema"] != SCHEMA:
        raise ValueError(f"it has schema {content['schema']}, this spm-live writes {SCHEMA}")
    found = _digest(arrays)
    if found != content["sha256"]:
        raise ValueError(f"sha256 is {found[:12]}..., not {str(content['sha256'])[:12]}...")
    with np.load(arrays, allow_pickle=False) as stored:
        return Checkpoint(int(content["step"]), content["notes"], {name: stored[name] for name in stored.files})


def _numbers(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    matches = (NUMBERED.match(path.name) for path in folder.iterdir())
    return sorted(int(one.group(1)) for one in matches if one)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
