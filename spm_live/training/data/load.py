"""Loads labelled pictures from whatever a lab has, and says at once everything that is wrong with them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from spm_live.errors import SetupError
from spm_live.training.data.claims import ClaimedPicture
from spm_live.training.data.label_files import Gathered, Listing, list_files, read_label_file
from spm_live.training.data.label_rule import Classes, LabelRule
from spm_live.training.data.mend import Mended, drop_doubles, ignore_unscanned, mend
from spm_live.training.data.picture_files import NoPictureError, PictureOptions, find_picture
from spm_live.training.data.problem import Problem, ProblemLog, Severity
from spm_live.training.labelled import LabelledPicture
from spm_live_drivers.contract import Trace

DEFAULT_RULE = LabelRule()
DEFAULT_OPTIONS = PictureOptions()
MANY = 6
"""Names that a sentence lists at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """Labelled pictures, ready to learn from.

    Parameters
    ----------
    pictures : tuple of LabelledPicture
        In the order of the label files; names are unique.
    problems : tuple of Problem
        What was repaired, and what is worth a look; from :func:`survey_pictures` also errors.
    """

    pictures: tuple[LabelledPicture, ...]
    problems: tuple[Problem, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class that occurs, sorted."""
        return tuple(sorted({label for picture in self.pictures for label in picture.labels}))

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that a person has to mend."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)


def load_pictures(
    paths: Sequence[Path], *, label_rule: LabelRule = DEFAULT_RULE, options: PictureOptions = DEFAULT_OPTIONS
) -> Loaded:
    """Load labelled pictures.

    Parameters
    ----------
    paths : sequence of Path
        Folders (with all sub-folders), label files of labelme, COCO data sets, frame messages and stores of spm-live,
        or pictures beside their label file, in any mixture.
    label_rule : LabelRule
        How labels become classes.
    options : PictureOptions
        How pictures are read.

    Raises
    ------
    SetupError
        With every error of every file, before anything is learnt.
    """
    loaded = survey_pictures(paths, label_rule=label_rule, options=options)
    if loaded.errors:
        raise SetupError([str(problem) for problem in loaded.errors])
    return loaded


def survey_pictures(
    paths: Sequence[Path], *, label_rule: LabelRule = DEFAULT_RULE, options: PictureOptions = DEFAULT_OPTIONS
) -> Loaded:
    """Load what can be loaded and tell the rest: as :func:`load_pictures`, but errors stand in the result."""
    gathered = Gathered()
    listing = list_files(paths, gathered)
    for path, named in listing.label_files:
        read_label_file(path, named=named, min_score=options.min_score, gathered=gathered)
    drafts = _open_all(gathered, options)
    everywhere = gathered.log_for("")
    classes = _classes(drafts, label_rule, everywhere)
    pictures = tuple(_finish(draft, classes, name) for draft, name in zip(drafts, _names(drafts), strict=True))
    _tell_twins(pictures, everywhere)
    _tell_counts(pictures, gathered, everywhere)
    _tell_unlabelled(listing, drafts, everywhere)
    return Loaded(pictures, tuple(gathered.problems))


@dataclass(frozen=True, slots=True, eq=False)
class _Draft:
    """A picture with outlines that hold, and labels as they were typed."""

    claim: ClaimedPicture
    log: ProblemLog
    picture: LabelledPicture
    molecules: tuple[Mended, ...]
    source: Path | None


def _open_all(gathered: Gathered, options: PictureOptions) -> list[_Draft]:
    drafts: list[_Draft] = []
    labelled: dict[tuple[Path, str | None, Trace], str] = {}
    for claim, log in gathered.claims:
        try:
            grey, repairs, warnings = find_picture(claim, options)
        except NoPictureError as error:
            log.error(str(error))
            continue
        for text in repairs:
            log.repaired(text)
        for text in (*warnings, *grey.warnings):
            log.warning(text)
        if grey.source is not None:
            key = grey.source.resolve(), claim.channel, claim.trace
            if key in labelled:
                log.error(f"labels {grey.source}, which {labelled[key]} labels too; take one of the two away")
                continue
            labelled[key] = log.file
        nm_per_px = grey.nm_per_px or claim.nm_per_px or options.nm_per_px
        found = (mend(molecule, grey.image.shape, grey.stretch_xy, log) for molecule in claim.molecules)
        molecules = ignore_unscanned([one for one in found if one is not None], grey.image, log)
        picture = LabelledPicture(claim.name, grey.image, (), nm_per_px)
        drafts.append(_Draft(claim, log, picture, molecules, grey.source))
    return drafts


def _classes(drafts: Iterable[_Draft], rule: LabelRule, log: ProblemLog) -> Classes:
    typed: list[tuple[str, str]] = []
    named: list[str] = []
    for number, draft in enumerate(drafts):
        labels = [one.molecule.label for one in draft.molecules]
        if draft.claim.serials:
            typed += [(str(number), label) for label in labels]
        else:
            named += labels
    classes = rule.classes_of(typed, named)
    by_class: dict[str, list[str]] = {}
    for label, name in classes.stripped.items():
        by_class.setdefault(name, []).append(label)
    for name, labels in sorted(by_class.items()):
        log.repaired(f"{len(labels)} labels are taken for {name} with a serial number: {_some(labels)}")
    if classes.doubtful:
        log.warning(
            f"{_some(classes.doubtful)} are taken for names of classes; if their digits are serial numbers, say so in "
            "the rule for labels (serial = always)"
        )
    if classes.unmatched:
        log.warning(f"the pattern of the rule for labels does not match {_some(classes.unmatched)}: kept as they are")
    return classes


def _finish(draft: _Draft, classes: Classes, name: str) -> LabelledPicture:
    renamed = [
        replace(
            one,
            molecule=replace(
                one.molecule,
                label=classes.classes[one.molecule.label],
                ignore=one.molecule.ignore or one.molecule.label in classes.ignored,
            ),
        )
        for one in draft.molecules
        if one.molecule.label not in classes.left_out
    ]
    return replace(draft.picture, name=name, molecules=drop_doubles(renamed, draft.log))


def _names(drafts: Sequence[_Draft]) -> list[str]:
    """File names; with as much of their folder as it takes to tell them apart."""
    folders = [(draft.source or draft.claim.label_file).resolve().parent.parts for draft in drafts]
    plain = [draft.claim.name for draft in drafts]
    names: list[str] = []
    for name, mine in zip(plain, folders, strict=True):
        others = [their for other, their in zip(plain, folders, strict=True) if other == name and their != mine]
        depth = next((n for n in range(len(mine)) if not any(_tail(their, n) == _tail(mine, n) for their in others)), 0)
        names.append("/".join([*_tail(mine, depth), name]))
    counted: Counter[str] = Counter()
    for index, name in enumerate(names):
        counted[name] += 1
        if counted[name] > 1:
            names[index] = f"{name} ({counted[name]})"
    return names


def _tail(parts: tuple[str, ...], length: int) -> tuple[str, ...]:
    return parts[len(parts) - length :] if length <= len(parts) else parts


def _tell_twins(pictures: Sequence[LabelledPicture], log: ProblemLog) -> None:
    seen: dict[bytes, str] = {}
    for picture in pictures:
        key = (
            hashlib.sha256(np.ascontiguousarray(picture.image).tobytes()).digest() + repr(picture.image.shape).encode()
        )
        other = seen.setdefault(key, picture.name)
        if other != picture.name:
            log.warning(f"{picture.name} and {other} show the same; in training and validation both they would mislead")


def _tell_counts(pictures: Sequence[LabelledPicture], gathered: Gathered, log: ProblemLog) -> None:
    counts = Counter(one.label for picture in pictures for one in picture.molecules if not one.ignore)
    for picture in pictures:
        if not any(not one.ignore for one in picture.molecules):
            log.warning(f"{picture.name} has no molecule: all of it counts as background")
    for label, count in sorted(counts.items()):
        if count == 1:
            log.warning(f"class {label} has one example; label more, or rename or leave it out by the rule for labels")
    for label in counts:
        twins = [other for other in counts if other != label and other.casefold() == label.casefold() and other > label]
        if twins:
            log.warning(f"classes {_some([label, *twins])} differ in capital letters alone; are they one?")
    if not counts and not any(problem.severity is Severity.ERROR for problem in gathered.problems):
        log.error("no molecule is labelled; give label files, or folders that hold them")


def _tell_unlabelled(listing: Listing, drafts: Sequence[_Draft], log: ProblemLog) -> None:
    used = {draft.source.resolve() for draft in drafts if draft.source is not None}
    bare = [picture for picture in listing.pictures if picture.resolve() not in used]
    if bare:
        log.warning(f"{len(bare)} picture(s) without labels are passed over: {_some([str(path) for path in bare])}")


def _some(names: Sequence[str]) -> str:
    more = len(names) - MANY
    return ", ".join(names[:MANY]) + (f" and {more} more" if more > 0 else "")
