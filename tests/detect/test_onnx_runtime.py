"""The ONNX Runtime detector, on models whose answers are known."""

from __future__ import annotations

import logging

import numpy as np
import onnxruntime
import pytest

from spm_live.detect import open_detector
from spm_live.domain import FrameRef, Letterbox, Levelling, ModelInput
from spm_live.errors import FrameError, SetupError
from spm_live.settings import ModelSettings

BOX = (4.0, 5.0, 14.0, 15.0)
OTHER = (30.0, 8.0, 40.0, 20.0)


@pytest.fixture
def opened():
    """Open detectors that are closed at the end."""
    detectors = []

    def opener(folder, **settings):
        detectors.append(open_detector(ModelSettings(name=str(folder), provider="cpu", threads=1, **settings)))
        return detectors[-1]

    yield opener
    for detector in detectors:
        detector.close()


def model_input(count: int = 1, rows: int = 32, columns: int = 48) -> ModelInput:
    """Tiles one below the other, each touching the next."""
    return ModelInput(
        tiles=np.ones((count, rows, columns), dtype=np.float32),
        origins=np.array([[rows * k, 0] for k in range(count)], dtype=np.int64).reshape(-1, 2),
        letterbox=Letterbox(1.0, 1.0, rows * count or 1, columns),
        levelled=np.ones((rows * count or 1, columns), dtype=np.float32),
        ref=FrameRef("scan.sxm"),
    )


def test_known_answers_come_back_in_pixels_of_the_picture(make_model, answers, opened):
    detector = opened(make_model(answers([BOX, OTHER], [0.7, 0.9], [0, 1])))
    found = detector.detect(model_input(2))
    expected = [OTHER, OTHER, BOX, BOX]
    assert found.scores.tolist() == pytest.approx([0.9, 0.9, 0.7, 0.7])
    assert found.classes.tolist() == [1, 1, 0, 0]
    shifts = [0, 32, 0, 32]
    assert found.boxes.tolist() == [[b[0], b[1] + s, b[2], b[3] + s] for b, s in zip(expected, shifts, strict=True)]
    assert found.masks.shape == (4, 7, 7)


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_tiles_go_through_in_batches_of_the_graphs_size(make_model, answers, opened, batch):
    detector = opened(make_model(answers([BOX], batch=batch)))
    found = detector.detect(model_input(4))
    assert sorted(found.boxes[:, 1].tolist()) == [5.0, 37.0, 69.0, 101.0]


def test_a_graph_with_a_free_batch_and_free_slots_fits(make_model, answers, constant_graph, opened):
    values = answers([BOX])
    free = {name: ("batch", "slots", *value.shape[2:]) for name, value in values.items()}
    graph = constant_graph(values, ("batch", 1, 32, 48), **free)
    assert len(opened(make_model(values, graph=graph)).detect(model_input(3))) == 3


def test_without_tiles_there_are_no_detections(make_model, answers, opened):
    assert len(opened(make_model(answers([BOX]))).detect(model_input(0))) == 0


def test_a_blank_tile_that_fills_up_a_batch_adds_nothing(make_model, answers, opened):
    assert len(opened(make_model(answers([BOX], batch=3))).detect(model_input(1))) == 1


def test_settings_go_over_the_manifest(make_model, answers, opened):
    folder = make_model(answers([BOX, (6.0, 5.0, 16.0, 15.0)], [0.9, 0.4]))
    assert len(opened(folder).detect(model_input())) == 1
    assert len(opened(folder, min_score=0.3).detect(model_input())) == 1, "suppressed by the better one"
    detector = opened(folder, min_score=0.3, nms_iou=0.9, levelling=Levelling.PLANE)
    assert len(detector.detect(model_input())) == 2
    assert detector.manifest.spec.levelling is Levelling.PLANE


def test_the_same_input_gives_the_same_detections(make_model, answers, opened):
    detector = opened(make_model(answers([BOX, OTHER])))
    first, second = detector.detect(model_input(3)), detector.detect(model_input(3))
    assert first.boxes.tobytes() == second.boxes.tobytes()
    assert first.scores.tobytes() == second.scores.tobytes()


