"""Frames that are still being scanned, as ZeroMQ messages: ``start``, ``lines``, ``end``.

Each has three parts, as a finished frame has (:mod:`spm_live_drivers.wire`): topic, JSON header, payload. Whatever
arrives, :func:`decode_event` returns an event or raises one error that says what was wrong; sizes are compared with
what is really there before memory is taken, and nothing is unpickled. ``docs/reference/wire-format.md`` tells it to
people who write a sender.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import MAX_FRAME_PIXELS, FrameRef, Trace
from spm_live_drivers.errors import FrameError
from spm_live_drivers.growing import GrowingEvent, ScanEnd, ScanLines, ScanOutcome, ScanStart
from spm_live_drivers.wire import DTYPE, GROWING_TYPES, ITEM_BYTES, open_message
from spm_live_drivers.wire_fields import HeaderError, choice, line, number, one_line, shown, sound, truth, whole
from spm_live_drivers.wire_header import (
    MAX_TEXT,
    SCHEMA,
    Envelope,
    dump_header,
    header_values,
    read_envelope,
    read_geometry,
    read_info,
)

__all__ = ["TOPICS", "GrowingMessage", "decode_event", "encode_event", "is_growing"]

TOPICS = {kind: b"spm." + kind.encode("ascii") for kind in sorted(GROWING_TYPES)}
"""Topic of each type of message."""
_TRACES = ([Trace.FORWARD.value], [Trace.FORWARD.value, Trace.BACKWARD.value])
_NO_FILE = {"complete_rows": None, "sha256": None}
"""What a frame's header may say and a start cannot: no row is scanned yet, and there is no file."""


@dataclass(frozen=True, slots=True, eq=False)
class GrowingMessage:
    """An event and the envelope that it came in."""

    envelope: Envelope
    event: GrowingEvent


def is_growing(parts: Sequence[bytes]) -> bool:
    """Whether a message is one of those that :func:`decode_event` reads, as far as it can be read at all."""
    try:
        kind = open_message(parts)[0].get("type")
    except HeaderError:
        return False
    return isinstance(kind, str) and kind in GROWING_TYPES


def encode_event(event: GrowingEvent, *, sender: str, session: str, sequence: int) -> list[bytes]:
    """Write an event as the parts of a message.

    Texts that describe the frame are cut where they are longer than the format allows, and metadata that does not fit
    is left out and counted in a warning, as for a finished frame.

    Parameters
    ----------
    event : GrowingEvent
        What happened. Lines: at least one, and at most ``MAX_FRAME_PIXELS`` values in all traces together.
    sender, session : str
        As in :class:`Envelope`; not empty.
    sequence : int
        Number of this message in the session, from 0.

    Returns
    -------
    list of bytes
        Topic, header, payload.

    Raises
    ------
    ValueError
        If the envelope or the event is not one that :func:`decode_event` would take.
    """
    kind, payload = "end", b""
    metadata: Mapping[str, str] = {}
    values: dict[str, Any] = {"schema": SCHEMA, "type": kind, "sender": sender, "session": session}
    values |= {"sequence": sequence, "scan": event.scan}
    if isinstance(event, ScanStart):
        kind, metadata = "start", event.info.metadata
        values |= {name: value for name, value in header_values(event.info).items() if name not in _NO_FILE}
        values |= {"backward": event.backward}
        if event.line_time_s is not None and math.isfinite(event.line_time_s) and event.line_time_s > 0:
            values["line_time_s"] = float(event.line_time_s)
    elif isinstance(event, ScanLines):
        kind, payload = "lines", _payload(event)
        values |= _lines_header(event, payload)
    else:
        saved_as = one_line(sound(event.saved_as))[-MAX_TEXT["saved_as"] :]  # the name of the file is at its end
        values |= {"outcome": event.outcome.value, "saved_as": saved_as}
    values["type"] = kind
    envelope = _read_envelope(values)
    _EVENTS[kind](values, envelope, payload)
    return [TOPICS[kind], dump_header(values, metadata), payload]


def decode_event(parts: Sequence[bytes], *, origin: str = "a ZeroMQ message") -> GrowingMessage:
    """Read a message.

    Parameters
    ----------
    parts : sequence of bytes
        Topic, header, payload.
    origin : str
        Where it came from, for the error.

    Returns
    -------
    GrowingMessage
        The lines are read-only, and where possible not copied. A ``source`` that a start leaves out is made of sender
        and scan; infinite values are read as not scanned (NaN).

    Raises
    ------
    FrameError
        At stage ``"receive"``, if anything about the message is not as the format says.
    """
    sender = ""
    try:
        values, payload = open_message(parts)
        sender = read_envelope(values).sender
        envelope = _read_envelope(values)
        return GrowingMessage(envelope, _EVENTS[envelope.type](values, envelope, payload))
    except HeaderError as error:
        raise FrameError(
            FrameRef(source=f"{origin} from {sender}" if sender else origin), "receive", str(error)
        ) from error


