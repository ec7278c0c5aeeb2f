"""Puts the parts together: store, feed, daemon, publisher and viewer, and takes them apart again in reverse."""

from __future__ import annotations

import gc
import json
import logging
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from spm_live.daemon.frame_memory import REMEMBERED_FRAMES
from spm_live.daemon.growing import LiveBoard
from spm_live.daemon.life import Daemon
from spm_live.errors import SetupError
from spm_live.publish.feed import Feed
from spm_live.publish.live_message import NoticeLog, live_message
from spm_live.publish.metrics import Metrics
from spm_live.publish.store import Store
from spm_live.publish.zeromq import ZeroMQPublisher
from spm_live.settings import Settings
from spm_live.sources import Source
from spm_live.sources.folder import FolderSource
from spm_live.sources.handover import Handover
from spm_live.sources.inbox import Inbox
from spm_live.sources.nanonis import NanonisSource
from spm_live.sources.zeromq import ZeroMQSource
from spm_live.web.access import load_or_make_token, token_path
from spm_live.web.server import WebServer, create_app

logger = logging.getLogger(__name__)

ASK_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True)
class Service:
    """A daemon with all that belongs to it, ready to run.

    Parameters
    ----------
    daemon : Daemon
        Its ``run`` returns when its ``stop`` was called.
    url : str or None
        The viewer's address with the token in it; None where the viewer is off.
    """

    daemon: Daemon
    url: str | None


@contextmanager
def open_service(settings: Settings, load: Callable[[], Settings] | None = None) -> Iterator[Service]:
    """Open everything a configuration asks for, and close it at the end.

    Parameters
    ----------
    settings : Settings
        The configuration.
    load : callable or None
        Reads the configuration again, for a reload.

    Raises
    ------
    SetupError
        If a port is taken, the model does not load, or the store is in use by another daemon.
    """
    with ExitStack() as stack:
        store = stack.enter_context(open_store(settings))
        token = settings.web.token or load_or_make_token(token_path(settings.store.path))
        feed, metrics, notices = Feed(), Metrics(), NoticeLog()
        board = LiveBoard(lambda scan: feed.publish("live", live_message(scan)))
        board.remember(store.frames(REMEMBERED_FRAMES))
        daemon = Daemon(
            settings,
            store=store,
            feed=feed,
            metrics=metrics,
            make_sources=lambda settings: make_sources(settings, board),
            load=load,
            live=board,
            notices=notices,
        )
        stack.callback(daemon.close)
        if settings.publish.enabled:
            publisher = ZeroMQPublisher(
                settings.publish, feed, store, daemon.status, token, live=board, notices=notices
            )
            publisher.start()
            stack.callback(publisher.stop)
        url = None
        if settings.web.enabled:
            reload = daemon.reload if load else None
            app = create_app(
                store,
                feed,
                daemon.status,
                token,
                reload,
                metrics,
                host=settings.web.host,
                live=board,
                notices=notices,
            )
            server = WebServer(app, settings.web.host, settings.web.port)
            port = server.start()
            stack.callback(server.stop)
            url = f"http://{settings.web.host}:{port}/?token={token}"
        yield Service(daemon, url)


def open_store(settings: Settings) -> Store:
    """Open the store of a configuration, making its folder.

    Raises
    ------
    SetupError
        If the folder cannot be made, or the store is in use.
    """
    path = settings.store.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(
            f"{path.parent}: cannot be made ({error.strerror}); set store.path to another place"
        ) from error
    return Store(path, min_free_mb=settings.store.min_free_mb)


def make_sources(settings: Settings, board: LiveBoard) -> Sequence[Source]:
    """Build the sources that a configuration names, and what turns scans in progress into frames."""
    inbox = Inbox(settings.store.path.parent / "inbox")
    folders: list[Source] = [FolderSource(folder, ignored=[settings.store.path]) for folder in settings.folders]
    if not settings.live.enabled:
        return [*folders, *(ZeroMQSource(socket, inbox) for socket in settings.zeromq)]
    sockets = [ZeroMQSource(socket, inbox, tell=board.tell) for socket in settings.zeromq]
    controllers = [NanonisSource(controller, board.tell) for controller in settings.nanonis]
    if not sockets and not controllers:
        return folders
    watched = [folder.path for folder in settings.folders]
    options = settings.folders[0].read_options() if settings.folders else None
    handover = Handover(board, settings.live, inbox, watched, options, senders=bool(sockets))
    return [*folders, *sockets, *controllers, handover]


def run_until_signalled(service: Service) -> None:
    """Run the daemon in this thread until Ctrl-C or SIGTERM; SIGHUP reads the configuration again.

    Raises
    ------
    SetupError
        As :meth:`Daemon.run` does.
    """
    handlers: dict[int, Callable[[int, FrameType | None], Any]] = {
        signal.SIGINT: lambda *_: service.daemon.stop(),
        signal.SIGTERM: lambda *_: service.daemon.stop(),
    }
    if hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = lambda *_: service.daemon.ask_reload()
    if hasattr(signal, "SIGBREAK"):
        handlers[signal.SIGBREAK] = lambda *_: service.daemon.stop()
    gc.collect()
    gc.freeze()  # what is loaded by now stays; a frame's objects must not have all of it searched
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        service.daemon.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ask_running(settings: Settings, path: str) -> list[str]:
    """Ask the daemon that runs with these settings to do something, over its HTTP interface.

    Parameters
    ----------
    settings : Settings
        Where it listens, and its token.
    path : str
        Such as ``"/api/reload"``.

    Returns
    -------
    list of str
        What it answers.

    Raises
    ------
    SetupError
        If it does not answer, or says no.
    """
    if not settings.web.enabled or not settings.web.port:
        raise SetupError("the daemon has no fixed port to be asked at: set web.port, or send it SIGHUP")
    token = settings.web.token or load_or_make_token(token_path(settings.store.path))
    host = f"[{settings.web.host}]" if ":" in settings.web.host else settings.web.host
    url = f"http://{host}:{settings.web.port}{path}"
    request = urllib.request.Request(url, method="POST", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=ASK_TIMEOUT_S) as answer:  # noqa: S310 - http, as written above
            return list(json.load(answer)["messages"])
    except urllib.error.HTTPError as error:
        with error:
            raise SetupError(_problems(error.read())) from error
    except OSError as error:
        raise SetupError(f"no daemon answers at {host}:{settings.web.port} ({error}); is it running?") from error


def _problems(answer: bytes) -> list[str]:
    try:
        return [str(problem) for problem in json.loads(answer)["problems"]]
    except (ValueError, KeyError, TypeError):
        return [answer.decode(errors="replace")]
