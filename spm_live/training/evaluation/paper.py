"""The measures of the paper, with each molecule found once.

The paper (Zhu et al. 2022, supplement, section 7) judges a recogniser by precision, recall, recognition rate, the
precision-recall curve and the recall-IoU curve. Its own program lets many detections match one molecule; here one does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spm_live.training.evaluation.matching import IGNORED, Judged, Kind, match_classes, match_places

CURVE_IOUS = np.linspace(0.5, 1.0, 51)
"""Overlaps of the recall-IoU curve."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How well molecules are found at one score threshold.

    Parameters
    ----------
    true, found, hits, recognised : int
        Molecules; detections that are judged; detections that found a molecule of their class, and so many molecules
        were found; molecules whose best detection has the right class.
    """

    true: int
    found: int
    hits: int
    recognised: int

    @property
    def precision(self) -> float:
        """Part of the detections that found a molecule of their class; NaN without any."""
        return self.hits / self.found if self.found else float("nan")

    @property
    def recall(self) -> float:
        """Part of the molecules that a detection of their class found; NaN without any."""
        return self.hits / self.true if self.true else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: 2 hits / (found + true); NaN where both are 0."""
        both = self.found + self.true
        return 2 * self.hits / both if both else float("nan")

    @property
    def recognition_rate(self) -> float:
        """Part of the molecules that the detection taking their place names rightly; NaN without any.

        Detections take places in falling score whatever their class, so that a molecule under two detections has the
        class of the better one: what a person sees in the picture.
        """
        return self.recognised / self.true if self.true else float("nan")


def rates(results: Sequence[Judged], min_score: float, kind: Kind, least: float = 0.5, label: str = "") -> Rates:
    """Count hits at a score threshold.

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
    label : str
        A class, or empty for all.
    """
    true = found = hits = recognised = 0
    for judged in results:
        ours = _of(judged.found_labels, label) & (judged.scores >= min_score)
        asked = _of(judged.true_labels, label)
        matched = match_classes(judged, kind, least)
        placed = match_places(judged, kind, least, min_score)
        right = placed >= 0
        right[right] = judged.found_labels[right] == judged.true_labels[placed[right]]
        true += int(np.count_nonzero(asked))
        found += int(np.count_nonzero(ours & (matched != IGNORED)))
        hits += int(np.count_nonzero(ours & (matched >= 0)))
        recognised += int(np.count_nonzero(ours & right))
    return Rates(true, found, hits, recognised)


@dataclass(frozen=True, slots=True, eq=False)
class PrecisionRecall:
    """Precision against recall as the score threshold falls.

    Parameters
    ----------
    scores, precision, recall : (N,) float array
        At each detection, in falling score: everything down to it counted.
    true : int
        Molecules.
    """

    scores: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    true: int

    @property
    def f1(self) -> NDArray[np.float64]:
        """(N,) harmonic mean of both: 2 hits / (found + true)."""
        found = np.arange(1, len(self.scores) + 1)
        hits: NDArray[np.float64] = self.recall * self.true
        return 2 * hits / (found + self.true)


def precision_recall(results: Sequence[Judged], kind: Kind, least: float = 0.5, label: str = "") -> PrecisionRecall:
    """Draw the precision-recall curve.

    Parameters
    ----------
    results : sequence of Judged
        All pictures; the detections of all are ranked together.
    kind : "box" or "mask"
        What overlap is measured on.
    least : float
        Overlap that counts as found.
    label : str
        A class, or empty for all of them ranked together.
    """
    scores, flags, true = [np.empty(0)], [np.empty(0, dtype=np.bool_)], 0
    for judged in results:
        matched = match_classes(judged, kind, least)
        ours = _of(judged.found_labels, label) & (matched != IGNORED)
        scores.append(judged.scores[ours])
        flags.append(matched[ours] >= 0)
        true += int(np.count_nonzero(_of(judged.true_labels, label)))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hits = np.cumsum(np.concatenate(flags)[order])
    found = np.arange(1, len(hits) + 1)
    return PrecisionRecall(np.concatenate(scores)[order], hits / found, hits / max(true, 1), true)


@dataclass(frozen=True, slots=True, eq=False)
class RecallIou:
    """Recall against the overlap that is asked for.

    Parameters
    ----------
    ious, recall : (51,) float array
        Overlap from 0.5 to 1, and the part of the molecules that are found with at least so much.
    """

    ious: NDArray[np.float64]
    recall: NDArray[np.float64]

    @property
    def average_recall(self) -> float:
        """AR = 2 * integral of recall over the overlap from 0.5 to 1, by the trapezoidal rule; NaN without molecules.

        Supplement, section 7, after Hosang et al. 2016, doi:10.1109/TPAMI.2015.2465908, section 4.
        """
        steps = np.diff(self.ious)
        return float(2 * np.sum(steps * (self.recall[1:] + self.recall[:-1]) / 2))


def recall_over_iou(results: Sequence[Judged], min_score: float, kind: Kind, label: str = "") -> RecallIou:
    """Draw the recall-IoU curve, matching anew at every overlap.

    Parameters
    ----------
    results : sequence of Judged
        All pictures.
    min_score : float
        Detections under it do not count.
    kind : "box" or "mask"
        What overlap is measured on.
    label : str
        A class, or empty for all.
    """
    true = sum(int(np.count_nonzero(_of(judged.true_labels, label))) for judged in results)
    recall = np.full(len(CURVE_IOUS), np.nan)
    for index, least in enumerate(CURVE_IOUS if true else ()):
        hits = 0
        for judged in results:
            ours = _of(judged.found_labels, label) & (judged.scores >= min_score)
            hits += int(np.count_nonzero(ours & (match_classes(judged, kind, float(least)) >= 0)))
        recall[index] = hits / true
    return RecallIou(CURVE_IOUS, recall)


def best_threshold(curve: PrecisionRecall, floor: float) -> float:
    """The score threshold with the highest F1.

    Parameters
    ----------
    curve : PrecisionRecall
        Of validation pictures, never of those that the model is then judged on.
    floor : float
        The lowest score that was looked at.

    Returns
    -------
    float
        Half-way between the last detection that belongs in and the first that does not, so that it holds for other
        pictures; half-way to the floor where all belong in; the floor itself where there is none.
    """
    if len(curve.scores) == 0:
        return floor
    # A threshold cannot part equal scores: only the last of them is a choice.
    last = np.append(curve.scores[1:] < curve.scores[:-1], True)
    best = int(np.where(last, curve.f1, -1.0).argmax())
    following = float(curve.scores[best + 1]) if best + 1 < len(curve.scores) else floor
    return (float(curve.scores[best]) + following) / 2


def mean_overlap(results: Sequence[Judged], min_score: float, least: float = 0.5) -> Mapping[str, float]:
    """Mean overlap of boxes and of masks of the molecules that were found by box; NaN where none was."""
    pairs: dict[str, list[NDArray[np.float64]]] = {"box": [np.empty(0)], "mask": [np.empty(0)]}
    for judged in results:
        matched = match_classes(judged, "box", least)
        rows = np.flatnonzero((matched >= 0) & (judged.scores >= min_score))
        for kind, values in pairs.items():
            values.append(judged.overlaps[kind][rows, matched[rows]])
    joined = {kind: np.concatenate(values) for kind, values in pairs.items()}
    return {kind: float(values.mean()) if values.size else float("nan") for kind, values in joined.items()}


def _of(labels: NDArray[np.str_], label: str) -> NDArray[np.bool_]:
    return np.ones(len(labels), dtype=np.bool_) if not label else labels == label
