"""How far training is, for people who wait."""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

logger = logging.getLogger(__name__)

WINDOW = 100
"""Steps that the pace is measured over."""
LOG_EVERY = 100
"""Steps between two lines of the log."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far training is.

    Parameters
    ----------
    step, steps : int
        Done, and to be done in all.
    stage : str
        Name of the stage.
    losses : mapping of str to float
        Of the last step; empty after a look.
    look : mapping of str to float or None
        Numbers of a look at the validation pictures, right after it.
    steps_per_s : float
        Over the last steps, looks and checkpoints included; 0 at the start.
    left_s : float or None
        Time left at that pace.
    """

    step: int
    steps: int
    stage: str
    losses: Mapping[str, float]
    look: Mapping[str, float] | None
    steps_per_s: float
    left_s: float | None


OnProgress = Callable[[Progress], None]


class Pace:
    """Measures steps per second.

    Parameters
    ----------
    clock : callable
        Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._marks: deque[tuple[int, float]] = deque(maxlen=WINDOW)
        self.seconds = 0.0

    def start(self, step: int) -> None:
        """The run begins, or goes on, after ``step`` steps."""
        self._marks.append((step, self._clock()))

    def tick(self, step: int) -> None:
        """``step`` steps are done."""
        now = self._clock()
        self.seconds += now - self._marks[-1][1]
        self._marks.append((step, now))

    @property
    def steps_per_s(self) -> float:
        """Over the last steps; 0 where not known."""
        (first, began), (last, ended) = self._marks[0], self._marks[-1]
        return (last - first) / (ended - began) if ended > began else 0.0

    def left_s(self, steps: int) -> float | None:
        """Time that so many steps take, in s; None where not known."""
        return steps / self.steps_per_s if self.steps_per_s > 0 else None


def log_progress(progress: Progress) -> None:
    """Tell the log of every look and of every hundredth step."""
    if progress.look is not None:
        numbers = ", ".join(f"{name} {value:.3f}" for name, value in sorted(progress.look.items()))
        logger.info("step %d: %s", progress.step, numbers)
    elif progress.step % LOG_EVERY == 0 or progress.step == progress.steps:
        logger.info(
            "step %d of %d (%s): loss %.3f, %.2f steps/s, %s left",
            progress.step,
            progress.steps,
            progress.stage,
            progress.losses.get("loss", float("nan")),
            progress.steps_per_s,
            show_time(progress.left_s),
        )


@contextlib.contextmanager
def progress_bar() -> Iterator[OnProgress]:
    """A bar on the terminal, with the loss and the last average precision."""
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # its watching thread would outlive the bar
    bar = tqdm(unit="step", dynamic_ncols=True)
    shown: dict[str, str] = {}

    def tell(progress: Progress) -> None:
        bar.total = progress.steps
        if progress.look is not None:
            shown["AP50"] = f"{progress.look['box_ap50']:.3f}/{progress.look['mask_ap50']:.3f}"
        if "loss" in progress.losses:
            shown["loss"] = f"{progress.losses['loss']:.3f}"
        if not bar.n:
            bar.initial = progress.step - 1
        bar.set_description(progress.stage, refresh=False)
        bar.set_postfix(shown, refresh=False)
        bar.update(progress.step - bar.n)

    try:
        yield tell
    finally:
        bar.close()


def show_time(seconds: float | None) -> str:
    """Hours, minutes and seconds.

    Examples
    --------
    >>> show_time(3725), show_time(59.6), show_time(None)
    ('1 h 02 min', '1 min 00 s', 'unknown time')
    """
    if seconds is None:
        return "unknown time"
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
