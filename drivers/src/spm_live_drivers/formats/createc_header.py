"""What the header of a Createc scan file says of the scan.

No description by the maker was found. What is known is from other programs and from real files:

* Kinds, and the zero before the values: Gwyddion, ``createc.c``; SpectraFox, ``cFileImportCreatecDAT.vb``.
* A converter of n bits spans 20 V, an amplifier ``GainX``, ``GainY`` or ``GainZ`` times that; the piezo constants are
  in Å/V: Gwyddion; GXSM, ``gmeyer_im_export.C``. With these, ``Length x[A]`` is ``Num.X`` times ``Delta X [Dac]`` to
  five digits in every real file of the tests. ``Dacto[A]z`` is in Å at gain 1 (SpectraFox; in ProbeFlow,
  ``io/common.py``, a step at GainZ = 3 came out three times too high without the gain).
* A current is 20 V / 2^n / 10^Gainpreamp per count: by that, the mean of the current is the set point to 6 % in every
  real file of the tests.
* Planes: all chosen channels forward, then all of them backward, the backward ones in picture order too (measured);
  ``Scanmode`` 1 means forward alone (Nanoview, ``createc.cpp``). Bits of ``Channelselectval``: 1 height, 2 current
  (Gwyddion).
* The offset is where the middle of the first line lies, not the middle of the frame (SpectraFox, GXSM, Nanoview); its
  sign and that of the rotation are those of the map of py_createc, ``scripts/map/map.py``, which was used on a running
  instrument. SpectraFox and GXSM have x the other way round.
"""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass

from spm_live_drivers.contract import MAX_FRAME_PIXELS, ChannelInfo, Trace
from spm_live_drivers.formats.createc_text import MARKER, HeaderError, find_data, number_in, parse_fields

_CONVERTER_SPAN_V = 20.0
_NM_PER_ANGSTROM = 0.1
_M_PER_ANGSTROM = 1e-10
_MAX_PLANES = 64
_BITS = range(12, 33)
_HEIGHT, _CURRENT = "Z", "Current"
_ROUNDED_ANGSTROM = 0.6e-5  # Dacto[A]z has five decimals
_ALIKE = 0.02


@dataclass(frozen=True, slots=True)
class CreatecHeader:
    """What is needed to read the planes.

    Parameters
    ----------
    data_start : int
        Where the compressed values begin, in bytes.
    rows, columns : int
        Shape of every plane, in pixels.
    channels : tuple of ChannelInfo
        In the order of their planes; all of them have the same traces.
    factors : tuple of float
        For each channel, what one count is in the unit of the channel.
    size_nm, center_nm : (float, float)
        Width and height of the frame, and x and y of its middle, in nm; y grows up.
    angle_deg : float
        Rotation of the frame, clockwise positive, in degrees.
    consistent : bool
        Whether the lengths of the frame bear out the number of pixels; True where the header cannot tell.
    fields : mapping of str to str
        Every entry by its first name.
    warnings : tuple of str
        What had to be assumed.
    """

    data_start: int
    rows: int
    columns: int
    channels: tuple[ChannelInfo, ...]
    factors: tuple[float, ...]
    size_nm: tuple[float, float]
    center_nm: tuple[float, float]
    angle_deg: float
    consistent: bool
    fields: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    @property
    def traces(self) -> tuple[Trace, ...]:
        """In the order of their planes."""
        return self.channels[0].traces

    @property
    def planes(self) -> int:
        """How many planes the file holds."""
        return len(self.channels) * len(self.traces)

    @property
    def pixels(self) -> int:
        """How many pixels one plane has."""
        return self.rows * self.columns

    def plane(self, channel: ChannelInfo, trace: Trace) -> int:
        """Which plane it is, from 0."""
        return self.traces.index(trace) * len(self.channels) + self.channels.index(channel)


