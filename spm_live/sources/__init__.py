"""Where frames come from: watched folders and ZeroMQ sockets, both as files on this machine's disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spm_live.domain import Fault, ReadOptions, SourceStatus

__all__ = ["Arrival", "Known", "Put", "Report", "Source"]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that is ready to be read.

    Parameters
    ----------
    path : Path
        Absolute.
    size, mtime_ns : int
        As they were when it was found ready: with the path they tell one state of a file from another.
    options : ReadOptions
        How it is to be read.
    origin : str
        Name of the source.
    partial : bool
        It came because it was quiet too long, not because it was complete.
    delete_when_done : bool
        The file is the source's own (a received message) and is removed once its frame is stored.
    sha256 : str
        What its frame is known by, where the source can tell: a received frame is known by the digest of the file that
        it was read from, far away. Empty: the digest of this file.
    ready_s : float
        ``time.monotonic()`` when it was found ready, to tell the lag.
    """

    path: Path
    size: int
    mtime_ns: int
    options: ReadOptions
    origin: str
    partial: bool = False
    delete_when_done: bool = False
    ready_s: float = 0.0
    sha256: str = ""


Put = Callable[[Arrival], None]
"""Takes an arrival; blocks while the daemon's queue is full; raises ``StoppedError`` when the daemon stops."""

Report = Callable[[Fault], None]
"""Takes a fault to be counted, stored and shown."""

Known = Callable[[Path, int, int], bool]
"""Whether this path, size and mtime_ns were dealt with before, so that a backlog of thousands is skipped unread."""


class StoppedError(Exception):
    """The daemon is stopping: leave what is in hand and return. What was not put is found again at the next start."""


class Source(Protocol):
    """Yields arrivals from a thread of its own."""

    name: str

    def start(self, put: Put, report: Report, known: Known) -> None:
        """Begin; returns at once."""
        ...

    def stop(self) -> None:
        """End, and wait for the thread, at most 5 s."""
        ...

    def status(self) -> SourceStatus:
        """How it stands; called from other threads."""
        ...
