"""One look at a controller: everything that belongs to the frame being scanned, checked to belong together."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import ScanDirection, ScanGeometry, Trace
from spm_live_drivers.nanonis.channels import Channel, ChannelFinder, split_unit
from spm_live_drivers.nanonis.client import NanonisClient
from spm_live_drivers.nanonis.errors import ChannelError, UnsettledError
from spm_live_drivers.nanonis.replies import FrameData, ScanBuffer, ScanFrame

_NM_PER_M = 1e9


@dataclass(frozen=True, slots=True)
class Setup:
    """What does not change while one frame is scanned.

    Parameters
    ----------
    geometry : ScanGeometry
        The frame, in nm.
    name, unit : str
        Channel.
    direction : ScanDirection
        Which way the slow axis runs.
    """

    geometry: ScanGeometry
    name: str
    unit: str
    direction: ScanDirection

    def changed_to(self, other: Setup) -> str:
        """What is different, in words; empty where nothing is."""
        mine, its = self.geometry, other.geometry
        found = [
            f"{what} from {before} to {after}"
            for what, before, after in (
                ("pixels", f"{mine.rows} x {mine.columns}", f"{its.rows} x {its.columns}"),
                ("size", mine.size_nm, its.size_nm),
                ("centre", mine.center_nm, its.center_nm),
                ("angle", mine.angle_deg, its.angle_deg),
                ("channel", f"{self.name} ({self.unit})", f"{other.name} ({other.unit})"),
                ("direction", self.direction.value, other.direction.value),
            )
            if before != after
        ]
        return ", ".join(found)


Asked = tuple[ScanFrame, ScanBuffer]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a look has found.

    Parameters
    ----------
    setup : Setup
        Of the frame.
    asked : tuple of ScanFrame and ScanBuffer
        Where the setup comes from.
    forward : (lines, columns) float32 array
        In the order of scanning, x to the right; NaN where there is no value.
    backward : (lines, columns) float32 array or None
        The same of the backward trace, its columns as the controller gives them; None where it is not wanted.
    """

    setup: Setup
    asked: Asked
    forward: NDArray[np.float32] = field(repr=False)
    backward: NDArray[np.float32] | None = field(repr=False)


def look_at(client: NanonisClient, finder: ChannelFinder, *, backward: bool, before: Asked | None = None) -> View:
    """Ask for all that a look needs.

    Forward comes before backward, so that a line that is complete forward is so in what comes after. Frame and buffer
    are asked for before and after the data.

    Parameters
    ----------
    client, finder : NanonisClient and ChannelFinder
        Who is asked, for which channel.
    backward : bool
        Whether the backward trace is wanted too.
    before : tuple of ScanFrame and ScanBuffer, or None
        Frame and buffer of the look before, where data are wanted at once; None: they are asked for.

    Raises
    ------
    UnsettledError
        If something was changed in between; look again.
    ChannelError
        If the channel is not there, or the data are of another one.
    NanonisError
        As the client does.
    """
    asked = before or (client.scan_frame(), client.scan_buffer())
    frame, buffer = asked
    channel = finder.find(client, buffer)
    forward = _data(client, finder, channel, buffer, Trace.FORWARD)
    other = _data(client, finder, channel, buffer, Trace.BACKWARD) if backward else None
    if (client.scan_frame(), client.scan_buffer()) != asked:
        raise UnsettledError("the frame was changed while it was read")
    if other is not None and other.direction is not forward.direction and other.data.size and forward.data.size:
        raise UnsettledError("the direction of the scan changed while it was read")
    setup = Setup(_geometry(frame, buffer), channel.name, channel.unit, forward.direction)
    lines = _lines(forward, buffer, setup)
    return View(setup, asked, lines, None if other is None else _lines(other, buffer, setup))


def _data(
    client: NanonisClient, finder: ChannelFinder, channel: Channel, buffer: ScanBuffer, trace: Trace
) -> FrameData:
    found = client.frame_data(channel.number, trace, pixels=buffer.pixels * buffer.lines)
    if split_unit(found.channel) != (channel.name, channel.unit):
        finder.forget()
        raise ChannelError(
            f"channel {channel.number} was {channel.name} ({channel.unit}) and its data are now of {found.channel}"
        )
    if found.data.size and found.data.shape != (buffer.lines, buffer.pixels):
        rows, columns = found.data.shape
        raise UnsettledError(f"data of {rows} x {columns} px, the frame has {buffer.lines} x {buffer.pixels}")
    return found


def _lines(found: FrameData, buffer: ScanBuffer, setup: Setup) -> NDArray[np.float32]:
    """In the order of scanning."""
    if not found.data.size:
        return np.full((buffer.lines, buffer.pixels), np.nan, dtype=np.float32)
    return found.data[::-1] if setup.direction is ScanDirection.UP else found.data


def _geometry(frame: ScanFrame, buffer: ScanBuffer) -> ScanGeometry:
    """In nm, with the digits that a float32 holds."""

    def nm(value_m: float) -> float:
        return float(f"{value_m * _NM_PER_M:.7g}")

    try:
        return ScanGeometry(
            rows=buffer.lines,
            columns=buffer.pixels,
            size_nm=(nm(frame.size_m[0]), nm(frame.size_m[1])),
            center_nm=(nm(frame.center_m[0]), nm(frame.center_m[1])),
            angle_deg=float(f"{frame.angle_deg:.7g}"),
        )
    except ValueError as error:
        raise UnsettledError(f"the controller tells of {error}") from error
