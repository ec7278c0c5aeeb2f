"""What the worker does with scans in progress: recognise and judge the new lines of each."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spm_live.detect import Detector
from spm_live.domain import FrameInfo
from spm_live.live.recognition import LiveRecognition
from spm_live.quality.inspect import ScanInspector
from spm_live.scanning import LiveMap, ScanQuality

MOST_SCANS = 8
"""Scans that are followed at once; of more, the one that was quiet for longest is forgotten and told anew."""


@dataclass(frozen=True, slots=True, eq=False)
class LiveJob:
    """New lines of a scan in progress.

    Parameters
    ----------
    key : str
        Names the scan.
    info : FrameInfo
        Its frame.
    first_line : int
        Number of the first of these lines; the worker must have seen those before it.
    forward, backward : (n, columns) float32 array
        In the order of scanning; ``backward`` may be None.
    preview : bool
        Whether the picture is to be drawn.
    ended : tuple of str
        Keys of scans that are over and can be forgotten.
    """

    key: str
    info: FrameInfo
    first_line: int
    forward: NDArray[np.float32]
    backward: NDArray[np.float32] | None = None
    preview: bool = False
    ended: tuple[str, ...] = ()

    @property
    def after_last(self) -> int:
        """Number of the line after the last of these."""
        return self.first_line + len(self.forward)


@dataclass(frozen=True, slots=True, eq=False)
class LiveResult:
    """What came of a job; both None where the lines before it are not known here: then all must be told."""

    map: LiveMap | None
    quality: ScanQuality | None


@dataclass(slots=True)
class _Followed:
    recognition: LiveRecognition
    inspector: ScanInspector
    lines: int = 0


class FollowScans:
    """Keeps what is known of each scan in progress.

    Parameters
    ----------
    detector : Detector
        Shared with the finished frames.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._scans: OrderedDict[str, _Followed] = OrderedDict()

    def __call__(self, job: LiveJob) -> LiveResult:
        """Take in new lines.

        Raises
        ------
        FrameError
            If the frame would become too large, or the network fails on it; the scan is then forgotten.
        """
        for key in job.ended:
            self._scans.pop(key, None)
        if job.first_line == 0:
            self._scans[job.key] = _Followed(LiveRecognition(self._detector, job.info), ScanInspector(job.info))
        scan = self._scans.pop(job.key, None)
        if scan is None or scan.lines != job.first_line:
            return LiveResult(None, None)
        # Put back only when all went well: a scan that failed half-way must not go on with half of its lines.
        found = scan.recognition.advance(job.forward)
        if job.preview:
            found = replace(found, preview_png=scan.recognition.preview_png())
        quality = scan.inspector.advance(job.forward, job.backward)
        scan.lines = job.after_last
        self._scans[job.key] = scan
        while len(self._scans) > MOST_SCANS:
            self._scans.popitem(last=False)
        return LiveResult(found, quality)
