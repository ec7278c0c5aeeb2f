"""A double tip: what stands out has a weaker copy beside it, always on the same side."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from spm_live.quality.lines import Line, Row

REACH_NM = 1.8
"""Copies are looked for up to so far away, in nm."""
LAGS = 18
"""The reach is at most so many steps: of finer frames every second, third, ... line and column takes part."""
NEAREST = 3
"""Copies nearer than so many steps melt into what they are copies of."""
FEWEST_LINES = 48
"""With fewer lines nothing is said."""
HEIGHT_LINES = 64
"""Lines that tell how high things usually are."""
LEAST = 0.03
"""Least strength of a copy."""
ALONE = 0.55
"""No other direction may come nearer to it than this: molecules that lie in order have many."""
EVERY = 8
"""Lines from one judgement to the next."""
SAME_NM = 0.3
"""Two judgements in a row have to find the copy in the same place, within so much: what chance put there moves on."""


@dataclass(frozen=True, slots=True)
class SecondApex:
    """A shifted copy in the picture.

    Parameters
    ----------
    strength : float
        0 to 1: of what stands out, what lies beside it on one side more than on the other.
    x, y : float
        Where the copy lies, in nm: x to the right, y up.
    """

    strength: float
    x: float
    y: float


class DoubleTip:
    """Looks for a copy in the third-order correlation of what stands out.

    Notes
    -----
    The autocorrelation of a lattice, of a close-packed layer or of a molecule of two like lobes has side peaks as that
    of a double tip has, but in these, what is to the right of things is also to the left of them. The second apex
    stands on one side and is shorter: its copies are weaker. So the odd part of the third-order correlation
    ``C(d) = sum over x of u(x)**2 u(x + d)``, ``(C(d) - C(-d)) / C(0)``, is what is looked at (Nikias and Raghuveer
    1987, doi:10.1109/PROC.1987.13824, for moments of third order): a copy of height a leaves ``a - a**2`` there, at
    one place. ``u`` is what is above the running mean of a line, cut at the usual height of things.
    Unlike molecules in the order of a lattice have such peaks too, but in several directions: nothing is said then.

    Parameters
    ----------
    nm_per_px : (float, float)
        Pitch along and across the lines, after any thinning of the columns.
    down : bool
        Whether the first line is the top one.
    """

    def __init__(self, nm_per_px: tuple[float, float], down: bool) -> None:
        self._step = tuple(max(1, math.ceil(REACH_NM / LAGS / pitch)) for pitch in nm_per_px)
        self._pitch = nm_per_px[0] * self._step[0], nm_per_px[1] * self._step[1]
        self._down = down
        self.found: SecondApex | float = math.nan
        """What was found; 0 where there is surely no copy, NaN where that cannot be told."""
        self._lines = 0
        self._heights: deque[float] = deque(maxlen=HEIGHT_LINES)
        self._size = 0
        self._clear(0)

    def _clear(self, size: int) -> None:
        self._size = size
        self._last: SecondApex | float = math.nan
        bins = (size + LAGS) // 2 + 1 if size else 1
        self._up = np.zeros((LAGS + 1, bins), dtype=np.complex128)  # squares below, values above
        self._under = np.zeros((LAGS + 1, bins), dtype=np.complex128)
        self._values = np.zeros((LAGS + 1, bins), dtype=np.complex128)  # newest first
        self._squares = np.zeros((LAGS + 1, bins), dtype=np.complex128)
        self._taken = 0

    def add(self, line: Line) -> None:
        """Look at one more line."""
        self._lines += 1
        if (self._lines - 1) % self._step[1]:
            return
        row = line.level
        if self._step[0] > 1:
            row = row[: row.size // self._step[0] * self._step[0]].reshape(-1, self._step[0]).mean(axis=1)
        if row.size < 4 * LAGS:
            return
        if row.size != self._size:
            self._clear(row.size)
        bumps = self._bumps(row)
        length = 2 * (self._up.shape[1] - 1)
        for store, signal in ((self._values, bumps - bumps.mean()), (self._squares, np.square(bumps))):
            store[1:] = store[:-1]
            store[0] = np.fft.rfft(signal, length)
        self._up += np.conj(self._squares) * self._values[0]
        self._under += np.conj(self._squares[0]) * self._values
        self._taken += 1
        if self._taken % EVERY == 0:
            last, self._last = self._last, self._judge()
            self.found = self._last if _agree(last, self._last) else math.nan

    def _bumps(self, row: Row) -> Row:
        reach = min(2 * LAGS, row.size // 2 - 1)
        longer = np.pad(row, (reach + 1, reach), mode="edge")
        sums = np.cumsum(longer)
        rest = row - (sums[2 * reach + 1 :] - sums[: -2 * reach - 1]) / (2 * reach + 1)
        rest = rest - float(np.median(rest))
        self._heights.append(float(np.sort(rest)[int(0.97 * rest.size)]))
        usual = sorted(self._heights)[int(0.7 * len(self._heights))]
        return np.clip(rest, 0.0, usual) / usual if usual > 0 else np.zeros(rest.size)

    def _judge(self) -> SecondApex | float:
        odd = self.odd_part()
        if odd is None:
            return math.nan
        y, x = np.mgrid[-LAGS : LAGS + 1, -LAGS : LAGS + 1]
        apart = np.where(np.hypot(x, y) >= NEAREST, odd, -math.inf)
        place = np.where(np.hypot(x * self._pitch[0], y * self._pitch[1]) <= REACH_NM, apart, -math.inf)
        best = int(np.argmax(place))
        strength, lag_x, lag_y = float(place.flat[best]), int(x.flat[best]), int(y.flat[best])
        away = np.hypot(x - lag_x, y - lag_y) > max(3.0, 0.35 * math.hypot(lag_x, lag_y))
        second = float(apart[away].max())  # beyond the reach as well: order of molecules shows there too
        if not math.isfinite(strength):
            return math.nan  # the pixels are too large to show a copy
        if strength < LEAST:
            return 0.0
        if second > ALONE * strength:
            return math.nan
        down = self._pitch[1] * lag_y
        return SecondApex(min(strength, 1.0), self._pitch[0] * lag_x, -down if self._down else down)

    def odd_part(self) -> Row | None:
        """(37, 37) float64 array over lags of lines and columns, -18 to 18; None where too little is known."""
        if self._taken < 2 * LAGS or self._lines < FEWEST_LINES:
            return None
        length = 2 * (self._up.shape[1] - 1)
        after = np.fft.irfft(self._up, length, axis=1)
        before = np.fft.irfft(self._under, length, axis=1)
        if not after[0, 0] > 0:
            return None
        lags = np.arange(-LAGS, LAGS + 1)
        # A lag over n lines is seen in n lines fewer.
        share = self._taken / (self._taken - np.arange(LAGS + 1))
        whole = np.zeros((2 * LAGS + 1, 2 * LAGS + 1))
        whole[LAGS:] = (after * share[:, None])[:, lags]
        whole[:LAGS] = (before * share[:, None])[1:][::-1][:, lags]
        whole /= after[0, 0]
        return np.asarray(whole - whole[::-1, ::-1])


def _agree(before: SecondApex | float, now: SecondApex | float) -> bool:
    if isinstance(now, SecondApex):
        return isinstance(before, SecondApex) and math.hypot(now.x - before.x, now.y - before.y) <= SAME_NM
    return True  # that there is none needs no second look
