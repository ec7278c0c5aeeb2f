"""Sets apart what validation may use, so that no pixel of it was trained on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from spm_live.errors import SetupError
from spm_live.training.data.outlines import area_of, clipped
from spm_live.training.data.overlap import Box, overlap_of
from spm_live.training.labelled import LabelledMolecule, LabelledPicture

logger = logging.getLogger(__name__)

PAIRS_TO_TELL = 50
PICTURES_ENOUGH = 5
"""From so many pictures on, whole ones are set apart; of fewer, a strip of each."""
LEAST_SIDE = 16
"""A strip narrower than this shows no molecule whole."""
SHAVING_PX2 = 0.5
"""Less of a molecule than this beyond a border does not cut it."""
LEFT_OUT = "ignore"
"""Label of a place that was trained on, in a validation picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """What to learn from and what to judge on.

    Parameters
    ----------
    training, validation : tuple of LabelledPicture
        No pixel of a validation picture is in a training picture, but for those under ``left_out``. What was cut by the
        line between the two is ignored on both sides.
    left_out : mapping of str to tuple of (int, int, int, int)
        Name of a validation picture to the rectangles x1, y1, x2, y2 of it that were trained on: ignored, and to be
        left out of any figure.
    notes : tuple of str
        What a person should know.
    """

    training: tuple[LabelledPicture, ...]
    validation: tuple[LabelledPicture, ...]
    left_out: Mapping[str, tuple[Box, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def split(pictures: Sequence[LabelledPicture], share: float = 0.2, seed: int = 0) -> Split:
    """Set apart about a share of the molecules: whole pictures where there are enough, else a strip of each.

    Parameters
    ----------
    pictures : sequence of LabelledPicture
        All there are.
    share : float
        Part of the molecules for validation, between 0 and 1.
    seed : int
        One seed, one split of whole pictures. Strips do not depend on it.

    Raises
    ------
    SetupError
        If there is too little to be parted.
    """
    groups = linked(pictures)
    if len(groups) >= PICTURES_ENOUGH:
        return split_by_picture(pictures, share, seed)
    return split_by_strip(pictures, share)


def split_by_picture(pictures: Sequence[LabelledPicture], share: float = 0.2, seed: int = 0) -> Split:
    """Set whole pictures apart; pictures that share a place stay together.

    Raises
    ------
    SetupError
        If there are not two pictures that share nothing.
    """
    _check_share(share)
    groups = linked(pictures)
    if len(groups) < 2:
        raise SetupError("validation needs a picture that shares nothing with the others; split by region instead")
    order = np.random.default_rng(seed).permutation(len(groups))
    sizes = [sum(_count(pictures[index]) for index in group) for group in groups]
    wanted = share * sum(sizes)
    chosen: set[int] = set()
    taken = 0
    for number in order[:-1]:  # one group at least is left to learn from
        if not chosen or abs(taken + sizes[number] - wanted) < abs(taken - wanted):
            chosen |= set(groups[number])
            taken += sizes[number]
    training = tuple(one for index, one in enumerate(pictures) if index not in chosen)
    validation = tuple(pictures[index] for index in sorted(chosen))
    return Split(training, validation, notes=_lacking(training, validation))


def split_by_strip(pictures: Sequence[LabelledPicture], share: float = 0.2) -> Split:
    """Set a strip of every picture apart: of the four sides the one that cuts fewest molecules and keeps the classes.

    Raises
    ------
    SetupError
        If no picture is large enough.
    """
    _check_share(share)
    training: list[LabelledPicture] = []
    validation: list[LabelledPicture] = []
    for picture in pictures:
        parted = min(
            (split_region(picture, box) for box in _strips(picture, share)),
            key=lambda pair: _cost(picture, pair, share),
            default=None,
        )
        if parted is None or not _count(parted[1]) or not _count(parted[0]):
            training.append(picture)
        else:
            training.append(parted[0])
            validation.append(parted[1])
    if not validation:
        raise SetupError("no picture is large enough to set a strip with whole molecules apart for validation")
    notes = _lacking(training, validation)
    result = hold_out(training, validation)
    return replace(result, notes=notes + result.notes)


def split_region(picture: LabelledPicture, box: Box) -> tuple[LabelledPicture, LabelledPicture]:
    """Part one picture: what lies in a rectangle is for validation, all else for training.

    Parameters
    ----------
    picture : LabelledPicture
        To be parted.
    box : (int, int, int, int)
        x1, y1, x2, y2: edges of the rectangle, in pixels.

    Returns
    -------
    training, validation : LabelledPicture
        The training picture is cut down to what is left and not scanned (NaN) where the rectangle lies within it. A
        molecule on the line is ignored on both sides.

    Raises
    ------
    SetupError
        If the rectangle does not lie in the picture, or is all of it.
    """
    rows, columns = picture.image.shape
    x1, y1, x2, y2 = box
    if not (0 <= x1 < x2 <= columns and 0 <= y1 < y2 <= rows) or (x2 - x1, y2 - y1) == (columns, rows):
        raise SetupError(f"{picture.name}: the region {x1}, {y1}, {x2}, {y2} is no part of its {columns} x {rows} px")
    validation = cut_out(picture, box, f"{picture.name} [{x1},{y1},{x2},{y2}]")
    image = picture.image.copy()
    image[y1:y2, x1:x2] = np.nan
    kept = []
    for one in picture.molecules:
        inside = _area_in(one, box)
        if inside >= _area(one) - SHAVING_PX2:
            continue
        kept.append(replace(one, ignore=one.ignore or inside > SHAVING_PX2))
    rest = replace(picture, image=image, molecules=tuple(kept))
    left, top, right, bottom = _remaining(box, rows, columns)
    return cut_out(rest, (left, top, right, bottom), picture.name), validation


def cut_out(picture: LabelledPicture, box: Box, name: str) -> LabelledPicture:
    """A rectangle of a picture; molecules that its border cuts are cut there and ignored.

    Parameters
    ----------
    picture : LabelledPicture
        The whole.
    box : (int, int, int, int)
        x1, y1, x2, y2: edges of the rectangle, in pixels; in the picture.
    name : str
        Of the result.
    """
    x1, y1, x2, y2 = box
    molecules = []
    for one in picture.molecules:
        moved = one.moved((-x1, -y1))
        rings = tuple(ring for ring in (clipped(ring, y2 - y1, x2 - x1) for ring in moved.rings) if len(ring))
        if not rings or sum(map(area_of, rings)) <= SHAVING_PX2:
            continue
        whole = _area_in(one, box) >= _area(one) - SHAVING_PX2
        molecules.append(LabelledMolecule(one.label, rings, one.ignore or not whole))
    image = np.ascontiguousarray(picture.image[y1:y2, x1:x2])
    return LabelledPicture(name, image, tuple(molecules), picture.nm_per_px)


def hold_out(training: Sequence[LabelledPicture], validation: Sequence[LabelledPicture]) -> Split:
    """Judge on given pictures, but not on what the training pictures show, too.

    Every place of a validation picture that a training picture shares (:func:`overlap_of`) is covered by an ignored
    rectangle; molecules with their centre in it are dropped, those that reach into it are ignored.
    """
    judged: list[LabelledPicture] = []
    left_out: dict[str, tuple[Box, ...]] = {}
    notes: list[str] = []
    for picture in validation:
        boxes = []
        for seen in training:
            shared = overlap_of(picture, seen)
            if shared is not None:
                boxes.append(shared.first_box)
                notes.append(f"{picture.name} shares {_pixels(shared.first_box)} with {seen.name}, which are left out")
        if boxes:
            left_out[picture.name] = tuple(boxes)
        judged.append(_covered(picture, boxes))
    return Split(tuple(training), tuple(judged), left_out, tuple(notes))


def linked(pictures: Sequence[LabelledPicture]) -> list[list[int]]:
    """Groups of pictures that share a place, directly or through others: places in the sequence."""
    group = list(range(len(pictures)))
    pairs = list(combinations(range(len(pictures)), 2))
    if len(pairs) > PAIRS_TO_TELL:
        logger.info("looking through %d pairs of pictures for places that they share", len(pairs))
    for first, second in pairs:
        if group[first] != group[second] and overlap_of(pictures[first], pictures[second]) is not None:
            group = [group[first] if number == group[second] else number for number in group]
    return [[index for index, number in enumerate(group) if number == wanted] for wanted in sorted(set(group))]


def _covered(picture: LabelledPicture, boxes: Sequence[Box]) -> LabelledPicture:
    molecules = list(picture.molecules)
    for x1, y1, x2, y2 in boxes:
        kept = []
        for one in molecules:
            left, top, right, bottom = one.box_px
            x, y = (left + right) / 2, (top + bottom) / 2
            if not (x1 <= x < x2 and y1 <= y < y2):
                kept.append(replace(one, ignore=one.ignore or _area_in(one, (x1, y1, x2, y2)) > SHAVING_PX2))
        molecules = kept
    cover = [np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], dtype=np.float64) for x1, y1, x2, y2 in boxes]
    ignored = [LabelledMolecule(LEFT_OUT, (ring,), ignore=True) for ring in cover]
    return replace(picture, molecules=(*molecules, *ignored))


