"""Work for the pool's tests; workers import it by name."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from spm_live.errors import SetupError


def doubles(setup: int) -> Callable[[int], int]:
    """Return twice the task plus the setup."""
    return lambda task: 2 * task + setup


def threads(_: object) -> Callable[[int], str | None]:
    """Tell how many threads linear algebra is to use."""
    asked = os.environ.get("OPENBLAS_NUM_THREADS")
    return lambda _: asked


def trips(folder: str) -> Callable[[int], int]:
    """Note every try in a folder; 3 kills the process, 4 only the first time, 5 has a bug, 6 hangs."""

    def work(task: int) -> int:
        tries = Path(folder, str(task))
        before = tries.read_text() if tries.exists() else ""
        tries.write_text(before + "x")
        if task == 3 or (task == 4 and not before):
            os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        if task == 5:
            raise ValueError("five is right out")
        if task == 6:
            threading.Event().wait(60)
        return task

    return work


def unfit(_: object) -> Callable[[int], int]:
    """Cannot run on this machine."""
    raise SetupError(["no model", "no luck"])


def broken(_: object) -> Callable[[int], int]:
    """Has a bug before the first task."""
    raise KeyError("bug at the start")


def stillborn(_: object) -> Callable[[int], int]:
    """Dies before the first task."""
    os._exit(9)
