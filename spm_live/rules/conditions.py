"""When a rule has something to tell, and the sentence that it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from spm_live.rules.standing import Standing, number_of, one_line, percent
from spm_live.scanning import ScanQuality, TipChange, Verdict
from spm_live.settings_live import RuleSettings


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition that holds.

    Parameters
    ----------
    text : str
        The sentence, without the name of the frame and without its full stop.
    sure : bool
        Nothing that comes can take it back; else it must hold once more before it is told.
    """

    text: str
    sure: bool


def coverage_reached(rule: RuleSettings, standing: Standing) -> Finding | None:
    """Whether coverage has reached the threshold; not sure while the area that it refers to still grows."""
    above = rule.above or 0.0
    if not standing.coverage >= above:  # NaN where nothing was scanned
        return None
    text = f"coverage has reached {percent(standing.coverage)} (asked for: {percent(above)}) {_so_far(standing)}"
    return Finding(text, sure=standing.final)


def count_reached(rule: RuleSettings, standing: Standing) -> Finding | None:
    """Whether the count has reached the threshold; sure if the molecules that are settled are enough."""
    above = rule.above or 0.0
    number = number_of(standing.counts, rule.label)
    if number < above:
        return None
    text = f"{_molecules(number, rule.label)} found (asked for: {above:g}) {_so_far(standing)}"
    return Finding(text, sure=standing.final or number_of(standing.settled_counts, rule.label) >= above)


def nothing_found(rule: RuleSettings, standing: Standing) -> Finding | None:
    """Whether no molecule came in sight in so many lines; one that the front still cuts is in sight."""
    if standing.lines < rule.lines or number_of(standing.in_sight, rule.label):
        return None
    return Finding(f"{_molecules(0, rule.label)} {_so_far(standing)}", sure=True)


OF_COUNTS: Mapping[str, Callable[[RuleSettings, Standing], Finding | None]] = {
    "coverage": coverage_reached,
    "count": count_reached,
    "nothing_found": nothing_found,
}
"""The kinds of rules that look at what was found, in a scan in progress as in a finished frame."""


def quality_lost(quality: ScanQuality, of_lines: int) -> str | None:
    """Say why the lines at hand are bad; None where they are not."""
    if quality.verdict is not Verdict.BAD:
        return None
    return f"scan quality is bad after {quality.lines} of {of_lines} lines{_reasons(quality)}"


def tip_changed(change: TipChange, of_lines: int) -> str:
    """Tell a change of the tip."""
    return (
        f"the tip changed after {change.line} of {of_lines} lines "
        f"({one_line(change.kind)}, {change.strength:.2g} times the threshold of detection)"
    )


def frame_finished(standing: Standing) -> str:
    """Tell a finished frame."""
    partial = f", partial: {standing.lines} of {standing.of_lines} lines" if standing.lines < standing.of_lines else ""
    return f"finished with {standing.sentence()}{partial}"


def ended_without_file(standing: Standing | None, lines: int, of_lines: int) -> str:
    """Tell the end of a scan that no file came of."""
    found = standing.sentence() if standing is not None else "nothing was worked on"
    return f"ended after {lines} of {of_lines} lines and no file came of it; {found}"


def where_bad(quality: ScanQuality | None) -> str:
    """What to add to a sentence where the quality of the scan may be the reason."""
    if quality is None or quality.verdict is not Verdict.BAD:
        return ""
    return f"; scan quality is bad{_reasons(quality)}"


def _reasons(quality: ScanQuality) -> str:
    reasons = "; ".join(one_line(reason).rstrip(".") for reason in quality.reasons)
    return f": {reasons}" if reasons else ""


def _molecules(number: int, label: str | None) -> str:
    kind = f" {one_line(label)}" if label is not None else ""
    return f"{number or 'no'}{kind} molecule{'' if number in {0, 1} else 's'}"


def _so_far(standing: Standing) -> str:
    return f"after {standing.lines} of {standing.of_lines} lines ({standing.area_nm2:.4g} nm²)"
