"""What a benchmark found."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class Line:
    """One figure.

    Parameters
    ----------
    what : str
        What was measured.
    value : float or None
        None where it was skipped; ``note`` says why.
    unit : str
        Of the value.
    goal : float or None
        What it must reach.
    at_least : bool
        Whether larger is better.
    note : str
        What a reader needs beside it.
    """

    what: str
    value: float | None
    unit: str = ""
    goal: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the goal was reached; None where there is none, or nothing was measured."""
        if self.value is None or self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.what:<58} skipped: {self.note}"
        goal = ""
        if self.goal is not None:
            goal = f"goal {'>=' if self.at_least else '<='} {self.goal:g}: {'reached' if self.reached else 'MISSED'}"
        return f"{self.what:<58} {self.value:>10.4g} {self.unit:<8} {goal:<26} {self.note}".rstrip()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "reached": self.reached}


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which a part of the values lies, nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(part * (len(ordered) - 1)))]


class TreeMemory:
    """Watches the memory of this process and its children while a block runs; a spike under 50 ms may be missed.

    Parameters
    ----------
    root : psutil.Process
        Whose tree.
    """

    def __init__(self, root: psutil.Process | None = None) -> None:
        self._root = root or psutil.Process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_rss_mb = 0.0
        """Sum of the resident sets: shared pages count once for every process."""
        self.peak_pss_mb = 0.0
        """Sum of the proportional sets: every page once; 0 where the system does not tell."""

    def __enter__(self) -> TreeMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            rss, pss = tree_memory_mb(self._root)
            self.peak_rss_mb = max(self.peak_rss_mb, rss)
            self.peak_pss_mb = max(self.peak_pss_mb, pss)


def tree_memory_mb(root: psutil.Process) -> tuple[float, float]:
    """Resident and proportional memory of a process and all below it, in MB."""
    rss = pss = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            memory = process.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended between the two questions
        rss += memory.rss
        pss += getattr(memory, "pss", 0)
    return rss / 1e6, pss / 1e6
