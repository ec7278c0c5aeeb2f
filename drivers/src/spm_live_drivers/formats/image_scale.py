"""The sidecar of a picture: what the picture itself does not say, in a small JSON file beside it.

For ``scan.png`` it is ``scan.png.json`` or ``scan.spm.json`` (never ``scan.json``, which labelme uses). All keys are
optional, and no others are allowed: ``nm_per_px`` (a number, or x and y) or ``size_nm`` (width and height);
``center_nm`` (x and y); ``angle_deg`` (clockwise); ``unit`` (of the values: m, nm, pm, A, nA, pA, V, mV, Hz, ...);
``value_range`` (the values of black and white, or of the ends of the colour table, in ``unit``); ``channel``;
``direction`` (up or down); ``bias_v``; ``setpoint`` and ``setpoint_unit``; ``started`` and ``ended`` (ISO 8601; without
an offset they are local time of the instrument); ``instrument``; ``comment``; ``colour_table``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from spm_live_drivers.contract import ScanDirection

MAX_SIDECAR_BYTES = 1024 * 1024
_SI = {
    **{
        prefix + "m": ("m", factor) for prefix, factor in {"": 1.0, "µ": 1e-6, "u": 1e-6, "n": 1e-9, "p": 1e-12}.items()
    },
    **{prefix + "A": ("A", factor) for prefix, factor in {"": 1.0, "n": 1e-9, "p": 1e-12, "f": 1e-15}.items()},
    **{prefix + "V": ("V", factor) for prefix, factor in {"": 1.0, "m": 1e-3, "µ": 1e-6, "u": 1e-6}.items()},
    **{prefix + "Hz": ("Hz", factor) for prefix, factor in {"": 1.0, "k": 1e3, "m": 1e-3}.items()},
    "Å": ("m", 1e-10),
    "angstrom": ("m", 1e-10),
    "deg": ("deg", 1.0),
    "1": ("1", 1.0),
}


class SidecarError(Exception):
    """The sidecar cannot be used; the text names it and lists what is wrong."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a sidecar says; None where it does not. Values in SI units, lengths of the scanner in nm."""

    nm_per_px: tuple[float, float] | None = None
    size_nm: tuple[float, float] | None = None
    center_nm: tuple[float, float] | None = None
    angle_deg: float | None = None
    unit: str | None = None
    value_range: tuple[float, float] | None = None
    channel: str | None = None
    direction: ScanDirection | None = None
    bias_v: float | None = None
    setpoint: float | None = None
    setpoint_unit: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    instrument: str | None = None
    comment: str | None = None
    colour_table: str | None = None

    @property
    def si_unit(self) -> str:
        """SI unit of the values; ``"1"`` where there is none."""
        return _SI[self.unit or "1"][0]

    @property
    def si_factor(self) -> float:
        """What a value in ``unit`` is multiplied by."""
        return _SI[self.unit or "1"][1]


def sidecar_paths(path: Path) -> tuple[Path, Path]:
    """Where the sidecar of a picture may lie, the first that is there counts."""
    return path.with_name(path.name + ".json"), path.with_suffix(".spm.json")


def find_sidecar(path: Path) -> Sidecar:
    """Read the sidecar of a picture; an empty one where there is none.

    Raises
    ------
    SidecarError
        With every problem at once.
    """
    for place in sidecar_paths(path):
        try:
            with place.open("rb") as file:
                raw = file.read(MAX_SIDECAR_BYTES + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise SidecarError(f"sidecar {place.name} cannot be read: {error.strerror or error}") from error
        return _parse(raw, place.name)
    return Sidecar()


def _parse(raw: bytes, name: str) -> Sidecar:
    if len(raw) > MAX_SIDECAR_BYTES:
        raise SidecarError(f"sidecar {name} is larger than {MAX_SIDECAR_BYTES} bytes")
    try:
        given = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise SidecarError(f"sidecar {name} is not JSON: {error}") from error
    if not isinstance(given, dict):
        raise SidecarError(f"sidecar {name} holds no JSON object")
    known = [field.name for field in fields(Sidecar)]
    problems = [f"there is no key {key!r} (there are {', '.join(known)})" for key in given if key not in known]
    values: dict[str, Any] = {}
    for key in known:
        if given.get(key) is None:
            continue
        try:
            values[key] = _CHECKS.get(key, _text)(given[key])
        except ValueError as error:
            problems.append(f"{key}: {error}")
    if "nm_per_px" in values and "size_nm" in values:
        problems.append("nm_per_px and size_nm say the same thing: leave one out")
    if problems:
        raise SidecarError(f"sidecar {name}: {'; '.join(problems)}")
    return Sidecar(**values)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r:.60} is not a number")
    try:
        number = float(value)
    except OverflowError as error:
        raise ValueError("the number is too large") from error
    if not math.isfinite(number):
        raise ValueError(f"{number} is not a finite number")
    return number


def _pair(value: object) -> tuple[float, float]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{value!r:.60} is not a list of two numbers")
    return _number(value[0]), _number(value[1])


def _sizes(value: object) -> tuple[float, float]:
    pair = _pair(value)
    if not all(1e-6 < size < 1e9 for size in pair):
        raise ValueError(f"{pair[0]:g} x {pair[1]:g} nm is no size")
    return pair


def _pitch(value: object) -> tuple[float, float]:
    return _sizes(value if isinstance(value, list) else [value, value])


def _range(value: object) -> tuple[float, float]:
    pair = _pair(value)
    if pair[0] == pair[1]:
        raise ValueError("black and white are the same value")
    return pair


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.60} is not text")
    return value


def _unit(value: object) -> str:
    if _text(value) not in _SI:
        raise ValueError(f"{value!r:.60} is none of {', '.join(_SI)}")
    return str(value)


def _direction(value: object) -> ScanDirection:
    try:
        return ScanDirection(_text(value).lower())
    except ValueError as error:
        raise ValueError(f"{value!r:.60} is neither up nor down") from error


def _moment(value: object) -> datetime:
    try:
        return datetime.fromisoformat(_text(value))
    except ValueError as error:
        raise ValueError(f"{value!r:.60} is no ISO 8601 time") from error


_CHECKS: dict[str, Callable[[object], object]] = {
    "nm_per_px": _pitch,
    "size_nm": _sizes,
    "center_nm": _pair,
    "angle_deg": _number,
    "unit": _unit,
    "value_range": _range,
    "direction": _direction,
    "bias_v": _number,
    "setpoint": _number,
    "started": _moment,
    "ended": _moment,
}
