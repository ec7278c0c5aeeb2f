"""How well a line agrees with the line before it, and the way there with the way back."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spm_live.quality.lines import Line, Row, correlation, flat

MEMORY = 1 / 16
"""Weight of a new line in the shift between the traces: hysteresis and delay of the feedback change slowly."""


class LineCorrelation:
    """Correlation of each line with the one before, both less their tilt (Pearson 1895, doi:10.1098/rspl.1895.0041)."""

    def __init__(self) -> None:
        self.values: list[float] = []
        """One for each line but the first; NaN where it cannot be told."""
        self._last: Row | None = None

    def add(self, line: Line) -> None:
        """Look at one more line."""
        level = line.level
        if self._last is not None and self._last.size == level.size:
            self.values.append(correlation(level, self._last))
        self._last = level


class TraceAgreement:
    """Correlation of forward and backward trace at their best shift.

    Notes
    -----
    A piezo lags behind, so the two traces lie a few pixels apart, by about the same in every line. The shift is where
    the cross-correlation is largest, which is summed up over lines with weights that fall by a sixteenth from one to
    the one before; the correlation is that of the part that both cover.
    """

    def __init__(self) -> None:
        self.values: list[float] = []
        """One for each line with both traces."""
        self.shift_px = 0
        """How far the backward trace lies to the right of the forward one, after the last line."""
        self._sum: NDArray[np.float64] | None = None

    def add(self, line: Line) -> None:
        """Look at one more line; nothing happens where it has no way back."""
        if line.backward is None:
            return
        ahead, back = line.level, flat(line.backward)
        size = math.sqrt(float(ahead @ ahead) * float(back @ back))
        if not size > 0 or not math.isfinite(size):
            return
        length = 2 * ahead.size
        cross = np.fft.irfft(np.conj(np.fft.rfft(ahead, length)) * np.fft.rfft(back, length), length) / size
        if self._sum is None or self._sum.size != cross.size:
            self._sum = cross
        else:
            self._sum = self._sum + MEMORY * (cross - self._sum)
        reach = max(1, min(ahead.size // 8, ahead.size - 2))
        near = np.concatenate([self._sum[-reach:], self._sum[: reach + 1]])
        self.shift_px = int(np.argmax(near)) - reach
        first, after = max(0, self.shift_px), min(back.size, back.size + self.shift_px)
        # Backward at x + shift shows what forward shows at x.
        self.values.append(correlation(ahead[first - self.shift_px : after - self.shift_px], back[first:after]))
