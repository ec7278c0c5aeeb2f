"""From a frame to what a model is shown: the first stage of the pipeline."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spm_live.domain import Frame, InputSpec, ModelInput
from spm_live.prepare.contrast import quantile_limits, stretch
from spm_live.prepare.levelling import level
from spm_live.prepare.resample import letterbox_for, resample
from spm_live.prepare.tiles import cut_tiles


def prepare(frame: Frame, spec: InputSpec) -> ModelInput:
    """Level a frame, bring it to the model's pixel pitch and contrast, and cut it into tiles.

    Parameters
    ----------
    frame : Frame
        Any size, pitch and direction; the pitch along x and y may differ.
    spec : InputSpec
        What the model wants to be shown.

    Returns
    -------
    ModelInput
        Without any tile where nothing was scanned: such a frame has an empty map, it is no fault.

    Raises
    ------
    FrameError
        If the frame would become too large at the model's pitch.

    Notes
    -----
    The contrast is stretched after resampling, so that the noise of a finely sampled frame does not set the range; the
    values are cut to a wider range before it, so that a single wild pixel is not averaged into its neighbours.
    """
    letterbox = letterbox_for(frame.geometry, spec.nm_per_px, frame.ref)
    levelled = level(frame.data, spec.levelling)
    calm = _cut_spikes(levelled, spec.contrast)
    picture = stretch(resample(calm, letterbox.rows, letterbox.columns), spec.contrast, in_place=True)
    tiles, origins = cut_tiles(picture, spec.rows, spec.columns, spec.overlap_px)
    return ModelInput(tiles=tiles, origins=origins, letterbox=letterbox, levelled=levelled, ref=frame.ref)


def _cut_spikes(data: NDArray[np.float32], quantiles: tuple[float, float]) -> NDArray[np.float32]:
    """Cut values to three times the range of contrast around its middle; the array itself where none lies outside."""
    limits = quantile_limits(data, quantiles)
    if limits is None or limits[0] == limits[1]:
        return data
    low, high = limits
    least, most = low - (high - low), high + (high - low)
    if data.min() >= least and data.max() <= most:  # never so where a pixel is NaN
        return data
    return np.clip(data, least, most)
