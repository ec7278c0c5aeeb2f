"""What a MATRIX chain says of one scan, checked: its geometry, its settings, and how its values are to be read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from access2thematrix import MtrxData
from numpy.typing import NDArray

from spm_live_drivers.contract import MAX_FRAME_PIXELS, ScanGeometry
from spm_live_drivers.formats.matrix_chain import ScanRecord, Transfer
from spm_live_drivers.formats.matrix_result import ResultHeader

_NM_PER_M = 1e9
_LONGEST_M = 1e-2
_SI_UNITS = {"Ampere": "A", "Volt": "V", "Meter": "m", "Hertz": "Hz", "--": ""}
_GEOMETRY = ("Points", "Lines", "Width", "Height", "Angle", "X_Offset", "Y_Offset", "X_Retrace", "Y_Retrace")

_FACTORS = {
    "TFF_Identity": (),
    "TFF_Linear1D": ("Offset", "Factor"),
    "TFF_MultiLinear1D": ("Raw_1", "PreOffset", "Offset", "NeutralFactor", "PreFactor"),
}
"""Parameters of the transfer functions that access2theMatrix knows; it takes any other for the identity."""


class ScanError(Exception):
    """The chain does not describe this scan; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class MatrixScan:
    """One scan, as its chain describes it.

    Parameters
    ----------
    geometry : ScanGeometry
        The full frame.
    has_backward, has_down : bool
        Whether lines were also scanned backward, and the frame also from the top.
    transfer : Transfer
        Turns the integers of the file's channel into a physical quantity.
    bias_v : float or None
        Gap voltage, in V.
    setpoint : float or None
        Of the first feedback loop, in ``setpoint_unit``.
    setpoint_unit : str
        Its SI unit.
    duration_s : float
        Values taken times the time of one; waiting times at the ends of lines are not in it.
    record : ScanRecord
        All of it, unchecked.
    warnings : tuple of str
        What was assumed.
    """

    geometry: ScanGeometry
    has_backward: bool
    has_down: bool
    transfer: Transfer
    bias_v: float | None
    setpoint: float | None
    setpoint_unit: str
    duration_s: float
    record: ScanRecord
    warnings: tuple[str, ...]

    @property
    def values_per_line(self) -> int:
        """Values of one line, backward half included."""
        return self.geometry.columns * (1 + self.has_backward)

    def to_physical(self, values: NDArray[np.int32]) -> NDArray[np.float32]:
        """Apply the transfer function, through access2theMatrix.

        Raises
        ------
        ScanError
            If it gives no finite numbers.
        """
        library = MtrxData()
        library.channel_name = "channel"
        library.param = {
            "DICT::0": ["channel", self.transfer.unit],
            "XFER::0": [self.transfer.kind, self.transfer.unit, self.transfer.factors],
        }
        with np.errstate(all="ignore"):
            result = np.asarray(library._transfer(values)).astype(np.float32)
        if not np.isfinite(result).all():
            raise ScanError(
                f"the transfer function {self.transfer.kind} {dict(self.transfer.factors)} gives no numbers"
            )
        return result


def scan_of(record: ScanRecord, header: ResultHeader) -> MatrixScan:
    """Check what the chain says against what the result file says.

    Raises
    ------
    ScanError
        If something is missing or absurd, or describes another number of values than the file's: then every length
        would be wrong without a sign of it.
    """
    columns, rows = _count(record, "Points"), _count(record, "Lines")
    if columns * rows > MAX_FRAME_PIXELS:
        raise ScanError(f"its chain says {rows} x {columns} px, more than {MAX_FRAME_PIXELS}")
    has_backward, has_down = _flag(record, "X_Retrace"), _flag(record, "Y_Retrace")
    duration_s = header.captured * _number(record, "XYScanner.Raster_Time", "Second")
    changed = _changed_during(record, duration_s)
    warnings = _compare(header, rows, columns * (1 + has_backward), 1 + has_down, changed)
    if changed:
        warnings += (f"{', '.join(changed)} changed while the scan ran; the new value is taken for all of it",)
    setpoint, setpoint_unit = record.parameters.get("Regulator.Setpoint_1", (None, ""))
    return MatrixScan(
        geometry=_geometry(record, rows, columns),
        has_backward=has_backward,
        has_down=has_down,
        transfer=_checked(record.transfer),
        bias_v=_optional(record, "GapVoltageControl.Voltage", "Volt"),
        setpoint=_optional(record, "Regulator.Setpoint_1", setpoint_unit) if setpoint is not None else None,
        setpoint_unit=_SI_UNITS.get(setpoint_unit, setpoint_unit),
        duration_s=duration_s,
        record=record,
        warnings=warnings,
    )


