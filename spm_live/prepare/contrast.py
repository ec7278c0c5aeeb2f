"""Robust contrast: the range between two quantiles becomes the range of the picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLE_SIDE = 128
"""Quantiles are taken over a grid of about this many pixels a side; 16 thousand of them fix a half per cent well."""


def quantile_limits(data: NDArray[np.float32], quantiles: tuple[float, float]) -> tuple[float, float] | None:
    """Two quantiles of the scanned pixels.

    Parameters
    ----------
    data : (rows, columns) float32 array
        NaN where not scanned.
    quantiles : (float, float)
        0 to 1, rising.

    Returns
    -------
    (float, float) or None
        In the unit of ``data``. Where both fall together because most of the frame has one value, the least and the
        greatest value; None where nothing was scanned.
    """
    rows = max(1, data.shape[0] // SAMPLE_SIDE)
    columns = max(1, data.shape[1] // SAMPLE_SIDE)
    for sample in (data[::rows, ::columns], data):
        values = sample[np.isfinite(sample)]
        if values.size:
            break
    else:
        return None
    places = [min(values.size - 1, max(0, round(q * (values.size - 1)))) for q in quantiles]
    ordered = np.partition(values, places)
    low, high = float(ordered[places[0]]), float(ordered[places[1]])
    if low == high:
        finite = data[np.isfinite(data)]
        low, high = float(finite.min()), float(finite.max())
    return low, high


def stretch(
    data: NDArray[np.float32], quantiles: tuple[float, float], *, in_place: bool = False
) -> NDArray[np.float32]:
    """Map the range between two quantiles to 0 to 1, and cut off what lies outside.

    Parameters
    ----------
    data : (rows, columns) float32 array
        NaN where not scanned.
    quantiles : (float, float)
        0 to 1, rising.
    in_place : bool
        Whether the result may take the place of ``data``.

    Returns
    -------
    (rows, columns) float32 array
        A new array, or ``data``: 0 to 1, NaN where not scanned; 0.5 throughout where a frame has one value only.
    """
    limits = quantile_limits(data, quantiles)
    if limits is None:
        return data if in_place else data.copy()
    return stretch_between(data, *limits, in_place=in_place)


def stretch_between(
    data: NDArray[np.float32], low: float, high: float, *, in_place: bool = False
) -> NDArray[np.float32]:
    """Map the range between two values to 0 to 1, and cut off what lies outside.

    Parameters
    ----------
    data : (rows, columns) float32 array
        NaN where not scanned.
    low, high : float
        In the unit of ``data``; ``high`` is not below ``low``.
    in_place : bool
        Whether the result may take the place of ``data``.

    Returns
    -------
    (rows, columns) float32 array
        As from :func:`stretch`; 0.5 throughout where both limits are one value.
    """
    result = data if in_place else data.copy()
    if low == high:
        result[...] = np.where(np.isfinite(data), np.float32(0.5), np.float32(np.nan))
        return result
    # Divided before it is multiplied by anything: the range of currents in A may be too small for float32's inverse.
    with np.errstate(over="ignore"):  # far outside a range that is next to nothing: cut off like all outside
        result -= np.float32(low)
        result /= np.float32(high - low)
    return np.clip(result, 0, 1, out=result)


def to_grey(
    data: NDArray[np.float32],
    quantiles: tuple[float, float] = (0.005, 0.995),
    limits: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """Draw levelled values as an 8-bit grey picture.

    Parameters
    ----------
    data : (rows, columns) float32 array
        NaN where not scanned.
    quantiles : (float, float)
        0 to 1, rising.
    limits : (float, float) or None
        Values that become black and white, where they are known already; None: at the quantiles.

    Returns
    -------
    (rows, columns) uint8 array
        1 to 255; 0 where not scanned and nowhere else.
    """
    unit = stretch(data, quantiles) if limits is None else stretch_between(data, *limits)
    unit *= 254
    unit += 1.5  # rounds, since the conversion below cuts
    missing = np.isnan(unit)
    if missing.any():
        unit[missing] = 0
    return unit.astype(np.uint8)
