"""Which channel of a Nanonis scan shows the picture."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import ChannelInfo

Peek = Callable[[ChannelInfo], NDArray[np.float32]]
"""Gives the rows of a channel that were scanned, as stored: (rows, columns), any byte order, perhaps none."""

_PASS = re.compile(r"^\[p(\d+)\]_?")
_UNIT = re.compile(r"_\([^)]*\)$")
_SAMPLES = 64
_STILL_M = 1e-13
_STILL_OPEN_LOOP_M = 2e-12
_RESEMBLANCE = 0.5


def folded(name: str) -> str:
    """A channel name without regard to case, and with blanks as underscores; a unit in brackets is left out.

    Examples
    --------
    >>> folded("OC M1 Freq. Shift (Hz)") == folded("oc_m1_freq._shift")
    True
    """
    return _UNIT.sub("", re.sub(r"\s+", "_", name.strip().lower()))


def scan_pass(name: str) -> int:
    """Number of the pass in a multi-pass scan, from 1: ``"[P2]_Z"`` is of pass 2; 1 where the name has none."""
    found = _PASS.match(name.lower())
    return int(found[1]) if found else 1


def quantity(name: str) -> str:
    """What a channel measures: its folded name without the pass."""
    return _PASS.sub("", folded(name))


def named(channels: Sequence[ChannelInfo], name: str) -> ChannelInfo | None:
    """Find a channel by name; a name without a pass also finds the first pass of a multi-pass scan."""
    for key in (folded, quantity):
        for channel in channels:
            if key(channel.name) == folded(name):
                return channel
    return None


def choose(channels: Sequence[ChannelInfo], peek: Peek, *, open_loop: bool) -> ChannelInfo:
    """Choose the channel that shows the picture.

    Z where it varies: that is constant current. Where Z stands still, the tip was held at one height, and the picture
    is a frequency shift whose neighbouring rows resemble each other (a force picture: it was the purpose of the scan,
    though the current often shows something too), else the current where it varies. A file without any of them, or
    that holds no scanned row at all, gives Z, else its first channel.

    Parameters
    ----------
    channels : sequence of ChannelInfo
        At least one, in the order of the file.
    peek : Peek
        Reads what is there of a channel.
    open_loop : bool
        Whether the header says that the Z controller was off. Then a Z that follows a tilt correction moves in steps
        of its converter, about 1 pm, and shows no picture by that.
    """
    heights = [channel for channel in channels if quantity(channel.name) == "z"]
    still = _STILL_OPEN_LOOP_M if open_loop else _STILL_M
    for channel in heights:
        if _roughness(peek(channel)) > still:
            return channel
    for channel in channels:
        if _is_frequency_shift(channel) and _rows_resemble(peek(channel)):
            return channel
    for channel in channels:
        if quantity(channel.name) == "current" and _roughness(peek(channel)) > 0:
            return channel
    return heights[0] if heights else channels[0]


def _is_frequency_shift(channel: ChannelInfo) -> bool:
    name = quantity(channel.name)
    return channel.unit == "Hz" and "freq" in name and "shift" in name


def _roughness(rows: NDArray[np.float32]) -> float:
    """Standard deviation from the best plane, on a grid of at most 64 x 64 samples; 0 for less than 2 whole rows.

    On a grid of whole rows the coordinates are orthogonal once centred, so that the plane needs no matrix.
    """
    if rows.shape[0] < 2 or rows.shape[1] < 2:
        return 0.0
    grid = _as_double(rows[:: -(-rows.shape[0] // _SAMPLES), :: -(-rows.shape[1] // _SAMPLES)])
    y = np.flatnonzero(np.isfinite(grid).all(axis=1)).astype(np.float64)
    grid = grid[y.astype(np.intp)]
    if len(grid) < 2 or grid.min() == grid.max():
        return 0.0  # else rounding of the mean would look like roughness
    grid -= grid.mean()
    y -= y.mean()
    x = np.arange(grid.shape[1]) - (grid.shape[1] - 1) / 2
    slope_y = y @ grid.sum(axis=1) / max(float(y @ y) * x.size, 1)
    slope_x = grid.sum(axis=0) @ x / max(float(x @ x) * y.size, 1)
    return float(np.sqrt(np.mean((grid - slope_y * y[:, None] - slope_x * x) ** 2)))


def _rows_resemble(rows: NDArray[np.float32]) -> bool:
    """Whether neighbouring rows are correlated by more than half, their means removed; noise gives about 0."""
    step = max(2, -(-rows.shape[0] // (_SAMPLES // 2)))
    pairs = rows[: rows.shape[0] - 1 : step], rows[1::step]
    count = min(len(pairs[0]), len(pairs[1]))
    if count < 2 or rows.shape[1] < 8:
        return False
    one, next_one = (_as_double(pair[:count]) for pair in pairs)
    whole = np.isfinite(one).all(axis=1) & np.isfinite(next_one).all(axis=1)
    if whole.sum() < 2:
        return False
    one, next_one = one[whole], next_one[whole]
    one -= one.mean(axis=1, keepdims=True)
    next_one -= next_one.mean(axis=1, keepdims=True)
    scale = np.sqrt(np.sum(one**2) * np.sum(next_one**2))
    return bool(scale > 0 and np.sum(one * next_one) > _RESEMBLANCE * scale)


def _as_double(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # a damaged file can hold a signalling NaN
        return rows.astype(np.float64)
