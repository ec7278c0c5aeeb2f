"""What a rule looks at: the same few numbers of a scan in progress and of a finished frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spm_live.scanning import LiveMap

_TEXT_LIMIT = 200
"""Names come from files and from the network; a sentence for a person holds this many characters of one."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a frame is, and what was found in it.

    Parameters
    ----------
    lines, of_lines : int
        Lines that were worked on, and lines of the whole frame.
    counts : mapping of str to int
        Every class of the model to its molecules, those cut by the front left out.
    settled_counts : mapping of str to int
        Of these, the ones that stay whatever comes.
    in_sight : mapping of str to int
        Class to molecules that were seen at all, those cut by the front too.
    coverage : float
        Part of the scanned area under any molecule, 0 to 1; NaN where nothing was scanned.
    area_nm2 : float
        Area that was scanned, in nm².
    final : bool
        Nothing of this will change: every line is settled, or the frame is finished.
    """

    lines: int
    of_lines: int
    counts: Mapping[str, int]
    settled_counts: Mapping[str, int]
    in_sight: Mapping[str, int]
    coverage: float
    area_nm2: float
    final: bool

    def sentence(self) -> str:
        """Say what was found.

        Returns
        -------
        str
            Such as ``"14 molecules (three-lobe 12, rod 2) on 100 nm², coverage 12.3 %"``.
        """
        total = sum(self.counts.values())
        found = ", ".join(f"{one_line(label)} {number}" for label, number in sorted(self.counts.items()) if number)
        return (
            f"{total} molecule{'' if total == 1 else 's'}"
            + (f" ({found})" if len(self.counts) > 1 and found else "")
            + f" on {self.area_nm2:.4g} nm²"
            + (f", coverage {percent(self.coverage)}" if self.coverage == self.coverage else "")
        )


def of_map(live: LiveMap) -> Standing:
    """The standing of a scan in progress."""
    settled = Counter(one.molecule.label for one in live.molecules if one.settled and not one.cut_by_front)
    return Standing(
        lines=live.frame.complete_rows,
        of_lines=live.frame.geometry.rows,
        counts={label: count.total for label, count in live.counts.items()},
        settled_counts=settled,
        in_sight=Counter(one.molecule.label for one in live.molecules),
        coverage=live.coverage,
        area_nm2=live.scanned_area_nm2,
        final=live.settled_rows >= live.frame.complete_rows > 0,
    )


def of_message(message: Mapping[str, Any]) -> Standing:
    """The standing of a finished frame, from its message (see :func:`spm_live.publish.message.frame_message`)."""
    counts = {label: count["total"] for label, count in message["counts"].items()}
    coverage, area_nm2 = message["coverage"], message["scanned_area_nm2"]
    return Standing(
        lines=message["complete_rows"],
        of_lines=message["rows"],
        counts=counts,
        settled_counts=counts,
        in_sight=counts,
        coverage=float("nan") if coverage is None else coverage,
        area_nm2=0.0 if area_nm2 is None else area_nm2,
        final=True,
    )


def number_of(counts: Mapping[str, int], label: str | None) -> int:
    """Molecules of one class, or of all where ``label`` is None."""
    return sum(counts.values()) if label is None else counts.get(label, 0)


def percent(part: float) -> str:
    """Write a part of one in percent.

    Examples
    --------
    >>> percent(0.3), percent(0.0625)
    ('30 %', '6.25 %')
    """
    return f"{100 * part:.3g} %"


def one_line(text: str) -> str:
    r"""Make a name from elsewhere fit into a sentence: one line, no control characters, not endless.

    Examples
    --------
    >>> one_line("scan\n17"), len(one_line("x" * 1000))
    ('scan 17', 200)
    """
    shown = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * _TEXT_LIMIT])
    shown = " ".join(shown.split())
    return shown if len(shown) <= _TEXT_LIMIT else shown[: _TEXT_LIMIT - 1] + "…"
