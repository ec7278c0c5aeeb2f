"""Looks a data set over before anything is learnt from it: ``spm-live dataset check``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spm_live.training.data.label_rule import LabelRule
from spm_live.training.data.load import DEFAULT_OPTIONS, DEFAULT_RULE, survey_pictures
from spm_live.training.data.overlap import Overlap, overlap_of
from spm_live.training.data.picture_files import PictureOptions
from spm_live.training.data.problem import Problem, Severity
from spm_live.training.data.sheet import write_sheets
from spm_live.training.labelled import LabelledPicture
from spm_live.training.maskrcnn.anchors import choose_anchors
from spm_live.training.maskrcnn.config import NetworkConfig

SIDE_PX = 48.0
"""Side that a molecule should have in the network's picture: large enough for its shape, small enough for many."""
SMALL_PX, LARGE_PX = 16.0, 160.0
MOST_PAIRS = 1000
"""Pairs of pictures that are searched for a place they share; about 0.1 s each."""


@dataclass(frozen=True, slots=True)
class ClassSummary:
    """One class of a data set.

    Parameters
    ----------
    label : str
        Its name.
    count, ignored, pictures : int
        Molecules, those marked to be ignored, and pictures that it occurs in.
    side_px : (float, float, float)
        Least, median and greatest side of a molecule, in pixels: the square root of the area of its box.
    side_nm : (float, float, float) or None
        The same in nm, over the pictures with a scale.
    """

    label: str
    count: int
    ignored: int
    pictures: int
    side_px: tuple[float, float, float]
    side_nm: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class PictureSummary:
    """One picture of a data set: its name, shape in pixels, scale, and number of molecules that count."""

    name: str
    rows: int
    columns: int
    nm_per_px: float | None
    molecules: int
    unscanned: float


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What a data set holds and what is wrong with it.

    Parameters
    ----------
    pictures, classes
        One summary each.
    problems : tuple of Problem
        Errors first.
    overlaps : tuple of (str, str, Overlap)
        Names of pictures that share a place.
    nm_per_px : float or None
        Suggested pitch for the model, where every picture has a scale: the median molecule is then 48 px wide.
    anchor_sizes : tuple of tuple of float
        Suggested sides of the light network's anchors, by level, for pictures shown in their own pixels; scaled by the
        pitch otherwise.
    sheets : tuple of Path
        Contact sheets that were drawn.
    """

    pictures: tuple[PictureSummary, ...]
    classes: tuple[ClassSummary, ...]
    problems: tuple[Problem, ...]
    overlaps: tuple[tuple[str, str, Overlap], ...]
    nm_per_px: float | None
    anchor_sizes: tuple[tuple[float, ...], ...]
    sheets: tuple[Path, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether training may begin."""
        return not any(problem.severity is Severity.ERROR for problem in self.problems)

    def lines(self) -> Iterator[str]:
        """The report as text."""
        for picture in self.pictures:
            scale = f"{picture.nm_per_px:.4g} nm/px" if picture.nm_per_px else "scale unknown"
            blank = f", {picture.unscanned:.0%} not scanned" if picture.unscanned else ""
            size = f"{picture.columns} x {picture.rows} px"
            yield f"{picture.name}: {size}, {scale}, {picture.molecules} molecules{blank}"
        for one in self.classes:
            sides = "{:.0f} / {:.0f} / {:.0f} px".format(*one.side_px)
            if one.side_nm is not None:
                sides += " = {:.2f} / {:.2f} / {:.2f} nm".format(*one.side_nm)
            ignored = f" and {one.ignored} ignored" if one.ignored else ""
            yield f"class {one.label}: {one.count} in {one.pictures} pictures{ignored}, sides {sides}"
        if self.nm_per_px is not None:
            yield f"suggested pitch: {self.nm_per_px:.3g} nm/px"
        if self.anchor_sizes:
            levels = ("/".join(f"{side:g}" for side in sides) for sides in self.anchor_sizes)
            yield f"suggested anchors, px: {', '.join(levels)}"
        yield from map(str, self.problems)
        yield from (f"contact sheet: {path}" for path in self.sheets)


