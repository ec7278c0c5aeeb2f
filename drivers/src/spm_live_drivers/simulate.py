"""A simulated microscope: scans a drawn surface and saves ``.sxm`` files as the real one does.

``spm-live-simulate FOLDER`` runs it; :class:`SimulatedInstrument` is the same thing for a thread.
"""

from __future__ import annotations

import argparse
import logging
import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import ScanDirection
from spm_live_drivers.formats.nanonis_writer import SxmChannel, SxmSettings, write_sxm
from spm_live_drivers.synthetic import Sample, Species, SyntheticScan, draw_scan, draw_tip
from spm_live_drivers.synthetic.truth_file import write_truth

logger = logging.getLogger(__name__)

SAMPLE = Sample(
    species=(
        Species("three-lobe", width_nm=1.7, height_nm=0.20, spread=0.62),
        Species("four-lobe", width_nm=1.6, height_nm=0.16, spread=0.46),
        Species("rod", width_nm=2.0, height_nm=0.14, spread=0.44, centre=0.8),
    ),
    shares=(0.45, 0.3, 0.25),
)
"""What the simulated microscope looks at unless told otherwise."""

SLOW_PIECES = 20
"""Pieces in which a slowly written file grows."""

SCAN_FIELD_NM = 400.0
"""The frames lie within so many nm around the origin of the scanner."""


def _local_now() -> datetime:
    return datetime.now().astimezone().replace(tzinfo=None)


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """How the simulated microscope scans.

    Parameters
    ----------
    pixels : int
        Rows and columns of a frame.
    size_nm : float
        Width and height of a frame, in nm.
    frame_time_s : float
        Time of one frame, in s.
    frames : int or None
        Stop after so many; None: go on for ever.
    slow_write_s : float
        Time that a file takes to be written, in s; 0: it appears whole.
    seed : int
        Together with the number of a frame it settles the picture.
    series : str
        Start of the names of the files; a number of four digits follows.
    """

    pixels: int = 256
    size_nm: float = 40.0
    frame_time_s: float = 10.0
    frames: int | None = None
    slow_write_s: float = 0.0
    seed: int = 0
    series: str = "sim_"

    def __post_init__(self) -> None:
        if not 8 <= self.pixels <= 8192:
            raise ValueError(f"frames of {self.pixels} px; 8 to 8192 can be drawn")
        if not 1 <= self.size_nm <= 500:
            raise ValueError(f"frames of {self.size_nm} nm; 1 to 500 can be drawn")
        if self.frame_time_s < 0 or self.slow_write_s < 0:
            raise ValueError("times are not negative")
        if self.seed < 0 or (self.frames is not None and self.frames < 0):
            raise ValueError("seed and number of frames are not negative")
        if not re.fullmatch(r"[\w.-]+", self.series):
            raise ValueError(f"{self.series!r} cannot start the name of a file; use letters, digits, _ . and -")


