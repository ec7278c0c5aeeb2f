"""Bytes of the Nanonis TCP programming interface, from the side of the controller.

Manual "TCP Programming Interface" (SPECS Zurich, June 2024, R13742), chapters on messages and data types: all numbers
are big-endian. A request is a header of 40 bytes (name of 32 bytes filled up with zeros, int32 size of the body, uint16
whether a reply is wanted, two unused bytes) and a body; a reply has the same name, the size of its body, four unused
bytes, and a body that ends in the status of an error (uint32) and its description.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 40
NAME_BYTES = 32

MAX_REQUEST_BYTES = 65536
"""No call has arguments of more bytes than that."""

_HEADER = struct.Struct(">32siHH")


class RequestError(ValueError):
    """Bytes that are no request; the connection cannot be used any more."""


@dataclass(frozen=True, slots=True)
class RequestHeader:
    """The first 40 bytes of a request."""

    name: str
    body_bytes: int
    reply_wanted: bool


def read_header(data: bytes) -> RequestHeader:
    """Take a request header apart.

    Raises
    ------
    RequestError
        If the size of the body is not one that a call could have, or the name is no text.
    """
    name, size, wanted, _ = _HEADER.unpack(data)
    if not 0 <= size <= MAX_REQUEST_BYTES:
        raise RequestError(f"a request with a body of {size} bytes")
    name = name.rstrip(b"\0")
    if not name or not name.isascii() or not name.decode("ascii").isprintable():
        raise RequestError(f"a request for {name!r}")
    return RequestHeader(name.decode("ascii"), size, wanted != 0)


def reply(name: str, body: bytes) -> bytes:
    """A whole reply; ``body`` ends in :func:`status`."""
    return reply_header(name, len(body)) + body


def reply_header(name: str, body_bytes: int) -> bytes:
    """The first 40 bytes of a reply, with whatever size one wants to declare."""
    return struct.pack(">32siI", name.encode("ascii"), body_bytes, 0)


def status(error: str = "") -> bytes:
    """The block that ends every reply."""
    text = error.encode("latin-1", "replace")
    return struct.pack(">Ii", 1 if error else 0, len(text)) + text


def string(text: str) -> bytes:
    """A string with its size in front."""
    data = text.encode("utf-8")
    return struct.pack(">i", len(data)) + data


def strings(texts: Sequence[str]) -> bytes:
    """An array of strings: size in bytes, number, then each string."""
    data = b"".join(string(text) for text in texts)
    return struct.pack(">ii", len(data), len(texts)) + data


def integers(values: Sequence[int]) -> bytes:
    """An array of int32 with their number in front."""
    return struct.pack(f">i{len(values)}i", len(values), *values)


def table(values: NDArray[np.float32]) -> bytes:
    """A table of float32: rows, columns, then row after row."""
    return struct.pack(">ii", *values.shape) + values.astype(">f4").tobytes()
