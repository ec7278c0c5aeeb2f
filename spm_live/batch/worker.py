"""What runs inside a worker process of the pool; light, so that a worker starts quickly."""

from __future__ import annotations

import importlib
import signal
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from spm_live.errors import SetupError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def serve(pipe: Connection, work: str, setup: object) -> None:
    """Life of a worker: set up, answer chunks task by task, end when the pipe does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        module, _, factory = work.partition(":")
        try:
            function = getattr(importlib.import_module(module), factory)(setup)
        except SetupError as error:
            pipe.send(("setup", error.problems))
            return
        except Exception:  # noqa: BLE001 - whatever it is, the parent raises it
            pipe.send(("unfit", traceback.format_exc()))
            return
        pipe.send(("ready", None))
        while (chunk := pipe.recv()) is not None and _answer_chunk(pipe, function, chunk):
            pass
    except (EOFError, OSError):
        return  # the parent is gone


def _answer_chunk(pipe: Connection, function: Callable[[Any], Any], chunk: list[Any]) -> bool:
    for task in chunk:
        if pipe.poll():  # nothing comes in the middle of a chunk but the call to stop
            pipe.send(("left", None))
            return False
        try:
            answer = ("done", function(task))
        except Exception:  # noqa: BLE001 - one file's bug must not end the batch; its traceback is reported
            answer = ("bug", traceback.format_exc())
        pipe.send(answer)
    return True