def _geometry(record: ScanRecord, rows: int, columns: int) -> ScanGeometry:
    """Offsets are those of the frame's middle: the chain's STS_LOCATION marks count pixels and metres from it.

    access2theMatrix turns offsets by the angle counter-clockwise; here clockwise is positive.
    """
    size = tuple(_number(record, f"XYScanner.{side}", "Meter") for side in ("Width", "Height"))
    center = tuple(_number(record, f"XYScanner.{axis}_Offset", "Meter") for axis in "XY")
    if not all(0 < length < _LONGEST_M for length in size) or not all(abs(place) < _LONGEST_M for place in center):
        raise ScanError(f"its chain says a scan range of {size[0]:g} x {size[1]:g} m at {center[0]:g}, {center[1]:g} m")
    angle_deg = _number(record, "XYScanner.Angle", "Degree")
    if abs(angle_deg) > 360:
        raise ScanError(f"its chain says an angle of {angle_deg:g} degrees")
    return ScanGeometry(
        rows=rows,
        columns=columns,
        size_nm=(size[0] * _NM_PER_M, size[1] * _NM_PER_M),
        center_nm=(center[0] * _NM_PER_M, center[1] * _NM_PER_M),
        angle_deg=0.0 - angle_deg,
    )


def _compare(header: ResultHeader, rows: int, per_line: int, passes: int, changed: tuple[str, ...]) -> tuple[str, ...]:
    expected = rows * per_line * passes
    if header.intended == expected:
        return ()
    says = f"the file was meant to hold {header.intended} values, its chain says {rows} lines of {per_line}"
    stopped = header.intended == header.captured < expected and header.captured % per_line == 0
    if not stopped or {"Points", "Lines"} & set(changed):
        raise ScanError(f"{says}: they are not of one scan")
    return (f"{says}; taken for a scan that was stopped",)


def _changed_during(record: ScanRecord, duration_s: float) -> tuple[str, ...]:
    """Which parameters of the scanner were changed after the scan began; times are whole seconds."""
    began_s = record.ended_s - duration_s + 1
    return tuple(name for name in _GEOMETRY if began_s < record.changed_s.get(f"XYScanner.{name}", 0) <= record.ended_s)


def _checked(transfer: Transfer | None) -> Transfer:
    if transfer is None:
        raise ScanError("its chain does not say how the values of this channel are to be read")
    if transfer.kind not in _FACTORS:
        raise ScanError(f"its transfer function {transfer.kind!r} is not known")
    for name in _FACTORS[transfer.kind]:
        value = transfer.factors.get(name)
        if not isinstance(value, float | int) or not math.isfinite(value):
            raise ScanError(f"its transfer function {transfer.kind} says {name} = {value}")
    return transfer


def _number(record: ScanRecord, key: str, unit: str) -> float:
    if key not in record.parameters:
        raise ScanError(f"its chain has no {key}")
    value, said = record.parameters[key]
    if isinstance(value, bool) or not isinstance(value, float | int) or not math.isfinite(value) or said != unit:
        raise ScanError(f"its chain says {key} = {value!r} {said}, where a number in {unit} is meant")
    return float(value)


def _optional(record: ScanRecord, key: str, unit: str) -> float | None:
    return _number(record, key, unit) if key in record.parameters else None


def _count(record: ScanRecord, key: str) -> int:
    value = _number(record, f"XYScanner.{key}", "Count")
    if value < 1 or not value.is_integer():
        raise ScanError(f"its chain says {key} = {value:g}")
    return int(value)


def _flag(record: ScanRecord, key: str) -> bool:
    value, _ = record.parameters.get(f"XYScanner.{key}", (None, ""))
    if not isinstance(value, bool):
        raise ScanError(f"its chain says {key} = {value!r}, where yes or no is meant")
    return value
