"""From a scan in progress to its file: one scan, one frame.

When a scan is over, its file most often comes by itself, because its folder is watched or the agent sends it. A file
that lies on this machine in no watched folder is handed to the daemon from here. Where no file comes, the scan is kept
as it was seen: written into the inbox like a received frame, and then worked on exactly once like every other.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from spm_live.domain import Fault, FileStatus, Frame, ReadOptions, SourceStatus
from spm_live.errors import FrameError
from spm_live.settings_live import LiveSettings
from spm_live.sources import Arrival, Known, Put, Report, StoppedError
from spm_live.sources.courier import Courier
from spm_live.sources.inbox import Inbox
from spm_live_drivers.growing import GrowingFrame, ScanOutcome
from spm_live_drivers.registry import find_reader
from spm_live_drivers.wire import decode, encode_frame

logger = logging.getLogger(__name__)

FORMAT = "growing"
"""Format of a frame that was put together from lines; the file of the scan takes its place if it comes after all."""
PERIOD_S = 0.3
UNNAMED_S = 15.0
"""A scan of which nobody said how its file is called is compared for so long with the frames that come."""
HANDED_OVER = 100
"""Scans that are remembered as handed over."""


class Ended(Protocol):
    """A scan that is over and of which no frame is stored yet."""

    @property
    def key(self) -> str: ...
    @property
    def sender(self) -> str: ...
    @property
    def growing(self) -> GrowingFrame: ...
    @property
    def outcome(self) -> ScanOutcome: ...
    @property
    def saved_as(self) -> str: ...
    @property
    def waited_s(self) -> float: ...


class Board(Protocol):
    """Where scans in progress are known."""

    def ended(self) -> Sequence[Ended]:
        """Scans that are over and of which no frame is stored yet."""
        ...

    def end_without_file(self, key: str) -> None:
        """No frame will come of a scan."""
        ...

    def name_file(self, key: str, saved_as: str) -> None:
        """The frame of a scan will be known by this name."""
        ...


class Handover:
    """Sees to it that every finished scan becomes a frame.

    Parameters
    ----------
    board : Board
        Tells which scans are over.
    settings : LiveSettings
        What is kept, and how long to wait.
    inbox : Inbox
        Where scans without a file are kept.
    watched : sequence of Path
        Folders whose files come by themselves.
    options : ReadOptions or None
        How a file that is handed over from here is read.
    senders : bool
        Whether files are sent by agents too.
    clock : callable
        Monotonic time in s.
    """

    name = "scans in progress"

    def __init__(
        self,
        board: Board,
        settings: LiveSettings,
        inbox: Inbox,
        watched: Sequence[Path] = (),
        options: ReadOptions | None = None,
        *,
        senders: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._board = board
        self._settings = settings
        self._inbox = inbox
        self._watched = [folder.absolute() for folder in watched]
        self._options = options or ReadOptions()
        self._files_come = bool(self._watched) or senders
        self._clock = clock
        self._courier = Courier(self.name, inbox, clock)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._handed: deque[str] = deque(maxlen=HANDED_OVER)
        self._counters = dict.fromkeys(("files", "kept", "without_file"), 0)
        self._trouble = ""

    def start(self, put: Put, report: Report, known: Known) -> None:
        """Open the inbox and begin; returns at once.

        Raises
        ------
        SetupError
            If the inbox cannot be opened.
        """
        self._inbox.open()
        self._threads = [
            threading.Thread(target=self._run, args=(put, known), name=self.name, daemon=True),
            threading.Thread(
                target=self._courier.run, args=(put, report, known), name=f"{self.name} courier", daemon=True
            ),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, and wait for the threads, at most 5 s."""
        self._stopping.set()
        self._courier.stop()
        deadline = time.monotonic() + 5.0
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._courier.give_back()
        self._threads = []

    def status(self) -> SourceStatus:
        """How it stands; called from other threads."""
        alive = all(thread.is_alive() for thread in self._threads)
        trouble = self._trouble or ("" if alive else "a thread has ended because of a bug; the log has the traceback")
        detail = trouble or "scans become frames by their files"
        return SourceStatus(self.name, not trouble, detail, dict(self._counters))

    def _run(self, put: Put, known: Known) -> None:
        try:
            while not self._stopping.wait(PERIOD_S):
                self.look(put, known)
        except StoppedError:
            pass

    def look(self, put: Put, known: Known) -> None:
        """Go once through the scans that are over.

        Raises
        ------
        StoppedError
            If the daemon stops.
        """
        for scan in self._board.ended():
            if scan.key in self._handed:
                if scan.waited_s > 2 * self._settings.file_wait_s:
                    self._board.end_without_file(scan.key)  # its file became a fault, or a duplicate
            elif scan.saved_as and self._hand_over_file(scan, put, known):
                self._handed.append(scan.key)
            elif scan.waited_s > self._patience(scan):
                self._without_file(scan)

    def _patience(self, scan: Ended) -> float:
        """How long to wait for the file of a scan, in s; not at all where none can come by itself and none is named."""
        if scan.saved_as:
            return self._settings.file_wait_s
        return min(UNNAMED_S, self._settings.file_wait_s) if self._files_come else -1.0

    def _hand_over_file(self, scan: Ended, put: Put, known: Known) -> bool:
        """Hand over a file that nobody else will bring, once it is complete."""
        path = Path(scan.saved_as)
        try:
            if not path.is_absolute() or not path.is_file():
                return False
            if any(path.is_relative_to(folder) for folder in self._watched):
                return False  # it comes by itself
            if find_reader(path).state(path).status is not FileStatus.COMPLETE:
                return False
            stat = path.stat()
        except (OSError, FrameError) as error:
            logger.debug("%s: cannot be read yet (%s)", path, error)
            return False
        if known(path, stat.st_size, stat.st_mtime_ns):
            return False
        start = scan.growing.start
        options = replace(
            self._options, channel=start.info.ref.channel, trace=start.info.ref.trace or self._options.trace
        )
        self._counters["files"] += 1
        put(
            Arrival(
                path=path,
                size=stat.st_size,
                mtime_ns=stat.st_mtime_ns,
                options=options,
                origin=self.name,
                ready_s=self._clock(),
            )
        )
        return True

    def _without_file(self, scan: Ended) -> None:
        """Keep a scan as it was seen, where that is asked for."""
        finished = scan.outcome is ScanOutcome.FINISHED and scan.growing.lines_done > 0
        wanted = {"finished": finished, "all": scan.growing.lines_done > 0, "none": False}[self._settings.keep]
        if scan.saved_as:
            reason = (
                f"the file of this scan did not arrive within {self._settings.file_wait_s:g} s: "
                "watch its folder, or let the agent on the instrument PC send it"
                + ("; the scan was kept as it was seen" if wanted else "")
            )
            self._courier.tell(Fault(scan.saved_as, "receive", reason, datetime.now(UTC)))
        if not wanted:
            self._counters["without_file"] += 1
            self._board.end_without_file(scan.key)
            return
        try:
            self._keep(scan)
        except OSError as error:
            trouble = f"{self._inbox.folder} cannot be written ({error.strerror or error}): a finished scan waits"
            if trouble != self._trouble:
                logger.error("%s", trouble)
            self._trouble = trouble
        else:
            self._trouble = ""
            self._handed.append(scan.key)

    def _keep(self, scan: Ended) -> None:
        seen = scan.growing.frame()
        source = scan.saved_as or f"{scan.sender}/{scan.growing.start.scan}"
        note = "put together from the lines that were seen while it was scanned"
        missing = scan.growing.lines_missing
        warnings = (*seen.info.warnings, note, *([f"{missing} lines never came"] if missing else []))
        info = replace(seen.info, ref=replace(seen.ref, source=source, sha256=""), format=FORMAT, warnings=warnings)
        parts = encode_frame(Frame(info, seen.data), sender=scan.sender, session=scan.key, sequence=0)
        path = self._inbox.keep(decode(parts).frame.ref.sha256, parts)
        self._board.name_file(scan.key, source)
        if path is not None:
            self._counters["kept"] += 1
            self._courier.bring(path)
