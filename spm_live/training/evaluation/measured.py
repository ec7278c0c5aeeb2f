"""All that is measured of a model, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spm_live.detect import Manifest
from spm_live.training.evaluation.coco_ap import CocoScores, coco_scores
from spm_live.training.evaluation.counts import Confusion, CountError, confusion, count_error
from spm_live.training.evaluation.matching import Judged, Kind
from spm_live.training.evaluation.paper import (
    PrecisionRecall,
    Rates,
    RecallIou,
    mean_overlap,
    precision_recall,
    rates,
    recall_over_iou,
)
from spm_live.training.evaluation.resolution import ResolutionPoint
from spm_live.training.evaluation.robustness import RobustnessPoint
from spm_live.training.evaluation.settings import EvaluationSettings
from spm_live.training.evaluation.suppression import SuppressionEffect, suppression_effect

ALL = ""
"""Stands for all classes together where measures are given by class."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A model, judged.

    Parameters
    ----------
    manifest : Manifest
        Of the model.
    settings : EvaluationSettings
        How it was judged.
    min_score : float
        Threshold for everything but ``box``, ``mask`` and ``precision_recall``.
    results : tuple of Judged
        Picture by picture.
    box, mask : CocoScores
        Average precision.
    rates, counts, precision_recall, recall_iou : mapping of str
        By class; :data:`ALL` for all together.
    confusion : Confusion
        Between classes.
    mean_iou : mapping of "box" and "mask" to float
        Mean overlap of what was found.
    suppression : SuppressionEffect
        Suppression across classes and within each.
    resolution : tuple of ResolutionPoint
        In the order of the settings.
    robustness : tuple of RobustnessPoint
        Noise by noise.
    files : mapping of str to Path
        What was written: ``metrics``, ``report``, and figures by name.
    """

    manifest: Manifest
    settings: EvaluationSettings
    min_score: float
    results: tuple[Judged, ...]
    box: CocoScores
    mask: CocoScores
    rates: Mapping[str, Rates]
    counts: Mapping[str, CountError]
    precision_recall: Mapping[str, PrecisionRecall]
    recall_iou: Mapping[str, RecallIou]
    confusion: Confusion
    mean_iou: Mapping[str, float]
    suppression: SuppressionEffect
    resolution: tuple[ResolutionPoint, ...] = ()
    robustness: tuple[RobustnessPoint, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the model."""
        return self.manifest.classes


def measure(
    manifest: Manifest,
    settings: EvaluationSettings,
    results: Sequence[Judged],
    by_class: Sequence[Judged],
) -> Evaluation:
    """Measure everything that needs no further run of the network.

    Parameters
    ----------
    manifest : Manifest
        Of the model.
    settings : EvaluationSettings
        Say the threshold and what overlap is measured on.
    results, by_class : sequence of Judged
        The same pictures, with suppression across classes and within each.
    """
    classes = manifest.classes
    kind: Kind = settings.overlap
    least = settings.least_iou
    score = manifest.min_score if settings.min_score is None else settings.min_score
    names = (ALL, *classes)
    return Evaluation(
        manifest=manifest,
        settings=settings,
        min_score=score,
        results=tuple(results),
        box=coco_scores(results, classes, "box"),
        mask=coco_scores(results, classes, "mask"),
        rates={name: rates(results, score, kind, least, name) for name in names},
        counts={name: count_error(results, score, kind, least, name) for name in names},
        precision_recall={name: precision_recall(results, kind, least, name) for name in names},
        recall_iou={name: recall_over_iou(results, score, kind, name) for name in names},
        confusion=confusion(results, classes, score, kind, least),
        mean_iou=mean_overlap(results, score, least),
        suppression=suppression_effect(results, by_class, score, kind, least),
    )
