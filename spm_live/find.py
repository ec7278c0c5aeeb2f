"""What one process does with one file: read it, find its molecules, draw it. Daemon and batch both call this."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from spm_live.detect import open_detector
from spm_live.domain import Processed, ReadOptions
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


class FindMolecules:
    """Read, process, draw: the real work."""

    def __init__(self, settings: ModelSettings) -> None:
        self._detector = open_detector(settings)
        self._spectra = SpectraBeside()
        self.identity = self._detector.manifest.identity
        self.classes = tuple(self._detector.manifest.classes)

    def __call__(self, job: Job) -> Processed:
        watch = Stopwatch()
        frame = read_frame(job.path, job.options)
        spectra = spectra_of(frame, self._spectra.of(job.path, job.options.timezone), within=SAME_SESSION)
        watch.lap("read")
        molecule_map = process(frame, self._detector, spectra, lap=watch.lap)
        preview, thumbnail = draw_preview(frame)
        watch.lap("draw")
        return Processed(molecule_map, preview, thumbnail, watch.laps_ms)


class Stopwatch:
    """Takes the time of one stage after another."""

    def __init__(self) -> None:
        self.laps_ms: dict[str, float] = {}
        self._last_s = time.perf_counter()

    def lap(self, stage: str) -> None:
        """A stage ends, and the next begins."""
        now_s = time.perf_counter()
        self.laps_ms[stage] = 1e3 * (now_s - self._last_s)
        self._last_s = now_s
