"""The calls that may be sent: all of them read, and there is no way to send another.

:class:`spm_live_drivers.nanonis.link.Link` takes a member of :data:`ALLOWED` and nothing else. Whoever wants a call
that is not here has to add it here, where it is seen that it does not move the tip.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from spm_live_drivers.contract import MAX_FRAME_PIXELS
from spm_live_drivers.nanonis.framing import MAX_GROWTH_BYTES, Fields
from spm_live_drivers.nanonis.replies import (
    EndOfLine,
    EndOfScan,
    FrameData,
    ScanBuffer,
    ScanFrame,
    ScanSpeed,
    Version,
    read_buffer,
    read_end_of_line,
    read_end_of_scan,
    read_frame,
    read_frame_data,
    read_names,
    read_path,
    read_speed,
    read_status,
    read_version,
)

Reply = TypeVar("Reply", covariant=True)

_SMALL = 32 * 1024 + MAX_GROWTH_BYTES
_NAMES = 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Call(Generic[Reply]):
    """One call.

    Parameters
    ----------
    name : str
        As the manual has it.
    read : callable
        Reads the fields of its reply that are known.
    arguments : str
        Layout of the body of the request, as in :mod:`struct`, without the byte order.
    most_bytes : int
        Largest body of a reply that is accepted.
    """

    name: str
    read: Callable[[Fields], Reply]
    arguments: str = ""
    most_bytes: int = _SMALL

    def body(self, *arguments: int) -> bytes:
        """Arguments as bytes.

        Raises
        ------
        ValueError
            If they are not those of the call.
        """
        try:
            return struct.pack(f">{self.arguments}", *arguments)
        except struct.error as error:
            raise ValueError(f"{self.name} with {arguments}: {error}") from error


def frame_data_bytes(pixels: int) -> int:
    """Largest reply that a frame of so many pixels can have: name, direction and growth take little."""
    return 4 * pixels + _SMALL


SCAN_STATUS: Final = Call("Scan.StatusGet", read_status)
WAIT_END_OF_SCAN: Final[Call[EndOfScan]] = Call("Scan.WaitEndOfScan", read_end_of_scan, "i")
WAIT_END_OF_LINE: Final[Call[EndOfLine]] = Call("Scan.WaitEndOfLine", read_end_of_line, "i")
SCAN_FRAME: Final[Call[ScanFrame]] = Call("Scan.FrameGet", read_frame)
SCAN_BUFFER: Final[Call[ScanBuffer]] = Call("Scan.BufferGet", read_buffer)
FRAME_DATA: Final[Call[FrameData]] = Call(
    "Scan.FrameDataGrab", read_frame_data, "II", frame_data_bytes(MAX_FRAME_PIXELS)
)
SCAN_SPEED: Final[Call[ScanSpeed]] = Call("Scan.SpeedGet", read_speed)
SIGNAL_NAMES: Final = Call("Signals.NamesGet", read_names, most_bytes=_NAMES)
SESSION_PATH: Final = Call("Util.SessionPathGet", read_path)
VERSION: Final[Call[Version]] = Call("Util.VersionGet", read_version)

ALLOWED: Final[frozenset[Call[Any]]] = frozenset(
    {
        SCAN_STATUS,
        WAIT_END_OF_SCAN,
        WAIT_END_OF_LINE,
        SCAN_FRAME,
        SCAN_BUFFER,
        FRAME_DATA,
        SCAN_SPEED,
        SIGNAL_NAMES,
        SESSION_PATH,
        VERSION,
    }
)
"""Every call there is, by identity: one that is put together elsewhere is not among them, whatever its name."""
