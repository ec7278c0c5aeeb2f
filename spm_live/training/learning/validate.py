"""Judging the network while it learns: by the stages of the daemon, with the network run by Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.detect.manifest import InputSection, Manifest
from spm_live.detect.merge import TileDetections, merge_tiles
from spm_live.domain import Detections, Letterbox, ModelInput
from spm_live.prepare import cut_tiles
from spm_live.training.evaluation.matching import IGNORED, Judged, Kind, judge, match_classes
from spm_live.training.evaluation.predictions import Prediction, Seen, frame_of, predictions_of
from spm_live.training.labelled import LabelledMolecule, LabelledPicture
from spm_live.training.learning.settings import Shown
from spm_live.training.maskrcnn.batch import encode
from spm_live.training.maskrcnn.config import NetworkConfig

IOUS = tuple(float(value) for value in np.linspace(0.5, 0.95, 10))
RECALLS = np.linspace(0, 1, 101)
"""Recalls that COCO reads precision at (Lin et al. 2014, arXiv:1405.0312)."""
LOOKS = ("loss", "score", "box_ap50", "box_ap", "mask_ap50", "mask_ap", "count_error")
MOST_LOSS_BATCHES = 8


@dataclass(frozen=True, slots=True, eq=False)
class KerasDetector:
    """The detector of the daemon, with the network run by Keras: for models that are not exported yet.

    Parameters
    ----------
    model : MaskRCNN
        Detects.
    manifest : Manifest
        Shape of a tile, thresholds.
    """

    model: Any
    manifest: Manifest

    def detect(self, model_input: ModelInput) -> Detections:
        """Find the molecules of one frame; see :meth:`spm_live.detect.Detector.detect`."""
        parts = []
        for number, tile in enumerate(model_input.tiles):
            raw = self.model.detect(tile[None, :, :, None])
            used = np.flatnonzero(raw["scores"][0] >= max(self.manifest.min_score, 1e-9))
            corner = model_input.origins[number][[1, 0, 1, 0]].astype(np.float32)
            found = Detections(
                boxes=raw["boxes"][0, used].astype(np.float32) + corner,
                scores=raw["scores"][0, used].astype(np.float32),
                classes=raw["classes"][0, used].astype(np.int64),
                masks=raw["masks"][0, used].astype(np.float32),
            )
            parts.append(TileDetections(found, np.full(len(used), number, dtype=np.int64)))
        return merge_tiles(parts, model_input.origins, model_input.letterbox, self.manifest)

    def close(self) -> None:
        """Nothing to free."""


def detector_for(model: Any, config: NetworkConfig, shown: Shown, pictures: Sequence[LabelledPicture]) -> KerasDetector:
    """Set up a detector with a tile no larger than the pictures need.

    Parameters
    ----------
    model : MaskRCNN
    config : NetworkConfig
    shown : Shown
        Largest tile, and the overlap of tiles.
    pictures : sequence of LabelledPicture
        What it will be shown.
    """
    coarsest = config.strides[-1]
    rows, columns = (
        min(most, max(-(-one.image.shape[axis] // coarsest) * coarsest for one in pictures))
        for axis, most in enumerate((shown.rows, shown.columns))
    )
    section = InputSection(
        rows=rows, columns=columns, nm_per_px=None, overlap_px=min(shown.overlap_px, rows // 2, columns // 2)
    )
    manifest = Manifest(
        schema_version=1,
        name="learning",
        version="0",
        classes=config.classes,
        weights="none",
        sha256="0" * 64,
        license="none",
        input=section,
        min_score=config.min_score,
        nms_iou=config.cross_nms_iou,
        max_detections=config.max_detections,
    )
    return KerasDetector(model, manifest)


def predict(detector: KerasDetector, picture: LabelledPicture) -> tuple[Prediction, ...]:
    """Find molecules in a picture that is already as the model is to be shown it.

    Returns
    -------
    tuple of Prediction
        In falling score, in pixels of the picture.
    """
    section = detector.manifest.input
    image = np.asarray(picture.image, dtype=np.float32)
    tiles, origins = cut_tiles(image, section.rows, section.columns, section.overlap_px)
    frame, scale = frame_of(picture, None)
    shown = ModelInput(tiles, origins, Letterbox(1.0, 1.0, *image.shape), image, frame.info.ref)
    return predictions_of(detector, Seen(frame, shown, detector.detect(shown), scale))


def judge_pictures(
    detector: KerasDetector, pictures: Sequence[LabelledPicture], stop: Callable[[], bool] = lambda: False
) -> list[Judged]:
    """Detect and match; ends early, with what there is, once ``stop`` says so."""
    results = []
    for picture in pictures:
        if stop():
            break
        results.append(judge(in_classes(picture, detector.manifest.classes), predict(detector, picture)))
    return results


def in_classes(picture: LabelledPicture, classes: Sequence[str]) -> LabelledPicture:
    """Name molecules by the classes of the network: where it has one, everything is it; what it lacks is ignored."""
    only = classes[0] if len(classes) == 1 else None
    molecules = tuple(
        LabelledMolecule(only or one.label, one.rings, one.ignore or not (only or one.label in classes))
        for one in picture.molecules
    )
    return LabelledPicture(picture.name, picture.image, molecules, picture.nm_per_px)


def average_precision(results: Sequence[Judged], label: str, kind: Kind, least: float) -> float:
    """Average precision of one class at one overlap.

    Returns
    -------
    float
        0 to 1; NaN where the class does not occur.

    Notes
    -----
    Precision made falling and read at 101 recalls (Lin et al. 2014, arXiv:1405.0312).
    """
    scores, right, asked = [np.empty(0)], [np.empty(0, dtype=np.bool_)], 0
    for one in results:
        asked += int((one.true_labels == label).sum())
        matched = match_classes(one, kind, least)
        mine = (one.found_labels == label) & (matched != IGNORED) if len(one.found) else np.zeros(0, dtype=np.bool_)
        scores.append(one.scores[mine])
        right.append(matched[mine] >= 0)
    if not asked:
        return float("nan")
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hits = np.cumsum(np.concatenate(right)[order])
    if not len(hits):
        return 0.0
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    place = np.searchsorted(hits / asked, RECALLS - 1e-12)
    return float(np.where(place < len(hits), precision[np.minimum(place, len(hits) - 1)], 0.0).mean())


def summary(results: Sequence[Judged], classes: Sequence[str], min_score: float = 0.5) -> dict[str, float]:
    """Average precisions and the error of the count.

    Parameters
    ----------
    results : sequence of Judged
    classes : sequence of str
    min_score : float
        For the count.

    Returns
    -------
    dict of str to float
        ``box_ap50``, ``box_ap`` (mean over overlaps 0.50 to 0.95), the same for ``mask``, ``score`` (mean of both
        ``ap``) and ``count_error`` (summed over pictures and classes, over the true count; NaN without molecules).
    """
    numbers: dict[str, float] = {}
    kinds: tuple[Kind, ...] = ("box", "mask")
    for kind in kinds:
        table = np.array([[average_precision(results, label, kind, iou) for iou in IOUS] for label in classes])
        there = table[~np.isnan(table).any(axis=1)]
        numbers[f"{kind}_ap50"] = float(there[:, 0].mean()) if len(there) else float("nan")
        numbers[f"{kind}_ap"] = float(there.mean()) if len(there) else float("nan")
    numbers["score"] = (numbers["box_ap"] + numbers["mask_ap"]) / 2
    off = asked = 0
    for one in results:
        counted = (one.scores >= min_score) & (match_classes(one, "mask") != IGNORED)
        for label in classes:
            true = int((one.true_labels == label).sum())
            found = int((one.found_labels[counted] == label).sum()) if len(one.found) else 0
            off, asked = off + abs(true - found), asked + true
    return numbers | {"count_error": off / asked if asked else float("nan")}


def loss_batches(
    pictures: Sequence[LabelledPicture], shape: tuple[int, int], batch: int, config: NetworkConfig
) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Batches of windows of a training picture's shape that cover the pictures, :data:`MOST_LOSS_BATCHES` at most."""
    windows = [window for picture in pictures for window in _windows(picture, shape)]
    for start in range(0, min(len(windows), MOST_LOSS_BATCHES * batch), batch):
        chosen = windows[start : start + batch]
        # A short last batch is filled up from the beginning: another shape would be another graph.
        yield encode([*chosen, *(windows * batch)[: batch - len(chosen)]], config)


def _windows(picture: LabelledPicture, shape: tuple[int, int]) -> Iterator[LabelledPicture]:
    tiles, origins = cut_tiles(np.asarray(picture.image, dtype=np.float32), *shape, 0)
    for tile, (top, left) in zip(tiles, origins.tolist(), strict=True):
        molecules = []
        for one in picture.molecules:
            moved = one.moved((-left, -top))
            x1, y1, x2, y2 = moved.box_px
            if x2 <= 0 or y2 <= 0 or x1 >= shape[1] or y1 >= shape[0]:
                continue
            inside = 0 <= (x1 + x2) / 2 < shape[1] and 0 <= (y1 + y2) / 2 < shape[0]
            molecules.append(LabelledMolecule(moved.label, moved.rings, moved.ignore or not inside))
        yield LabelledPicture(picture.name, tile, tuple(molecules), picture.nm_per_px)
