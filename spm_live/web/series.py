"""The routes that tell what became of molecules from frame to frame."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query
from starlette.responses import JSONResponse, Response

from spm_live.web.ports import FrameStore

MAX_SERIES = 500
"""Most frames in one table of drifts."""


def series_routes(store: FrameStore) -> APIRouter:
    """Routes of links and drifts."""
    router = APIRouter()

    @router.get("/api/frames/{frame_id}/links")
    def links(frame_id: Annotated[int, Path(ge=1, le=2**63 - 1)]) -> Response:
        found = store.links(frame_id)
        if found is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"no frame {frame_id}")
        return JSONResponse(found)

    @router.get("/api/series")
    def series(last: Annotated[int, Query(ge=1, le=MAX_SERIES)] = 50) -> Response:
        return JSONResponse({"series": store.series(last)})

    return router
