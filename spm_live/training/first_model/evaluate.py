"""How good a model is, measured through the pipeline that the daemon runs.

Every true molecule is matched once: the detection with the highest score takes the free molecule of its class that it
overlaps most (Everingham et al. 2010, doi:10.1007/s11263-009-0275-4, section 4.4). The second detection of the same
molecule is false.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spm_live.detect import Detector
from spm_live.domain import Molecule
from spm_live.pipeline import process
from spm_live.training.first_model.examples import frame_of
from spm_live.training.first_model.targets import LEAST_VISIBLE
from spm_live_drivers.synthetic import SyntheticMolecule, SyntheticScan

NO_TRUTH = -1
IGNORED = -2


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """What was found in one frame, set against what is there.

    Parameters
    ----------
    found_labels : tuple of str
        Class of every detection, in falling score.
    scores : (N,) float array
        Their scores.
    matched : (N,) int array
        Index of the molecule that each one takes; :data:`NO_TRUTH`, or :data:`IGNORED` where it lies on a molecule of
        which too little is visible to be asked for.
    mask_iou : (N,) float array
        Overlap of its outline with that molecule's mask; NaN where it takes none.
    asked : tuple of str
        Classes of the molecules that are asked for.
    """

    found_labels: tuple[str, ...]
    scores: NDArray[np.float64]
    matched: NDArray[np.int64]
    mask_iou: NDArray[np.float64]
    asked: tuple[str, ...]


def box_iou(found: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.float64]:
    """Overlap of boxes: area of the intersection over that of the union.

    Parameters
    ----------
    found : (N, 4) float array
        x1, y1, x2, y2.
    true : (M, 4) float array
        The same.

    Returns
    -------
    (N, M) float array

    Examples
    --------
    >>> box_iou(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 0, 3, 2], [5, 5, 6, 6]])).round(3).tolist()
    [[0.333, 0.0]]
    """
    low = np.maximum(found[:, None, :2], true[None, :, :2])
    high = np.minimum(found[:, None, 2:], true[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (found, true)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.asarray(shared / np.maximum(union, 1e-12))


def match(
    overlap: NDArray[np.float64], same: NDArray[np.bool_], ignored: NDArray[np.bool_], least: float = 0.5
) -> NDArray[np.int64]:
    """Give each detection at most one molecule, and each molecule to at most one detection.

    Parameters
    ----------
    overlap : (N, M) float array
        Of every detection, in falling score, with every molecule.
    same : (N, M) bool array
        Whether they are of one class.
    ignored : (M,) bool array
        Molecules that are not asked for; any number of detections of any class may lie on them.
    least : float
        Smallest overlap that counts.

    Returns
    -------
    (N,) int array
        Index of the molecule, :data:`NO_TRUTH` or :data:`IGNORED`.

    Examples
    --------
    >>> both = np.array([[0.9], [0.8]])
    >>> match(both, np.ones((2, 1), bool), np.zeros(1, bool)).tolist()
    [0, -1]
    """
    result = np.full(len(overlap), NO_TRUTH, dtype=np.int64)
    free = ~ignored
    for index, row in enumerate(overlap):
        candidates = np.where(free & same[index] & (row >= least), row, -1)
        if candidates.size and candidates.max() >= 0:
            best = int(candidates.argmax())
            result[index], free[best] = best, False
        elif (row[ignored] >= least).any():
            result[index] = IGNORED
    return result


def mask_iou(outline_px: Sequence[tuple[float, float]], molecule: SyntheticMolecule, shape: tuple[int, int]) -> float:
    """Overlap of an outline with a true mask, over the frame's pixels.

    Parameters
    ----------
    outline_px : sequence of (float, float)
        Polygon; (0, 0) is the centre of the upper left pixel.
    molecule : SyntheticMolecule
        The truth.
    shape : (int, int)
        Rows and columns of the frame.
    """
    full = np.zeros(shape, dtype=bool)
    x1, y1, x2, y2 = molecule.box_px
    full[y1:y2, x1:x2] = molecule.mask
    drawn = fill(np.asarray(outline_px, dtype=np.float64).reshape(-1, 2), shape)
    union = np.count_nonzero(full | drawn)
    return np.count_nonzero(full & drawn) / union if union else 0.0


def fill(polygon: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Mark the pixels whose centre lies in a polygon, by the even-odd rule.

    Parameters
    ----------
    polygon : (K, 2) float array
        x, y.
    shape : (int, int)
        Rows and columns.
    """
    inside = np.zeros(shape, dtype=bool)
    if len(polygon) < 3:
        return inside
    low = np.clip(np.floor(polygon.min(axis=0)).astype(int), 0, None)
    high = np.ceil(polygon.max(axis=0)).astype(int) + 1
    y, x = np.ogrid[low[1] : min(high[1], shape[0]), low[0] : min(high[0], shape[1])]
    part = inside[low[1] : high[1], low[0] : high[0]]
    for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y1 != y2:
            crosses = (y >= min(y1, y2)) & (y < max(y1, y2))
            part ^= crosses & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return inside


