"""A model opened for evaluation: every detection down to a low score, and suppression in our own hands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spm_live.detect import Detector, Manifest, find_model, load_manifest, open_detector
from spm_live.detect.nms import suppress
from spm_live.settings import ModelSettings
from spm_live.training.evaluation.predictions import Prediction, Seen, predictions_of, see
from spm_live.training.evaluation.settings import EvaluationSettings
from spm_live.training.evaluation.suppression import suppress_by_class
from spm_live.training.labelled import LabelledPicture


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A detector that suppresses nothing after the network, and the manifest that says what should be.

    Parameters
    ----------
    manifest : Manifest
        As it lies in the model's folder.
    detector : Detector
        Opened with ``nms_iou`` 1 and a low ``min_score``.
    """

    manifest: Manifest
    detector: Detector

    def see(self, picture: LabelledPicture, *, scale: float = 1.0) -> Seen:
        """Run the network; see :func:`spm_live.training.evaluation.predictions.see`."""
        return see(self.detector, picture, scale=scale)

    def told(self, seen: Seen, *, across_classes: bool = True) -> tuple[Prediction, ...]:
        """What the daemon would tell of it; or would, if each class were suppressed by itself."""
        way = suppress if across_classes else suppress_by_class
        kept = way(seen.detections, self.manifest.nms_iou, self.manifest.nms_kind)
        return predictions_of(self.detector, seen, kept)

    def predict(self, picture: LabelledPicture, *, scale: float = 1.0) -> tuple[Prediction, ...]:
        """Find the molecules of a picture; equal to what the daemon finds, but down to a lower score."""
        return self.told(self.see(picture, scale=scale))


@contextmanager
def opened(model_folder: Path, settings: EvaluationSettings) -> Iterator[OpenModel]:
    """Open a model, and close it afterwards.

    Parameters
    ----------
    model_folder : Path
        A folder with a manifest, or the name of an installed model.
    settings : EvaluationSettings
        Say the lowest score, and what runs the network.

    Raises
    ------
    SetupError
        If the model is not found, was changed, or cannot run on this machine.
    """
    folder = find_model(model_folder)
    manifest = load_manifest(folder)
    detector = open_detector(
        ModelSettings(
            name=str(folder),
            provider=settings.provider,
            threads=settings.threads,
            min_score=min(settings.floor_score, manifest.min_score),
            nms_iou=1.0,
        )
    )
    try:
        yield OpenModel(manifest, detector)
    finally:
        detector.close()
