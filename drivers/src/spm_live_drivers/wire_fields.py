"""Values out of a JSON object that came from outside: each is taken with its type and its range, or refused in words.

A value that is left out and one that is ``null`` are the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

MAX_WHOLE = 2**53 - 1
"""Largest whole number that every JSON library keeps exactly (RFC 8259, section 6)."""

_REQUIRED: Any = object()
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_Value = TypeVar("_Value")
_Choice = TypeVar("_Choice", bound=StrEnum)


class HeaderError(ValueError):
    """A header that is not as the wire format says; its text is the reason that people see."""


def whole(values: Mapping[str, Any], name: str, low: int, high: int, default: int = _REQUIRED) -> int:
    """Read a whole number from ``low`` to ``high``."""
    value = values.get(name)
    if value is None:
        return _default(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise HeaderError(f"{name} must be a whole number, is {shown(value)}")
    if not low <= value <= high:
        raise HeaderError(f"{name} must be {low} to {high}, is {shown(value)}")
    return value


def number(values: Mapping[str, Any], name: str, default: float | None = _REQUIRED) -> float | None:
    """Read a finite number."""
    value = values.get(name)
    return _default(name, default) if value is None else _number(name, value)


def pair(values: Mapping[str, Any], name: str, default: tuple[float, float] = _REQUIRED) -> tuple[float, float]:
    """Read two finite numbers."""
    value = values.get(name)
    if value is None:
        return _default(name, default)
    if not isinstance(value, list) or len(value) != 2:
        raise HeaderError(f"{name} must be a list of two numbers, is {shown(value)}")
    return _number(name, value[0]), _number(name, value[1])


def truth(values: Mapping[str, Any], name: str, default: bool = _REQUIRED) -> bool:
    """Read true or false."""
    value = values.get(name)
    if value is None:
        return _default(name, default)
    if not isinstance(value, bool):
        raise HeaderError(f"{name} must be true or false, is {shown(value)}")
    return value


def text(values: Mapping[str, Any], name: str, longest: int, default: str = _REQUIRED) -> str:
    """Read a text of at most ``longest`` characters; a required one must not be empty."""
    value = values.get(name)
    if value is None or (value == "" and default is not _REQUIRED):
        return _default(name, default)
    if value == "":
        raise HeaderError(f"{name} must not be empty")
    return sound_text(name, value, longest)


def line(values: Mapping[str, Any], name: str, longest: int, default: str = _REQUIRED) -> str:
    """Read a text that is shown in one line: no control characters."""
    value = text(values, name, longest, default)
    if _CONTROL.search(value):
        raise HeaderError(f"{name} must be one line without control characters, is {shown(value)}")
    return value


def choice(values: Mapping[str, Any], name: str, default: _Choice) -> _Choice:
    """Read one of the names of an enumeration."""
    value = values.get(name)
    if value is None:
        return default
    kind = type(default)
    try:
        return kind(value)
    except ValueError as error:
        names = ", ".join(repr(member.value) for member in kind)
        raise HeaderError(f"{name} must be one of {names}, is {shown(value)}") from error


def instant(values: Mapping[str, Any], name: str) -> datetime | None:
    """Read a moment: ISO 8601 with its offset from UTC, such as ``2026-01-31T12:00:00Z``."""
    written = text(values, name, 64, "")
    if not written:
        return None
    try:
        moment = datetime.fromisoformat(written)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise HeaderError(f"{name} must be a time such as '2026-01-31T12:00:00Z', is {shown(written)}") from error
    raise HeaderError(f"{name} must say its offset from UTC, such as '2026-01-31T12:00:00Z'")


def sound_text(name: str, value: object, longest: int) -> str:
    """Take a value as a text of at most ``longest`` characters, all of which are characters."""
    if not isinstance(value, str):
        raise HeaderError(f"{name} must be a text, is {shown(value)}")
    if len(value) > longest:
        raise HeaderError(f"{name} has {len(value)} characters, {longest} are allowed")
    if value != sound(value):
        raise HeaderError(f"{name} holds half a surrogate pair, which is no character")
    return value


def sound(value: str) -> str:
    """Replace what is no character: names of files may hold half a surrogate pair (PEP 383)."""
    return value.encode("utf-8", "replace").decode("utf-8")


def one_line(value: str) -> str:
    """Replace control characters by blanks."""
    return _CONTROL.sub(" ", value)


def shown(value: object) -> str:
    """Quote a value in a reason: short, and harmless in a log."""
    if isinstance(value, int) and abs(value) > MAX_WHOLE:  # ascii() refuses thousands of digits
        return "a number of many digits"
    if isinstance(value, (str, int, float)) or value is None:
        quoted = ascii(value[:60] if isinstance(value, str) else value)
        return quoted if len(quoted) <= 60 else quoted[:57] + "..."
    return "a list" if isinstance(value, list) else "a JSON object"


def _number(name: str, value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise HeaderError(f"{name} must be a number, is {shown(value)}")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise HeaderError(f"{name} must be finite")
    return result


def _default(name: str, default: _Value) -> _Value:
    if default is _REQUIRED:
        raise HeaderError(f"{name} is missing")
    return default
