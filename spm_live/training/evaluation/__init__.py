"""How good a model is, measured through the stages that the daemon runs.

Nothing here needs a training library. ``evaluate`` does everything; its parts stand alone: ``predict`` finds the
molecules of a labelled picture, ``judge`` sets them against the labels, and each measure takes what ``judge`` gives.
"""

from __future__ import annotations

from spm_live.training.evaluation.coco_ap import ApScores, CocoScores, coco_scores
from spm_live.training.evaluation.excluded import Excluded, Region
from spm_live.training.evaluation.matching import Judged, judge, match
from spm_live.training.evaluation.measured import Evaluation, measure
from spm_live.training.evaluation.numbers import headline, numbers_of
from spm_live.training.evaluation.predictions import Prediction, predict
from spm_live.training.evaluation.run import best_min_score, evaluate
from spm_live.training.evaluation.settings import EvaluationSettings

__all__ = [
    "ApScores",
    "CocoScores",
    "Evaluation",
    "EvaluationSettings",
    "Excluded",
    "Judged",
    "Prediction",
    "Region",
    "best_min_score",
    "coco_scores",
    "evaluate",
    "headline",
    "judge",
    "match",
    "measure",
    "numbers_of",
    "predict",
]
