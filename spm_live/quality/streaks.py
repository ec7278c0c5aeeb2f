"""Streaks: stretches of one to four lines in which the tip, or the molecule under it, was not as before and after."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from spm_live.quality.lines import Mask, Row, typical

HIGH, LOW = 0.666, 0.25
"""How far a streak stands out, in root mean squares of the differences between neighbouring lines: some of it by the
first, all of it by the second. As in :mod:`spm_live.prepare.scars`."""
SHORTEST_PX = 16
"""Shorter ones may be molecules."""
WIDEST = 4
"""The most lines that one streak takes up."""
KEPT = 10
"""Lines that are remembered."""


class Streaks:
    """Counts the pixels in streaks, line by line.

    Notes
    -----
    "Mark Scars" of the Gwyddion user guide (https://gwyddion.net/documentation/user-guide-en/scan-line-defects.html),
    with the rule of :func:`spm_live.prepare.scars.mark_scars`: a streak lies, on its whole length, above the line over
    it and the line under it (or below both), and beyond where those two would get to if they went on as they came.
    That one looks at a whole frame and mends it; this one looks at a few lines at a time, and its unit is the root
    mean square of the differences so far.
    """

    def __init__(self) -> None:
        self.marked = 0
        """Pixels in streaks so far."""
        self.seen = 0
        """Pixels looked at so far."""
        self._lines: deque[Row] = deque(maxlen=KEPT)  # levelled to each other
        self.marks: deque[Mask] = deque(maxlen=KEPT)
        """Which pixels of the last lines lie in streaks; those of the last six may become more."""
        self._squares, self._pairs = 0.0, 0

    @property
    def part(self) -> float:
        """Part of the pixels that lie in streaks, 0 to 1."""
        return self.marked / self.seen if self.seen else 0.0

    def add(self, line: Row) -> None:
        """Look at one more line of the forward trace."""
        if self._lines and self._lines[-1].size == line.size:
            change = line - self._lines[-1]
            change = change - typical(np.sort(change))
            self._squares += float(np.mean(change * change))
            self._pairs += 1
            line = self._lines[-1] + change
        elif self._lines:
            self._lines.clear()
            self.marks.clear()
        self._lines.append(line)
        self.marks.append(np.zeros(line.size, dtype=np.bool_))
        self.seen += line.size
        if self._pairs >= 2 and self._squares > 0:
            unit = math.sqrt(self._squares / self._pairs)
            self._mark(list(self._lines), unit)

    def _mark(self, lines: list[Row], unit: float) -> None:
        """Mark what stands out and ends with the last line but two.

        The last line is needed to know how the line under the streak goes on.
        """
        under = lines[-2]
        reach = np.abs(lines[-1] - under)
        above, below = under + reach, under - reach
        lowest = highest = lines[-3]
        for width in range(1, min(WIDEST, len(lines) - 3) + 1):
            top = lines[-2 - width]
            if width > 1:
                lowest, highest = np.minimum(lowest, top), np.maximum(highest, top)
            over = lines[-3 - width]
            reach = np.abs(over - lines[max(0, len(lines) - 4 - width)])
            for rise in (lowest - np.maximum(over + reach, above), np.minimum(over - reach, below) - highest):
                if float(rise.max()) > HIGH * unit:
                    self._keep(_long_runs(rise > LOW * unit, rise > HIGH * unit), width)

    def _keep(self, run: Mask | None, width: int) -> None:
        if run is None:
            return
        for back in range(1, width + 1):
            mark = self.marks[-2 - back]
            self.marked += int(np.count_nonzero(run & ~mark))
            mark |= run


def _long_runs(weak: Mask, strong: Mask) -> Mask | None:
    """Runs that are long enough and hold a strong pixel; None where there is none."""
    gapped = np.zeros(weak.size + 2, dtype=np.int8)
    gapped[1:-1] = weak
    # Starts and ends by turns.
    edges = np.flatnonzero(gapped[1:] != gapped[:-1])
    starts, ends = edges[::2], edges[1::2]
    shortest = min(SHORTEST_PX, max(4, weak.size // 4))
    long = ends - starts >= shortest
    result: Mask | None = None
    for start, end in zip(starts[long].tolist(), ends[long].tolist(), strict=True):
        if strong[start:end].any():
            if result is None:
                result = np.zeros(weak.size, dtype=np.bool_)
            result[start:end] = True
    return result
