"""The application that answers, and the thread that it runs in."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import threading
from http import HTTPStatus
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import FastAPI
from prometheus_client import generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from spm_live.errors import SetupError
from spm_live.publish.live_message import LiveView, NoticeLog
from spm_live.publish.metrics import CONTENT_TYPE, Metrics
from spm_live.publish.store import StoreError
from spm_live.web.access import Access
from spm_live.web.api import Reload, Status, answers, pages
from spm_live.web.assets import load_assets
from spm_live.web.events import Events
from spm_live.web.guard import Guard
from spm_live.web.live import live_answers
from spm_live.web.metrics import viewer_registry
from spm_live.web.ports import EventFeed, FrameStore
from spm_live.web.series import series_routes

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 3.0
GRACE_S = 1
"""How long a request in hand may take to end when the server stops, in s."""


def create_app(
    store: FrameStore,
    feed: EventFeed,
    status: Status,
    token: str,
    reload: Reload | None = None,
    metrics: Metrics | None = None,
    *,
    host: str = "127.0.0.1",
    live: LiveView | None = None,
    notices: NoticeLog | None = None,
) -> FastAPI:
    """Build the application.

    Parameters
    ----------
    store : FrameStore
        Where frames and faults are read from.
    feed : EventFeed
        Where new ones are heard of.
    status : callable
        How the daemon stands now; called from several threads.
    token : str
        What every client must show.
    reload : callable or None
        Reloads the configuration and returns what it did, a sentence each; raises SetupError with every problem.
    metrics : Metrics or None
        What the daemon counts, for ``/metrics``.
    host : str
        Name that the server is bound to: answered beside the loopback names.
    live : LiveView or None
        The scans in progress; None where they are not followed.
    notices : NoticeLog or None
        The newest notices.
    """
    assets = load_assets()
    events = Events(store, feed, status, assets.digest, live=live, notices=notices)
    counted, registry = metrics or Metrics(), viewer_registry(store, events, live)
    app = FastAPI(title="spm-live", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    app.include_router(pages(assets))
    app.include_router(answers(store, status, reload))
    app.include_router(series_routes(store))
    app.include_router(live_answers(live, notices))
    app.include_router(events.router())

    @app.get("/metrics")
    def read_metrics() -> Response:
        return Response(counted.text(status()) + generate_latest(registry), media_type=CONTENT_TYPE)

    app.add_exception_handler(StoreError, _store_is_away)
    app.add_middleware(Guard, access=Access(token, host))
    return app


async def _store_is_away(_request: Request, error: Exception) -> Response:
    logger.warning("the store could not be read: %s", error)
    return JSONResponse({"detail": f"the store could not be read: {error}"}, HTTPStatus.SERVICE_UNAVAILABLE)


class WebServer:
    """Runs an application in a thread.

    Signals stay with the daemon: uvicorn takes them only in the main thread.

    Parameters
    ----------
    app : FastAPI
        What answers.
    host : str
        Address to bind to.
    port : int
        0 for any free one.
    """

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._bound = 0
        config = uvicorn.Config(
            app,
            loop="asyncio",
            ws="websockets-sansio",
            ws_max_size=64 * 1024,
            ws_per_message_deflate=False,
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        self._server = _Announcing(config)
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that was bound; 0 before the start."""
        return self._bound

    def start(self) -> int:
        """Bind, and begin to answer.

        Returns
        -------
        int
            The port.

        Raises
        ------
        SetupError
            If the address cannot be bound, or the server does not come up within 10 s.
        """
        if self._thread is not None:
            raise RuntimeError("a web server starts once")
        self._socket = bind(self._host, self._port)
        self._bound = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._run, args=(self._socket,), name="spm-live-web", daemon=True)
        self._thread.start()
        self._server.decided.wait(START_TIMEOUT_S)
        if not self._server.started:
            self.stop()
            raise SetupError(
                f"the web server at {self._host} port {self._bound} did not come up; see the log for the reason"
            )
        return self._bound

    def _run(self, listening: socket.socket) -> None:
        try:
            self._server.run([listening])
        finally:
            self._server.decided.set()

    def stop(self) -> None:
        """Close every connection and wait for the thread, at most 3 s; harmless when not started."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT_S)
            if self._thread.is_alive():
                logger.warning("the web server still answers a request; it is left behind")
        if self._socket is not None:
            self._socket.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Announcing(uvicorn.Server):
    """Tells another thread when it answers, or that it never will."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.decided = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.decided.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # A page that does not read keeps its connection closing for ever; the grace time is over now.
        for connection in list(self.server_state.connections):
            transport = connection.transport
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()
        await asyncio.sleep(0)  # lets the transports close their sockets


def bind(host: str, port: int) -> socket.socket:
    """Bind a listening socket.

    Raises
    ------
    SetupError
        With a sentence that says what to do.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        # "localhost" is ::1 first on many machines, also on those without IPv6.
        family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        return socket.create_server((str(address[0]), port), family=family, backlog=128)
    except OSError as error:
        raise SetupError(_why(host, port, error)) from error


def _why(host: str, port: int, error: OSError) -> str:
    place = f"web.host {host}, web.port {port}"
    if isinstance(error, socket.gaierror):
        return f"{place}: no such host; write 127.0.0.1, or an address of this machine"
    if error.errno == errno.EADDRINUSE:
        return f"{place}: the port is in use; stop the program that holds it, or set another web.port (0: any free one)"
    if error.errno == errno.EACCES:
        return f"{place}: this user may not use the port; set a web.port above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{place}: this machine has no such address; write 127.0.0.1, or an address of this machine"
    return f"{place}: cannot be bound ({error.strerror})"
