"""Making the labels of pictures and the classes of a model speak of the same things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from spm_live.errors import SetupError
from spm_live.training.labelled import LabelledPicture


def asked_of(
    pictures: Sequence[LabelledPicture], classes: Sequence[str], labels: Mapping[str, str]
) -> tuple[LabelledPicture, ...]:
    """Name every molecule by a class of the model.

    Parameters
    ----------
    pictures : sequence of LabelledPicture
        With labels as they were given.
    classes : sequence of str
        Of the model.
    labels : mapping of str to str
        Labels, and the classes that they stand for. What is not named stays as it is; a model of one class is asked for
        molecules of any label.

    Returns
    -------
    tuple of LabelledPicture
        The same pictures, renamed.

    Raises
    ------
    SetupError
        Listing everything: no picture, no molecule, labels and classes that the model does not know, a picture twice.
    """
    problems = _problems(pictures, classes, labels)
    if problems:
        raise SetupError(problems)

    def name(label: str) -> str:
        return classes[0] if len(classes) == 1 else labels.get(label, label)

    return tuple(
        replace(picture, molecules=tuple(replace(one, label=name(one.label)) for one in picture.molecules))
        for picture in pictures
    )


def _problems(pictures: Sequence[LabelledPicture], classes: Sequence[str], labels: Mapping[str, str]) -> list[str]:
    known = ", ".join(classes)
    problems = [
        f"labels: {label!r} shall stand for {meant!r}, which is no class of the model; its classes are {known}"
        for label, meant in labels.items()
        if meant not in classes
    ]
    if not pictures:
        problems.append("no picture to evaluate on; give labelled pictures")
    elif not any(picture.labels for picture in pictures):
        problems.append("none of the pictures has a labelled molecule; give pictures with labels")
    names = [picture.name for picture in pictures]
    problems += [
        f"{name}: given {names.count(name)} times; give each picture once"
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if len(classes) > 1:
        strange: dict[str, list[str]] = {}
        for picture in pictures:
            for label in picture.labels:
                if label not in classes and label not in labels:
                    strange.setdefault(label, []).append(picture.name)
        problems += [
            f"label {label!r} ({where[0]}{f' and {len(where) - 1} more' if len(where) > 1 else ''}) is no class of the "
            f"model ({known}); say which class it stands for, as in labels = {{{label!r} = {classes[0]!r}}}"
            for label, where in strange.items()
        ]
    return problems
