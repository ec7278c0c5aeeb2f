"""The agent itself: looks, reads, spools, sends."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from spm_live_drivers.agent.events import FolderEvents
from spm_live_drivers.agent.journal import Journal
from spm_live_drivers.agent.link import Link
from spm_live_drivers.agent.settings import AgentSettings, check
from spm_live_drivers.agent.spool import Spool, Spooled
from spm_live_drivers.agent.watch import FoundFile, List, Watch, list_files
from spm_live_drivers.contract import Frame
from spm_live_drivers.errors import FrameError
from spm_live_drivers.registry import read_frame
from spm_live_drivers.wire import decode, encode_frame
from spm_live_drivers.wire_file import read_parts
from spm_live_drivers.wire_receipt import Result

logger = logging.getLogger(__name__)

_TICK_S = 0.2
_RETRY_S = 2.0
"""Time between two tries while the receiver is away, puts us off, or the disk is full, in s."""
_SHORTEST_REST_S = 0.2
_FILES_A_STEP = 4


class Agent:
    """Watches a folder and sends its frames; a context manager.

    Parameters
    ----------
    settings : AgentSettings
        What to do.
    clock : callable
        Monotonic time in s.
    listing : callable
        Lists the folder.
    retry_s : float
        Time between two tries while the receiver is away, puts us off, or the disk is full, in s.

    Raises
    ------
    AgentSetupError
        If the settings, the spool or the socket are no good.
    """

    def __init__(
        self,
        settings: AgentSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        listing: List = list_files,
        retry_s: float = _RETRY_S,
    ) -> None:
        check(settings)
        self._settings, self._clock, self._retry_s = settings, clock, retry_s
        self._session, self._sequence = secrets.token_hex(8), 0
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._next_look = self._rest_until = self._next_send = 0.0
        self._ready: deque[FoundFile] = deque()
        self._trouble = ""
        self._away = False
        self.counters = dict.fromkeys(("spooled", "sent", "duplicates", "refused", "damaged"), 0)
        with ExitStack() as stack:
            self._spool = Spool(settings.spool, settings.spool_max_bytes)
            self._journal = stack.enter_context(Journal(settings.spool / "journal.sqlite3"))
            self._link = stack.enter_context(Link(settings, clock))
            self._watch = self._new_watch(listing)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close socket and journal."""
        self._stack.close()

    def stop(self) -> None:
        """Ask :meth:`run` to end; for signal handlers and other threads."""
        self._stopping.set()
        self._wake.set()

    def run(self, *, once: bool = False) -> None:
        """Work until stopped.

        Parameters
        ----------
        once : bool
            End as soon as every file that is there was sent.
        """
        events = FolderEvents(self._settings.watch, self._wake)
        try:
            while not self._stopping.is_set():
                self.step(_TICK_S)
                if once and self.idle:
                    break
        finally:
            events.close()

    @property
    def idle(self) -> bool:
        """Whether there was nothing left to do at the last look."""
        return not (self._spool or self._ready or self._watch.open_files or self._watch.away)

    @property
    def faults(self) -> int:
        """Files that could not be read, and frames that were refused."""
        return self._watch.faults + self.counters["refused"]

    def step(self, wait_s: float) -> None:
        """Look if it is time, send what can be sent, then wait for a receipt or a change, at most ``wait_s``."""
        if self._wake.is_set():
            self._wake.clear()
            self._next_look = max(self._rest_until, min(self._next_look, self._clock() + _SHORTEST_REST_S))
        if not self._ready and self._clock() >= self._next_look:
            self._look()
        if self._take_up_some():
            wait_s = 0.0
        if self._link.in_flight or self._begin_sending():
            self._finish_sending(wait_s)
        elif not self._spool or self._clock() < self._next_send:
            self._wake.wait(wait_s)

    # --- from the folder into the spool ------------------------------------------------------------------------------

    def _new_watch(self, listing: List) -> Watch:
        settings = self._settings
        return Watch(
            settings.watch,
            settings.options,
            settle_s=settings.settle_s,
            quiet_s=settings.quiet_s,
            dealt=self._journal.taken(self._spool.digests()),
            clock=self._clock,
            listing=listing,
        )

    def _look(self) -> None:
        self._ready.extend(self._watch.look())
        now, settings = self._clock(), self._settings
        self._rest_until = now + self._watch.rest_s
        period_s = min(settings.poll_s, settings.settle_s) if self._watch.settling else settings.poll_s
        self._next_look = max(now + period_s, self._rest_until)

    def _take_up_some(self) -> bool:
        """Read a few of the finished files, so that sending never waits for all; whether more could follow."""
        for _ in range(min(_FILES_A_STEP, len(self._ready))):
            if not self._take_up(self._ready[0]):
                return False
            self._ready.popleft()
        return bool(self._ready)

    def _take_up(self, file: FoundFile) -> bool:
        """Read a file and put its frame into the spool; whether the next one may follow."""
        if self._spool.full:
            self._complain("the spool is full: files wait in the folder until the receiver has taken frames")
            return False
        try:
            frame = read_frame(file.path, self._settings.options)
            status = file.path.stat()
        except FrameError as error:
            self._watch.put_off(file, error)
            return True
        except OSError:
            return True  # gone: the next look tells
        if (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns):
            return True  # it was written while it was read: the next look finds its new state
        try:
            self._keep(file, frame)
        except OSError as error:
            self._complain(f"{self._spool.folder} cannot be written ({error.strerror or error}): files wait")
            return False
        except ValueError as error:
            self._watch.give_up(
                file, FrameError(frame.ref, "send", f"its reader gave no frame that can be sent: {error}")
            )
            return True
        self._complain("")
        self._watch.deal_with(file)
        return True

    def _keep(self, file: FoundFile, frame: Frame) -> None:
        sha256 = frame.ref.sha256
        if not sha256:
            raise ValueError("sha256 is missing")
        if sha256 not in self._spool and not self._journal.was_sent(sha256):
            # Paths of two machines may be the same, so the receiver is told whose it is.
            ref = replace(frame.ref, source=f"{self._settings.sender}:{frame.ref.source}")
            frame = Frame(replace(frame.info, ref=ref), frame.data)
            parts = encode_frame(frame, sender=self._settings.sender, session=self._session, sequence=self._sequence)
            self._spool.put(sha256, parts)
            self._sequence += 1
            self.counters["spooled"] += 1
            rows = f"{frame.info.complete_rows} of {frame.geometry.rows}" if frame.info.partial else frame.geometry.rows
            logger.info("%s: %s x %d px, %s", file.path, rows, frame.geometry.columns, frame.ref.channel)
        self._journal.take(file, sha256)

    # --- from the spool to the receiver ------------------------------------------------------------------------------

    def _begin_sending(self) -> bool:
        """Send the frame that waited longest; whether there was one and the receiver is there."""
        spooled = self._spool.first()
        if spooled is None or self._clock() < self._next_send:
            return False
        try:
            parts = read_parts(spooled.path)
            envelope = decode(parts, origin=str(spooled.path)).envelope
        except FrameError as error:
            if isinstance(error.__cause__, OSError) and spooled.path.exists():
                self._postpone(f"{spooled.path} {error.reason}")
            else:
                self._lose(spooled, error)
            return False
        result = self._link.send(parts, envelope.session, envelope.sequence)
        if result is Result.LATER:
            self._postpone(f"the receiver is not there{', or the keys do not fit' if self._settings.curve else ''}")
        elif result is not None:
            self._conclude(spooled, result, "")
        return result is None

    def _finish_sending(self, wait_s: float) -> None:
        receipt = self._link.receipt(wait_s)
        spooled = self._spool.first()
        if receipt is None or spooled is None:
            return
        if not receipt.result.final:
            self._postpone(receipt.reason)
        else:
            self._conclude(spooled, receipt.result, receipt.reason)

    def _conclude(self, spooled: Spooled, result: Result, reason: str) -> None:
        """The receiver has decided on a frame: it leaves the spool."""
        try:
            if result is Result.REFUSED:
                logger.error("%s: refused by the receiver: %s; kept in 'refused'", spooled.path.name, reason)
                self._spool.refuse(spooled)
                self.counters["refused"] += 1
                return
            self._journal.send(spooled.sha256)
            self._spool.remove(spooled)
        except OSError as error:
            self._postpone(f"a frame arrived, but that cannot be noted here ({error.strerror or error})")
            return
        self.counters["sent" if result is Result.KEPT else "duplicates"] += 1
        if self._away:
            self._away = False
            logger.info("%s: the receiver is there again", self._settings.to)
        logger.info("%s is sent, %d wait", spooled.path.name, len(self._spool))

    def _postpone(self, reason: str) -> None:
        self._next_send = self._clock() + self._retry_s
        if not self._away:
            self._away = True
            logger.warning("%s: %s; frames wait in the spool", self._settings.to, reason)

    def _lose(self, spooled: Spooled, error: FrameError) -> None:
        """A file of the spool is damaged: its scan is read again, if it is still there."""
        try:
            self._spool.discard(spooled)
            self._watch.forget(self._journal.forget(spooled.sha256))
        except OSError as reason:
            self._postpone(f"a damaged frame cannot be moved away ({reason.strerror or reason})")
            return
        logger.error("%s: %s; its scan is read again if it is still there", error.ref.source, error.reason)
        self.counters["damaged"] += 1

    def _complain(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            logger.warning("%s", trouble)
        self._trouble = trouble
