"""An evaluation as plain numbers: for a JSON file, and for a model's manifest."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np

from spm_live.training.evaluation.coco_ap import CocoScores
from spm_live.training.evaluation.measured import ALL, Evaluation
from spm_live.training.evaluation.paper import PrecisionRecall, Rates
from spm_live.training.evaluation.resolution import Recognition

SCHEMA_VERSION = 1
DIGITS = 6


def headline(evaluation: Evaluation) -> dict[str, float]:
    """The numbers that a person asks for first; those that are not defined are left out.

    Returns
    -------
    dict of str to float
        ``box_ap``, ``box_ap50``, ``box_ap75``, ``mask_ap``, ``mask_ap50``, ``mask_ap75``, ``recognition_rate``,
        ``precision``, ``recall``, ``average_recall``, ``count_error``, ``class_confusion``, ``box_iou``, ``mask_iou``,
        and for each class ``count_error_<class>``: fit for the ``metrics`` of a manifest.
    """
    whole = evaluation.rates[ALL]
    numbers = {
        **{f"{kind}_{name}": getattr(scores.overall, name) for kind, scores in _kinds(evaluation) for name in APS},
        "recognition_rate": whole.recognition_rate,
        "precision": whole.precision,
        "recall": whole.recall,
        "average_recall": evaluation.recall_iou[ALL].average_recall,
        "count_error": evaluation.counts[ALL].error,
        "class_confusion": evaluation.confusion.rate,
        "box_iou": evaluation.mean_iou["box"],
        "mask_iou": evaluation.mean_iou["mask"],
        **{f"count_error_{label}": evaluation.counts[label].error for label in evaluation.classes},
    }
    return {name: round(float(value), DIGITS) for name, value in numbers.items() if math.isfinite(value)}


APS = ("ap", "ap50", "ap75")


def numbers_of(evaluation: Evaluation) -> dict[str, Any]:
    """Everything that was measured, as JSON has it; what is not defined is None.

    Returns
    -------
    dict
        docs/reference/evaluation.md explains each field.
    """
    names = {ALL: "overall", **{label: label for label in evaluation.classes}}
    model = evaluation.manifest.identity
    table: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "model": asdict(model),
        "settings": evaluation.settings.model_dump(mode="json"),
        "min_score": evaluation.min_score,
        "headline": headline(evaluation),
        "box": _coco(evaluation.box),
        "mask": _coco(evaluation.mask),
        "rates": {names[name]: _rates(value) for name, value in evaluation.rates.items()},
        "counts": {names[name]: asdict(one) | {"error": one.error} for name, one in evaluation.counts.items()},
        "confusion": {
            "classes": list(evaluation.classes),
            "matrix": evaluation.confusion.matrix.tolist(),
            "rate": evaluation.confusion.rate,
        },
        "mean_iou": dict(evaluation.mean_iou),
        "average_recall": {names[name]: one.average_recall for name, one in evaluation.recall_iou.items()},
        "precision_recall": {names[name]: _curve(one) for name, one in evaluation.precision_recall.items()},
        "recall_iou": {
            names[name]: {"iou": one.ious, "recall": one.recall} for name, one in evaluation.recall_iou.items()
        },
        "suppression": _suppression(evaluation),
        "resolution": [
            {"scale": one.scale, "px_per_molecule": one.px_per_molecule, **_recognition(one.recognition)}
            for one in evaluation.resolution
        ],
        "robustness": [
            {"noise": one.noise, "unit": one.unit, "level": one.level, **_recognition(one.recognition)}
            for one in evaluation.robustness
        ],
        "pictures": [_picture(evaluation, index) for index in range(len(evaluation.results))],
    }
    plain: dict[str, Any] = _plain(table)
    return plain


def json_of(evaluation: Evaluation) -> str:
    """The same, as text."""
    return json.dumps(numbers_of(evaluation), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _kinds(evaluation: Evaluation) -> tuple[tuple[str, CocoScores], ...]:
    return ("box", evaluation.box), ("mask", evaluation.mask)


def _coco(scores: CocoScores) -> dict[str, Any]:
    return {"overall": asdict(scores.overall), **{label: asdict(one) for label, one in scores.classes.items()}}


def _rates(one: Rates) -> dict[str, Any]:
    derived = {name: getattr(one, name) for name in ("precision", "recall", "f1", "recognition_rate")}
    return asdict(one) | derived


def _curve(one: PrecisionRecall) -> dict[str, Any]:
    return {"score": one.scores, "precision": one.precision, "recall": one.recall}


def _recognition(one: Recognition) -> dict[str, Any]:
    return asdict(one)


def _suppression(evaluation: Evaluation) -> dict[str, Any]:
    effect = evaluation.suppression
    return {
        "across_classes": asdict(effect.across) | {"rate": effect.across.rate},
        "within_classes": asdict(effect.by_class) | {"rate": effect.by_class.rate},
        "rivals": effect.rivals,
        "min_score": effect.thresholds,
        "rate_across_classes": effect.across_rates,
        "rate_within_classes": effect.by_class_rates,
    }


def _picture(evaluation: Evaluation, index: int) -> dict[str, Any]:
    judged = evaluation.results[index]
    return {
        "name": judged.picture.name,
        "true": len(judged.true),
        "found": int(np.count_nonzero(judged.scores >= evaluation.min_score)),
        "ignored": len(judged.ignored),
        "left_out_true": len(judged.left_out_true),
        "left_out_found": sum(one.score >= evaluation.min_score for one in judged.left_out_found),
        "torn": judged.torn,
    }


def _plain(value: Any) -> Any:
    """Lists, numbers and None instead of arrays and NaN."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return round(value, DIGITS) if math.isfinite(value) else None
    return value
