"""What the simulated controller answers to each call.

Layouts after the manual "TCP Programming Interface" (SPECS Zurich, June 2024, R13742).
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from spm_live_drivers.simulate.framing import integers, status, string, strings, table
from spm_live_drivers.simulate.machine import ScanMachine
from spm_live_drivers.simulate.options import RELEASES
from spm_live_drivers.simulate.running import Moment, Position, RunningScan

Alive = Callable[[], bool]
"""Whether whoever asked is still there."""

SLOTS = 24
SIGNALS = 128

CURRENT, Z, OTHER = 0, 30, 76
"""Where the current, the height and any other recorded signal stand among all signals."""


class CallError(Exception):
    """A call that cannot be answered; its text goes into the error block.

    Parameters
    ----------
    reason : str
        For a person.
    body : bytes
        What stands before the error block: the fields of the reply, empty or zero.
    """

    def __init__(self, reason: str, body: bytes = b"") -> None:
        super().__init__(reason)
        self.body = body


class Calls:
    """Answers calls about a scan.

    Parameters
    ----------
    machine : ScanMachine
        Scans.
    """

    def __init__(self, machine: ScanMachine) -> None:
        self._machine = machine
        self._options = machine.options
        self._calls: dict[str, Callable[[bytes, Alive], bytes]] = {
            "FolMe.XYPosGet": self._tip_position,
            "Scan.BufferGet": self._buffer,
            "Scan.FrameDataGrab": self._frame_data,
            "Scan.FrameGet": self._frame,
            "Scan.PropsGet": self._properties,
            "Scan.SpeedGet": self._speed,
            "Scan.StatusGet": self._status,
            "Scan.WaitEndOfLine": self._wait_end_of_line,
            "Scan.WaitEndOfScan": self._wait_end_of_scan,
            "Signals.InSlotsGet": self._slots,
            "Signals.NamesGet": self._signals,
            "Util.SessionPathGet": self._session_path,
            "Util.VersionGet": self._version,
        }
        if self._options.release < 2024:
            del self._calls["Scan.WaitEndOfLine"]

    @property
    def names(self) -> frozenset[str]:
        """The calls that are known."""
        return frozenset(self._calls)

    def answer(self, name: str, body: bytes, alive: Alive) -> bytes:
        """Body of the reply to a call.

        Parameters
        ----------
        name : str
            Of the call.
        body : bytes
            Its arguments.
        alive : callable
            Asked while waiting: False gives up.

        Returns
        -------
        bytes
            Ends in the error block, whatever the call was.
        """
        call = self._calls.get(name)
        if call is None:
            return status(f"{name}: this function is not known")
        try:
            return call(body, alive) + status()
        except CallError as error:
            return error.body + status(f"{name}: {error}")
        except struct.error:
            return status(f"{name}: the arguments are not those of this function")

    def _moment(self, empty: bytes = b"") -> Moment:
        now = self._machine.moment()
        if now is None:
            raise CallError("the instrument is starting", empty)
        return now

    def _status(self, body: bytes, alive: Alive) -> bytes:
        now = self._moment(struct.pack(">I", 0))
        return struct.pack(">I", 1 if now.running else 0)

    def _wait_end_of_scan(self, body: bytes, alive: Alive) -> bytes:
        ended = self._machine.wait_end_of_scan(_timeout_s(body), alive)
        path = ended.path if ended is not None else ""
        return struct.pack(">I", 0 if ended is not None else 1) + string(path)

    def _wait_end_of_line(self, body: bytes, alive: Alive) -> bytes:
        ended = self._machine.wait_end_of_trace(_timeout_s(body), alive)
        if ended is None:
            return struct.pack(">IiHi", 1, 0, 0, 0)
        line, forward = ended
        return struct.pack(">IiHi", 0, line, 0 if forward else 1, 0)

    def _frame(self, body: bytes, alive: Alive) -> bytes:
        geometry = self._moment(bytes(20)).run.geometry
        metres = [value * 1e-9 for value in (*geometry.center_nm, *geometry.size_nm)]
        return struct.pack(">5f", *metres, geometry.angle_deg)

    def _buffer(self, body: bytes, alive: Alive) -> bytes:
        run = self._moment(bytes(12)).run
        indices = [self._index(run, channel) for channel in range(len(run.channels))]
        return integers(indices) + struct.pack(">ii", run.geometry.columns, run.geometry.rows)

    def _frame_data(self, body: bytes, alive: Alive) -> bytes:
        index, forward = struct.unpack(">II", body)
        nothing = string("") + struct.pack(">iiI", 0, 0, 0)
        now = self._moment(nothing)
        wanted = [number for number in range(len(now.run.channels)) if self._index(now.run, number) == index]
        if not wanted or forward not in (0, 1):
            raise CallError(f"channel {index}, direction {forward}: not among the recorded ones", nothing)
        picture = now.run.picture(wanted[0], forward == 1, now.position)
        if forward == 0 and self._options.mirrored:
            picture = picture[:, ::-1]
        return string(_full_name(now.run, wanted[0])) + table(picture) + struct.pack(">I", 1 if now.run.up else 0)

    def _speed(self, body: bytes, alive: Alive) -> bytes:
        run = self._moment(bytes(22)).run
        trace_s = run.line_s / 2
        speed = run.geometry.size_nm[0] * 1e-9 / trace_s if trace_s > 0 else 0.0
        return struct.pack(">4fHf", speed, speed, trace_s, trace_s, 1, 1.0)

    def _properties(self, body: bytes, alive: Alive) -> bytes:
        # Continuous and bouncy scan are on; no parameters of modules go into the files.
        return (
            struct.pack(">3I", 1, 1, 0 if self._options.autosave else 2)
            + string(self._machine.instrument.plan.series)
            + string("simulated")
            + strings([])
            + integers([])
            + struct.pack(">iiI", 0, 0, 0)
        )

    def _signals(self, body: bytes, alive: Alive) -> bytes:
        return strings(self._all_names())

    def _slots(self, body: bytes, alive: Alive) -> bytes:
        names = self._all_names()
        indices = _slot_signals()
        return strings([names[index] for index in indices]) + integers(indices)

    def _session_path(self, body: bytes, alive: Alive) -> bytes:
        return string(str(self._machine.instrument.folder.absolute()))

    def _version(self, body: bytes, alive: Alive) -> bytes:
        release = RELEASES[self._options.release]
        return string("Nanonis SPM Control Software") + string("Generic 5") + struct.pack(">II", release, release)

    def _tip_position(self, body: bytes, alive: Alive) -> bytes:
        struct.unpack(">I", body)
        now = self._moment(bytes(16))
        x, y = now.run.geometry.to_nm(np.array([_tip_px(now.run, now.position)]))[0] * 1e-9
        return struct.pack(">dd", x, y)

    def _index(self, run: RunningScan, channel: int) -> int:
        """The number by which a recorded channel is asked for."""
        return run.channels[channel].index if self._options.by_slot else _signal_of(run.channels[channel].name)

    def _all_names(self) -> list[str]:
        names = [_signal_name(index) for index in range(SIGNALS)]
        now = self._machine.moment()
        if now is not None:
            for channel, one in enumerate(now.run.channels):
                names[_signal_of(one.name)] = _full_name(now.run, channel)
        return names


def _timeout_s(body: bytes) -> float | None:
    (milliseconds,) = struct.unpack(">i", body)
    return None if milliseconds < 0 else milliseconds / 1000


def _full_name(run: RunningScan, channel: int) -> str:
    return f"{run.channels[channel].name} ({run.channels[channel].unit})"


def _signal_of(name: str) -> int:
    return {"Current": CURRENT, "Z": Z}.get(name, OTHER)


def _signal_name(index: int) -> str:
    """Names of the signals of a usual controller, in their usual order; what is not wired has one too."""
    known = {0: "Current (A)", 24: "Bias (V)", 27: "X (m)", 28: "Y (m)", 30: "Z (m)", OTHER: "Frequency Shift (Hz)"}
    if index in known:
        return known[index]
    if index < 24:
        return f"Input {index + 1} (V)"
    return f"Internal {index + 1} (V)"


def _slot_signals() -> list[int]:
    """Which signal stands in each of the 24 slots: Z in 14, as in the files."""
    signals = list(range(SLOTS))
    signals[14], signals[6] = Z, OTHER
    return signals


def _tip_px(run: RunningScan, position: Position) -> tuple[float, float]:
    line = min(position.lines, run.geometry.rows - 1)
    row = run.geometry.rows - 1 - line if run.up else line
    return float(position.forward_px - position.backward_px) - 0.5, float(row)
