"""The routes of scans in progress."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path
from starlette.responses import JSONResponse, Response

from spm_live.publish.live_message import LiveView, NoticeLog, live_message

Key = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,128}$")]


def live_answers(live: LiveView | None, notices: NoticeLog | None) -> APIRouter:
    """Routes under ``/api/live``, and ``/api/notices``.

    Parameters
    ----------
    live : LiveView or None
        The scans in progress; None where they are not followed.
    notices : NoticeLog or None
        The newest notices.
    """
    router = APIRouter()

    @router.get("/api/live")
    def scans() -> Response:
        told = [live_message(scan) for scan in live.scans()] if live is not None else []
        return JSONResponse({"live": told})

    @router.get("/api/live/{key}/preview.png")
    def preview(key: Key) -> Response:
        # The newest picture whatever revision the address names: that only keeps the browser from showing an old one.
        png = live.preview(key) if live is not None else None
        if png is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"no picture of a scan {key}")
        return Response(png, media_type="image/png")

    @router.get("/api/notices")
    def newest_notices() -> Response:
        return JSONResponse({"notices": notices.newest() if notices is not None else []})

    return router
