"""How recognition stands up to each noise."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from spm_live.training.evaluation.excluded import Excluded
from spm_live.training.evaluation.matching import Kind, judge
from spm_live.training.evaluation.noises import Noise
from spm_live.training.evaluation.predictions import Prediction
from spm_live.training.evaluation.resolution import Recognition, recognition_of
from spm_live.training.labelled import LabelledPicture


@dataclass(frozen=True, slots=True)
class RobustnessPoint:
    """Recognition under one noise.

    Parameters
    ----------
    noise, unit : str
        Its name, and what its level is.
    level : float
        How strong.
    recognition : Recognition
        What was found.
    """

    noise: str
    unit: str
    level: float
    recognition: Recognition


def robustness_point(
    predict: Callable[[LabelledPicture], Sequence[Prediction]],
    pictures: Sequence[LabelledPicture],
    noise: Noise,
    level: float,
    *,
    classes: Sequence[str],
    excluded: Excluded,
    min_score: float,
    kind: Kind,
    least: float,
    seed: int,
) -> RobustnessPoint:
    """Measure recognition of disturbed pictures.

    Parameters
    ----------
    predict : callable
        Finds molecules.
    pictures : sequence of LabelledPicture
        Undisturbed.
    noise : Noise
        The disturbance.
    level : float
        How strong; at each level of a noise the same random numbers are used.
    classes, excluded, min_score, kind, least
        As in :func:`spm_live.training.evaluation.resolution.resolution_point`.
    seed : int
        One seed, one disturbance of each picture, in whatever order pictures and noises are tried.
    """
    results = []
    for number, picture in enumerate(pictures):
        rng = np.random.default_rng((seed, number, zlib.crc32(noise.name.encode())))
        disturbed = noise.disturb(picture, level, rng)
        results.append(judge(disturbed, predict(disturbed), excluded))
    return RobustnessPoint(noise.name, noise.unit, level, recognition_of(results, classes, min_score, kind, least))
