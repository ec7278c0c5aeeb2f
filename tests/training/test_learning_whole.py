"""Training with the real network, from labelled pictures to a model that the daemon runs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("keras")
pytest.importorskip("onnx")

from spm_live.detect import load_manifest, open_detector
from spm_live.errors import SetupError
from spm_live.settings import ModelSettings
from spm_live.training.evaluation import predict
from spm_live.training.learning.average import arrays_of
from spm_live.training.learning.finish import Finished
from spm_live.training.learning.progress import Progress
from spm_live.training.learning.run import prepare_lesson, run_training
from spm_live.training.learning.settings import TrainingSettings, training_settings_from
from spm_live.training.learning.step_cost import measure_step

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

SMALL: dict[str, Any] = {
    "channels": 16,
    "fc_channels": 32,
    "mask_channels": 16,
    "mask_layers": 1,
    "proposals_before": 60,
    "proposals": 40,
    "proposals_learning": 40,
    "rois": 16,
    "max_detections": 40,
}


def _settings(**changes: Any) -> TrainingSettings:
    given: dict[str, Any] = {
        "rows": 96,
        "columns": 96,
        "batch": 2,
        "network": SMALL,
        "stages": [
            {"name": "heads", "trainable": "heads", "steps": 4, "rate": 1e-3},
            {"name": "all", "steps": 8, "rate": 1e-3},
        ],
        "shown": {"rows": 128, "columns": 128, "overlap_px": 64},
        "validation": {"every": 6},
        "average": 0.9,
        "checkpoint_every": 5,
        "drawn_share": 0.3,
        "license": "MIT",
    }
    return training_settings_from(given | changes)


def _run(data_dir: Path, place: Path, name: str, **more: Any) -> Finished:
    told = more.pop("on_progress", lambda progress: None)
    data = [data_dir / "molecules" / "00-cut.json"]
    return run_training(
        data, place / f"model-{name}", _settings(**more), place / f"work-{name}", "spm-live train", on_progress=told
    )


class _KilledError(Exception):
    pass


def _kill_at(step: int) -> Any:
    def tell(progress: Progress) -> None:
        if progress.step == step:
            raise _KilledError

    return tell


def test_a_killed_run_ends_in_the_same_model_and_the_daemon_runs_it(data_dir: Path, tmp_path: Path) -> None:
    whole = _run(data_dir, tmp_path, "whole")
    with pytest.raises(_KilledError):
        _run(data_dir, tmp_path, "killed", on_progress=_kill_at(8))
    again = _run(data_dir, tmp_path, "killed", workers=0)
    for one, other in zip(arrays_of(whole.trained.model.weights), arrays_of(again.trained.model.weights), strict=True):
        assert np.array_equal(one, other)
    digests = [hashlib.sha256((one.folder / one.manifest.weights).read_bytes()).hexdigest() for one in (whole, again)]
    assert digests[0] == digests[1] == load_manifest(whole.folder).sha256
    assert "spm-live train" in (whole.folder / "card.md").read_text(encoding="utf-8")
    assert "<svg" in whole.report.read_text(encoding="utf-8")
    with pytest.raises(SetupError, match="already holds a model"):
        _run(data_dir, tmp_path, "whole")
    detector = open_detector(ModelSettings(name=str(whole.folder), provider="cpu", min_score=0.0))
    try:
        lesson = prepare_lesson([data_dir / "molecules" / "00-cut.json"], _settings())
        predict(detector, lesson.training[0])
    finally:
        detector.close()
    further = _run(data_dir, tmp_path, "further", start_from=str(whole.folder), validation={"kind": "none"})
    assert further.manifest.metrics == {}
    assert "starting from model-whole" in further.manifest.trained_on


def test_a_few_steps_on_the_crop_make_every_loss_smaller(data_dir: Path, tmp_path: Path) -> None:
    stage = [{"name": "all", "steps": 60, "rate": 2e-3}]
    done = _run(data_dir, tmp_path, "longer", stages=stage, validation={"kind": "none"}, drawn_share=0.0, warm_up=5)
    first, last = done.trained.rows[0], done.trained.rows[-1]
    for name in ("loss", "rpn_objectness", "class", "mask"):
        assert last[name] < first[name]


def test_what_a_step_costs_can_be_measured() -> None:
    cost = measure_step({"rows": 64, "columns": 64, "batch": 1, "network": SMALL}, steps=2)
    assert cost.wall_s > 0
    assert cost.process_s > 0
    assert cost.weights > 100_000
    assert cost.peak_mb is None or cost.peak_mb > 100
