"""A model evaluated as the daemon runs it: predictions, studies, files, and what bad input gets."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from spm_live.detect import Manifest, find_model, load_manifest, open_detector
from spm_live.domain import Detections, ModelInput
from spm_live.errors import SetupError
from spm_live.settings import ModelSettings
from spm_live.training.evaluation import (
    EvaluationSettings,
    Excluded,
    Prediction,
    Region,
    best_min_score,
    evaluate,
    headline,
    judge,
    predict,
)
from spm_live.training.evaluation.noises import NOISES
from spm_live.training.evaluation.opened import opened
from spm_live.training.evaluation.paper import rates
from spm_live.training.evaluation.predictions import frame_of
from spm_live.training.evaluation.resolution import molecule_px, resolution_point
from spm_live.training.evaluation.robustness import robustness_point
from spm_live.training.evaluation.run import spread
from spm_live.training.evaluation.truth import asked_of
from spm_live.training.labelled import LabelledMolecule, LabelledPicture, rings_of
from spm_live_drivers.synthetic import MOLECULE_CLASSES, draw_scan

MODEL = Path(__file__).resolve().parents[2] / "models" / "synthetic-small"


def drawn(seed: int, rows: int = 128, columns: int = 128, pitch: float = 0.1) -> LabelledPicture:
    scan = draw_scan(seed, rows=rows, columns=columns, size_nm=(columns * pitch, rows * pitch))
    molecules = []
    for one in scan.molecules:
        corner = np.array(one.box_px[:2], dtype=np.float64) - 1
        rings = tuple(ring + corner for ring in rings_of(np.pad(one.mask, 1)))
        molecules.append(LabelledMolecule(one.label, rings, ignore=one.visible < 0.5))
    return LabelledPicture(f"drawn {seed}", scan.heights, tuple(molecules), pitch)


def ellipses(nm_per_px: float | None, rows: int = 120, columns: int = 160) -> LabelledPicture:
    """Bright ellipses of one class on dark ground."""
    image = np.zeros((rows, columns), np.float32)
    molecules = []
    for x, y in ((30, 30), (90, 40), (130, 85), (45, 90)):
        mask = np.zeros((rows, columns), np.uint8)
        cv2.ellipse(mask, (x, y), (14, 9), 30, 0, 360, 1, -1)
        image[mask > 0] = 1
        molecules.append(LabelledMolecule("blob", rings_of(mask > 0)))
    return LabelledPicture("ellipses", image, tuple(molecules), nm_per_px)


class BrightDetector:
    """Finds what is bright: a detector that truly looks at the pixels it is shown."""

    def __init__(self, nm_per_px: float | None) -> None:
        content = json.loads((MODEL / "manifest.json").read_text(encoding="utf-8"))
        content["classes"] = ["blob"]
        content["input"] |= {"rows": 256, "columns": 256, "nm_per_px": nm_per_px, "levelling": "none"}
        self.manifest = Manifest.model_validate(content)

    def detect(self, model_input: ModelInput) -> Detections:
        tile = model_input.tiles[0]
        count, _, stats, _ = cv2.connectedComponentsWithStats((tile > 0.5).astype(np.uint8))
        boxes, masks = [], []
        for x, y, width, height, _ in stats[1:count].tolist():
            boxes.append((x, y, x + width, y + height))
            masks.append(cv2.resize(tile[y : y + height, x : x + width], (28, 28), interpolation=cv2.INTER_LINEAR))
        return Detections(
            np.array(boxes, np.float32).reshape(-1, 4),
            np.linspace(0.9, 0.8, len(boxes), dtype=np.float32),
            np.zeros(len(boxes), np.int64),
            np.array(masks, np.float32).reshape(-1, 28, 28),
        )

    def close(self) -> None:
        """Holds nothing."""


@pytest.mark.parametrize("known", [0.2, None])
@pytest.mark.parametrize("scale", [1.0, 0.5, 1 / 3])
def test_predictions_come_back_in_pixels_of_the_picture(known: float | None, scale: float) -> None:
    # A picture whose scale is not known is shown in its own pixels; one of 0.2 nm per pixel is enlarged for 0.15.
    picture = ellipses(known)
    judged = judge(picture, predict(BrightDetector(0.15), picture, scale=scale))
    assert len(judged.found) == 4
    assert judged.overlaps["box"].max(axis=0).min() > (0.9 if scale == 1 else 0.75)
    assert judged.overlaps["mask"].max(axis=0).min() > (0.9 if scale == 1 else 0.75)


def test_a_model_without_a_pitch_is_shown_a_picture_in_its_own_pixels() -> None:
    frame, _ = frame_of(ellipses(None), None, 0.5)
    assert frame.data.shape == (60, 80)
    detector = BrightDetector(None)
    for known in (None, 0.3):
        whole, half = (predict(detector, ellipses(known), scale=scale) for scale in (1.0, 0.5))
        assert len(whole) == len(half) == 4
        # Edges of what is bright lie on whole pixels of what was shown: on even ones where that was half as fine.
        assert all(edge == round(edge) for one in whole for edge in one.box_px)
        assert all(edge / 2 == round(edge / 2) for one in half for edge in one.box_px)


@pytest.mark.parametrize("scale", [0.0, -1.0, 1.5, float("nan")])
def test_pictures_are_shrunk_and_not_enlarged(scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        predict(BrightDetector(0.1), ellipses(None), scale=scale)


def test_at_least_one_pixel_is_left_of_a_picture() -> None:
    frame, scale = frame_of(ellipses(None, 100, 150), 0.1, 0.001)
    assert frame.data.shape == (1, 1)
    assert scale == (1 / 150, 1 / 100)
    assert frame.geometry.size_nm == (15.0, 10.0)


def same(one: Prediction, other: Prediction) -> bool:
    return (
        (one.label, one.score, one.box_px) == (other.label, other.score, other.box_px)
        and (one.rings[0].shape == other.rings[0].shape)
        and bool((one.rings[0] == other.rings[0]).all())
    )


def test_an_opened_model_finds_what_the_daemon_finds_and_a_good_part_of_the_truth() -> None:
    picture = drawn(3)
    detector = open_detector(ModelSettings(name=str(MODEL), threads=1))
    daemon = predict(detector, picture)
    detector.close()
    with opened(MODEL, EvaluationSettings(threads=1)) as model:
        seen = model.see(picture)
        ours, by_class = model.told(seen), model.told(seen, across_classes=False)
    least = load_manifest(find_model(MODEL)).min_score
    kept = [one for one in ours if one.score >= least]
    assert len(kept) == len(daemon) > 5
    assert all(same(one, other) for one, other in zip(kept, daemon, strict=True))
    assert len(by_class) >= len(ours) >= len(kept)
    assert rates([judge(picture, ours)], least, "mask").recognition_rate > 0.7


def test_recognition_falls_when_there_are_too_few_pixels() -> None:
    pictures = [ellipses(None)]
    detector = BrightDetector(0.1)

    def study(scale: float):
        return resolution_point(
            lambda picture, factor: predict(detector, picture, scale=factor),
            pictures, scale, classes=("blob",), excluded=Excluded(), min_score=0.5, kind="mask", least=0.5,
        )  # fmt: skip

    fine, coarse = study(1.0), study(1 / 30)
    assert fine.recognition.recognition_rate == fine.recognition.classes["blob"] == 1
    assert coarse.recognition.recognition_rate < 0.6
    assert fine.px_per_molecule == molecule_px(pictures) == pytest.approx(30 * coarse.px_per_molecule)
    assert 18 < fine.px_per_molecule < 26


@pytest.mark.parametrize("noise", NOISES, ids=lambda noise: noise.name)
def test_a_noise_changes_the_picture_alone_the_more_the_stronger_in_any_unit(noise) -> None:
    picture = ellipses(None)
    picture.image[:7] = np.nan
    changes = []
    for level in (noise.levels[0], noise.levels[-1]):
        disturbed = noise.disturb(picture, level, np.random.default_rng(1))
        assert disturbed.molecules == picture.molecules
        assert disturbed.image.dtype == np.float32
        assert (np.isnan(disturbed.image) == np.isnan(picture.image)).all()
        changes.append(float(np.nanmean(np.abs(disturbed.image - picture.image))))
        metres = LabelledPicture("m", picture.image * np.float32(1e-9), picture.molecules)
        in_metres = noise.disturb(metres, level, np.random.default_rng(1)).image * 1e9
        np.testing.assert_allclose(in_metres, disturbed.image, atol=2e-4)
    if noise.name != "contrast":  # two grey levels alone, 0 and 1, are not bent
        assert 0 < changes[0] < changes[1]


def test_one_seed_is_one_disturbance() -> None:
    pictures, detector = [ellipses(None)], BrightDetector(0.1)
    seen = []

    def keep(picture: LabelledPicture) -> tuple[Prediction, ...]:
        seen.append(picture.image)
        return predict(detector, picture)

    for seed in (1, 1, 2):
        point = robustness_point(
            keep, pictures, NOISES[0], 0.05,
            classes=("blob",), excluded=Excluded(), min_score=0.5, kind="box", least=0.5, seed=seed,
        )  # fmt: skip
        assert point.noise == "white noise"
        assert point.recognition.recognition_rate == 1
    assert (seen[0] == seen[1]).all()
    assert (seen[0] != seen[2]).any()


def test_an_evaluation_writes_numbers_figures_pictures_and_a_report_that_needs_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("faster_coco_eval")
    pytest.importorskip("matplotlib")
    settings = EvaluationSettings(threads=1, resolutions=(1.0, 0.5), robustness=False, excluded=Excluded(border_px=1))
    evaluation = evaluate(MODEL, [drawn(3)], settings, tmp_path / "out")
    numbers = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert numbers["headline"] == headline(evaluation)
    assert numbers["headline"]["mask_ap50"] > 0.7
    assert numbers["resolution"][0]["recognition_rate"] == numbers["rates"]["overall"]["recognition_rate"]
    assert numbers["pictures"][0]["left_out_true"] + numbers["pictures"][0]["true"] == sum(
        not one.ignore for one in drawn(3).molecules
    )
    names = ("precision_recall", "recall_iou", "confusion", "counts", "suppression", "resolution")
    for name in names:
        assert (tmp_path / "out" / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "<svg" in (tmp_path / "out" / "figures" / f"{name}.svg").read_text(encoding="utf-8")
    report = evaluation.files["report"].read_text(encoding="utf-8")
    assert report.count("data:image/png;base64,") == len(names)
    assert report.count("data:image/jpeg;base64,") == 1
    assert "http" not in report
    assert "drawn 3" in report
    assert evaluation.files["picture drawn 3"].is_file()
    best = best_min_score(MODEL, [drawn(3)], settings)
    assert rates(evaluation.results, best, "mask").f1 >= rates(evaluation.results, 0.35, "mask").f1


def test_a_report_is_written_where_nothing_is_found_and_a_class_is_absent(tmp_path: Path) -> None:
    pytest.importorskip("faster_coco_eval")
    pytest.importorskip("matplotlib")
    flat = LabelledPicture("<flat> & bare", np.zeros((64, 64), np.float32), drawn(3).molecules[:1], 0.1)
    settings = EvaluationSettings(threads=1, resolutions=(0.5,), robustness=False)
    evaluation = evaluate(MODEL, [flat], settings, tmp_path)
    numbers = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert numbers["headline"]["box_ap50"] == numbers["headline"]["recognition_rate"] == 0
    assert numbers["rates"]["overall"]["precision"] is None
    report = evaluation.files["report"].read_text(encoding="utf-8")
    assert "&lt;flat&gt; &amp; bare" in report
    assert "<flat>" not in report


def test_labels_that_the_model_does_not_know_are_all_told_before_anything_runs(tmp_path: Path) -> None:
    pytest.importorskip("faster_coco_eval")
    pytest.importorskip("matplotlib")
    picture = ellipses(None)
    with pytest.raises(SetupError) as caught:
        evaluate(MODEL, [picture, picture], EvaluationSettings(labels={"blob": "rodd"}), tmp_path)
    assert "'rodd', which is no class of the model" in str(caught.value)
    assert "given 2 times" in str(caught.value)
    with pytest.raises(SetupError, match=r"label 'blob'.*three-lobe.*labels = "):
        evaluate(MODEL, [picture], EvaluationSettings(), tmp_path)
    with pytest.raises(SetupError, match="no picture"):
        evaluate(MODEL, [], EvaluationSettings(), tmp_path)
    nothing_left = EvaluationSettings(labels={"blob": "rod"}, excluded=Excluded((Region(0, 0, 1000, 1000),)))
    with pytest.raises(SetupError, match="left out"):
        evaluate(MODEL, [picture], nothing_left, tmp_path)


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(SetupError, match="cannot be written"):
        evaluate(MODEL, [ellipses(None)], EvaluationSettings(), tmp_path / "out")
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


def test_labels_stand_for_classes_and_a_model_of_one_class_is_asked_for_any() -> None:
    picture = ellipses(None)
    (renamed,) = asked_of([picture], MOLECULE_CLASSES, {"blob": "rod"})
    assert renamed.labels == ("rod",)
    assert renamed.image is picture.image
    assert asked_of([picture], ("molecule",), {})[0].labels == ("molecule",)


def test_settings_of_a_person_are_checked() -> None:
    for wrong in (
        {"min_score": 0.01},
        {"least_iou": 0},
        {"resolutions": (1.5,)},
        {"colour": 1},
        {"excluded": {"border_px": -1}},
    ):
        with pytest.raises(ValueError, match="EvaluationSettings"):
            EvaluationSettings.model_validate(wrong)
    rule = EvaluationSettings.model_validate({"excluded": {"regions": [{"x1": 0, "y1": 0, "x2": 5, "y2": 5}]}}).excluded
    assert rule == Excluded((Region(0, 0, 5, 5),))


def test_studies_take_pictures_evenly() -> None:
    pictures = [LabelledPicture(str(number), np.zeros((1, 1), np.float32), ()) for number in range(10)]
    assert [picture.name for picture in spread(pictures, 4)] == ["0", "2", "5", "7"]
    assert len(spread(pictures, 20)) == 10
