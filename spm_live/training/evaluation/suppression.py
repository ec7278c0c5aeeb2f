"""What suppression across classes does: Figure S7 of the paper.

Two detections of different classes on one molecule do not suppress each other if each class is suppressed by itself;
one of them is then false.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spm_live.detect.nms import select, suppress
from spm_live.domain import Detections
from spm_live.training.evaluation.matching import IGNORED, NO_TRUTH, Judged, Kind, match_classes

THRESHOLDS = np.linspace(0.05, 0.95, 19)
"""Score thresholds at which rates of false detections are given."""


def suppress_by_class(detections: Detections, iou: float, kind: Literal["box", "mask"]) -> Detections:
    """Greedy non-maximum suppression within each class alone.

    Parameters
    ----------
    detections : Detections
        In any order.
    iou, kind
        As in :func:`spm_live.detect.nms.suppress`.

    Returns
    -------
    Detections
        In falling score.
    """
    parts = [
        suppress(select(detections, detections.classes == number), iou, kind)
        for number in np.unique(detections.classes).tolist()
    ]
    if not parts:
        return detections
    fields = ("boxes", "scores", "classes", "masks")
    joined = Detections(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))
    return select(joined, np.argsort(-joined.scores, kind="stable"))


@dataclass(frozen=True, slots=True)
class FalseRate:
    """False detections at one score threshold.

    Parameters
    ----------
    found : int
        Detections that are judged.
    false : int
        Those that found no molecule of their class.
    """

    found: int
    false: int

    @property
    def rate(self) -> float:
        """``false`` as a part of ``found``: one less precision; 0 where nothing was found."""
        return self.false / self.found if self.found else 0.0


def false_rate(results: Sequence[Judged], min_score: float, kind: Kind, least: float = 0.5) -> FalseRate:
    """Count false detections.

    Parameters
    ----------
    results : sequence of Judged
        All pictures.
    min_score : float
        Detections under it do not count.
    kind : "box" or "mask"
        What overlap is measured on.
    least : float
        Overlap that counts as found.
    """
    found = false = 0
    for judged in results:
        matched = match_classes(judged, kind, least)[judged.scores >= min_score]
        found += int(np.count_nonzero(matched != IGNORED))
        false += int(np.count_nonzero(matched == NO_TRUTH))
    return FalseRate(found, false)


@dataclass(frozen=True, slots=True, eq=False)
class SuppressionEffect:
    """False detections with and without suppression across classes.

    Parameters
    ----------
    across, by_class : FalseRate
        At the model's own threshold: with suppression across classes, as the daemon does it, and within each alone.
    thresholds : (T,) float array
        Score thresholds.
    across_rates, by_class_rates : (T,) float array
        Rates at these.
    rivals : int
        Detections, at any score, that only suppression across classes removes. Where it is 0 the network has most
        likely suppressed across classes in its graph; to see the effect then, export it with ``cross_nms_iou`` 1.
    """

    across: FalseRate
    by_class: FalseRate
    thresholds: NDArray[np.float64]
    across_rates: NDArray[np.float64]
    by_class_rates: NDArray[np.float64]
    rivals: int


def suppression_effect(
    across: Sequence[Judged], by_class: Sequence[Judged], min_score: float, kind: Kind, least: float = 0.5
) -> SuppressionEffect:
    """Compare the same detections suppressed both ways.

    Parameters
    ----------
    across, by_class : sequence of Judged
        The same pictures.
    min_score : float
        The model's threshold.
    kind : "box" or "mask"
        What overlap is measured on.
    least : float
        Overlap that counts as found.
    """
    return SuppressionEffect(
        across=false_rate(across, min_score, kind, least),
        by_class=false_rate(by_class, min_score, kind, least),
        thresholds=THRESHOLDS,
        across_rates=np.array([false_rate(across, float(score), kind, least).rate for score in THRESHOLDS]),
        by_class_rates=np.array([false_rate(by_class, float(score), kind, least).rate for score in THRESHOLDS]),
        rivals=sum(len(one.found) + len(one.left_out_found) for one in by_class)
        - sum(len(one.found) + len(one.left_out_found) for one in across),
    )
