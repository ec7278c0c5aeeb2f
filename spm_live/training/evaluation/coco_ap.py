"""Average precision as COCO measures it, by faster-coco-eval."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.errors import SetupError
from spm_live.training.evaluation.matching import Judged, Kind
from spm_live.training.evaluation.overlap import Patch

IOUS = np.linspace(0.5, 0.95, 10)
"""Overlaps that AP and AR are averaged over."""
TYPES = {"box": "bbox", "mask": "segm"}


@dataclass(frozen=True, slots=True)
class ApScores:
    """Average precision and recall, each 0 to 1; NaN where there is nothing to be found.

    Parameters
    ----------
    ap : float
        Mean over the overlaps 0.50, 0.55, ..., 0.95.
    ap50, ap75 : float
        At an overlap of 0.5 and of 0.75.
    ar : float
        The greatest recall, mean over the same overlaps.
    """

    ap: float
    ap50: float
    ap75: float
    ar: float


@dataclass(frozen=True, slots=True)
class CocoScores:
    """Average precision of a model.

    Parameters
    ----------
    overall : ApScores
        Mean over the classes that occur in the truth.
    classes : mapping of str to ApScores
        By class.
    """

    overall: ApScores
    classes: Mapping[str, ApScores] = field(default_factory=dict)


def coco_scores(results: Sequence[Judged], classes: Sequence[str], kind: Kind) -> CocoScores:
    """Measure average precision.

    Parameters
    ----------
    results : sequence of Judged
        Detections down to a low score: what is not there cannot be counted.
    classes : sequence of str
        Names of all classes.
    kind : "box" or "mask"
        What overlap is measured on.

    Returns
    -------
    CocoScores

    Raises
    ------
    SetupError
        If faster-coco-eval is not installed.

    Notes
    -----
    As COCO defines it (Lin et al. 2014, arXiv:1405.0312): greedy matching in falling score, precision made falling and
    read at 101 recalls. Two settings differ from COCO's: all sizes of molecules count, and all detections do, not only
    the 100 best of a picture, since a frame may hold a thousand molecules. What is marked ``ignore`` becomes a crowd of
    every class.
    """
    try:
        coco: Any = importlib.import_module("faster_coco_eval")
        masks: Any = importlib.import_module("faster_coco_eval.core.mask")
    except ImportError as error:
        raise SetupError(
            f"average precision needs faster-coco-eval, which cannot be loaded ({error}); "
            'install it with: pip install "spm-live[train]"'
        ) from error
    truth, found = _tables(results, classes, masks)
    if not found:
        return _nothing_found(results, classes)
    about = coco.COCO(truth)
    evaluation = coco.COCOeval_faster(about, about.loadRes(found), TYPES[kind])
    evaluation.params.iouThrs = IOUS
    evaluation.params.areaRng = [[0, 1e12]]
    evaluation.params.areaRngLbl = ["all"]
    evaluation.params.maxDets = [max(len(one.found) for one in results)]
    evaluation.evaluate()
    evaluation.accumulate()
    # (overlaps, recalls, classes, areas, limits) and (overlaps, classes, areas, limits); -1 where nothing is asked for.
    precision = np.asarray(evaluation.eval["precision"], dtype=np.float64)[..., 0, 0]
    recall = np.asarray(evaluation.eval["recall"], dtype=np.float64)[..., 0, 0]
    return scores_from(precision.mean(axis=1), recall, classes)


def scores_from(precision: NDArray[np.float64], recall: NDArray[np.float64], classes: Sequence[str]) -> CocoScores:
    """Put average precisions and recalls into scores.

    Parameters
    ----------
    precision, recall : (10, K) float array
        By overlap (:data:`IOUS`) and class; negative where nothing is asked for.
    classes : sequence of K str
        Their names.
    """

    def of(columns: list[int]) -> ApScores:
        if not columns:
            return ApScores(*[float("nan")] * 4)
        means = precision[:, columns].mean(axis=1)
        return ApScores(float(means.mean()), float(means[0]), float(means[5]), float(recall[:, columns].mean()))

    asked = np.flatnonzero((recall >= 0).all(axis=0)).tolist()
    return CocoScores(of(asked), {label: of([k] if k in asked else []) for k, label in enumerate(classes)})


def _nothing_found(results: Sequence[Judged], classes: Sequence[str]) -> CocoScores:
    asked = {one.label for judged in results for one in judged.true}
    column = np.array([0.0 if label in asked else -1.0 for label in classes])
    table = np.repeat(column[None], len(IOUS), axis=0)
    return scores_from(table, table, classes)


def _tables(
    results: Sequence[Judged], classes: Sequence[str], masks: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Truth and detections as COCO's JSON has them."""
    numbers = {label: number for number, label in enumerate(classes, start=1)}
    images: list[dict[str, Any]] = []
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image, judged in enumerate(results, start=1):
        shape = judged.picture.image.shape[:2]
        images.append({"id": image, "height": shape[0], "width": shape[1], "file_name": judged.picture.name})
        rows = [
            (numbers[one.label], 0, box, patch)
            for one, box, patch in zip(judged.true, judged.true_shapes.boxes, judged.true_shapes.patches, strict=True)
        ]
        rows += [
            (number, 1, box, patch)
            for box, patch in zip(judged.ignored_shapes.boxes, judged.ignored_shapes.patches, strict=True)
            for number in numbers.values()
        ]
        for number, crowd, box, patch in rows:
            part = _annotation(image, number, box, patch, shape, masks)
            truth.append(part | {"id": len(truth) + 1, "iscrowd": crowd})
        for one, box, patch in zip(judged.found, judged.found_shapes.boxes, judged.found_shapes.patches, strict=True):
            found.append(_annotation(image, numbers[one.label], box, patch, shape, masks) | {"score": one.score})
    categories = [{"id": number, "name": label} for label, number in numbers.items()]
    return {"info": {}, "images": images, "annotations": truth, "categories": categories}, found


def _annotation(
    image: int, number: int, box: NDArray[np.float64], patch: Patch, shape: tuple[int, int], masks: Any
) -> dict[str, Any]:
    x1, y1, x2, y2 = box.tolist()
    return {
        "image_id": image,
        "category_id": number,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": float(patch.area),
        "segmentation": masks.encode(np.asfortranarray(patch.full(shape).view(np.uint8))),
    }
