"""The output folder of a batch: one writer at a time, and never a half-written file under its final name."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from spm_live.batch.plan import long_name
from spm_live.errors import SetupError

PRIVATE = ".spm-live"
"""Folder inside the output folder that holds the journal, the lock and files that are being written."""
_serial = count()


class OutputFolder:
    """Holds an output folder for this process.

    Leftovers of a run that was killed are removed on entry.

    Parameters
    ----------
    path : Path
        Absolute; made if it is not there.

    Raises
    ------
    SetupError
        On entry: if it cannot be written, or another process works in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.private = path / PRIVATE
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.private.mkdir(parents=True, exist_ok=True)
            self._lock = (self.private / "lock").open("ab")
            if not _lock(self._lock):
                self._lock.close()
                raise SetupError(f"{self.path}: another spm-live is writing into it; wait for it or give another -o")
            shutil.rmtree(self.private / "tmp", ignore_errors=True)
            (self.private / "tmp").mkdir(exist_ok=True)
            write_file(self.path, f"{PRIVATE}/probe", b"x")
            (self.private / "probe").unlink()
        except OSError as error:
            if self._lock is not None:
                self._lock.close()
            raise SetupError(
                f"{self.path}: cannot be written ({error.strerror or error}); give another output folder with -o"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.private / "tmp", ignore_errors=True)
        if self._lock is not None:
            self._lock.close()


def write_file(folder: Path, name: str, content: bytes) -> None:
    """Write a file whole or not at all: under a temporary name first, then renamed.

    Parameters
    ----------
    folder : Path
        An output folder that this process or its parent holds.
    name : str
        Relative to it; missing sub-folders are made.
    content : bytes
        All of it.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left behind.
    """
    target = long_name(f"{folder}{os.sep}{name.replace('/', os.sep)}")
    passing = long_name(f"{folder}{os.sep}{PRIVATE}{os.sep}tmp{os.sep}{os.getpid()}-{next(_serial)}")
    try:
        with open(passing, "wb", buffering=0) as file:  # noqa: PTH123 - strings: at this rate pathlib is felt
            if file.write(content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)
        try:
            os.replace(passing, target)  # noqa: PTH105
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH103, PTH120
            os.replace(passing, target)  # noqa: PTH105
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(passing)  # noqa: PTH108
        raise


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> bool:
        """Take the file for this process, if no other has it; it is let go when the file is closed."""
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(file: IO[bytes]) -> bool:
        """Take the file for this process, if no other has it; it is let go when the file is closed."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True  # a share that knows no locks: better to work without than not at all
        return True
