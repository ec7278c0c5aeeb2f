"""Recipes by name: ``standard``, ``L1``, and combinations such as ``L2-blur`` or ``L3-noise+blur+contrast``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from spm_live.errors import SetupError
from spm_live.training.augment.recipe import AugmentRecipe
from spm_live.training.augment.techniques import TECHNIQUES

LEVELS = {"L2": 2, "L3": 3}
"""How many techniques a combination of each level has, at most."""
COMBINED_PROBABILITY = 0.5
"""Each technique of a named combination is used on every other picture."""


def recipe_from(name: str, changes: Mapping[str, Any] | None = None) -> AugmentRecipe:
    """Make a recipe from its name and what shall differ from it.

    Parameters
    ----------
    name : str
        ``standard``: everything, as often as is usual. ``L1``: turned, mirrored, scaled, squeezed, shifted and cut
        only. ``L2-a`` and ``L2-a+b``, ``L3-a+b+c``: ``L1`` and the named techniques, each on every other picture.
    changes : mapping or None
        As fields of :class:`AugmentRecipe`; mappings within are merged, so that
        ``{"techniques": {"blur": {"high": 4}}}`` changes that number alone.

    Raises
    ------
    SetupError
        Listing all problems: an unknown name, unknown techniques, values out of range.

    Notes
    -----
    The levels are those of Zhu et al. 2022 (supplement, Tables S2 and S3): geometric changes, and those with up to two
    and up to three techniques of appearance. The paper's own selection of combinations is not built in; any can be
    named, those of the microscope too.
    """
    base = _named(name)
    merged = _merge(base.model_dump(), changes or {})
    for technique, chance in merged["techniques"].items():
        usual = TECHNIQUES.get(technique)
        if usual is not None and isinstance(chance, Mapping):
            given = {"probability": usual.probability, "low": usual.low, "high": usual.high}
            merged["techniques"][technique] = given | dict(chance)
    try:
        return AugmentRecipe.model_validate(merged)
    except ValidationError as error:
        raise SetupError([f"recipe {name}: {line}" for line in _explain(error)]) from error


def _named(name: str) -> AugmentRecipe:
    if name == "standard":
        return AugmentRecipe()
    if name == "L1":
        return AugmentRecipe(techniques={})
    level, dash, rest = name.partition("-")
    if level not in LEVELS or not dash:
        raise SetupError(f"recipe {name!r}: no such recipe; give standard, L1, L2-<a>[+<b>] or L3-<a>+<b>[+<c>]")
    names = [one.strip() for one in rest.split("+")]
    problems = [
        f"recipe {name!r}: no technique {one!r}; there are {', '.join(TECHNIQUES)}"
        for one in names
        if one not in TECHNIQUES
    ]
    if len(names) > LEVELS[level]:
        problems.append(f"recipe {name!r}: {level} takes {LEVELS[level]} techniques at most, this names {len(names)}")
    if len(set(names)) < len(names):
        problems.append(f"recipe {name!r} names a technique twice; leave one out")
    if problems:
        raise SetupError(problems)
    chances = {
        one: {"probability": COMBINED_PROBABILITY, "low": TECHNIQUES[one].low, "high": TECHNIQUES[one].high}
        for one in names
    }
    return AugmentRecipe.model_validate({"techniques": chances, "most_techniques": LEVELS[level]})


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{place}: no such field")
        else:
            text = problem["msg"].removeprefix("Value error, ")
            lines.extend(f"{place}: {part}" if place else part for part in text.split("; "))
    return lines
