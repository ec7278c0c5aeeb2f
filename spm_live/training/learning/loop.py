"""The training loop."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spm_live.errors import SetupError
from spm_live.training.labelled import LabelledPicture
from spm_live.training.learning.average import arrays_of
from spm_live.training.learning.checkpoint import Checkpoint, load_checkpoint, remove_after, save_checkpoint
from spm_live.training.learning.drawing import batch_draw
from spm_live.training.learning.feed import Draw, Feed
from spm_live.training.learning.learner import Learner
from spm_live.training.learning.progress import OnProgress, Pace, Progress
from spm_live.training.learning.run_log import Row, RunLog
from spm_live.training.learning.schedule import rate_at, stage_of
from spm_live.training.learning.settings import TrainingSettings
from spm_live.training.learning.stopping import Best, StopRequest
from spm_live.training.learning.validate import LOOKS, detector_for, judge_pictures, loss_batches, summary
from spm_live.training.maskrcnn.config import NetworkConfig
from spm_live.training.maskrcnn.model import LOSSES

logger = logging.getLogger(__name__)

LOG_EVERY = 10
"""Steps that a row of the log is the mean of."""
FREE_TO_CHANGE = {
    "name", "version", "license", "purpose", "workers", "worker_kind", "ahead", "threads", "checkpoint_every",
    "checkpoint_minutes",
}  # fmt: skip
"""Settings that change nothing about what is learnt: a run may go on with others."""

Ending = Literal["finished", "no gain", "asked"]


class LearningError(SetupError):
    """Training cannot go on; the sentence says at which step, and where the last good weights are."""


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What came of it.

    Parameters
    ----------
    model : MaskRCNN
        With the best weights, averaged.
    config : NetworkConfig
        Of the network.
    steps : int
        Steps done.
    best_step : int
        Steps after which its weights were taken.
    ending : "finished", "no gain" or "asked"
        Why it ended.
    rows, looks : list of mapping
        The log, and the looks at the validation pictures.
    seconds : float
        Time spent on steps and looks, over all continuations.
    """

    model: Any
    config: NetworkConfig
    steps: int
    best_step: int
    ending: Ending
    rows: list[Row]
    looks: list[Row]
    seconds: float


