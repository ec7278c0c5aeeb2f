"""What a frame of a series is: where it was taken, what it looks like, and the molecules on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from spm_live.domain import ScanDirection, ScanGeometry


class Method(StrEnum):
    """What the drift between two frames rests on."""

    BOTH = "both"
    """Pictures and molecules say the same."""
    MOLECULES = "molecules"
    """The pictures could not say."""
    PICTURES = "pictures"
    """There are too few molecules to say."""
    MOLECULES_NOT_PICTURES = "molecules, not pictures"
    """The pictures say something else; the molecules are believed."""
    PICTURES_NOT_MOLECULES = "pictures, not molecules"
    """The molecules say something else, too few of them to be believed."""
    NONE = "none"
    """No drift was found: the molecules are not linked."""


@dataclass(frozen=True, slots=True, eq=False)
class Molecules:
    """The molecules of one frame, as arrays.

    Parameters
    ----------
    labels : (N,) array of str
        Class names.
    xy_nm : (N, 2) float array
        Centroids in scanner coordinates, in nm.
    area_nm2, length_nm, width_nm, orientation_deg : (N,) float array
        As in :class:`spm_live.domain.Molecule`.
    edge : (N,) bool array
        Cut by the border of what was scanned.
    keys : (N,) int array
        A number that no other molecule of any frame has.
    tracks : (N,) int array
        The key of the first sighting of the same molecule.
    """

    labels: NDArray[np.str_]
    xy_nm: NDArray[np.float64]
    area_nm2: NDArray[np.float64]
    length_nm: NDArray[np.float64]
    width_nm: NDArray[np.float64]
    orientation_deg: NDArray[np.float64]
    edge: NDArray[np.bool_]
    keys: NDArray[np.int64]
    tracks: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.keys.shape[0])

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Molecules:
        """Some of them, by flags or by places."""
        return Molecules(*(getattr(self, name)[which] for name in self.__slots__))

    def moved_to(self, xy_nm: NDArray[np.float64]) -> Molecules:
        """The same ones at other places."""
        rest = {name: getattr(self, name) for name in self.__slots__ if name != "xy_nm"}
        return Molecules(xy_nm=xy_nm, **rest)

    @staticmethod
    def together(one: Molecules, other: Molecules) -> Molecules:
        """Those of both, one after the other."""
        return Molecules(*(np.concatenate([getattr(one, name), getattr(other, name)]) for name in Molecules.__slots__))

    @staticmethod
    def none() -> Molecules:
        """No molecules."""
        empty, numbers = np.empty(0), np.empty(0, dtype=np.int64)
        shape = (empty, empty, empty, empty)
        return Molecules(
            np.empty(0, dtype=np.str_), np.empty((0, 2)), *shape, np.empty(0, dtype=np.bool_), numbers, numbers
        )

    @property
    def size_nm(self) -> float:
        """Typical length of a molecule; NaN where there is none."""
        return float(np.median(self.length_nm)) if len(self) else float("nan")

    @property
    def breadth_nm(self) -> float:
        """Typical width of a molecule, across its length; NaN where there is none."""
        return float(np.median(self.width_nm)) if len(self) else float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Lost:
    """Molecules that were seen shortly before a frame and not in it, at the places where they would lie in it.

    Parameters
    ----------
    molecules : Molecules
        With their tracks.
    missed : (N,) int array
        How many frames missed each.
    """

    molecules: Molecules = field(default_factory=Molecules.none)
    missed: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class SeriesFrame:
    """A frame as linking needs it.

    Parameters
    ----------
    id : int
        Its number.
    geometry : ScanGeometry
        The full frame.
    direction : ScanDirection
        Which way the slow axis ran.
    complete_rows : int
        Rows that were scanned, at the top in a down scan and at the bottom in an up scan.
    molecules : Molecules
        In the order of the frame's list.
    picture : (rows, columns) uint8 array or None
        The levelled frame, 1 to 255, of any size; 0 where not scanned. None where there is no picture.
    started, ended : datetime or None
        Timezone-aware.
    lost : Lost
        Molecules of the frames before that this one misses.
    """

    id: int
    geometry: ScanGeometry
    direction: ScanDirection
    complete_rows: int
    molecules: Molecules
    picture: NDArray[np.uint8] | None = None
    started: datetime | None = None
    ended: datetime | None = None
    lost: Lost = field(default_factory=Lost)

    @property
    def middle(self) -> datetime | None:
        """When the middle of the scan was reached; where only one end is known, that one."""
        if self.started is not None and self.ended is not None:
            return self.started + (self.ended - self.started) / 2
        return self.started or self.ended

    @property
    def minutes(self) -> float | None:
        """How long the scan took."""
        if self.started is None or self.ended is None:
            return None
        return (self.ended - self.started).total_seconds() / 60

    def inside(self, xy_nm: NDArray[np.float64], margin_nm: NDArray[np.float64] | float = 0.0) -> NDArray[np.bool_]:
        """Tell which places were scanned, at least so far from the border, (N,)."""
        if not len(xy_nm):
            return np.empty(0, dtype=np.bool_)
        column, row = self.geometry.to_px(xy_nm).T
        step_x, step_y = self.geometry.nm_per_px
        down = self.direction is ScanDirection.DOWN
        first = 0 if down else self.geometry.rows - self.complete_rows
        last = first + self.complete_rows
        return np.asarray(
            (column + 0.5 >= margin_nm / step_x)
            & (column + 0.5 <= self.geometry.columns - margin_nm / step_x)
            & (row + 0.5 >= first + margin_nm / step_y)
            & (row + 0.5 <= last - margin_nm / step_y)
        )


def minutes_between(previous: SeriesFrame, current: SeriesFrame) -> float | None:
    """Time between the middles of two scans, in minutes; between their starts or ends where only these are known.

    Returns
    -------
    float or None
        Positive; None where a frame does not say, or the later one was not scanned later.
    """
    pairs = [(previous.middle, current.middle)]
    if previous.minutes is None or current.minutes is None:
        pairs = [(previous.started, current.started), (previous.ended, current.ended)]
    for before, after in pairs:
        if before is not None and after is not None:
            spent = (after - before).total_seconds() / 60
            return spent if spent > 0 else None
    return None


def overlap(previous: SeriesFrame, current: SeriesFrame) -> float:
    """Part of the later frame's scanned area that the earlier one has scanned too, 0 to 1.

    Told from a grid of places, so that frames may be turned against each other.
    """
    rows, columns = current.geometry.rows, current.geometry.columns
    grid = (np.arange(OVERLAP_GRID) + 0.5) / OVERLAP_GRID
    x, y = np.meshgrid(grid * columns - 0.5, grid * rows - 0.5)
    places = current.geometry.to_nm(np.stack([x.ravel(), y.ravel()], axis=1))
    mine = current.inside(places)
    both = mine & previous.inside(places)
    return int(np.count_nonzero(both)) / max(int(np.count_nonzero(mine)), 1)


OVERLAP_GRID = 32
"""Places along each axis by which an overlap is told: to a few per cent."""
