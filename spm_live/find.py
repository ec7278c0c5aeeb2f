"""What one process does with one file: read it, find its molecules, draw it; and with a scan in progress.

Daemon and batch both call this.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from spm_live.detect import open_detector
from spm_live.domain import Frame, ModelInput, Processed, ReadOptions
from spm_live.likeness import sample_rows
from spm_live.live.follow import FollowScans, LiveJob, LiveResult
from spm_live.locate import spectra_of
from spm_live.pipeline import process
from spm_live.prepare import draw_preview
from spm_live.settings import ModelSettings
from spm_live.spectra import SpectraBeside
from spm_live_drivers.registry import read_frame

SAME_SESSION = timedelta(hours=12)
"""A spectrum further away in time than this belongs to another scan of the place."""


@dataclass(frozen=True, slots=True)
class Job:
    """A file to work on."""

    path: Path
    options: ReadOptions
    sha256: str = ""
    """Digest of the file, where it is known: it is not taken a second time."""


class FindMolecules:
    """Read, process, draw: the real work."""

    def __init__(self, settings: ModelSettings) -> None:
        self._detector = open_detector(settings)
        self._spectra = SpectraBeside()
        self._scans = FollowScans(self._detector)
        self.identity = self._detector.manifest.identity
        self.classes = tuple(self._detector.manifest.classes)

    def __call__(self, job: Job) -> Processed:
        # The picture is drawn beside the network, which leaves Python alone for most of its time.
        with ThreadPoolExecutor(1, "spm-live-draw") as painter:
            watch = _Watch(painter)
            frame = _read(job)
            spectra = spectra_of(frame, self._spectra.of(job.path, job.options.timezone), within=SAME_SESSION)
            watch("read", frame)
            molecule_map = process(frame, self._detector, spectra, observe=watch)
            preview, thumbnail = watch.picture.result()
            watch("draw", preview)
        return Processed(molecule_map, preview, thumbnail, watch.laps_ms, sample_rows(frame.data))

    def follow(self, job: LiveJob) -> LiveResult:
        """Take in new lines of a scan in progress; see :class:`spm_live.live.follow.FollowScans`."""
        return self._scans(job)


def _read(job: Job) -> Frame:
    if not job.sha256:
        return read_frame(job.path, job.options)
    frame = read_frame(job.path, replace(job.options, digest=False))
    if frame.ref.sha256:
        return frame  # a received frame names the digest of the file it was read from, far away
    return Frame(replace(frame.info, ref=replace(frame.ref, sha256=job.sha256)), frame.data)


class _Watch:
    """Takes the time of one stage after another, and has the frame drawn as soon as it is levelled."""

    picture: Future[tuple[bytes, bytes]]

    def __init__(self, painter: Executor) -> None:
        self._painter = painter
        self.laps_ms: dict[str, float] = {}
        self._last_s = time.perf_counter()

    def __call__(self, stage: str, product: object) -> None:
        now_s = time.perf_counter()
        self.laps_ms[stage] = 1e3 * (now_s - self._last_s)
        self._last_s = now_s
        if isinstance(product, ModelInput):
            self.picture = self._painter.submit(draw_preview, product.levelled)
