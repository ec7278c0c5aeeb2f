"""Knows the file of a scan by what it shows, where nobody said how it is called.

A controller tells the path only to who waits at the moment when the scan ends. Who was busy, or not connected, at that
moment must find the file otherwise: the clocks of instrument and daemon differ, but the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spm_live.domain import ReadOptions
from spm_live_drivers.errors import FrameError
from spm_live_drivers.growing import GrowingFrame
from spm_live_drivers.registry import read_frame

SAME_VALUE = 1e-5
"""Relative difference of two values that are the same: the file and the network both hold float32."""
LEAST_LINES = 1
"""So many lines' worth of pixels must be seen in both; noise makes each of them unlike any other scan's."""


def shows_the_scan(message: Mapping[str, Any], growing: GrowingFrame, options: ReadOptions) -> bool:
    """Whether a stored frame is of a file on this machine that holds the lines of a scan.

    Parameters
    ----------
    message : mapping
        The frame's message; its file may be gone, or elsewhere.
    growing : GrowingFrame
        The scan as far as it was told.
    options : ReadOptions
        How files are read; channel and trace are those of the scan.

    Returns
    -------
    bool
        False where that cannot be told.
    """
    path = Path(str(message["source"]))
    info = growing.start.info
    options = replace(options, channel=info.ref.channel or options.channel, trace=info.ref.trace or options.trace)
    try:
        if not (path.is_absolute() and path.is_file()):
            return False
        there = read_frame(path, options).data
    except (OSError, FrameError):
        return False
    here = growing.frame().data
    if there.shape != here.shape:
        return False
    both = np.isfinite(there) & np.isfinite(here)
    if np.count_nonzero(both) < LEAST_LINES * here.shape[1]:
        return False
    if np.count_nonzero(np.isfinite(here) & ~both):
        return False  # what was seen is not in the file
    return bool(np.allclose(there[both], here[both], rtol=SAME_VALUE, atol=0.0))
