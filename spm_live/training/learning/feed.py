"""Training batches made in the background, always in the same order."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Any, Literal, Self

from spm_live.errors import SetupError

logger = logging.getLogger(__name__)

SLOW_S = 60.0
"""After waiting this long for one batch a person is told; in s."""

Draw = Callable[[int], Any]


class FeedError(SetupError):
    """A batch could not be made; the sentence names its step."""


class Feed:
    """The batches of the steps ``start`` to ``stop``, in order, each made once.

    What a batch holds follows from its step alone, so that neither the number of workers nor their speed changes what
    is learnt. At most ``ahead`` batches wait or are being made.

    Parameters
    ----------
    draw : callable
        From the step to its batch; a pure function. For processes it must be picklable.
    start, stop : int
        First step, and the one after the last.
    workers : int
        0 to make batches when they are asked for.
    kind : "threads" or "processes"
        Processes are started anew ("spawn"), as Windows does it.
    ahead : int
        Batches made ahead, at most.
    clock : callable
        Seconds that only grow.
    """

    def __init__(
        self,
        draw: Draw,
        start: int,
        stop: int,
        *,
        workers: int = 1,
        kind: Literal["threads", "processes"] = "threads",
        ahead: int = 8,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._draw, self._next, self._stop = draw, start, stop
        self._ahead, self._clock, self._kind = max(ahead, 1), clock, kind
        self._waiting: deque[tuple[int, Future[Any]]] = deque()
        self._executor = _executor(draw, workers, kind)
        self.waited_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return self

    def __next__(self) -> tuple[int, Any]:
        """Step and batch.

        Raises
        ------
        FeedError
            If it could not be made.
        """
        if self._executor is None:
            return self._make_now()
        self._order()
        if not self._waiting:
            raise StopIteration
        step, future = self._waiting.popleft()
        batch = self._wait(step, future)
        self._order()
        return step, batch

    def close(self) -> None:
        """Make no more; returns when every worker has ended."""
        self._stop = self._next
        self._waiting.clear()
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def _make_now(self) -> tuple[int, Any]:
        if self._next >= self._stop:
            raise StopIteration
        step = self._next
        self._next += 1
        try:
            return step, self._draw(step)
        except Exception as error:
            raise _failure(step, error) from error

    def _order(self) -> None:
        assert self._executor is not None
        while len(self._waiting) < self._ahead and self._next < self._stop:
            work = _draw_in_process if self._kind == "processes" else self._draw
            try:
                self._waiting.append((self._next, self._executor.submit(work, self._next)))
            except BrokenProcessPool as error:
                raise _failure(self._next, error) from error
            self._next += 1

    def _wait(self, step: int, future: Future[Any]) -> Any:
        began = self._clock()
        while True:
            try:
                batch = future.result(timeout=SLOW_S)
            except TimeoutError as error:
                if future.done():  # raised by the drawing itself
                    raise _failure(step, error) from error
                logger.warning(
                    "waiting for the pictures of step %d since %.0f s; more workers may help",
                    step,
                    self._clock() - began,
                )
            except (Exception, CancelledError) as error:
                raise _failure(step, error) from error
            else:
                self.waited_s += self._clock() - began
                return batch


def _failure(step: int, error: BaseException) -> FeedError:
    if isinstance(error, BrokenProcessPool):
        return FeedError(
            f"a process that makes training pictures died near step {step}, often for want of memory; "
            "take fewer workers, or threads"
        )
    about = "; ".join([str(error), *getattr(error, "__notes__", ())])
    return FeedError(f"the pictures of step {step} could not be made: {type(error).__name__}: {about}")


def _executor(draw: Draw, workers: int, kind: str) -> Executor | None:
    if workers == 0:
        return None
    if kind == "threads":
        return ThreadPoolExecutor(workers, thread_name_prefix="training-pictures")
    return ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_process, initargs=(draw,)
    )


_own_draw: Draw | None = None
"""What a worker process draws with; sent once, since it holds the pictures."""


def _start_process(draw: Draw) -> None:
    global _own_draw
    # Ctrl-C reaches every process of the terminal; only the main one decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import cv2

    cv2.setNumThreads(1)
    _own_draw = draw


def _draw_in_process(step: int) -> Any:
    if _own_draw is None:
        raise RuntimeError("the process was not set up")
    return _own_draw(step)