def parse_header(mapped: mmap.mmap | bytes) -> CreatecHeader:
    """Read the header.

    Raises
    ------
    HeaderError
        If it lacks what is needed, or describes a scan of a kind that is not read.
    CutHeaderError
        If the file ends before the values begin.
    """
    start = find_data(mapped)
    fields = parse_fields(bytes(mapped[: start - len(MARKER)]))
    warnings: list[str] = []
    rows, columns = _count(fields, "Num.Y"), _count(fields, "Num.X")
    if rows * columns > MAX_FRAME_PIXELS:
        raise HeaderError(f"header says {rows} x {columns} px; {MAX_FRAME_PIXELS} pixels are accepted")
    if number_in(fields, "ScanmodeSine") not in (None, 0):
        raise HeaderError(
            "scanned with a sine along the lines (ScanmodeSine): its pixels are not evenly spaced, not read"
        )
    bits = _converter_bits(fields, warnings)
    channels = _channels(fields)
    size_nm, consistent = _size_nm(fields, (columns, rows), bits, warnings)
    rotation = number_in(fields, "Rotation") or 0.0
    return CreatecHeader(
        data_start=start,
        rows=rows,
        columns=columns,
        channels=channels,
        factors=tuple(_factor(channel, fields, bits, warnings) for channel in channels),
        size_nm=size_nm,
        center_nm=_center_nm(fields, size_nm[1], bits, rotation, warnings),
        angle_deg=0.0 - rotation,
        consistent=consistent,
        fields=fields,
        warnings=tuple(warnings),
    )


def _count(fields: Mapping[str, str], name: str) -> int:
    value = number_in(fields, name)
    if value is None or value < 1 or value != int(value):
        raise HeaderError(f"{name} is {fields.get(name)!r}, not a number of pixels")
    return int(value)


def _converter_bits(fields: Mapping[str, str], warnings: list[str]) -> int:
    found = re.match(r"(\d+) ?bit", fields.get("DAC-Type", ""))
    if found and int(found[1]) in _BITS:
        return int(found[1])
    warnings.append(f"DAC-Type is {fields.get('DAC-Type')!r}; taken as 20 bit")
    return 20


def _volt(bits: int) -> float:
    """One count of a converter, in V."""
    return float(_CONVERTER_SPAN_V / 2**bits)


def _channels(fields: Mapping[str, str]) -> tuple[ChannelInfo, ...]:
    """The chosen channels; the number of planes must be that of all of them in all directions."""
    planes, directions = _count(fields, "Channels"), number_in(fields, "Scanmode")
    chosen = number_in(fields, "Channelselectval")
    if chosen is not None:
        bits = [bit for bit in range(_MAX_PLANES) if int(chosen) >> bit & 1] if chosen > 0 else []
    else:  # older programs: 1 is the height, 2 also the current, 4 also two inputs (Nanoview, createc.cpp)
        bits = list(range(int(number_in(fields, "Chan(1,2,4)") or 0)))[:4]
    if directions not in (1, 2) or len(bits) * directions != planes or planes > _MAX_PLANES:
        raise HeaderError(
            f"header says {planes} planes, {len(bits)} chosen channels, scan mode {fields.get('Scanmode')!r}: "
            "files with such a number of planes (several voltages, say) are not read"
        )
    traces = (Trace.FORWARD,) if directions == 1 else (Trace.FORWARD, Trace.BACKWARD)
    known = {0: (_HEIGHT, "m"), 1: (_CURRENT, "A")}
    return tuple(ChannelInfo(*known.get(bit, (f"Signal_{bit}", "1")), traces) for bit in bits)


def _factor(channel: ChannelInfo, fields: Mapping[str, str], bits: int, warnings: list[str]) -> float:
    """What one count of a channel is in its unit; signals that are not known stay counts."""
    if channel.name == _HEIGHT:
        return _height_m(fields, bits, warnings)
    if channel.name != _CURRENT:
        return 1.0
    gain = number_in(fields, "Gainpreamp")
    if number_in(fields, "CHMode"):
        gain = number_in(fields, "CHModeGainpreamp", "Gainpreamp")
        warnings.append("scanned at constant height: bias and gain are taken to be CHModeBias[mV] and CHModeGainpreamp")
    if gain is None or not 0 <= gain <= 15:
        raise HeaderError(f"Gainpreamp is {fields.get('Gainpreamp')!r}, not a power of ten of V/A")
    return float(_volt(bits) / 10**gain)


