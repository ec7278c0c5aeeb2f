"""Messages of the Nanonis TCP programming interface, as bytes.

Source: Nanonis "TCP Programming Interface" (SPECS, June 2024, R13742). All numbers are big-endian. A request is a
header of 40 bytes (name of the command in 32 bytes, filled with zeros; size of the body, int32; whether a response is
wanted, uint16; two bytes of zero) and a body. A response has a header of 40 bytes (name, size of the body, four bytes
without meaning) and a body that ends in an error block: status (uint32, 0 is good), size of a text (int32), the text.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from spm_live_drivers.nanonis.errors import CommandRefusedError, ReplyError

HEADER_BYTES = 40
NAME_BYTES = 32
ERROR_BYTES = 8
"""Size of an error block without a text."""

_REQUEST = struct.Struct(">32siHH")
_RESPONSE = struct.Struct(">32siI")
_ERROR = struct.Struct(">Ii")
_INT = struct.Struct(">i")

MAX_GROWTH_BYTES = 64 * 1024
"""So many bytes that a later release added to a reply are skipped; text of errors included."""


def request(name: str, body: bytes = b"") -> bytes:
    """Put a request together.

    Examples
    --------
    >>> request("FolMe.XYPosGet", bytes([0, 0, 0, 1]))[:14]
    b'FolMe.XYPosGet'
    """
    return _REQUEST.pack(name.encode("ascii"), len(body), 1, 0) + body


def response_size(header: bytes | bytearray | memoryview, name: str, limit: int) -> int:
    """Read the header of a response.

    Parameters
    ----------
    header : 40 bytes
        As received.
    name : str
        Of the command that was asked.
    limit : int
        Largest body that is accepted, in bytes.

    Returns
    -------
    int
        Size of the body, in bytes.

    Raises
    ------
    ReplyError
        If it answers another command, or declares a size that no answer has.
    """
    raw, size, _ = _RESPONSE.unpack(header)
    echoed = raw.rstrip(b"\0")
    if echoed != name.encode("ascii"):
        raise ReplyError(f"{name} was asked and {echoed.decode('latin-1')!r} answered")
    if not ERROR_BYTES <= size <= limit:
        raise ReplyError(f"{name}: a reply of {size} bytes; {ERROR_BYTES} to {limit} are accepted")
    return int(size)


def text_in(raw: bytes) -> str:
    """Text as a controller writes it: UTF-8, else the Windows of an older one (Latin-1, which reads any byte)."""
    raw = raw.rstrip(b"\0")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


class Fields:
    """Reads the body of a reply field by field; never past its end, and nothing is copied before its size is checked.

    Parameters
    ----------
    command : str
        What was asked; for the text of errors.
    body : bytes-like
        The whole body.
    """

    def __init__(self, command: str, body: bytes | bytearray | memoryview) -> None:
        self.command = command
        self.body = memoryview(body).toreadonly()
        self.at = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self.body) - self.at

    def numbers(self, layout: str) -> tuple[float, ...]:
        """Read numbers; ``layout`` as in :mod:`struct`, without the byte order."""
        found = struct.Struct(f">{layout}")
        start = self._take(found.size, "numbers")
        return found.unpack_from(self.body, start)

    def integer(self) -> int:
        """Read an int32."""
        start = self._take(_INT.size, "a number")
        return int(_INT.unpack_from(self.body, start)[0])

    def unsigned(self) -> int:
        """Read a uint32."""
        return self.integer() & 0xFFFFFFFF

    def count(self, what: str, item_bytes: int = 1) -> int:
        """Read an int32 that says how many items follow, and check that they can be there."""
        count = self.integer()
        if count < 0 or count * item_bytes > self.left:
            raise self.wrong(f"{count} {what} announced, {self.left} bytes left")
        return count

    def text(self) -> str:
        """Read a string: int32 size, then its bytes; of any length that fits the body."""
        size = self.count("bytes of text")
        start = self._take(size, "text")
        return text_in(bytes(self.body[start : start + size]))

    def texts(self) -> tuple[str, ...]:
        """Read an array of strings: int32 bytes of all, int32 number, then each with its size.

        Whether the first number counts the sizes in front of the strings is not said anywhere; both are accepted.
        """
        total = self.integer()
        count = self.count("texts", _INT.size)
        start = self.at
        found = tuple(self.text() for _ in range(count))
        used = self.at - start
        if total not in (used, used - _INT.size * count):
            raise self.wrong(f"texts of {total} bytes announced, they are of {used}")
        return found

    def integers(self, count: int) -> tuple[int, ...]:
        """Read int32 numbers that a :meth:`count` has announced."""
        return tuple(int(value) for value in self.numbers(f"{count}i"))

    def skip(self, size: int, what: str) -> int:
        """Pass over bytes; their offset in the body is returned."""
        return self._take(size, what)

    def wrong(self, reason: str) -> ReplyError:
        """An error that names the command."""
        return ReplyError(f"{self.command}: {reason}")

    def _take(self, size: int, what: str) -> int:
        if size > self.left:
            raise self.wrong(f"the reply ends within {what}: {size} bytes wanted, {self.left} left")
        start = self.at
        self.at += size
        return start


@dataclass(frozen=True, slots=True)
class ErrorBlock:
    """The end of a reply.

    Parameters
    ----------
    start : int
        Offset in the body.
    status : int
        0 is good.
    text : str
        What the controller says.
    """

    start: int
    status: int
    text: str

    @property
    def good(self) -> bool:
        """Whether nothing went wrong: nanonis_spm, too, takes a text for an error whatever the status says."""
        return self.status == 0 and not self.text.strip()


def error_block(body: memoryview, known_end: int) -> ErrorBlock | None:
    """Find the error block of a reply, behind the fields that are known.

    A block fits where its text ends the body. It is looked for, in this order: right behind the known fields; in the
    last 8 bytes, if they are zero (nothing went wrong, and there are fields that a later release added); from there
    back to the known fields, the last place first, so that an error code that a later release puts before the size of
    the text is passed over. Bytes of a field cannot pass for a block by chance, unless they hold the very number of
    bytes that follow them.

    Parameters
    ----------
    body : memoryview
        The whole body.
    known_end : int
        Where the known fields end.

    Returns
    -------
    ErrorBlock or None
        None where none fits.
    """
    last = len(body) - ERROR_BYTES
    if last < known_end:
        return None
    exact = _block_at(body, known_end)
    if exact is not None:
        return exact
    if last - known_end > MAX_GROWTH_BYTES:
        return None
    if not any(body[last:]):
        return ErrorBlock(last, 0, "")
    for start in range(last - 1, known_end, -1):
        found = _block_at(body, start)
        if found is not None:
            return found
    return None


def check_refused(command: str, body: memoryview) -> None:
    """Raise what a controller says that knows no better than to answer with an error block alone.

    Raises
    ------
    CommandRefusedError
        If the body is nothing but an error block that tells of an error.
    """
    block = _block_at(body, 0)
    if block is not None and block.status == 1:
        raise CommandRefusedError(command, block.status, block.text)


def close_reply(fields: Fields) -> int:
    """Check that the error block ends the body once all known fields are read.

    Returns
    -------
    int
        Number of bytes between the known fields and the block: what a later release has added.

    Raises
    ------
    CommandRefusedError
        If the block tells of an error.
    ReplyError
        If there is none.
    """
    block = error_block(fields.body, fields.at)
    if block is None:
        raise fields.wrong(f"no error block ends the reply; {fields.left} bytes are left behind its fields")
    if not block.good:
        raise CommandRefusedError(fields.command, block.status, block.text)
    return block.start - fields.at


def _block_at(body: memoryview, start: int) -> ErrorBlock | None:
    if start + ERROR_BYTES > len(body):
        return None
    status, size = _ERROR.unpack_from(body, start)
    text_start = start + ERROR_BYTES
    if size < 0 or text_start + size != len(body) or size > MAX_GROWTH_BYTES:
        return None
    return ErrorBlock(start, int(status), text_in(bytes(body[text_start:])))
