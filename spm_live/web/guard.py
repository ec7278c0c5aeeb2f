"""Stands before every request: host, token and origin are checked here, and the security headers are put on."""

from __future__ import annotations

import base64
import hashlib
from http import HTTPStatus
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spm_live.web.access import COOKIE_SECONDS, Access, origin_is_ours

OPEN_PATHS = frozenset({"/health"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

PAGE_POLICY = (
    "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""No script, style or picture from elsewhere, none inline, and no string ever becomes markup."""

HEADERS = {
    "content-security-policy": PAGE_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

_STYLE = (
    "body{margin:0;min-height:100vh;display:grid;place-items:center;background:#101214;color:#e7e5e1;"
    "font:1.0625rem/1.6 system-ui,sans-serif}main{max-width:34rem;padding:2rem}h1{font-size:1.5rem;margin:0 0 .5rem}"
    "code{background:#ffffff1a;padding:.1em .35em;border-radius:4px}form{display:flex;gap:.5rem;margin-top:1.5rem}"
    "input,button{font:inherit;padding:.5rem .75rem;border-radius:6px;border:1px solid #5c646b;background:#1b1f22;"
    "color:inherit}input{flex:1;min-width:0}label{display:block;flex:1;min-width:0}label span{display:block}"
    "label input{width:100%;box-sizing:border-box}button{align-self:end;cursor:pointer}"
    "@media(prefers-color-scheme:light){body{background:#f6f5f3;color:#1c1f21}code{background:#00000012}"
    "input,button{background:#fff}}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PLAIN_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def _plain_page(title: str, body: str, head: str = "") -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>{head}'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main>{body}</main></body></html>"
    )


_ASK = _plain_page(
    "spm-live: token needed",
    "<h1>This page asks for a token</h1>"
    "<p>Open the link that <code>spm-live run</code> or <code>spm-live demo</code> printed when it started: the token "
    "is in it. It also lies beside the result store, in the file ending in <code>.token</code>, unless the "
    "configuration sets <code>web.token</code>.</p>"
    '<form action="/" method="get"><label><span>Token</span><input name="token" type="password" '
    'autocomplete="current-password" required></label><button>Open</button></form>',
)
_BOUNCE = _plain_page(
    "spm-live", '<p><a href="/">Open the viewer</a></p>', '<meta http-equiv="refresh" content="0;url=/">'
)


class Guard:
    """ASGI middleware around the whole application.

    Everything but ``/health`` needs the token, as ``Authorization: Bearer`` or as the cookie that ``/?token=`` sets.
    WebSockets and requests that change something also need an Origin of this very server, unless they carry the
    bearer token, which no browser adds by itself (cross-site request forgery).
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if scope["type"] == "websocket":
            if refusal is None:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        await (refusal or self._app)(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that is not let through, else None."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        address, port = scope.get("server") or ("", 0)
        if not self._access.host_is_believed(host, address):
            return _problem(HTTPStatus.MISDIRECTED_REQUEST, "this server does not answer to that host name")
        path = scope["path"]
        if path in OPEN_PATHS:
            return None
        if path == "/" and scope["type"] == "http":
            token = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[-1]
            if token:
                return self._enter(token, headers, port)
        if self._access.bearer_is_right(headers):
            return None
        if not self._access.cookie_is_right(headers, port):
            return _ask(path)
        changes_something = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if changes_something and not origin_is_ours(headers.get("origin", ""), host):
            return _problem(HTTPStatus.FORBIDDEN, "the request comes from another page")
        return None

    def _enter(self, token: str, headers: Headers, port: int) -> Response:
        """Turn a right token in the address into a cookie, and take it out of the address bar."""
        if not self._access.token_is_right(token):
            return _ask("/")
        response: Response = RedirectResponse("/", status_code=HTTPStatus.SEE_OTHER)
        if headers.get("sec-fetch-site") == "cross-site":
            # A redirect that began on another site carries no SameSite=Strict cookie; a page of our own does.
            response = HTMLResponse(_BOUNCE, headers={"content-security-policy": _PLAIN_POLICY})
        response.set_cookie(
            self._access.cookie_name(port),
            self._access.cookie_value,
            max_age=COOKIE_SECONDS,
            httponly=True,
            samesite="strict",
        )
        return response


def _ask(path: str) -> Response:
    if path == "/":
        return HTMLResponse(_ASK, HTTPStatus.UNAUTHORIZED, headers={"content-security-policy": _PLAIN_POLICY})
    response = _problem(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong")
    response.headers["www-authenticate"] = "Bearer"
    return response


def _problem(status: HTTPStatus, detail: str) -> Response:
    return JSONResponse({"detail": detail}, status)


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
