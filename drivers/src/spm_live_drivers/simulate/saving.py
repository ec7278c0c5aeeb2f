"""How the simulated instrument names and writes its files: ``.sxm``, or those of MATRIX."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import numpy as np

from spm_live_drivers.formats.matrix_chain import Transfer
from spm_live_drivers.formats.matrix_result import parse_name
from spm_live_drivers.formats.matrix_values import CURRENT, HEIGHT, MatrixChannel, linear
from spm_live_drivers.formats.matrix_writer import Later, MatrixExperiment, MatrixSettings
from spm_live_drivers.formats.nanonis_writer import SxmChannel, SxmSettings, write_sxm
from spm_live_drivers.simulate.plan import ScanPlan
from spm_live_drivers.synthetic import SyntheticScan

SLOW_PIECES = 20
"""Pieces in which a slowly written scan grows."""

SETPOINT_A = 50e-12
"""Current set point."""

MATRIX_CHANNELS = {"m": "Z", "A": "I", "Hz": "Df"}
"""What MATRIX calls the channel of a unit; any other is on the first auxiliary input."""

MATRIX_RUN = 1
"""All scans are repetitions of one run; the number of a frame is its cycle."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A scan that is to be saved.

    Parameters
    ----------
    number : int
        Number of the frame.
    scan : SyntheticScan
        What was scanned.
    channels : tuple of SxmChannel
        What was recorded of it, the main channel first.
    started : datetime
        Local time of its first line, without a zone.
    line_s : float
        Time of one line, forward and backward together, in s.
    """

    number: int
    scan: SyntheticScan
    channels: tuple[SxmChannel, ...]
    started: datetime
    line_s: float


class ScanFiles(Protocol):
    """The files of one format."""

    def last_number(self) -> int:
        """Highest number in the folder; 0 where there is none."""
        ...

    def path_of(self, number: int, unit: str = "m") -> Path:
        """File of the main channel of a frame, whose values have this unit."""
        ...

    def save(self, recording: Recording, pieces: int, pause: Callable[[], object], later: Later | None) -> None:
        """Write a scan.

        Parameters
        ----------
        recording : Recording
            The scan.
        pieces : int
            1: every file appears whole.
        pause : callable
            Called between two pieces.
        later : callable or None
            Given the last act, where the format has one that may come later; None: it is done at once.
        """
        ...


def files_of(folder: Path, plan: ScanPlan) -> ScanFiles:
    """The files that a plan asks for."""
    return MatrixFiles(folder, plan.series) if plan.format == "matrix" else SxmFiles(folder, plan.series)


class SxmFiles:
    """One ``.sxm`` file for every scan, ``<series><number>.sxm``; nothing of it may come later."""

    def __init__(self, folder: Path, series: str) -> None:
        self._folder, self._series = folder, series

    def last_number(self) -> int:
        """See :class:`ScanFiles`."""
        name = re.compile(re.escape(self._series) + r"(\d{4,})\.sxm")
        taken = (name.fullmatch(path.name) for path in self._folder.iterdir())
        return max((int(match[1]) for match in taken if match), default=0)

    def path_of(self, number: int, unit: str = "m") -> Path:
        """See :class:`ScanFiles`."""
        return self._folder / f"{self._series}{number:04d}.sxm"

    def save(self, recording: Recording, pieces: int, pause: Callable[[], object], later: Later | None) -> None:
        """See :class:`ScanFiles`."""
        settings = SxmSettings(
            started=recording.started,
            line_time_s=recording.line_s / 2,
            setpoint_a=SETPOINT_A,
            direction=recording.scan.direction,
            comment="simulated",
            series=self._series,
        )
        path = self.path_of(recording.number)
        write_sxm(path, recording.channels, recording.scan.geometry, settings, pieces=pieces, pause=pause)


class MatrixFiles:
    """A MATRIX experiment: a result file for every channel of every scan, and one parameter chain."""

    def __init__(self, folder: Path, series: str) -> None:
        self._folder = folder
        self._stem = series.rstrip("_-.") or series
        self._experiment = MatrixExperiment(folder, self._stem)

    def last_number(self) -> int:
        """See :class:`ScanFiles`."""
        taken = (parse_name(path) for path in self._folder.iterdir())
        mine = (name for name in taken if name and (name.stem, name.run) == (self._stem, MATRIX_RUN))
        return max((name.cycle for name in mine), default=0)

    def path_of(self, number: int, unit: str = "m") -> Path:
        """See :class:`ScanFiles`."""
        return self._experiment.path_of(MATRIX_RUN, number, _channel_of(unit))

    def save(self, recording: Recording, pieces: int, pause: Callable[[], object], later: Later | None) -> None:
        """See :class:`ScanFiles`; ``later`` is given the entry of the scan in the chain."""
        geometry = recording.scan.geometry
        channels = [
            MatrixChannel(_channel_of(one.unit), _transfer_of(one), one.forward, one.backward)
            for one in recording.channels
        ]
        lines = int(np.isfinite(recording.channels[0].forward).any(axis=1).sum())
        # The instrument's clock has no zone; that of this machine is meant.
        started = recording.started.astimezone(UTC)
        settings = MatrixSettings(
            ended=started + timedelta(seconds=lines * recording.line_s),
            raster_time_s=recording.line_s / (2 * geometry.columns),
            setpoint=SETPOINT_A,
            comment="simulated",
        )
        self._experiment.save(
            MATRIX_RUN,
            recording.number,
            channels,
            geometry,
            settings,
            # So that a scan of two files takes no longer than one of a single file.
            pieces=1 if pieces == 1 else max(2, pieces // len(channels)),
            pause=pause,
            later=later,
        )


def _channel_of(unit: str) -> str:
    return MATRIX_CHANNELS.get(unit, "Aux1")


def _transfer_of(channel: SxmChannel) -> Transfer:
    """That of a real instrument, unless the values are too large for it."""
    planes = [plane for plane in (channel.forward, channel.backward) if plane is not None]
    largest = max(float(np.abs(plane[np.isfinite(plane)]).max(initial=0.0)) for plane in planes)
    usual, reach = {"m": (HEIGHT, 0.8e-6), "A": (CURRENT, 0.3e-6)}.get(channel.unit, (None, 0.0))
    return usual if usual is not None and largest <= reach else linear(channel.unit, largest)
