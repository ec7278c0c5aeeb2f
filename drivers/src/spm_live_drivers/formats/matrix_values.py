"""What is written into a MATRIX result file: one channel of a scan, as integers in the order of time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import ScanGeometry
from spm_live_drivers.formats.matrix_chain import Transfer

HEIGHT = Transfer("m", "TFF_Linear1D", {"Offset": 0.0, "Factor": 2.4e15})
"""Of the channel Z, as an instrument had it (MATRIX 3.2.3, a VT-SPM): 0.4 fm a step, up to 0.9 um."""

CURRENT = Transfer(
    "A",
    "TFF_MultiLinear1D",
    {"NeutralFactor": 6.4489e15, "Offset": 0.0, "PreFactor": 1.01, "PreOffset": -0.01, "Raw_1": 1.0},
)
"""Of the channel I of the same instrument: 0.16 fA a step, up to 0.3 uA."""

_LOWEST, _HIGHEST = -(2**31), 2**31 - 1
_SMALLEST = 1e-100  # a factor for less would be infinite


@dataclass(frozen=True, slots=True, eq=False)
class MatrixChannel:
    """One channel to be written.

    Parameters
    ----------
    name : str
        Such as ``"Z"``, ``"I"`` and ``"Df"``; part of the file's name.
    transfer : Transfer
        How its integers are read: :data:`HEIGHT`, :data:`CURRENT`, or :func:`linear`.
    forward : (rows, columns) float array
        Of the up scan; row 0 at the top, x grows to the right. NaN in lines that were not scanned to their end.
    backward : (rows, columns) float array or None
        The same way round as ``forward``; None for a scan in one direction.
    down : tuple of (rows, columns) float array
        Of the down scan that followed: forward and, if the up scan has it, backward; none: there was no down scan.
    """

    name: str
    transfer: Transfer
    forward: NDArray[np.floating]
    backward: NDArray[np.floating] | None = None
    down: tuple[NDArray[np.floating], ...] = ()

    @property
    def up(self) -> tuple[NDArray[np.floating], ...]:
        """Forward and, if there is one, backward."""
        return (self.forward,) if self.backward is None else (self.forward, self.backward)


def linear(unit: str, largest: float) -> Transfer:
    """A transfer function for values up to a size, in steps of at most 2**-29 of it.

    Parameters
    ----------
    unit : str
        SI unit of the channel.
    largest : float
        Largest absolute value, in that unit; not negative.
    """
    exponent = math.frexp(max(largest, _SMALLEST))[1]
    factor = math.ldexp(1.0, 30 - exponent)
    return Transfer(unit, "TFF_Linear1D", {"Offset": 0.0, "Factor": factor})


def raw_values(channel: MatrixChannel, geometry: ScanGeometry) -> NDArray[np.int32]:
    """The integers of a channel, in the order in which they were scanned.

    Returns
    -------
    (n,) int32 array
        As many as were scanned, whole lines.

    Raises
    ------
    ValueError
        If a picture does not have the shape of the geometry, a value is missing within the scan, or a value is more
        than the transfer function can express.
    """
    passes = [tuple(plane[::-1] for plane in channel.up)]
    if channel.down:
        if len(channel.down) != len(channel.up):
            raise ValueError(f"channel {channel.name} has other directions in the down scan than in the up scan")
        passes.append(channel.down)
    shape = (geometry.rows, geometry.columns)
    for plane in (*channel.up, *channel.down):
        if plane.shape != shape:
            raise ValueError(
                f"channel {channel.name} has the shape {plane.shape}, the frame {shape[0]} x {shape[1]} px"
            )
    lines = np.concatenate([_in_order(planes) for planes in passes])
    return _to_raw(channel, lines[: _scanned(channel.name, lines)]).ravel()


def _in_order(planes: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """The lines of one pass as they were scanned, (rows, directions, columns): backward ones run to the left."""
    ways = [planes[0], *(plane[:, ::-1] for plane in planes[1:])]
    return np.stack([np.asarray(way, dtype=np.float64) for way in ways], axis=1)


def _scanned(name: str, lines: NDArray[np.float64]) -> int:
    whole = np.isfinite(lines).all(axis=(1, 2))
    done = len(lines) if whole.all() else int(np.argmin(whole))
    if not np.isnan(lines[done:]).all():
        raise ValueError(
            f"channel {name} lacks values in line {done} of the scan but has some there or later; MATRIX files hold "
            "integers: a scan can end early, but a value cannot be missing within it"
        )
    return done


def _to_raw(channel: MatrixChannel, lines: NDArray[np.float64]) -> NDArray[np.int32]:
    factors, kind = channel.transfer.factors, channel.transfer.kind
    if kind == "TFF_Linear1D":
        raw = lines * factors["Factor"] + factors["Offset"]
    elif kind == "TFF_MultiLinear1D":
        scale = factors["NeutralFactor"] * factors["PreFactor"] / (factors["Raw_1"] - factors["PreOffset"])
        raw = lines * scale + factors["Offset"]
    elif kind == "TFF_Identity":
        raw = lines
    else:
        raise ValueError(f"channel {channel.name}: the transfer function {kind!r} is not known")
    raw = np.rint(raw)
    if raw.size and not (raw.min() >= _LOWEST and raw.max() <= _HIGHEST):
        raise ValueError(
            f"channel {channel.name} holds values from {lines.min():g} to {lines.max():g} {channel.transfer.unit}, "
            "more than its transfer function can express"
        )
    return raw.astype(np.int32)
