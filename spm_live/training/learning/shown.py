"""Labelled pictures as the model will be shown them: by the very code that prepares real frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spm_live.domain import InputSpec
from spm_live.prepare import letterbox_for, prepare, resample
from spm_live.training.evaluation.predictions import frame_of
from spm_live.training.labelled import LabelledPicture
from spm_live.training.learning.settings import Shown


def as_shown(picture: LabelledPicture, shown: Shown) -> LabelledPicture:
    """Level a picture, bring it to the model's pixel pitch and contrast, and move its outlines with it.

    Parameters
    ----------
    picture : LabelledPicture
        As it was loaded; one whose scale is not known is taken to have the model's pitch.
    shown : Shown
        What the model wants.

    Returns
    -------
    LabelledPicture
        0 to 1; NaN where not scanned.

    Raises
    ------
    FrameError
        If it would become too large at the model's pitch.
    """
    frame, _ = frame_of(picture, shown.nm_per_px)
    box = letterbox_for(frame.geometry, shown.nm_per_px, frame.info.ref)
    # One tile as large as the picture: windows are cut later, not by a grid.
    spec = InputSpec(box.rows, box.columns, shown.nm_per_px, 0, shown.levelling, shown.contrast)
    made = prepare(frame, spec)
    if not len(made.tiles):
        image = np.full((box.rows, box.columns), np.nan, dtype=np.float32)
    else:
        image = np.array(made.tiles[0])
        if np.isnan(made.levelled).any():  # tiles have 0 there
            image[np.isnan(resample(made.levelled, box.rows, box.columns))] = np.nan
    scale = np.array([box.scale_x, box.scale_y])
    molecules = tuple(replace(one, rings=tuple(ring * scale for ring in one.rings)) for one in picture.molecules)
    return replace(picture, image=image, molecules=molecules, nm_per_px=shown.nm_per_px or picture.nm_per_px)
