"""Turns an archive of scan files into pictures and tables that other programs read."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from spm_live.batch.encode import LAYOUT, ConvertOptions
from spm_live.batch.journal import Entry, Journal
from spm_live.batch.output import OutputFolder
from spm_live.batch.plan import FileTask, Plan, long_name, plan
from spm_live.batch.pool import Crash, WorkerPool
from spm_live.batch.report import FileFault, Progress, Summary, Tally, counting, interrupts
from spm_live.batch.tables import write_frames_table
from spm_live.batch.write import Converted
from spm_live.errors import SetupError

CHUNK = 8
"""Files handed to a worker at once: some 20 ms of work, so that the parent's answer does not keep it waiting."""
NO_ROOM = "no room is left on the disk; make some"


def convert(
    inputs: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    options: ConvertOptions | None = None,
    *,
    jobs: int | None = None,
    timeout_s: float = 120.0,
    progress: Callable[[Progress], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> Summary:
    """Convert every scan among files and folders, on all cores; what an earlier run did is skipped.

    A file is skipped when the journal in the output folder says that this file, of this size and time, was converted
    with these options, and its outputs are still there in their full size. Files that failed are tried again.

    Parameters
    ----------
    inputs : paths
        Files and folders; folders with all their sub-folders, whose names the outputs keep.
    out : path
        The output folder. At the end it also holds ``frames.csv``, a row for every frame in it, and, where something
        failed in this run, ``faults.csv``.
    options : ConvertOptions or None
        What to write; None for a float TIFF and a grey PNG of the channel that each reader chooses.
    jobs : int or None
        Worker processes; None for one per core.
    timeout_s : float
        A file that takes longer is given up.
    progress : callable
        Told after every file, in this thread.
    stop : threading.Event or None
        Set it to end early: the files in hand are finished, and the next run goes on. In the main thread Ctrl-C and
        SIGTERM do the same.

    Returns
    -------
    Summary
        Also when it was stopped, or the disk got full: see ``stopped``.

    Raises
    ------
    SetupError
        If an input is not there, the options make no sense, or the output folder cannot be used.

    Notes
    -----
    Processes are spawned: a script that calls this needs ``if __name__ == "__main__":``.
    """
    options = options or ConvertOptions()
    options.check()
    stop = stop or threading.Event()
    files = plan(inputs, Path(out))
    with interrupts(stop), OutputFolder(files.out) as folder:
        try:
            run = _Run(files, options, Journal(folder.private / "journal.jsonl"), stop, progress)
        except OSError as error:
            raise SetupError(f"{folder.private}: cannot be used ({error.strerror or error})") from error
        with run.journal, run.tally, counting(files.count(), run.tally.progress):
            run.work(jobs or os.cpu_count() or 1, timeout_s)
        return run.tally.summary((files.out / "frames.csv",))


class _Run:
    """One call of :func:`convert`."""

    def __init__(
        self,
        files: Plan,
        options: ConvertOptions,
        journal: Journal,
        stop: threading.Event,
        tell: Callable[[Progress], None],
    ) -> None:
        self.files = files
        self.options = options
        self.journal = journal
        self.stop = stop
        self.tally = Tally(files.out / "faults.csv", tell)
        self._digest = options.digest()

    def work(self, jobs: int, timeout_s: float) -> None:
        setup = (self.options, self.files.out)
        pool: WorkerPool[FileTask] = WorkerPool(
            "spm_live.batch.write:converter", setup, jobs, timeout_s=timeout_s, chunk=CHUNK
        )
        with pool:
            for outcome in pool.run(self._unknown(), self.stop.is_set):
                self._record(outcome.task, outcome.result)
        if self.stop.is_set() and not self.tally.stopped:
            self.tally.stopped = "interrupted"
        try:
            entries = (entry for entry in self.journal.entries() if entry.get("layout") == LAYOUT)
            write_frames_table(entries, self.files.out)
        except OSError as error:
            self._halt(f"frames.csv cannot be written: {error.strerror or error}")

    def _unknown(self) -> Iterator[FileTask]:
        for task in self.files.tasks():
            if self.stop.is_set():
                return
            entry = self.journal.find(task.name)
            if entry is None or not self._same_or_stale(task, entry):
                yield task

    def _same_or_stale(self, task: FileTask, entry: Entry) -> bool:
        """Whether a file needs no work: done before, or refused because its outputs are another file's."""
        if entry["source"] != task.path and Path(entry["source"]).exists():
            reason = f"its outputs would replace those of {entry['source']}; give another output folder"
            self.tally.fault(FileFault(task.path, "write", reason))
            self.tally.count("failed", task.path)
            return True
        same = (entry["size"], entry["mtime_ns"], entry["options"]) == (task.size, task.mtime_ns, self._digest)
        if not same or not all(_is_there(f"{self.files.out}{os.sep}{name}", size) for name, size in entry["outputs"]):
            return False
        self.tally.count("skipped", task.path)
        return True

    def _record(self, task: FileTask, result: Converted | Crash) -> None:
        if isinstance(result, Crash):
            self.tally.fault(FileFault(task.path, "crash", result.reason, result.detail))
            self.tally.count("failed", task.path)
            return
        for fault in result.faults:
            self.tally.fault(fault)
        if result.state == "full":
            self._halt(NO_ROOM)
            return
        if result.state in {"done", "partial"}:
            try:
                self.journal.append(self._entry(task, result))
            except OSError as error:
                full = error.errno == errno.ENOSPC
                self._halt(
                    "no room is left on the disk; make some" if full else f"the journal cannot be written: {error}"
                )
                return
        self.tally.count(result.state, task.path)

    def _entry(self, task: FileTask, result: Converted) -> Entry:
        return {
            "name": task.name,
            "source": task.path,
            "size": task.size,
            "mtime_ns": task.mtime_ns,
            "options": self._digest,
            "state": result.state,
            "outputs": result.outputs,
            "layout": LAYOUT,
            "rows": result.rows,
        }

    def _halt(self, reason: str) -> None:
        self.tally.stopped = reason
        self.stop.set()


def _is_there(path: str, size: int) -> bool:
    try:
        return os.stat(long_name(path)).st_size == size  # noqa: PTH116 - asked of every file of an archive
    except OSError:
        return False
