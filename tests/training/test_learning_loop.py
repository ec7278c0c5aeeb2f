"""The training loop, on a network of a few weights."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras import layers, ops  # noqa: E402

from spm_live.training.labelled import LabelledMolecule, LabelledPicture  # noqa: E402
from spm_live.training.learning import loop  # noqa: E402
from spm_live.training.learning.average import EVERY, WeightAverage, arrays_of  # noqa: E402
from spm_live.training.learning.feed import FeedError  # noqa: E402
from spm_live.training.learning.learner import Learner, set_trainable  # noqa: E402
from spm_live.training.learning.loop import LearningError, Trained, train  # noqa: E402
from spm_live.training.learning.progress import Progress  # noqa: E402
from spm_live.training.learning.settings import TrainingSettings  # noqa: E402
from spm_live.training.maskrcnn.config import NetworkConfig  # noqa: E402

CONFIG = NetworkConfig(classes=("a",), max_truths=4, max_detections=8)
SIDE = 64


@pytest.fixture(autouse=True)
def _without_graphs() -> Iterator[None]:
    """Tracing would take longer than these few steps."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


class Tiny(keras.Model):  # type: ignore[misc]
    """Learns how bright pictures are; finds a molecule that grows sharper the better it knows."""

    def __init__(self) -> None:
        super().__init__(name="mask_rcnn")
        image = keras.Input((SIDE, SIDE, 1))
        value = layers.Conv2D(2, 3, strides=8, name="conv1", kernel_initializer="ones")(image)
        value = layers.BatchNormalization(name="conv1_bn")(value)
        value = layers.Conv2D(1, 1, name="fpn_p2", kernel_initializer="ones")(value)
        self.trunk = keras.Model(image, value, name="trunk")
        self.noise = keras.random.SeedGenerator(7)
        self.tracker = keras.metrics.Mean(name="mask")
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        value = ops.mean(self.trunk(inputs["image"], training=training), axis=(1, 2, 3))
        return value + 0.01 * keras.random.uniform(ops.shape(value), seed=self.noise)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        loss = ops.mean(ops.square(y_pred - ops.mean(x["image"], axis=(1, 2, 3))))
        self.tracker.update_state(loss)
        return loss

    def detect(self, images: Any) -> dict[str, Any]:
        count = len(images)
        boxes = np.zeros((count, 8, 4), dtype=np.float32)
        boxes[:, 0] = [10, 10, 30, 30]
        scores = np.zeros((count, 8), dtype=np.float32)
        scores[:, 0] = 0.9
        masks = np.ones((count, 8, 28, 28), dtype=np.float32)
        return {"boxes": boxes, "scores": scores, "classes": np.zeros((count, 8), dtype=np.int64), "masks": masks}


def _draw(step: int) -> dict[str, Any]:
    rng = np.random.default_rng((5, step))
    image = rng.random((2, SIDE, SIDE, 1)).astype(np.float32) * rng.random((2, 1, 1, 1)).astype(np.float32)
    empty = {"boxes": np.zeros((2, 4, 4), np.float32), "classes": np.full((2, 4), -1, np.int32)}
    return {"image": image, "masks": np.zeros((2, 4, 56, 56), np.uint8)} | empty


def _picture(shift: float = 0.0) -> LabelledPicture:
    ring = np.array([[10, 10], [30, 10], [30, 30], [10, 30]], dtype=np.float64) + shift
    image = np.random.default_rng(1).random((50, 60)).astype(np.float32)
    return LabelledPicture("p", image, (LabelledMolecule("a", (ring,)),))


def _settings(**changes: Any) -> TrainingSettings:
    given: dict[str, Any] = {
        "rows": SIDE,
        "columns": SIDE,
        "batch": 2,
        "stages": [
            {"name": "heads", "trainable": "heads", "steps": 5, "rate": 0.01},
            {"name": "all", "steps": 11, "rate": 0.02},
        ],
        "warm_up": 2,
        "average": 0.9,
        "weight_decay": 0.01,
        "checkpoint_every": 4,
        "checkpoint_minutes": 1e6,
        "validation": {"every": 6},
        "workers": 1,
    }
    return TrainingSettings.model_validate(given | changes)


def _train(work: Path, *, validation: tuple[LabelledPicture, ...] = (), **changes: Any) -> Trained:
    told = changes.pop("on_progress", lambda progress: None)
    draw = changes.pop("draw", _draw)
    keras.utils.set_random_seed(1)
    return train(_settings(**changes), (), validation, work, model=Tiny(), config=CONFIG, on_progress=told, draw=draw)


