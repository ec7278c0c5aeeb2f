"""Average precision against a program of a page that does it from the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spm_live.training.evaluation import Judged, Prediction, coco_scores, judge
from spm_live.training.labelled import LabelledMolecule, LabelledPicture, mask_of

pytest.importorskip("faster_coco_eval")

SHAPE = (90, 120)
CLASSES = ("a", "b", "never")
IOUS = [0.5 + 0.05 * step for step in range(10)]


def blob(rng: np.random.Generator, center: np.ndarray, size: float) -> np.ndarray:
    angles = np.sort(rng.uniform(0, 2 * np.pi, 7))
    return center + size * rng.uniform(0.6, 1.0, (7, 1)) * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def scene(seed: int) -> Judged:
    """A picture with some molecules found well, some badly, some twice, some not, and some ignored."""
    rng = np.random.default_rng(seed)
    molecules, shots = [], []
    for _ in range(int(rng.integers(3, 16))):
        ring = blob(rng, rng.uniform(0, [SHAPE[1], SHAPE[0]]), rng.uniform(6, 16))
        label = str(rng.choice(CLASSES[:2]))
        molecules.append(LabelledMolecule(label, (ring,), ignore=bool(rng.random() < 0.2)))
        for _ in range(int(rng.integers(0, 3))):
            moved = ring + rng.normal(0, 1.5, 2) + rng.normal(0, 0.8, ring.shape)
            called = label if rng.random() < 0.8 else str(rng.choice(CLASSES))
            shots.append(prediction(called, float(rng.random()), moved))
    shots += [
        prediction(str(rng.choice(CLASSES)), float(rng.random()), blob(rng, rng.uniform(0, [120, 90]), 8.0))
        for _ in range(4)
    ]
    return judge(LabelledPicture(str(seed), np.zeros(SHAPE, np.float32), tuple(molecules)), shots)


def prediction(label: str, score: float, ring: np.ndarray) -> Prediction:
    low, high = ring.min(axis=0), ring.max(axis=0)
    return Prediction(label, score, (float(low[0]), float(low[1]), float(high[0]), float(high[1])), (ring,))


def area(one: LabelledMolecule | Prediction, other: LabelledMolecule | Prediction | None, kind: str) -> float:
    """Area of one, or of what two have in common."""
    if kind == "mask":
        masks = [mask_of(LabelledMolecule("", item.rings), SHAPE) for item in (one, other or one)]
        return float(np.count_nonzero(masks[0] & masks[1]))
    a, b = one.box_px, (other or one).box_px
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def slow_class(results: list[Judged], label: str, iou: float, kind: str) -> tuple[float, float]:
    """Average precision and recall of a class at an overlap."""
    rows: list[tuple[float, bool]] = []
    total = 0
    for judged in results:
        free = [molecule for molecule in judged.true if molecule.label == label]
        total += len(free)
        for shot in judged.found:  # in falling score
            if shot.label != label:
                continue
            best, most = None, iou
            for molecule in free:
                meet = area(shot, molecule, kind)
                join = area(shot, None, kind) + area(molecule, None, kind) - meet
                if join and meet / join >= most:
                    best, most = molecule, meet / join
            if best is not None:
                free.remove(best)
                rows.append((shot.score, True))
                continue
            own = area(shot, None, kind)
            if not any(own and area(shot, other, kind) / own >= iou for other in judged.ignored):
                rows.append((shot.score, False))
    if total == 0:
        return math.nan, math.nan
    rows.sort(key=lambda row: -row[0])
    precision, recall, hits = [], [], 0
    for count, (_, hit) in enumerate(rows, start=1):
        hits += hit
        precision.append(hits / count)
        recall.append(hits / total)
    points = [
        max((p for p, r in zip(precision, recall, strict=True) if r >= wanted), default=0.0)
        for wanted in np.linspace(0, 1, 101)
    ]
    return float(np.mean(points)), hits / total


@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize("seed", [1, 2])
def test_average_precision_is_that_of_the_definition(kind: str, seed: int) -> None:
    results = [scene(10 * seed + number) for number in range(3)]
    scores = coco_scores(results, CLASSES, kind)
    slow = {label: np.array([slow_class(results, label, iou, kind) for iou in IOUS]) for label in CLASSES[:2]}
    for label, table in slow.items():
        one = scores.classes[label]
        wanted = (table[:, 0].mean(), table[0, 0], table[5, 0], table[:, 1].mean())
        np.testing.assert_allclose((one.ap, one.ap50, one.ap75, one.ar), wanted, atol=1e-6)
    means = np.mean(list(slow.values()), axis=0)
    assert scores.overall.ap == pytest.approx(means[:, 0].mean(), abs=1e-6)
    assert scores.overall.ap50 == pytest.approx(means[0, 0], abs=1e-6)
    assert scores.overall.ar == pytest.approx(means[:, 1].mean(), abs=1e-6)
    assert 0.05 < scores.overall.ap < scores.overall.ap50 < 0.95
    assert math.isnan(scores.classes["never"].ap)


def test_the_truth_itself_has_average_precision_one() -> None:
    picture = scene(5).picture
    shots = [prediction(one.label, 0.9 - 0.01 * n, one.rings[0]) for n, one in enumerate(picture.molecules)]
    for kind in ("box", "mask"):
        scores = coco_scores([judge(picture, shots)], CLASSES[:2], kind)
        assert scores.overall.ap == scores.overall.ar == pytest.approx(1.0)


def test_where_nothing_is_found_average_precision_is_zero() -> None:
    scores = coco_scores([judge(scene(6).picture, [])], CLASSES, "mask")
    assert scores.overall.ap == scores.overall.ar == scores.classes["a"].ap50 == 0.0
    assert math.isnan(scores.classes["never"].ap)


def test_more_than_a_hundred_molecules_of_a_picture_count() -> None:
    rings = [
        np.array([[x, y], [x + 5, y], [x + 5, y + 5], [x, y + 5]], float)
        for x in range(0, 120, 8)
        for y in range(0, 88, 8)
    ]
    picture = LabelledPicture(
        "many", np.zeros(SHAPE, np.float32), tuple(LabelledMolecule("a", (ring,)) for ring in rings)
    )
    shots = [prediction("a", 0.9 - 0.001 * n, ring) for n, ring in enumerate(rings)]
    assert len(rings) > 150
    assert coco_scores([judge(picture, shots)], ("a",), "box").overall.ap == pytest.approx(1.0)