def judge(scan: SyntheticScan, molecules: Sequence[Molecule]) -> FrameResult:
    """Set the molecules found in a drawn scan against its truth.

    Parameters
    ----------
    scan : SyntheticScan
        The truth.
    molecules : sequence of Molecule
        In falling score, as :func:`spm_live.pipeline.process` gives them.
    """
    true = scan.molecules
    shape = (scan.geometry.rows, scan.geometry.columns)
    overlap = box_iou(
        np.array([molecule.box_px for molecule in molecules], dtype=np.float64).reshape(-1, 4),
        np.array([molecule.box_px for molecule in true], dtype=np.float64).reshape(-1, 4),
    )
    same = np.array([[one.label == other.label for other in true] for one in molecules], dtype=bool)
    ignored = np.array([molecule.visible < LEAST_VISIBLE for molecule in true], dtype=bool)
    matched = match(overlap, same.reshape(overlap.shape), ignored)
    return FrameResult(
        found_labels=tuple(molecule.label for molecule in molecules),
        scores=np.array([molecule.score for molecule in molecules], dtype=np.float64),
        matched=matched,
        mask_iou=np.array(
            [
                mask_iou(molecule.outline_px, true[index], shape) if index >= 0 else np.nan
                for molecule, index in zip(molecules, matched, strict=True)
            ]
        ),
        asked=tuple(molecule.label for molecule in true if molecule.visible >= LEAST_VISIBLE),
    )


def run(detector: Detector, scans: Iterable[SyntheticScan]) -> list[FrameResult]:
    """Show scans to a model through the whole pipeline, and judge what it finds."""
    return [judge(scan, process(frame_of(scan), detector).molecules) for scan in scans]


def average_precision(results: Sequence[FrameResult], label: str) -> float:
    """Area under the precision-recall curve of one class, precision made falling (Everingham et al. 2010).

    NaN where the class is not asked for in any frame. The scans must have been judged at a low score threshold.
    """
    asked = sum(result.asked.count(label) for result in results)
    if asked == 0:
        return float("nan")
    rows = [
        (score, index >= 0)
        for result in results
        for score, index, name in zip(result.scores, result.matched, result.found_labels, strict=True)
        if name == label and index != IGNORED
    ]
    hits = np.array([hit for _, hit in sorted(rows, key=lambda row: -row[0])], dtype=bool)
    found = np.cumsum(hits)
    precision = np.maximum.accumulate((found / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float((precision * hits).sum() / asked)


def summary(results: Sequence[FrameResult], classes: Sequence[str], min_score: float) -> dict[str, float]:
    """Put results into numbers.

    Parameters
    ----------
    results : sequence of FrameResult
        Judged at a low score threshold.
    classes : sequence of str
        All classes.
    min_score : float
        Threshold for everything but the average precision.

    Returns
    -------
    dict of str to float
        ``box_ap50`` (mean over classes), ``precision``, ``recall``, ``mask_iou`` (mean over matched molecules), and a
        class ``box_ap50_<class>`` and ``count_error_<class>``: the sum over frames of how far the count is off, over
        the sum of the true counts.
    """
    numbers: dict[str, float] = {}
    hits = misses = false = 0
    for result in results:
        kept = (result.scores >= min_score) & (result.matched != IGNORED)
        hit = int(np.count_nonzero(kept & (result.matched >= 0)))
        hits, misses, false = hits + hit, misses + len(result.asked) - hit, false + int(np.count_nonzero(kept)) - hit
    overlaps = np.concatenate([result.mask_iou[result.scores >= min_score] for result in results])
    numbers["precision"] = hits / max(hits + false, 1)
    numbers["recall"] = hits / max(hits + misses, 1)
    numbers["mask_iou"] = float(np.nanmean(overlaps)) if np.isfinite(overlaps).any() else 0.0
    for label in classes:
        numbers[f"box_ap50_{label}"] = average_precision(results, label)
        numbers[f"count_error_{label}"] = count_error(results, label, min_score)
    numbers["box_ap50"] = float(np.nanmean([numbers[f"box_ap50_{label}"] for label in classes]))
    return {name: round(float(value), 4) for name, value in sorted(numbers.items())}


def count_error(results: Sequence[FrameResult], label: str, min_score: float) -> float:
    """How far the counts of one class are off, all frames together, as a part of the true count."""
    off = true = 0
    for result in results:
        counted = sum(
            name == label and score >= min_score and index != IGNORED
            for name, score, index in zip(result.found_labels, result.scores, result.matched, strict=True)
        )
        off, true = off + abs(counted - result.asked.count(label)), true + result.asked.count(label)
    return off / max(true, 1)


def best_threshold(results: Sequence[FrameResult], classes: Sequence[str]) -> float:
    """The score threshold with the highest F1, in steps of 0.05 from 0.1 to 0.8."""

    def f1(threshold: float) -> float:
        numbers = summary(results, classes, threshold)
        together = numbers["precision"] + numbers["recall"]
        return 2 * numbers["precision"] * numbers["recall"] / together if together else 0.0

    return float(max((round(0.1 + 0.05 * step, 2) for step in range(15)), key=f1))
