"""Drawn scans as files: what an instrument would have saved, and beside each the labels that a person would draw."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.errors import SetupError
from spm_live.training.drawn import DrawnRecipe, clip_ring, draw_frame, ring_area
from spm_live_drivers.formats.nanonis_writer import SxmChannel, SxmSettings, write_sxm
from spm_live_drivers.synthetic.varied import OutlinedMolecule, VariedScan

logger = logging.getLogger(__name__)

RECIPE_FILE = "synthetic-recipe.txt"
"""Says, as JSON, what the folder was drawn from. It is no label file and must not look like one."""

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
"""Every drawn scan says that it began then, so that one seed gives one file, byte by byte."""

TOLD_EVERY = 100
DECIMALS = 3
LEAST_AREA_PX = 1.0


@dataclass(frozen=True, slots=True)
class Synthesized:
    """What :func:`write_synthetic` did.

    Parameters
    ----------
    folder : Path
        Where the scans lie.
    written, kept : int
        Scans drawn now, and those that were there.
    molecules : int
        Labelled in the scans drawn now, those to be ignored not counted.
    """

    folder: Path
    written: int
    kept: int
    molecules: int


def write_synthetic(
    folder: Path,
    count: int,
    seed: int,
    recipe: DrawnRecipe,
    *,
    told: Callable[[int, int], object] | None = None,
) -> Synthesized:
    """Write drawn scans, each with its labels.

    Parameters
    ----------
    folder : Path
        Made if it is not there. What an interrupted call left is taken up where it ended.
    count : int
        How many scans there are to be in the end.
    seed : int
        Not negative; each scan follows from it, its number and the recipe alone.
    recipe : DrawnRecipe
        What to draw. Its ``rows`` and ``columns`` set how much surface a scan shows; ``flat`` has no part in it.
    told : callable or None
        Called after every scan with the number of those done, and ``count``.

    Returns
    -------
    Synthesized

    Raises
    ------
    SetupError
        If the folder holds scans of another seed or recipe, or cannot be written to.
    """
    problems = [
        f"{name} of {value}: give a number from {least}"
        for name, value, least in (("count", count, 1), ("seed", seed, 0))
        if value < least
    ]
    if problems:
        raise SetupError(problems)
    written = molecules = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _claim(folder, seed, recipe)
        for number in range(count):
            scan_file = folder / f"drawn-{seed}-{number:06d}.sxm"
            if not _is_there(scan_file):
                molecules += write_one(scan_file, (seed, number), recipe)
                written += 1
            if told is not None:
                told(number + 1, count)
            if (number + 1) % TOLD_EVERY == 0:
                logger.info("%d of %d scans in %s", number + 1, count, folder)
    except OSError as error:
        raise SetupError(f"{error.filename or folder}: cannot be written ({error.strerror or error})") from error
    return Synthesized(folder, written, count - written, molecules)


def write_one(scan_file: Path, seed: tuple[int, ...], recipe: DrawnRecipe) -> int:
    """Write one drawn scan as a Nanonis file, then its labels as a labelme file beside it.

    Returns
    -------
    int
        Molecules labelled, those to be ignored not counted.
    """
    _, scan = draw_frame(seed, np.random.default_rng((*seed, 1)), recipe)
    settings = SxmSettings(
        STARTED, direction=scan.direction, scan_file=scan_file.name, comment="synthetic", series="drawn-"
    )
    write_sxm(scan_file, (SxmChannel(14, "Z", "m", scan.heights, None, 1.848e-8),), scan.geometry, settings)
    label = recipe.label if recipe.labels == "one" else None
    content = labels_of(scan, scan_file.name, label)
    _write_whole(scan_file.with_suffix(".json"), json.dumps(content))
    return sum(not shape["flags"] for shape in content["shapes"])


def labels_of(scan: VariedScan, name: str, label: str | None) -> dict[str, Any]:
    """What a person would have drawn, as the content of a labelme file.

    Parameters
    ----------
    scan : VariedScan
        The scan.
    name : str
        Of its file.
    label : str or None
        Class of every molecule; None: the family of its shape.

    Returns
    -------
    dict
        Polygons cut at the border of what was scanned; lumps have the flag ``ignore``.
    """
    rows = np.flatnonzero(np.isfinite(scan.heights).any(axis=1))
    low = np.array([0.0, float(rows[0])])
    high = np.array([float(scan.geometry.columns), float(rows[-1] + 1)])
    shapes = (_shape(one, low, high, label) for one in scan.molecules)
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": [shape for shape in shapes if shape is not None],
        "imagePath": name,
        "imageData": None,
        "imageHeight": scan.geometry.rows,
        "imageWidth": scan.geometry.columns,
    }


def _shape(
    molecule: OutlinedMolecule, low: NDArray[np.float64], high: NDArray[np.float64], label: str | None
) -> dict[str, Any] | None:
    ring = clip_ring(molecule.outline_px, low, high)
    if ring_area(ring) < LEAST_AREA_PX:
        return None
    name = molecule.label if molecule.ignore or label is None else label
    return {
        "label": name,
        "points": np.round(ring, DECIMALS).tolist(),
        "group_id": None,
        "description": "",
        "shape_type": "polygon",
        "flags": {"ignore": True} if molecule.ignore else {},
        "mask": None,
    }


def _claim(folder: Path, seed: int, recipe: DrawnRecipe) -> None:
    """Write down what the folder is drawn from, or see that it is the same."""
    text = json.dumps({"seed": seed, "recipe": recipe.model_dump(mode="json")}, indent=1)
    place = folder / RECIPE_FILE
    if not place.exists():
        _write_whole(place, text)
    elif place.read_text(encoding="utf-8") != text:
        raise SetupError(f"{folder}: holds scans of another seed or recipe ({place.name}); give another folder")


def _is_there(scan_file: Path) -> bool:
    """The labels are written last: where they are, all is."""
    return scan_file.is_file() and scan_file.with_suffix(".json").is_file()


def _write_whole(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
