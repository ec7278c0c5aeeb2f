"""Bringing lines to a model's pixel pitch as they come: the same pixels as of the whole frame at once."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.domain import Letterbox

Line: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class _Narrowed:
    """A line at the model's pitch along x: values times cover, and cover where it is not 1 throughout."""

    values: Line
    cover: Line | None


class LineResampling:
    """Makes the rows of the resampled picture, each as soon as the last line that it needs is there.

    Parameters
    ----------
    rows, columns : int
        Shape of the frame.
    letterbox : Letterbox
        Shape of the resampled picture.

    Notes
    -----
    As :func:`spm_live.prepare.resample.resample`: averaged by area along an axis that shrinks, linear between pixel
    centres along one that grows, and what was not scanned has no weight. Both count from both ends alike, so it does
    not matter whether the first line is the top one or the bottom one.
    """

    def __init__(self, rows: int, columns: int, letterbox: Letterbox) -> None:
        self._lines, self._columns = rows, columns
        self._rows, self._wide = letterbox.rows, letterbox.columns
        self._held: deque[_Narrowed] = deque()
        self._first_held = 0
        self._done = 0

    @property
    def identity(self) -> bool:
        """Whether the frame keeps its pixels."""
        return (self._lines, self._columns) == (self._rows, self._wide)

    def take(self, line: Line) -> list[Line]:
        """Take the next line.

        Parameters
        ----------
        line : (columns,) float32 array
            NaN where not scanned.

        Returns
        -------
        list of (picture columns,) float32 array
            Rows of the resampled picture that are complete now, in the order of scanning.
        """
        if self.identity:
            self._done += 1
            return [line]
        self._held.append(self._narrow(line))
        arrived = self._first_held + len(self._held)
        made: list[Line] = []
        while self._done < self._rows:
            first, weights = self._sources(self._done)
            while self._first_held < first:
                self._held.popleft()
                self._first_held += 1
            if first + len(weights) > arrived:
                break
            made.append(self._mix([self._held[index] for index in range(len(weights))], weights))
            self._done += 1
        return made

    def _narrow(self, line: Line) -> _Narrowed:
        scanned = np.isfinite(line)
        if scanned.all():
            return _Narrowed(self._resize(line), None)
        return _Narrowed(self._resize(np.where(scanned, line, np.float32(0))), self._resize(scanned.astype(np.float32)))

    def _resize(self, line: Line) -> Line:
        if self._wide == self._columns:
            return line
        how = cv2.INTER_AREA if self._wide < self._columns else cv2.INTER_LINEAR
        resized: Line = cv2.resize(line[None], (self._wide, 1), interpolation=how)[0]
        return resized

    def _sources(self, row: int) -> tuple[int, list[float]]:
        """First line that a row is made of, and the weights of this and the next ones; in whole numbers, exactly."""
        lines, rows = self._lines, self._rows
        if rows <= lines:
            begin, end = row * lines, (row + 1) * lines
            first, after_last = begin // rows, -(-end // rows)
            return first, [
                (min((index + 1) * rows, end) - max(index * rows, begin)) / lines for index in range(first, after_last)
            ]
        place = (2 * row + 1) * lines - rows  # of its centre among the lines, in units of 1 / (2 rows)
        first, rest = divmod(place, 2 * rows)
        if first < 0 or first >= lines - 1 or rest == 0:
            return min(max(first, 0), lines - 1), [1.0]
        part = rest / (2 * rows)
        return first, [1 - part, part]

    def _mix(self, parts: list[_Narrowed], weights: list[float]) -> Line:
        values = _weighted([part.values for part in parts], weights)
        if all(part.cover is None for part in parts):
            return values
        full = np.ones(self._wide, dtype=np.float32)
        cover = _weighted([full if part.cover is None else part.cover for part in parts], weights)
        result = np.full(self._wide, np.nan, dtype=np.float32)
        np.divide(values, cover, out=result, where=cover >= 0.5)
        return result


def _weighted(lines: list[Line], weights: list[float]) -> Line:
    """Sum of lines with weights, always in the same order."""
    total = lines[0] * np.float32(weights[0])
    for line, weight in zip(lines[1:], weights[1:], strict=True):
        total += line * np.float32(weight)
    return total
