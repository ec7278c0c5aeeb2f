"""Finds the label files among what a person names, and reads each by its content."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spm_live.training.data.claims import ClaimedPicture
from spm_live.training.data.coco import is_coco, read_coco
from spm_live.training.data.labelme import is_labelme, read_labelme
from spm_live.training.data.molecule_map import is_store, messages_in, read_message, read_store
from spm_live.training.data.problem import Problem, ProblemLog
from spm_live_drivers.errors import SpmLiveError
from spm_live_drivers.registry import readers

LARGEST_LABEL_FILE = 1024 * 1024 * 1024
"""In bytes; a larger file holds no labels."""
LABEL_SUFFIXES = (".json", ".jsonl", ".ndjson")
LINE_SUFFIXES = (".jsonl", ".ndjson")
KINDS = "a label file of labelme, a COCO data set, or frame messages of spm-live"


@dataclass(frozen=True, slots=True)
class Listing:
    """What was found under the paths that a person named.

    Parameters
    ----------
    label_files : tuple of (Path, bool)
        Each once; whether the person named this very file.
    pictures : tuple of Path
        Files of a folder that are pictures or raw files by their suffix.
    """

    label_files: tuple[tuple[Path, bool], ...]
    pictures: tuple[Path, ...]


@dataclass(slots=True)
class Gathered:
    """Claims and problems, as they come."""

    claims: list[tuple[ClaimedPicture, ProblemLog]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def log_for(self, file: str) -> ProblemLog:
        """A log whose problems come to this list."""
        log = ProblemLog(file)
        log.problems = self.problems
        return log


def list_files(paths: Iterable[Path], gathered: Gathered) -> Listing:
    """List label files and pictures; folders with all their sub-folders, but for hidden ones.

    A picture that is named stands for the label file beside it. Stores are taken where they are named, not where they
    merely lie in a folder: labels that were corrected often lie beside the store they came from.
    """
    labels: dict[Path, tuple[Path, bool]] = {}
    pictures: list[Path] = []
    suffixes = {suffix for reader in readers() for suffix in reader.suffixes}
    for path in map(Path, paths):
        if path.is_dir():
            for place in _walk(path):
                if place.suffix.lower() in LABEL_SUFFIXES:
                    labels.setdefault(place.resolve(), (place, False))
                elif place.suffix.lower() in suffixes:
                    pictures.append(place)
        elif not path.is_file():
            gathered.log_for(str(path)).error("is not there")
        else:
            known = path.suffix.lower() in suffixes
            beside = path.with_suffix(".json") if known and path.suffix.lower() not in LABEL_SUFFIXES else path
            if beside.is_file():
                labels[beside.resolve()] = beside, True
            else:
                gathered.log_for(str(path)).error(f"has no label file {beside.name} beside it; label it in labelme")
    return Listing(tuple(labels.values()), tuple(pictures))


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(place) / name


def read_label_file(path: Path, *, named: bool, min_score: float, gathered: Gathered) -> None:
    """Read one label file, whatever it is.

    Parameters
    ----------
    path : Path
        The file.
    named : bool
        The person named this very file, so that anything else is an error; in a folder it is passed over.
    min_score : float
        Of molecule maps.
    gathered : Gathered
        Takes the pictures and the problems.
    """
    log = gathered.log_for(str(path))
    try:
        with path.open("rb") as file:
            head = file.read(16)
            size = os.fstat(file.fileno()).st_size
        if is_store(head):
            for claim, own in read_store(path, gathered.log_for, min_score=min_score):
                gathered.claims.append((claim, own))
            return
        if size > LARGEST_LABEL_FILE:
            raise ValueError(f"has {size} bytes; at most {LARGEST_LABEL_FILE} are read")
        content = _content(path)
    except (ValueError, SpmLiveError) as error:
        log.error(str(error))
        return
    except OSError as error:
        log.error(f"cannot be read: {error.strerror or error}")
        return
    _take(path, content, named=named, min_score=min_score, gathered=gathered)


def _take(path: Path, content: object, *, named: bool, min_score: float, gathered: Gathered) -> None:
    log = gathered.log_for(str(path))
    if isinstance(content, dict) and is_labelme(content):
        gathered.claims.append((read_labelme(path, content, log), log))
    elif isinstance(content, dict) and is_coco(content):
        gathered.claims += [(claim, log) for claim in read_coco(path, content, log)]
    elif messages := messages_in(content):
        for message in messages:
            own = log if len(messages) == 1 else gathered.log_for(f"{path}, frame {_title(message)}")
            gathered.claims.append((read_message(path, message, own, min_score=min_score), own))
    elif named:
        log.error(f"is neither {KINDS}")
    elif not _is_sidecar(path):
        log.warning(f"is neither {KINDS}: passed over")


def _content(path: Path) -> object:
    """The JSON of a file; of one with a message a line, the list of them."""
    raw = path.read_bytes()
    if not raw.strip():
        raise ValueError("the file is empty; label its picture again, or take the file away")
    try:
        text = raw.decode("utf-8-sig")
        if path.suffix.lower() in LINE_SUFFIXES:
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        return json.loads(text)
    except UnicodeDecodeError as error:
        raise ValueError(f"is no text in UTF-8 (byte {error.start}); save it again as UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}; was it cut off?") from error


def _is_sidecar(path: Path) -> bool:
    """Whether it tells the scale of a picture beside it (see the reader of pictures)."""
    return path.name.endswith(".spm.json") or path.with_suffix("").is_file()


def _title(message: Mapping[str, Any]) -> str:
    return f"{message.get('id')} ({message.get('name')})"
