"""From learnt weights to a model's folder and a report."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spm_live.detect.manifest import MANIFEST_FILE, InputSection, Manifest, TrainingWeights
from spm_live.errors import SetupError
from spm_live.training.evaluation.matching import Judged
from spm_live.training.evaluation.overlay import draw_overlay, encode, faults
from spm_live.training.evaluation.paper import best_threshold, precision_recall, rates
from spm_live.training.labelled import LabelledPicture
from spm_live.training.learning.card import Made, render_card, trained_on
from spm_live.training.learning.check_before import model_name
from spm_live.training.learning.loop import Trained
from spm_live.training.learning.machine import machine, versions
from spm_live.training.learning.report import render_report
from spm_live.training.learning.settings import TrainingSettings
from spm_live.training.learning.shown import continued
from spm_live.training.learning.validate import detector_for, judge_pictures, summary
from spm_live.training.maskrcnn.weights import load_npz, save_npz
from spm_live_drivers.registry import file_sha256

logger = logging.getLogger(__name__)

WEIGHTS_FILE = "training.npz"
REPORT_FILE = "report.html"
USUAL_MIN_SCORE = 0.5
"""Threshold where nothing was set apart to choose it on."""
MOST_PICTURES = 6


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A model, ready to be used.

    Parameters
    ----------
    trained : Trained
        How training went; its model holds the weights that were written.
    folder : Path
        Of the model.
    report : Path
        HTML.
    manifest : Manifest
        As it was written.
    """

    trained: Trained
    folder: Path
    report: Path
    manifest: Manifest


def finish(
    trained: Trained,
    settings: TrainingSettings,
    training: Sequence[LabelledPicture],
    validation: Sequence[LabelledPicture],
    *,
    output: Path,
    work: Path,
    command: str,
    notes: Sequence[str] = (),
) -> Finished:
    """Choose a threshold, measure, and write weights, network, manifest, card and report.

    Parameters
    ----------
    trained : Trained
    settings : TrainingSettings
    training, validation : sequence of LabelledPicture
        As the model is shown them.
    output, work : Path
        Folders of the model and of the run.
    command : str
        For the manifest.
    notes : sequence of str
        Told before training; they go to card and report.

    Raises
    ------
    SetupError
        If the network cannot be exported, or a folder cannot be written. The weights are kept then.
    """
    output.mkdir(parents=True, exist_ok=True)
    weights = output / WEIGHTS_FILE
    save_npz(trained.model, weights)
    # From here on the model is what its file holds, so that whatever is exported from the file later is the same.
    load_npz(trained.model, weights)
    results = _judge(trained, settings, validation or training)
    min_score = _min_score(results, trained) if validation else USUAL_MIN_SCORE
    metrics = _metrics(results, trained.config.classes, min_score) if validation else {}
    made = Made(
        training=tuple(training),
        validation=tuple(validation),
        steps=trained.steps,
        best_step=trained.best_step,
        ending=trained.ending,
        seconds=trained.seconds,
        machine=machine(),
        versions=versions(),
        notes=tuple(notes),
        metrics=metrics,
    )
    _write_manifest(output, _manifest(trained, settings, made, output, command, min_score))
    shown = [(one.name, continued(one.image, settings.shown)) for one in validation or training]
    manifest = _export(trained, output, shown)
    (output / "card.md").write_text(render_card(manifest, settings, made), encoding="utf-8")
    report = work / REPORT_FILE
    report.write_text(
        render_report(manifest, settings, made, trained.rows, trained.looks, _pictures(results, min_score)),
        encoding="utf-8",
    )
    return Finished(trained, output, report, manifest)


def _judge(trained: Trained, settings: TrainingSettings, pictures: Sequence[LabelledPicture]) -> list[Judged]:
    if not pictures:
        return []
    detector = detector_for(trained.model, trained.config, settings.shown, pictures)
    return judge_pictures(detector, pictures)


def _min_score(results: Sequence[Judged], trained: Trained) -> float:
    """Threshold with the highest F1 on the validation pictures."""
    if not any(one.found for one in results):
        return USUAL_MIN_SCORE
    return round(best_threshold(precision_recall(results, "mask"), trained.config.min_score), 4)


def _metrics(results: Sequence[Judged], classes: Sequence[str], min_score: float) -> dict[str, float]:
    numbers = {f"validation_{name}": value for name, value in summary(results, classes, min_score).items()}
    rate = rates(results, min_score, "mask")
    numbers |= {"validation_precision": rate.precision, "validation_recall": rate.recall}
    del numbers["validation_score"]  # a mean of two others
    return {name: round(value, 4) for name, value in numbers.items() if math.isfinite(value)}


def _manifest(
    trained: Trained, settings: TrainingSettings, made: Made, output: Path, command: str, min_score: float
) -> Manifest:
    shown = settings.shown
    return Manifest(
        schema_version=1,
        name=model_name(settings, output),
        version=settings.version,
        classes=trained.config.classes,
        weights="not-exported.onnx",
        sha256="0" * 64,
        license=settings.license,
        input=InputSection(
            rows=shown.rows,
            columns=shown.columns,
            nm_per_px=shown.nm_per_px,
            overlap_px=shown.overlap_px,
            levelling=shown.levelling,
            contrast=shown.contrast,
        ),
        min_score=max(min_score, trained.config.min_score),
        nms_iou=trained.config.cross_nms_iou,
        nms_kind="box",
        max_detections=trained.config.max_detections,
        trained_on=trained_on(settings, made),
        command=command,
        metrics=dict(made.metrics),
        network=trained.config.model_dump(mode="json"),
        training_weights=TrainingWeights(file=WEIGHTS_FILE, sha256=file_sha256(output / WEIGHTS_FILE)),
    )


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _export(trained: Trained, output: Path, pictures: Sequence[tuple[str, NDArray[np.float32]]]) -> Manifest:
    from spm_live.training.onnx_export.export import ExportSettings, export_model
    from spm_live.training.onnx_export.trained import read_manifest

    try:
        export_model(trained.model, trained.config, output, ExportSettings(), pictures)
    except SetupError as error:
        kept = f"the weights are in {output / WEIGHTS_FILE}; spm-live export {output} tries again"
        raise SetupError([*error.problems, kept]) from error
    return read_manifest(output)


def _pictures(results: Sequence[Judged], min_score: float) -> dict[str, bytes]:
    """Those with most faults first."""
    ordered = sorted(results, key=lambda one: -faults(one, min_score, "mask"))[:MOST_PICTURES]
    return {one.picture.name: encode(draw_overlay(one, min_score, "mask"), ".jpg") for one in ordered}
