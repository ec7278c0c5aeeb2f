"""Measures what values occur in a graph, and finds the range that eight bits serve best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 2048
TOGETHER = 16
"""Tensors fetched from one run: all of them at once would fill the memory of a small machine."""


@dataclass(slots=True)
class Occurrence:
    """How often which values occur in a tensor.

    Parameters
    ----------
    low, high : float
        Least and greatest value; 0 is always between them, since padding is 0.
    counts : (BINS,) int64 array
        From ``low`` to ``high``.
    """

    low: float = 0.0
    high: float = 0.0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))

    def widen(self, values: NDArray[np.float32]) -> None:
        """Take note of the range of some values."""
        if values.size:
            self.low = min(self.low, float(values.min()))
            self.high = max(self.high, float(values.max()))

    def count(self, values: NDArray[np.float32]) -> None:
        """Count some values, once the range is known."""
        if values.size and self.high > self.low:
            self.counts += np.histogram(values, bins=BINS, range=(self.low, self.high))[0]


def best_range(seen: Occurrence, *, symmetric: bool) -> tuple[float, float]:
    """Range at which rounding to eight bits and cutting off what lies outside together err least (in the square).

    Parameters
    ----------
    seen : Occurrence
    symmetric : bool
        Whether the range reaches as far down as up.

    Returns
    -------
    (float, float)
        Lower and upper end; 0 lies between them.
    """
    if seen.high <= seen.low:
        return (-1e-6, 1e-6) if symmetric else (0.0, 1e-6)
    low, high = (-max(-seen.low, seen.high), max(-seen.low, seen.high)) if symmetric else (seen.low, seen.high)
    edges = np.linspace(seen.low, seen.high, BINS + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    best, least = (low, high), np.inf
    for part in np.geomspace(1.0, 0.1, 60):
        bottom, top = low * part, high * part
        outside = np.maximum(middles - top, 0) + np.maximum(bottom - middles, 0)
        step = (top - bottom) / 255
        error = float((seen.counts * np.where(outside > 0, outside**2, step**2 / 12)).sum())
        if error < least:
            best, least = (bottom, top), error
    return best


def occurrences(model: Any, names: Sequence[str], pictures: Sequence[NDArray[np.float32]]) -> dict[str, Occurrence]:
    """Run a network on pictures, and count the values of some of its tensors.

    Parameters
    ----------
    model : onnx.ModelProto
    names : sequence of str
        Of float32 tensors.
    pictures : sequence of (B, 1, rows, columns) float32 array

    Returns
    -------
    dict of str to Occurrence
    """
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    have = {output.name for output in watched.graph.output}
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in have
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    seen = {name: Occurrence() for name in names}
    for look in (Occurrence.widen, Occurrence.count):
        for picture in pictures:
            for start in range(0, len(names), TOGETHER):
                some = list(names[start : start + TOGETHER])
                for name, values in zip(some, session.run(some, {"image": picture}), strict=True):
                    look(seen[name], values)
    return seen
