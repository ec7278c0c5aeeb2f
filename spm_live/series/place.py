"""Which earlier frame shows the same place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from spm_live.series.frames import overlap
from spm_live.series.message import series_frame

SAME_SESSION = timedelta(hours=12)
"""A frame taken longer ago shows another place: nobody knows what was done in between."""
LEAST_OVERLAP = 0.5
"""So much of the later frame must have been scanned by the earlier one."""


def frame_before(current: Mapping[str, Any], earlier: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Find the newest earlier frame of the same place.

    Parameters
    ----------
    current : mapping
        A frame, as :meth:`spm_live.publish.store.Store.frame_in_series` gives it.
    earlier : iterable of mapping
        Frames of the same channel, trace and instrument, newest first, as
        :meth:`spm_live.publish.store.Store.earlier_frames` lists them.

    Returns
    -------
    mapping or None
        The first one that was taken in the 12 hours before and has scanned at least half of the place; None where
        there is none.
    """
    shown = series_frame(_bare(current))
    for candidate in earlier:
        near = _just_before(candidate, current) and _close(candidate, current)
        if near and overlap(series_frame(_bare(candidate)), shown) >= LEAST_OVERLAP:
            return candidate
    return None


def _bare(message: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**message, "molecules": ()}


def _just_before(candidate: Mapping[str, Any], current: Mapping[str, Any]) -> bool:
    spent = _taken(current) - _taken(candidate)
    begun = candidate["started"], current["started"]
    in_order = None in begun or begun[0] <= begun[1]
    return in_order and abs(spent) <= SAME_SESSION


def _taken(message: Mapping[str, Any]) -> datetime:
    """When a frame was taken; when it was stored, where its file does not say."""
    return datetime.fromisoformat(message["started"] or message["ended"] or message["processed"])


def _close(candidate: Mapping[str, Any], current: Mapping[str, Any]) -> bool:
    """Whether two frames could overlap at all; cheap, for what is asked of many."""
    reach = sum(math.hypot(*message["size_nm"]) / 2 for message in (candidate, current))
    return math.dist(candidate["center_nm"], current["center_nm"]) < reach
