"""From a model's folder and labelled pictures to numbers, figures and a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from spm_live.errors import SetupError
from spm_live.training.evaluation.figures import draw_figures, save_figures
from spm_live.training.evaluation.matching import Judged, judge
from spm_live.training.evaluation.measured import Evaluation, measure
from spm_live.training.evaluation.noises import NOISES
from spm_live.training.evaluation.numbers import json_of
from spm_live.training.evaluation.opened import OpenModel, opened
from spm_live.training.evaluation.overlay import draw_overlay, encode, faults
from spm_live.training.evaluation.paper import best_threshold, precision_recall
from spm_live.training.evaluation.predictions import Prediction
from spm_live.training.evaluation.report import render_report
from spm_live.training.evaluation.resolution import ResolutionPoint, resolution_point
from spm_live.training.evaluation.robustness import RobustnessPoint, robustness_point
from spm_live.training.evaluation.settings import EvaluationSettings
from spm_live.training.evaluation.truth import asked_of
from spm_live.training.labelled import LabelledPicture

METRICS_FILE = "metrics.json"
REPORT_FILE = "report.html"
Told = Callable[[], object]
"""Called when one more picture is done."""


def evaluate(
    model_folder: Path,
    pictures: Sequence[LabelledPicture],
    settings: EvaluationSettings,
    output: Path,
    *,
    progress: bool = False,
) -> Evaluation:
    """Judge a model as the daemon runs it, and write down how it did.

    Parameters
    ----------
    model_folder : Path
        A folder with a manifest, or the name of an installed model.
    pictures : sequence of LabelledPicture
        Pictures that the model was not trained on, or whose ``settings.excluded`` covers what it was trained on.
    settings : EvaluationSettings
        How to judge.
    output : Path
        Folder for ``metrics.json``, ``report.html``, ``figures/`` and ``pictures/``; made where it is missing.
    progress : bool
        Whether a progress bar is shown.

    Returns
    -------
    Evaluation
        With the files that were written.

    Raises
    ------
    SetupError
        Listing everything, before the network runs: no picture, labels that the model does not know, nothing left to
        judge, packages that are missing, a model that cannot be used, a folder that cannot be written.
    FrameError
        If the network fails on a picture.
    """
    _ready(output)
    with opened(model_folder, settings) as model:
        asked = asked_of(pictures, model.manifest.classes, settings.labels)
        _something_left(asked, settings)
        chosen = spread(asked, settings.study_pictures)
        runs = len(settings.resolutions) + (sum(len(noise.levels) for noise in NOISES) if settings.robustness else 0)
        with _bar(len(asked) + runs * len(chosen), progress) as told:
            results, by_class = [], []
            for picture in asked:
                across, within = look(model, picture, settings)
                results.append(across)
                by_class.append(within)
                told()
            evaluation = measure(model.manifest, settings, results, by_class)
            studied = replace(
                evaluation,
                resolution=tuple(_resolutions(model, chosen, evaluation, told)),
                robustness=tuple(_noises(model, chosen, evaluation, told)) if settings.robustness else (),
            )
    return write(studied, output)


def best_min_score(
    model_folder: Path, pictures: Sequence[LabelledPicture], settings: EvaluationSettings | None = None
) -> float:
    """Choose the score threshold with the highest F1 on validation pictures.

    Parameters
    ----------
    model_folder : Path
        A folder with a manifest, or the name of an installed model.
    pictures : sequence of LabelledPicture
        Validation pictures; never those that the model is then judged on.
    settings : EvaluationSettings or None
        Its ``min_score`` is not used.

    Returns
    -------
    float
        See :func:`spm_live.training.evaluation.paper.best_threshold`.
    """
    chosen = settings or EvaluationSettings()
    with opened(model_folder, chosen) as model:
        asked = asked_of(pictures, model.manifest.classes, chosen.labels)
        _something_left(asked, chosen)
        results = [judge(picture, model.predict(picture), chosen.excluded) for picture in asked]
    return best_threshold(precision_recall(results, chosen.overlap, chosen.least_iou), chosen.floor_score)


def look(model: OpenModel, picture: LabelledPicture, settings: EvaluationSettings) -> tuple[Judged, Judged]:
    """Judge one picture, with suppression across classes and within each; the network runs once."""
    seen = model.see(picture)
    across, within = model.told(seen), model.told(seen, across_classes=False)
    return judge(picture, across, settings.excluded), judge(picture, within, settings.excluded)


def write(evaluation: Evaluation, output: Path) -> Evaluation:
    """Write numbers, figures, pictures and the report.

    Parameters
    ----------
    evaluation : Evaluation
        What was measured.
    output : Path
        Folder; made where it is missing, files of the same names are replaced.

    Returns
    -------
    Evaluation
        The same, with ``files``.

    Raises
    ------
    SetupError
        If the folder cannot be written, or matplotlib is missing.
    """
    settings = evaluation.settings
    try:
        files = save_figures(draw_figures(evaluation), output / "figures")
        figures = {
            name.removesuffix(".png"): path.read_bytes() for name, path in files.items() if path.suffix == ".png"
        }
        overlays: dict[str, bytes] = {}
        (output / "pictures").mkdir(parents=True, exist_ok=True)
        for number, judged in _worst(evaluation):
            name = judged.picture.name
            drawn = draw_overlay(judged, evaluation.min_score, settings.overlap, settings.least_iou)
            overlays[name] = encode(drawn, ".jpg")
            path = output / "pictures" / f"{number:04d}.png"
            path.write_bytes(encode(drawn))
            files[f"picture {name}"] = path
        files["metrics"], files["report"] = output / METRICS_FILE, output / REPORT_FILE
        files["metrics"].write_text(json_of(evaluation), encoding="utf-8")
        files["report"].write_text(render_report(evaluation, figures, overlays), encoding="utf-8")
    except OSError as error:
        raise SetupError(_unwritable(output, error)) from error
    return replace(evaluation, files=files)


def spread(pictures: Sequence[LabelledPicture], most: int) -> tuple[LabelledPicture, ...]:
    """At most so many pictures, evenly spread over the list."""
    count = min(most, len(pictures))
    return tuple(pictures[index * len(pictures) // count] for index in range(count))


def _worst(evaluation: Evaluation) -> list[tuple[int, Judged]]:
    """Pictures to be drawn with their numbers: those with most faults first."""
    settings = evaluation.settings
    judge_faults = partial(faults, min_score=evaluation.min_score, kind=settings.overlap, least=settings.least_iou)
    ordered = sorted(enumerate(evaluation.results), key=lambda item: -judge_faults(item[1]))
    return ordered[: settings.overlays]


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[Told]:
    """A progress bar, and how to tell it that another picture is done."""
    if not shown:
        yield lambda: None
        return
    from tqdm import tqdm

    # A change of speed is no reason for a thread of its own.
    tqdm.monitor_interval = 0
    with tqdm(total=total, desc="evaluate", unit="picture", dynamic_ncols=True) as bar:
        yield bar.update


def _resolutions(
    model: OpenModel, pictures: Sequence[LabelledPicture], evaluation: Evaluation, told: Told
) -> Iterator[ResolutionPoint]:
    def predict(picture: LabelledPicture, scale: float) -> tuple[Prediction, ...]:
        told()
        return model.predict(picture, scale=scale)

    for scale in evaluation.settings.resolutions:
        yield resolution_point(predict, pictures, scale, **_how(evaluation))


def _noises(
    model: OpenModel, pictures: Sequence[LabelledPicture], evaluation: Evaluation, told: Told
) -> Iterator[RobustnessPoint]:
    def predict(picture: LabelledPicture) -> tuple[Prediction, ...]:
        told()
        return model.predict(picture)

    for noise in NOISES:
        for level in noise.levels:
            seed = evaluation.settings.seed
            yield robustness_point(predict, pictures, noise, level, seed=seed, **_how(evaluation))


def _how(evaluation: Evaluation) -> dict[str, Any]:
    settings = evaluation.settings
    return {
        "classes": evaluation.classes,
        "excluded": settings.excluded,
        "min_score": evaluation.min_score,
        "kind": settings.overlap,
        "least": settings.least_iou,
    }


def _ready(output: Path) -> None:
    """Fail now, not after minutes, where a package is missing or the folder cannot be written."""
    import importlib.util

    problems = [
        f'{name} is missing; install it with: pip install "spm-live[train]"'
        for name, module in (("faster-coco-eval", "faster_coco_eval"), ("matplotlib", "matplotlib"))
        if importlib.util.find_spec(module) is None
    ]
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problems.append(_unwritable(output, error))
    if problems:
        raise SetupError(problems)


def _something_left(pictures: Sequence[LabelledPicture], settings: EvaluationSettings) -> None:
    if not any(judge(picture, (), settings.excluded).true for picture in pictures):
        raise SetupError("every labelled molecule is left out by the regions and the border given; leave out less")


def _unwritable(output: Path, error: OSError) -> str:
    return f"{output}: cannot be written ({error.strerror or error}); give another folder"
