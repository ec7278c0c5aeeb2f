"""What goes wrong with the simulated instrument, when, and what did go wrong.

>>> plan = FaultPlan([Fault("dropped-line", 2, 10), parse_fault("restart@3")], seed=1)
>>> plan.of_frame(2, 64)
(DueFault(name='dropped-line', line=10, call=''),)
"""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

logger = logging.getLogger(__name__)

FAULTS = {
    "restart": "all connections are dropped and the server is gone for a while; the scan goes on",
    "restart-anew": "the same, and the scan is begun anew",
    "half-reply": "a reply ends in its middle and the connection is closed",
    "slow-reply": "a reply comes in pieces, slower than a client should wait",
    "wrong-size": "a reply declares a size that is not its own: of the body, or of something within",
    "wrong-name": "a reply repeats the name of another call",
    "dropped-line": "a line stays NaN",
    "tip-change": "from a line on the tip is blunt, and everything is higher or lower",
    "double-tip": "from a line on the tip has a second apex",
    "slow-file": "the file of the frame is written slowly",
    "no-file": "the frame is not saved",
    "stopped": "the scan is stopped in mid-frame and saved as far as it got; after a while the next one begins",
    "restarted-scan": "the scan is begun anew in mid-frame and the first part is not saved",
    "changed-frame": "the number of pixels, the size or the angle changes, at the start or in mid-frame",
    "nan-everywhere": "from a line on all values are NaN",
    "late-chain": "the files of the frame are there, but its entry in the parameter chain is made later",
}
"""Names of the faults, and what happens."""

REPLY_FAULTS = frozenset({"half-reply", "slow-reply", "wrong-size", "wrong-name"})
"""Those of a single reply: the first one after the line was reached."""

PICTURE_FAULTS = frozenset({"dropped-line", "tip-change", "double-tip", "nan-everywhere"})
"""Those that are seen in the picture, and nowhere else."""

FILE_FAULTS = frozenset({"slow-file", "no-file", "late-chain"})
"""Those of the saved file: they happen after the last line."""

IMPOSSIBLE = {
    "sxm": frozenset({"late-chain"}),
    # Its integers have no value for a pixel that was not scanned.
    "matrix": frozenset({"dropped-line", "nan-everywhere"}),
}
"""Those that cannot happen where the scans are saved in a format."""

SXM_FAULTS = tuple(name for name in FAULTS if name not in IMPOSSIBLE["sxm"])
"""Those that can happen where ``.sxm`` files are saved."""

MOST_KEPT = 100_000
"""So many injections are remembered; older ones are forgotten."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is to go wrong.

    Parameters
    ----------
    name : str
        One of :data:`FAULTS`.
    frame : int or None
        In which frame, counted from 1 as they are begun; None: in every one.
    line : int or None
        At which line, counted from 0 as they are scanned: when that many were scanned. None: at one that the seed
        settles, after an eighth and before seven eighths of the frame (``changed-frame`` and ``nan-everywhere``: 0).
        A line beyond the frame is its last one.
    call : str
        Only a reply to this call goes wrong, such as ``"Scan.FrameDataGrab"``; empty: to any.
    """

    name: str
    frame: int | None = None
    line: int | None = None
    call: str = ""

    def __post_init__(self) -> None:
        if self.name not in FAULTS:
            raise ValueError(f"no fault is called {self.name!r}; there are {', '.join(FAULTS)}")
        if (self.frame is not None and self.frame < 1) or (self.line is not None and self.line < 0):
            raise ValueError("frames are counted from 1 and lines from 0")
        if self.call and self.name not in REPLY_FAULTS:
            raise ValueError(f"{self.name} is no fault of a reply to {self.call}")


@dataclass(frozen=True, slots=True)
class DueFault:
    """A fault of one frame, with the line at which it is due."""

    name: str
    line: int
    call: str = ""


@dataclass(frozen=True, slots=True)
class Injection:
    """Something that did go wrong.

    Parameters
    ----------
    name : str
        Which fault.
    frame : int
        In which frame, counted from 1 as they were begun.
    number : int
        Number of its file, whether it was saved or not.
    line : int
        At which line.
    at_s : float
        When, by the clock of the controller.
    detail : str
        What was done, for a person.
    """

    name: str
    frame: int
    number: int
    line: int
    at_s: float
    detail: str = ""

    def __str__(self) -> str:
        text = f"injected {self.name}: frame={self.frame} number={self.number} line={self.line}"
        return f"{text} ({self.detail})" if self.detail else text


