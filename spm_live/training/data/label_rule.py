"""From the label of one molecule to its class: which digits are a serial number, and which belong to the name.

People number the molecules of a picture (``003a1``, ``003a2``, ...), and labelme keeps the number in the label. Yet
``C60`` is a name and not the sixtieth C. The labels of the whole data set tell the two apart, see :class:`LabelRule`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_SERIAL = re.compile(r"(?P<stem>.*?[^\d\s_#.(-])[\s_#.(-]*(?P<serial>\d{1,6})\)?")
UNIQUE_SHARE = 0.8
"""A serial number names one molecule of a picture; a fifth may be slips of the keyboard."""
DENSE_SHARE = 0.2
"""Serial numbers start low and leave few gaps: so much of 1 to the highest must occur."""


class LabelRule(BaseModel):
    """How labels become classes.

    Parameters
    ----------
    serial : "auto", "always" or "never"
        Whether digits at the end of a label (after a blank, ``_``, ``-``, ``#``, ``.`` or ``(``, too) are a serial
        number and no part of the class. ``auto`` drops them where the labels of the data set that differ in these
        digits alone

        - would become one class together: there are two different ones at least, or one has no digits at all; and
        - hardly ever occur twice in a picture, as names of classes do (``C60`` on each of forty molecules stays); and
        - count up from one: a fifth of the numbers up to the highest occurs (``C60`` and ``C70`` stay).

        A label without digits at its end, such as ``020a``, is never touched. COCO categories and molecule maps name
        classes, not molecules: ``auto`` leaves them alone.
    pattern : str or None
        Regular expression instead of ``serial``: it must match the whole label, and its group ``class``, else its first
        group, is the class. A label that it does not match stays as it is, with a warning.
    rename : mapping of str to str
        Classes that get another name, after the above. Two may become one.
    ignore : tuple of str
        Classes that mark places of which nothing is known: neither molecule nor background. Before ``rename``.
    leave_out : tuple of str
        Classes that are dropped, as if nobody had drawn them: the place counts as background. Before ``rename``.

    Examples
    --------
    >>> drawn = [("a.json", "003a1"), ("a.json", "003a2"), ("a.json", "020a"), ("a.json", "C60")]
    >>> LabelRule().classes_of(drawn).classes
    {'003a1': '003a', '003a2': '003a', '020a': '020a', 'C60': 'C60'}
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    serial: Literal["auto", "always", "never"] = "auto"
    pattern: str | None = None
    rename: Mapping[str, str] = Field(default_factory=dict)
    ignore: tuple[str, ...] = ("ignore",)
    leave_out: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.pattern is not None:
            try:
                groups = re.compile(self.pattern).groups
            except re.error as error:
                raise ValueError(f"pattern {self.pattern!r} is no regular expression: {error}") from error
            if not groups:
                raise ValueError(f"pattern {self.pattern!r} has no group: put the class in parentheses")
        if any(not name.strip() for name in self.rename.values()):
            raise ValueError("rename gives a class an empty name; to drop a class use leave_out")
        return self

    def classes_of(self, typed: Iterable[tuple[str, str]], named: Iterable[str] = ()) -> Classes:
        """Give every label its class.

        Parameters
        ----------
        typed : iterable of (str, str)
            Picture and label of every molecule that a person labelled singly.
        named : iterable of str
            Labels that are classes already.
        """
        counted = Counter((picture, label) for picture, label in typed)
        labels = list(dict.fromkeys([label for _, label in counted] + list(named)))
        stems, doubtful = self._stems(counted, labels)
        unmatched = tuple(label for label in labels if self.pattern is not None and label not in stems)
        plain = {label: stems.get(label, label).strip() for label in labels}
        return Classes(
            classes={label: self.rename.get(name, name) for label, name in plain.items()},
            ignored=frozenset(label for label, name in plain.items() if name in self.ignore),
            left_out=frozenset(label for label, name in plain.items() if name in self.leave_out),
            stripped={label: name for label, name in plain.items() if name != label.strip()},
            doubtful=doubtful,
            unmatched=unmatched,
        )

    def _stems(self, counted: Counter[tuple[str, str]], labels: list[str]) -> tuple[dict[str, str], tuple[str, ...]]:
        if self.pattern is not None:
            found = {label: re.fullmatch(self.pattern, label) for label in labels}
            group: str | int = "class" if "class" in re.compile(self.pattern).groupindex else 1
            return {label: match[group] for label, match in found.items() if match and match[group]}, ()
        if self.serial == "never":
            return {}, ()
        if self.serial == "always":
            return {label: match["stem"] for label in labels if (match := _SERIAL.fullmatch(label.strip()))}, ()
        return _evident(counted)


@dataclass(frozen=True, slots=True)
class Classes:
    """What became of the labels.

    Parameters
    ----------
    classes : mapping of str to str
        Label as written to class.
    ignored, left_out : frozenset of str
        Labels as written that :class:`LabelRule` ignores and leaves out.
    stripped : mapping of str to str
        Labels that lost a serial number, and what was left.
    doubtful : tuple of str
        Labels that end in digits and kept them although there are others that differ in these digits alone.
    unmatched : tuple of str
        Labels that the pattern does not match.
    """

    classes: Mapping[str, str]
    ignored: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()
    stripped: Mapping[str, str] = field(default_factory=dict)
    doubtful: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()


def _evident(counted: Counter[tuple[str, str]]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Stems of those labels whose digits are evidently serial numbers, and labels where there is doubt."""
    bare = {label.strip() for _, label in counted}
    families: dict[str, dict[str, int]] = defaultdict(dict)
    places: Counter[str] = Counter()
    molecules: Counter[str] = Counter()
    for (_, label), count in counted.items():
        match = _SERIAL.fullmatch(label.strip())
        if match:
            families[match["stem"]][label] = int(match["serial"])
            places[match["stem"]] += 1
            molecules[match["stem"]] += count
    stems: dict[str, str] = {}
    doubtful: list[str] = []
    for stem, serials in families.items():
        unique = places[stem] >= UNIQUE_SHARE * molecules[stem]
        dense = len(set(serials.values())) >= DENSE_SHARE * max(serials.values())
        if (stem in bare and unique) or (len(serials) > 1 and unique and dense):
            stems |= dict.fromkeys(serials, stem)
        elif len(serials) > 1 or stem in bare:
            doubtful += serials
    return stems, tuple(doubtful)