@pytest.mark.parametrize(("name", "place"), [("scores", (0, 3)), ("boxes", (0, 0, 2)), ("masks", (0, 0, 3, 3))])
def test_nan_from_the_network_is_a_fault_of_the_frame(make_model, answers, opened, name, place):
    values = answers([BOX])
    values[name][place] = np.nan
    with pytest.raises(FrameError, match="NaN") as caught:
        opened(make_model(values)).detect(model_input())
    assert caught.value.stage == "detect"
    assert caught.value.ref == FrameRef("scan.sxm")


def test_nan_in_an_unused_slot_does_no_harm(make_model, answers, opened):
    values = answers([BOX])
    values["boxes"][0, 3] = np.nan
    values["masks"][0, 3] = np.nan
    assert len(opened(make_model(values)).detect(model_input())) == 1


@pytest.mark.parametrize("number", [-1, 2])
def test_a_class_that_the_manifest_does_not_name_is_a_fault(make_model, answers, opened, number):
    with pytest.raises(FrameError, match="class"):
        opened(make_model(answers([BOX], classes=[number]))).detect(model_input())


def test_full_slots_are_told(make_model, answers, opened, caplog):
    detector = opened(make_model(answers([BOX, OTHER], slots=2), max_detections=2))
    with caplog.at_level(logging.WARNING):
        detector.detect(model_input())
    assert "all 2 slots" in caplog.text


def test_a_network_that_fails_on_a_frame_is_a_fault_of_the_frame(make_model, answers, opened):
    detector = opened(make_model(answers([BOX])))
    with pytest.raises(FrameError, match="the network failed"):
        detector.detect(model_input(rows=16))


def test_a_closed_detector_says_so(make_model, answers, opened):
    detector = opened(make_model(answers([BOX])))
    detector.close()
    with pytest.raises(ValueError, match="closed"):
        detector.detect(model_input())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"input": {"rows": 64, "columns": 48, "nm_per_px": 0.1, "overlap_px": 16}}, r"image has shape .*1, 1, 32, 48"),
        ({"max_detections": 5}, r"boxes has shape .*1, 4, 4.*1, 5, 4"),
    ],
)
def test_a_graph_of_another_shape_is_refused(make_model, answers, changes, said):
    folder = make_model(answers([BOX]), image=(1, 1, 32, 48), **changes)
    with pytest.raises(SetupError, match=said):
        open_detector(ModelSettings(name=str(folder), provider="cpu"))


def test_every_misfit_of_a_graph_is_listed(make_model, answers, constant_graph):
    values = answers([BOX])
    values["classes"] = values["classes"].astype(np.int32)
    values["masks"] = values["masks"][..., :5]
    del values["boxes"]
    graph = constant_graph(values, (1, 1, 32, 48))
    with pytest.raises(SetupError) as caught:
        open_detector(ModelSettings(name=str(make_model(values, graph=graph)), provider="cpu"))
    text = str(caught.value)
    assert "no output called 'boxes'" in text
    assert "classes is of type" in text
    assert "not square" in text


def test_a_file_that_is_no_network_is_refused(make_model, answers, manifest_values, constant_graph):
    class Garbage:
        def SerializeToString(self) -> bytes:
            return b"this is no network"

    folder = make_model(answers([BOX]), graph=Garbage())
    with pytest.raises(SetupError, match="cannot load"):
        open_detector(ModelSettings(name=str(folder), provider="cpu"))


def test_a_provider_that_is_not_there_is_named(make_model, answers, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    folder = make_model(answers([BOX]))
    for provider in ("cuda", "tensorrt"):
        with pytest.raises(SetupError, match=provider):
            open_detector(ModelSettings(name=str(folder), provider=provider))


def test_auto_falls_back_to_the_processor(make_model, answers, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    detector = open_detector(ModelSettings(name=str(make_model(answers([BOX]))), provider="auto"))
    assert len(detector.detect(model_input())) == 1
    detector.close()
