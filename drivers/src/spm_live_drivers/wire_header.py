"""The JSON header of a frame message: written from a frame's description, and read back with every value checked.

The message itself, and what its parts are, is in :mod:`spm_live_drivers.wire`; ``docs/reference/wire-format.md`` tells
it to people who write a sender.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from spm_live_drivers.contract import FrameInfo, FrameRef, ScanDirection, ScanGeometry, Trace
from spm_live_drivers.wire_fields import (
    MAX_WHOLE,
    HeaderError,
    choice,
    instant,
    line,
    number,
    one_line,
    pair,
    shown,
    sound,
    sound_text,
    text,
    whole,
)

SCHEMA = 1
MAX_HEADER_BYTES = 256 * 1024

MAX_TEXT = {
    "sender": 128,
    "session": 128,
    "scan": 128,
    "saved_as": 4096,
    "source": 4096,
    "channel": 256,
    "unit": 64,
    "setpoint_unit": 64,
    "instrument": 1024,
    "format": 64,
    "comment": 16384,
    "warning": 512,
}
"""Longest text of each field, in characters; all of them fit a header even where JSON escapes every character."""
MAX_WARNINGS = 32

_PROSE = frozenset({"comment", "warning"})
"""Texts that may have several lines."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every message says, whatever its type.

    Parameters
    ----------
    type : str
        ``"frame"``, or ``"start"``, ``"lines"`` or ``"end"`` of a frame that is still growing.
    sender : str
        Who sent it: the same name after every restart.
    session : str
        Which start of the sender; empty where the sender does not say.
    sequence : int
        Number of the message in its session, rising by one.
    """

    type: str
    sender: str
    session: str
    sequence: int


def parse_header(header: bytes) -> dict[str, Any]:
    """Read the JSON object of a header.

    Raises
    ------
    HeaderError
        If it is too long, not UTF-8, not JSON, nested too deeply, not an object, or holds NaN or Infinity.
    """
    if len(header) > MAX_HEADER_BYTES:
        raise HeaderError(f"the header has {len(header)} bytes, {MAX_HEADER_BYTES} are allowed")
    try:
        values = json.loads(header.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise HeaderError(f"the header is not UTF-8 (byte {error.start})") from error
    except RecursionError as error:
        raise HeaderError("the header is nested too deeply") from error
    except HeaderError:
        raise
    except ValueError as error:  # JSONDecodeError, and whole numbers of more than 4300 digits
        raise HeaderError(f"the header is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise HeaderError("the header is not a JSON object")
    return values


def read_envelope(values: Mapping[str, Any]) -> Envelope:
    """Read what every message says.

    Raises
    ------
    HeaderError
        If the schema is another one, or a value is missing or wrong.
    """
    schema = whole(values, "schema", 0, MAX_WHOLE)
    if schema != SCHEMA:
        raise HeaderError(
            f"the message has schema {schema}, this receiver knows schema {SCHEMA}: update the older side"
        )
    kind = values.get("type")
    if not isinstance(kind, str) or not kind.isidentifier() or len(kind) > 32:
        raise HeaderError("type must be a name such as 'frame'")
    return Envelope(
        type=kind,
        sender=_field(values, "sender"),
        session=_field(values, "session", ""),
        sequence=whole(values, "sequence", 0, MAX_WHOLE),
    )


def read_info(values: Mapping[str, Any], *, sha256: str, source: str, complete_rows: int) -> FrameInfo:
    """Read the description of a frame.

    Parameters
    ----------
    values : mapping
        The header.
    sha256, source, complete_rows
        What they are where the header leaves them out.

    Raises
    ------
    HeaderError
        If a value is missing or wrong.
    """
    geometry = read_geometry(values)
    return FrameInfo(
        ref=FrameRef(
            source=_field(values, "source", source),
            sha256=digest(values) or sha256,
            channel=_field(values, "channel"),
            trace=choice(values, "trace", Trace.FORWARD),
        ),
        geometry=geometry,
        unit=_field(values, "unit"),
        direction=choice(values, "direction", ScanDirection.DOWN),
        complete_rows=whole(values, "complete_rows", 0, geometry.rows, complete_rows),
        bias_v=number(values, "bias_v", None),
        setpoint=number(values, "setpoint", None),
        setpoint_unit=_field(values, "setpoint_unit", ""),
        started=instant(values, "started"),
        ended=instant(values, "ended"),
        instrument=_field(values, "instrument", ""),
        comment=_field(values, "comment", ""),
        format=_field(values, "format", ""),
        warnings=_warnings(values),
        metadata=_metadata(values),
    )


def read_geometry(values: Mapping[str, Any]) -> ScanGeometry:
    """Read shape, scan range, centre and angle.

    Raises
    ------
    HeaderError
        If a value is missing or wrong.
    """
    rows, columns = whole(values, "rows", 1, 2**31 - 1), whole(values, "columns", 1, 2**31 - 1)
    size_nm, center_nm = pair(values, "size_nm"), pair(values, "center_nm", (0.0, 0.0))
    try:
        return ScanGeometry(rows, columns, size_nm, center_nm, number(values, "angle_deg", 0.0) or 0.0)
    except ValueError as error:
        raise HeaderError(str(error)) from error


def header_values(info: FrameInfo) -> dict[str, Any]:
    """Describe a frame as a header does, without its envelope and its metadata; long texts are cut."""
    geometry = info.geometry
    values: dict[str, Any] = {
        "source": _fitting("source", info.ref.source),
        "sha256": info.ref.sha256,
        "channel": _fitting("channel", info.ref.channel),
        "trace": (info.ref.trace or Trace.FORWARD).value,
        "rows": int(geometry.rows),
        "columns": int(geometry.columns),
        "size_nm": [float(size) for size in geometry.size_nm],
        "center_nm": [float(value) for value in geometry.center_nm],
        "angle_deg": float(geometry.angle_deg),
        "unit": _fitting("unit", info.unit),
        "direction": info.direction.value,
        "complete_rows": int(info.complete_rows),
        "bias_v": _finite(info.bias_v),
        "setpoint": _finite(info.setpoint),
        "setpoint_unit": _fitting("setpoint_unit", info.setpoint_unit),
        "started": _written(info.started),
        "ended": _written(info.ended),
        "instrument": _fitting("instrument", info.instrument),
        "comment": _fitting("comment", info.comment),
        "format": _fitting("format", info.format),
        "warnings": [_fitting("warning", warning) for warning in info.warnings[: MAX_WARNINGS - 1]],
    }
    return {name: value for name, value in values.items() if value not in (None, "", [])}


def dump_header(values: dict[str, Any], metadata: Mapping[str, str]) -> bytes:
    """Write a header, with as much of the metadata as fits; what does not is counted in a warning."""
    fitting: dict[str, str] = {}
    room = MAX_HEADER_BYTES - len(_json(values)) - 256  # for the warning below and the key "metadata"
    for key, value in metadata.items():
        entry = {sound(str(key)): sound(str(value))}
        room -= len(_json(entry))
        if room < 0:
            break
        fitting |= entry
    left_out = len(metadata) - len(fitting)
    if left_out:
        note = f"{left_out} entries of the file's header did not fit into the message"
        values = {**values, "warnings": [*values.get("warnings", []), note]}
    return _json({**values, "metadata": fitting} if fitting else values)


def digest(values: Mapping[str, Any]) -> str:
    """Read the sha256, 64 lower-case hex digits; empty where it is left out."""
    value = values.get("sha256")
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise HeaderError(f"sha256 must be 64 lower-case hex digits, is {shown(value)}")
    return value


def _warnings(values: Mapping[str, Any]) -> tuple[str, ...]:
    given = values.get("warnings")
    if given is None:
        return ()
    if not isinstance(given, list) or len(given) > MAX_WARNINGS:
        raise HeaderError(f"warnings must be a list of at most {MAX_WARNINGS} texts")
    return tuple(sound_text("a warning", warning, MAX_TEXT["warning"]) for warning in given)


def _metadata(values: Mapping[str, Any]) -> dict[str, str]:
    given = values.get("metadata")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise HeaderError("metadata must be an object of texts")
    return {
        sound_text("a key of metadata", key, MAX_HEADER_BYTES): sound_text(
            f"metadata {shown(key)}", value, MAX_HEADER_BYTES
        )
        for key, value in given.items()
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _field(values: Mapping[str, Any], name: str, default: str | None = None) -> str:
    read = text if name in _PROSE else line
    return read(values, name, MAX_TEXT[name]) if default is None else read(values, name, MAX_TEXT[name], default)


def _refuse_constant(name: str) -> NoReturn:
    raise HeaderError(f"the header holds {name}, which is no JSON")


def _fitting(name: str, value: str) -> str:
    fitting = sound(value)[: MAX_TEXT[name]]
    return fitting if name in _PROSE else one_line(fitting)


def _json(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
