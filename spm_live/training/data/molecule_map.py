"""Reads our own results, so that a lab can correct what the daemon found and train on it.

A result is a frame message (``docs/reference/messages.md``) in JSON: one message, a list of them, a snapshot with
``frames``, or one message a line. The store that ``run`` and ``detect`` keep (SQLite) holds the same messages and,
where the raw file is gone, a picture of each frame.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from spm_live.training.data.claims import (
    ClaimedMolecule,
    ClaimedPicture,
    is_number,
    points_of,
    rectangle_ring,
    whole_number,
)
from spm_live.training.data.problem import ProblemLog
from spm_live_drivers.contract import Trace

CORNER = 0.5
"""Outlines of messages count from the centre of the upper left pixel, ours from its corner."""


def is_frame_message(content: object) -> bool:
    """Whether a JSON value is one finished frame, molecules and all."""
    return isinstance(content, dict) and content.get("type") == "frame" and isinstance(content.get("molecules"), list)


def messages_in(content: object) -> list[Mapping[str, Any]]:
    """The frame messages in a JSON value; empty where there are none."""
    if is_frame_message(content):
        return [content]  # type: ignore[list-item]
    if isinstance(content, dict) and isinstance(content.get("frames"), list):
        content = content["frames"]
    if isinstance(content, list):
        return [message for message in content if is_frame_message(message)]
    return []


def read_message(
    path: Path,
    message: Mapping[str, Any],
    log: ProblemLog,
    *,
    min_score: float,
    preview: Callable[[], bytes] | None = None,
) -> ClaimedPicture:
    """Read one frame message.

    Parameters
    ----------
    path : Path
        The file that it stands in.
    message : dict
        :func:`is_frame_message` holds.
    log : ProblemLog
        Takes what is wrong.
    min_score : float
        Molecules with a lower score are ignored: neither molecule nor background.
    preview : callable or None
        Gives the stored picture of the frame.
    """
    rows, columns = whole_number(message.get("rows")), whole_number(message.get("columns"))
    source = message.get("source")
    source = source if isinstance(source, str) else ""
    channel, trace = message.get("channel"), message.get("trace")
    return ClaimedPicture(
        label_file=path,
        name=str(message.get("name") or path.name),
        paths=(source,) if source else (),
        molecules=_molecules(message["molecules"], min_score, log),
        size=(rows, columns) if rows and columns else None,
        embedded=preview,
        nm_per_px=_scale(message.get("nm_per_px")),
        channel=channel if isinstance(channel, str) and channel else None,
        trace=Trace(trace) if trace in tuple(Trace) else Trace.FORWARD,
        sha256=str(message.get("sha256") or ""),
    )


def read_store(
    path: Path, log_for: Callable[[str], ProblemLog], *, min_score: float
) -> list[tuple[ClaimedPicture, ProblemLog]]:
    """Read every frame of a store, each with a log of its own, without those that a later state superseded.

    Raises
    ------
    StoreError
        If it is no store, or cannot be read.
    """
    from spm_live.publish.store import Store

    found: list[tuple[ClaimedPicture, ProblemLog]] = []
    with Store(path, read_only=True) as store:
        for message in store.iter_frames():
            log = log_for(f"{path}, frame {message['id']} ({message['name']})")
            preview = partial(_preview, path, message["id"])
            found.append((read_message(path, message, log, min_score=min_score, preview=preview), log))
    return found


def is_store(head: bytes) -> bool:
    """Whether a file begins as SQLite files do."""
    return head.startswith(b"SQLite format 3\0")


def _preview(path: Path, frame_id: int) -> bytes:
    from spm_live.publish.database import StoreError
    from spm_live.publish.store import Store

    try:
        with Store(path, read_only=True) as store:
            png = store.preview(frame_id)
    except (StoreError, sqlite3.Error) as error:
        raise ValueError(f"holds a picture that cannot be read: {error}") from error
    if png is None:
        raise ValueError("holds no picture of the frame any more")
    return png


def _scale(pitch: object) -> float | None:
    """The pitch where it is the same along both axes; else the raw file, which is asked first, has to tell."""
    if not isinstance(pitch, list) or len(pitch) != 2 or not all(map(is_number, pitch)) or min(pitch) <= 0:
        return None
    return float(pitch[0]) if abs(pitch[0] - pitch[1]) <= 0.005 * pitch[0] else None


def _molecules(molecules: list[Any], min_score: float, log: ProblemLog) -> tuple[ClaimedMolecule, ...]:
    found: list[ClaimedMolecule] = []
    for index, molecule in enumerate(molecules):
        try:
            if not isinstance(molecule, dict) or not isinstance(molecule.get("label"), str):
                raise ValueError("has no label")
            outline = points_of(molecule.get("outline_px")) + CORNER
            if len(outline) < 3:  # of a pixel or two: there is no line around them
                box = molecule.get("box_px")
                if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
                    raise ValueError(f"({molecule['label']}) has neither an outline nor a box")
                outline = rectangle_ring(*box)
        except ValueError as error:
            log.error(str(error), index)
            continue
        score = molecule.get("score")
        unsure = is_number(score) and score < min_score
        found.append(ClaimedMolecule(index, molecule["label"].strip(), ((outline,),), ignore=unsure))
    return tuple(found)
