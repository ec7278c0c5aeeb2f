"""From the network's description to a finished model folder."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from spm_live.detect import load_manifest, open_detector
from spm_live.domain import InputSpec
from spm_live.pipeline import process
from spm_live.settings import ModelSettings
from spm_live.training.first_model.examples import Recipe, frame_of
from spm_live.training.first_model.export import MASK, MOLECULES, export_onnx
from spm_live.training.first_model.fit import Schedule
from spm_live.training.first_model.make import SPEC, instrument_scans, main, varied_scans, write_model
from spm_live.training.first_model.network import Weights, layers, output_channels
from spm_live_drivers.synthetic import MOLECULE_CLASSES, draw_scan

CLASSES = len(MOLECULE_CLASSES)
needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed (pip install spm-live[train])"
)


def random_weights(seed: int) -> dict[str, Weights]:
    """Weights of an untrained network that calls nothing a molecule."""
    rng = np.random.default_rng(seed)
    channels = {"image": 1}
    weights = {}
    for layer in layers(CLASSES):
        if layer.kind == "conv":
            inputs = channels[layer.inputs[0]]
            scale = np.sqrt(2 / (layer.kernel**2 * inputs)) * (0.1 if layer.name == "raw" else 1)
            kernel = rng.normal(0, scale, (layer.kernel, layer.kernel, inputs, layer.channels)).astype(np.float32)
            bias = np.full(layer.channels, -6.0 if layer.name == "raw" else 0.01, dtype=np.float32)
            weights[layer.name] = Weights(kernel, bias)
            channels[layer.name] = layer.channels
        else:
            channels[layer.name] = channels[layer.inputs[-1]]
    return weights


def slow_network(weights: dict[str, Weights], image: np.ndarray) -> np.ndarray:
    """The network's description in loops over kernel points, in float64."""
    values = {"image": image[None].astype(np.float64)}
    for layer in layers(CLASSES):
        read = [values[name] for name in layer.inputs]
        if layer.kind == "up":
            value = read[0].repeat(2, axis=1).repeat(2, axis=2)
        elif layer.kind == "add":
            value = read[0] + read[1]
        else:
            kernel, bias = weights[layer.name].kernel.astype(np.float64), weights[layer.name].bias
            before = (layer.kernel - layer.stride) // 2
            after = layer.kernel - layer.stride - before
            padded = np.pad(read[0], ((0, 0), (before, after), (before, after)))
            rows, columns = (size // layer.stride for size in read[0].shape[1:])
            value = np.tile(bias.astype(np.float64)[:, None, None], (1, rows, columns))
            for i, j in np.ndindex(layer.kernel, layer.kernel):
                part = padded[
                    :, i : i + rows * layer.stride : layer.stride, j : j + columns * layer.stride : layer.stride
                ]
                value += np.einsum("irc,io->orc", part, kernel[i, j])
        values[layer.name] = np.maximum(value, 0) if layer.active and layer.kind != "up" else value
    return values["raw"]


def raw_of(content: bytes, image: np.ndarray) -> np.ndarray:
    model = onnx.load_from_string(content)
    model.graph.output.append(onnx.helper.make_tensor_value_info("raw", onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(["raw"], {"image": image})[0])


def test_the_exported_network_computes_what_its_description_says() -> None:
    weights = random_weights(1)
    image = np.random.default_rng(2).random((2, 1, 48, 64), dtype=np.float32)
    raw = raw_of(export_onnx(weights, CLASSES, 48, 64), image)
    assert raw.shape == (2, output_channels(CLASSES), 24, 32)
    for picture in (0, 1):
        np.testing.assert_allclose(raw[picture], slow_network(weights, image[picture, 0]), atol=2e-5)


def test_the_exported_network_keeps_the_contract_for_any_number_of_pictures() -> None:
    session = onnxruntime.InferenceSession(export_onnx(random_weights(3), CLASSES, 64, 96))
    for count in (1, 3):
        image = np.zeros((count, 1, 64, 96), dtype=np.float32)
        boxes, scores, classes, masks = session.run(["boxes", "scores", "classes", "masks"], {"image": image})
        assert boxes.shape == (count, MOLECULES, 4)
        assert scores.shape == classes.shape == (count, MOLECULES)
        assert masks.shape == (count, MOLECULES, MASK, MASK)
        assert (boxes.dtype, scores.dtype, classes.dtype) == (np.float32, np.float32, np.int64)
        assert (np.diff(scores, axis=1) <= 0).all()
        assert all(np.isfinite(values).all() for values in (boxes, scores, masks))


def test_a_tile_that_does_not_suit_the_network_is_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        export_onnx(random_weights(0), CLASSES, 64, 100)


def test_a_written_model_loads_and_runs_and_has_its_papers(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_model(folder, random_weights(4), "the command", Schedule(steps=10), 2)
    manifest = load_manifest(folder)
    assert manifest.classes == MOLECULE_CLASSES
    assert manifest.spec == SPEC
    assert (folder / "synthetic-small.onnx").stat().st_size < 4e6
    assert manifest.metrics["varied_recall"] == 0
    text = (folder / "card.md").read_text(encoding="utf-8")
    assert all(
        part in text for part in ("the command", manifest.sha256, "| recall | 0.000 | 0.000 |", "What it is not for")
    )
    detector = open_detector(ModelSettings(name=str(folder), provider="cpu", threads=1))
    try:
        assert process(frame_of(draw_scan(1, size_nm=20.0)), detector).total == 0
    finally:
        detector.close()


def test_the_scans_to_measure_on_are_the_same_every_time_and_differ_from_each_other() -> None:
    for draw in (lambda: list(instrument_scans(2)), lambda: list(varied_scans(3, 2))):
        first, again = draw(), draw()
        assert [scan.heights.tobytes() for scan in first] == [scan.heights.tobytes() for scan in again]
        assert first[0].heights.tobytes() != first[1].heights.tobytes()


@needs_tensorflow
def test_keras_and_the_exported_network_agree() -> None:
    from spm_live.training.first_model.network import build_keras, folded_weights

    model = build_keras(CLASSES)
    rng = np.random.default_rng(5)
    # A fresh normalisation is all ones and zeros, which would hide a wrong folding.
    model.set_weights(
        [value + rng.normal(0, 0.05, value.shape).astype(np.float32) ** 2 for value in model.get_weights()]
    )
    image = rng.random((2, 1, 64, 96), dtype=np.float32)
    ours = raw_of(export_onnx(folded_weights(model, CLASSES), CLASSES, 64, 96), image)
    theirs = np.asarray(model(image.transpose(0, 2, 3, 1), training=False)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@needs_tensorflow
def test_the_loss_is_least_for_the_right_answer() -> None:
    from spm_live.training.first_model.loss import MapLoss

    rng = np.random.default_rng(6)
    wanted = np.zeros((1, 16, 16, CLASSES + 9), dtype=np.float32)
    wanted[0, 5, 6, 1] = 1
    wanted[..., CLASSES] = 1
    wanted[0, 5, 6, CLASSES + 1 : CLASSES + 5] = 0.7
    wanted[0, 5, 6, CLASSES + 5] = 1
    wanted[0, 4:7, 5:8, -3] = 1
    right = np.zeros((1, 16, 16, CLASSES + 7), dtype=np.float32)
    right[..., :CLASSES], right[..., -3] = -8, -8
    right[0, 5, 6, 1], right[0, 4:7, 5:8, -3] = 8, 8
    right[..., CLASSES : CLASSES + 4] = np.log(np.expm1(0.7))
    loss = MapLoss(CLASSES)
    least = float(loss(wanted, right))
    assert least < 0.05
    for _ in range(20):
        assert float(loss(wanted, right + rng.normal(0, 1, right.shape).astype(np.float32))) > least


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_training_makes_the_loss_fall_and_goes_on_where_it_was_broken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spm_live.training import fit as fitting

    drawn: list[tuple[int, ...]] = []
    draw = fitting.batch

    def noted(seed: tuple[int, ...], size: int, recipe: Recipe, spec: InputSpec) -> object:
        drawn.append(seed)
        return draw(seed, size, recipe, spec)

    monkeypatch.setattr(fitting, "batch", noted)
    whole = Schedule(steps=40, batch=4, steps_per_epoch=10, seed=1)
    fitting.fit(CLASSES, SPEC, Recipe(crop=96), replace(whole, steps=20), tmp_path)
    fitting.fit(CLASSES, SPEC, Recipe(crop=96), whole, tmp_path)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    epochs = [line.split(",") for line in lines if line[0].isdigit()]
    assert [epoch[0] for epoch in epochs] == ["0", "1", "2", "3"]
    column = lines[0].split(",").index("loss")
    assert float(epochs[-1][column]) < float(epochs[0][column])
    assert set(drawn) == {(1, epoch, step) for epoch in range(4) for step in range(10)}


def test_the_command_asks_for_a_folder_to_work_in(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "--work" in capsys.readouterr().err


def test_the_description_of_the_network_is_one_that_can_be_built() -> None:
    known = {"image"}
    for layer in layers(CLASSES):
        assert set(layer.inputs) <= known
        assert layer.name not in known
        known.add(layer.name)
    assert layers(CLASSES)[-1].name == "raw"
