"""The inbox: a folder where received frames are safe until their maps are stored."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from spm_live.errors import SetupError
from spm_live_drivers.wire_file import SUFFIX, remove_unfinished, write_durably

WAITING_LIMIT = 10_000
"""Frames that may wait in the inbox; more are not received until some are done."""

_REMEMBERED = 20_000
"""Digests that are remembered to tell duplicates by, about 3 MB; older ones are told by the store."""
_NAME = re.compile(r"[0-9a-f]{64}\.spmframe")


class Inbox:
    """Received messages as files, one for each frame, named by its digest.

    Sources that write into one folder share one instance. All methods may be called from any thread.

    Parameters
    ----------
    folder : Path
        Made if it is not there; on a disk that survives a power cut.
    limit : int
        How many frames may wait.
    """

    def __init__(self, folder: Path, *, limit: int = WAITING_LIMIT) -> None:
        self.folder = folder.absolute()
        self._limit = limit
        self._lock = threading.Lock()
        self._claimed: OrderedDict[str, None] = OrderedDict()
        self._opened = False
        self._waiting = 0

    def open(self) -> None:
        """Make the folder, and remove what a crash left of unfinished writes.

        Raises
        ------
        SetupError
            If the folder cannot be made or listed.
        """
        with self._lock:
            if self._opened:
                return
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                remove_unfinished(self.folder)
                self._waiting = len(self._files())
            except OSError as error:
                reason = error.strerror or error
                raise SetupError(f"{self.folder}: the inbox cannot be opened ({reason}); check its rights") from error
            self._opened = True

    def claim_backlog(self) -> list[Path]:
        """The files that lay there before, oldest first, each to one caller only."""
        with self._lock:
            found: list[tuple[int, Path]] = []
            for path in self._files():
                if path.stem in self._claimed:
                    continue
                try:
                    found.append((path.stat().st_mtime_ns, path))
                except FileNotFoundError:
                    continue  # the daemon was done with it just now
                self._claim(path.stem)
            return [path for _, path in sorted(found)]

    def keep(self, sha256: str, parts: Sequence[bytes]) -> Path | None:
        """Write a message so that it survives a power cut.

        Returns
        -------
        Path or None
            The file, to be handed on; None if this frame came before.

        Raises
        ------
        OSError
            If it cannot be written, as on a full disk.
        """
        with self._lock:
            if sha256 in self._claimed:
                self._claimed.move_to_end(sha256)
                return None
            path = self.folder / f"{sha256}{SUFFIX}"
            write_durably(path, parts)
            self._claim(sha256)
            self._waiting += 1
            return path

    def release(self, path: Path) -> None:
        """Give back a file that was not handed on: the next to claim the backlog gets it."""
        with self._lock:
            self._claimed.pop(path.stem, None)

    def has_room(self) -> bool:
        """Whether fewer frames wait than may."""
        with self._lock:
            if self._waiting >= self._limit:
                self._waiting = len(self._files())  # the daemon removes files without a word
            return self._waiting < self._limit

    def _files(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)]

    def _claim(self, sha256: str) -> None:
        self._claimed[sha256] = None
        if len(self._claimed) > _REMEMBERED:
            self._claimed.popitem(last=False)
