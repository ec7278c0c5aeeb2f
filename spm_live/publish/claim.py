"""The claim of one process on one store; the operating system keeps it, so that it ends however the process dies."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from spm_live.errors import SetupError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOCKED_BYTE = 1 << 30
"""Windows bars everyone from a locked byte: this one lies far beyond the process number, which all may read."""


class Claim:
    """A lock on ``<store>.lock``; the file stays, the lock does not.

    The number of the process is written into the file only to be named in the refusal; the lock alone decides. On Linux
    and macOS the lock belongs to the open file, which a child made by ``fork`` alone would share: start processes with
    the ``spawn`` method.

    Parameters
    ----------
    path : Path
        The store.

    Raises
    ------
    SetupError
        If another process, or this one, has it; the other's number is named.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + ".lock")
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise SetupError(
                f"store {path}: {self.path} cannot be written ({error.strerror}); choose another store.path"
            ) from error
        try:
            _lock(self._fd)
        except OSError as error:
            holder = os.read(self._fd, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise SetupError(
                f"store {path}: in use by another spm-live (process {holder}); stop that one or choose another "
                "store.path"
            ) from error
        with suppress(OSError):  # disk full: the number is only for the refusal
            os.ftruncate(self._fd, 0)
            os.write(self._fd, f"{os.getpid()}\n".encode("ascii"))

    def release(self) -> None:
        """Give the store free."""
        with suppress(OSError):  # closing unlocks anyway
            os.ftruncate(self._fd, 0)
        os.close(self._fd)


if sys.platform == "win32":

    def _lock(fd: int) -> None:
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(fd, 0, os.SEEK_SET)

else:

    def _lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
