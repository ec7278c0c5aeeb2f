"""Frames as ZeroMQ messages.

Frames that are still being scanned travel as messages of their own: :mod:`spm_live_drivers.wire_growing`.

A message has three parts: topic, header (JSON, UTF-8) and payload (the pixels). ``docs/reference/wire-format.md`` tells
it to people who write a sender in another language. Whatever arrives, :func:`decode` returns a frame or raises one
error that says what was wrong; it compares sizes with what is really there before it takes memory, and unpickles
nothing.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import MAX_FRAME_PIXELS, Frame, FrameInfo, FrameRef
from spm_live_drivers.errors import FrameError
from spm_live_drivers.wire_fields import HeaderError, whole
from spm_live_drivers.wire_header import (
    MAX_HEADER_BYTES,
    SCHEMA,
    Envelope,
    dump_header,
    header_values,
    parse_header,
    read_envelope,
    read_geometry,
    read_info,
)

__all__ = [
    "GROWING_TYPES",
    "MAX_HEADER_BYTES",
    "MAX_PART_BYTES",
    "SCHEMA",
    "TOPIC",
    "TOPIC_PREFIX",
    "Envelope",
    "FrameMessage",
    "HeaderError",
    "decode",
    "encode_frame",
    "open_message",
]

TOPIC_PREFIX = b"spm."
"""What a subscriber asks for: the topics of all message types begin with it."""
TOPIC = b"spm.frame"
MAX_TOPIC_BYTES = 256
DTYPE = "<f4"
ITEM_BYTES = 4
MAX_PART_BYTES = MAX_FRAME_PIXELS * ITEM_BYTES
"""Largest part of any message: sockets are told to refuse more (ZMQ_MAXMSGSIZE)."""
GROWING_TYPES = frozenset({"start", "lines", "end"})
"""Message types of frames that are still growing: :func:`spm_live_drivers.wire_growing.decode_event` reads them."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameMessage:
    """A frame and the envelope that it came in."""

    envelope: Envelope
    frame: Frame


def encode_frame(frame: Frame, *, sender: str, session: str, sequence: int) -> list[bytes]:
    """Write a frame as the parts of a message.

    Texts longer than the format allows are cut, and metadata that does not fit is left out and counted in a warning.

    Parameters
    ----------
    frame : Frame
        At most ``MAX_FRAME_PIXELS`` pixels.
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
        If the envelope or the frame is not one that :func:`decode` would take.
    """
    geometry = frame.geometry
    if geometry.rows * geometry.columns > MAX_FRAME_PIXELS:
        raise ValueError(f"a frame of {geometry.rows} x {geometry.columns} px; {MAX_FRAME_PIXELS} px can be sent")
    payload = np.ascontiguousarray(frame.data, dtype=DTYPE).tobytes()
    values: dict[str, Any] = {
        "schema": SCHEMA,
        "type": "frame",
        "sender": sender,
        "session": session,
        "sequence": sequence,
        "dtype": DTYPE,
        "payload_crc32": zlib.crc32(payload),
        **header_values(frame.info),
    }
    read_envelope(values)
    read_info(values, sha256="", source="", complete_rows=0)
    return [TOPIC, dump_header(values, frame.info.metadata), payload]


def decode(parts: Sequence[bytes], *, origin: str = "a ZeroMQ message") -> FrameMessage:
    """Read a message.

    Parameters
    ----------
    parts : sequence of bytes
        Topic, header, payload.
    origin : str
        Where it came from, for the error: an endpoint, or the file that it was kept in.

    Returns
    -------
    FrameMessage
        A ``sha256`` that was left out is that of the sender, the scan's description and the pixels, so that one frame
        sent twice has one digest; a ``source`` that was left out is made of sender and digest; ``complete_rows`` that
        was left out is the number of rows that hold any value. Infinite pixels are read as not scanned (NaN), with a
        warning.

    Raises
    ------
    FrameError
        At stage ``"receive"``, if anything about the message is not as the format says.
    """
    sender = ""
    try:
        values, payload = open_message(parts)
        envelope = read_envelope(values)
        sender = envelope.sender
        if envelope.type in GROWING_TYPES:
            raise HeaderError(f"a message of type {envelope.type!r} tells of a frame that still grows: it is no frame")
        if envelope.type != "frame":
            raise HeaderError(f"no message type is called {envelope.type!r}")
        return FrameMessage(envelope, _frame(values, envelope, payload))
    except HeaderError as error:
        raise FrameError(
            FrameRef(source=f"{origin} from {sender}" if sender else origin), "receive", str(error)
        ) from error


