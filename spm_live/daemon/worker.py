"""The worker: a process of its own that reads a file and finds its molecules.

A bad file can take a native library down with it. In a process of its own it takes down only the worker: the daemon
sees it die, counts that against the frame and starts another. The two talk over a pipe that no third party can reach.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Protocol

from spm_live.domain import ModelIdentity, Processed
from spm_live.errors import FrameError, SetupError, SpmLiveError
from spm_live.find import FindMolecules, Job
from spm_live.live.follow import LiveJob, LiveResult
from spm_live.settings import ModelSettings
from spm_live.spawning import worker_environment

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 120.0
"""Loading a network from a slow disk takes a while; a start that takes longer than this has failed."""


class WorkerCrashError(SpmLiveError):
    """The worker died, hung, or met a bug, on this frame.

    Parameters
    ----------
    reason : str
        What it did; completes a sentence that begins with "the worker".
    detail : str
        Traceback, for a bug.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail

    @property
    def died(self) -> bool:
        """Whether the process was lost, and not only the frame."""
        return not self.detail


class Work(Protocol):
    """What the worker does with a job; made inside the worker process by a ``MakeWork``."""

    identity: ModelIdentity
    classes: tuple[str, ...]

    def __call__(self, job: Job) -> Processed: ...

    def follow(self, job: LiveJob) -> LiveResult: ...


MakeWork = Callable[[ModelSettings], Work]


@dataclass(frozen=True, slots=True)
class _Ready:
    identity: ModelIdentity
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Failed:
    """The worker could not start."""

    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Bug:
    reason: str
    detail: str


def _serve(pipe: Connection, make_work: MakeWork, settings: ModelSettings) -> None:
    """Body of the worker process: one job after another until the daemon closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal; the daemon decides
    try:
        work = make_work(settings)
    except SetupError as error:
        pipe.send(_Failed(error.problems))
        return
    # What was loaded stays: a frame's thousands of small objects must not have all of it searched for garbage.
    gc.collect()
    gc.freeze()
    pipe.send(_Ready(work.identity, work.classes))
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return  # the daemon is gone, by whatever way: nobody is left to work for
        try:
            pipe.send(work.follow(job) if isinstance(job, LiveJob) else work(job))
        except FrameError as error:
            pipe.send(error)
        except (BrokenPipeError, ConnectionResetError):
            return
        except Exception as error:  # noqa: BLE001 - a bug on this frame must reach the daemon with its traceback
            pipe.send(_Bug(f"met a bug: {type(error).__name__}: {error}", traceback.format_exc()))


class Worker:
    """The daemon's side of the worker process.

    Parameters
    ----------
    settings : ModelSettings
        The recogniser to load.
    make_work : callable
        Builds the work inside the process; must be importable by name.

    Raises
    ------
    SetupError
        If the model cannot be loaded.
    """

    def __init__(self, settings: ModelSettings, make_work: MakeWork = FindMolecules) -> None:
        self.settings = settings
        self._make_work = make_work
        self._start()

    def _start(self) -> None:
        # "spawn" everywhere: the same on Windows, and no lock of a thread is inherited in a locked state.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, self._make_work, self.settings), name="spm-live-worker", daemon=True
        )
        with worker_environment():
            self._process.start()
        theirs.close()  # else the pipe would stay open after the worker's death, and its death unseen
        try:
            answer = self._receive(START_TIMEOUT_S) if self._pipe.poll(START_TIMEOUT_S) else None
        except WorkerCrashError as error:
            self.stop()
            raise SetupError(f"the model {self.settings.name!r} cannot be loaded: the worker {error.reason}") from error
        if isinstance(answer, _Ready):
            self.identity, self.classes = answer.identity, answer.classes
            return
        self.stop()
        if isinstance(answer, _Failed):
            raise SetupError(answer.problems)
        raise SetupError(f"the model {self.settings.name!r} was not loaded within {START_TIMEOUT_S:g} s")

    def process(self, job: Job, *, timeout_s: float, give_up: Callable[[], bool] = lambda: False) -> Processed:
        """Have one file worked on.

        Parameters
        ----------
        job : Job
            The file.
        timeout_s : float
            After this long the worker counts as hung and is killed.
        give_up : callable
            Asked ten times a second whether to stop waiting; then the worker is killed too.

        Raises
        ------
        FrameError
            What the frame deserved.
        WorkerCrashError
            If the worker died, hung, or met a bug. It is running again when this is raised.
        InterruptedError
            If ``give_up`` said so; the worker is then gone.
        """
        answer = self._ask(job, timeout_s, give_up)
        if isinstance(answer, Processed):
            return answer
        raise TypeError(f"the worker answered with {type(answer).__name__}")

    def follow(self, job: LiveJob, *, timeout_s: float, give_up: Callable[[], bool] = lambda: False) -> LiveResult:
        """Have new lines of a scan in progress worked on.

        Raises
        ------
        FrameError, WorkerCrashError, InterruptedError
            As :meth:`process` does. A worker that was started anew knows no scan: its next answer says so.
        """
        answer = self._ask(job, timeout_s, give_up)
        if isinstance(answer, LiveResult):
            return answer
        raise TypeError(f"the worker answered with {type(answer).__name__}")

    def _ask(self, job: Job | LiveJob, timeout_s: float, give_up: Callable[[], bool]) -> object:
        try:
            self._pipe.send(job)
            answer = self._wait(timeout_s, give_up)
        except (WorkerCrashError, BrokenPipeError, ConnectionResetError) as error:
            reason = error.reason if isinstance(error, WorkerCrashError) else "died between two frames"
            self.stop()
            self._start()
            raise WorkerCrashError(reason) from error
        if isinstance(answer, FrameError):
            raise answer
        if isinstance(answer, _Bug):
            raise WorkerCrashError(answer.reason, answer.detail)
        return answer

    def _wait(self, timeout_s: float, give_up: Callable[[], bool]) -> object:
        deadline = time.monotonic() + timeout_s
        while not self._pipe.poll(0.1):
            if give_up():
                self.stop()
                raise InterruptedError("stopped while a frame was in hand")
            if time.monotonic() > deadline:
                raise WorkerCrashError(f"took longer than {timeout_s:g} s and was stopped")
        return self._receive(5.0)

    def _receive(self, timeout_s: float) -> object:
        try:
            return self._pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            self._process.join(timeout_s)
            code = self._process.exitcode
            how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
            raise WorkerCrashError(how) from error

    def stop(self) -> None:
        """End the process: closing the pipe asks it to, and what does not listen is killed. Twice does no harm."""
        if self._pipe.closed:
            return
        self._pipe.close()
        self._process.join(0.5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(5)
        self._process.close()