def _weights(trained: Trained) -> list[Any]:
    return arrays_of(trained.model.variables)


def _stop_after(step: int, how: Callable[[], None]) -> Callable[[Progress], None]:
    def tell(progress: Progress) -> None:
        if progress.step == step and progress.look is None:
            how()

    return tell


def _interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def _terminate() -> None:
    signal.raise_signal(signal.SIGTERM)


class _KilledError(Exception):
    pass


def _kill() -> None:
    raise _KilledError


def test_training_lowers_the_loss_and_writes_its_log(tmp_path: Path) -> None:
    trained = _train(tmp_path, stages=[{"name": "all", "steps": 60, "rate": 0.05}])
    assert (trained.ending, trained.steps, trained.best_step) == ("finished", 60, 60)
    losses = [row["loss"] for row in trained.rows]
    assert losses[-1] < 0.05 * losses[0]
    assert (tmp_path / "steps.csv").read_text(encoding="utf-8").startswith("step,rate,steps_per_s,loss")
    if keras.backend.backend() == "tensorflow":
        assert list((tmp_path / "tensorboard").glob("events*"))


@pytest.mark.parametrize(("step", "how"), [(5, _interrupt), (6, _interrupt), (9, _kill)])
def test_a_run_that_was_broken_off_ends_as_one_that_was_not(tmp_path: Path, step: int, how: Callable[[], None]) -> None:
    whole = _train(tmp_path / "whole", validation=(_picture(),))
    parts = tmp_path / "parts"
    try:
        first = _train(parts, validation=(_picture(),), on_progress=_stop_after(step, how))
        assert (first.ending, first.steps) == ("asked", step)
    except _KilledError:
        assert how is _kill
    second = _train(parts, validation=(_picture(),))
    assert second.steps == whole.steps == 16
    for one, other in zip(_weights(whole), _weights(second), strict=True):
        assert np.array_equal(one, other)
    assert [row["step"] for row in second.looks] == [row["step"] for row in whole.looks] == [6, 12, 16]
    assert [row["loss"] for row in second.looks] == [row["loss"] for row in whole.looks]


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    one, other = _train(tmp_path / "one", workers=0), _train(tmp_path / "other", workers=3)
    for first, second in zip(_weights(one), _weights(other), strict=True):
        assert np.array_equal(first, second)


@pytest.mark.parametrize("how", [_interrupt, _terminate])
def test_asked_to_end_it_returns_the_best_so_far(tmp_path: Path, how: Callable[[], None]) -> None:
    trained = _train(tmp_path, validation=(_picture(),), on_progress=_stop_after(8, how))
    assert (trained.ending, trained.steps, trained.best_step) == ("asked", 8, 6)
    assert trained.looks[0]["box_ap50"] == pytest.approx(1)


def test_it_ends_when_nothing_gets_better_and_gives_the_weights_of_the_best(tmp_path: Path) -> None:
    trained = _train(tmp_path / "impatient", validation=(_picture(),))
    assert (trained.ending, trained.best_step) == ("finished", 16)  # every look gives the same: the last is the best
    patient = _settings(validation={"every": 2, "patience": 3})
    keras.utils.set_random_seed(1)
    ended = train(patient, (), (_picture(),), tmp_path / "patient", model=Tiny(), config=CONFIG, draw=_draw)
    assert (ended.ending, ended.steps, ended.best_step) == ("no gain", 8, 8)
    keras.utils.set_random_seed(1)
    again = train(patient, (), (_picture(),), tmp_path / "patient", model=Tiny(), config=CONFIG, draw=_draw)
    assert (again.ending, again.steps) == ("no gain", 8)


def test_the_weights_of_the_best_look_are_the_averaged_ones_of_its_step(tmp_path: Path) -> None:
    full = _train(tmp_path / "full", validation=(_picture(),), on_progress=_stop_after(9, _interrupt))
    short = _train(tmp_path / "short", on_progress=_stop_after(6, _interrupt))
    for one, other in zip(arrays_of(full.model.weights), arrays_of(short.model.weights), strict=True):
        assert np.array_equal(one, other)


