"""Local time of an instrument to UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


class UnknownZoneError(Exception):
    """There is no time zone of that name; the text says so."""


def to_utc(local: datetime | None, timezone: str | None) -> datetime | None:
    """Tell UTC from what the clock on the instrument's wall showed.

    Parameters
    ----------
    local : datetime or None
        Without an offset; one with an offset is only converted.
    timezone : str or None
        IANA name; None for the zone of this machine.

    Returns
    -------
    datetime or None
        None where the time is, or where this system's clock does not reach that year. An hour that the change from
        summer time repeats is taken as its first run.

    Raises
    ------
    UnknownZoneError
        If there is no such zone.
    """
    if local is None:
        return None
    try:
        zone = ZoneInfo(timezone) if timezone else None
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnknownZoneError(f"there is no time zone {timezone!r}") from error
    try:
        return (local.replace(tzinfo=zone) if zone and local.tzinfo is None else local).astimezone(UTC)
    except (OverflowError, OSError, ValueError):
        return None
