"""What is left out of an evaluation: places where the truth is known to be incomplete, or was trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle in a picture, in pixels, where pixel d covers d to d + 1.

    Parameters
    ----------
    x1, y1, x2, y2 : float
        Edges; the left and upper ones belong to it. It may reach beyond the picture.
    picture : str
        Name of the picture that it lies in; empty for all.

    Raises
    ------
    ValueError
        If it has no area.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    picture: str = ""

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (self.x1, self.y1, self.x2, self.y2)):
            raise ValueError(f"a region from ({self.x1}, {self.y1}) to ({self.x2}, {self.y2})")
        if self.x2 <= self.x1 or self.y2 <= self.y1:
            raise ValueError(
                f"the region {self.x1:g},{self.y1:g},{self.x2:g},{self.y2:g} has no area: give x1,y1,x2,y2"
            )


@dataclass(frozen=True, slots=True)
class Excluded:
    """A rule for what is left out, molecules and detections alike.

    Parameters
    ----------
    regions : tuple of Region
        Whatever has the centre of its box in one of them is left out: such as the crop that was trained on.
    border_px : float or None
        Whatever has a box that comes this near to the border of the picture, or nearer, is left out: where labels stop
        at the border, a molecule cut by it may have none.
    follow : bool
        Whether a detection follows the molecule that it lies on (overlap of the boxes 0.5 or more): it is then left
        out if and only if that molecule is, and its own place counts only where it lies on none. Otherwise each is
        judged by its own place, so that a pair may be torn where the line passes between their centres.

    Examples
    --------
    >>> rule = Excluded((Region(536, 303, 856, 623),), border_px=3)
    >>> boxes = np.array([[530.0, 300, 580, 340], [100, 100, 150, 150], [2, 90, 50, 150]])
    >>> rule.holds(boxes, (612, 612), "1.png").tolist()
    [True, False, True]
    """

    regions: tuple[Region, ...] = ()
    border_px: float | None = None
    follow: bool = False

    def __post_init__(self) -> None:
        if self.border_px is not None and not 0 <= self.border_px < math.inf:
            raise ValueError(f"border_px {self.border_px} must be 0 or more")

    def holds(self, boxes: NDArray[np.float64], shape: tuple[int, int], picture: str) -> NDArray[np.bool_]:
        """Which boxes lie where nothing is judged.

        Parameters
        ----------
        boxes : (N, 4) float array
            x1, y1, x2, y2, in pixels.
        shape : (int, int)
            Rows and columns of the picture.
        picture : str
            Its name.

        Returns
        -------
        (N,) bool array
        """
        boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
        result = np.zeros(len(boxes), dtype=np.bool_)
        x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
        for region in self.regions:
            if region.picture in {"", picture}:
                result |= (x >= region.x1) & (x < region.x2) & (y >= region.y1) & (y < region.y2)
        if self.border_px is not None:
            ends = np.array([shape[1], shape[0]])
            result |= np.minimum(boxes[:, :2], ends - boxes[:, 2:]).min(axis=1, initial=np.inf) <= self.border_px
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What a rule leaves.

    Parameters
    ----------
    true, found : (M,), (N,) bool array
        Molecules and detections that are judged.
    torn : int
        Pairs that lie on one another (each the other's best, overlap of the boxes 0.5 or more) of which one is judged
        and the other left out: each costs a miss or a false detection that is the rule's fault, not the model's.
    """

    true: NDArray[np.bool_]
    found: NDArray[np.bool_]
    torn: int


def keep(
    rule: Excluded,
    true_boxes: NDArray[np.float64],
    found_boxes: NDArray[np.float64],
    overlap: NDArray[np.float64],
    shape: tuple[int, int],
    picture: str,
) -> Kept:
    """Apply a rule to a picture.

    Parameters
    ----------
    rule : Excluded
        What to leave out.
    true_boxes, found_boxes : (M, 4), (N, 4) float array
        x1, y1, x2, y2, in pixels.
    overlap : (N, M) float array
        Intersection over union of the boxes.
    shape : (int, int)
        Rows and columns of the picture.
    picture : str
        Its name.
    """
    true = ~rule.holds(true_boxes, shape, picture)
    found = ~rule.holds(found_boxes, shape, picture)
    torn = 0
    for index, best in partners(overlap):
        if rule.follow:
            found[index] = true[best]
        elif found[index] != true[best] and int(overlap[:, best].argmax()) == index:
            torn += 1
    return Kept(true, found, torn)


def partners(overlap: NDArray[np.float64], least: float = 0.5) -> Sequence[tuple[int, int]]:
    """Which molecule each detection lies on, of those that lie on one at all: pairs of indices."""
    if overlap.size == 0:
        return []
    best = overlap.argmax(axis=1)
    which = np.flatnonzero(overlap[np.arange(len(overlap)), best] >= least)
    return [(int(index), int(best[index])) for index in which]
