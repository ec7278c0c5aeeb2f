"""Whether backward data come mirrored.

The manual does not say whether Scan.FrameDataGrab gives the backward trace as it was scanned (from right to left) or as
it is shown (x to the right). Both traces show one surface, so the way in which they resemble each other more is the
right one. Tilt counts in favour: it is the same in both traces, and turns into its opposite in a mirrored one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_LEAST_DIFFERENCE = 0.2
_SIGMAS = 6.0
_MOST_LINES = 8
"""After so many lines that tell nothing, data are taken as they are shown; the next scan is judged again."""


class MirrorJudge:
    """Compares lines until it knows; what it knows once, it keeps."""

    def __init__(self) -> None:
        self.mirrored: bool | None = None
        """Whether backward data must be turned round; None while that is not known."""
        self.assumed = False
        """Whether it was only assumed, for want of any difference."""
        self._begin()

    def _begin(self) -> None:
        self._lines = 0
        self._pixels = 0
        self._difference = 0.0

    def next_scan(self) -> None:
        """Judge again what was only assumed."""
        if self.assumed or self.mirrored is None:
            self.mirrored, self.assumed = None, False
            self._begin()

    def judge(self, forward: NDArray[np.float32], backward: NDArray[np.float32], *, now: bool = False) -> None:
        """Compare lines that were not compared before.

        Parameters
        ----------
        forward, backward : (n, columns) float32 array
            The same lines; ``backward`` as the controller gave it.
        now : bool
            There will be no more lines: settle it.
        """
        if self.mirrored is not None:
            return
        for one, other in zip(forward, backward, strict=True):
            self._compare(one, other)
        mean = self._difference / max(self._lines, 1)
        # Correlation of two lines of noise: standard deviation 1 / sqrt(pixels), twice that for the difference of two.
        if self._lines and abs(mean) > max(_LEAST_DIFFERENCE, _SIGMAS / math.sqrt(max(self._pixels, 1))):
            self.mirrored = mean < 0
        elif now or self._lines >= _MOST_LINES:
            self.mirrored, self.assumed = False, True

    def _compare(self, forward: NDArray[np.float32], backward: NDArray[np.float32]) -> None:
        self._lines += 1
        straight, turned = _resemblance(forward, backward), _resemblance(forward, backward[::-1])
        if straight is not None and turned is not None:
            self._difference += straight - turned
            self._pixels += len(forward)


def _resemblance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float | None:
    """Pearson correlation of the pixels that both have; None where there is none."""
    both = np.isfinite(one) & np.isfinite(other)
    if np.count_nonzero(both) < 8:
        return None
    a, b = one[both].astype(np.float64), other[both].astype(np.float64)
    a -= a.mean()
    b -= b.mean()
    scale = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
    return float(a @ b) / scale if scale > 0 else None
