"""Posts one notice to a web address, from a process of its own.

A name that does not resolve or a server that sends a byte now and then would hold a thread for as long as it likes; a
process can be ended at any moment, by a time-out and at the stop of the daemon. ``python -m spm_live.rules.webhook`` is
that process: the address comes on its standard input, where no list of processes shows it.
"""

from __future__ import annotations

import http.client
import json
import sys
import urllib.request
from collections.abc import Callable, Sequence
from typing import IO
from urllib.parse import urlsplit

from spm_live import __version__
from spm_live.rules.program import Ended, ErrandError, run_to_end

START_S = 5.0
"""What the start of Python may take on a busy machine, beyond the time that the server has."""

DELIVERED, TRY_AGAIN, REFUSED = 0, 3, 4
"""Exit codes of the process; any other is a bug in it."""

BUSY = frozenset({408, 425, 429})
"""Answers of the 400s that ask for another try (RFC 9110, RFC 8470, RFC 6585)."""


def post_json(
    url: str,
    body: bytes,
    timeout_s: float,
    cancelled: Callable[[], bool] = lambda: False,
    *,
    run: Callable[[Sequence[str], bytes, float, Callable[[], bool]], Ended] = run_to_end,
) -> None:
    """Post JSON, once.

    Redirects are not followed, and of the answer only the status is read. The proxy of the system is used.

    Parameters
    ----------
    url : str
        http or https.
    body : bytes
        The JSON.
    timeout_s : float
        The server has so long to answer, in s.
    cancelled : callable
        Asked while it waits; True: it gives up.
    run : callable
        Runs the process.

    Raises
    ------
    ErrandError
        If it was not taken; ``again`` where the server may take it later.
    """
    order = json.dumps({"url": url, "body": body.decode("utf-8"), "timeout_s": timeout_s})
    # -P: a module of the same name in the home folder is not taken for ours.
    command = (sys.executable, "-P", "-m", "spm_live.rules.webhook")
    where = f"webhook at {urlsplit(url).hostname}"  # the rest of an address is often a secret
    try:
        ended = run(command, order.encode("utf-8"), timeout_s + START_S, cancelled)
    except ErrandError as error:
        raise ErrandError(f"{where}: no answer ({error})", again=not cancelled()) from error
    if ended.code != DELIVERED:
        raise ErrandError(f"{where}: {ended.said}", again=ended.code == TRY_AGAIN)


def main(orders: IO[str] = sys.stdin, say: IO[str] = sys.stdout) -> int:
    """Do one order from standard input, and write what went wrong.

    Returns
    -------
    int
        :data:`DELIVERED`, :data:`TRY_AGAIN` or :data:`REFUSED`.
    """
    order = json.load(orders)
    request = urllib.request.Request(  # noqa: S310 - the settings let http and https through only
        order["url"],
        data=order["body"].encode("utf-8"),
        headers={"Content-Type": "application/json", "User-Agent": f"spm-live/{__version__}"},
        method="POST",
    )
    opener = urllib.request.OpenerDirector()
    # No handler for redirects, file:, ftp: or data: is in it.
    for handler in (urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
        opener.add_handler(handler())
    try:
        with opener.open(request, timeout=order["timeout_s"]) as answer:
            status, place = answer.status, answer.headers.get("Location", "")
    except (OSError, http.client.HTTPException, UnicodeError) as error:  # the last: a host that is no name
        reason = getattr(error, "reason", error)
        say.write(str(reason) or type(error).__name__)
        return TRY_AGAIN
    if 200 <= status < 300:
        return DELIVERED
    if 300 <= status < 400:
        say.write(f"answered {status}, a redirect to {urlsplit(place).hostname or 'somewhere'}: none is followed")
        return REFUSED
    say.write(f"answered {status}")
    return TRY_AGAIN if status >= 500 or status in BUSY else REFUSED


if __name__ == "__main__":
    raise SystemExit(main())
