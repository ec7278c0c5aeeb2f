"""Events of the operating system for a folder, boiled down to: something happened to this path."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

MAX_TOUCHED = 10_000
"""Paths remembered between two looks; beyond, they are forgotten and the folder is listed instead."""

# Not among them: opened and closed without writing, which our own reading would cause.
_EVENTS: list[type[FileSystemEvent]] = [
    *(FileCreatedEvent, FileModifiedEvent, FileMovedEvent, FileDeletedEvent, FileClosedEvent),
    *(DirCreatedEvent, DirMovedEvent, DirDeletedEvent),
]


class Watch(Protocol):
    """A running watch on one folder."""

    def take(self) -> tuple[set[str], bool]:
        """Paths of files that something happened to since the last call, and whether the folder must be listed.

        A path may be gone by now. The folder must be listed when a sub-folder came or went, or events were lost.
        """
        ...

    def is_alive(self) -> bool:
        """Whether events can still come."""
        ...

    def close(self) -> None:
        """End the watch."""
        ...


Watcher = Callable[[Path, bool, Callable[[], None]], Watch]
"""Takes a folder, whether its sub-folders belong to it, and what to call when something happens; raises ``OSError``."""


class NativeWatch(FileSystemEventHandler):
    """Watch a folder through inotify, FSEvents or ReadDirectoryChangesW.

    Parameters
    ----------
    root : Path
        The folder; must exist.
    recursive : bool
        Whether its sub-folders belong to it.
    wake : callable
        Called from another thread when there is something to take.

    Raises
    ------
    OSError
        If the folder cannot be watched: it is not there, or the system's number of watches is used up.
    """

    def __init__(self, root: Path, recursive: bool, wake: Callable[[], None]) -> None:
        self._root = str(root)
        # inotify would watch a link itself, not the folder behind it.
        self._real = os.path.realpath(root)
        self._wake = wake
        self._lock = threading.Lock()
        self._touched: set[str] = set()
        self._must_list = False
        # watchdog 7.1 says so where a folder and one inside it come together, and goes on as it should.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning, r"watchdog\.")
        self._observer = Observer()
        try:
            self._observer.schedule(self, self._real, recursive=recursive, event_filter=_EVENTS)
            self._observer.start()
        except OSError:
            self._observer.stop()
            raise

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Remember the paths of an event; called by the observer's thread."""
        paths = [self._as_given(path) for path in (event.src_path, event.dest_path) if path]
        with self._lock:
            if event.is_directory or len(self._touched) >= MAX_TOUCHED:
                self._must_list = True
                if len(self._touched) >= MAX_TOUCHED:
                    self._touched.clear()
            else:
                self._touched.update(paths)
        self._wake()

    def take(self) -> tuple[set[str], bool]:
        """As :meth:`Watch.take`."""
        with self._lock:
            touched, self._touched = self._touched, set()
            must_list, self._must_list = self._must_list, False
        return touched, must_list

    def is_alive(self) -> bool:
        """Whether none of the observer's threads has ended (one that meets a bug ends without a word)."""
        threads = [self._observer, *self._observer.emitters, getattr(self._observer, "_inotify_fd", None)]
        return all(thread.is_alive() for thread in threads if thread is not None)

    def close(self) -> None:
        """End the watch and wait for the observer's threads, at most 2 s."""
        self._observer.stop()
        self._observer.join(timeout=2.0)

    def _as_given(self, path: str | bytes) -> str:
        text = os.fsdecode(path)
        return self._root + text[len(self._real) :] if text.startswith(self._real) else text
