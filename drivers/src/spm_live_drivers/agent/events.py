"""Events of the operating system: they only say that it is time to look again."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

logger = logging.getLogger(__name__)

_WRITES = frozenset({"created", "modified", "moved", "closed", "deleted"})
"""Reading a file makes events too (``opened``), which would keep us looking for ever."""


class _Waker(FileSystemEventHandler):
    def __init__(self, wake: threading.Event) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in _WRITES:
            self._wake.set()


class FolderEvents:
    """Sets an event whenever something is written below a folder.

    Where there are no such events (network shares, too many folders) nothing is lost: the folder is listed now and then
    anyway.

    Parameters
    ----------
    folder : Path
        The folder.
    wake : threading.Event
        What to set.
    """

    def __init__(self, folder: Path, wake: threading.Event) -> None:
        self._observer = Observer()
        try:
            self._observer.schedule(_Waker(wake), str(folder), recursive=True)
            self._observer.start()
        except OSError as error:
            logger.info("%s: no events (%s), looking every now and then", folder, error.strerror or error)

    def close(self) -> None:
        """End the threads."""
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join(timeout=5.0)
