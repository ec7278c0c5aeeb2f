"""Counts what a batch did, lists what failed, and tells how far it is."""

from __future__ import annotations

import contextlib
import csv
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self, TextIO

MAX_FAULTS_TOLD = 100
"""Faults kept in memory for the summary; all of them are in the file."""
FAULT_COLUMNS = ("file", "stage", "reason", "detail")


@dataclass(frozen=True, slots=True)
class FileFault:
    """A file that failed, or a channel of it, and why."""

    file: str
    stage: str
    reason: str
    detail: str = ""


@dataclass(slots=True)
class Progress:
    """How far a batch is; the same object at every call, changed in place.

    Parameters
    ----------
    found : int
        Files seen so far; all of them once ``counted`` is true.
    counted : bool
        Whether the search is over.
    done, partial, skipped, failed, ignored : int
        As in :class:`Summary`.
    current : str
        The file that was finished last.
    """

    found: int = 0
    counted: bool = False
    done: int = 0
    partial: int = 0
    skipped: int = 0
    failed: int = 0
    ignored: int = 0
    current: str = ""

    @property
    def finished(self) -> int:
        """Files that need no more work."""
        return self.done + self.partial + self.skipped + self.failed + self.ignored


@dataclass(frozen=True, slots=True)
class Summary:
    """What a batch did.

    Parameters
    ----------
    done, partial : int
        Files worked through now: scanned to the end, and interrupted scans.
    skipped : int
        Files that an earlier run had done.
    failed : int
        Files that could not be used; ``faults`` holds the first 100 reasons, ``faults_file`` all.
    ignored : int
        Files found in the folders that are no scans, or hold another channel of a scan.
    stopped : str
        Why it ended before the last file, or empty.
    seconds : float
        Wall time.
    faults : tuple of FileFault
        In the order in which they came.
    faults_file : Path or None
        None where nothing failed.
    tables : tuple of Path
        The tables written at the end.
    """

    done: int
    partial: int
    skipped: int
    failed: int
    ignored: int
    stopped: str
    seconds: float
    faults: tuple[FileFault, ...] = ()
    faults_file: Path | None = None
    tables: tuple[Path, ...] = ()

    def __str__(self) -> str:
        rate = (self.done + self.partial) / self.seconds if self.seconds > 0 else 0.0
        lines = [
            f"{self.done} done, {self.partial} partial, {self.skipped} skipped (done before), {self.failed} failed, "
            f"{self.ignored} ignored (not scans); {self.seconds:.1f} s, {rate:.1f} files/s"
        ]
        lines += [f"  {fault.file}: {fault.stage}: {fault.reason}" for fault in self.faults[:10]]
        if self.failed and self.faults_file is not None:
            lines.append(f"  every failure with its reason: {self.faults_file}")
        if self.stopped:
            lines.append(f"stopped before the end: {self.stopped}; run the same command again to go on")
        return "\n".join(lines)


class Tally:
    """Keeps count while a batch runs; closes with the list of faults in place.

    Parameters
    ----------
    faults_file : Path
        Where the failures of this run are listed; the list of an earlier run is replaced.
    tell : callable
        Given the progress after every file.
    """

    def __init__(self, faults_file: Path, tell: Callable[[Progress], None]) -> None:
        self.progress = Progress()
        self.stopped = ""
        self._faults_file = faults_file
        self._passing = faults_file.with_name(faults_file.name + ".part")
        self._tell = tell
        self._faults: list[FileFault] = []
        self._began_s = time.monotonic()
        self._file: TextIO = self._passing.open("w", encoding="utf-8", errors="surrogateescape", newline="")
        self._rows = csv.writer(self._file)
        self._rows.writerow(FAULT_COLUMNS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self.progress.failed:
            self._passing.replace(self._faults_file)
        else:
            self._passing.unlink(missing_ok=True)
            self._faults_file.unlink(missing_ok=True)

    def count(self, state: str, file: str) -> None:
        """Count one file as ``"done"``, ``"partial"``, ``"skipped"``, ``"failed"`` or ``"ignored"``."""
        setattr(self.progress, state, getattr(self.progress, state) + 1)
        self.progress.current = file
        self._tell(self.progress)

    def fault(self, fault: FileFault) -> None:
        """List a failure; the file itself is counted once, by :meth:`count`."""
        if len(self._faults) < MAX_FAULTS_TOLD:
            self._faults.append(fault)
        with contextlib.suppress(OSError):  # a full disk is told by what could not be stored, not by this list
            self._rows.writerow((fault.file, fault.stage, fault.reason, fault.detail))
            self._file.flush()

    def summary(self, tables: tuple[Path, ...] = ()) -> Summary:
        """What was done until now."""
        counts = self.progress
        return Summary(
            counts.done,
            counts.partial,
            counts.skipped,
            counts.failed,
            counts.ignored,
            self.stopped,
            time.monotonic() - self._began_s,
            tuple(self._faults),
            self._faults_file if counts.failed else None,
            tables,
        )


@dataclass(slots=True)
class _Counter:
    totals: Iterator[int]
    progress: Progress
    halt: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        for total in self.totals:
            self.progress.found = total
            if self.halt.is_set():
                return
        self.progress.counted = True


@contextlib.contextmanager
def counting(totals: Iterator[int], progress: Progress) -> Iterator[None]:
    """Count the files in a thread meanwhile, so that the work need not wait for the end of the list."""
    counter = _Counter(totals, progress)
    thread = threading.Thread(target=counter, name="spm-live count", daemon=True)
    thread.start()
    try:
        yield
    finally:
        counter.halt.set()
        thread.join(5)


@contextlib.contextmanager
def interrupts(stop: threading.Event) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into the stop flag, the second one into the usual interrupt.

    Only the main thread may set signal handlers; elsewhere the caller's own flag is all there is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}

    def ask(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[number])

    for number in numbers:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, before[number])


@contextlib.contextmanager
def progress_bar(title: str, *, quiet: bool = False) -> Iterator[Callable[[Progress], None]]:
    """A bar in the terminal that a batch tells its progress to; with ``quiet``, nothing."""
    if quiet:
        yield lambda _: None
        return
    from tqdm import tqdm

    with tqdm(desc=title, unit="file", dynamic_ncols=True, smoothing=0.05) as bar:

        def tell(progress: Progress) -> None:
            bar.total = max(progress.found, progress.finished) if progress.counted else None
            bar.set_postfix(failed=progress.failed, partial=progress.partial, refresh=False)
            bar.update(progress.finished - bar.n)

        yield tell
