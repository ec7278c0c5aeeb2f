"""The shipped Mask R-CNN models do on real pictures what their cards say."""

from __future__ import annotations

from pathlib import Path

import pytest

from spm_live.detect import find_model, load_manifest, open_detector
from spm_live.pipeline import process
from spm_live.settings import ModelSettings
from spm_live.training.data import load_pictures
from spm_live.training.evaluation import EvaluationSettings, Excluded, Region, headline
from spm_live.training.evaluation.run import evaluate
from spm_live.training.maskrcnn.config import NetworkConfig
from spm_live_drivers.contract import ReadOptions
from spm_live_drivers.registry import file_sha256, read_frame

MODELS = ("molecule-generic", "zhu2022-binary")
CROP = Region(536, 303, 856, 623)
"""Where the picture that ``zhu2022-binary`` was trained on lies in tile 1."""


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_is_whole_and_can_be_trained_on(name: str) -> None:
    folder = find_model(name)
    manifest = load_manifest(folder)
    assert manifest.network is not None
    assert NetworkConfig.model_validate(manifest.network).classes == manifest.classes
    assert manifest.training_weights is not None
    assert file_sha256(folder / manifest.training_weights.file) == manifest.training_weights.sha256
    assert sum(file.stat().st_size for file in folder.iterdir()) < 30e6
    assert manifest.license == "MIT"
    assert manifest.command in (folder / "card.md").read_text(encoding="utf-8")


def test_zhu2022_binary_counts_the_tile_beside_its_crop(data_dir: Path, tmp_path: Path) -> None:
    pytest.importorskip("faster_coco_eval")
    pytest.importorskip("matplotlib")
    pictures = load_pictures([data_dir / "molecules" / "1.json"]).pictures
    settings = EvaluationSettings(excluded=Excluded((CROP,), border_px=3), resolutions=(0.5, 1 / 3), robustness=False)
    judged = evaluate(find_model("zhu2022-binary"), pictures, settings, tmp_path)
    found = headline(judged)
    assert min(found["box_ap50"], found["mask_ap50"], found["recognition_rate"]) >= 0.97
    assert found["count_error"] <= 0.02
    assert found["class_confusion"] <= 0.01
    half, third = judged.resolution
    assert half.recognition.recognition_rate >= 0.9
    assert third.recognition.recognition_rate >= 0.75


def test_molecule_generic_finds_isolated_molecules_one_by_one(data_dir: Path) -> None:
    detector = open_detector(ModelSettings(name="molecule-generic", provider="cpu", threads=2))
    try:
        frame = read_frame(data_dir / "nanonis" / "Image_412.sxm", ReadOptions())
        found = process(frame, detector)
    finally:
        detector.close()
    # Five stand whole in the frame, three are cut by its border, and there is one fainter one.
    whole = [one for one in found.molecules if not one.touches_edge and one.score > 0.9]
    assert 4 <= len(whole) <= 6
    assert 8 <= len(found.molecules) <= 10
