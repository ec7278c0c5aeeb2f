"""What the commands of the offline part do. Imports stand inside the functions: a command pays for what it uses."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from spm_live.errors import SetupError

if TYPE_CHECKING:
    from spm_live.training.data import LabelRule, PictureOptions
    from spm_live.training.evaluation.excluded import Region

EXIT_OK = 0
EXIT_FAULTS = 1


def dataset(arguments: argparse.Namespace) -> int:
    """Look labelled pictures over."""
    return {"check": _check, "tsne": _tsne}[arguments.kind](arguments)


def _check(arguments: argparse.Namespace) -> int:
    from spm_live.training.data import check_dataset

    report = check_dataset(
        arguments.data, label_rule=_label_rule(arguments), options=_picture_options(arguments), sheet=arguments.sheet
    )
    for line in report.lines():
        print(line)
    return EXIT_OK if report.ok else EXIT_FAULTS


def _tsne(arguments: argparse.Namespace) -> int:
    from spm_live.training.data import load_pictures
    from spm_live.training.label_check import LabelCheckSettings, check_labels
    from spm_live.training.label_check_figure import draw_label_check

    settings = LabelCheckSettings(
        perplexity=arguments.perplexity,
        learning_rate=arguments.learning_rate,
        iterations=arguments.iterations,
        angle=arguments.angle,
        seed=arguments.seed,
    )
    source = _crops(arguments.data)
    if source is None:
        loaded = load_pictures(arguments.data, label_rule=_label_rule(arguments), options=_picture_options(arguments))
        check = check_labels(loaded.pictures, settings)
    else:
        check = check_labels(source, settings)
    draw_label_check(check, arguments.out)
    if check.agreement is not None:
        print(f"labels that agree with their nearest neighbours: {check.agreement:.1%}")
    if check.silhouette is not None:
        print(f"silhouette of the classes in the picture: {check.silhouette:.2f} (1: far apart, 0: mixed)")
    for suspicion in check.suspicious:
        print(f"look at {suspicion}")
    for label in check.alone:
        print(f"class {label} has one molecule only: nothing can be said about it")
    print(f"figure: {arguments.out}")
    return EXIT_OK


def _crops(data: list[Path]) -> Path | None:
    """The folder of crops, if that is what was given: sub-folders of pictures, and not one label file."""
    if len(data) != 1 or not data[0].is_dir():
        return None
    folders = [place for place in data[0].iterdir() if place.is_dir()]
    return data[0] if folders and not any(data[0].rglob("*.json")) else None


def augment(arguments: argparse.Namespace) -> int:
    """Make training pictures, or a sheet that shows each technique."""
    from spm_live.training.augment import Augmenter, recipe_from
    from spm_live.training.data import load_pictures, write_labelme

    if arguments.preview is None and arguments.out is None:
        raise SetupError("augment: give --preview SHEET.png, or -o FOLDER for pictures with labels")
    loaded = load_pictures(arguments.data, label_rule=_label_rule(arguments), options=_picture_options(arguments))
    recipe = recipe_from(arguments.recipe)
    if arguments.preview is not None:
        from spm_live.training.augment.preview import write_preview

        write_preview(loaded.pictures, recipe, arguments.preview, seed=arguments.seed)
        print(f"sheet: {arguments.preview}")
    if arguments.out is not None:
        made = Augmenter(recipe, loaded.pictures)
        size = (arguments.size, arguments.size)
        pictures = [
            replace(made.draw((arguments.seed, number), size), name=f"augmented-{arguments.seed}-{number:05d}.png")
            for number in range(arguments.count)
        ]
        write_labelme(pictures, arguments.out)
        print(f"{len(pictures)} pictures with labels in {arguments.out}")
    return EXIT_OK


def synthesize(arguments: argparse.Namespace) -> int:
    """Draw labelled scans."""
    from tqdm import tqdm

    from spm_live.training.drawn import DrawnRecipe
    from spm_live.training.drawn_files import write_synthetic

    tqdm.monitor_interval = 0  # its watching thread would outlive the bar
    with tqdm(total=arguments.count, desc="synthesize", unit="scan", disable=arguments.quiet) as bar:

        def told(done: int, _: int) -> None:
            bar.update(done - bar.n)

        write_synthetic(arguments.out, arguments.count, arguments.seed, DrawnRecipe(), told=told)
    print(f"{arguments.count} scans with labels in {arguments.out}")
    return EXIT_OK


def train(arguments: argparse.Namespace) -> int:
    """Train a model and export it."""
    from spm_live.training.learning.progress import log_progress, progress_bar
    from spm_live.training.learning.run import run_training
    from spm_live.training.learning.settings import load_training_settings

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    changes: dict[str, object] = {}
    if arguments.start_from is not None:
        # A name of an installed model, or a path; unlike one in the file, relative to where the command is given.
        given = Path(arguments.start_from).expanduser()
        changes["start_from"] = given.resolve() if given.exists() else given
    if arguments.seed is not None:
        changes["seed"] = arguments.seed
    settings = load_training_settings(_training_file(arguments.config), changes)
    if arguments.steps is not None:
        last = settings.stages[-1].model_copy(update={"steps": arguments.steps})
        settings = settings.model_copy(update={"stages": (*settings.stages[:-1], last)})
    work = arguments.work or arguments.out.with_name(arguments.out.name + ".training")
    with nullcontext(log_progress) if arguments.quiet else progress_bar() as told:
        finished = run_training(
            arguments.data,
            arguments.out,
            settings,
            work,
            command_line(),
            label_rule=_label_rule(arguments),
            options=_picture_options(arguments),
            on_progress=told,
        )
    print(f"model: {finished.folder}")
    print(f"report: {finished.report}")
    return EXIT_OK


def _training_file(config: Path | None) -> Path:
    """The configuration given by path or by the name of one that is shipped; fine-tuning where none is given."""
    name = Path("fine-tune") if config is None else config
    if name.is_file() or name.suffix:
        return name
    from spm_live.training.learning.presets import preset_path

    return preset_path(str(name))


def export_model(arguments: argparse.Namespace) -> int:
    """Export a model anew, for another machine or in another precision."""
    from pydantic import ValidationError

    from spm_live.detect.manifest import find_model
    from spm_live.training.onnx_export.export import ExportSettings, export_folder

    try:
        settings = ExportSettings(
            flavour=arguments.flavour,
            precision=arguments.precision,
            batch=arguments.batch,
            rows=arguments.rows,
            columns=arguments.columns,
            max_detections=arguments.max_detections,
            weight_bits=arguments.weight_bits,
        )
    except ValidationError as error:
        raise SetupError([f"--{one['loc'][0]}: {one['msg']}" for one in error.errors()]) from error
    source, pictures = find_model(arguments.source), []
    if arguments.pictures:
        from spm_live.training.data import load_pictures
        from spm_live.training.learning.shown import compared_with
        from spm_live.training.onnx_export.trained import read_manifest

        pictures = compared_with(load_pictures(arguments.pictures).pictures, read_manifest(source))
    exported = export_folder(source, arguments.out, settings, pictures)
    print(f"{exported.path}: sha256 {exported.sha256}")
    for name, value in exported.parity.summary().items():
        print(f"{name}: {value:g}")
    return EXIT_OK


def evaluate(arguments: argparse.Namespace) -> int:
    """Judge a model."""
    from spm_live.detect.manifest import find_model
    from spm_live.training.data import load_pictures
    from spm_live.training.evaluation import Excluded, headline
    from spm_live.training.evaluation import evaluate as evaluate_model
    from spm_live.training.evaluation.settings import EvaluationSettings

    loaded = load_pictures(arguments.data, label_rule=_label_rule(arguments), options=_picture_options(arguments))
    excluded = Excluded(tuple(_region(text) for text in arguments.leave_out), arguments.border_px)
    settings = EvaluationSettings(min_score=arguments.min_score, overlap=arguments.overlap, excluded=excluded)
    if arguments.no_studies:
        settings = settings.model_copy(update={"resolutions": (), "robustness": False})
    result = evaluate_model(
        find_model(arguments.model), loaded.pictures, settings, arguments.out, progress=not arguments.quiet
    )
    for name, value in headline(result).items():
        print(f"{name}: {value:g}")
    print(f"report: {arguments.out / 'report.html'}")
    return EXIT_OK


def _region(text: str) -> Region:
    from spm_live.training.evaluation import Region

    parts = text.split(",", 4)
    try:
        x1, y1, x2, y2 = (float(part) for part in parts[:4])
        return Region(x1, y1, x2, y2, parts[4] if len(parts) > 4 else "")
    except ValueError as error:
        raise SetupError(
            f"--leave-out {text}: {error}; give x1,y1,x2,y2 in px, and a picture's name if need be"
        ) from error


def _label_rule(arguments: argparse.Namespace) -> LabelRule:
    from pydantic import ValidationError

    from spm_live.training.data import LabelRule

    renamed = dict(_renaming(text) for text in arguments.rename)
    try:
        return LabelRule(
            serial=arguments.serial,
            pattern=arguments.label_pattern,
            rename=renamed,
            ignore=("ignore", *arguments.ignore),
        )
    except ValidationError as error:
        raise SetupError([str(one["msg"]).removeprefix("Value error, ") for one in error.errors()]) from error


def _renaming(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals or not old or not new:
        raise SetupError(f"--rename {text}: give OLD=NEW, such as 003a=triangle")
    return old, new


def _picture_options(arguments: argparse.Namespace) -> PictureOptions:
    from spm_live.training.data import PictureOptions

    return PictureOptions(nm_per_px=arguments.nm_per_px)


def command_line() -> str:
    """The command as it was typed, for cards and reports."""
    return shlex.join(["spm-live", *sys.argv[1:]])
