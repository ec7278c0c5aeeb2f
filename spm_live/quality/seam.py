"""Seams: lines at which the picture does not go on as it came, all along the line and for good."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from spm_live.quality.lines import Mask, Row, quantile, typical

STRETCHES = 8
"""Parts of a track, there and back, whose misfit is told apart. The tip changes in the middle of a line as likely as at
its end; what counts is the eight that follow each other in time, wherever they begin."""
CAP = 10.0
"""No pixel counts for more than so many usual deviations: a seam is in many pixels, an adsorbate in few."""
RETURNS = 4
"""What differs as much up to four lines before or after in the same place is no seam but a streak, a drop-out, or a
place that is rough anyway."""
BEFORE, AFTER, NEAREST = 64, 14, 4
"""Lines before and after a seam that it has to exceed, and how near they may be."""
PART = 0.95
"""All but one of twenty of them."""
LEAST = 0.1
"""This part of the usual mean square is added to both, lest a quotient of near zeros comes out."""
THRESHOLD = 1.35
"""Logarithm of that quotient from which on it is a seam: set so that less than one of a hundred drawn scans without a
change has one (scripts/measure_quality.py)."""
SPREAD = 2.2
"""So many stretches at least have to take part, ``(sum e)**2 / sum e**2``: the one place where an island begins, or
where a step edge runs along the lines for a moment, is seen twice, there and back."""

PATCHES = 32
"""Parts of a track that are judged on their own for being chaotic."""
CHAOTIC = 1.7
"""So many times as rough as the roughest of four lines before and four lines after."""
UNSTEADY = 0.7
"""A line is unsteady if so much of it, there and back, is chaotic."""
NEAR, FAR = 5, 8
"""Those four lines are so far away."""
LONGEST = 6
"""More unsteady lines in a row than this are another surface, or no picture at all."""


@dataclass(frozen=True, slots=True)
class Seam:
    """A place where the picture does not go on.

    Parameters
    ----------
    place : int
        First line after it, counted among the lines that were looked at.
    score : float
        Strength over the threshold; 1 is a seam.
    """

    place: int
    score: float


class SeamWatch:
    """Measures how well each line goes on what the lines before and after it show.

    Notes
    -----
    What does not fit at line c is ``(t[c] - t[c-1]) - ((t[c-1] - t[c-2]) + (t[c+1] - t[c])) / 2``, the change from
    line to line less the mean of the changes before and after it: nothing of a smooth surface, all of a seam. In each
    of eight stretches of the track, its median is taken away (an offset is the business of
    :class:`spm_live.quality.height.HeightWatch`), its square is cut and averaged, and the largest of the same stretch
    in the four lines before and after is taken away: a streak comes back to what was before, a seam does not. The mean
    over eight stretches that follow each other in time is compared to what it was in nearly all lines around.
    """

    def __init__(self) -> None:
        self.unsteady = UnsteadyLines()
        self._tracks: deque[Row] = deque(maxlen=FAR + 4)
        self._masks: deque[Mask] = deque(maxlen=4)
        self._squares: list[float] = []  # mean square of the misfit by line
        self._stretches: deque[Row] = deque(maxlen=2 * RETURNS + 2)  # the same, cut, by stretch
        self._excess: list[float] = []  # by line, of the stretches that end in it
        self._spread: list[float] = []  # how many stretches take part in it
        self._scales: list[float] = []
        self._last = np.zeros(STRETCHES)

    def add(self, track: Row, streaks: Mask | None) -> Seam | None:
        """Look at one more line.

        Parameters
        ----------
        track : (N,) float64 array
            The line, there and back; always of one length.
        streaks : (N,) bool array or None
            Streaks in the line eight lines ago; None where there is no such line.

        Returns
        -------
        Seam or None
            About the line 25 lines ago; None where it goes on as it came.
        """
        level = track - typical(np.sort(track - self._tracks[-1])) if self._tracks else track
        self._tracks.append(level)
        chaotic = self.unsteady.add(level)
        if streaks is None or chaotic is None:
            return None
        self._masks.append(streaks | chaotic)
        if len(self._masks) < 4:
            return None
        self._stretches.append(self._misfit())
        if len(self._stretches) <= 2 * RETURNS:
            return None
        self._compare()
        return self._judge()

    def _misfit(self) -> Row:
        """Mean cut square by stretch of the line nine lines ago."""
        two, one, here, then = (self._tracks[index] for index in range(4))
        masks = self._masks
        usable = ~(masks[0] | masks[1] | masks[2] | masks[3])
        cut = here.size // STRETCHES * STRETCHES or here.size
        rest = (1.5 * (here - one) - 0.5 * (then - two))[:cut].reshape(-1, cut // min(STRETCHES, cut))
        rest = rest - np.median(rest, axis=1, keepdims=True)
        usable = usable[:cut].reshape(rest.shape)
        squares = np.where(usable, rest * rest, 0.0)
        count = np.count_nonzero(usable, axis=1)
        self._squares.append(float(squares.sum()) / max(1, int(count.sum())))
        usual = quantile(self._squares[-BEFORE:], 0.5)
        self._scales.append(usual)
        result = np.full(STRETCHES, math.nan)
        sums = np.minimum(squares, CAP * CAP * usual).sum(axis=1)
        # Where most of a stretch is left out, the rest does not speak for it.
        result[: count.size] = np.where(2 * count > rest.shape[1], sums / np.maximum(count, 1), math.nan)
        return result

    def _compare(self) -> None:
        """Take from the stretches of a line what they are around it."""
        rows = np.array(self._stretches)[-1 - 2 * RETURNS :]
        known = np.isfinite(rows)
        around = np.where(known, rows, 0.0)
        here = around[RETURNS].copy()
        around[RETURNS] = 0.0
        excess = np.maximum(here - around.max(axis=0), 0.0)
        excess[np.count_nonzero(known, axis=0) <= RETURNS + 2] = 0.0
        both = np.concatenate([self._last, excess])
        windows = np.lib.stride_tricks.sliding_window_view(both, STRETCHES)[1:]
        sums = windows.sum(axis=1)
        best = int(np.argmax(sums))
        squares = float(windows[best] @ windows[best])
        self._excess.append(float(sums[best]) / STRETCHES)
        self._spread.append(float(sums[best]) ** 2 / squares if squares > 0 else 0.0)
        self._last = excess

    def _judge(self) -> Seam | None:
        """Judge the place that has just got enough lines after it."""
        at = len(self._excess) - AFTER
        earlier = self._excess[max(0, at - BEFORE) : max(0, at - NEAREST + 1)]
        scale = self._scales[at + RETURNS] if at >= 0 else 0.0
        if len(earlier) < NEAREST + AFTER // 2 or not scale > 0:
            return None
        usual = max(quantile(earlier, PART), quantile(self._excess[at + NEAREST :], PART))
        strength = math.log((self._excess[at] + LEAST * scale) / (usual + LEAST * scale))
        # The first misfit is that of the third line, the first excess that of the fourth misfit after it.
        seam = strength >= THRESHOLD and self._spread[at] >= SPREAD
        return Seam(at + RETURNS + 2, strength / THRESHOLD) if seam else None


class UnsteadyLines:
    """Finds stretches of lines that are much rougher than what is around, and lines that are so as a whole."""

    def __init__(self) -> None:
        self.ended: int | None = None
        """First line after one to six unsteady ones, if that is the line eight lines ago."""
        self._rough: deque[Row] = deque(maxlen=2 * FAR + 1)
        self._count = 0
        self._run = 0

    def add(self, track: Row) -> Mask | None:
        """Look at one more line; give the chaotic pixels of the line eight lines ago, None where there is none."""
        cut = track.size // PATCHES * PATCHES or track.size
        patches = min(PATCHES, cut)
        steps = np.zeros(track.size)
        np.abs(track[1:] - track[:-1], out=steps[:-1])
        self._rough.append(steps[:cut].reshape(patches, -1).mean(axis=1))
        self._count += 1
        self.ended = None
        at = len(self._rough) - 1 - FAR
        if at < 0:
            return None
        rough = np.array(self._rough)
        usual = rough[at + NEAR :].max(axis=0)
        if at >= NEAR:
            usual = np.maximum(usual, rough[max(0, at - FAR) : at - NEAR + 1].max(axis=0))
        chaotic = rough[at] > CHAOTIC * usual
        if at >= NEAR and np.count_nonzero(chaotic) >= UNSTEADY * patches:
            self._run += 1
        else:
            if 0 < self._run <= LONGEST:
                self.ended = self._count - 1 - FAR
            self._run = 0
        mask = np.zeros(track.size, dtype=np.bool_)
        if chaotic.any():
            mask[:cut] = np.repeat(chaotic, cut // patches)
        return mask
