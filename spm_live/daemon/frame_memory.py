"""Knows the frame of a scan among those that were stored: by its name where it was told, else by what it shows.

A controller tells the path of a file only to who waits at the moment when the scan ends. Who was busy, or not
connected, at that moment must find the frame otherwise: names and clocks of two machines differ, but the numbers are
the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.daemon.scan_state import ScanState
from spm_live.domain import FrameRef, ScanGeometry
from spm_live.likeness import sample_rows, shows_the_same
from spm_live.publish.message import iso
from spm_live.sources.handover import FORMAT

REMEMBERED_FRAMES = 200
"""Frames stored lately: a file may be there before the end of its scan is told."""
REMEMBERED_SAMPLES = 50
"""Of these, the ones whose values are remembered."""
SAME_PLACE = 0.01
"""Part of its size by which the centre of a scan may differ from that of its file: one is text, one is float32."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredFrame:
    """A frame that was stored.

    Parameters
    ----------
    message : mapping
        As it is told, without its molecules.
    sample : (rows, n) float32 array or None
        What :func:`spm_live.likeness.sample_rows` takes of its values; None where they are not known any more.
    """

    message: Mapping[str, Any]
    sample: NDArray[np.float32] | None

    @property
    def id(self) -> int:
        """Its number."""
        return int(self.message["id"])


class FrameMemory:
    """The frames that were stored lately, and which of them a scan has become."""

    def __init__(self) -> None:
        self._frames: deque[StoredFrame] = deque(maxlen=REMEMBERED_FRAMES)
        self._taken: deque[int] = deque(maxlen=REMEMBERED_FRAMES)

    def remember(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """Take in frames that were stored before this run."""
        self._frames.extend(StoredFrame(message, None) for message in messages)

    def add(self, message: Mapping[str, Any], sample: NDArray[np.float32] | None) -> StoredFrame:
        """Take in a frame that was stored just now."""
        brief = {name: value for name, value in message.items() if name != "molecules"}
        frame = StoredFrame(brief, sample)
        self._frames.append(frame)
        if len(self._frames) > REMEMBERED_SAMPLES:
            old = self._frames[-1 - REMEMBERED_SAMPLES]
            self._frames[-1 - REMEMBERED_SAMPLES] = StoredFrame(old.message, None)
        return frame

    def take(self, frame_id: int) -> None:
        """A scan has become this frame: it is that of no other."""
        self._taken.append(frame_id)

    def find(self, scan: ScanState) -> StoredFrame | None:
        """The frame of a scan that is over, where it was stored already; the newest first."""
        for frame in reversed(self._frames):
            if frame.id not in self._taken and self.is_of(frame, scan) and _is_newer(frame.message, scan):
                return frame
        return None

    def is_of(self, frame: StoredFrame, scan: ScanState) -> bool:
        """Whether a frame is of a scan that is over."""
        if not _shows_its_place(frame.message, scan):
            return False
        if scan.saved_as:
            return bool(frame.message["name"] == FrameRef(scan.saved_as).name)
        growing = scan.growing
        if frame.message["direction"] != growing.start.info.direction:
            return False
        if frame.message["channel"] != growing.start.info.ref.channel or frame.sample is None:
            return False  # other values of the same place: they tell nothing
        return shows_the_same(frame.sample, sample_rows(growing.frame().data))

    def kept_for(self, frame: StoredFrame) -> int | None:
        """The frame that was put together from lines and shows what a file shows that came after all."""
        for kept in self._frames:
            if kept.message["format"] != FORMAT or frame.message["format"] == FORMAT or kept.id == frame.id:
                continue
            if kept.sample is None or frame.sample is None or kept.message["channel"] != frame.message["channel"]:
                continue
            if shows_the_same(frame.sample, kept.sample):
                return kept.id
        return None


def _shows_its_place(message: Mapping[str, Any], scan: ScanState) -> bool:
    geometry: ScanGeometry = scan.growing.start.info.geometry
    if (message["rows"], message["columns"]) != (geometry.rows, geometry.columns):
        return False
    return all(
        abs(float(there) - here) <= SAME_PLACE * size
        for there, here, size in zip(message["center_nm"], geometry.center_nm, geometry.size_nm, strict=True)
    )


def _is_newer(message: Mapping[str, Any], scan: ScanState) -> bool:
    """Whether a frame that was stored before the end of the scan was told can be of this scan.

    The whole path tells; where it is seen under another one, the frame must have been stored after the scan began.
    """
    path = str(message["source"]).replace("\\", "/")
    if scan.saved_as and path.endswith(scan.saved_as.replace("\\", "/")):
        return True
    return str(message["processed"]) > str(iso(scan.growing.start.info.started or scan.begun))
