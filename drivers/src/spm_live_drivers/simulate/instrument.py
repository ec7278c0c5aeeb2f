"""The simulated microscope itself: shows a frame after another and saves files as the real one does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import ScanGeometry
from spm_live_drivers.formats.matrix_writer import Later
from spm_live_drivers.formats.nanonis_writer import SxmChannel
from spm_live_drivers.simulate.plan import SAMPLE, ScanPlan
from spm_live_drivers.simulate.saving import SETPOINT_A, SLOW_PIECES, Recording, files_of
from spm_live_drivers.simulate.subjects import (
    DrawnSubjects,
    DriftingSubjects,
    RecordedSubjects,
    Subject,
    Subjects,
    TipState,
)
from spm_live_drivers.synthetic import Sample, SyntheticScan
from spm_live_drivers.synthetic.truth_file import write_truth

logger = logging.getLogger(__name__)

USUAL = ScanPlan()
"""How it scans unless told otherwise."""

SLOT_OF = {"Z": 14, "Current": 0}
"""Numbers of the usual signals among the 24 slots of a controller."""

OTHER_SLOT = 6
"""Number of a recorded signal that is neither of them."""


def _local_now() -> datetime:
    return datetime.now().astimezone().replace(tzinfo=None)


class SimulatedInstrument:
    """A microscope that scans one frame after another, drawn or recorded.

    Every second frame is scanned upwards, as a controller in continuous mode does; all of them, where MATRIX files are
    saved. Numbers go on after the highest in the folder, so that a restart overwrites nothing.

    Parameters
    ----------
    folder : Path
        Where the files go; made if it is not there.
    plan : ScanPlan
        How it scans.
    truth : Path or None
        Folder for the truth about every drawn frame, one JSON file each, written before the scan file; None: not kept.
    sample : Sample
        What it looks at.
    now : callable
        Local time of the instrument, without a zone as in the files.

    Raises
    ------
    FrameError
        If a recorded frame cannot be read, or not be saved in the format of the plan.
    """

    def __init__(
        self,
        folder: Path,
        plan: ScanPlan = USUAL,
        *,
        truth: Path | None = None,
        sample: Sample = SAMPLE,
        now: Callable[[], datetime] = _local_now,
    ) -> None:
        self.folder = folder
        self.plan = plan
        self.truth = truth
        self.sample = sample
        self.now = now
        self._files = files_of(folder, plan)
        self._subjects: Subjects
        if plan.recorded:
            self._subjects = RecordedSubjects(plan)
        elif plan.drifts:
            self._subjects = DriftingSubjects(plan, sample)
        else:
            self._subjects = DrawnSubjects(plan, sample)

    def run(self, stop: threading.Event) -> int:
        """Scan until the plan is done or ``stop`` is set; nobody can watch the frames grow.

        Returns
        -------
        int
            How many files were written. A frame that was stopped half-way is not saved.

        Raises
        ------
        OSError
            If a folder or file cannot be written.
        """
        number, done = self.prepare(), 0
        pause_s = self.plan.slow_write_s / SLOW_PIECES
        while not stop.is_set() and (self.plan.frames is None or done < self.plan.frames):
            started = self.now()
            subject = self.look(number)
            if stop.wait(self.plan.line_s(subject.scan.geometry.rows) * subject.scan.geometry.rows):
                break
            channels = self.channels(number, subject)
            path = self.save(number, subject, channels, started, lambda: stop.wait(pause_s))
            logger.info("%s: %d molecules", path, len(subject.scan.molecules))
            number, done = number + 1, done + 1
        return done

    def prepare(self) -> int:
        """Make the folders.

        Returns
        -------
        int
            Number of the next frame.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.truth is not None:
            self.truth.mkdir(parents=True, exist_ok=True)
        return self._files.last_number() + 1

    def scan(self, number: int) -> SyntheticScan:
        """Draw the frame of a given number; the same one whenever it is asked for."""
        return self.look(number).scan

    def look(self, number: int, tip: TipState = TipState.SOUND, geometry: ScanGeometry | None = None) -> Subject:
        """Say what the scan of a given number sees: see :class:`spm_live_drivers.simulate.subjects.Subjects`."""
        return self._subjects.look(number, tip, geometry)

    def channels(self, number: int, subject: Subject) -> tuple[SxmChannel, ...]:
        """Record a subject: the main channel, and beside a height the current."""
        forward, backward = subject.scan.heights, subject.scan.heights_backward
        main = SxmChannel(
            SLOT_OF.get(subject.channel, OTHER_SLOT), subject.channel, subject.unit, forward, backward, 1.848e-8
        )
        if subject.unit != "m":
            return (main,)
        rng = np.random.default_rng((self.plan.seed, number, 2))
        current = tuple(_current(rng, plane, way) for plane, way in ((forward, 1), (backward, -1)))
        return (main, SxmChannel(SLOT_OF["Current"], "Current", "A", current[0], current[1], 1e-9))

    def path_of(self, number: int, unit: str = "m") -> Path:
        """File of the frame of a given number, or of its main channel, whose values have this unit."""
        return self._files.path_of(number, unit)

    def save(
        self,
        number: int,
        subject: Subject,
        channels: tuple[SxmChannel, ...],
        started: datetime,
        pause: Callable[[], object],
        *,
        slowly: bool = False,
        later: Later | None = None,
    ) -> Path:
        """Write a frame, and before it the truth about it.

        Parameters
        ----------
        number : int
            Number of the frame: the end of its name.
        subject : Subject
            What was scanned.
        channels : tuple of SxmChannel
            What was recorded of it.
        started : datetime
            Local time of its first line.
        pause : callable
            Called between the pieces of a slowly written file.
        slowly : bool
            Write in pieces even where the plan does not say so.
        later : callable or None
            Given the entry of the scan in the parameter chain, for a chain that comes late; None: it is written at
            once. An ``.sxm`` file has none.

        Returns
        -------
        Path
            The file, or that of its main channel.
        """
        plan, scan, path = self.plan, subject.scan, self.path_of(number, subject.unit)
        if self.truth is not None and subject.recorded is None:
            write_truth(self.truth / f"{path.stem}.json", scan, path.name, subject.series)
        # A header cannot say that a line takes no time at all: a frame takes a second at least.
        line_s = max(plan.line_s(scan.geometry.rows), 1.0 / scan.geometry.rows)
        pieces = SLOW_PIECES if slowly or plan.slow_write_s > 0 else 1
        self._files.save(Recording(number, scan, channels, started, line_s), pieces, pause, later)
        return path


def _current(rng: np.random.Generator, heights: NDArray[np.float32], way: int) -> NDArray[np.float32]:
    """Current while the feedback follows the heights: it lags behind on every slope, and is noisy.

    ``way`` is 1 where the tip moves to the right and -1 where it moves to the left.
    """
    slope = np.gradient(heights, axis=1) * way
    noise = rng.standard_normal(heights.shape, dtype=np.float32)
    # 0.1 nm of height in one pixel costs the feedback a fifth of the set point.
    return np.asarray(SETPOINT_A * (1 + slope / 0.5e-9 + 0.01 * noise), dtype=np.float32)