def check_dataset(
    paths: Sequence[Path],
    *,
    label_rule: LabelRule = DEFAULT_RULE,
    options: PictureOptions = DEFAULT_OPTIONS,
    sheet: Path | None = None,
) -> DatasetReport:
    """Load a data set, tell everything that is wrong with it, and draw it.

    Parameters
    ----------
    paths, label_rule, options
        As in :func:`spm_live.training.data.load_pictures`.
    sheet : Path or None
        Where to draw the contact sheet; ``sheet-2.png`` and so on follow where one is not enough.

    Raises
    ------
    SetupError
        If the sheet cannot be written; never for what is wrong with the data set.
    """
    loaded = survey_pictures(paths, label_rule=label_rule, options=options)
    overlaps, more = _overlaps(loaded.pictures)
    more += _sizes(loaded.pictures)
    order = list(Severity)
    problems = sorted((*loaded.problems, *more), key=lambda problem: order.index(problem.severity))
    boxes = _boxes(loaded.pictures)
    return DatasetReport(
        pictures=tuple(_picture(one) for one in loaded.pictures),
        classes=tuple(_class(label, loaded.pictures) for label in loaded.classes),
        problems=tuple(problems),
        overlaps=overlaps,
        nm_per_px=_pitch(loaded.pictures),
        anchor_sizes=choose_anchors(NetworkConfig(classes=("any",)), boxes).anchor_sizes if len(boxes) else (),
        sheets=write_sheets(loaded.pictures, loaded.classes, sheet) if sheet is not None and loaded.pictures else (),
    )


def _overlaps(
    pictures: Sequence[LabelledPicture],
) -> tuple[tuple[tuple[str, str, Overlap], ...], list[Problem]]:
    pairs = list(combinations(pictures, 2))
    found: list[tuple[str, str, Overlap]] = []
    problems: list[Problem] = []
    for first, second in pairs[:MOST_PAIRS]:
        shared = overlap_of(first, second)
        if shared is None:
            continue
        found.append((first.name, second.name, shared))
        x1, y1, x2, y2 = shared.first_box
        text = (
            f"shares {x2 - x1} x {y2 - y1} px (from column {x1}, row {y1}) with {second.name}: what is learnt from one "
            "must not be judged on the other (a split by spm-live sees to it)"
        )
        problems.append(Problem(first.name, None, Severity.WARNING, text))
    if len(pairs) > MOST_PAIRS:
        text = f"only {MOST_PAIRS} of {len(pairs)} pairs of pictures were searched for a place that they share"
        problems.append(Problem("", None, Severity.WARNING, text))
    return tuple(found), problems


def _sizes(pictures: Sequence[LabelledPicture]) -> list[Problem]:
    problems = []
    for picture in pictures:
        sides = _sides(_boxes([picture]))
        if not sides.size or SMALL_PX <= float(np.median(sides)) <= LARGE_PX:
            continue
        text = (
            f"its molecules are {float(np.median(sides)):.0f} px wide; {SMALL_PX:.0f} to {LARGE_PX:.0f} suit the "
            "network: resample, or give a pitch (nm_per_px)"
        )
        problems.append(Problem(picture.name, None, Severity.WARNING, text))
    return problems


def _boxes(pictures: Sequence[LabelledPicture], label: str | None = None) -> NDArray[np.float64]:
    boxes = [
        one.box_px for picture in pictures for one in picture.molecules if not one.ignore and label in {None, one.label}
    ]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def _sides(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)))


def _pitch(pictures: Sequence[LabelledPicture]) -> float | None:
    if not pictures or any(picture.nm_per_px is None for picture in pictures):
        return None
    sides = np.concatenate([_sides(_boxes([one])) * (one.nm_per_px or 0.0) for one in pictures])
    return float(f"{np.median(sides) / SIDE_PX:.2g}") if sides.size else None


def _picture(picture: LabelledPicture) -> PictureSummary:
    rows, columns = picture.image.shape
    count = sum(not one.ignore for one in picture.molecules)
    unscanned = float(np.isnan(picture.image).mean())
    return PictureSummary(picture.name, rows, columns, picture.nm_per_px, count, unscanned)


def _class(label: str, pictures: Sequence[LabelledPicture]) -> ClassSummary:
    sides = _sides(_boxes(pictures, label))
    scaled = [_sides(_boxes([one], label)) * one.nm_per_px for one in pictures if one.nm_per_px]
    all_scaled = np.concatenate(scaled) if scaled else np.zeros(0)
    return ClassSummary(
        label=label,
        count=len(sides),
        ignored=sum(one.ignore and one.label == label for picture in pictures for one in picture.molecules),
        pictures=sum(label in picture.labels for picture in pictures),
        side_px=_range(sides),
        side_nm=_range(all_scaled) if all_scaled.size else None,
    )


def _range(values: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(values.min()), float(np.median(values)), float(values.max())
