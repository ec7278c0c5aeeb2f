"""The messages of scans in progress and of the rules that watch them, and the newest notices.

``docs/reference/messages.md`` explains each field; a test holds the two together.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from spm_live.domain import FrameRef
from spm_live.publish.message import (
    Message,
    envelope,
    finite,
    iso,
    model_body,
    molecule_bodies,
    numbers,
    plain_text,
    scan_fields,
)
from spm_live.scanning import LiveCount, LiveMap, LiveMolecule, LiveScan, Notice, ScanQuality, TipChange

KEPT_NOTICES = 50


class LiveView(Protocol):
    """What the publishers ask of the scans in progress; called from many threads."""

    def scans(self) -> Sequence[LiveScan]:
        """The scans in progress, and those that ended lately without a file; the oldest first."""
        ...

    def preview(self, key: str, /) -> bytes | None:
        """PNG of a scan as far as it goes, transparent where not scanned; None where there is none (yet)."""
        ...


def live_message(scan: LiveScan) -> Message:
    """Tell a scan in progress in full.

    Parameters
    ----------
    scan : LiveScan
        As it stands.

    Returns
    -------
    dict
        ``seq`` and ``run`` are None until the feed stamps them.
    """
    found = scan.map
    return {
        **envelope("live"),
        "key": plain_text(scan.key),
        "source": plain_text(scan.source),
        "scan": plain_text(scan.scan),
        "state": str(scan.state),
        "revision": int(scan.revision),
        "name": plain_text(_name(scan)),
        "saved_as": plain_text(scan.saved_as),
        "frame_id": scan.frame_id,
        **scan_fields(scan.info),
        "lines_done": int(scan.info.complete_rows),
        "lines_mapped": int(found.frame.complete_rows) if found is not None else 0,
        "lines_missing": int(scan.lines_missing),
        "begun": iso(scan.begun),
        "updated": iso(scan.updated),
        "time_left_s": finite(scan.time_left_s),
        "overtaken": int(scan.overtaken),
        **_map(found),
        "quality": quality_body(scan.quality) if scan.quality is not None else None,
    }


def notice_message(notice: Notice) -> Message:
    """Tell what a rule asked to be told."""
    return {
        **envelope("notice"),
        "rule": plain_text(notice.rule),
        "text": plain_text(notice.text),
        "when": iso(notice.when),
        "source": plain_text(notice.source),
        "scan": plain_text(notice.scan),
        "name": plain_text(notice.name),
        "key": plain_text(notice.key),
        "frame_id": notice.frame_id,
        "lines": int(notice.lines),
    }


def quality_body(quality: ScanQuality) -> Message:
    """Tell how good the lines at hand are."""
    return {
        "lines": int(quality.lines),
        "verdict": str(quality.verdict),
        "reasons": [plain_text(reason) for reason in quality.reasons],
        "line_correlation": finite(quality.line_correlation),
        "trace_agreement": finite(quality.trace_agreement),
        "streaks": finite(quality.streaks),
        "dropouts": finite(quality.dropouts),
        "noise_nm": finite(quality.noise_nm),
        "double_tip": finite(quality.double_tip),
        "double_tip_nm": numbers(quality.double_tip_nm) if quality.double_tip_nm is not None else None,
        "tip_changes": [_tip_change(change) for change in quality.tip_changes],
    }


class NoticeLog:
    """The newest notices, for those who join late; its methods may be called from any thread.

    Parameters
    ----------
    kept : int
        How many; the oldest go first.
    """

    def __init__(self, kept: int = KEPT_NOTICES) -> None:
        self._lock = threading.Lock()
        self._kept: deque[Message] = deque(maxlen=kept)

    def add(self, notice: Notice) -> Message:
        """Keep a notice, and give back its message, to be published."""
        message = notice_message(notice)
        with self._lock:
            self._kept.append(message)
        return message

    def newest(self) -> list[Message]:
        """The notices that are kept, the newest first."""
        with self._lock:
            return list(reversed(self._kept))


def _name(scan: LiveScan) -> str:
    """What a person calls the scan: its file once that is known, until then what its sender calls it."""
    return FrameRef(scan.saved_as).name if scan.saved_as else scan.scan


def _map(found: LiveMap | None) -> Message:
    if found is None:
        return {
            "model": None,
            "settled_rows": 0,
            "total": 0,
            "counts": {},
            "scanned_area_nm2": None,
            "coverage": None,
            "timings_ms": {},
            "molecules": [],
        }
    return {
        "model": model_body(found.model),
        "settled_rows": int(found.settled_rows),
        "total": int(found.total),
        "counts": {plain_text(label): _count(found.counts[label]) for label in sorted(found.counts)},
        "scanned_area_nm2": finite(found.scanned_area_nm2),
        "coverage": finite(found.coverage),
        "timings_ms": {plain_text(stage): finite(spent) for stage, spent in found.timings_ms.items()},
        "molecules": _molecules(found.molecules),
    }


def _count(count: LiveCount) -> Message:
    return {
        "total": int(count.total),
        "edge": int(count.edge),
        "cut_by_front": int(count.cut_by_front),
        "density_per_nm2": finite(count.density_per_nm2),
        "density_error_per_nm2": finite(count.density_error_per_nm2),
        "coverage": finite(count.coverage),
    }


def _molecules(molecules: Sequence[LiveMolecule]) -> list[Message]:
    bodies = molecule_bodies([each.molecule for each in molecules])
    return [
        {**body, "cut_by_front": bool(each.cut_by_front), "settled": bool(each.settled)}
        for body, each in zip(bodies, molecules, strict=True)
    ]


def _tip_change(change: TipChange) -> Message:
    return {"line": int(change.line), "kind": plain_text(change.kind), "strength": finite(change.strength)}