def parse_fault(text: str) -> Fault:
    """Read ``NAME``, ``NAME@FRAME`` or ``NAME@FRAME:LINE``.

    Raises
    ------
    ValueError
        If it is none of these, or no fault has that name.

    Examples
    --------
    >>> parse_fault("tip-change@3:100")
    Fault(name='tip-change', frame=3, line=100, call='')
    """
    match = re.fullmatch(r"([a-z-]+)(?:@(\d{1,9})(?::(\d{1,9}))?)?", text)
    if match is None:
        raise ValueError(f"{text!r} is no fault; write NAME, NAME@FRAME or NAME@FRAME:LINE")
    name, frame, line = match.groups()
    return Fault(name, None if frame is None else int(frame), None if line is None else int(line))


class FaultPlan:
    """All that is to go wrong, and a record of what did.

    Parameters
    ----------
    faults : sequence of Fault
        What is to go wrong.
    seed : int
        Settles what the faults leave open.
    """

    def __init__(self, faults: Sequence[Fault] = (), seed: int = 0) -> None:
        self.faults = tuple(faults)
        self.seed = seed
        self._injected: deque[Injection] = deque(maxlen=MOST_KEPT)
        self._lock = threading.Lock()

    @classmethod
    def scattered(
        cls, seed: int, frames: int, share: float, names: Sequence[str] = SXM_FAULTS, lines: int | None = None
    ) -> FaultPlan:
        """Plan one fault in a share of the frames, the names in turn; half of the wrong replies carry a picture.

        Parameters
        ----------
        seed : int
            The plan follows from it and the other arguments.
        frames : int
            Frames that are going to be scanned.
        share : float
            0 to 1.
        names : sequence of str
            Of :data:`FAULTS`; all that can happen to a controller that saves ``.sxm`` files unless others are named.
        lines : int or None
            At a line below this one; None: at one that the seed settles later.
        """
        rng = np.random.default_rng((seed, 7))
        chosen = np.sort(rng.permutation(frames)[: round(share * frames)]) + 1
        order = [str(name) for name in rng.permutation(list(names))]
        faults = []
        for turn, frame in enumerate(chosen):
            name = order[turn % len(order)]
            grabs = name in REPLY_FAULTS and rng.random() < 0.5
            line = None if lines is None else int(rng.integers(lines))
            faults.append(Fault(name, int(frame), line, "Scan.FrameDataGrab" if grabs else ""))
        return cls(faults, seed)

    def check(self, saved_as: str) -> None:
        """See whether all of it can happen.

        Parameters
        ----------
        saved_as : str
            Format of the plan that is scanned.

        Raises
        ------
        ValueError
            If something cannot; it says what to do.
        """
        wrong = sorted({fault.name for fault in self.faults} & IMPOSSIBLE[saved_as])
        if wrong and saved_as == "sxm":
            raise ValueError(
                f"{' and '.join(wrong)} cannot happen to .sxm files, which have no parameter chain; save MATRIX files "
                "(--format matrix), or leave that fault out"
            )
        if wrong:
            raise ValueError(
                f"{' and '.join(wrong)} cannot happen to MATRIX files, whose integers cannot say that a value is "
                "missing; save .sxm files (--format sxm), or leave that out"
            )

    @property
    def injected(self) -> tuple[Injection, ...]:
        """What went wrong so far, in the order of time."""
        with self._lock:
            return tuple(self._injected)

    def of_frame(self, frame: int, lines: int) -> tuple[DueFault, ...]:
        """What is to go wrong in a frame.

        Parameters
        ----------
        frame : int
            Counted from 1.
        lines : int
            How many it has.

        Returns
        -------
        tuple of DueFault
            In the order of their lines.
        """
        due = []
        for index, fault in enumerate(self.faults):
            if fault.frame not in (None, frame):
                continue
            line = fault.line
            if fault.name in FILE_FAULTS:
                line = lines
            elif line is None and fault.name in ("changed-frame", "nan-everywhere"):
                line = 0
            elif line is None:
                rng = np.random.default_rng((self.seed, frame, index))
                line = int(rng.integers(lines // 8, max(lines * 7 // 8, lines // 8 + 1)))
            line = line if fault.name in FILE_FAULTS else min(line, lines - 1)
            due.append(DueFault(fault.name, line, fault.call))
        return tuple(sorted(due, key=lambda fault: fault.line))

    def rng_for(self, frame: int, fault: DueFault) -> np.random.Generator:
        """Source of what a fault leaves open, such as how high a tip jumps."""
        return np.random.default_rng((self.seed, frame, fault.line, list(FAULTS).index(fault.name)))

    def note(self, injection: Injection) -> None:
        """Write down that something went wrong, and log it."""
        with self._lock:
            self._injected.append(injection)
        logger.info("%s", injection)
