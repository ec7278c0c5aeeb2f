"""What is made to go wrong in a soak test, and how its name is looked for in what the daemon wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from spm_live_drivers.simulate import Fault

SIMULATED = {
    # Each pattern is what a person would look for in the log who knows what happened. late-chain is not among them:
    # it can only happen to MATRIX files, and the soak test saves .sxm.
    "restart": r"nanonis soak: .*(connect|closed|broke|reset)",
    "restart-anew": r"nanonis soak: .*(connect|closed|broke|reset)",
    "half-reply": r"nanonis soak: .*(closed the connection|broke|ends within)",
    "slow-reply": r"nanonis soak: .*(in time|within .* s|took)",
    "wrong-size": r"nanonis soak: .*(bytes|announced|ends within|in time|no error block|accepted)",
    "wrong-name": r"nanonis soak: .*(was asked and .* answered|another call|wrong)",
    "dropped-line": r"line {line} never came|{file}: .*(not scanned|without values)|drop-?out",
    "tip-change": r"notice of rule tip changed",
    "double-tip": r"notice of rule (tip changed|bad scan).*",
    "slow-file": r"{file}: is not complete yet",
    "no-file": r"is finished after \d+ of \d+ lines$|no file came of it",
    # A scan of a few lines at this speed can be over between two looks at the controller; its file tells it then.
    "stopped": r"is stopped after|{file}: .*partial: ",
    "restarted-scan": r"is stopped after",
    "changed-frame": r"has begun, (?!{usual})",
    "nan-everywhere": r"{file}: .*(0 molecules on 0 nm|partial: )|notice of rule bad scan",
}
"""Faults of the simulated instrument, and what names them; for ``{file}``, ``{line}``, ``{usual}`` see ``Injected``."""

AROUND = {
    "damaged-file": r"damaged_\d+\.sxm: read:",
    "webhook-refuses": r"rule done: .*answered 404",
    "worker-killed": r"the worker (died|ended|was)",
}
"""Faults around the daemon, done by the soak test itself, and what names them."""

SEEN_BY_EYE = frozenset({"tip-change", "double-tip"})
"""Those that have to be seen in the picture: 9 of 10, or all but one; of fewer than five, nothing is said."""
ONE_IN, JUDGED = 10, 5

BEFORE_S, WITHIN_S = 1.0, 45.0
"""A fault must be named from so long before the moment that was noted for it to so long after it, in s."""

_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) +\w+ +[\w.]+: (.*)")


@dataclass(frozen=True, slots=True)
class Injected:
    """Something that was made to go wrong.

    Parameters
    ----------
    name : str
        Of :data:`SIMULATED` or :data:`AROUND`.
    when : datetime
        Local time without a zone, as in the log.
    what : str
        For a person.
    file : str
        Name that the file of the frame has, or would have.
    line : int
        At which line.
    usual : str
        The frame without the fault, as the log tells it.
    """

    name: str
    when: datetime
    what: str
    file: str = ""
    line: int = -1
    usual: str = ""

    def is_named_by(self, text: str) -> bool:
        """Whether a line of the log names it."""
        pattern = {**SIMULATED, **AROUND}[self.name]
        for place, value in (("{file}", self.file), ("{line}", str(self.line)), ("{usual}", self.usual)):
            pattern = pattern.replace(place, re.escape(value))
        return re.search(pattern, text, re.IGNORECASE) is not None


@dataclass(frozen=True, slots=True)
class Naming:
    """How often a fault was injected, and how often the log names it.

    Parameters
    ----------
    name : str
        Which fault.
    injected, named : int
        How often.
    unnamed : tuple of str
        The injections that nothing names.
    example : str
        A line that names one.
    """

    name: str
    injected: int
    named: int
    unnamed: tuple[str, ...]
    example: str

    @property
    def good(self) -> bool | None:
        """Whether enough of them are named; None where a few that must be seen in the picture tell nothing."""
        missed = self.injected - self.named
        if self.name not in SEEN_BY_EYE or not missed:
            return not missed
        return None if self.injected < JUDGED else missed <= max(1, self.injected // ONE_IN)


def planned(frames: int, share: float, seed: int) -> list[Fault]:
    """Faults of the simulated instrument, evenly over the frames and each at least once, as far as frames reach.

    The first frame has none, and the last has none: there is something sound at both ends.
    """
    number = min(max(len(SIMULATED), round(share * frames)), max(0, frames - 2))
    rng = np.random.default_rng((seed, 11))
    names: list[str] = []
    while len(names) < number:
        names += [str(name) for name in rng.permutation(list(SIMULATED))]
    where = np.linspace(2, frames - 1, number).round().astype(int) if number else []
    return [Fault(name, int(frame)) for name, frame in zip(names, where, strict=False)]


def naming(injected: Sequence[Injected], log: Path) -> list[Naming]:
    """Look for the name of every fault in the log; a line can stand for one fault only of each kind."""
    lines = list(_read(log))
    found: list[Naming] = []
    for name in {**SIMULATED, **AROUND}:
        mine = sorted((one for one in injected if one.name == name), key=lambda one: one.when)
        if not mine:
            continue
        free = list(lines)
        unnamed, example = [], ""
        for one in mine:
            near = (line for line in free if -BEFORE_S <= (line[0] - one.when).total_seconds() <= WITHIN_S)
            hit = next((line for line in near if one.is_named_by(line[1])), None)
            if hit is None:
                unnamed.append(f"{one.when:%H:%M:%S} {one.what}")
            else:
                free.remove(hit)
                example = example or hit[1]
        found.append(Naming(name, len(mine), len(mine) - len(unnamed), tuple(unnamed), example))
    return found


def surprises(log: Path) -> list[str]:
    """Lines of the log that no test should see: bugs."""
    return [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if "Traceback" in line]


def _read(log: Path) -> list[tuple[datetime, str]]:
    matches = map(_LINE.match, log.read_text(encoding="utf-8", errors="replace").splitlines())
    return [(datetime.fromisoformat(match[1].replace(",", ".")), match[2]) for match in matches if match]
