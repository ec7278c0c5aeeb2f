"""Noise from pixel to pixel."""

from __future__ import annotations

from collections import deque

import numpy as np

from spm_live.quality.lines import Line, Row


class PixelNoise:
    """Standard deviation of the noise, line by line.

    Notes
    -----
    Immerkaer 1996, doi:10.1006/cviu.1996.0060: the difference of two Laplacians, ``(1 -2 1; -2 4 -2; 1 -2 1)``, knows
    nothing of tilt, of bow and of offsets between lines; white noise of deviation s makes 6 s of it. The median of its
    magnitude takes the place of the mean, since edges are few.
    """

    def __init__(self) -> None:
        self.values: list[float] = []
        """One for each line but the first two."""
        self._lines: deque[Row] = deque(maxlen=3)

    def add(self, line: Line) -> None:
        """Look at one more line."""
        self._lines.append(line.raw)
        if len(self._lines) < 3 or line.raw.size < 3:
            return
        one, two, three = self._lines
        bend = one - 2 * two + three
        twice = bend[:-2] - 2 * bend[1:-1] + bend[2:]
        self.values.append(1.4826 * float(np.median(np.abs(twice))) / 6)