def open_message(parts: Sequence[bytes]) -> tuple[dict[str, Any], bytes]:
    """Take a message of any type apart.

    Parameters
    ----------
    parts : sequence of bytes
        Topic, header, payload.

    Returns
    -------
    values, payload : dict, bytes
        The header as JSON gives it, unchecked.

    Raises
    ------
    HeaderError
        If these are not the parts of a message, or the header is not a JSON object.
    """
    if len(parts) != 3:
        raise HeaderError(f"the message has {len(parts)} parts, not topic, header and payload")
    topic, header, payload = parts
    if len(topic) > MAX_TOPIC_BYTES:
        raise HeaderError(f"the topic has {len(topic)} bytes, {MAX_TOPIC_BYTES} are allowed")
    return parse_header(header), payload


def _frame(values: dict[str, Any], envelope: Envelope, payload: bytes) -> Frame:
    data = _pixels(values, payload)
    holds_value = int(np.count_nonzero(~np.isnan(data).all(axis=1)))
    info = read_info(values, sha256="", source="", complete_rows=holds_value)
    sha256 = info.ref.sha256 or _identity(info, envelope.sender, payload)
    source = info.ref.source or f"{envelope.sender}/{sha256[:16]}"
    info = replace(info, ref=replace(info.ref, sha256=sha256, source=source))
    infinite = np.isinf(data)
    if infinite.any():
        data = np.where(infinite, np.float32(np.nan), data)
        note = f"{int(np.count_nonzero(infinite))} infinite pixels are taken as not scanned"
        info = replace(info, warnings=(*info.warnings, note))
    return Frame(info, data)


def _pixels(values: dict[str, Any], payload: bytes) -> NDArray[np.float32]:
    """Check the payload against the header, and look at it as rows and columns (no copy)."""
    geometry = read_geometry(values)
    pixels = geometry.rows * geometry.columns
    if pixels > MAX_FRAME_PIXELS:
        raise HeaderError(f"{geometry.rows} x {geometry.columns} px are more than {MAX_FRAME_PIXELS} px")
    if values.get("dtype", DTYPE) != DTYPE:
        raise HeaderError(f"dtype must be {DTYPE!r} (32-bit floats, little-endian)")
    if len(payload) != pixels * ITEM_BYTES:
        raise HeaderError(
            f"{geometry.rows} x {geometry.columns} px need {pixels * ITEM_BYTES} bytes, the payload has {len(payload)}"
        )
    crc32 = whole(values, "payload_crc32", 0, 2**32 - 1, -1)
    if crc32 not in (-1, zlib.crc32(payload)):
        raise HeaderError("the payload does not match its checksum (payload_crc32)")
    data = np.frombuffer(payload, dtype=DTYPE).reshape(geometry.rows, geometry.columns)
    return data.astype(np.float32, copy=False)


def _identity(info: FrameInfo, sender: str, payload: bytes) -> str:
    """Digest of a frame whose sender gave none.

    Made of what the scan was, not of the message: session, sequence, comments, warnings and metadata stay out.
    """
    geometry = info.geometry
    description = [
        sender,
        info.ref.source,
        info.ref.channel,
        info.ref.trace,
        [geometry.rows, geometry.columns, *geometry.size_nm, *geometry.center_nm, geometry.angle_deg],
        [info.unit, info.direction, info.complete_rows],
        [info.bias_v, info.setpoint, info.setpoint_unit],
        [moment and moment.isoformat() for moment in (info.started, info.ended)],
    ]
    hashed = hashlib.sha256(json.dumps(description).encode("utf-8"))
    hashed.update(b"\n")
    hashed.update(payload)
    return hashed.hexdigest()