class SimulatedInstrument:
    """A microscope that scans one drawn frame after another.

    Every second frame is scanned upwards, as a controller in continuous mode does. Numbers go on after the highest in
    the folder, so that a restart overwrites nothing.

    Parameters
    ----------
    folder : Path
        Where the files go; made if it is not there.
    plan : ScanPlan
        How it scans.
    truth : Path or None
        Folder for the truth about every frame, one JSON file each, written before the scan file; None: not kept.
    sample : Sample
        What it looks at.
    now : callable
        Local time of the instrument, without a zone as in the files.
    """

    def __init__(
        self,
        folder: Path,
        plan: ScanPlan = ScanPlan(),
        *,
        truth: Path | None = None,
        sample: Sample = SAMPLE,
        now: Callable[[], datetime] = _local_now,
    ) -> None:
        self.folder = folder
        self.plan = plan
        self.truth = truth
        self.sample = sample
        self._now = now

    def run(self, stop: threading.Event) -> int:
        """Scan until the plan is done or ``stop`` is set.

        Returns
        -------
        int
            How many files were written. A frame that was stopped half-way is not saved.

        Raises
        ------
        OSError
            If a folder or file cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.truth is not None:
            self.truth.mkdir(parents=True, exist_ok=True)
        number, done = self._first_number(), 0
        while not stop.is_set() and (self.plan.frames is None or done < self.plan.frames):
            started = self._now()
            scan = self.scan(number)
            if stop.wait(self.plan.frame_time_s):
                break
            path = self.save(number, scan, started, lambda: stop.wait(self.plan.slow_write_s / SLOW_PIECES))
            logger.info("%s: %d molecules", path, len(scan.molecules))
            number, done = number + 1, done + 1
        return done

    def scan(self, number: int) -> SyntheticScan:
        """Draw the frame of a given number; the same one whenever it is asked for."""
        plan = self.plan
        rng = np.random.default_rng((plan.seed, number))
        x, y = rng.uniform(-SCAN_FIELD_NM / 2, SCAN_FIELD_NM / 2, 2)
        return draw_scan(
            (plan.seed, number, 1),
            rows=plan.pixels,
            columns=plan.pixels,
            size_nm=plan.size_nm,
            center_nm=(round(float(x), 3), round(float(y), 3)),
            direction=ScanDirection.UP if number % 2 == 0 else ScanDirection.DOWN,
            sample=self.sample,
            tip=draw_tip(rng, self.sample),
        )

    def save(self, number: int, scan: SyntheticScan, started: datetime, pause: Callable[[], object]) -> Path:
        """Write a frame, and before it the truth about it.

        Parameters
        ----------
        number : int
            Number of the frame: the end of its name, and of the noise in its current.
        scan : SyntheticScan
            The frame.
        started : datetime
            Local time of its first line.
        pause : callable
            Called between the pieces of a slowly written file.

        Returns
        -------
        Path
            The file.
        """
        plan = self.plan
        path = self.folder / f"{plan.series}{number:04d}.sxm"
        if self.truth is not None:
            write_truth(self.truth / f"{path.stem}.json", scan, path.name)
        settings = SxmSettings(
            started=started,
            line_time_s=max(plan.frame_time_s, 1.0) / (2 * plan.pixels),
            direction=scan.direction,
            comment="simulated",
            series=plan.series,
        )
        rng = np.random.default_rng((plan.seed, number, 2))
        forward, backward = scan.heights, scan.heights_backward
        channels = (
            SxmChannel(14, "Z", "m", forward, backward, 1.848e-8),
            SxmChannel(
                0,
                "Current",
                "A",
                _current(rng, forward, settings.setpoint_a, 1),
                _current(rng, backward, settings.setpoint_a, -1),
                1e-9,
            ),
        )
        pieces = SLOW_PIECES if plan.slow_write_s > 0 else 1
        write_sxm(path, channels, scan.geometry, settings, pieces=pieces, pause=pause)
        return path

    def _first_number(self) -> int:
        name = re.compile(re.escape(self.plan.series) + r"(\d{4,})\.sxm")
        taken = [int(match[1]) for path in self.folder.iterdir() if (match := name.fullmatch(path.name))]
        return max(taken, default=0) + 1


def _current(
    rng: np.random.Generator, heights: NDArray[np.float32], setpoint_a: float, way: int
) -> NDArray[np.float32]:
    """Current while the feedback follows the heights: it lags behind on every slope, and is noisy.

    ``way`` is 1 where the tip moves to the right and -1 where it moves to the left.
    """
    slope = np.gradient(heights, axis=1) * way
    noise = rng.standard_normal(heights.shape, dtype=np.float32)
    # 0.1 nm of height in one pixel costs the feedback a fifth of the set point.
    return np.asarray(setpoint_a * (1 + slope / 0.5e-9 + 0.01 * noise), dtype=np.float32)


class _Stop(threading.Event):
    """Waits in short stretches: Windows hands a Ctrl-C to Python only between two of them."""

    def wait(self, timeout: float | None = None) -> bool:
        left = timeout if timeout is not None else threading.TIMEOUT_MAX
        end = time.monotonic() + left
        while left > 0 and not super().wait(min(left, 0.2)):
            left = end - time.monotonic()
        return self.is_set()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the simulated microscope from the command line until it is done or Ctrl-C is pressed."""
    plan = ScanPlan()
    parser = argparse.ArgumentParser(
        prog="spm-live-simulate", description="Simulates a scanning tunnelling microscope that saves .sxm files."
    )
    parser.add_argument("folder", type=Path, help="where the scan files go")
    parser.add_argument("--pixels", type=int, default=plan.pixels, help="rows and columns (default %(default)s)")
    parser.add_argument("--size-nm", type=float, default=plan.size_nm, help="width and height (default %(default)s)")
    parser.add_argument("--frame-time", type=float, default=plan.frame_time_s, help="s a frame (default %(default)s)")
    parser.add_argument("--frames", type=int, help="stop after so many (default: go on until Ctrl-C)")
    parser.add_argument("--slow-write", type=float, default=0.0, metavar="S", help="let a file grow for so many s")
    parser.add_argument("--seed", type=int, default=plan.seed, help="another seed, another surface")
    parser.add_argument("--series", default=plan.series, help="start of the file names (default %(default)s)")
    parser.add_argument("--truth", type=Path, metavar="DIR", help="keep the truth about each frame here, as JSON")
    given = parser.parse_args(arguments)
    try:
        plan = ScanPlan(
            given.pixels, given.size_nm, given.frame_time, given.frames, given.slow_write, given.seed, given.series
        )
    except ValueError as error:
        parser.error(str(error))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    stop = _Stop()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        SimulatedInstrument(given.folder, plan, truth=given.truth).run(stop)
    except OSError as error:
        parser.exit(2, f"spm-live-simulate: {error}\n")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
