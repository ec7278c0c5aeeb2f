"""Frames of a series out of the store's messages, and links as a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.domain import ScanDirection, ScanGeometry
from spm_live.series.field import DriftField
from spm_live.series.frames import Lost, Molecules, SeriesFrame
from spm_live.series.links import FrameLinks


def series_frame(message: Mapping[str, Any], preview_png: bytes | None = None, lost: Lost | None = None) -> SeriesFrame:
    """Make a frame of a series of what the store tells of it.

    Parameters
    ----------
    message : mapping
        As :meth:`spm_live.publish.store.Store.frame_in_series` gives it; without ``molecules`` there are none.
    preview_png : bytes or None
        The levelled frame; what is no picture counts as none.
    lost : Lost or None
        Molecules that this frame misses.
    """
    return SeriesFrame(
        id=message["id"],
        geometry=ScanGeometry(
            message["rows"],
            message["columns"],
            tuple(message["size_nm"]),
            tuple(message["center_nm"]),
            message["angle_deg"],
        ),
        direction=ScanDirection(message["direction"]),
        complete_rows=message["complete_rows"],
        molecules=molecules(message.get("molecules", ())),
        picture=_picture(preview_png),
        started=_time(message["started"]),
        ended=_time(message["ended"]),
        lost=lost if lost is not None else Lost(),
    )


def molecules(found: Sequence[Mapping[str, Any]]) -> Molecules:
    """Gather molecules, as the store tells them for linking, into arrays."""
    if not found:
        return Molecules.none()

    def column(name: str) -> NDArray[np.float64]:
        return np.array([one[name] for one in found], dtype=np.float64)

    keys = np.array([one["id"] for one in found], dtype=np.int64)
    return Molecules(
        labels=np.array([one["label"] for one in found], dtype=np.str_),
        xy_nm=np.array([one["center_nm"] for one in found], dtype=np.float64),
        area_nm2=column("area_nm2"),
        length_nm=column("length_nm"),
        width_nm=column("width_nm"),
        orientation_deg=column("orientation_deg"),
        edge=np.array([one["touches_edge"] for one in found], dtype=np.bool_),
        keys=keys,
        tracks=np.array([one["id"] if one["track"] is None else one["track"] for one in found], dtype=np.int64),
    )


def links_message(links: FrameLinks) -> dict[str, Any]:
    """Put links into plain values, as they are stored and told; the message's head comes with the store."""
    field, minutes = links.field, links.minutes
    drift = list(field.drift_nm) if field is not None else None
    return {
        "frame": links.frame,
        "previous": links.previous,
        "minutes": minutes,
        "drift_nm": drift,
        "drift_nm_per_min": [part / minutes for part in drift] if drift is not None and minutes else None,
        "slope": list(field.slope) if field is not None else None,
        "method": str(links.method),
        "agreement": links.agreement,
        "counts": dict(links.counts),
        "links": [
            {
                "kind": str(link.kind),
                "molecule": link.molecule,
                "before": link.before,
                "track": link.track,
                "moved_nm": list(link.moved_nm) if link.moved_nm is not None else None,
                "turned_deg": link.turned_deg,
            }
            for link in links.links
        ],
    }


def field_of(message: Mapping[str, Any], geometry: ScanGeometry) -> DriftField | None:
    """The drift that a ``links`` message, or a row of the table of drifts, tells of a frame of this geometry."""
    if message["drift_nm"] is None or message["slope"] is None:
        return None
    return DriftField.on(geometry, np.array(message["drift_nm"]), np.array(message["slope"]))


def _picture(png: bytes | None) -> NDArray[np.uint8] | None:
    """The grey values of a preview; not scanned is 0, which its tRNS chunk makes transparent."""
    if not png:
        return None
    decoded = cv2.imdecode(np.frombuffer(png, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None:
        return None
    if decoded.ndim == 3:
        opaque = decoded[:, :, 3] > 0 if decoded.shape[2] == 4 else True
        return np.where(opaque, np.maximum(decoded[:, :, 0], 1), 0).astype(np.uint8)
    return np.asarray(decoded, dtype=np.uint8)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
