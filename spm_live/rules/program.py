"""Runs one program for a notice: without a shell, with an end in sight, and with little trust in how it behaves."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import IO

OUTPUT_BYTES = 64 * 1024
"""A program that writes more is ended: nobody reads that much in a log."""
SHOWN_CHARACTERS = 500
"""Of what it wrote, so much from the end is told."""
LOOK_S = 0.1
"""Between two looks at a program that runs."""
KILLED_S = 1.0
"""A program that was killed is waited for so long."""


class ErrandError(Exception):
    """An errand that failed; its text is the reason that people see.

    Parameters
    ----------
    reason : str
        One sentence with what is needed to understand it.
    again : bool
        Whether another try may help.
    """

    def __init__(self, reason: str, *, again: bool = False) -> None:
        super().__init__(reason)
        self.again = again


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended.

    Parameters
    ----------
    code : int
        Its exit code; negative where a signal ended it.
    said : str
        The end of what it wrote, standard output and error together; at most 500 characters, on one line.
    """

    code: int
    said: str


def run_program(
    command: Sequence[str], body: bytes, timeout_s: float, cancelled: Callable[[], bool] = lambda: False
) -> str:
    """Run a program that must end well.

    Parameters
    ----------
    command, body, timeout_s, cancelled
        As in :func:`run_to_end`.

    Returns
    -------
    str
        The end of what it wrote, as in :class:`Ended`.

    Raises
    ------
    ErrandError
        As :func:`run_to_end`, and if it ends with another code than 0.
    """
    ended = run_to_end(command, body, timeout_s, cancelled)
    if ended.code:
        said = f": {ended.said}" if ended.said else ""
        raise ErrandError(f"{name_of(command)} ended with code {ended.code}{said}")
    return ended.said


def run_to_end(
    command: Sequence[str],
    body: bytes,
    timeout_s: float,
    cancelled: Callable[[], bool] = lambda: False,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Ended:
    """Run a program until it ends, or is ended.

    Nothing of the notice is in the command line or in the environment. Input and output are files without a name: a
    program that does not read, or that leaves another one behind, holds nobody up. It runs in the home folder, without
    a window, and does not see the settings of the daemon (``SPM_LIVE_...``), among which there may be keys.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    body : bytes
        What it gets on its standard input.
    timeout_s : float
        It is killed after so long, in s, with all that it started (on Windows: it alone).
    cancelled : callable
        Asked every 0.1 s; True: it is killed.
    clock : callable
        Seconds that only grow.

    Raises
    ------
    ErrandError
        If it cannot be started, takes too long, or writes too much.
    """
    try:
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as written:
            given.write(body)
            given.seek(0)
            process = _start(command, given, written)
            try:
                why = _watch(process, written, timeout_s, cancelled, clock)
            finally:
                _kill(process)
            if why:
                raise ErrandError(f"{name_of(command)} {why} and was ended")
            return Ended(process.returncode, _tail(written))
    except (OSError, ValueError) as error:  # no such program, no room for the files, a name that no system takes
        raise ErrandError(f"{name_of(command)} cannot be run ({error})") from error


def name_of(command: Sequence[str]) -> str:
    """The program of a command, without its folder; its arguments may be private."""
    return PureWindowsPath(command[0]).name or command[0]


def _start(command: Sequence[str], given: IO[bytes], written: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - the command is the configuration's; nothing of a scan is in it
        list(command),
        stdin=given,
        stdout=written,
        stderr=subprocess.STDOUT,
        cwd=Path.home() if Path.home().is_dir() else None,
        env={name: value for name, value in os.environ.items() if not name.upper().startswith("SPM_LIVE_")},
        start_new_session=os.name != "nt",
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _watch(
    process: subprocess.Popen[bytes],
    written: IO[bytes],
    timeout_s: float,
    cancelled: Callable[[], bool],
    clock: Callable[[], float],
) -> str:
    """Wait for a program; why it must be ended, or nothing."""
    end_s = clock() + timeout_s
    while True:
        try:
            process.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            pass
        else:
            return ""
        if os.fstat(written.fileno()).st_size > OUTPUT_BYTES:
            return f"wrote more than {OUTPUT_BYTES // 1024} KiB"
        if cancelled():
            return "was still at it when the daemon stopped"
        if clock() > end_s:
            return f"took longer than {timeout_s:g} s"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a program that still runs, with what it started."""
    if process.poll() is not None:
        return
    try:
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(KILLED_S)
    except (ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
        process.kill()  # it is ending, or stuck in the kernel; subprocess reaps it at its next start


def _tail(written: IO[bytes]) -> str:
    size = written.seek(0, os.SEEK_END)
    written.seek(max(0, size - 4 * SHOWN_CHARACTERS))
    text = written.read().decode("utf-8", "replace")
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line[-SHOWN_CHARACTERS:]
