"""Jumps of the apparent height that stay: the tip became longer or shorter."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from spm_live.quality.lines import Row

LAGS = ((2, 1, 4.8), (3, 2, 5.5), (4, 3, 8.0))
"""How far apart the compared lines are, over how many pairs the median is taken, and from which score on it is a jump.
The first sees the weakest jumps, the others those with a line or two in which the tip was unsteady. Thresholds were
set so that one of the three passes in less than one of a hundred drawn scans without a jump
(scripts/measure_quality.py)."""
FAR = 8
"""Lag at which a jump has to be seen to last."""
SHORT, OVER, UNREST = 2, 0.35, 3
"""Lag at which it has to be seen to be over, how much of it may still come or have been before, and in how many lines
before it the tip may have been unsteady."""
LASTING = 5
"""Lines of the new height that have to be seen. More than a drop-out takes up."""
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
"""A jump moves all of them; a step that crosses the lines, or an island that begins, does not."""
MEMORY = 48
"""Number of lines that tell what is usual."""
FEWEST = 16
"""With fewer of them nothing is said."""


@dataclass(frozen=True, slots=True)
class Jump:
    """A place where the height may have jumped.

    Parameters
    ----------
    place : int
        First line after it, counted among the lines that were looked at.
    score : float
        By how many of its usual deviations the quantile moved that moved the least, over the threshold: 1 is a jump.
    height : float
        By how much the median moved, in the unit of the lines.
    """

    place: int
    score: float
    height: float


class HeightWatch:
    """Compares each line with lines a little before it.

    Notes
    -----
    The statistic, for lines c - m and c: the quantiles of their pixelwise differences, less what is usual for lines so
    far apart (tilt, drift, creep), over how much that usually scatters; of the five, the one that moved least, if all
    moved the same way. It is the generalised likelihood ratio of a step in a known place (Lorden 1971,
    doi:10.1214/aoms/1177693055) with medians in the place of means, applied to the sharpest part of a line: what does
    not move all of the line is no change of the tip. It has to last for five lines.
    """

    def __init__(self) -> None:
        self._tracks: deque[Row] = deque(maxlen=FAR + 1)
        self._steps: dict[int, list[Row]] = {lag: [] for lag in (*(lag for lag, _, _ in LAGS), FAR)}
        self._usual: dict[int, list[Row]] = {lag: [] for lag, _, _ in LAGS}
        self._forgotten = 0  # lines that the lists above do not hold any more

    def add(self, track: Row) -> Jump | None:
        """Look at one more line; say what happened five lines ago.

        Parameters
        ----------
        track : (N,) float64 array
            The line, there and back; always of one length.

        Returns
        -------
        Jump or None
            The best of all lags, whether it is large enough or not; None where there is none.
        """
        self._tracks.append(track)
        for lag, steps in self._steps.items():
            steps.append(self._quantiles(track, lag))
        place = len(self._steps[FAR]) - LASTING
        if place < 0:
            return None
        best: Jump | None = None
        for lag, span, threshold in LAGS:
            middle = _median(np.array(self._steps[lag][place : place + span]))
            jump = self._judge(lag, place, middle, threshold)
            self._usual[lag].append(middle)
            if jump is not None and (best is None or jump.score > best.score):
                best = jump
        if best is not None:
            best = replace(best, place=place + self._forgotten)
        if place > MEMORY + 2 * FAR:
            for held in (*self._steps.values(), *self._usual.values()):
                del held[0]
            self._forgotten += 1
        return best

    def _quantiles(self, track: Row, lag: int) -> Row:
        if len(self._tracks) <= lag:
            return np.full(len(QUANTILES), math.nan)
        change = np.sort(track - self._tracks[-1 - lag])
        return change[[int(part * (change.size - 1)) for part in QUANTILES]]

    def _judge(self, lag: int, place: int, middle: Row, threshold: float) -> Jump | None:
        last = place - max(lag, LASTING)
        first = max(lag, last - MEMORY)
        if last - first < FEWEST:
            return None
        usual = np.array(self._usual[lag][first:last])
        centre = _median(usual)
        moved = middle - centre
        sign = 1.0 if moved[2] > 0 else -1.0
        if not float((sign * moved).min()) > 0 or not self._lasts(place, float(moved[2])):
            return None
        scatter = 1.4826 * _median(np.abs(usual - centre))
        scatter = np.maximum(scatter, 0.1 * float(_median(scatter)))
        floor = 1e-6 * float(np.abs(usual).max()) + 1e-300  # lines without any noise have no scatter either
        score = float((sign * moved / (scatter + floor)).min()) / threshold
        return Jump(place, min(score, 1e6), float(moved[2]))

    def _lasts(self, place: int, height: float) -> bool:
        """Whether the lines up to the last one stay away by nearly as much from those eight lines before them."""
        steps = self._steps[FAR]
        usual = np.array([step[2] for step in steps[FAR : max(FAR, place)][-MEMORY:]])
        drift = float(_median(usual)) if usual.size else 0.0
        moved = np.array([step[2] for step in steps[place + 2 : place + LASTING]]) - drift
        share = math.copysign(1.0, height) * moved / abs(height)
        if not (_median(share) >= 0.4 and share[-1] >= 0.4):
            return False
        # A jump has not begun long before, and is over when it has happened; a slope goes on.
        near = self._steps[SHORT]
        usual = np.array([step[2] for step in near[SHORT : max(SHORT + 1, place - 1)][-MEMORY:]])
        middle = float(_median(usual))
        return all(
            float(_median(np.abs(np.array([step[2] for step in part]) - middle))) <= OVER * abs(height)
            for part in (near[place - UNREST - 3 : place - UNREST], near[place + SHORT : place + LASTING])
        )


def _median(values: Row) -> Row:
    """Upper median along the first axis; five times as quick as numpy's for a few values."""
    return np.asarray(np.sort(values, axis=0)[values.shape[0] // 2])
