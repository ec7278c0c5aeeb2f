"""From a folder of labelled pictures to a model's folder: all that ``spm-live train`` does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spm_live.errors import FrameError, SetupError
from spm_live.training.data import LabelRule, PictureOptions, load_pictures
from spm_live.training.data.split import split
from spm_live.training.labelled import LabelledPicture
from spm_live.training.learning.backend import prepared_backend, require_keras
from spm_live.training.learning.check_before import check_before
from spm_live.training.learning.drawing import drawn_classes, drawn_pictures
from spm_live.training.learning.finish import Finished, finish
from spm_live.training.learning.loop import train
from spm_live.training.learning.progress import OnProgress, log_progress
from spm_live.training.learning.settings import TrainingSettings
from spm_live.training.learning.shown import as_shown, widened
from spm_live.training.learning.start import load_start

logger = logging.getLogger(__name__)

DEFAULT_RULE = LabelRule()
DEFAULT_OPTIONS = PictureOptions()


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What is learnt from and judged on.

    Parameters
    ----------
    training, validation : tuple of LabelledPicture
        As the model is to be shown them.
    classes : tuple of str
        Of the network.
    notes : tuple of str
        What a person should know about the data.
    """

    training: tuple[LabelledPicture, ...]
    validation: tuple[LabelledPicture, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def run_training(
    data_paths: Sequence[Path],
    output: Path,
    settings: TrainingSettings,
    work: Path,
    command_line: str,
    *,
    label_rule: LabelRule = DEFAULT_RULE,
    options: PictureOptions = DEFAULT_OPTIONS,
    on_progress: OnProgress = log_progress,
) -> Finished:
    """Load, check, part, train, measure and write; the same call goes on where it was broken off.

    Parameters
    ----------
    data_paths : sequence of Path
        As :func:`spm_live.training.data.load_pictures` takes them; none to learn from drawn pictures alone.
    output : Path
        Folder of the model; must not hold one.
    settings : TrainingSettings
    work : Path
        Folder of the run: logs, checkpoints, ``report.html``.
    command_line : str
        For manifest and card.
    label_rule, options
        As in :func:`spm_live.training.data.load_pictures`.
    on_progress : callable
        Told after every step and every look.

    Returns
    -------
    Finished
        Also after Ctrl-C or SIGTERM, with the best so far.

    Raises
    ------
    SetupError
        With every problem of data, settings and machine, before anything is learnt; later only where training breaks.
    """
    require_keras()
    lesson = prepare_lesson(data_paths, settings, label_rule=label_rule, options=options)
    config = settings.network_config(lesson.classes)
    notes = [*lesson.notes, *check_before(settings, lesson.training, lesson.validation, config, work, output)]
    for note in notes:
        logger.warning("%s", note)
    with prepared_backend(settings):
        from spm_live.training.maskrcnn.model import build

        model = build(config, settings.seed)
        if settings.start_from is not None:
            missing = load_start(model, settings.start_from)
            if missing:
                logger.info("%d weights begin anew: %s", len(missing), ", ".join(missing))
        trained = train(
            settings, lesson.training, lesson.validation, work, model=model, config=config, on_progress=on_progress
        )
        return finish(
            trained,
            settings,
            lesson.training,
            lesson.validation,
            output=output,
            work=work,
            command=command_line,
            notes=notes,
        )


def prepare_lesson(
    data_paths: Sequence[Path],
    settings: TrainingSettings,
    *,
    label_rule: LabelRule = DEFAULT_RULE,
    options: PictureOptions = DEFAULT_OPTIONS,
) -> Lesson:
    """Load pictures, prepare them as the model will be shown them, and set validation apart.

    Raises
    ------
    SetupError
        With every problem of the data.
    """
    if not data_paths:
        if settings.validation.kind == "split":
            raise SetupError("there are no pictures to split; set validation.kind to 'drawn' or 'none', or give data")
        pictures: tuple[LabelledPicture, ...] = ()
        notes: list[str] = []
        classes = settings.classes or drawn_classes(settings)
    else:
        loaded = load_pictures(data_paths, label_rule=label_rule, options=options)
        # Names, not paths: the notes go to the card, and the card goes to others.
        notes = [str(replace(problem, file=Path(problem.file).name)) for problem in loaded.problems]
        pictures = _shown(loaded.pictures, settings)
        classes = settings.classes or loaded.classes
    if settings.validation.kind == "none":
        return Lesson(pictures, (), classes, tuple(notes))
    if settings.validation.kind == "drawn":
        return Lesson(pictures, drawn_pictures(settings, settings.validation.pictures), classes, tuple(notes))
    parted = split(pictures, settings.validation.part, settings.seed)
    return Lesson(parted.training, parted.validation, classes, (*notes, *parted.notes))


def _shown(pictures: Sequence[LabelledPicture], settings: TrainingSettings) -> tuple[LabelledPicture, ...]:
    shown, problems = [], []
    for picture in pictures:
        try:
            shown.append(as_shown(widened(picture, settings.outline_px), settings.shown))
        except FrameError as error:
            problems.append(f"{picture.name}: {error.reason}; correct its scale or shown.nm_per_px")
    if problems:
        raise SetupError(problems)
    return tuple(shown)
