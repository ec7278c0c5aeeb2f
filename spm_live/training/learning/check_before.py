"""Everything that can be known to go wrong is found before hours of training begin."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spm_live.detect.manifest import MANIFEST_FILE
from spm_live.errors import SetupError
from spm_live.training.labelled import LabelledPicture
from spm_live.training.learning.drawing import drawn_recipe
from spm_live.training.learning.settings import TrainingSettings
from spm_live.training.learning.start import find_start, start_config
from spm_live.training.maskrcnn.config import NetworkConfig

MB = 1024 * 1024
RUN_MB = {"light": 250, "resnet50": 3500}
"""Disk room of a run, in MB, with 2.9 and 45 million weights: three checkpoints (one is written before one is removed)
of weights, average and two moments; three times the best weights; and the model."""
FIXED_MB = {"light": 1400, "resnet50": 3200}
BYTES_PER_PIXEL = {"light": 1500, "resnet50": 4000}
"""Memory in MB, and further bytes for each pixel of a batch; half as much again as was measured with TensorFlow 2.21 on
an AMD EPYC, 2 cores: 954 MB for 1 x 128 x 128 px and 1180 MB for 4 x 256 x 256 px (light), 2324 MB for 1 x 128 x 128 px
and 2610 MB for 2 x 256 x 256 px (resnet50); mixed_bfloat16 saves next to nothing."""
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


@dataclass(frozen=True, slots=True)
class Machine:
    """What training needs of a machine; each is asked when it is needed.

    Parameters
    ----------
    free_disk : callable
        From a folder that exists to free bytes.
    free_memory : callable
        Free bytes; None where it is not known.
    """

    free_disk: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free
    free_memory: Callable[[], int | None] = lambda: _free_memory()


def check_before(
    settings: TrainingSettings,
    training: Sequence[LabelledPicture],
    validation: Sequence[LabelledPicture],
    config: NetworkConfig,
    work: Path,
    output: Path,
    machine: Machine | None = None,
) -> tuple[str, ...]:
    """Look for everything that would spoil a run.

    Parameters
    ----------
    settings : TrainingSettings
    training, validation : sequence of LabelledPicture
        As the model is to be shown them.
    config : NetworkConfig
        Of the network.
    work, output : Path
        Folders of the run and of the model.
    machine : Machine or None
        Asked for room.

    Returns
    -------
    tuple of str
        What a person should know, and may have wanted so.

    Raises
    ------
    SetupError
        With every problem found.
    """
    notes: list[str] = []
    problems = [
        *_names(settings, output),
        *_classes(settings, training, config),
        *_validation(settings, validation),
        *_recipes(settings, training),
        *_start(settings, config, notes),
        *_room(settings, config, work, output, machine or Machine(), notes),
    ]
    notes += _sizes(settings, training, config)
    if problems:
        raise SetupError(problems)
    return tuple(notes)


def model_name(settings: TrainingSettings, output: Path) -> str:
    """What people will call the model."""
    return settings.name or output.resolve().name


def _names(settings: TrainingSettings, output: Path) -> list[str]:
    problems = []
    if not NAME.match(model_name(settings, output)):
        problems.append(
            f"{model_name(settings, output)!r} cannot be a model's name; set name, or another output folder"
        )
    if (output / MANIFEST_FILE).exists():
        problems.append(f"{output} already holds a model; take another output folder, or remove it")
    elif output.exists() and not output.is_dir():
        problems.append(f"{output} is a file; give a folder for the model")
    return problems


def _classes(settings: TrainingSettings, training: Sequence[LabelledPicture], config: NetworkConfig) -> list[str]:
    counts = Counter(one.label for picture in training for one in picture.molecules if not one.ignore)
    if settings.drawn_share >= 1 or not training:
        return []  # drawn as often as is needed
    if not counts:
        return ["no molecule to learn from is labelled; label some, or set drawn_share to 1"]
    if len(config.classes) == 1:
        counts = Counter({config.classes[0]: counts.total()})  # everything is it
    lacking = "label more of it, or name the classes without it (classes), so that it is ignored"
    problems = []
    for label in config.classes:
        if counts[label] == 0:
            known = ", ".join(sorted(counts))
            problems.append(f"class {label} is not among the labels to learn from ({known}); correct classes")
        elif counts[label] == 1:
            problems.append(f"class {label} has one example; {lacking}")
    return problems


def _recipes(settings: TrainingSettings, training: Sequence[LabelledPicture]) -> list[str]:
    from spm_live.training.augment import recipe_from

    problems: list[str] = []
    try:
        recipe_from(settings.recipe, settings.recipe_changes)
    except SetupError as error:
        problems += error.problems
    if settings.drawn_share or not training or settings.validation.kind == "drawn":
        try:
            drawn_recipe(settings)
        except SetupError as error:
            problems += error.problems
    return problems


def _validation(settings: TrainingSettings, validation: Sequence[LabelledPicture]) -> list[str]:
    if settings.validation.kind == "none":
        return []
    if not any(not one.ignore for picture in validation for one in picture.molecules):
        return ["no molecule to validate on; label more, or set validation.kind to 'drawn' or 'none'"]
    return []


def _start(settings: TrainingSettings, config: NetworkConfig, notes: list[str]) -> list[str]:
    if settings.start_from is None:
        return []
    try:
        file = find_start(settings.start_from)
        before = start_config(settings.start_from)
    except SetupError as error:
        return list(error.problems)
    if file.suffix == ".h5" and config.backbone != "resnet50":
        return [f"start_from: {file} holds a ResNet-50; set network.backbone to 'resnet50'"]
    if before is None:
        return []
    if before.backbone != config.backbone:
        return [f"start_from: its backbone is {before.backbone}, not {config.backbone}; set network.backbone"]
    if before.classes != config.classes:
        notes.append(
            f"start_from knows the classes {', '.join(before.classes)}, not {', '.join(config.classes)}: "
            "what tells classes apart begins anew"
        )
    return []


def _room(
    settings: TrainingSettings, config: NetworkConfig, work: Path, output: Path, machine: Machine, notes: list[str]
) -> list[str]:
    problems = []
    need_mb = RUN_MB[config.backbone]
    for folder in dict.fromkeys((_standing(work), _standing(output))):
        if not os.access(folder, os.W_OK):
            problems.append(f"{folder} cannot be written to; take another folder")
            continue
        free_mb = machine.free_disk(folder) // MB
        if free_mb < need_mb:
            problems.append(f"{folder} has {free_mb} MB left, a run takes up to {need_mb} MB; make room")
    memory = machine.free_memory()
    want_mb = memory_mb(settings, config)
    if memory is not None and want_mb * MB > memory:
        notes.append(
            f"a step may need {want_mb} MB of memory and {memory // MB} MB are free: "
            "if it fails, take a smaller batch or smaller training pictures"
        )
    return problems


def memory_mb(settings: TrainingSettings, config: NetworkConfig) -> int:
    """Estimate of the memory that a run takes, in MB."""
    pixels = settings.batch * settings.rows * settings.columns
    return FIXED_MB[config.backbone] + round(pixels * BYTES_PER_PIXEL[config.backbone] / MB)


def _sizes(settings: TrainingSettings, training: Sequence[LabelledPicture], config: NetworkConfig) -> list[str]:
    notes = []
    small = [
        one.name for one in training if one.image.shape[0] < settings.rows or one.image.shape[1] < settings.columns
    ]
    if small:
        notes.append(
            f"{len(small)} picture(s), such as {small[0]}, are smaller than the training pictures "
            f"({settings.columns} x {settings.rows} px): the rest is filled up"
        )
    boxes = np.array([one.box_px for picture in training for one in picture.molecules if not one.ignore]).reshape(-1, 4)
    if not len(boxes):
        return notes
    sides = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
    least, most = min(map(min, config.anchor_sizes)), max(map(max, config.anchor_sizes))
    if float(np.median(sides)) < least / 1.5 or float(np.median(sides)) > most * 1.5:
        notes.append(
            f"molecules measure {float(np.median(sides)):.0f} px, the network looks for {least:.0f} to {most:.0f} px; "
            "set network.anchor_sizes, or show the pictures at another pitch (shown.nm_per_px)"
        )
    longest = float((boxes[:, 2:] - boxes[:, :2]).max())
    if longest > min(settings.rows, settings.columns):
        notes.append(
            f"the largest molecule, {longest:.0f} px, does not fit a training picture; enlarge rows and columns"
        )
    if longest > settings.shown.overlap_px:
        notes.append(
            f"the largest molecule, {longest:.0f} px, is larger than shown.overlap_px ({settings.shown.overlap_px}): "
            "between two tiles it may be cut"
        )
    densest = max(len(one.molecules) / one.image.size for one in training) * settings.rows * settings.columns
    if densest > config.max_truths:
        notes.append(
            f"a training picture may hold {densest:.0f} molecules; beyond network.max_truths ({config.max_truths}) the "
            "smallest count as background"
        )
    return notes


def _standing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    place = folder.resolve()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    return place


def _free_memory() -> int | None:
    """Free memory in bytes; None where the system does not say so in a way that needs no package."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
