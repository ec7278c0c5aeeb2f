"""How recognition falls with resolution: Figures S2 to S4 of the paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from spm_live.training.evaluation.counts import count_error
from spm_live.training.evaluation.excluded import Excluded
from spm_live.training.evaluation.matching import Judged, Kind, judge
from spm_live.training.evaluation.paper import rates
from spm_live.training.evaluation.predictions import Prediction
from spm_live.training.labelled import LabelledPicture

Predict = Callable[[LabelledPicture, float], Sequence[Prediction]]
"""Finds the molecules of a picture shrunk by a scale, in pixels of the picture as it is."""


@dataclass(frozen=True, slots=True)
class Recognition:
    """What is left of recognition under some circumstance.

    Parameters
    ----------
    recognition_rate, precision, recall, count_error : float
        As in :class:`spm_live.training.evaluation.paper.Rates` and
        :class:`spm_live.training.evaluation.counts.CountError`; NaN where not defined.
    classes : mapping of str to float
        Recognition rate of each class.
    """

    recognition_rate: float
    precision: float
    recall: float
    count_error: float
    classes: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ResolutionPoint:
    """Recognition at one resolution.

    Parameters
    ----------
    scale : float
        Pixels of the shrunken picture per pixel of the original, 0 to 1.
    px_per_molecule : float
        Median over molecules of the square root of their box's area, in pixels of the shrunken picture.
    recognition : Recognition
        What was found, judged in the original's pixels.
    """

    scale: float
    px_per_molecule: float
    recognition: Recognition


def recognition_of(
    results: Sequence[Judged], classes: Sequence[str], min_score: float, kind: Kind, least: float
) -> Recognition:
    """Sum up results."""
    whole = rates(results, min_score, kind, least)
    return Recognition(
        recognition_rate=whole.recognition_rate,
        precision=whole.precision,
        recall=whole.recall,
        count_error=count_error(results, min_score, kind, least).error,
        classes={label: rates(results, min_score, kind, least, label).recognition_rate for label in classes},
    )


def molecule_px(pictures: Sequence[LabelledPicture]) -> float:
    """Size of molecules: median of the square root of the area of their boxes, in pixels; NaN without any."""
    boxes = np.array([one.box_px for picture in pictures for one in picture.molecules if not one.ignore])
    if not boxes.size:
        return float("nan")
    return float(np.median(np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))))


def resolution_point(
    predict: Predict,
    pictures: Sequence[LabelledPicture],
    scale: float,
    *,
    classes: Sequence[str],
    excluded: Excluded,
    min_score: float,
    kind: Kind,
    least: float,
) -> ResolutionPoint:
    """Measure recognition of pictures shrunk by averaging over area.

    Parameters
    ----------
    predict : callable
        Finds molecules in a shrunken picture.
    pictures : sequence of LabelledPicture
        At full resolution.
    scale : float
        0 to 1.
    classes : sequence of str
        Names of all classes.
    excluded : Excluded
        What is left out, in pixels of the original.
    min_score : float
        Detections under it do not count.
    kind : "box" or "mask"
        What overlap is measured on.
    least : float
        Overlap that counts as found.
    """
    results = [judge(picture, predict(picture, scale), excluded) for picture in pictures]
    recognition = recognition_of(results, classes, min_score, kind, least)
    return ResolutionPoint(scale, molecule_px(pictures) * scale, recognition)
