"""The TCP server of the simulated controller."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable

import numpy as np

from spm_live_drivers.simulate.framing import (
    HEADER_BYTES,
    RequestError,
    RequestHeader,
    read_header,
    reply,
    reply_header,
)

logger = logging.getLogger(__name__)

Answer = Callable[[str, bytes, Callable[[], bool]], bytes]
"""Name of a call, its arguments, and whether somebody still waits: gives the body of the reply."""

IDLE_S = 0.5
"""How often a server that has nothing to do looks whether it is to stop."""

PATIENCE_S = 30.0
"""How long a client may take over the rest of a request, or to take a reply."""

SLOW_PIECES = 8

ODD_SIZES = (-1, 2**31 - 1)
"""Sizes that no reply can have."""


class SpoiltReply:
    """How one reply is to go wrong.

    Parameters
    ----------
    name : str
        ``half-reply``, ``slow-reply``, ``wrong-size`` or ``wrong-name``.
    rng : numpy.random.Generator
        Settles the rest.
    slow_s : float
        Time that a slow reply takes.
    note : callable
        Told in words what was done.
    """

    def __init__(self, name: str, rng: np.random.Generator, slow_s: float, note: Callable[[str], object]) -> None:
        self.name = name
        self.slow_s = slow_s
        self._rng = rng
        self._note = note

    def pieces(self, call: str, body: bytes) -> list[bytes]:
        """What is sent instead of the reply; the connection is closed after a half one."""
        whole = reply(call, body)
        detail = f"{call}: "
        sent = [whole]
        if self.name == "half-reply":
            cut = int(self._rng.integers(1, len(whole)))
            sent = [whole[:cut]]
            detail += f"{cut} of {len(whole)} bytes"
        elif self.name == "slow-reply":
            size = -(-len(whole) // SLOW_PIECES)
            sent = [whole[start : start + size] for start in range(0, len(whole), size)]
            detail += f"{len(sent)} pieces in {self.slow_s:g} s"
        elif self.name == "wrong-name":
            sent = [reply("Scan.Action" if call != "Scan.Action" else "Scan.FrameGet", body)]
            detail += "under the name Scan.Action"
        else:
            size, sent = self._wrong_size(call, body)
            detail += f"size {size} instead of {len(body)}"
        self._note(detail)
        return sent

    def _wrong_size(self, call: str, body: bytes) -> tuple[int, list[bytes]]:
        kind = int(self._rng.integers(4))
        if kind == 3 and call == "Scan.FrameDataGrab":
            # The size of the name within, which is the first field.
            return 2**31 - 1, [reply(call, struct.pack(">i", 2**31 - 1) + body[4:])]
        # Eight bytes too few leave eight on the line, which begin the next reply.
        size = (*ODD_SIZES, max(0, len(body) - 8), len(body) + 8)[kind]
        return size, [reply_header(call, size) + body]


class InstrumentServer:
    """Serves a few connections, each in a thread of its own and one request after another.

    Parameters
    ----------
    answer : callable
        Gives the body of a reply.
    spoil : callable
        Asked with the name of the call how its reply is to go wrong; None: not at all.
    host : str
        Where to listen.
    port : int
        0: any that is free; the same one again after a restart.
    connections : int
        So many at a time.
    """

    def __init__(
        self, answer: Answer, spoil: Callable[[str], SpoiltReply | None], host: str, port: int, connections: int
    ) -> None:
        self._answer, self._spoil = answer, spoil
        self._host, self._port, self._most = host, port, connections
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._served: dict[socket.socket, threading.Thread] = {}
        self._leaving: list[threading.Thread] = []
        self._gone = threading.Event()

    @property
    def port(self) -> int:
        """Where it listens; 0 before the first :meth:`listen` if none was chosen."""
        return self._port

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        with self._lock:
            return len(self._served)

    def listen(self) -> int:
        """Take connections.

        Returns
        -------
        int
            The port.

        Raises
        ------
        OSError
            If the port is taken or the host is not one of this machine.
        """
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if os.name == "posix":
                # Connections of before a restart linger; on Windows this option would let two servers share a port.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self._host, self._port))
            listener.listen(self._most + 1)
            listener.settimeout(IDLE_S)
        except OSError:
            listener.close()
            raise
        self._gone = threading.Event()
        self._port = listener.getsockname()[1]
        self._listener = listener
        self._accepting = threading.Thread(
            target=self._accept, args=(listener, self._gone), name="simulated-controller-accept"
        )
        self._accepting.start()
        return self._port

    def drop(self) -> None:
        """Close all connections and take no more; :meth:`listen` brings the server back."""
        self._gone.set()
        if self._listener is not None:
            _shut(self._listener)
            self._listener.close()
            self._listener = None
        if self._accepting is not None:
            self._accepting.join()
            self._accepting = None
        with self._lock:
            served = dict(self._served)
            self._leaving += served.values()
        for connection in served:
            _shut(connection)

    def close(self) -> None:
        """Drop everybody and wait until their threads are done."""
        self.drop()
        for thread in self._leaving:
            thread.join()
        self._leaving.clear()

    def _accept(self, listener: socket.socket, gone: threading.Event) -> None:
        while not gone.is_set():
            try:
                connection, peer = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                # The listener was closed; anything else that ends it shows as a server that is gone.
                return
            with self._lock:
                self._leaving = [thread for thread in self._leaving if thread.is_alive()]
                full = len(self._served) >= self._most
                if not full:
                    thread = threading.Thread(
                        target=self._serve, args=(connection, gone), name=f"simulated-controller-{peer[1]}"
                    )
                    self._served[connection] = thread
            if full:
                logger.info("a connection from port %d is one too many", peer[1])
                connection.close()
            else:
                thread.start()

    def _serve(self, connection: socket.socket, gone: threading.Event) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.settimeout(PATIENCE_S)
            while not gone.is_set() and self._one_request(connection, gone):
                pass
        except RequestError as error:
            logger.info("a connection is closed: %s", error)
        except OSError as error:
            logger.debug("a connection ended: %s", error)
        finally:
            connection.close()
            with self._lock:
                del self._served[connection]

    def _one_request(self, connection: socket.socket, gone: threading.Event) -> bool:
        """Answer one request; False: the connection has ended."""
        data = _read_exactly(connection, HEADER_BYTES, idle=True)
        if not data:
            return False
        header = read_header(data)
        body = _read_exactly(connection, header.body_bytes)
        answer = self._answer(header.name, body, lambda: not gone.is_set())
        return not gone.is_set() and self._reply(connection, header, answer, gone)

    def _reply(self, connection: socket.socket, header: RequestHeader, body: bytes, gone: threading.Event) -> bool:
        if not header.reply_wanted:
            return True
        spoilt = self._spoil(header.name)
        if spoilt is None:
            connection.sendall(reply(header.name, body))
            return True
        pieces = spoilt.pieces(header.name, body)
        for index, piece in enumerate(pieces):
            if index and gone.wait(spoilt.slow_s / len(pieces)):
                return False
            connection.sendall(piece)
        return spoilt.name != "half-reply"


def _read_exactly(connection: socket.socket, count: int, *, idle: bool = False) -> bytes:
    """Read so many bytes; none where the peer has closed before the first of them.

    With ``idle``, the first one may take as long as it likes.

    Raises
    ------
    OSError
        If the peer closes or stops in the middle.
    """
    data = bytearray()
    while len(data) < count:
        try:
            part = connection.recv(count - len(data))
        except TimeoutError:
            if idle and not data:
                continue
            raise
        if not part:
            if data or not idle:
                raise ConnectionError(f"closed after {len(data)} of {count} bytes")
            return b""
        data += part
    return bytes(data)


def _shut(connection: socket.socket) -> None:
    """Wake whoever waits for a socket in another thread."""
    # Not connected, or the peer was faster; on Windows a listener cannot be shut, closing it is enough.
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
