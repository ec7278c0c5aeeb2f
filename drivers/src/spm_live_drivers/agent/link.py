"""The connection to the receiver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import zmq

from spm_live_drivers.agent.settings import AgentSettings, AgentSetupError, SocketKind, StreamSettings
from spm_live_drivers.wire_fields import HeaderError
from spm_live_drivers.wire_receipt import Receipt, Result, decode_receipt
from spm_live_drivers.wire_socket import SocketError, open_socket, receive_parts

_KINDS = {SocketKind.AGENT: zmq.DEALER, SocketKind.PUSH: zmq.PUSH, SocketKind.PUB: zmq.PUB}
_SLOWEST_BYTES_PER_S = 1024 * 1024
_LONGEST_PATIENCE = 32
_LAST_WORDS_MS = 3000
"""What an unacknowledged socket may still deliver after the end, in ms."""


class Link:
    """Sends one message at a time and waits for its receipt.

    Parameters
    ----------
    settings : AgentSettings or StreamSettings
        Where to.
    clock : callable
        Monotonic time in s.

    Raises
    ------
    AgentSetupError
        If the socket cannot be opened.
    """

    def __init__(self, settings: AgentSettings | StreamSettings, clock: Callable[[], float]) -> None:
        self._settings, self._clock = settings, clock
        self._acknowledged = settings.socket is SocketKind.AGENT
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._deadline: float | None = None
        self._awaited: tuple[str, int] | None = None
        self._patience = 1
        try:
            self._socket = self._open()
        except SocketError as error:
            self._context.term()
            raise AgentSetupError(f"{error}") from error

    def close(self) -> None:
        """Close the socket."""
        self._socket.close(linger=0 if self._acknowledged else _LAST_WORDS_MS)
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def in_flight(self) -> bool:
        """Whether a frame was sent whose receipt has not come."""
        return self._awaited is not None

    def send(self, parts: Sequence[bytes], session: str, sequence: int) -> Result | None:
        """Send a frame.

        Returns
        -------
        Result or None
            ``LATER`` if the receiver is away; ``KEPT`` from a socket that gets no receipts; None if the receipt is to
            be waited for.
        """
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            return Result.LATER
        if not self._acknowledged:
            return Result.KEPT
        size_s = sum(map(len, parts)) / _SLOWEST_BYTES_PER_S
        self._awaited = (session, sequence)
        self._deadline = self._clock() + self._patience * self._settings.receipt_timeout_s + size_s
        return None

    def receipt(self, wait_s: float) -> Receipt | None:
        """Wait for the receipt of the frame that was sent.

        A receipt that does not come in time means that the frame or the receipt was lost with a connection: a new one
        is made, next time after twice the time, and the answer is ``LATER``.

        Returns
        -------
        Receipt or None
            None if it has not come yet.
        """
        if self._awaited is None:
            return None
        session, sequence = self._awaited
        while self._socket.poll(int(wait_s * 1000)):
            try:
                receipt = decode_receipt(receive_parts(self._socket))
            except (HeaderError, zmq.Again):
                continue
            if (receipt.session, receipt.sequence) == self._awaited:
                self._awaited, self._patience = None, 1
                return receipt
        if self._deadline is not None and self._clock() >= self._deadline:
            self._awaited = None
            self._patience = min(2 * self._patience, _LONGEST_PATIENCE)
            self._reopen()
            return Receipt(session, sequence, Result.LATER, "the receiver did not answer")
        return None

    def _reopen(self) -> None:
        """Begin a new connection, so that what lies in the old one's buffers is not sent as well."""
        if not self._settings.bind:  # a port that was just closed may not be free again yet
            self._socket.close(linger=0)
            self._socket = self._open()

    def _open(self) -> zmq.Socket[bytes]:
        settings = self._settings
        return open_socket(
            self._context, _KINDS[settings.socket], settings.to, bind=settings.bind, curve=settings.curve
        )
