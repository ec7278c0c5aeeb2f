"""Writes the measured values of a frame, unchanged and in SI units, with the scale that other programs understand.

TIFF: 32-bit float for ImageJ/Fiji (pixel size in nm, NaN kept), every header field as JSON. GSF: Gwyddion Simple Field.
"""

from __future__ import annotations

import io
import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np

from spm_live import tiff
from spm_live.domain import Frame, FrameInfo


def describe(info: FrameInfo) -> dict[str, Any]:
    """Everything about a frame but its pixels and its raw header, as plain values; times in ISO 8601, UTC.

    The keys carry their units and are the columns of ``frames.csv``.
    """
    geometry = info.geometry
    return {
        "source": info.ref.source,
        "sha256": info.ref.sha256,
        "format": info.format,
        "channel": info.ref.channel,
        "trace": str(info.ref.trace or ""),
        "direction": str(info.direction),
        "unit": info.unit,
        "rows": geometry.rows,
        "columns": geometry.columns,
        "complete_rows": info.complete_rows,
        "partial": info.partial,
        "width_nm": geometry.size_nm[0],
        "height_nm": geometry.size_nm[1],
        "center_x_nm": geometry.center_nm[0],
        "center_y_nm": geometry.center_nm[1],
        "angle_deg": geometry.angle_deg,
        "nm_per_px_x": geometry.nm_per_px[0],
        "nm_per_px_y": geometry.nm_per_px[1],
        "bias_v": info.bias_v,
        "setpoint": info.setpoint,
        "setpoint_unit": info.setpoint_unit,
        "started": _iso(info.started),
        "ended": _iso(info.ended),
        "instrument": info.instrument,
        "comment": info.comment,
        "warnings": list(info.warnings),
    }


def encode_tiff(frame: Frame) -> bytes:
    """Encode a frame as a 32-bit float TIFF in ImageJ's dialect.

    Parameters
    ----------
    frame : Frame
        Written as it is, in ``frame.info.unit``; NaN where not scanned.

    Returns
    -------
    bytes
        The file. Resolution is in pixels per nm, along x and y each; ``Info`` (ImageJ: Image > Show Info) holds
        :func:`describe` and the raw header as JSON.
    """
    info = frame.info
    low, high = np.fmin.reduce(frame.data, axis=None), np.fmax.reduce(frame.data, axis=None)
    display = (float(low), float(high)) if math.isfinite(low) and high > low else None
    text = json.dumps({**describe(info), "header": dict(info.metadata)})
    return tiff.encode_tiff(frame.data, info.geometry.size_nm, display=display, info=text)


def encode_gsf(frame: Frame) -> bytes:
    """Encode a frame as a Gwyddion Simple Field.

    Lengths are in m, values in their SI unit. The offset is that of the upper left corner, as Gwyddion has it.

    Notes
    -----
    Layout: Gwyddion user guide, "Gwyddion Simple Field" (magic line, ``name = value`` lines, 1 to 4 NUL bytes to a
    multiple of 4, little-endian float32).
    """
    info = frame.info
    geometry = info.geometry
    width_m, height_m = (size * 1e-9 for size in geometry.size_nm)
    fields = {
        "XRes": geometry.columns,
        "YRes": geometry.rows,
        "XReal": f"{width_m:.9g}",
        "YReal": f"{height_m:.9g}",
        "XOffset": f"{geometry.center_nm[0] * 1e-9 - width_m / 2:.9g}",
        "YOffset": f"{geometry.center_nm[1] * 1e-9 - height_m / 2:.9g}",
        "Title": " ".join(f"{info.ref.channel} {info.ref.trace or ''}".split()),
        "XYUnits": "m",
        "ZUnits": "" if info.unit == "1" else info.unit,
    }
    head = "Gwyddion Simple Field 1.0\n" + "".join(f"{name} = {value}\n" for name, value in fields.items())
    start = head.encode("utf-8")
    return start + b"\0" * (4 - len(start) % 4) + frame.data.astype("<f4").tobytes()


def encode_npy(frame: Frame) -> bytes:
    """Encode a frame as a NumPy file: (rows, columns) float32, values as they are."""
    file = io.BytesIO()
    np.save(file, frame.data, allow_pickle=False)
    return file.getvalue()


def encode_table(frame: Frame) -> bytes:
    """Encode a frame as comma-separated values: a line a row, nine digits, which is all that a float32 holds."""
    file = io.StringIO()
    np.savetxt(file, frame.data, fmt="%.9g", delimiter=",")
    return file.getvalue().encode("ascii")


def gwyddion_text(info: FrameInfo, low: float, high: float, bits: int) -> dict[str, str]:
    """Text chunks by which Gwyddion loads a 16-bit PNG with its scales.

    Parameters
    ----------
    info : FrameInfo
        For size, unit and title.
    low, high : float
        Values at level 1 and at the highest level.
    bits : int
        Of the picture.

    Notes
    -----
    Gwyddion user guide, "High-Depth Image Formats": ``ZMin`` and ``ZMax`` are the values at level 0 and at the highest.
    """
    top = (1 << bits) - 1
    width_nm, height_nm = info.geometry.size_nm
    return {
        "Title": info.ref.channel,
        "Gwy::XReal": f"{width_nm * 1e-9:.9g}",
        "Gwy::YReal": f"{height_nm * 1e-9:.9g}",
        "Gwy::XYUnit": "m",
        "Gwy::ZUnit": "" if info.unit == "1" else info.unit,
        "Gwy::ZMin": f"{low - (high - low) / (top - 1):.9g}",
        "Gwy::ZMax": f"{high:.9g}",
        "Gwy::Title": info.ref.channel,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
