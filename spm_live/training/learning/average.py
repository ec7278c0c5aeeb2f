"""A moving average of the weights: what is judged and exported."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

EVERY = 4
"""Steps between two updates: hundreds of small additions would cost as much as a step of a small network."""


class WeightAverage:
    """Exponential moving average of every weight, statistics of normalisations included.

    The momentum starts low and rises to the one given, min(m, (1 + t) / (10 + t)) after t updates, so that random
    initial weights are soon forgotten (as ``tf.train.ExponentialMovingAverage`` does with ``num_updates``).

    Parameters
    ----------
    model : keras.Model
        Built. Its optimiser's variables and seeds take no part.
    momentum : float
        A step; 0 for no average: then the weights themselves are used.
    """

    def __init__(self, model: Any, momentum: float) -> None:
        self._weights = [one for one in model.weights if "float" in str(one.dtype)]
        self._momentum = momentum
        self.updates = 0
        self._mean: list[Any] = []
        self.restart()

    def restart(self) -> None:
        """Forget: the average is what the weights are now."""
        self.updates = 0
        self._mean = [_apart(one) for one in self._weights] if self._momentum else []

    def update(self, step: int) -> None:
        """Take in the weights after step ``step`` (from 0)."""
        if not self._momentum or (step + 1) % EVERY:
            return
        kept = min(self._momentum**EVERY, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        self._mean = [
            mean + (_value(weight) - mean) * (1 - kept) for mean, weight in zip(self._mean, self._weights, strict=True)
        ]

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model hold the average for a while."""
        if not self._momentum:
            yield
            return
        own = arrays_of(self._weights)
        self.put()
        try:
            yield
        finally:
            for weight, value in zip(self._weights, own, strict=True):
                weight.assign(value)

    def put(self) -> None:
        """Let the model hold the average from now on."""
        for weight, value in zip(self._weights, self._mean, strict=False):
            weight.assign(value)

    def state(self) -> list[NDArray[Any]]:
        """The average, as arrays."""
        from keras import ops

        return [np.asarray(ops.convert_to_numpy(one)) for one in self._mean]

    def restore(self, state: Sequence[NDArray[Any]], updates: int) -> None:
        """Take up a state again."""
        from keras import ops

        self._mean = [ops.convert_to_tensor(one) for one in state]
        self.updates = updates


def arrays_of(variables: Sequence[Any]) -> list[NDArray[Any]]:
    """Copies of variables as arrays."""
    from keras import ops

    # Read first: NumPy warns of what Keras' variables do when they are converted themselves.
    return [np.array(ops.convert_to_numpy(_value(one))) for one in variables]


def _value(variable: Any) -> Any:
    from keras import ops

    return ops.stop_gradient(ops.convert_to_tensor(variable))


def _apart(variable: Any) -> Any:
    from keras import ops

    return ops.stop_gradient(ops.copy(ops.convert_to_tensor(variable)))
