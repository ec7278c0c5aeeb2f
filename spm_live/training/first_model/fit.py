"""Fitting the network of the first model to drawn scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spm_live.domain import InputSpec
from spm_live.training.first_model.examples import Recipe, batch
from spm_live.training.first_model.loss import MapLoss
from spm_live.training.first_model.network import Weights, build_keras, folded_weights

SETTLING_BATCHES = 100
"""Batches that the normalisations are averaged over after training."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to learn.

    Parameters
    ----------
    steps : int
        Batches in all.
    batch : int
        Examples a batch.
    rate : float
        Highest learning rate; reached after a tenth of the steps (300 at most), then falling as a cosine to almost 0.
    decay : float
        Weight decay of AdamW (Loshchilov & Hutter 2017, arXiv:1711.05101).
    steps_per_epoch : int
        Steps between two checkpoints.
    seed : int
        Of the weights, and of every batch.
    """

    steps: int = 2200
    batch: int = 8
    rate: float = 3e-3
    decay: float = 1e-4
    steps_per_epoch: int = 100
    seed: int = 2026

    @property
    def epochs(self) -> int:
        """Number of checkpoints."""
        return -(-self.steps // self.steps_per_epoch)


def fit(classes: int, spec: InputSpec, recipe: Recipe, schedule: Schedule, work: Path) -> dict[str, Weights]:
    """Train from random weights, or go on from the last checkpoint in ``work``.

    Parameters
    ----------
    classes : int
        Number of classes.
    spec : InputSpec
        What the model will be shown.
    recipe : Recipe
        What to draw.
    schedule : Schedule
        How long to learn.
    work : Path
        Folder of this run: ``log.csv``, checkpoints, and at the end ``last.weights.h5``.

    Returns
    -------
    dict of str to Weights
        Folded, ready to be exported.
    """
    import keras

    keras.utils.set_random_seed(schedule.seed)
    work.mkdir(parents=True, exist_ok=True)
    model = build_keras(classes)
    loss = MapLoss(classes)
    rate = keras.optimizers.schedules.CosineDecay(
        schedule.rate / 20,
        decay_steps=schedule.steps,
        alpha=0.01,
        warmup_target=schedule.rate,
        warmup_steps=min(300, schedule.steps // 10),
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=schedule.decay, clipnorm=5.0)
    model.compile(optimizer, loss=loss, metrics=[loss.heat, loss.box, loss.on, loss.way])
    batches = _batches(spec, recipe, schedule)
    model.fit(
        batches,
        epochs=schedule.epochs,
        verbose=2,
        shuffle=False,
        callbacks=[
            # After a restart the first epoch is not epoch 0, and its pictures must not be those of epoch 0 again.
            keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: batches.turn_to(epoch)),
            keras.callbacks.BackupAndRestore(str(work / "backup"), delete_checkpoint=False),
            keras.callbacks.CSVLogger(str(work / "log.csv"), append=True),
            keras.callbacks.ModelCheckpoint(str(work / "last.weights.h5"), save_weights_only=True),
        ],
    )
    _settle(model, [batches[index] for index in range(min(SETTLING_BATCHES, schedule.steps_per_epoch))])
    return folded_weights(model, classes)


def _settle(model: Any, batches: Sequence[Any]) -> None:
    """Average what the normalisations measure over many batches, evenly.

    While the network learns they follow the last batches only, and the batches differ; the classes of look-alikes then
    hang on which batch came last (Wu & Johnson 2021, arXiv:2105.07576, section 3).
    """
    import keras

    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for number, (pictures, _) in enumerate(batches):
        for norm in norms:
            norm.momentum = number / (number + 1)
        model(pictures, training=True)


def _batches(spec: InputSpec, recipe: Recipe, schedule: Schedule) -> Any:
    import keras

    class Batches(keras.utils.PyDataset):  # type: ignore[misc]
        """Every batch of the run once, drawn when it is asked for."""

        def __init__(self) -> None:
            # Threads beyond one would only fight over the cores that the network needs.
            super().__init__(workers=1, max_queue_size=4)
            self._epoch = 0

        def __len__(self) -> int:
            return schedule.steps_per_epoch

        def __getitem__(self, index: int) -> Any:
            return batch((schedule.seed, self._epoch, index), schedule.batch, recipe, spec)

        def turn_to(self, epoch: int) -> None:
            self._epoch = epoch

    return Batches()
