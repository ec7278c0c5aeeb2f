"""How the simulated controller behaves."""

from __future__ import annotations

import math
from dataclasses import dataclass

RELEASES = {2021: 10771, 2024: 13742}
"""Years of the software that can be played, and the number that it gives as its release.

13742 is that of the manual of June 2024; the other one stands for any release before 11798, the first one in which
channels have their index among all 128 signals instead of a slot (same manual, Scan.BufferGet).
"""


@dataclass(frozen=True, slots=True)
class ControllerOptions:
    """How the simulated controller behaves.

    Parameters
    ----------
    release : int
        2021 or 2024: the older one does not know Scan.WaitEndOfLine.
    slots : bool or None
        Channels by their slot of 24 (True), or by their index among the 128 signals (False); None: as the release.
    continuous : bool
        A new frame overwrites the old one line by line; False: the buffer is emptied first.
    mirrored : bool
        Scan.FrameDataGrab gives backward traces in the order of time, as the file stores them; False: x to the right.
    autosave : bool
        Frames are saved when they end.
    stopped_s : float
        How long a scan that was stopped rests before the next one begins.
    restart_s : float
        How long a restart takes.
    slow_file_s : float
        Time that a file takes which is to be written slowly.
    late_chain_s : float
        How long after its files a scan is entered in the parameter chain, where that is to be late.
    slow_reply_s : float
        Time that a reply takes which is to be slow.
    connections : int
        So many at a time; one more is closed at once.
    """

    release: int = 2024
    slots: bool | None = None
    continuous: bool = False
    mirrored: bool = True
    autosave: bool = True
    stopped_s: float = 5.0
    restart_s: float = 2.0
    slow_file_s: float = 2.0
    late_chain_s: float = 10.0
    slow_reply_s: float = 8.0
    connections: int = 4

    def __post_init__(self) -> None:
        if self.release not in RELEASES:
            raise ValueError(f"no release {self.release}; there are {', '.join(map(str, RELEASES))}")
        times = (self.stopped_s, self.restart_s, self.slow_file_s, self.late_chain_s, self.slow_reply_s)
        if not all(math.isfinite(time) and time >= 0 for time in times):
            raise ValueError("times are finite and not negative")
        if not 1 <= self.connections <= 64:
            raise ValueError(f"{self.connections} connections; 1 to 64 are possible")

    @property
    def by_slot(self) -> bool:
        """Whether channels are known by their slot."""
        return self.release < 2024 if self.slots is None else self.slots
