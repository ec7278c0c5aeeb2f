"""Measures what a training step costs: ``python -m spm_live.training.learning.step_cost --batch 4 --side 256``."""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spm_live.training.learning.backend import prepared_backend
from spm_live.training.learning.learner import Learner
from spm_live.training.learning.settings import training_settings_from
from spm_live.training.maskrcnn.batch import EMPTY, SMALL_MASK
from spm_live.training.maskrcnn.config import NetworkConfig

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StepCost:
    """What a step costs.

    Parameters
    ----------
    wall_s, process_s : float
        Median time of a step after the first, and processor time of all threads in it.
    peak_mb : float or None
        Greatest memory of the process so far; None where the system does not tell.
    weights : int
        Numbers that the network holds.
    """

    wall_s: float
    process_s: float
    peak_mb: float | None
    weights: int


def measure_step(values: dict[str, Any], steps: int = 5) -> StepCost:
    """Learn from pictures of noise with six molecules each.

    Parameters
    ----------
    values : mapping
        Training settings.
    steps : int
        Steps after the first, which builds the graph.
    """
    settings = training_settings_from(values)
    config = settings.network_config(("a", "b"))
    with prepared_backend(settings):
        from spm_live.training.maskrcnn.model import build

        model = build(config, settings.seed)
        learner = Learner(model, settings)
        learner.enter(0)
        batch = _batch(settings.batch, (settings.rows, settings.columns), config)
        times = []
        for step in range(steps + 1):
            began = time.perf_counter(), time.process_time()
            learner.learn(step, batch, 1e-5)
            times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    wall, process = (statistics.median(values) for values in zip(*times[1:], strict=True))
    weights = sum(int(np.prod(one.shape)) for one in model.weights)
    return StepCost(wall, process, _peak_mb(), weights)


def _batch(count: int, shape: tuple[int, int], config: NetworkConfig) -> dict[str, Any]:
    boxes = np.zeros((count, config.max_truths, 4), dtype=np.float32)
    classes = np.full((count, config.max_truths), EMPTY, dtype=np.int32)
    for place in range(min(6, config.max_truths)):
        boxes[:, place] = [10 + 12 * place, 10, 50 + 12 * place, 50]
        classes[:, place] = place % 2
    image = np.random.default_rng(0).random((count, *shape, 1)).astype(np.float32)
    masks = np.ones((count, config.max_truths, SMALL_MASK, SMALL_MASK), dtype=np.uint8)
    return {"image": image, "boxes": boxes, "classes": classes, "masks": masks}


def _peak_mb() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024) if sys.platform == "darwin" else peak / 1024


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", choices=("light", "resnet50"), default="light")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--side", type=int, default=256, help="rows and columns of a picture")
    parser.add_argument("--precision", choices=("float32", "mixed_bfloat16"), default="float32")
    parser.add_argument("--compiled", action="store_true", help="let XLA compile the step")
    parser.add_argument("--steps", type=int, default=5)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    values = {"batch": given.batch, "rows": given.side, "columns": given.side, "precision": given.precision}
    values |= {"compiled": given.compiled, "network": {"backbone": given.backbone}}
    logger.info("%s", measure_step(values, given.steps))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
