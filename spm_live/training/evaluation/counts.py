"""How far counts are off, and which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spm_live.training.evaluation.matching import (
    IGNORED,
    NO_TRUTH,
    Judged,
    Kind,
    match_classes,
    match_places,
)


@dataclass(frozen=True, slots=True)
class CountError:
    """A count, all pictures together.

    Parameters
    ----------
    true, found : int
        Molecules, and detections that are judged.
    off : int
        Sum over pictures of the distance between the two: errors of two pictures do not cancel.
    """

    true: int
    found: int
    off: int

    @property
    def error(self) -> float:
        """``off`` as a part of ``true``; NaN where there are no molecules."""
        return self.off / self.true if self.true else float("nan")


def count_error(
    results: Sequence[Judged], min_score: float, kind: Kind, least: float = 0.5, label: str = ""
) -> CountError:
    """Compare counts.

    Parameters
    ----------
    results : sequence of Judged
        All pictures.
    min_score : float
        Detections under it do not count.
    kind : "box" or "mask", least : float
        How it is told whether a detection lies on something ignored and does not count.
    label : str
        A class; empty for molecules of any class: a wrong class is then no error.
    """
    true = found = off = 0
    for judged in results:
        counted = (judged.scores >= min_score) & (match_classes(judged, kind, least) != IGNORED)
        asked = np.ones(len(judged.true), dtype=np.bool_)
        if label:
            counted &= judged.found_labels == label
            asked &= judged.true_labels == label
        here, there = int(np.count_nonzero(asked)), int(np.count_nonzero(counted))
        true, found, off = true + here, found + there, off + abs(there - here)
    return CountError(true, found, off)


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """Which class was taken for which.

    Parameters
    ----------
    classes : tuple of K str
        Names.
    matrix : (K + 1, K + 1) int array
        ``matrix[i, j]``: molecules of class i that were called j. Last column: molecules that nothing found. Last row:
        detections where there is nothing, or where a better detection has already taken the molecule.
    """

    classes: tuple[str, ...]
    matrix: NDArray[np.int64]

    @property
    def rate(self) -> float:
        """Part of the molecules found that have the wrong class; NaN where none was found."""
        inner = self.matrix[:-1, :-1]
        found = int(inner.sum())
        return float((found - np.trace(inner)) / found) if found else float("nan")


def confusion(
    results: Sequence[Judged], classes: Sequence[str], min_score: float, kind: Kind, least: float = 0.5
) -> Confusion:
    """Match by place alone, and see which classes meet.

    Parameters
    ----------
    results : sequence of Judged
        All pictures.
    classes : sequence of str
        Names of all classes.
    min_score : float
        Detections under it do not count.
    kind : "box" or "mask"
        What overlap is measured on.
    least : float
        Overlap that counts as found.
    """
    numbers = {label: number for number, label in enumerate(classes)}
    nothing = len(numbers)
    matrix = np.zeros((nothing + 1, nothing + 1), dtype=np.int64)
    for judged in results:
        placed = match_places(judged, kind, least, min_score)
        missed = set(range(len(judged.true)))
        for one, index in zip(judged.found, placed.tolist(), strict=True):
            if one.score < min_score or index == IGNORED:
                continue
            if index == NO_TRUTH:
                matrix[nothing, numbers[one.label]] += 1
            else:
                matrix[numbers[judged.true[index].label], numbers[one.label]] += 1
                missed.discard(index)
        for index in missed:
            matrix[numbers[judged.true[index].label], nothing] += 1
    return Confusion(tuple(classes), matrix)
