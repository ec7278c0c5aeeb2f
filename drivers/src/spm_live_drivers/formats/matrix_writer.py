"""Writes Omicron MATRIX scans, as the instrument's own software does: result files, and the chain that explains them.

A result file holds the integers of one channel of one scan, ``<stem>--<run>_<cycle>.<channel>_mtrx``; everything else
stands in the parameter chain ``<stem>_0001.mtrx``, which grows with every scan (layout:
:mod:`spm_live_drivers.formats.matrix_bytes`). Order of the values: :mod:`spm_live_drivers.formats.omicron_matrix`.

What an ``.sxm`` file can say and these cannot: a scan always begins at the bottom (a down scan only follows an up scan
of the same place), and there is no value for a pixel that was not scanned, so that a scan can only end early.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from spm_live_drivers.contract import ScanGeometry
from spm_live_drivers.formats.matrix_bytes import (
    ParameterValue,
    chain_head,
    change_block,
    channels_block,
    mark_block,
    parameters_block,
    reference_block,
    result_bytes,
)
from spm_live_drivers.formats.matrix_chain import Transfer
from spm_live_drivers.formats.matrix_result import MAGIC, ResultName
from spm_live_drivers.formats.matrix_values import MatrixChannel, raw_values
from spm_live_drivers.formats.pieces import put_file

PROGRAM = "MATRIX=V3.2.3 (simulated)"

_RECORDS = "MTRX$ENABLE_RECORDING-"
_UNITS = {"A": "Ampere", "V": "Volt", "m": "Meter", "Hz": "Hertz"}

Later = Callable[[Callable[[], object]], object]
"""Takes over something that is to be done after a while."""


@dataclass(frozen=True, slots=True)
class MatrixSettings:
    """What the chain says beside the pictures.

    Parameters
    ----------
    ended : datetime
        When the scan was over, with a time zone; whole seconds are kept.
    raster_time_s : float
        Time of one pixel, in s.
    bias_v : float
        Gap voltage in V.
    setpoint : float
        Of the first feedback loop, in ``setpoint_unit``.
    setpoint_unit : str
        SI unit, such as ``"A"`` or ``"Hz"``.
    feedback : bool
        Whether the loop is closed.
    sample, data_set, comment : str
        What the person at the instrument typed in.
    """

    ended: datetime
    raster_time_s: float = 5e-4
    bias_v: float = 1.0
    setpoint: float = 50e-12
    setpoint_unit: str = "A"
    feedback: bool = True
    sample: str = ""
    data_set: str = ""
    comment: str = ""

    def __post_init__(self) -> None:
        if self.ended.tzinfo is None:
            raise ValueError(f"{self.ended} has no time zone")


@dataclass(frozen=True, slots=True)
class _Told:
    """What a chain has said so far."""

    parameters: Mapping[str, tuple[ParameterValue, str]] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    transfers: Mapping[str, Transfer] = field(default_factory=dict)


class MatrixExperiment:
    """The files of one experiment, and the chain that grows with them.

    Parameters
    ----------
    folder : Path
        Where they lie. A chain that is there already is continued.
    stem : str
        Name of the experiment, the start of all file names.

    Examples
    --------
    >>> MatrixExperiment(Path("scans"), "20260504").path_of(4, 1, "Z").name
    '20260504--4_1.Z_mtrx'
    """

    def __init__(self, folder: Path, stem: str) -> None:
        self._folder, self._stem = folder, stem
        self._told: _Told | None = None

    @property
    def chain_path(self) -> Path:
        """The parameter chain."""
        return self._name(0, 0, "").first_link

    def path_of(self, run: int, cycle: int, channel: str) -> Path:
        """The result file of a channel."""
        return self._name(run, cycle, channel).sibling(channel)

    def save(
        self,
        run: int,
        cycle: int,
        channels: Sequence[MatrixChannel],
        geometry: ScanGeometry,
        settings: MatrixSettings,
        *,
        pieces: int = 1,
        pause: Callable[[], object] | None = None,
        later: Later | None = None,
    ) -> tuple[Path, ...]:
        """Write the result files of a scan and then add it to the chain.

        Parameters
        ----------
        run, cycle : int
            Which scan, and which repetition of it.
        channels : sequence of MatrixChannel
            What was recorded.
        geometry : ScanGeometry
            The full frame, also where it was not scanned to the end.
        settings : MatrixSettings
            The rest.
        pieces, pause
            Of every result file, as for :func:`spm_live_drivers.formats.pieces.put_file`.
        later : callable or None
            Given the act of adding the scan to the chain, for a chain that is written late; several have to be done in
            their order. None: it is done at once.

        Returns
        -------
        tuple of Path
            The result files, in the order of the channels.

        Raises
        ------
        ValueError
            As :func:`~spm_live_drivers.formats.matrix_values.raw_values`; also if there is no channel, or the channels
            were not scanned equally far.
        OSError
            If a file cannot be written, or something else lies where the chain should.
        """
        if not channels:
            raise ValueError("a scan needs at least one channel")
        values = [raw_values(channel, geometry) for channel in channels]
        shapes = {(array.size, len(one.up), len(one.down)) for array, one in zip(values, channels, strict=True)}
        if len(shapes) > 1:
            raise ValueError("the channels of one scan were not scanned equally far")
        first = channels[0]
        intended = geometry.rows * geometry.columns * (len(first.up) + len(first.down))
        ended_s = int(settings.ended.timestamp())
        paths = tuple(self.path_of(run, cycle, channel.name) for channel in channels)
        for path, array in zip(paths, values, strict=True):
            put_file(path, result_bytes(array, intended, ended_s), pieces, pause)
        began_s = math.floor(settings.ended.timestamp() - values[0].size * settings.raster_time_s)
        said = _Told(
            _parameters(first, geometry, settings),
            _marks(channels, settings),
            {channel.name: channel.transfer for channel in channels},
        )

        def add() -> None:
            self._add(said, [path.name for path in paths], began_s, ended_s)

        if later is None:
            add()
        else:
            later(add)
        return paths

    def _name(self, run: int, cycle: int, channel: str) -> ResultName:
        return ResultName(self._folder, self._stem, run, cycle, channel)

    def _add(self, said: _Told, names: Sequence[str], began_s: int, ended_s: int) -> None:
        """Add a scan to the chain: what has changed since the last one, and the names of its files."""
        with self.chain_path.open("a+b") as chain:
            size = chain.tell()
            chain.seek(0)
            if size and chain.read(len(MAGIC)) != MAGIC:
                raise FileExistsError(f"{self.chain_path} is there and is no parameter chain")
            # Somebody may have cleared the folder since the last scan.
            told = self._told if size and self._told is not None else None
            blocks = [] if size else [chain_head(PROGRAM, began_s)]
            blocks += _changes(told, said, began_s)
            if told is None or any(told.transfers.get(name) != one for name, one in said.transfers.items()):
                # Numbers have to grow along the chain, and over a restart too: as the chain itself does.
                blocks.append(channels_block(said.transfers, ended_s, first=1 + size))
                told_transfers = said.transfers
            else:
                told_transfers = told.transfers
            blocks += [reference_block(name, ended_s) for name in names]
            chain.write(b"".join(blocks))
        self._told = _Told(said.parameters, said.marks, told_transfers)


def _changes(told: _Told | None, said: _Told, began_s: int) -> list[bytes]:
    if told is None:
        return [
            parameters_block(said.parameters, began_s),
            *(mark_block(mark, began_s) for mark in said.marks),
        ]
    blocks = [
        change_block(key, *value, began_s)
        for key, value in said.parameters.items()
        # True is 1 in Python, but not in the file.
        if told.parameters.get(key) != value or type(told.parameters[key][0]) is not type(value[0])
    ]
    ended = [mark for mark in told.marks if mark.startswith(_RECORDS) and mark not in said.marks]
    blocks += [mark_block(mark.replace("$ENABLE", "$DISABLE"), began_s) for mark in ended]
    return blocks + [mark_block(mark, began_s) for mark in said.marks if mark not in told.marks]


def _marks(channels: Sequence[MatrixChannel], settings: MatrixSettings) -> tuple[str, ...]:
    words = {
        "SAMPLE_NAME": settings.sample,
        "DATA_SET_NAME": settings.data_set,
        "CREATION_COMMENT": settings.comment,
    }
    return tuple(f"{_RECORDS}{channel.name}" for channel in channels) + tuple(
        f"MTRX${name}-{value}" for name, value in words.items()
    )


def _parameters(
    channel: MatrixChannel, geometry: ScanGeometry, settings: MatrixSettings
) -> dict[str, tuple[ParameterValue, str]]:
    """The parameters of a scan; angles are counter-clockwise here, and whole ones are integers."""
    angle = 0.0 - geometry.angle_deg
    width_m, height_m = (size * 1e-9 for size in geometry.size_nm)
    x_m, y_m = (place * 1e-9 for place in geometry.center_nm)
    unit = _UNITS.get(settings.setpoint_unit, settings.setpoint_unit)
    return {
        "XYScanner.Points": (geometry.columns, "Count"),
        "XYScanner.Lines": (geometry.rows, "Count"),
        "XYScanner.Width": (width_m, "Meter"),
        "XYScanner.Height": (height_m, "Meter"),
        "XYScanner.X_Offset": (x_m, "Meter"),
        "XYScanner.Y_Offset": (y_m, "Meter"),
        "XYScanner.Angle": (int(angle) if angle.is_integer() else angle, "Degree"),
        "XYScanner.X_Retrace": (channel.backward is not None, "--"),
        "XYScanner.Y_Retrace": (bool(channel.down), "--"),
        "XYScanner.Raster_Time": (float(settings.raster_time_s), "Second"),
        "GapVoltageControl.Voltage": (float(settings.bias_v), "Volt"),
        "Regulator.Setpoint_1": (float(settings.setpoint), unit),
        "Regulator.Feedback_Loop_Enabled": (settings.feedback, "--"),
    }
