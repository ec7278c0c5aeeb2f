"""ZeroMQ sockets for frames: bounded, checked for life, encrypted where keys are given."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

import zmq

from spm_live_drivers.errors import SpmLiveError
from spm_live_drivers.wire import MAX_PART_BYTES

HIGH_WATER_MARK = 4
"""Messages that a socket holds for each peer; a frame has up to 256 MiB, and what must not be lost waits on a disk."""

MAX_PARTS = 6
"""A routing id, the number and the empty part that REQ sockets add, topic, header, payload."""
MAX_MESSAGE_BYTES = MAX_PART_BYTES + 1024 * 1024

_KEEPALIVE_S = {zmq.TCP_KEEPALIVE_IDLE: 30, zmq.TCP_KEEPALIVE_INTVL: 10, zmq.TCP_KEEPALIVE_CNT: 3}
"""A connection that is dead without having been closed is noticed after a minute. ZeroMQ's own heartbeats would do the
same, but older ZeroMQ libraries do not answer them."""
_NO_ENDPOINT = "is not an endpoint such as tcp://192.168.0.5:5650"
_RECONNECT_MS = (200, 10_000)


class SocketError(SpmLiveError):
    """A socket that cannot be opened as asked for; its text says what to do."""


@dataclass(frozen=True, slots=True)
class CurveKeys:
    """CURVE keys, each 40 characters of Z85 text.

    Parameters
    ----------
    public_key, secret_key : str
        The pair of this side.
    server_key : str or None
        Public key of the other side; needed by the side that connects.
    """

    public_key: str
    secret_key: str = field(repr=False)
    server_key: str | None = None


def open_socket(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, endpoint: str, *, bind: bool, curve: CurveKeys | None
) -> zmq.Socket[bytes]:
    """Open a socket that carries frames.

    Parameters
    ----------
    context : zmq.Context
        Where it lives; the caller closes both.
    kind : int
        Such as ``zmq.ROUTER``.
    endpoint : str
        Such as ``tcp://127.0.0.1:5650``.
    bind : bool
        Bind or connect. The side that binds is the CURVE server: it takes in whoever knows its public key.
    curve : CurveKeys or None
        Keys; None for none.

    Raises
    ------
    SocketError
        If the endpoint is in use, not of this machine, or malformed, or the keys are no keys.
    """
    socket = context.socket(kind)
    try:
        _check_port(endpoint)
        _limit(socket, kind)
        if curve is not None:
            _encrypt(socket, curve, server=bind)
        (socket.bind if bind else socket.connect)(endpoint)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        raise SocketError(f"{endpoint}: {_explanation(error, bind=bind)}") from error
    except SocketError as error:
        socket.close(linger=0)
        raise SocketError(f"{endpoint}: {error}") from error
    return socket


def receive_parts(socket: zmq.Socket[bytes]) -> list[bytes]:
    """Take a message that has arrived, part by part.

    Returns
    -------
    list of bytes
        At most ``MAX_PARTS`` + 1 parts; once a message has more parts or more bytes than any frame, the rest is
        received but replaced by nothing, so that it is seen to be wrong without being kept.

    Raises
    ------
    zmq.Again
        If nothing has arrived.
    """
    parts = [socket.recv(zmq.NOBLOCK)]
    size = len(parts[0])
    while socket.getsockopt(zmq.RCVMORE):
        part = socket.recv(zmq.NOBLOCK)
        size += len(part)
        if len(parts) <= MAX_PARTS:
            parts.append(part if size <= MAX_MESSAGE_BYTES else b"")
    return parts


def _check_port(endpoint: str) -> None:
    """Refuse a port that is none: ZeroMQ itself takes 99999 for 34463 (modulo 65536)."""
    if endpoint.startswith("tcp://"):
        port = endpoint.rpartition(":")[2]
        number = port.isascii() and port.isdigit() and len(port) <= 5
        if port != "*" and not (number and int(port) <= 65535):
            raise SocketError(f"{_NO_ENDPOINT} (a port is 0 to 65535)")


def _limit(socket: zmq.Socket[bytes], kind: int) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_PART_BYTES)
    socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
    socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    for option, value in _KEEPALIVE_S.items():
        socket.setsockopt(option, value)
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS[0])
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MS[1])
    if kind == zmq.ROUTER:
        # A sender with a fixed routing id that comes back after a broken connection takes over its old place.
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    if kind in (zmq.DEALER, zmq.PUSH):
        # Nothing is queued for a receiver that is not there: "sent" means handed to a connection.
        socket.setsockopt(zmq.IMMEDIATE, 1)


def _encrypt(socket: zmq.Socket[bytes], curve: CurveKeys, *, server: bool) -> None:
    if not zmq.has("curve"):
        raise SocketError("this ZeroMQ was built without CURVE; install pyzmq from its own packages")
    try:
        if server:
            socket.setsockopt(zmq.CURVE_SERVER, 1)
        elif curve.server_key is None:
            raise SocketError("the side that connects needs the public key of the other side (server_key)")
        else:
            socket.setsockopt(zmq.CURVE_SERVERKEY, curve.server_key.encode("ascii"))
        socket.setsockopt(zmq.CURVE_PUBLICKEY, curve.public_key.encode("ascii"))
        socket.setsockopt(zmq.CURVE_SECRETKEY, curve.secret_key.encode("ascii"))
    except (zmq.ZMQError, UnicodeEncodeError) as error:
        raise SocketError(
            "the CURVE keys are not 40 characters of Z85 text; make a pair with `spm-live keys`"
        ) from error


def _explanation(error: zmq.ZMQError, *, bind: bool) -> str:
    number = error.errno
    if number in (zmq.EADDRINUSE, errno.EADDRINUSE):
        return "the port is in use by another program; end that program or take another port"
    if number in (zmq.EADDRNOTAVAIL, errno.ENODEV, errno.EADDRNOTAVAIL):
        return "this machine has no such address; bind to one of its own, or to tcp://*:PORT"
    if number == errno.EACCES:
        return "not allowed; take a port above 1023, or a folder that can be written"
    if number in (zmq.EPROTONOSUPPORT, zmq.ENOCOMPATPROTO):
        return "this machine has no such transport; use tcp://"
    if number == errno.EINVAL:
        return _NO_ENDPOINT
    return f"cannot be {'bound' if bind else 'connected'} ({error.strerror})"
