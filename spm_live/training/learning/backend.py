"""What is set in Keras and its backend before a network is built."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from spm_live.errors import SetupError
from spm_live.training.learning.settings import TrainingSettings

logger = logging.getLogger(__name__)


def require_keras() -> str:
    """Name the backend.

    Raises
    ------
    SetupError
        If Keras, or its backend, is not installed.
    """
    try:
        import keras
    except ImportError as error:
        raise SetupError(
            f'training needs Keras, which cannot be loaded ({error}); install it with: pip install "spm-live[train]"'
        ) from error
    return str(keras.backend.backend())


@contextlib.contextmanager
def prepared_backend(settings: TrainingSettings) -> Iterator[None]:
    """Set precision, threads, determinism and the seed; the precision is put back afterwards."""
    backend = require_keras()
    import keras

    _threads(backend, settings.threads)
    if settings.deterministic:
        _determinism(backend)
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(settings.precision)
    keras.utils.set_random_seed(settings.seed)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def _threads(backend: str, threads: int) -> None:
    if not threads:
        return
    if backend == "tensorflow":
        import tensorflow as tf

        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(min(threads, 2))
        except RuntimeError:
            logger.warning("threads = %d comes too late: TensorFlow has already started in this process", threads)
    elif backend == "torch":
        import torch

        torch.set_num_threads(threads)
    else:
        logger.warning("threads = %d has no effect with the backend %s", threads, backend)


def _determinism(backend: str) -> None:
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif backend == "torch":
        import torch

        torch.use_deterministic_algorithms(True)
