"""Finds the molecules in an archive of scan files."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from spm_live.batch.find import DetectOptions, Found
from spm_live.batch.output import OutputFolder, write_file
from spm_live.batch.plan import FileTask, Plan, plan
from spm_live.batch.pool import Crash, WorkerPool
from spm_live.batch.report import FileFault, Progress, Summary, Tally, counting, interrupts
from spm_live.detect import find_model, load_manifest
from spm_live.domain import Fault
from spm_live.errors import FrameError, SetupError
from spm_live.publish.exporters import export
from spm_live.publish.store import FileKey, Store, StoreFullError
from spm_live_drivers.registry import file_sha256

RESULTS = "results.sqlite3"
CHUNK = 2
"""Frames handed to a worker at once: a second one, so that it need not wait for the first to be stored."""
MIN_FREE_MB = 50
"""With less room than this on the disk the batch ends, before SQLite is left without room to tidy up."""
SETTINGS = "detect.json"
NO_ROOM = "no room is left on the disk; make some"


def detect_files(
    inputs: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    options: DetectOptions,
    *,
    jobs: int | None = None,
    timeout_s: float = 600.0,
    progress: Callable[[Progress], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> Summary:
    """Find the molecules of every scan among files and folders, on all cores; what an earlier run did is skipped.

    Each content is stored exactly once, in ``results.sqlite3`` of the output folder, whichever names it has and however
    often the batch was interrupted. The same file is what the daemon writes: ``spm-live export`` reads it.

    Parameters
    ----------
    inputs : paths
        Files and folders, with all their sub-folders.
    out : path
        The output folder. At the end it also holds ``frames.csv``, ``molecules.csv`` and ``counts.csv``, with
        ``options.pictures`` a folder of annotated pictures, and, where something failed in this run, ``faults.csv``.
    options : DetectOptions
        Model, and how files are read.
    jobs : int or None
        Worker processes; None for one per core. With more than one, each runs the model on one thread, unless the
        settings of the model say how many.
    timeout_s : float
        A file that takes longer is given up.
    progress : callable
        Told after every file, in this thread.
    stop : threading.Event or None
        Set it to end early; in the main thread Ctrl-C and SIGTERM do the same.

    Returns
    -------
    Summary
        Also when it was stopped, or the disk got full: see ``stopped``. A content seen before counts as skipped.

    Raises
    ------
    SetupError
        If an input is not there, the model cannot be loaded, the output folder cannot be used, or holds results of
        another model or of other settings.

    Notes
    -----
    Processes are spawned: a script that calls this needs ``if __name__ == "__main__":``.
    """
    stop = stop or threading.Event()
    jobs = jobs or os.cpu_count() or 1
    if jobs > 1 and not options.model.threads:
        options = DetectOptions(options.model.model_copy(update={"threads": 1}), options.read, options.pictures)
    files = plan(inputs, Path(out))
    with interrupts(stop), OutputFolder(files.out) as folder:
        _claim(folder, options)
        with Store(files.out / RESULTS, min_free_mb=MIN_FREE_MB) as store:
            try:
                store.clear_faults()  # those of an earlier run: its failures are tried again now
            except StoreFullError as error:
                raise SetupError(f"{files.out}: {NO_ROOM}, or give another output folder with -o") from error
            run = _Run(files, options, store, stop, progress)
            with run.tally, counting(files.count(), run.tally.progress):
                run.work(jobs, timeout_s)
            tables = run.tables()
        return run.tally.summary(tables)


def _claim(folder: OutputFolder, options: DetectOptions) -> None:
    """Refuse to mix results: note what these are made with, or compare it with what was noted."""
    manifest = load_manifest(find_model(options.model.name))
    model = options.model.model_dump(mode="json", exclude={"name", "provider", "threads"})
    read = {name: getattr(options.read, name) for name in ("channel", "trace", "nm_per_px", "colour_table", "timezone")}
    mine = json.loads(json.dumps({"model": f"{manifest.name} {manifest.version} {manifest.sha256}", **model, **read}))
    path = folder.private / SETTINGS
    if not path.exists():
        write_file(folder.path, f"{path.parent.name}/{SETTINGS}", json.dumps(mine, indent=1).encode())
        return
    try:
        theirs = json.loads(path.read_bytes())
    except ValueError as error:
        raise SetupError(f"{path}: is damaged; give another output folder with -o") from error
    if changed := [name for name in mine if theirs.get(name) != mine[name]]:
        raise SetupError(
            f"{folder.path}: holds results made with other settings ({', '.join(changed)}); give another output folder "
            "with -o, or empty this one"
        )


class _Run:
    """One call of :func:`detect_files`."""

    def __init__(
        self,
        files: Plan,
        options: DetectOptions,
        store: Store,
        stop: threading.Event,
        tell: Callable[[Progress], None],
    ) -> None:
        self.files = files
        self.options = options
        self.store = store
        self.stop = stop
        self.tally = Tally(files.out / "faults.csv", tell)

    def work(self, jobs: int, timeout_s: float) -> None:
        setup = (self.options, self.files.out)
        pool: WorkerPool[FileTask] = WorkerPool(
            "spm_live.batch.find:finder", setup, jobs, timeout_s=timeout_s, chunk=CHUNK
        )
        with pool:
            for outcome in pool.run(self._unknown(), self.stop.is_set):
                try:
                    self._record(outcome.task, outcome.result)
                except StoreFullError:
                    self._halt(NO_ROOM)
        if self.stop.is_set() and not self.tally.stopped:
            self.tally.stopped = "interrupted"

    def tables(self) -> tuple[Path, ...]:
        """Write the tables of all that is stored."""
        try:
            export(self.store, "csv", self.files.out)
        except SetupError as error:
            self._halt(str(error))
            return ()
        return tuple(self.files.out / f"{name}.csv" for name in ("frames", "molecules", "counts"))

    def _unknown(self) -> Iterator[FileTask]:
        for task in self.files.tasks():
            if self.stop.is_set():
                return
            try:
                known = self._known(task)
            except FrameError as error:
                self._failed(FileFault(task.path, error.stage, error.reason))
            except StoreFullError:
                self._halt(NO_ROOM)
            else:
                if known:
                    self.tally.count("skipped", task.path)
                else:
                    yield task

    def _known(self, task: FileTask) -> bool:
        if self.store.file_known(task.path, task.size, task.mtime_ns):
            return True
        sha256 = file_sha256(Path(task.path))
        if self.store.known(sha256) is None:
            return False
        self.store.remember_file(task.path, task.size, task.mtime_ns, sha256, "duplicate")
        return True

    def _record(self, task: FileTask, result: Found | Crash) -> None:
        if isinstance(result, Crash):
            self._failed(FileFault(task.path, "crash", result.reason, result.detail))
        elif result.state == "full":
            self._halt(NO_ROOM)
        elif result.fault is not None:
            self._failed(result.fault)
        elif result.processed is None:
            self.tally.count("ignored", task.path)
        else:
            saved = self.store.save(result.processed, file=FileKey(task.path, task.size, task.mtime_ns))
            partial = result.processed.map.frame.partial
            self.tally.count(("partial" if partial else "done") if saved.new else "skipped", task.path)

    def _failed(self, fault: FileFault) -> None:
        """List and store a failure; the file is not remembered, so that the next run tries it again."""
        self.tally.fault(fault)
        self.tally.count("failed", fault.file)
        try:
            self.store.save_fault(Fault(fault.file, fault.stage, fault.reason, datetime.now(UTC), detail=fault.detail))
        except StoreFullError:
            self._halt(NO_ROOM)

    def _halt(self, reason: str) -> None:
        self.tally.stopped = reason
        self.stop.set()