def _read_envelope(values: Mapping[str, Any]) -> Envelope:
    envelope = read_envelope(values)
    if envelope.type not in GROWING_TYPES:
        raise HeaderError(f"a message of type {envelope.type!r} is none of {', '.join(sorted(GROWING_TYPES))}")
    if not envelope.session:
        raise HeaderError("session is missing: two instruments of one name must not be taken for one")
    return envelope


def _start(values: dict[str, Any], envelope: Envelope, payload: bytes) -> ScanStart:
    scan = _scan(values)
    _nothing(payload)
    geometry = read_geometry(values)
    if geometry.rows * geometry.columns > MAX_FRAME_PIXELS:
        raise HeaderError(f"{geometry.rows} x {geometry.columns} px are more than {MAX_FRAME_PIXELS} px")
    line_time_s = number(values, "line_time_s", None)
    if line_time_s is not None and line_time_s <= 0:
        raise HeaderError(f"line_time_s must be above 0, is {shown(line_time_s)}")
    info = read_info({**values, **_NO_FILE}, sha256="", source=f"{envelope.sender}/{scan}", complete_rows=0)
    return ScanStart(scan, info, line_time_s, truth(values, "backward", False))


def _lines(values: dict[str, Any], envelope: Envelope, payload: bytes) -> ScanLines:
    scan = _scan(values)
    count, columns = whole(values, "count", 1, MAX_FRAME_PIXELS), whole(values, "columns", 1, MAX_FRAME_PIXELS)
    first_row = whole(values, "first_row", 0, MAX_FRAME_PIXELS - count)
    traces = _TRACES[0] if values.get("traces") is None else values["traces"]
    if traces not in _TRACES:
        raise HeaderError('traces must be ["forward"] or ["forward", "backward"]')
    if values.get("dtype") not in (None, DTYPE):
        raise HeaderError(f"dtype must be {DTYPE!r} (32-bit floats, little-endian)")
    needed = len(traces) * count * columns * ITEM_BYTES
    if len(payload) != needed:
        raise HeaderError(
            f"{len(traces)} x {count} x {columns} values (traces, rows, columns) need {needed} bytes, the payload has "
            f"{len(payload)}"
        )
    crc32 = whole(values, "payload_crc32", 0, 2**32 - 1, -1)
    if crc32 not in (-1, zlib.crc32(payload)):
        raise HeaderError("the payload does not match its checksum (payload_crc32)")
    data = _finite_or_nan(np.frombuffer(payload, dtype=DTYPE).reshape(len(traces), count, columns))
    return ScanLines(scan, first_row, data[0], data[1] if len(traces) > 1 else None)


def _end(values: dict[str, Any], envelope: Envelope, payload: bytes) -> ScanEnd:
    scan = _scan(values)
    _nothing(payload)
    if values.get("outcome") is None:
        raise HeaderError("outcome is missing")
    return ScanEnd(
        scan, choice(values, "outcome", ScanOutcome.LOST), line(values, "saved_as", MAX_TEXT["saved_as"], "")
    )


_EVENTS: Mapping[str, Callable[[dict[str, Any], Envelope, bytes], GrowingEvent]] = {
    "start": _start,
    "lines": _lines,
    "end": _end,
}


def _scan(values: Mapping[str, Any]) -> str:
    return line(values, "scan", MAX_TEXT["scan"])


def _nothing(payload: bytes) -> None:
    if payload:
        raise HeaderError(f"this message has no payload, and {len(payload)} bytes came")


def _finite_or_nan(data: NDArray[Any]) -> NDArray[np.float32]:
    """Take infinite values as not scanned; no copy where there are none."""
    values = data.astype(np.float32, copy=False)
    infinite = np.isinf(values)
    if infinite.any():
        values = np.where(infinite, np.float32(np.nan), values)
        values.flags.writeable = False
    return values


def _payload(event: ScanLines) -> bytes:
    """All traces, one after the other.

    Raises
    ------
    ValueError
        If the traces are no rows, or not of one shape.
    """
    if event.forward.ndim != 2:
        raise ValueError(f"lines of shape {event.forward.shape}")
    traces = [event.forward] if event.backward is None else [event.forward, event.backward]
    if any(trace.shape != event.forward.shape for trace in traces):
        raise ValueError("forward and backward lines of different shapes")
    if sum(trace.size for trace in traces) > MAX_FRAME_PIXELS:
        raise ValueError(f"more than {MAX_FRAME_PIXELS} values in one message")
    return b"".join(np.ascontiguousarray(trace, dtype=DTYPE).tobytes() for trace in traces)


def _lines_header(event: ScanLines, payload: bytes) -> dict[str, Any]:
    return {
        "first_row": int(event.first_row),
        "count": int(event.forward.shape[0]),
        "columns": int(event.forward.shape[1]),
        "traces": _TRACES[0] if event.backward is None else _TRACES[1],
        "dtype": DTYPE,
        "payload_crc32": zlib.crc32(payload),
    }
