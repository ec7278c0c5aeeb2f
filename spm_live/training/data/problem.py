"""What is wrong with a data set, in words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a problem is."""

    ERROR = "error"
    """Nothing can be learnt before a person has mended it."""
    REPAIRED = "repaired"
    """What was written could not be meant; the text says what was taken instead."""
    WARNING = "warning"
    """Taken as it is, and worth a look."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Parameters
    ----------
    file : str
        The file to open; empty where it concerns the whole data set.
    molecule : int or None
        Place of the molecule in the file's own list, from 0; None where it concerns the whole file.
    severity : Severity
        How bad it is.
    text : str
        What is wrong and, for an error, what to do.

    Examples
    --------
    >>> print(Problem("a.json", 2, Severity.ERROR, "has two corners; draw at least three"))
    error: a.json, molecule 3: has two corners; draw at least three
    """

    file: str
    molecule: int | None
    severity: Severity
    text: str

    def __str__(self) -> str:
        place = self.file or "the data set"
        if self.molecule is not None:
            place += f", molecule {self.molecule + 1}"
        return f"{self.severity}: {place}: {self.text}"


class ProblemLog:
    """Gathers the problems of one file; what could not be used is told by the caller's own result."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []

    def error(self, text: str, molecule: int | None = None) -> None:
        """Note what a person has to mend."""
        self.problems.append(Problem(self.file, molecule, Severity.ERROR, text))

    def repaired(self, text: str, molecule: int | None = None) -> None:
        """Note what was mended here."""
        self.problems.append(Problem(self.file, molecule, Severity.REPAIRED, text))

    def warning(self, text: str, molecule: int | None = None) -> None:
        """Note what is worth a look."""
        self.problems.append(Problem(self.file, molecule, Severity.WARNING, text))
