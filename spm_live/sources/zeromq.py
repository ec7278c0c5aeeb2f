"""A ZeroMQ socket as a source of frames, and of scans in progress.

Two threads. The receiver owns the socket: it checks each message, writes it into the inbox, answers. The courier hands
the files of the inbox to the daemon and may be blocked by it for as long as its queue is full; meanwhile the receiver
goes on, up to the limit of the inbox. Beyond that limit, and while the disk is full, an agent is told to send the frame
again later. From PULL and SUB sockets a few frames are held in memory meanwhile; then they are not read, so that a
pushing sender waits and a publishing one drops frames (its high-water mark), which the sequence numbers show.

Messages of scans in progress are told on at once, whatever the disk does, and are written nowhere.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import zmq

from spm_live.domain import Fault, SourceStatus
from spm_live.errors import FrameError, SetupError
from spm_live.settings import ZeroMQSettings
from spm_live.sources import Known, Put, Report
from spm_live.sources.courier import Courier
from spm_live.sources.growing import KEPT, GrowingIntake, Tell
from spm_live.sources.inbox import Inbox
from spm_live.sources.sequences import FaultRate, SequenceLog
from spm_live_drivers.growing import ScanEnd
from spm_live_drivers.wire import TOPIC_PREFIX, Envelope, FrameMessage, decode
from spm_live_drivers.wire_growing import decode_event, is_growing
from spm_live_drivers.wire_receipt import Receipt, Result, encode_receipt, refusal
from spm_live_drivers.wire_socket import CurveKeys, SocketError, open_socket, receive_parts

logger = logging.getLogger(__name__)

_KINDS = {"agent": zmq.ROUTER, "pull": zmq.PULL, "sub": zmq.SUB}
_POLL_MS = 100
_COUNTERS = ("received", "arrived", "duplicates", "malformed", "gaps", "missed", "put_off")
_LIVE_COUNTERS = ("live", "live_unknown", "live_refused")
HELD_BYTES = 64 * 1024 * 1024
"""Frames of PULL and SUB sockets that wait in memory for room on the disk; one frame always may."""


class ZeroMQSource:
    """Receive frames and hand them on as files; receive scans in progress and tell them on.

    Parameters
    ----------
    settings : ZeroMQSettings
        Which socket. Mode ``agent`` answers every frame once it is safe on the disk; ``pull`` and ``sub`` do not.
    inbox : Path or Inbox
        Where frames are kept until their maps are stored. Several sources share a folder by sharing one ``Inbox``.
    retry_s : float
        Time between two tries to write while the disk is full, in s.
    fault_rate : FaultRate or None
        How many malformed messages are reported; all are counted. None: ten a minute.
    tell : callable or None
        Takes the name of this source, the sender and each event of a scan in progress, from the thread of the receiver;
        see :data:`spm_live.sources.growing.Tell`. None: such events are counted and passed over.
    """

    def __init__(
        self,
        settings: ZeroMQSettings,
        inbox: Path | Inbox,
        *,
        retry_s: float = 2.0,
        fault_rate: FaultRate | None = None,
        tell: Tell | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = f"zeromq {settings.mode} {settings.endpoint}"
        self.endpoint = settings.endpoint
        """Where it is bound, with the port that the system chose for ``tcp://127.0.0.1:*``."""
        self._settings = settings
        self._inbox = Inbox(inbox) if isinstance(inbox, Path) else inbox
        self._retry_s = retry_s
        self._fault_rate = fault_rate or FaultRate(clock=clock)
        self._gap_rate = FaultRate(clock=clock)
        self._courier = Courier(self.name, self._inbox, clock)
        self._sequences = SequenceLog()
        self._growing = GrowingIntake(self.name, tell) if tell is not None else None
        self._clock = clock
        self._held: deque[tuple[FrameMessage, list[bytes]]] = deque()
        self._held_bytes = 0
        self._next_try = 0.0
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._counters = dict.fromkeys(_COUNTERS + _LIVE_COUNTERS, 0)
        self._idle = "not started"
        self._unwritable = ""
        self._full = False

    def start(self, put: Put, report: Report, known: Known) -> None:
        """Open the inbox and the socket, and begin; returns at once.

        Raises
        ------
        SetupError
            If the socket or the inbox cannot be opened.
        """
        self._inbox.open()
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            socket = self._open(context)
        except SocketError as error:
            context.term()
            raise SetupError(f"[[zeromq]] {error}") from error
        self._idle = ""
        self._threads = [
            threading.Thread(target=self._receive, args=(context, socket), name=self.name, daemon=True),
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
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                logger.warning("%s: still busy, left to end by itself", thread.name)
        self._courier.give_back()
        self._threads = []
        self._idle = "stopped"

    def status(self) -> SourceStatus:
        """How it stands; called from other threads."""
        trouble = self._idle or self._unwritable
        if not trouble and self._full:
            trouble = f"the inbox {self._inbox.folder} is full: frames wait at their senders"
        if not trouble and not all(thread.is_alive() for thread in self._threads):
            trouble = "a thread has ended because of a bug; the log has the traceback"
        how = "bound to" if self._settings.bind else "connects to"
        with self._lock:
            counters = {**self._counters, "backlog": self._courier.backlog}
        return SourceStatus(self.name, not trouble, trouble or f"{how} {self.endpoint}", counters)

    def _open(self, context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
        settings, curve = self._settings, self._settings.curve
        keys = CurveKeys(curve.public_key, curve.secret_key, curve.server_key) if curve is not None else None
        socket = open_socket(context, _KINDS[settings.mode], settings.endpoint, bind=settings.bind, curve=keys)
        if settings.mode == "sub":
            socket.setsockopt(zmq.SUBSCRIBE, TOPIC_PREFIX)
        if settings.bind:
            self.endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        return socket

    def _receive(self, context: zmq.Context[zmq.Socket[bytes]], socket: zmq.Socket[bytes]) -> None:
        answering = self._settings.mode == "agent"
        try:
            while not self._stopping.is_set():
                if not answering and not self._may_read():
                    self._stopping.wait(self._retry_s)
                elif socket.poll(_POLL_MS):
                    self._take(socket, answering=answering)
        finally:
            socket.close(linger=0)
            context.term()
            self._put_down()

    def _take(self, socket: zmq.Socket[bytes], *, answering: bool) -> None:
        try:
            parts = receive_parts(socket)
        except zmq.Again:
            return
        self._count("received")
        if not answering:
            self._accept(parts)
            return
        # A ROUTER puts the sender's routing id first. REQ sockets add an empty part, with REQ_CORRELATE a number before
        # it, and want both back (RFC 28/REQREP). An empty part before the last two is the topic of a DEALER.
        plain = len(parts) == 4 and parts[2].startswith(b"{")
        addressed = b"" in parts[1:3] and not plain
        envelope = parts[: parts.index(b"", 1) + 1] if addressed else parts[:1]
        receipt = self._answer(parts[len(envelope) :])
        try:
            socket.send_multipart([*envelope, *encode_receipt(receipt)], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            logger.debug("%s: a receipt could not be sent (%s); the sender will ask again", self.name, error)

    def _answer(self, parts: list[bytes]) -> Receipt:
        """Keep one frame of an agent, or say why not."""
        if is_growing(parts):
            return self._hear(parts)
        message = self._decoded(parts)
        if isinstance(message, FrameError):
            return refusal(parts[1] if len(parts) > 1 else b"", message.reason)
        envelope = message.envelope
        kept = Result.LATER
        if self._has_room():
            try:
                kept = self._keep(message, parts)
            except OSError as error:
                self._cannot_write(error)
        if kept is Result.LATER:
            self._count("put_off")
        reason = "" if kept.final else self._unwritable or "the inbox is full"
        return Receipt(envelope.session, envelope.sequence, kept, reason)

    def _accept(self, parts: list[bytes]) -> None:
        """Take one message of a sender that expects no answer; a frame is held until it is written."""
        if is_growing(parts):
            self._hear(parts)
            return
        message = self._decoded(parts)
        if not isinstance(message, FrameError):
            self._held.append((message, parts))
            self._held_bytes += sum(map(len, parts))

    def _may_read(self) -> bool:
        """Write the frames that are held, as far as there is room; whether another message may be read."""
        if self._clock() >= self._next_try:
            while self._has_room() and self._held:
                message, parts = self._held[0]
                try:
                    self._keep(message, parts)
                except OSError as error:
                    self._cannot_write(error)
                    break
                self._held.popleft()
                self._held_bytes -= sum(map(len, parts))
            if self._held or self._full:
                self._next_try = self._clock() + self._retry_s
        return self._held_bytes < HELD_BYTES

    def _put_down(self) -> None:
        """Write the frames that are held, beyond the limit of the inbox: this run ends."""
        for message, parts in self._held:
            try:
                self._keep(message, parts)
            except OSError as error:
                self._cannot_write(error)
                logger.error("%s: a frame of %s is lost: %s", self.name, message.envelope.sender, self._unwritable)
        self._held.clear()

    def _hear(self, parts: list[bytes]) -> Receipt:
        """Tell on one event of a scan in progress, or say why not."""
        try:
            message = decode_event(parts, origin=self.name)
        except FrameError as error:
            self._malformed(error)
            return refusal(parts[1], error.reason)
        envelope = message.envelope
        self._follow(envelope)
        self._count("live")
        answer = self._growing.take(message) if self._growing is not None else KEPT
        unheard_of = isinstance(message.event, ScanEnd) and self._settings.mode != "agent"  # nobody is answered
        if answer.result is Result.UNKNOWN:
            self._count("live_unknown")
        if answer.result is Result.REFUSED:
            self._count("live_refused")
        if answer.result is Result.REFUSED or (answer.result is Result.UNKNOWN and unheard_of):
            self._tell(f"{self.name} from {envelope.sender}", answer.reason)
        return Receipt(envelope.session, envelope.sequence, answer.result, answer.reason)

    def _decoded(self, parts: list[bytes]) -> FrameMessage | FrameError:
        try:
            message = decode(parts, origin=self.name)
        except FrameError as error:
            self._malformed(error)
            return error
        self._follow(message.envelope)
        return message

    def _malformed(self, error: FrameError) -> None:
        self._count("malformed")
        self._tell(error.ref.source, error.reason)

    def _follow(self, envelope: Envelope) -> None:
        """Count the messages that were lost before this one."""
        missed = self._sequences.missed(envelope)
        if missed:
            self._count("gaps")
            self._count("missed", missed)
            if self._gap_rate.admit() is not None:
                logger.warning("%s: %d messages of %s were lost", self.name, missed, envelope.sender)

    def _keep(self, message: FrameMessage, parts: list[bytes]) -> Result:
        path = self._inbox.keep(message.frame.ref.sha256, parts)
        self._unwritable = ""
        if path is None:
            self._count("duplicates")
            return Result.DUPLICATE
        self._count("arrived")
        self._courier.bring(path)
        return Result.KEPT

    def _has_room(self) -> bool:
        try:
            self._full = not self._inbox.has_room()
        except OSError as error:
            self._cannot_write(error)
            return False
        return not self._full

    def _cannot_write(self, error: OSError) -> None:
        trouble = f"{self._inbox.folder} cannot be written ({error.strerror or error}): frames wait at their senders"
        if trouble != self._unwritable:
            self._unwritable = trouble
            self._tell(self.name, trouble)

    def _tell(self, source: str, reason: str) -> None:
        """Report a fault, unless there were too many."""
        withheld = self._fault_rate.admit()
        if withheld is not None:
            more = f" (and {withheld} more faults that were not reported)" if withheld else ""
            self._courier.tell(Fault(source, "receive", reason + more, datetime.now(UTC)))

    def _count(self, what: str, number: int = 1) -> None:
        with self._lock:
            self._counters[what] += number