def test_a_damaged_checkpoint_costs_steps_but_not_the_result(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = _train(tmp_path / "whole")
    _train(tmp_path / "cut", on_progress=_stop_after(10, _interrupt))
    last = sorted((tmp_path / "cut" / "checkpoints").glob("*.npz"))[-1]
    last.write_bytes(last.read_bytes()[:-99])
    with caplog.at_level(logging.INFO):
        again = _train(tmp_path / "cut")
    assert f"{last.stem} is damaged" in caplog.text
    assert "going on from step 8" in caplog.text
    for one, other in zip(_weights(whole), _weights(again), strict=True):
        assert np.array_equal(one, other)


def test_a_run_with_other_settings_or_pictures_is_not_gone_on_with(tmp_path: Path) -> None:
    _train(tmp_path, validation=(_picture(),), on_progress=_stop_after(4, _interrupt))
    with pytest.raises(loop.SetupError, match="other batch, pictures"):
        _train(tmp_path, validation=(_picture(1.0),), batch=3)
    _train(tmp_path, validation=(_picture(),), name="other-name", workers=2)


def test_a_loss_that_is_no_number_ends_it_and_the_last_good_weights_are_kept(tmp_path: Path) -> None:
    def draw(step: int) -> dict[str, Any]:
        batch = _draw(step)
        if step == 9:
            batch["image"][:] = np.nan
        return batch

    with pytest.raises(LearningError, match=r"at step 9 .*2026, 1, 9.*last-good\.npz holds the weights of step 8"):
        _train(tmp_path, draw=draw)
    with np.load(tmp_path / "last-good.npz", allow_pickle=False) as kept:
        assert all(np.isfinite(kept[name]).all() for name in kept.files)
    assert sorted(path.stem for path in (tmp_path / "checkpoints").glob("*.npz"))[-1].endswith("8")


def test_a_picture_that_cannot_be_made_is_told_with_its_step(tmp_path: Path) -> None:
    def draw(step: int) -> dict[str, Any]:
        if step == 2:
            raise ValueError("no molecule")
        return _draw(step)

    with pytest.raises(FeedError, match="step 2"):
        _train(tmp_path, draw=draw)


def test_a_full_disk_costs_checkpoints_but_not_what_was_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(folder: Path, checkpoint: object) -> Path:
        raise OSError(28, "No space left on device")

    whole = _train(tmp_path / "whole", validation=(_picture(),))
    monkeypatch.setattr(loop, "save_checkpoint", full)
    cramped = _train(tmp_path / "cramped", validation=(_picture(),))
    assert "checkpoints of step 4 not written" in caplog.text
    assert cramped.ending == "finished"
    for one, other in zip(arrays_of(whole.model.weights), arrays_of(cramped.model.weights), strict=True):
        assert np.array_equal(one, other)


def test_the_average_is_what_its_formula_says_and_comes_back() -> None:
    model = Tiny()
    average = WeightAverage(model, 0.9)
    kernel = model.trunk.get_layer("conv1").kernel
    mean = 1.0
    for step in range(6 * EVERY):
        kernel.assign(ops.full(kernel.shape, float(step)))
        average.update(step)
        if (step + 1) % EVERY == 0:
            updates = step // EVERY
            kept = min(0.9**EVERY, (1 + updates) / (10 + updates))
            mean = kept * mean + (1 - kept) * step
    with average.in_place():
        assert np.allclose(arrays_of([kernel])[0], mean, rtol=1e-5)
    assert np.allclose(arrays_of([kernel])[0], 6 * EVERY - 1)


def test_with_heads_the_backbone_and_its_statistics_stand_still() -> None:
    model = Tiny()
    learner = Learner(model, _settings())
    learner.enter(0)
    assert [one.path.split("/")[-2] for one in model.trainable_variables] == ["fpn_p2", "fpn_p2"]
    norm = model.trunk.get_layer("conv1_bn")
    before = arrays_of([norm.moving_mean])[0]
    learner.learn(0, _draw(0), 0.1)
    assert np.array_equal(before, arrays_of([norm.moving_mean])[0])
    learner.enter(1)
    learner.learn(5, _draw(5), 0.1)
    assert not np.array_equal(before, arrays_of([norm.moving_mean])[0])
    set_trainable(model, "all")
    assert len(model.trainable_variables) == 6


def test_decay_pulls_at_kernels_alone() -> None:
    model = Tiny()
    learner = Learner(model, _settings(weight_decay=0.5, stages=[{"name": "all", "steps": 5, "rate": 0.01}]))
    learner.enter(0)
    decayed = [one.path.split("/")[-1] for one in model.trainable_variables if model.optimizer._use_weight_decay(one)]
    assert set(decayed) == {"kernel"}
