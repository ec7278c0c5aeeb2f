"""Scans in progress that come over a socket: whose they are, and that two of them never become one frame.

A scan belongs to its sender and to that start of the sender which told its beginning (the session). What does not fit
is refused with a reason, and a scan that was contradicted is given up, so that no line of another frame gets into it.
Pixels are not kept here: whoever is told does that, and may refuse lines too.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from spm_live_drivers.contract import FrameInfo
from spm_live_drivers.growing import GrowingError, GrowingEvent, ScanEnd, ScanLines, ScanOutcome, ScanStart
from spm_live_drivers.wire_growing import GrowingMessage
from spm_live_drivers.wire_header import MAX_TEXT
from spm_live_drivers.wire_receipt import Result

logger = logging.getLogger(__name__)

Tell = Callable[[str, str, GrowingEvent], bool]
"""Takes the name of the source, the sender and the event; must not wait. False where the scan is not known: then its
start is awaited again. Raises ``GrowingError`` for lines that contradict those that came before."""

MOST_SENDERS = 64
"""Senders that are followed; the one that was silent longest is forgotten first, and its scan ends."""
_REMEMBERED = 64
"""Scans, and sessions, that are remembered of each sender after they are over."""
_ROOM_FOR_NUMBER = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one event.

    Parameters
    ----------
    result : Result
        ``KEPT``, ``UNKNOWN`` or ``REFUSED``.
    reason : str
        Why, where it was not kept.
    """

    result: Result
    reason: str = ""


KEPT = Answer(Result.KEPT)


@dataclass(frozen=True, slots=True)
class _Running:
    """The scan of a sender: its name, the one it was told on by, and what must not change while it grows."""

    scan: str
    told_as: str
    backward: bool
    frame: tuple[object, ...]
    rows: int
    columns: int


@dataclass(slots=True)
class _Sender:
    session: str
    running: _Running | None = None
    over: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    """Scans of this session that are over, by the sender's own names."""
    former: deque[str] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    """Sessions that another one has taken the place of."""
    names: OrderedDict[str, str] = field(default_factory=OrderedDict)
    """Names that scans were told on by, and the session of each."""


class GrowingIntake:
    """Judges every event that a socket receives, and tells on those that fit.

    Parameters
    ----------
    source : str
        Name of the source.
    tell : callable
        Where events go. Each scan is told one start, under a name that no other scan of this sender has.
    """

    def __init__(self, source: str, tell: Tell) -> None:
        self._source, self._tell = source, tell
        self._senders: OrderedDict[str, _Sender] = OrderedDict()

    def take(self, message: GrowingMessage) -> Answer:
        """Take one event.

        A sender that starts anew takes over its name; if its former session is heard again, there are two.
        """
        name, session, event = message.envelope.sender, message.envelope.session, message.event
        sender = self._senders.get(name)
        if sender is not None:
            self._senders.move_to_end(name)
            if session in sender.former:
                return _refused(f"two senders call themselves {name!r}: give each of them a name of its own")
        if isinstance(event, ScanStart):
            return self._begin(name, session, event)
        if sender is None or sender.session != session:
            return _unknown(event)
        if sender.running is not None and sender.running.scan == event.scan:
            if isinstance(event, ScanLines):
                return self._extend(name, sender, sender.running, event)
            return self._end(name, sender, sender.running, event)
        if event.scan not in sender.over:
            return _unknown(event)
        if isinstance(event, ScanLines):
            return _refused(f"lines of scan {event.scan!r}, which is over")
        return KEPT  # an end that is told twice, since its receipt was lost

    def _begin(self, name: str, session: str, start: ScanStart) -> Answer:
        sender = self._senders.get(name)
        if sender is None or sender.session != session:
            sender = self._take_over(name, session, sender)
        running, frame = sender.running, _unchanging(start)
        if running is not None and running.scan == start.scan:
            if running.frame == frame and running.backward == start.backward:
                return KEPT
            return self._give_up(name, sender, running, f"scan {start.scan!r} is begun again with another frame")
        if start.scan in sender.over:
            return _refused(f"scan {start.scan!r} is over: a new scan needs a name of its own")
        if running is not None:
            sender.over.append(running.scan)
        geometry = start.info.geometry
        running = _Running(
            start.scan, _free_name(sender, start.scan), start.backward, frame, geometry.rows, geometry.columns
        )
        sender.running = None
        try:
            if not self._tell(self._source, name, replace(start, scan=running.told_as)):
                return _unknown(start)
        except GrowingError as error:
            return _refused(str(error))
        sender.running = running
        return KEPT

    def _take_over(self, name: str, session: str, before: _Sender | None) -> _Sender:
        """A sender is heard for the first time, or after it was started anew."""
        sender = self._senders[name] = _Sender(session)
        self._senders.move_to_end(name)
        if before is not None:
            logger.info("%s: %s was started anew", self._source, name)
            sender.former.extend([*before.former, before.session])
            sender.names = before.names
        if len(self._senders) > MOST_SENDERS:
            silent, gone = self._senders.popitem(last=False)
            if gone.running is not None:
                self._tell(self._source, silent, ScanEnd(gone.running.told_as, ScanOutcome.LOST))
        return sender

    def _extend(self, name: str, sender: _Sender, running: _Running, lines: ScanLines) -> Answer:
        count, columns = lines.forward.shape
        if columns != running.columns or lines.first_row + count > running.rows:
            rows = f"rows {lines.first_row} to {lines.first_row + count - 1} of {columns} px"
            scan = f"a scan of {running.rows} x {running.columns} px"
            return self._give_up(name, sender, running, f"{rows} in {scan}: the frame was changed without a start")
        try:
            if self._tell(self._source, name, replace(lines, scan=running.told_as)):
                return KEPT
        except GrowingError as error:
            return self._give_up(name, sender, running, str(error))
        sender.running = None
        return _unknown(lines)

    def _end(self, name: str, sender: _Sender, running: _Running, end: ScanEnd) -> Answer:
        sender.running = None
        if not self._tell(self._source, name, replace(end, scan=running.told_as)):
            return _unknown(end)
        sender.over.append(running.scan)
        return KEPT

    def _give_up(self, name: str, sender: _Sender, running: _Running, reason: str) -> Answer:
        """End a scan that was contradicted: what comes of it now may be another frame."""
        self._end(name, sender, running, ScanEnd(running.scan, ScanOutcome.LOST))
        if running.scan not in sender.over:
            sender.over.append(running.scan)
        return _refused(reason)


def _unchanging(start: ScanStart) -> tuple[object, ...]:
    info: FrameInfo = start.info
    return info.geometry, info.ref.channel, info.ref.trace, info.unit, info.direction


def _free_name(sender: _Sender, scan: str) -> str:
    """A name for a scan that no scan of another session of this sender was told on by."""
    name, number = scan, 1
    while sender.names.get(name, sender.session) != sender.session:
        number += 1
        name = f"{scan[: MAX_TEXT['scan'] - _ROOM_FOR_NUMBER]} ({number})"
    sender.names[name] = sender.session
    if len(sender.names) > _REMEMBERED:
        sender.names.popitem(last=False)
    return name


def _unknown(event: GrowingEvent) -> Answer:
    return Answer(Result.UNKNOWN, f"scan {event.scan!r} is not known here: send its start and all of its lines")


def _refused(reason: str) -> Answer:
    return Answer(Result.REFUSED, reason)