def _strips(picture: LabelledPicture, share: float) -> Iterator[Box]:
    """Strips along the four sides that hold about the share of the molecules, in a few widths."""
    rows, columns = picture.image.shape
    for part in (share, 0.8 * share, 1.2 * share, 1.4 * share):
        width, height = round(part * columns), round(part * rows)
        if LEAST_SIDE <= width < columns and rows >= LEAST_SIDE:
            yield 0, 0, width, rows
            yield columns - width, 0, columns, rows
        if LEAST_SIDE <= height < rows and columns >= LEAST_SIDE:
            yield 0, 0, columns, height
            yield 0, rows - height, columns, rows


def _cost(picture: LabelledPicture, pair: tuple[LabelledPicture, LabelledPicture], share: float) -> float:
    """How far two parts are from what was asked: molecules cut, classes that lack, and the share missed."""
    whole = _classes(picture)
    left, judged = _classes(pair[0]), _classes(pair[1])
    cut = sum(whole.values()) - sum(left.values()) - sum(judged.values())
    lacking = sum((left[label] == 0) * 4 + (judged[label] == 0) * 2 for label in whole)
    uneven = sum(abs(judged[label] - share * count) for label, count in whole.items())
    return cut + lacking + uneven


def _remaining(box: Box, rows: int, columns: int) -> Box:
    """The smallest rectangle that holds all that lies outside another one."""
    x1, y1, x2, y2 = box
    left, top, right, bottom = 0, 0, columns, rows
    if (x1, x2) == (0, columns):
        top, bottom = (y2 if y1 == 0 else 0), (y1 if y2 == rows else rows)
    elif (y1, y2) == (0, rows):
        left, right = (x2 if x1 == 0 else 0), (x1 if x2 == columns else columns)
    return left, top, right, bottom


