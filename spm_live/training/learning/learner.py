"""A network that learns: the model, its optimiser and the average of its weights, as one state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spm_live.errors import SetupError
from spm_live.training.learning.average import WeightAverage, arrays_of
from spm_live.training.learning.settings import TrainingSettings

PYRAMID = "fpn_"
"""Beginning of the names of the trunk's layers that are no backbone: as matterport has it, the pyramid is a head."""


class Learner:
    """Does one step after the other.

    Parameters
    ----------
    model : keras.Model
        Built, with ``compute_loss`` and losses by name as metrics, as
        :class:`spm_live.training.maskrcnn.model.MaskRCNN`.
    settings : TrainingSettings
        What concerns the optimiser and the average.
    """

    def __init__(self, model: Any, settings: TrainingSettings) -> None:
        self.model = model
        self._settings = settings
        self._stage = -1
        self.average = WeightAverage(model, settings.average)

    def enter(self, stage: int) -> None:
        """Begin a stage: its layers learn, with an optimiser that remembers nothing."""
        if stage == self._stage:
            return
        set_trainable(self.model, self._settings.stages[stage].trainable)
        optimizer = _optimizer(self.model, self._settings)
        self.model.compile(optimizer=optimizer, jit_compile=self._settings.compiled)
        optimizer.build(self.model.trainable_variables)
        self._stage = stage

    def learn(self, step: int, batch: Mapping[str, NDArray[Any]], rate: float) -> dict[str, float]:
        """Do one step.

        Parameters
        ----------
        step : int
            From 0.
        batch : mapping of str to array
            As :func:`spm_live.training.maskrcnn.batch.encode` makes it.
        rate : float
            Learning rate.

        Returns
        -------
        dict of str to float
            Losses by name; ``loss`` is their sum. Where one is not finite the average did not take the step in.
        """
        self.model.optimizer.learning_rate = rate
        values = self.model.train_on_batch(dict(batch), return_dict=True)
        losses = {name: float(value) for name, value in values.items()}
        if all(np.isfinite(value) for value in losses.values()):
            self.average.update(step)
        return losses

    def judge(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, float]:
        """Losses of a batch, without learning from it."""
        values = self.model.test_on_batch(dict(batch), return_dict=True)
        return {name: float(value) for name, value in values.items()}

    @contextlib.contextmanager
    def averaged(self) -> Iterator[Any]:
        """The model with the averaged weights, for a while."""
        with self.average.in_place():
            yield self.model

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Everything that the next step hangs on, as notes and arrays."""
        arrays = _numbered("model", arrays_of(self.model.variables))
        arrays |= _numbered("optimizer", arrays_of(self.model.optimizer.variables))
        arrays |= _numbered("average", self.average.state())
        return {"stage": self._stage, "updates": self.average.updates}, arrays

    def restore(self, notes: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take up a state again.

        Raises
        ------
        SetupError
            If it belongs to another network or optimiser.
        """
        self.enter(int(notes["stage"]))
        _assign(self.model.variables, arrays, "model")
        _assign(self.model.optimizer.variables, arrays, "optimizer")
        average = [arrays[name] for name in sorted(arrays) if name.startswith("average/")]
        if len(average) != len(self.average.state()):
            raise SetupError("the checkpoint has another kind of average; train into another work folder")
        self.average.restore(average, int(notes["updates"]))


def set_trainable(model: Any, which: Literal["heads", "all"]) -> None:
    """Say which layers learn.

    Parameters
    ----------
    model : keras.Model
    which : "heads" or "all"
        With ``heads`` the backbone stands still, the statistics of its normalisations included.
    """
    for layer in model.trunk.layers:
        layer.trainable = which == "all" or layer.name.startswith(PYRAMID)


def _optimizer(model: Any, settings: TrainingSettings) -> Any:
    import keras

    optimizer = keras.optimizers.AdamW(
        learning_rate=settings.stages[0].rate,
        weight_decay=settings.weight_decay,
        global_clipnorm=settings.clip or None,
    )
    # Decay pulls towards 0, which means something for kernels alone.
    optimizer.exclude_from_weight_decay(var_list=[one for one in model.trainable_variables if len(one.shape) < 2])
    return optimizer


def _numbered(kind: str, values: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{kind}/{number:05d}": value for number, value in enumerate(values)}


def _assign(variables: Sequence[Any], arrays: Mapping[str, NDArray[Any]], kind: str) -> None:
    values = [arrays[name] for name in sorted(arrays) if name.startswith(f"{kind}/")]
    shapes = [tuple(one.shape) for one in variables]
    if shapes != [value.shape for value in values]:
        raise SetupError(f"the checkpoint's {kind} is of another shape; train into another work folder")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
