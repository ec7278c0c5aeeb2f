"""Which stage a step belongs to, and how fast is learnt in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from spm_live.training.learning.settings import Stage, TrainingSettings


def stage_of(step: int, stages: Sequence[Stage]) -> tuple[int, int]:
    """Find the stage of a step.

    Parameters
    ----------
    step : int
        From 0; the last stage also has the steps beyond its end.
    stages : sequence of Stage
        At least one.

    Returns
    -------
    stage : int
        Its number, from 0.
    start : int
        Its first step.

    Examples
    --------
    >>> two = [Stage(name="a", steps=3, rate=0.1), Stage(name="b", steps=5, rate=0.1)]
    >>> stage_of(2, two), stage_of(3, two), stage_of(99, two)
    ((0, 0), (1, 3), (1, 3))
    """
    ends = list(accumulate(stage.steps for stage in stages))
    number = next((place for place, end in enumerate(ends) if step < end), len(ends) - 1)
    return number, ends[number] - stages[number].steps


def rate_at(step: int, settings: TrainingSettings) -> float:
    """Learning rate of a step.

    Rises linearly over the first steps of every stage, in which the optimiser knows no gradients yet, and falls as a
    half cosine over the whole run (Loshchilov & Hutter 2016, arXiv:1608.03983, without restarts).

    Returns
    -------
    float
        Above 0 and at most the rate of the stage.
    """
    number, start = stage_of(step, settings.stages)
    stage = settings.stages[number]
    warm_up = min(settings.warm_up, stage.steps // 5)
    risen = min(1.0, (step - start + 1) / (warm_up + 1))
    if settings.falling == "none":
        return stage.rate * risen
    done = min(1.0, step / settings.steps)
    fallen = settings.last_rate + (1 - settings.last_rate) * (1 + math.cos(math.pi * done)) / 2
    return max(stage.rate * risen * fallen, stage.rate * 1e-6)
