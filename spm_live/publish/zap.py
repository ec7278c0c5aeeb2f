"""Who may connect: answers libzmq's questions about a peer (ZAP, rfc.zeromq.org/spec/27)."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Sequence

import zmq.utils.z85

ZAP_ENDPOINT = "inproc://zeromq.zap.01"
ZAP_DOMAIN = b"spm-live"
PLAIN_USER = b"spm-live"

_VERSION = b"1.0"


def same_token(given: object, token: str) -> bool:
    """Compare in a time that tells nothing about how much was right.

    Examples
    --------
    >>> same_token("secret", "secret"), same_token(b"secret", "secret"), same_token(None, "secret")
    (True, True, False)
    """
    if isinstance(given, str):
        given = given.encode("utf-8", "surrogatepass")
    return isinstance(given, bytes) and hmac.compare_digest(given, token.encode("utf-8"))


def zap_reply(request: Sequence[bytes], *, token: str, clients: Collection[str]) -> tuple[list[bytes], bool]:
    """Answer one question.

    Parameters
    ----------
    request : sequence of bytes
        Version, request number, domain, address, identity, mechanism, credentials...
    token : str
        The password of PLAIN; its user name is ``spm-live``.
    clients : collection of str
        Public keys that CURVE lets in, as Z85 text; empty lets in whoever knows this side's public key.

    Returns
    -------
    list of bytes
        The answer's frames.
    bool
        Whether the peer is let in.
    """
    number = request[1] if len(request) > 1 else b""
    if len(request) < 6 or request[0] != _VERSION:
        return [_VERSION, number, b"500", b"not understood", b"", b""], False
    mechanism, credentials = request[5], request[6:]
    if mechanism == b"PLAIN" and len(credentials) == 2:
        welcome = credentials[0] == PLAIN_USER and same_token(credentials[1], token)
    elif mechanism == b"CURVE" and len(credentials) == 1 and len(credentials[0]) == 32:
        welcome = not clients or zmq.utils.z85.encode(credentials[0]).decode("ascii") in clients
    else:
        welcome = False
    if welcome:
        return [_VERSION, number, b"200", b"OK", PLAIN_USER, b""], True
    return [_VERSION, number, b"400", b"not let in", b"", b""], False
