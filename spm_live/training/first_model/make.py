"""Makes the first model, ``synthetic-small``: draws, learns, exports, measures, and writes the card.

``python -m spm_live.training.first_model --work DIR`` does all of it and writes ``models/synthetic-small``; broken off,
it goes on from its last checkpoint in ``DIR``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from spm_live.detect import open_detector
from spm_live.domain import InputSpec, Levelling
from spm_live.settings import ModelSettings
from spm_live.training.first_model.card import card
from spm_live.training.first_model.evaluate import best_threshold, run, summary
from spm_live.training.first_model.examples import Recipe, draw_training_scan
from spm_live.training.first_model.export import LEAST_SCORE, MOLECULES, export_onnx
from spm_live.training.first_model.fit import Schedule, fit
from spm_live.training.first_model.network import Weights
from spm_live_drivers.simulate import ScanPlan, SimulatedInstrument
from spm_live_drivers.synthetic import MOLECULE_CLASSES, SyntheticScan

logger = logging.getLogger(__name__)

NAME = "synthetic-small"
VERSION = "1"
WEIGHTS_FILE = "synthetic-small.onnx"
NMS_IOU = 0.4
SPEC = InputSpec(rows=512, columns=512, nm_per_px=0.1, overlap_px=48, levelling=Levelling.ROWS, contrast=(0.005, 0.995))
"""0.1 nm a pixel shows the lobes of a molecule of 1 nm; a tile holds a frame of 51 nm."""

CHOICE_SEED, TEST_SEED = 910_000, 920_000
"""Scans to choose the score threshold on, and scans to measure everything on; no batch is drawn from these."""

INSTRUMENT_SEED = 930_000


def varied_scans(seed: int, count: int) -> Iterator[SyntheticScan]:
    """Draw scans of the kind trained on, each of another sample, tip, size and pitch."""
    for number in range(count):
        yield draw_training_scan((seed, number), Recipe())


def instrument_scans(count: int) -> Iterator[SyntheticScan]:
    """Draw the scans that the simulated instrument would save: 40 nm, 256 x 256 px, one sample."""
    instrument = SimulatedInstrument(Path(), ScanPlan(seed=INSTRUMENT_SEED))
    for number in range(count):
        yield instrument.scan(number + 1)


def write_model(
    folder: Path, weights: Mapping[str, Weights], command: str, schedule: Schedule, scans: int, note: str = ""
) -> None:
    """Export, measure and document a trained network.

    Parameters
    ----------
    folder : Path
        Of the model; made if it is not there.
    weights : mapping of str to Weights
        As :func:`spm_live.training.first_model.fit.fit` gives them.
    command : str
        The command line, for the card.
    schedule : Schedule
        How it was trained, for the card.
    scans : int
        Scans to measure on, of each kind.
    note : str
        A sentence for the card.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = export_onnx(weights, len(MOLECULE_CLASSES), SPEC.rows, SPEC.columns)
    (folder / WEIGHTS_FILE).write_bytes(content)
    manifest = {
        "schema_version": 1,
        "name": NAME,
        "version": VERSION,
        "classes": list(MOLECULE_CLASSES),
        "weights": WEIGHTS_FILE,
        "sha256": hashlib.sha256(content).hexdigest(),
        "license": "MIT",
        "input": {
            "rows": SPEC.rows,
            "columns": SPEC.columns,
            "nm_per_px": SPEC.nm_per_px,
            "overlap_px": SPEC.overlap_px,
            "levelling": SPEC.levelling.value,
            "contrast": list(SPEC.contrast),
        },
        "min_score": 0.3,
        "nms_iou": NMS_IOU,
        "nms_kind": "mask",
        "max_detections": MOLECULES,
        "trained_on": f"{schedule.steps * schedule.batch} windows of drawn scans, seed {schedule.seed}",
        "command": command,
        "metrics": {},
    }
    _write_manifest(folder, manifest)
    threshold, metrics = measure(folder, scans)
    manifest |= {"min_score": threshold, "metrics": metrics}
    _write_manifest(folder, manifest)
    (folder / "card.md").write_text(card(manifest, scans, _training_versions(), note), encoding="utf-8")


def measure(folder: Path, scans: int) -> tuple[float, dict[str, float]]:
    """Choose the score threshold on one set of scans and measure on two others, through the whole pipeline.

    Returns
    -------
    float
        Threshold with the highest F1.
    dict of str to float
        As :func:`spm_live.training.first_model.evaluate.summary`, with ``varied_`` before scans of the kind trained on
        and ``instrument_`` before those of the simulated instrument.
    """
    detector = open_detector(ModelSettings(name=str(folder), provider="cpu", min_score=LEAST_SCORE))
    try:
        threshold = best_threshold(run(detector, varied_scans(CHOICE_SEED, scans)), MOLECULE_CLASSES)
        results = {
            "varied": run(detector, varied_scans(TEST_SEED, scans)),
            "instrument": run(detector, instrument_scans(scans)),
        }
    finally:
        detector.close()
    metrics = {
        f"{kind}_{name}": value
        for kind, judged in results.items()
        for name, value in summary(judged, MOLECULE_CLASSES, threshold).items()
    }
    return threshold, metrics


def _write_manifest(folder: Path, manifest: Mapping[str, object]) -> None:
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _training_versions() -> str:
    names = []
    for name in ("tensorflow-cpu", "tensorflow", "keras", "onnx", "onnxruntime", "numpy"):
        try:
            names.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, export and measure from the command line."""
    default = Schedule()
    parser = argparse.ArgumentParser(prog="python -m spm_live.training.first_model", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="checkpoints and log; a broken run goes on from here")
    parser.add_argument("--output", type=Path, default=Path("models") / NAME, help="the model (default %(default)s)")
    parser.add_argument("--steps", type=int, default=default.steps, help="batches (default %(default)s)")
    parser.add_argument("--seed", type=int, default=default.seed, help="of weights and scans (default %(default)s)")
    parser.add_argument("--note", default="", help="a sentence for the card about this run")
    parser.add_argument("--scans", type=int, default=100, help="scans of each kind to measure on (default %(default)s)")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    schedule = replace(default, steps=given.steps, seed=given.seed)
    weights = fit(len(MOLECULE_CLASSES), SPEC, Recipe(), schedule, given.work)
    command = f"python -m spm_live.training.first_model --steps {given.steps} --seed {given.seed} --scans {given.scans}"
    write_model(given.output, weights, command, schedule, given.scans, given.note)
    logger.info("%s", given.output)
    return 0
