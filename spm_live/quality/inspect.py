"""The inspector: tells, line by line, how good a scan is so far."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spm_live.domain import FrameInfo, ScanDirection
from spm_live.quality.changes import TipChanges
from spm_live.quality.double_tip import DoubleTip, SecondApex
from spm_live.quality.dropouts import dropped_pixels
from spm_live.quality.lines import Intake, quantile
from spm_live.quality.noise import PixelNoise
from spm_live.quality.traces import LineCorrelation, TraceAgreement
from spm_live.quality.verdict import Measures, judge
from spm_live.scanning import ScanQuality

LAST_LINES = 32
"""Correlation and agreement are those of so many lines: the operator asks how it is now."""
NOISE_LINES = 64
"""The same of the noise."""


class ScanInspector:
    """Looks at the lines of one scan, each of them once.

    A line costs the same wherever it lies and however large the frame is; a window of the last lines and a few numbers
    of each line are kept. What is told depends on the lines alone, not on how many came at once.

    Parameters
    ----------
    info : FrameInfo
        The frame: geometry, unit, direction.

    Examples
    --------
    >>> from spm_live_drivers.synthetic.tip_change import draw_tip_change
    >>> from spm_live.domain import FrameRef, Trace
    >>> scan, line = draw_tip_change(2, "height", rows=96, columns=128, size_nm=(16.0, 12.0), line=60)
    >>> info = FrameInfo(FrameRef("drawn", channel="Z", trace=Trace.FORWARD), scan.geometry, "m")
    >>> quality = ScanInspector(info).advance(scan.heights, scan.heights_backward)
    >>> quality.verdict.value, [change.line for change in quality.tip_changes]
    ('doubtful', [60])
    """

    def __init__(self, info: FrameInfo) -> None:
        geometry = info.geometry
        self._columns = geometry.columns
        self._unit = "nm" if info.unit == "m" else info.unit
        self._intake = Intake(geometry.columns, info.unit)
        self._changes = TipChanges()
        self._lines_alike = LineCorrelation()
        self._traces_alike = TraceAgreement()
        self._noise = PixelNoise()
        pitch_x, pitch_y = geometry.nm_per_px
        self._double = DoubleTip((pitch_x * self._intake.step, pitch_y), info.direction is not ScanDirection.UP)
        self._lines, self._usable, self._dropped = 0, 0, 0

    def advance(self, forward: NDArray[np.float32], backward: NDArray[np.float32] | None) -> ScanQuality:
        """Look at more lines.

        Parameters
        ----------
        forward : (n, columns) float32 array
            Lines in the order of scanning, continuing where the last call ended; x grows to the right; n may be 0; NaN
            where nothing is known.
        backward : (n, columns) float32 array or None
            The way back of the same lines, x grows to the right as well.

        Returns
        -------
        ScanQuality
            Of all lines so far.

        Raises
        ------
        ValueError
            If the lines are not as long as those of the frame, or the traces not as many as each other.
        """
        forward = np.asarray(forward)
        backward = None if backward is None else np.asarray(backward)
        if forward.ndim != 2 or forward.shape[1] != self._columns:
            raise ValueError(f"lines of shape {forward.shape} in a frame of {self._columns} columns")
        if backward is not None and backward.shape != forward.shape:
            raise ValueError(f"{forward.shape} forward and {backward.shape} backward")
        with np.errstate(all="ignore"):  # values of any size come in; what overflows compares as false
            for index in range(forward.shape[0]):
                self._look(forward[index], None if backward is None else backward[index])
            return self._quality()

    def _look(self, forward: NDArray[np.float32], backward: NDArray[np.float32] | None) -> None:
        number = self._lines
        self._lines += 1
        self._dropped += dropped_pixels(forward)
        line = self._intake.take(number, forward, backward)
        if line is None:
            return
        self._usable += 1
        self._changes.add(line)
        self._lines_alike.add(line)
        self._traces_alike.add(line)
        self._noise.add(line)
        self._double.add(line)

    def _quality(self) -> ScanQuality:
        copy = self._double.found
        dropouts = self._dropped / (self._lines * self._columns) if self._lines else 0.0
        line_correlation = _middle(self._lines_alike.values[-LAST_LINES:])
        trace_agreement = _middle(self._traces_alike.values[-LAST_LINES:])
        measures = Measures(
            lines=self._lines,
            usable=self._usable,
            streaks=self._changes.streaks,
            dropouts=dropouts,
            line_correlation=line_correlation,
            trace_agreement=trace_agreement,
            copy=copy if isinstance(copy, SecondApex) else None,
            changes=tuple(self._changes.found),
            unit=self._unit,
        )
        verdict, reasons = judge(measures)
        return ScanQuality(
            lines=self._lines,
            verdict=verdict,
            reasons=reasons,
            line_correlation=line_correlation,
            trace_agreement=trace_agreement,
            streaks=measures.streaks,
            dropouts=dropouts,
            noise_nm=_middle(self._noise.values[-NOISE_LINES:]),
            double_tip=copy.strength if isinstance(copy, SecondApex) else copy,
            double_tip_nm=(copy.x, copy.y) if isinstance(copy, SecondApex) else None,
            tip_changes=tuple(found.change for found in measures.changes),
        )


def _middle(values: list[float]) -> float:
    return quantile([value for value in values if math.isfinite(value)], 0.5)
