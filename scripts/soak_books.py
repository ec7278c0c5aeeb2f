"""What was scanned in a soak test against what the store holds of it: every scan one frame, and no frame of nothing."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePath

from spm_live_drivers.growing import ScanOutcome
from spm_live_drivers.simulate.machine import EndedScan
from spm_live_drivers.simulate.running import RunningScan


@dataclass(frozen=True, slots=True)
class Scanned:
    """One scan as the instrument knows it.

    Parameters
    ----------
    begun : datetime
        UTC, by the real clock.
    number : int
        Number of its file, whether it was saved or not.
    file : str
        Name of its file; empty if it was not saved.
    lines : int
        How many were scanned.
    finished : bool
        Whether it reached its last line.
    """

    begun: datetime
    number: int
    file: str = ""
    lines: int = 0
    finished: bool = False


class History:
    """Writes down what the simulated instrument scans; its methods are the hooks of the controller."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scans: list[Scanned] = []

    def begun(self, run: RunningScan) -> None:
        """A scan has begun."""
        with self._lock:
            self._scans.append(Scanned(datetime.now(UTC), run.number))

    def ended(self, scan: EndedScan) -> None:
        """The last one has ended."""
        finished = scan.outcome is ScanOutcome.FINISHED
        with self._lock:
            self._scans[-1] = replace(
                self._scans[-1], file=PurePath(scan.path).name, lines=scan.lines, finished=finished
            )

    def scans(self) -> list[Scanned]:
        """All so far, in the order of their beginning."""
        with self._lock:
            return list(self._scans)


@dataclass(frozen=True, slots=True)
class Books:
    """What the store holds against what was scanned.

    Parameters
    ----------
    files, stored : int
        Files that were saved, and frames of files that nothing superseded.
    unsaved, kept : int
        Scans that reached their last line and were not saved, and frames that were put together from lines.
    wrong : tuple of str
        Frames that are missing, doubled, or of nothing that was scanned.
    """

    files: int
    stored: int
    unsaved: int
    kept: int
    wrong: tuple[str, ...]


def audit(store: Path, scans: Path, history: Sequence[Scanned], announced: Mapping[str, datetime]) -> Books:
    """Compare the store with what was scanned.

    Parameters
    ----------
    store : Path
        The SQLite file of the daemon.
    scans : Path
        The instrument's folder; files that are called ``damaged_...`` are not its own.
    history : sequence of Scanned
        What was scanned, in the order of the beginnings.
    announced : mapping of str to datetime
        Name of each scan that was followed while it grew to when the daemon first heard of it, UTC.
    """
    with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT name, format FROM frames WHERE superseded_by IS NULL").fetchall()
    stored = [name for name, form in rows if form != "growing"]
    kept = [name for name, form in rows if form == "growing"]
    files = {path.name for path in scans.glob("*.sxm") if not path.name.startswith("damaged_")}
    wrong = [f"{name}: no frame in the store" for name in sorted(files - set(stored))]
    wrong += [f"{name}: {stored.count(name)} frames" for name in sorted(set(stored)) if stored.count(name) > 1]
    wrong += [f"{name}: a frame, and no such file" for name in sorted(set(stored) - files)]
    told: dict[datetime, str] = {}
    for name in kept:
        scan = _scan_of(name, history, announced)
        if scan is None:
            wrong.append(f"{name}: kept, and nothing was scanned then")
        elif scan.file:
            wrong.append(f"{name}: kept as it was seen, though its file {scan.file} is there: one scan, two frames")
        elif scan.begun in told:
            wrong.append(f"{name}: kept as it was seen, as {told[scan.begun]} of the same scan: one scan, two frames")
        else:
            told[scan.begun] = name
    unsaved = [scan for scan in history if scan.finished and not scan.file]
    wrong += [f"scan {scan.number}: not saved, and not kept either" for scan in unsaved if scan.begun not in told]
    return Books(len(files), len(stored), len(unsaved), len(kept), tuple(wrong))


def _scan_of(name: str, history: Sequence[Scanned], announced: Mapping[str, datetime]) -> Scanned | None:
    """The scan that ran when a frame that was kept was first heard of."""
    by_file = next((scan for scan in history if scan.file == name), None)
    if by_file is not None or name not in announced:
        return by_file
    return next((scan for scan in reversed(history) if scan.begun <= announced[name]), None)
