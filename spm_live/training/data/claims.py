"""What a label file says, before any of it was held against the picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import numpy as np

from spm_live.training.labelled import Ring
from spm_live_drivers.contract import Trace

Piece = tuple[Ring, ...]
"""Rings to be filled together by the even-odd rule; a molecule is the union of its pieces."""


@dataclass(frozen=True, slots=True, eq=False)
class ClaimedMolecule:
    """One molecule as a file has it.

    Parameters
    ----------
    index : int
        Place in the file's own list, from 0; of its first piece where it has several.
    label : str
        As written, serial number and all.
    pieces : tuple of Piece
        Outlines in pixel-edge coordinates of the picture that was labelled; finite, each of three corners at least.
    ignore : bool
        Said to be neither a molecule to be found nor background.
    traced : bool
        The outlines were traced around a mask: they do not cross themselves.
    """

    index: int
    label: str
    pieces: tuple[Piece, ...]
    ignore: bool = False
    traced: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ClaimedPicture:
    """One picture as a label file has it.

    Parameters
    ----------
    label_file : Path
        Where it stands.
    name : str
        What the picture is called there.
    paths : tuple of str
        Where its pixels are said to lie, the likeliest first; separators of any system.
    molecules : tuple of ClaimedMolecule
        What is on it.
    size : (int, int) or None
        Rows and columns that the outlines are drawn on, where the file says so.
    embedded : callable or None
        Gives the bytes of a picture that stands in the file itself; raises ``ValueError`` where they are no such thing.
    serials : bool
        Labels were typed by a person for single molecules, so that they may carry serial numbers.
    nm_per_px : float or None
        Scale, where the file says so.
    channel : str or None
        Channel of a raw file.
    trace : Trace
        Direction of the fast axis of a raw file.
    sha256 : str
        Digest that the file of pixels had; empty where unknown.
    """

    label_file: Path
    name: str
    paths: tuple[str, ...]
    molecules: tuple[ClaimedMolecule, ...]
    size: tuple[int, int] | None = None
    embedded: Callable[[], bytes] | None = None
    serials: bool = False
    nm_per_px: float | None = None
    channel: str | None = None
    trace: Trace = Trace.FORWARD
    sha256: str = ""


def is_number(value: object) -> TypeGuard[float]:
    """Whether a JSON value is a finite number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15 and math.isfinite(value)


def whole_number(value: object) -> int | None:
    """A JSON value as a positive whole number; None where it is anything else."""
    return int(value) if is_number(value) and value == int(value) and value > 0 else None


def points_of(value: object) -> Ring:
    """Read a list of [x, y].

    Returns
    -------
    (K, 2) float64 array

    Raises
    ------
    ValueError
        If it is something else, or a number is not finite; the text completes "the molecule ...".
    """
    if not isinstance(value, list):
        raise ValueError("has no list of points")
    for point in value:
        if not isinstance(point, list | tuple) or len(point) != 2 or not all(is_number(part) for part in point):
            raise ValueError(f"has a corner {point!r:.60} that is not two finite numbers; draw it again")
    return np.array(value, dtype=np.float64).reshape(-1, 2)


def rectangle_ring(x1: float, y1: float, x2: float, y2: float) -> Ring:
    """The four corners of a rectangle given by any two opposite ones."""
    left, right = sorted((x1, x2))
    top, bottom = sorted((y1, y2))
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float64)
