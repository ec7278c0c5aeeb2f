"""The connection to a controller: one question, one answer, or the connection is dropped.

A reply that did not come whole and in time may still arrive later, and would then pass for the answer to another
question. So a connection is never used again after a reply that was late, cut or not understood; the next question
opens a new one.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any, TypeVar

from spm_live_drivers.nanonis.calls import ALLOWED, Call
from spm_live_drivers.nanonis.errors import (
    CommandRefusedError,
    LinkClosedError,
    LinkError,
    ReplyError,
    ReplyTimeoutError,
)
from spm_live_drivers.nanonis.framing import (
    HEADER_BYTES,
    Fields,
    check_refused,
    close_reply,
    error_block,
    request,
    response_size,
)

Reply = TypeVar("Reply")

SLOWEST_BYTES_PER_S = 1024 * 1024
"""The body of a reply gets this much more time, so that a large frame may take longer than a number."""
_FIRST_BYTES = 64 * 1024


class Link:
    """Asks one controller; for one thread.

    Parameters
    ----------
    host, port : str and int
        Where it listens.
    timeout_s : float
        How long a connection, or a reply, may take.
    clock : callable
        Monotonic time in s.
    """

    def __init__(self, host: str, port: int, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.host, self.port, self.timeout_s = host, port, timeout_s
        self.unknown_bytes: dict[str, int] = {}
        """Bytes that replies had behind the fields that are known, by name of the call: a newer release."""
        self.connections = 0
        """How often a connection was opened."""
        self._clock = clock
        self._socket: socket.socket | None = None
        self._header = bytearray(HEADER_BYTES)
        self._buffer = bytearray(_FIRST_BYTES)  # kept, so that a frame is not allocated anew for every reply

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._socket is not None

    def close(self) -> None:
        """Drop the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def open(self, timeout_s: float | None = None) -> None:
        """Open a connection if there is none.

        Raises
        ------
        LinkClosedError, ReplyTimeoutError
            If the controller does not accept one.
        """
        if self._socket is not None:
            return
        limit_s = self.timeout_s if timeout_s is None else min(timeout_s, self.timeout_s)
        if limit_s <= 0:
            raise ReplyTimeoutError(f"{self.host}:{self.port}: no time is left to connect")
        try:
            self._socket = socket.create_connection((self.host, self.port), timeout=limit_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except TimeoutError as error:
            self.close()
            raise ReplyTimeoutError(f"{self.host}:{self.port}: no connection within {limit_s:g} s") from error
        except (OSError, UnicodeError) as error:  # the latter for a host that cannot be a name
            self.close()
            raise LinkClosedError(f"{self.host}:{self.port}: no connection: {error}") from error
        self.connections += 1

    def ask(
        self, call: Call[Reply], *arguments: int, timeout_s: float | None = None, most_bytes: int | None = None
    ) -> Reply:
        """Send a call and read its reply.

        Parameters
        ----------
        call : Call
            A member of :data:`spm_live_drivers.nanonis.calls.ALLOWED`; any other is refused.
        arguments : int
            Those of the call.
        timeout_s : float or None
            How long the reply may take; None: as given at the beginning.
        most_bytes : int or None
            Largest body that is accepted, where less is known to do than the call allows.

        Raises
        ------
        CommandRefusedError
            If the controller answers with an error; the connection goes on.
        LinkError
            If it does not answer properly; the connection is dropped.
        ValueError
            If the call is not allowed, or the arguments are not its own. Nothing is sent.
        """
        if call not in ALLOWED:
            raise ValueError(f"{call!r} is not among the calls that may be sent")
        message = request(call.name, call.body(*arguments))
        limit = call.most_bytes if most_bytes is None else min(most_bytes, call.most_bytes)
        deadline = self._clock() + (self.timeout_s if timeout_s is None else timeout_s)
        try:
            return self._exchange(call, message, limit, deadline)
        except LinkError:
            self.close()
            raise

    def _exchange(self, call: Call[Reply], message: bytes, limit: int, deadline: float) -> Reply:
        if self._socket is not None and self._stale(self._socket):
            self.close()
        self.open(deadline - self._clock())
        opened = self._socket
        if opened is None:  # open() raises or connects; said once more for whoever reads or checks types
            raise LinkClosedError(f"{self.host}:{self.port}: no connection")
        self._send(opened, call, message, deadline)
        with memoryview(self._header) as header:
            self._receive(opened, call, header, deadline)
        size = response_size(self._header, call.name, limit)
        body = self._body(opened, call, size, deadline + size / SLOWEST_BYTES_PER_S)
        try:
            return self._read(call, body)
        finally:
            body.release()

    def _read(self, call: Call[Reply], body: memoryview) -> Reply:
        check_refused(call.name, body)
        fields = Fields(call.name, body)
        try:
            try:
                reply = call.read(fields)
            except ReplyError as error:
                _raise_refusal(call, fields.body, error)
                raise
            grown = close_reply(fields)
        finally:
            fields.body.release()
        if grown:
            self.unknown_bytes[call.name] = grown
        return reply

    def _stale(self, opened: socket.socket) -> bool:
        """Whether there is something to read before anything was asked: bytes of nobody knows what, or the end."""
        try:
            opened.setblocking(False)
            opened.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        return True

    def _send(self, opened: socket.socket, call: Call[Any], message: bytes, deadline: float) -> None:
        try:
            opened.settimeout(max(deadline - self._clock(), 1e-3))
            opened.sendall(message)
        except TimeoutError as error:
            raise ReplyTimeoutError(f"{call.name} could not be sent in time") from error
        except OSError as error:
            raise LinkClosedError(f"{call.name} could not be sent: {error}") from error

    def _body(self, opened: socket.socket, call: Call[Any], size: int, deadline: float) -> memoryview:
        """Receive a body. The buffer grows with what arrives: a size that is declared takes no memory by itself."""
        got = 0
        while got < size:
            if got == len(self._buffer):
                self._buffer.extend(bytes(min(len(self._buffer), size - got)))
            with memoryview(self._buffer) as view:
                room = view[got : min(size, len(self._buffer))]
                with room:
                    self._receive(opened, call, room, deadline)
                    got += len(room)
        return memoryview(self._buffer)[:size]

    def _receive(self, opened: socket.socket, call: Call[Any], room: memoryview, deadline: float) -> None:
        """Fill the room exactly."""
        got = 0
        while got < len(room):
            left_s = deadline - self._clock()
            if left_s <= 0:
                raise ReplyTimeoutError(f"{call.name}: no whole reply in time; {got} of {len(room)} bytes came")
            try:
                opened.settimeout(left_s)
                count = opened.recv_into(room[got:])
            except TimeoutError as error:
                raise ReplyTimeoutError(
                    f"{call.name}: no whole reply in time; {got} of {len(room)} bytes came"
                ) from error
            except OSError as error:
                raise LinkClosedError(f"{call.name}: the connection broke: {error}") from error
            if count == 0:
                raise LinkClosedError(f"{call.name}: the controller closed the connection within its reply")
            got += count


def _raise_refusal(call: Call[Any], body: memoryview, error: ReplyError) -> None:
    """Where fields are missing because something went wrong, the error block says what."""
    block = error_block(body, 0)
    if block is not None and block.status == 1 and block.text:
        raise CommandRefusedError(call.name, block.status, block.text) from error
