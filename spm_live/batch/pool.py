"""Spreads tasks over processes that may die: bounded, prompt to stop, and no task lost.

The standard pools do not fit: a worker that dies breaks a ``ProcessPoolExecutor`` and hangs a ``multiprocessing.Pool``,
and both hold the whole list of tasks. Here each worker has one pipe and one small chunk in hand; it answers task by
task, so that the task it died of is known, is tried once more alone, and is then given up.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from spm_live.batch.worker import serve
from spm_live.errors import SetupError
from spm_live.spawning import worker_environment

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as _Pipe

TaskT = TypeVar("TaskT")
LOOK_S = 0.2
"""How often the stop flag and the time limits are looked at while no worker answers, in s."""
START_LIMIT_S = 600.0
"""How long a worker may take to be ready (imports, loading a model), in s."""
MAX_STILLBORN = 3
"""Workers that may die in a row before one was ready; more means that none ever will be."""


@dataclass(frozen=True, slots=True)
class Crash:
    """A task that no worker survived, or that raised what it may not raise.

    Parameters
    ----------
    reason : str
        One sentence.
    detail : str
        Traceback, or empty where the process died without one.
    """

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[TaskT]):
    """A task and what became of it: what the work returned, or the crash."""

    task: TaskT
    result: Any


@dataclass(slots=True, eq=False)
class _Worker(Generic[TaskT]):
    process: BaseProcess
    pipe: _Pipe
    in_hand: deque[TaskT] = field(default_factory=deque)
    since_s: float = 0.0
    ready: bool = False
    recalled: bool = False


class WorkerPool(Generic[TaskT]):
    """Processes that all do one kind of work.

    Parameters
    ----------
    work : str
        ``"package.module:factory"``. In each worker ``factory(setup)`` is called once and returns the function that
        turns a task into a result; named, not passed, so that nothing heavy is imported before the worker is set up.
    setup : object
        Picklable.
    jobs : int
        Processes, at least 1.
    timeout_s : float
        A worker that takes longer over one task is killed.
    chunk : int
        Tasks handed to a worker at once.
    clock : callable
        Monotonic seconds.

    Raises
    ------
    SetupError
        From :meth:`run`: as the factory raised it.
    RuntimeError
        From :meth:`run`: if workers die before they are ready.
    """

    def __init__(
        self,
        work: str,
        setup: object,
        jobs: int,
        *,
        timeout_s: float = 120.0,
        chunk: int = 8,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._work = work
        self._setup = setup
        self._jobs = jobs
        self._timeout_s = timeout_s
        self._chunk = chunk
        self._clock = clock
        self._workers: list[_Worker[TaskT]] = []
        self._again: deque[TaskT] = deque()
        self._alone: deque[TaskT] = deque()
        self._tried: list[TaskT] = []
        self._stillborn = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, tasks: Iterable[TaskT], stopped: Callable[[], bool] = lambda: False) -> Iterator[Outcome[TaskT]]:
        """Work through the tasks; outcomes come in the order in which they end.

        Tasks are drawn only as workers come free. Once ``stopped()`` is true no further one is handed out; those in
        hand are finished, the rest of their chunks is dropped.
        """
        source = iter(tasks)
        while True:
            stopping = stopped()
            if stopping:
                self._dismiss_idle()
            else:
                self._hand_out(source)
            busy = [worker for worker in self._workers if worker.in_hand]
            if not busy and (stopping or not (self._again or self._alone)):
                return
            if stopping:
                self._recall(busy)
            yield from self._collect()

    def close(self) -> None:
        """End every process; one that does not go by itself within 5 s is killed."""
        for worker in self._workers:
            worker.pipe.close()
        deadline = time.monotonic() + 5
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            _bury(worker.process)
        self._workers.clear()

    def _hand_out(self, source: Iterator[TaskT]) -> None:
        idle = [worker for worker in self._workers if not worker.in_hand]
        while idle or len(self._workers) < self._jobs:
            chunk = self._next_chunk(source)
            if not chunk:
                return
            worker = idle.pop() if idle else self._start()
            worker.in_hand.extend(chunk)
            worker.since_s = self._clock()
            try:
                worker.pipe.send(chunk)
            except OSError:
                # It died while idle: nothing was begun, so nobody is to blame.
                self._again.extend(worker.in_hand)
                worker.in_hand.clear()
                self._remove(worker)

    def _next_chunk(self, source: Iterator[TaskT]) -> list[TaskT]:
        if self._alone:
            return [self._alone.popleft()]
        chunk = [self._again.popleft() for _ in range(min(self._chunk, len(self._again)))]
        return chunk or list(islice(source, self._chunk))

    def _start(self) -> _Worker[TaskT]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=serve, args=(theirs, self._work, self._setup), daemon=True)
        with _interrupts_blocked(), worker_environment():
            process.start()
        theirs.close()
        worker: _Worker[TaskT] = _Worker(process, ours, since_s=self._clock())
        self._workers.append(worker)
        return worker

    def _recall(self, busy: list[_Worker[TaskT]]) -> None:
        """Ask workers to finish the task in hand and leave the rest of their chunks."""
        for worker in busy:
            if not worker.recalled:
                worker.recalled = True
                with contextlib.suppress(OSError):  # it died; the next look at its pipe tells
                    worker.pipe.send(None)

    def _dismiss_idle(self) -> None:
        for worker in [worker for worker in self._workers if not worker.in_hand]:
            self._remove(worker)

    def _collect(self) -> Iterator[Outcome[TaskT]]:
        pipes = {worker.pipe: worker for worker in self._workers if worker.in_hand}
        for pipe in wait(list(pipes), LOOK_S) if pipes else []:
            worker = pipes[cast("_Pipe", pipe)]
            answers, alive = _drain(worker.pipe)
            for kind, value in answers:
                yield from self._answered(worker, kind, value)
            if not alive:
                yield from self._died(worker, f"the worker process died{_how(worker.process)}")
        for worker in list(self._workers):
            limit_s = self._timeout_s if worker.ready else START_LIMIT_S
            if worker.in_hand and self._clock() - worker.since_s > limit_s:
                worker.process.kill()
                yield from self._died(worker, f"took longer than {limit_s:g} s")

    def _answered(self, worker: _Worker[TaskT], kind: str, value: Any) -> Iterator[Outcome[TaskT]]:
        worker.since_s = self._clock()
        match kind:
            case "ready":
                worker.ready = True
                self._stillborn = 0
            case "done":
                yield Outcome(worker.in_hand.popleft(), value)
            case "bug":
                yield Outcome(worker.in_hand.popleft(), Crash(value.strip().rsplit("\n", 1)[-1], value))
            case "left":
                worker.in_hand.clear()
            case "setup":
                raise SetupError(value)
            case _:
                raise RuntimeError(f"worker could not start:\n{value}")

    def _died(self, worker: _Worker[TaskT], reason: str) -> Iterator[Outcome[TaskT]]:
        self._remove(worker)
        if not worker.ready:
            self._stillborn += 1
            if self._stillborn >= MAX_STILLBORN:
                raise RuntimeError(
                    f"{self._stillborn} workers in a row died before they were ready{_how(worker.process)}"
                )
            self._again.extend(worker.in_hand)
            return
        if not worker.in_hand:
            return
        suspect = worker.in_hand.popleft()
        self._again.extend(worker.in_hand)
        if suspect in self._tried:
            self._tried.remove(suspect)
            yield Outcome(suspect, Crash(reason))
        else:
            self._tried.append(suspect)
            self._alone.append(suspect)

    def _remove(self, worker: _Worker[TaskT]) -> None:
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.join(5)
        _bury(worker.process)


def _drain(pipe: _Pipe) -> tuple[list[tuple[str, Any]], bool]:
    """Everything that waits in a pipe, and whether the other end is still there."""
    answers = []
    try:
        answers.append(pipe.recv())
        while pipe.poll():
            answers.append(pipe.recv())
    except (EOFError, OSError):
        return answers, False
    return answers, True


def _bury(process: BaseProcess) -> None:
    if process.is_alive():
        process.kill()
        process.join()


def _how(process: BaseProcess) -> str:
    code = process.exitcode
    if code is None:
        return ""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f" ({signal.Signals(-code).name})"
    return f" (exit code {code})"


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Ctrl-C is for the parent alone: a child started in here never sees it, not even while it imports.

    The signal mask is inherited by a new process (POSIX, execve); Windows has none, there the child's own setting
    counts.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
