"""The routes that answer questions; each reads the store in a thread of its own, so that none holds up the others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, TypeVar

from fastapi import APIRouter, HTTPException, Path, Query, Request
from starlette.responses import JSONResponse, Response

from spm_live.domain import DaemonState, DaemonStatus
from spm_live.errors import SetupError
from spm_live.publish.message import status_message
from spm_live.web.assets import Assets
from spm_live.web.ports import FrameStore

MAX_PAGE = 500
"""Most frames or faults in one answer."""

MAX_ID = 2**63 - 1
"""Largest row number of SQLite."""

IMMUTABLE = "private, max-age=31536000, immutable"

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Before = Annotated[int | None, Query(ge=1, le=MAX_ID)]
Id = Annotated[int, Path(ge=1, le=MAX_ID)]
Reload = Callable[[], list[str]]
Status = Callable[[], DaemonStatus]

_Thing = TypeVar("_Thing")


def pages(assets: Assets) -> APIRouter:
    """Routes of the page and its files."""
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return serve(request, "index.html")

    @router.get("/static/{name}", include_in_schema=False)
    async def file(request: Request, name: str) -> Response:
        return serve(request, name)

    def serve(request: Request, name: str) -> Response:
        asset = assets.files.get(name)
        if asset is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "no such file")
        return _cached(request, asset.content, asset.media_type, asset.etag, "no-cache")

    return router


def answers(store: FrameStore, status: Status, reload: Reload | None) -> APIRouter:
    """Routes under ``/api``, and ``/health``."""
    router = APIRouter()

    @router.get("/health")
    def health() -> Response:
        running = status().state is DaemonState.RUNNING
        return JSONResponse({"ok": running}, HTTPStatus.OK if running else HTTPStatus.SERVICE_UNAVAILABLE)

    @router.get("/api/status")
    def read_status() -> Response:
        return JSONResponse(status_message(status()))

    @router.get("/api/frames")
    def frames(limit: Limit = 50, before: Before = None) -> Response:
        return JSONResponse({"frames": store.frames(limit, before)})

    @router.get("/api/frames/{frame_id}")
    def frame(frame_id: Id) -> Response:
        return JSONResponse(_found(store.frame(frame_id), frame_id))

    @router.get("/api/frames/{frame_id}/preview.png")
    def preview(frame_id: Id, request: Request) -> Response:
        return _picture(request, _found(store.preview(frame_id), frame_id))

    @router.get("/api/frames/{frame_id}/thumbnail.png")
    def thumbnail(frame_id: Id, request: Request) -> Response:
        return _picture(request, _found(store.thumbnail(frame_id), frame_id))

    @router.get("/api/faults")
    def faults(limit: Limit = 50, before: Before = None) -> Response:
        return JSONResponse({"faults": store.faults(limit, before)})

    @router.get("/api/totals")
    def totals() -> Response:
        return JSONResponse(store.totals())

    @router.post("/api/reload")
    def reload_settings() -> Response:
        if reload is None:
            raise HTTPException(HTTPStatus.NOT_IMPLEMENTED, "this daemon was started without a configuration file")
        try:
            return JSONResponse({"messages": reload()})
        except SetupError as error:
            return JSONResponse({"problems": list(error.problems)}, HTTPStatus.UNPROCESSABLE_ENTITY)

    return router


def _found(thing: _Thing | None, frame_id: int) -> _Thing:
    if thing is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no frame {frame_id}")
    return thing


def _picture(request: Request, png: bytes) -> Response:
    """A PNG of the store.

    The picture of a frame never changes, but another store counts its frames from 1 again. So only an address that
    also names the content (``?v=``, which the page makes of the frame's digest) may be kept without asking again.
    """
    etag = f'"{hashlib.sha256(png).hexdigest()[:24]}"'
    return _cached(request, png, "image/png", etag, IMMUTABLE if request.query_params.get("v") else "private, no-cache")


def _cached(request: Request, content: bytes, media_type: str, etag: str, cache: str) -> Response:
    headers = {"etag": etag, "cache-control": cache}
    known = request.headers.get("if-none-match", "")
    if etag in (part.strip().removeprefix("W/") for part in known.split(",")):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(content, media_type=media_type, headers=headers)
