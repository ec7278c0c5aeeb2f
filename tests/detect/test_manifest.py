"""A model's papers are checked, and models are found where they may lie."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from spm_live.detect import find_model, load_manifest
from spm_live.domain import InputSpec, Levelling, ModelIdentity
from spm_live.errors import SetupError

pytestmark = pytest.mark.usefixtures("_no_installed_models")


@pytest.fixture
def _no_installed_models(monkeypatch, tmp_path):
    monkeypatch.delenv("SPM_LIVE_MODELS", raising=False)
    monkeypatch.setattr("spm_live.detect.manifest.user_data_path", lambda name: tmp_path / "user" / name)


@pytest.fixture
def folder(tmp_path, manifest_values):
    place = tmp_path / "toy"
    place.mkdir()
    (place / "toy.onnx").write_bytes(b"weights")
    manifest_values["sha256"] = hashlib.sha256(b"weights").hexdigest()
    write(place, manifest_values)
    return place


def write(place, values):
    (place / "manifest.json").write_text(json.dumps(values), encoding="utf-8")


def test_a_sound_manifest_tells_prepare_and_the_store_what_they_need(folder, manifest_values):
    manifest = load_manifest(folder)
    assert manifest.spec == InputSpec(32, 48, 0.1, 16, Levelling.ROWS, (0.005, 0.995))
    assert manifest.identity == ModelIdentity("toy", "1", manifest_values["sha256"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 2}, "update spm-live"),
        ({"schema_version": "one"}, "schema_version"),
        ({"colour": "red"}, "colour: no such field"),
        ({"classes": []}, "classes"),
        ({"classes": ["a", "a"]}, "twice"),
        ({"weights": "../toy.onnx"}, "not a path"),
        ({"weights": "..\\toy.onnx"}, "not a path"),
        ({"weights": "/etc/passwd"}, "not a path"),
        ({"weights": ".."}, "not a path"),
        ({"sha256": "abc"}, "sha256"),
        ({"min_score": 1.5}, "min_score"),
        ({"min_score": float("nan")}, "min_score"),
        ({"nms_iou": 0}, "nms_iou"),
        ({"nms_kind": "soft"}, "nms_kind"),
        ({"max_detections": 0}, "max_detections"),
        ({"name": "../../x"}, "name"),
        ({"input": {"rows": 32, "columns": 32, "nm_per_px": 0, "overlap_px": 8}}, "nm_per_px"),
        ({"input": {"rows": 32, "columns": 32, "nm_per_px": 0.1, "overlap_px": 17}}, "half a tile"),
        ({"input": {"rows": 32, "columns": 32, "nm_per_px": 0.1, "overlap_px": 8, "contrast": [0.9, 0.1]}}, "rise"),
        ({"input": {"rows": 32, "columns": 32, "nm_per_px": 0.1, "overlap_px": 8, "levelling": "x"}}, "levelling"),
    ],
)
def test_a_wrong_field_is_named(folder, manifest_values, changes, said):
    write(folder, manifest_values | changes)
    with pytest.raises(SetupError, match=said):
        load_manifest(folder)


def test_every_problem_is_listed(folder, manifest_values):
    del manifest_values["license"]
    write(folder, manifest_values | {"schema_version": 9, "nms_iou": 7, "extra": 1})
    with pytest.raises(SetupError) as caught:
        load_manifest(folder)
    text = str(caught.value)
    assert len(caught.value.problems) == 4
    assert all(word in text for word in ("license", "schema_version", "nms_iou", "extra"))


def test_changed_weights_are_refused(folder):
    (folder / "toy.onnx").write_bytes(b"other weights")
    with pytest.raises(SetupError, match="changed or damaged"):
        load_manifest(folder)


def test_missing_weights_are_named(folder):
    (folder / "toy.onnx").unlink()
    with pytest.raises(SetupError, match=r"toy\.onnx"):
        load_manifest(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00", '{"schema_version": 1}', "[" * 100_000])
def test_what_is_no_manifest_is_refused(folder, text):
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(SetupError, match=r"manifest\.json"):
        load_manifest(folder)


def test_a_huge_manifest_is_not_read(folder):
    (folder / "manifest.json").write_bytes(b" " * (1024 * 1024 + 1))
    with pytest.raises(SetupError, match="larger than"):
        load_manifest(folder)


def test_a_model_is_found_by_its_path(folder):
    assert find_model(folder) == folder
    assert find_model(str(folder)) == folder


def test_a_name_is_looked_for_in_the_variable_then_in_the_users_folder(folder, tmp_path, monkeypatch):
    (tmp_path / "user" / "spm-live" / "models").mkdir(parents=True)
    users = tmp_path / "user" / "spm-live" / "models" / "toy"
    users.mkdir()
    (users / "manifest.json").write_text("{}", encoding="utf-8")
    assert find_model("toy") == users
    monkeypatch.setenv("SPM_LIVE_MODELS", os.pathsep.join([str(tmp_path / "nowhere"), str(tmp_path)]))
    assert find_model("toy") == folder


def test_a_model_that_is_nowhere_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(SetupError, match=r"user.*models"):
        find_model("no-such-model")
    with pytest.raises(SetupError) as caught:
        find_model(tmp_path / "sub" / "no-such-model")
    assert "user" not in str(caught.value), "a path is not looked for elsewhere"


def test_weights_to_train_on_from_lie_beside_the_manifest(folder, manifest_values):
    manifest_values["training_weights"] = {"file": "../elsewhere.npz", "sha256": "0" * 64}
    write(folder, manifest_values)
    with pytest.raises(SetupError, match="not a path"):
        load_manifest(folder)


def test_a_model_may_be_shown_every_frame_in_its_own_pixels(folder, manifest_values):
    manifest_values["input"]["nm_per_px"] = None
    write(folder, manifest_values)
    assert load_manifest(folder).spec.nm_per_px is None
