"""From measures to a word, and to reasons for it that a tired person understands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spm_live.quality.changes import FoundChange
from spm_live.quality.double_tip import SecondApex
from spm_live.scanning import Verdict

FEWEST_LINES = 16
"""With fewer lines nothing is said about the tip."""
STREAKS = (0.03, 0.1)
"""Part of the pixels from which on the picture is doubtful, and bad."""
DROPOUTS = (0.01, 0.05)
"""The same."""
CHANGES = (1, 3)
"""Number of tip changes."""
COPY = (0.0, 0.1)
"""Strength of a shifted copy."""
CORRELATION = 0.1
"""Neighbouring lines, and traces, that agree less have nothing in common: doubtful, and no more, since of an empty
terrace a good tip shows nothing but noise either."""
MOST_TOLD = 3
"""So many tip changes are told one by one; of more, the last and how many."""


@dataclass(frozen=True, slots=True)
class Measures:
    """All that is known of a scan.

    Parameters
    ----------
    lines, usable : int
        Lines that came, and those that show something.
    streaks, dropouts : float
        Parts of the picture, 0 to 1.
    line_correlation, trace_agreement : float
        -1 to 1, NaN while unknown.
    copy : SecondApex or None
        A shifted copy in the picture.
    changes : sequence of FoundChange
        In the order of scanning.
    unit : str
        In words, such as ``"nm"``.
    """

    lines: int
    usable: int
    streaks: float
    dropouts: float
    line_correlation: float
    trace_agreement: float
    copy: SecondApex | None
    changes: Sequence[FoundChange]
    unit: str


def judge(measures: Measures) -> tuple[Verdict, tuple[str, ...]]:
    """Say how good the lines at hand are, and why.

    Returns
    -------
    verdict : Verdict
        UNKNOWN where too few lines show anything, unless what is missing is reason enough.
    reasons : tuple of str
        Worst first; empty for GOOD.
    """
    found: list[tuple[float, str]] = []  # how bad, 1 and more is bad; why
    if measures.lines >= FEWEST_LINES:
        _note(
            found,
            measures.dropouts,
            DROPOUTS,
            f"{_percent(measures.dropouts)} of the picture hold no value or a fixed one",
        )
    if measures.usable >= FEWEST_LINES:
        _note(found, len(measures.changes), CHANGES, _tell(measures.changes, measures.unit))
        _note(found, measures.streaks, STREAKS, f"{_percent(measures.streaks)} of the picture lie in streaks")
        if measures.copy is not None:
            _note(found, measures.copy.strength, COPY, _where(measures.copy))
        if measures.line_correlation < CORRELATION and not measures.trace_agreement >= CORRELATION:
            text = "neighbouring lines have nothing in common: the picture is lost in noise, or there is nothing to see"
            found.append((0.0, text))
    found.sort(key=lambda one: -one[0])
    reasons = tuple(text for _, text in found)
    if found and found[0][0] >= 1:
        return Verdict.BAD, reasons
    if measures.usable < FEWEST_LINES:
        return Verdict.UNKNOWN, reasons
    return (Verdict.DOUBTFUL if found else Verdict.GOOD), reasons


def _note(found: list[tuple[float, str]], value: float, limits: tuple[float, float], text: str) -> None:
    doubtful, bad = limits
    if value >= doubtful and value > 0:
        found.append((value / bad, text))


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %" if part >= 0.0995 else f"{100 * part:.1f} %"


def _where(copy: SecondApex) -> str:
    across = f"{abs(copy.x):.1f} nm to the {'right' if copy.x > 0 else 'left'}"
    along = f"{abs(copy.y):.1f} nm {'up' if copy.y > 0 else 'down'}"
    sides = [text for text, size in ((across, abs(copy.x)), (along, abs(copy.y))) if size >= 0.05]
    return f"double tip: everything has a weaker copy {' and '.join(sides)}"


def _tell(changes: Sequence[FoundChange], unit: str) -> str:
    if not changes:
        return ""
    told = [_one(found, unit) for found in changes[-MOST_TOLD:]]
    if len(changes) > MOST_TOLD:
        return f"the tip changed {len(changes)} times, last {told[-1]}"
    return f"the tip changed {'; '.join(told)}"


def _one(found: FoundChange, unit: str) -> str:
    at = f"at line {found.change.line}"
    what = []
    if found.height:
        what.append(
            f"heights jumped by {abs(found.height):.2g} {unit}"
            if unit == "nm"
            else f"values jumped by {abs(found.height):.2g} {unit}"
        )
    if "resolution" in found.change.kind:
        what.append("the resolution is another one")
    return f"{at}: {' and '.join(what)}"
