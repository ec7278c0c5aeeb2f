"""Which number a channel has, told by its name.

Source: Nanonis "TCP Programming Interface", Scan.BufferGet: before R11798 recorded channels are numbered by the 24
slots of the signals manager, since then by the index of the real-time engine, which is also the place of the name in
the answer to Signals.NamesGet. Data carry the name of their channel, so that a wrong number is always found out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from spm_live_drivers.contract import Trace
from spm_live_drivers.formats.nanonis_channels import folded, quantity
from spm_live_drivers.nanonis.client import NanonisClient
from spm_live_drivers.nanonis.errors import ChannelError, CommandRefusedError
from spm_live_drivers.nanonis.replies import ScanBuffer, Version

Answer = TypeVar("Answer")

FIRST_BY_ENGINE_INDEX = 11798
"""First release that numbers channels by the index of the real-time engine."""

_UNIT = re.compile(r"\s*\(([^()]*)\)\s*$")
_PLAUSIBLE_RELEASES = range(1000, 1_000_000)


@dataclass(frozen=True, slots=True)
class Channel:
    """A recorded channel.

    Parameters
    ----------
    number : int
        What data are asked for by.
    name, unit : str
        As its data call themselves, taken apart.
    """

    number: int
    name: str
    unit: str


def split_unit(name: str) -> tuple[str, str]:
    """Take the unit off a name; ``"1"`` where it has none.

    Examples
    --------
    >>> split_unit("OC M1 Freq. Shift (Hz)")
    ('OC M1 Freq. Shift', 'Hz')
    >>> split_unit("Counter")
    ('Counter', '1')
    """
    found = _UNIT.search(name)
    if found is None:
        return name.strip(), "1"
    return name[: found.start()].strip(), found[1].strip() or "1"


def is_named(told: str, wanted: str) -> bool:
    """Whether a name of the controller is the one wanted: case, unit and the number of a pass do not matter.

    Examples
    --------
    >>> is_named("Z (m)", "z"), is_named("[P1]_Z (m)", "Z"), is_named("Z Ctrl (m)", "Z")
    (True, True, False)
    """
    return folded(wanted) in (folded(told), quantity(told))


class ChannelFinder:
    """Finds the number of one channel on one connection.

    Parameters
    ----------
    wanted : str
        Name, with or without its unit.
    """

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self._recorded: tuple[int, ...] | None = None
        self._found: Channel | None = None
        self._names: tuple[str, ...] | None = None
        self.version: Version | None = None
        """What the controller runs, once a channel was found; None where it does not say."""

    def forget(self) -> None:
        """Begin anew: it may be another controller now."""
        self._recorded = self._found = self._names = self.version = None

    def find(self, client: NanonisClient, buffer: ScanBuffer) -> Channel:
        """Find the channel; cheap while the same channels are recorded.

        Raises
        ------
        ChannelError
            If it is not recorded.
        NanonisError
            As the client does.
        """
        if self._found is not None and self._recorded == buffer.channels:
            return self._found
        self._found = None
        if self._names is None:
            self.version = answer_of(client.version)
            self._names = answer_of(client.signal_names) or ()
        others: list[str] = []
        for number in self._candidates(buffer.channels):
            told = client.frame_data(number, Trace.FORWARD, pixels=buffer.pixels * buffer.lines).channel
            if is_named(told, self.wanted):
                self._recorded, self._found = buffer.channels, Channel(number, *split_unit(told))
                return self._found
            others.append(told)
        raise ChannelError(self._missing(buffer.channels, others))

    def _candidates(self, recorded: tuple[int, ...]) -> list[int]:
        """Numbers to try, the likely one first."""
        names = self._names or ()
        likely = [index for index, name in enumerate(names) if is_named(name, self.wanted) and index in recorded]
        by_engine_index = _by_engine_index(self.version)
        if by_engine_index:
            return likely
        if by_engine_index is False:
            return list(recorded)
        return likely + [number for number in recorded if number not in likely]

    def _missing(self, recorded: tuple[int, ...], tried: list[str]) -> str:
        names = self._names or ()
        if _by_engine_index(self.version):
            tried = [names[number] for number in recorded if number < len(names)]
        there = ", ".join(tried) or "nothing"
        if not any(is_named(name, self.wanted) for name in names):
            return f"the controller has no signal {self.wanted!r}; recorded are {there}"
        return f"channel {self.wanted!r} is not recorded: add it in the Scan module; recorded are {there}"


def answer_of(question: Callable[[], Answer]) -> Answer | None:
    """What a controller answers, or None where it refuses: a question that can be done without."""
    try:
        return question()
    except CommandRefusedError:
        return None


def _by_engine_index(version: Version | None) -> bool | None:
    """Whether channels are numbered by the index of the real-time engine; None where the version does not say."""
    for release in () if version is None else (version.engine_release, version.host_release):
        if release in _PLAUSIBLE_RELEASES:
            return release >= FIRST_BY_ENGINE_INDEX
    return None
