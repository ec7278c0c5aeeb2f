"""Who may see the pages: the token, the cookie made from it, and which hosts and origins are believed."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from spm_live.errors import SetupError
from spm_live.settings import is_loopback

COOKIE_SECONDS = 400 * 24 * 3600
"""Longest life that browsers grant a cookie (RFC 6265bis, section 5.5)."""


def token_path(store: Path) -> Path:
    """Where the token of a store is kept: beside it.

    Examples
    --------
    >>> token_path(Path("results/spm-live.sqlite3")).name
    'spm-live.token'
    """
    return store.with_suffix(".token")


def load_or_make_token(path: Path) -> str:
    """Read the token, or make one of 256 random bits that only this user can read.

    Raises
    ------
    SetupError
        If the file can be neither read nor written, or holds fewer than 16 characters.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            token = path.read_text(encoding="utf-8").strip()
        else:
            token = secrets.token_urlsafe(32)
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(token + "\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SetupError(
            f"{path}: the token cannot be kept there ({reason}); set web.token, or move store.path"
        ) from error
    if len(token) < 16:
        raise SetupError(f"{path}: holds no token of 16 characters or more; delete the file and a new one is made")
    return token


class Access:
    """Decides who is let in.

    Parameters
    ----------
    token : str
        What every client must show.
    host : str
        Name that the server is bound to.
    """

    def __init__(self, token: str, host: str = "127.0.0.1") -> None:
        self._token = token.encode()
        self._host = host.strip("[]").lower()
        # The cookie goes to every port of this host, so it must not be the token itself.
        self.cookie_value = hmac.new(self._token, b"spm-live viewer cookie", hashlib.sha256).hexdigest()

    @staticmethod
    def cookie_name(port: int) -> str:
        """Name of the cookie: cookies know no ports, and two daemons may run on one machine."""
        return f"spm_live_{port}"

    def token_is_right(self, token: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(token.encode(), self._token)

    def bearer_is_right(self, headers: Mapping[str, str]) -> bool:
        """Whether the Authorization header carries the token (RFC 6750)."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and self.token_is_right(token.strip())

    def cookie_is_right(self, headers: Mapping[str, str], port: int) -> bool:
        """Whether the cookie of an earlier visit is there."""
        name = self.cookie_name(port)
        for part in headers.get("cookie", "").split(";"):
            key, _, value = part.strip().partition("=")
            if key == name and hmac.compare_digest(value.encode(), self.cookie_value.encode()):
                return True
        return False

    def host_is_believed(self, host: str, reached_at: str) -> bool:
        """Whether the Host header names this server.

        A page on the internet can point its own name at 127.0.0.1 and so reach a daemon there (DNS rebinding). So
        whoever comes by loopback must have asked for a loopback name; by way of the network any name may be ours.

        Parameters
        ----------
        host : str
            The header.
        reached_at : str
            Address of this machine that the connection came to.
        """
        name = host_name(host)
        if name is None:
            return False
        return not is_loopback(reached_at) or name == self._host or is_loopback(name)


def host_name(host: str) -> str | None:
    """Take the port off a Host header; None if it is malformed.

    Examples
    --------
    >>> host_name("localhost:8765"), host_name("[::1]:80"), host_name("a b")
    ('localhost', '::1', None)
    """
    if not host or any(letter in host for letter in " /\\@?#,"):
        return None
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname


def origin_is_ours(origin: str, host: str) -> bool:
    """Whether an Origin header names the host that was asked.

    Examples
    --------
    >>> origin_is_ours("http://localhost:8765", "localhost:8765"), origin_is_ours("null", "localhost:8765")
    (True, False)
    """
    scheme, separator, rest = origin.partition("://")
    return bool(separator) and scheme in {"http", "https"} and rest.lower() == host.lower()
