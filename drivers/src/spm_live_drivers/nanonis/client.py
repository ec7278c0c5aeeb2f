"""A Nanonis controller, asked call by call. It is never driven: see :mod:`spm_live_drivers.nanonis.calls`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self, TypeVar

from spm_live_drivers.contract import MAX_FRAME_PIXELS, Trace
from spm_live_drivers.nanonis import calls
from spm_live_drivers.nanonis.calls import Call
from spm_live_drivers.nanonis.errors import ReplyTimeoutError
from spm_live_drivers.nanonis.link import Link
from spm_live_drivers.nanonis.replies import (
    EndOfLine,
    EndOfScan,
    FrameData,
    ScanBuffer,
    ScanFrame,
    ScanSpeed,
    Version,
)

Reply = TypeVar("Reply")

_DIRECTION = {Trace.FORWARD: 1, Trace.BACKWARD: 0}


class NanonisClient:
    """Asks a controller; a context manager, for one thread.

    The connection is opened by the first question, and again by the next one after it was dropped. Every method raises
    a :class:`spm_live_drivers.nanonis.errors.NanonisError` and nothing else where the controller does not do its part.

    Parameters
    ----------
    host, port : str and int
        Where it listens: one of the ports 6501 to 6504. Each takes one client, which is served call after call.
    timeout_s : float
        How long a connection, or a reply, may take; a large frame gets a second more per MiB.
    clock : callable
        Monotonic time in s.

    Examples
    --------
    >>> with NanonisClient("127.0.0.1", 6501) as client:  # doctest: +SKIP
    ...     client.scan_status()
    False
    """

    def __init__(
        self, host: str, port: int, *, timeout_s: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._link = Link(host, port, timeout_s, clock)
        self._clock = clock
        self._deadline: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection; a later question opens a new one."""
        self._link.close()

    @property
    def timeout_s(self) -> float:
        """How long a reply may take, in s."""
        return self._link.timeout_s

    @property
    def connections(self) -> int:
        """How often a connection was opened."""
        return self._link.connections

    @property
    def unknown_bytes(self) -> Mapping[str, int]:
        """Bytes behind the known fields of replies, by name of the call: this release tells more than we know."""
        return self._link.unknown_bytes

    def finish_within(self, limit_s: float | None) -> None:
        """Let all that is asked from now on take so long together; None: every question has its own time again."""
        self._deadline = None if limit_s is None else self._clock() + limit_s

    def scan_status(self) -> bool:
        """Whether a scan runs (Scan.StatusGet)."""
        return self._ask(calls.SCAN_STATUS)

    def wait_end_of_scan(self, timeout_s: float) -> EndOfScan:
        """Wait for the end of the scan that runs (Scan.WaitEndOfScan); nothing else can be asked meanwhile."""
        return self._wait(calls.WAIT_END_OF_SCAN, timeout_s)

    def wait_end_of_line(self, timeout_s: float) -> EndOfLine:
        """Wait for the end of a forward or backward line (Scan.WaitEndOfLine); releases before 2024 do not have it."""
        return self._wait(calls.WAIT_END_OF_LINE, timeout_s)

    def scan_frame(self) -> ScanFrame:
        """Where the scan frame lies (Scan.FrameGet)."""
        return self._ask(calls.SCAN_FRAME)

    def scan_buffer(self) -> ScanBuffer:
        """Which channels are recorded, with how many pixels (Scan.BufferGet)."""
        return self._ask(calls.SCAN_BUFFER)

    def frame_data(self, channel: int, trace: Trace, *, pixels: int = MAX_FRAME_PIXELS) -> FrameData:
        """What was scanned of a channel so far (Scan.FrameDataGrab).

        Parameters
        ----------
        channel : int
            Number of the channel, as :meth:`scan_buffer` gives it.
        trace : Trace
            Which way of the fast axis.
        pixels : int
            Pixels that the frame has; a reply that declares more is refused before it takes memory.
        """
        most = calls.frame_data_bytes(pixels)
        return self._ask(calls.FRAME_DATA, channel, _DIRECTION[trace], most_bytes=most)

    def scan_speed(self) -> ScanSpeed:
        """How fast the tip goes (Scan.SpeedGet)."""
        return self._ask(calls.SCAN_SPEED)

    def signal_names(self) -> tuple[str, ...]:
        """Names of all signals with their units, by number of the real-time engine (Signals.NamesGet)."""
        return self._ask(calls.SIGNAL_NAMES)

    def session_path(self) -> str:
        """Folder on the instrument PC that files are saved in (Util.SessionPathGet)."""
        return self._ask(calls.SESSION_PATH)

    def version(self) -> Version:
        """What the controller runs (Util.VersionGet)."""
        return self._ask(calls.VERSION)

    def _wait(self, call: Call[Reply], timeout_s: float) -> Reply:
        """Ask for a wait; the reply may take as long as the wait and a second, or a time-out if that is shorter."""
        grace_s = min(1.0, self._link.timeout_s)
        return self._ask(call, max(0, round(timeout_s * 1000)), timeout_s=timeout_s + grace_s)

    def _ask(
        self, call: Call[Reply], *arguments: int, timeout_s: float | None = None, most_bytes: int | None = None
    ) -> Reply:
        limit_s = self._link.timeout_s if timeout_s is None else timeout_s
        if self._deadline is not None:
            limit_s = min(limit_s, self._deadline - self._clock())
            if limit_s <= 0:
                # Nothing was asked, so that nothing can come late: the connection is sound.
                raise ReplyTimeoutError(f"{call.name} was not asked: the replies before it took all the time there is")
        return self._link.ask(call, *arguments, timeout_s=limit_s, most_bytes=most_bytes)
