"""What is made to go wrong in a soak test, and how its name is looked for in what the daemon wrote."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from spm_live_drivers.simulate import Fault

SIMULATED = {
    # Each pattern is what a person would look for in the log who knows what happened.
    "restart": r"nanonis soak: .*(connect|closed|broke|reset)",
    "restart-anew": r"nanonis soak: .*(connect|closed|broke|reset)",
    "half-reply": r"nanonis soak: .*(closed the connection|broke|ends within)",
    "slow-reply": r"nanonis soak: .*(in time|within .* s|took)",
    "wrong-size": r"nanonis soak: .*(bytes|announced|ends within|in time|no error block|accepted)",
    "wrong-name": r"nanonis soak: .*(was asked and .* answered|another call|wrong)",
    "dropped-line": r"(never came|missing|without (a )?value|no value|not scanned|drop-?out)",
    "tip-change": r"notice of rule tip changed",
    "double-tip": r"notice of rule (tip changed|bad scan).*",
    "slow-file": r"(its file|the file of).*(later|after|late)|still being written|is not complete",
    "no-file": r"put together|without a file|no file|is finished after \d+ of \d+ lines$",
    "stopped": r"is stopped after",
    "restarted-scan": r"is stopped after",
    "changed-frame": r"is stopped after|has begun",
    "nan-everywhere": r"notice of rule (bad scan|empty)|no value|not scanned|no row was scanned|never came",
}
"""Faults of the simulated instrument, and what names them in the log."""

AROUND = {
    "damaged-file": r"damaged_\d+\.sxm: read:",
    "webhook-refuses": r"rule done: notify: .*answered 404",
    "worker-killed": r"the worker (died|ended|was)",
}
"""Faults around the daemon, done by the soak test itself, and what names them."""

SEEN_BY_EYE = frozenset({"tip-change", "double-tip"})
"""Those that have to be judged from the picture: 9 of 10 must be seen, and that is measured elsewhere."""
SEEN_SHARE = 0.9

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
    """

    name: str
    when: datetime
    what: str


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
    def good(self) -> bool:
        """Whether enough of them are named."""
        share = SEEN_SHARE if self.name in SEEN_BY_EYE else 1.0
        return self.named >= share * self.injected or (self.name in SEEN_BY_EYE and self.injected - self.named <= 1)


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
        pattern = re.compile({**SIMULATED, **AROUND}[name], re.IGNORECASE)
        free = [(when, text) for when, text in lines if pattern.search(text)]
        unnamed, example = [], ""
        for one in mine:
            hit = next((line for line in free if -BEFORE_S <= (line[0] - one.when).total_seconds() <= WITHIN_S), None)
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


@dataclass(frozen=True, slots=True)
class Books:
    """What the store holds against what was saved.

    Parameters
    ----------
    saved, stored, kept : int
        Files of the instrument; frames of files, and frames put together from lines, that nothing superseded.
    wrong : tuple of str
        Frames that are missing, doubled, or of nothing that was scanned.
    """

    saved: int
    stored: int
    kept: int
    wrong: tuple[str, ...]


def audit(store: Path, scans: Path) -> Books:
    """Compare the store with the folder: every file one frame that nothing superseded, every other frame one scan."""
    files = {path.name for path in scans.glob("*.sxm") if not path.name.startswith("damaged_")}
    with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT id, name, source, format FROM frames WHERE superseded_by IS NULL").fetchall()
    stored = [row for row in rows if row[3] != "growing"]
    kept = [row for row in rows if row[3] == "growing"]
    names = [row[1] for row in stored]
    wrong = [f"{name}: no frame in the store" for name in sorted(files - set(names))]
    wrong += [f"{name}: {names.count(name)} frames" for name in sorted(set(names)) if names.count(name) > 1]
    wrong += [f"{name}: a frame, and no such file" for name in sorted(set(names) - files)]
    sources = [row[2] for row in kept]
    wrong += [f"{one}: kept {sources.count(one)} times" for one in sorted(set(sources)) if sources.count(one) > 1]
    wrong += [f"{row[2]}: kept as it was seen, and its file is stored too" for row in kept if row[1] in set(names)]
    return Books(len(files), len(stored), len(kept), tuple(wrong))


def _read(log: Path) -> list[tuple[datetime, str]]:
    matches = map(_LINE.match, log.read_text(encoding="utf-8", errors="replace").splitlines())
    return [(datetime.fromisoformat(match[1].replace(",", ".")), match[2]) for match in matches if match]