def _height_m(fields: Mapping[str, str], bits: int, warnings: list[str]) -> float:
    gain = number_in(fields, "GainZ")
    constant, rounded = number_in(fields, "ZPiezoconst"), number_in(fields, "Dacto[A]z")
    angstrom = constant * _volt(bits) if constant else rounded
    if not gain or not angstrom:
        raise HeaderError("the scale of the height is missing: GainZ, and ZPiezoconst or Dacto[A]z")
    if rounded is not None and abs(angstrom - rounded) > _ROUNDED_ANGSTROM:
        warnings.append(
            f"ZPiezoconst means {angstrom:.5f} Å a count, Dacto[A]z says {rounded:.5f}; heights may be wrong"
        )
    witness = fields.get("ActGainXYZ", "").split()
    if len(witness) == 3 and number_in({"z": witness[2]}, "z") not in (None, gain):
        warnings.append(f"GainZ is {gain:g}, ActGainXYZ says {witness[2]}; heights may be wrong")
    return angstrom * gain * _M_PER_ANGSTROM


def _nm_per_count(fields: Mapping[str, str], axis: str, bits: int) -> float | None:
    gain = number_in(fields, f"Gain{axis}")
    constant = number_in(fields, f"{axis}piezoconst", f"{axis}Piezoconst")
    if gain and constant:
        return abs(gain * constant) * _volt(bits) * _NM_PER_ANGSTROM
    rounded = number_in(fields, "Dacto[A]xy")
    return abs(rounded * gain) * _NM_PER_ANGSTROM if rounded and gain else None


def _size_nm(
    fields: Mapping[str, str], pixels: tuple[int, int], bits: int, warnings: list[str]
) -> tuple[tuple[float, float], bool]:
    """Width and height, and whether the number of pixels and their pitch bear them out."""
    sizes: list[float] = []
    consistent = True
    for axis, count in zip("XY", pixels, strict=True):
        length, delta = number_in(fields, f"Length {axis.lower()}[A]"), number_in(fields, f"Delta {axis}")
        pitch = _nm_per_count(fields, axis, bits)
        told = abs(length) * _NM_PER_ANGSTROM if length else None
        made = abs(delta) * pitch * count if delta and pitch else None
        size = told or made
        if not size:
            raise HeaderError(f"the length of the frame along {axis.lower()} is missing or zero")
        if told and made and abs(told - made) > _ALIKE * made:
            consistent = False
            warnings.append(
                f"Length {axis.lower()}[A] means {told:g} nm, {count} pixels of Delta {axis} mean {made:g} nm; "
                "the scale may be wrong"
            )
        sizes.append(size)
    return (sizes[0], sizes[1]), consistent


def _center_nm(
    fields: Mapping[str, str], height_nm: float, bits: int, rotation_deg: float, warnings: list[str]
) -> tuple[float, float]:
    """x and y of the middle of the frame, from the middle of its first line."""
    offsets = number_in(fields, "Scanrotoffx"), number_in(fields, "Scanrotoffy")
    pitches = _nm_per_count(fields, "X", bits), _nm_per_count(fields, "Y", bits)
    if None in offsets or None in pitches:
        warnings.append("the header does not tell where the frame lies; its first line is put at 0, 0")
    x = -(offsets[0] or 0.0) * (pitches[0] or 0.0)
    y = (offsets[1] or 0.0) * (pitches[1] or 0.0)
    turn = math.radians(rotation_deg)
    return x + math.sin(turn) * height_nm / 2, y - math.cos(turn) * height_nm / 2