def train(
    settings: TrainingSettings,
    pictures: Sequence[LabelledPicture],
    validation: Sequence[LabelledPicture],
    work: Path,
    *,
    model: Any,
    config: NetworkConfig,
    on_progress: OnProgress = lambda progress: None,
    draw: Draw | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Trained:
    """Train a network, or go on where the run in ``work`` was broken off.

    Parameters
    ----------
    settings : TrainingSettings
    pictures, validation : sequence of LabelledPicture
        As the model is to be shown them. Without validation pictures the last weights are taken.
    work : Path
        Folder of the run: ``steps.csv``, ``looks.csv``, TensorBoard's events, checkpoints and the best weights.
    model : MaskRCNN
        With the weights to start from.
    config : NetworkConfig
        Of the model.
    on_progress : callable
        Told after every step and every look.
    draw : callable or None
        Makes the batch of a step; by default from the pictures.
    clock : callable
        Seconds that only grow.

    Returns
    -------
    Trained
        Also after Ctrl-C or SIGTERM, with the best so far.

    Raises
    ------
    SetupError
        If ``work`` holds another run.
    LearningError
        If a loss, or a weight, is no longer a finite number.
    FeedError
        If a training picture cannot be made.
    """
    work.mkdir(parents=True, exist_ok=True)
    run = _Run(settings, validation, work, Learner(model, settings), config, on_progress, clock)
    run.go_on(fingerprint(settings, [*pictures, *validation]))
    drawing = draw or batch_draw(settings, pictures, config)
    with StopRequest() as stop, RunLog(work, ["loss", *LOSSES], LOOKS, run.step) as log:
        ending = run.learn(drawing, stop, log)
        run.put_best()
        return Trained(model, config, run.step, run.best.step, ending, log.steps.rows, log.looks.rows, run.pace.seconds)


def fingerprint(settings: TrainingSettings, pictures: Sequence[LabelledPicture]) -> dict[str, str]:
    """What must be the same for a run to go on: settings by name, and a digest of the pictures."""
    values = settings.model_dump(mode="json", exclude=FREE_TO_CHANGE)
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(repr((picture.name, picture.image.shape, picture.nm_per_px)).encode())
        digest.update(np.ascontiguousarray(picture.image).tobytes())
        for one in picture.molecules:
            digest.update(repr((one.label, one.ignore)).encode())
            digest.update(b"".join(np.ascontiguousarray(ring).tobytes() for ring in one.rings))
    return {name: json.dumps(value, sort_keys=True) for name, value in values.items()} | {
        "pictures": digest.hexdigest()
    }


@dataclass(slots=True, eq=False)
class _Run:
    settings: TrainingSettings
    validation: Sequence[LabelledPicture]
    work: Path
    learner: Learner
    config: NetworkConfig
    on_progress: OnProgress
    clock: Callable[[], float]
    step: int = 0
    looked_at: int = 0
    best: Best = field(default_factory=Best)
    pace: Pace = field(init=False)
    _print: dict[str, str] = field(default_factory=dict)
    _gathered: list[Mapping[str, float]] = field(default_factory=list)
    _saved_at: float = 0.0

    def __post_init__(self) -> None:
        self.pace = Pace(self.clock)
        self._saved_at = self.clock()

    def go_on(self, mark: dict[str, str]) -> None:
        """Take up the last checkpoint, if there is one."""
        self._print = mark
        found = load_checkpoint(self.work / "checkpoints")
        if found is None:
            remove_after(self.work / "best", -1)
            return
        other = sorted(name for name in mark if found.notes["print"].get(name) != mark[name])
        if other:
            raise SetupError(
                f"{self.work} holds a run with other {', '.join(other)}; take another work folder, or remove this one"
            )
        self.learner.restore(found.notes["learner"], found.arrays)
        self.step = found.step
        self.looked_at = int(found.notes["looked_at"])
        self.best = Best(**found.notes["best"])
        self.pace.seconds = float(found.notes["seconds"])
        # What was found best after this checkpoint will be found again.
        remove_after(self.work / "best", self.best.step)
        logger.info("going on from step %d of %s", self.step, self.work)

    def learn(self, draw: Draw, stop: StopRequest, log: RunLog) -> Ending:
        """Go through the steps that are left."""
        settings = self.settings
        self.pace.start(self.step)
        feed = Feed(
            draw,
            self.step,
            settings.steps,
            workers=settings.workers,
            kind=settings.worker_kind,
            ahead=settings.ahead,
            clock=self.clock,
        )
        with feed:
            self._look_if_due(stop, log)  # where the run was broken off in the middle of a look
            for step, batch in feed:
                if stop.asked or self._no_gain:
                    break
                self._learn_from(step, batch, log)
                self._look_if_due(stop, log)
                if self._checkpoint_is_due():
                    self._save()
        self._save()
        if self._no_gain:
            return "no gain"
        return "finished" if self.step >= settings.steps and not stop.asked else "asked"

    @property
    def _no_gain(self) -> bool:
        patience = self.settings.validation.patience
        return bool(patience) and self.best.poor >= patience

    def _learn_from(self, step: int, batch: Mapping[str, NDArray[Any]], log: RunLog) -> None:
        number, _ = stage_of(step, self.settings.stages)
        self.learner.enter(number)
        rate = rate_at(step, self.settings)
        losses = self.learner.learn(step, batch, rate)
        bad = [name for name, value in losses.items() if not np.isfinite(value)]
        if bad:
            raise self._broken(step, f"the loss {', '.join(bad)} is no number any more")
        self.step = step + 1
        self.pace.tick(self.step)
        self._gathered.append(losses)
        if self.step % LOG_EVERY == 0 or self.step == self.settings.steps:
            means = {name: float(np.mean([one[name] for one in self._gathered])) for name in losses}
            log.step({"step": self.step, "rate": rate, "steps_per_s": self.pace.steps_per_s} | means)
            self._gathered.clear()
        self._tell(losses, None)

    def _look_if_due(self, stop: StopRequest, log: RunLog) -> None:
        """Judge the averaged weights; broken off, it is as if it had not begun."""
        due = self.step % self.settings.validation.every == 0 or self.step == self.settings.steps
        if not self.validation or not due or self.looked_at >= self.step or stop.asked:
            return
        with self.learner.averaged() as model:
            detector = detector_for(model, self.config, self.settings.shown, self.validation)
            results = judge_pictures(detector, self.validation, lambda: stop.asked)
            if stop.asked:
                return
            numbers = summary(results, self.config.classes)
            shape = (self.settings.rows, self.settings.columns)
            batches = loss_batches(self.validation, shape, self.settings.batch, self.config)
            numbers["loss"] = float(np.mean([self.learner.judge(batch)["loss"] for batch in batches]))
            self.looked_at = self.step
            before = replace(self.best)
            if self.best.look(self.step, numbers["score"], self.settings.validation.least_gain) and not self._save_best(
                numbers
            ):
                self.best.step, self.best.score = before.step, before.score
        log.look({"step": float(self.step)} | numbers)
        self._tell({}, numbers)

    def put_best(self) -> None:
        """Let the model hold what was best; without a look, or before the first, the average of now."""
        found = load_checkpoint(self.work / "best") if self.best.step >= 0 else None
        if found is None:
            self.learner.average.put()
            self.best = Best(step=self.step)
            return
        for variable, name in zip(self.learner.model.variables, sorted(found.arrays), strict=True):
            variable.assign(found.arrays[name])
        self.best.step = found.step

    def _save_best(self, numbers: Mapping[str, float]) -> bool:
        values = arrays_of(self.learner.model.variables)
        arrays = {f"{number:05d}": value for number, value in enumerate(values)}
        return self._write("best", Checkpoint(self.step, {"look": dict(numbers)}, arrays))

    def _checkpoint_is_due(self) -> bool:
        minutes = (self.clock() - self._saved_at) / 60
        return self.step % self.settings.checkpoint_every == 0 or minutes >= self.settings.checkpoint_minutes

    def _save(self) -> None:
        notes, arrays = self.learner.state()
        if not all(np.isfinite(value).all() for value in arrays.values() if value.dtype.kind == "f"):
            raise self._broken(self.step - 1, "a weight is no number any more")
        best = asdict(self.best)
        notes = {
            "learner": notes,
            "best": best,
            "looked_at": self.looked_at,
            "print": self._print,
            "seconds": self.pace.seconds,
        }
        self._write("checkpoints", Checkpoint(self.step, notes, arrays))
        self._saved_at = self.clock()

    def _write(self, folder: str, checkpoint: Checkpoint) -> bool:
        """Write; False where the disk does not take it: what was learnt is worth more than a checkpoint."""
        try:
            save_checkpoint(self.work / folder, checkpoint)
        except OSError as error:
            logger.warning("%s of step %d not written (%s); training goes on", folder, checkpoint.step, error)
            return False
        return True

    def _broken(self, step: int, what: str) -> LearningError:
        found = load_checkpoint(self.work / "checkpoints")
        kept = "no checkpoint had been written"
        if found is not None:
            from spm_live.training.maskrcnn.weights import save_npz

            self.learner.restore(found.notes["learner"], found.arrays)
            path = self.work / "last-good.npz"
            with self.learner.averaged() as model:
                save_npz(model, path)
            kept = f"{path} holds the weights of step {found.step}; start_from takes them"
        return LearningError(
            f"{what} at step {step} (its pictures have the seeds {self.settings.seed}, 1, {step}, ...); learn with a "
            f"lower rate, a longer warm_up or a smaller clip, in another work folder. {kept}"
        )

    def _tell(self, losses: Mapping[str, float], look: Mapping[str, float] | None) -> None:
        stage = self.settings.stages[stage_of(max(self.step - 1, 0), self.settings.stages)[0]].name
        left = self.settings.steps - self.step
        self.on_progress(
            Progress(self.step, self.settings.steps, stage, losses, look, self.pace.steps_per_s, self.pace.left_s(left))
        )