def _area(molecule: LabelledMolecule) -> float:
    return sum(area_of(ring) for ring in molecule.rings)


def _area_in(molecule: LabelledMolecule, box: Box) -> float:
    """Area within a rectangle, in px²; holes count as filled, on either side alike."""
    x1, y1, x2, y2 = box
    shifted = (ring - np.array([x1, y1], dtype=np.float64) for ring in molecule.rings)
    return sum(area_of(ring) for ring in (clipped(ring, y2 - y1, x2 - x1) for ring in shifted) if len(ring))


def _classes(picture: LabelledPicture) -> Counter[str]:
    return Counter(one.label for one in picture.molecules if not one.ignore)


def _count(picture: LabelledPicture) -> int:
    return sum(_classes(picture).values())


def _lacking(training: Sequence[LabelledPicture], validation: Sequence[LabelledPicture]) -> tuple[str, ...]:
    learnt = sum((_classes(one) for one in training), Counter[str]())
    judged = sum((_classes(one) for one in validation), Counter[str]())
    notes = [f"class {label} is judged but never learnt: label more of it" for label in judged if not learnt[label]]
    return tuple(notes + [f"class {label} is learnt but never judged" for label in learnt if not judged[label]])


def _pixels(box: Box) -> str:
    return f"{box[2] - box[0]} x {box[3] - box[1]} px at column {box[0]}, row {box[1]},"


def _check_share(share: float) -> None:
    if not 0 < share < 1:
        raise SetupError(f"a share of {share:g} for validation; it must lie between 0 and 1")
