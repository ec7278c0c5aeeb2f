"""What is checked before training, and what is written after it; without a network."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from spm_live.detect.manifest import InputSection, Manifest, TrainingWeights
from spm_live.domain import Levelling
from spm_live.errors import SetupError
from spm_live.training.labelled import LabelledMolecule, LabelledPicture
from spm_live.training.learning.card import Made, render_card, trained_on
from spm_live.training.learning.check_before import MB, Machine, check_before, memory_mb
from spm_live.training.learning.curves import draw_curves
from spm_live.training.learning.drawing import LEARNT, batch_draw, drawn_classes, drawn_pictures
from spm_live.training.learning.feed import Feed
from spm_live.training.learning.report import render_report
from spm_live.training.learning.run import prepare_lesson
from spm_live.training.learning.settings import Shown, TrainingSettings, load_training_settings
from spm_live.training.learning.shown import as_shown, continued
from spm_live.training.learning.start import find_start
from spm_live.training.learning.validate import loss_batches
from spm_live.training.maskrcnn.config import NetworkConfig

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "training"
ROOMY = Machine(free_disk=lambda folder: 10**12, free_memory=lambda: 10**12)
CONFIG = NetworkConfig(classes=("a", "b"))


def _molecule(x: float, y: float, label: str = "a", side: float = 20.0) -> LabelledMolecule:
    ring = np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], dtype=np.float64)
    return LabelledMolecule(label, (ring,))


def _picture(labels: str = "aabb", size: int = 160, nm_per_px: float | None = None) -> LabelledPicture:
    image = np.random.default_rng(3).random((size, size)).astype(np.float32) * 0.2
    molecules = tuple(_molecule(8 + 36 * (n % 4), 8 + 36 * (n // 4), label) for n, label in enumerate(labels))
    for one in molecules:
        x1, y1, x2, y2 = (int(value) for value in one.box_px)
        image[y1:y2, x1:x2] += 0.7
    return LabelledPicture("p.png", image, molecules, nm_per_px)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_training_configuration_loads_and_its_recipes_hold(path: Path) -> None:
    settings = load_training_settings(path)
    classes = settings.classes or drawn_classes(settings)
    pictures = [_picture("aabb", 320)]
    batch_draw(settings, pictures, settings.network_config(classes))


def test_there_are_shipped_training_configurations() -> None:
    assert len(list(CONFIGS.glob("*.toml"))) >= 3


def test_every_problem_is_told_before_training_begins(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}", encoding="utf-8")
    settings = TrainingSettings.model_validate(
        {
            "name": "m",
            "start_from": str(tmp_path / "no-such-model"),
            "recipe": "no-such-recipe",
            "drawn_share": 0.5,
            "drawn": {"widht_nm": 3},
        }
    )
    cramped = Machine(free_disk=lambda folder: 5 * MB, free_memory=lambda: None)
    with pytest.raises(SetupError) as caught:
        check_before(settings, [_picture("aab")], [], CONFIG, tmp_path / "work", tmp_path, cramped)
    text = str(caught.value)
    for told in (
        "already holds a model",
        "class b has one example",
        "no molecule to validate on",
        "no-such-recipe",
        "widht_nm",
        "no-such-model",
        "5 MB left",
    ):
        assert told in text


def test_a_class_without_examples_and_a_name_that_cannot_be_are_told(tmp_path: Path) -> None:
    settings = TrainingSettings(validation={"kind": "none"})
    with pytest.raises(SetupError, match=r"(?s)cannot be a model's name.*class b is not among the labels"):
        check_before(settings, [_picture("aa")], [], CONFIG, tmp_path, tmp_path / "ä b", ROOMY)


def test_what_a_person_may_have_wanted_is_noted(tmp_path: Path) -> None:
    settings = TrainingSettings.model_validate(
        {"validation": {"kind": "none"}, "shown": {"overlap_px": 16}, "network": {"max_truths": 2}}
    )
    tight = Machine(free_disk=lambda folder: 10**12, free_memory=lambda: 10 * MB)
    config = settings.network_config(("a", "b"))
    notes = " ".join(check_before(settings, [_picture()], [], config, tmp_path, tmp_path / "m", tight))
    for told in ("smaller than the training pictures", "10 MB are free", "overlap_px", "max_truths"):
        assert told in notes
    tiny = replace(_picture(), molecules=(_molecule(5, 5, "a", 3.0), _molecule(50, 50, "a", 3.0)))
    config = settings.network_config(("a",))
    assert "anchor_sizes" in " ".join(check_before(settings, [tiny], [], config, tmp_path, tmp_path / "m", ROOMY))


def test_the_memory_estimate_grows_with_batch_and_size() -> None:
    small = TrainingSettings(rows=128, columns=128)
    large = TrainingSettings(rows=512, columns=512)
    assert 1200 < memory_mb(small, CONFIG) < memory_mb(large, CONFIG)
    deep = NetworkConfig(classes=("a",), backbone="resnet50", anchor_sizes=((32,), (64,), (128,), (256,), (512,)))
    assert memory_mb(large, deep) > 2 * memory_mb(large, CONFIG)


def _model_folder(folder: Path, config: NetworkConfig, weights: bytes = b"w") -> Path:
    folder.mkdir()
    (folder / "training.npz").write_bytes(weights)
    manifest = _manifest().model_copy(update={"network": config.model_dump(mode="json"), "classes": config.classes})
    (folder / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    return folder


def test_weights_to_start_from_must_be_those_of_the_manifest(tmp_path: Path) -> None:
    folder = _model_folder(tmp_path / "m", CONFIG)
    with pytest.raises(SetupError, match="sha256"):
        find_start(folder)
    import hashlib

    content = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    content["training_weights"]["sha256"] = hashlib.sha256(b"w").hexdigest()
    (folder / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
    assert find_start(folder) == folder / "training.npz"
    (folder / "training.npz").unlink()
    with pytest.raises(SetupError, match=r"training\.npz"):
        find_start(folder)


def test_a_start_of_another_backbone_is_refused_and_one_of_other_classes_is_noted(tmp_path: Path) -> None:
    import hashlib

    for name, config in (("other-classes", NetworkConfig(classes=("molecule",))), ("same", CONFIG)):
        folder = _model_folder(tmp_path / name, config)
        content = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        content["training_weights"]["sha256"] = hashlib.sha256(b"w").hexdigest()
        (folder / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
        settings = TrainingSettings(validation={"kind": "none"}, start_from=folder)
        notes = check_before(settings, [_picture()], [], CONFIG, tmp_path, tmp_path / "new", ROOMY)
        assert any("begins anew" in note for note in notes) == (name == "other-classes")
    deep = TrainingSettings(validation={"kind": "none"}, start_from=tmp_path / "same", network={"backbone": "resnet50"})
    with pytest.raises(SetupError, match="its backbone is light"):
        check_before(deep, [_picture()], [], deep.network_config(("a", "b")), tmp_path, tmp_path / "new", ROOMY)


def test_a_picture_is_shown_at_the_models_pitch_with_its_outlines_in_step() -> None:
    picture = _picture("aabb", 160, nm_per_px=0.1)
    image = picture.image.copy()
    image[:, 140:] = np.nan
    shown = as_shown(replace(picture, image=image), Shown(nm_per_px=0.05, levelling=Levelling.NONE))
    assert shown.image.shape == (320, 320)
    assert shown.nm_per_px == 0.05
    assert shown.molecules[1].box_px == pytest.approx([2 * value for value in picture.molecules[1].box_px])
    assert np.isnan(shown.image[:, 285:]).all()
    assert np.isfinite(shown.image[:, :275]).all()
    seen = shown.image[:, :275]
    assert 0 <= seen.min() <= seen.max() <= 1
    x1, y1, x2, y2 = (int(value) for value in shown.molecules[0].box_px)
    assert shown.image[y1 + 3 : y2 - 3, x1 + 3 : x2 - 3].mean() > 0.7 > 0.4 > shown.image[60:66, 60:66].mean()


def test_in_its_own_pixels_a_picture_keeps_its_shape() -> None:
    shown = as_shown(_picture(), Shown())
    assert shown.image.shape == (160, 160)
    assert shown.molecules[0].box_px == _picture().molecules[0].box_px


def test_training_pictures_follow_from_the_step_alone_in_threads_and_processes() -> None:
    settings = TrainingSettings.model_validate({"rows": 64, "columns": 64, "batch": 2, "drawn_share": 0.5})
    draw = batch_draw(settings, [_picture()], CONFIG)
    with Feed(draw, 0, 3, workers=1, kind="processes", ahead=3) as feed:
        apart = dict(feed)
    for step in (2, 0, 1):
        here = draw(step)
        assert here["image"].shape == (2, 64, 64, 1)
        assert all(np.array_equal(here[name], apart[step][name]) for name in here)
    assert not np.array_equal(draw(0)["image"], draw(1)["image"])


def test_a_training_picture_that_fails_is_named_by_its_seed() -> None:
    settings = TrainingSettings.model_validate({"rows": 64, "columns": 64, "batch": 1})
    draw = batch_draw(settings, [_picture()], CONFIG)

    class Broken:
        def draw(self, seed: tuple[int, ...], size: tuple[int, int]) -> LabelledPicture:
            raise ZeroDivisionError("no pixel")

    broken = replace(draw, augmenter=Broken())
    with (
        Feed(broken, 4, 9, workers=1) as feed,
        pytest.raises(SetupError, match=rf"step 4 .*no pixel; training picture of seed \(2026, {LEARNT}, 4, 0\)"),
    ):
        next(feed)


def test_drawn_pictures_to_validate_on_are_not_those_learnt_from() -> None:
    settings = TrainingSettings.model_validate({"rows": 64, "columns": 64, "batch": 1, "drawn_share": 1.0})
    judged = drawn_pictures(settings, 1)[0]
    learnt = batch_draw(settings, [], NetworkConfig(classes=("molecule",))).picture(0, 0)
    assert judged.image.shape == learnt.image.shape == (64, 64)
    assert not np.array_equal(judged.image, learnt.image)
    assert drawn_classes(settings) == ("molecule",)
    families = TrainingSettings.model_validate({"drawn": {"labels": "family", "families": {"rod": 1, "disc": 1}}})
    assert drawn_classes(families) == ("disc", "rod")


def test_windows_for_the_validation_loss_hold_every_molecule_once() -> None:
    batches = list(loss_batches([_picture("aabbab", 192)], (64, 64), 4, CONFIG))
    assert all(batch["image"].shape == (4, 64, 64, 1) for batch in batches)
    assert len(batches) == 3  # nine windows; the last batch is filled up
    asked = np.concatenate([batch["classes"] for batch in batches])[:9]
    assert int((asked >= 0).sum()) == 6


def test_the_lesson_of_the_real_crop_keeps_regions_apart(data_dir: Path) -> None:
    crop = data_dir / "molecules" / "00-cut.json"
    lesson = prepare_lesson([crop], TrainingSettings())
    assert lesson.classes == ("003a", "020a")
    counts = [sum(not one.ignore for p in part for one in p.molecules) for part in (lesson.training, lesson.validation)]
    assert min(counts) >= 2
    assert sum(counts) <= 22
    whole = prepare_lesson([crop], TrainingSettings(validation={"kind": "none"}))
    assert sum(not one.ignore for one in whole.training[0].molecules) == 22
    assert whole.validation == ()
    drawn = TrainingSettings.model_validate(
        {"rows": 64, "columns": 64, "validation": {"kind": "drawn", "pictures": 2}, "drawn_share": 1}
    )
    assert len(prepare_lesson([], drawn).validation) == 2
    with pytest.raises(SetupError, match="no pictures to split"):
        prepare_lesson([], TrainingSettings())


def _manifest() -> Manifest:
    return Manifest(
        schema_version=1,
        name="m",
        version="1",
        classes=("a", "b"),
        weights="m.onnx",
        sha256="1" * 64,
        license="MIT",
        input=InputSection(rows=512, columns=512, nm_per_px=None, overlap_px=96, levelling=Levelling.NONE),
        min_score=0.4,
        nms_iou=0.5,
        max_detections=100,
        trained_on="4 labelled molecules",
        command="spm-live train data -o m",
        network=CONFIG.model_dump(mode="json"),
        training_weights=TrainingWeights(file="training.npz", sha256="2" * 64),
    )


def _made(**changes: Any) -> Made:
    made = Made(
        training=(_picture(),),
        validation=(),
        steps=10,
        best_step=8,
        ending="asked",
        seconds=3700.0,
        machine="2 cores",
        versions="Python 3",
        notes=("p.png: <odd>",),
    )
    return replace(made, **changes)


def test_a_picture_to_compare_on_is_continued_to_whole_tiles() -> None:
    image = _picture(size=90).image
    whole = continued(image, Shown(rows=64, columns=256, overlap_px=16))
    assert whole.shape == (128, 256)
    assert np.array_equal(whole[:90, :90], image)
    assert np.array_equal(whole[90:, :90], image[:51:-1])
    assert not (whole == 0).all(axis=1).any()


def test_the_card_says_where_a_model_comes_from_and_what_it_is_not_good_for() -> None:
    text = render_card(_manifest(), TrainingSettings(purpose="For the test."), _made())
    for told in (
        "For the test.",
        "spm-live train data -o m",
        "MIT",
        "1" * 64,
        "ended by hand",
        "1 h 01 min",
        "weights of step 8",
        "Not measured",
        "a (2), b (2)",
        "everything was learnt from one picture",
        "p.png: <odd>",
    ):
        assert told in text
    measured = render_card(
        _manifest(), TrainingSettings(), _made(validation=(_picture("ab"),), metrics={"validation_box_ap50": 0.9})
    )
    assert "| validation_box_ap50 | 0.900 |" in measured
    assert "flatter" in measured


def test_the_line_about_the_data_names_counts_and_drawn_scans() -> None:
    settings = TrainingSettings(drawn_share=0.25, start_from=Path("models/generic"))
    line = trained_on(settings, _made())
    assert line == (
        "4 labelled molecules (2 of a, 2 of b) in 1 picture: p.png; drawn scans (25% of the training pictures); "
        "starting from generic"
    )
    assert trained_on(TrainingSettings(), _made(training=())) == "drawn scans (100% of the training pictures)"


def test_the_report_needs_nothing_else_and_escapes_what_it_shows() -> None:
    rows = [
        {"step": 10.0, "rate": 1e-3, "loss": 2.0, "mask": 0.5},
        {"step": 20.0, "rate": 5e-4, "loss": 1.0, "mask": 0.4},
    ]
    looks = [{"step": 20.0, "loss": 1.5, "box_ap50": 0.5, "mask_ap50": float("nan")}]
    made = _made(validation=(_picture(),), metrics={"validation_box_ap50": 0.5})
    html = render_report(_manifest(), TrainingSettings(), made, rows, looks, {"p<1>.png": b"jpeg"})
    assert "p&lt;1&gt;.png" in html
    assert "&lt;odd&gt;" in html
    assert "data:image/jpeg;base64,anBlZw==" in html
    assert not re.search(r'(src|href)="(?!data:)', html)
    assert html.count("<svg") == 3
    assert "validation_box_ap50" in html


def test_curves_are_drawn_in_their_frame_with_gaps_for_what_is_no_number() -> None:
    svg = draw_curves(
        {"loss": [(0, 10.0), (5, float("nan")), (10, 0.1)], "zero": [(0, 0.0)]}, label="losses", logarithmic=True
    )
    root = ElementTree.fromstring(svg)
    lines = root.findall("polyline")
    assert len(lines) == 1
    points = [tuple(map(float, point.split(","))) for point in lines[0].attrib["points"].split()]
    assert len(points) == 2
    assert points[0][0] < points[1][0]
    assert points[0][1] < points[1][1]  # falls: further down
    assert draw_curves({"none": []}, label="nothing") == ""
