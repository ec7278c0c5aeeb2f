"""The scan of the simulated controller: frame after frame along a clock, with the faults that were planned."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from spm_live_drivers.contract import ScanGeometry
from spm_live_drivers.growing import ScanOutcome
from spm_live_drivers.simulate.faults import FILE_FAULTS, REPLY_FAULTS, DueFault, FaultPlan, Injection
from spm_live_drivers.simulate.instrument import SimulatedInstrument
from spm_live_drivers.simulate.options import ControllerOptions
from spm_live_drivers.simulate.running import EndedScan, Moment, Planes, Position, RunningScan
from spm_live_drivers.simulate.saver import Saver
from spm_live_drivers.simulate.spoiling import another_geometry, spoil
from spm_live_drivers.simulate.waiting import LONGEST_WAIT_S, SHORTEST_WAIT_S, Deadline

logger = logging.getLogger(__name__)

ENDING = frozenset({"restart-anew", "stopped", "restarted-scan", "changed-frame"})
"""Faults that end a scan at their line: nothing of the lines after it is ever seen."""


@dataclass(frozen=True, slots=True)
class _Next:
    """What is begun next, and when."""

    at_s: float
    frame: int
    number: int
    attempt: int = 0
    geometry: ScanGeometry | None = None


class ScanMachine:
    """Scans frame after frame.

    Whatever is due is done in :meth:`step`, by one thread at a time; everything else may be asked by any thread.

    Parameters
    ----------
    instrument : SimulatedInstrument
        Shows the frames and saves them.
    options : ControllerOptions
        How it behaves.
    faults : FaultPlan
        What goes wrong.
    clock : callable
        Time in s, never going back.
    pause : callable
        Waits for so many s between the pieces of a slowly written file.
    restart : callable
        Takes the server away; it comes back after ``options.restart_s``.
    begun, ended : callable or None
        Told of every scan that begins and ends, by the thread that steps.

    Raises
    ------
    ValueError
        If a fault was planned that cannot happen to the files of the instrument.
    """

    def __init__(
        self,
        instrument: SimulatedInstrument,
        options: ControllerOptions,
        faults: FaultPlan,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object],
        restart: Callable[[], object] = lambda: None,
        begun: Callable[[RunningScan], object] | None = None,
        ended: Callable[[EndedScan], object] | None = None,
    ) -> None:
        faults.check(instrument.plan.format)
        self.instrument = instrument
        self.options = options
        self.faults = faults
        self.clock = clock
        self._restart, self._begun_hook, self._ended_hook = restart, begun, ended
        self._stepping = threading.Lock()
        self._changed = threading.Condition()
        self._saver = Saver(instrument, options, clock, pause)  # only the stepping thread uses it
        self._run: RunningScan | None = None
        self._held: Position | None = None  # where the scan stands still
        self._cap: Position | None = None  # where a fault will end it
        self._next: _Next | None = None
        self._over = False
        self._ended: EndedScan | None = None
        self._pending: deque[DueFault] = deque()  # of this frame; only the stepping thread changes it
        self._details: dict[DueFault, str] = {}
        self._armed: deque[tuple[DueFault, RunningScan]] = deque()

    @property
    def over(self) -> bool:
        """Whether all planned frames were scanned, and all of their files are written."""
        return self._over and not self._saver.late

    @property
    def saved(self) -> int:
        """Scans that were saved."""
        return self._saver.saved

    def step(self) -> None:
        """Do all that is due by now.

        At most one frame ends in a step, so that even after a leap of the clock none passes unseen.

        Raises
        ------
        OSError
            If a folder or file cannot be written.
        """
        with self._stepping:
            if self._run is None and not self._over and self._next is None:
                frames = self.instrument.plan.frames
                self._next = _Next(self.clock(), 1, self.instrument.prepare())
                self._over = frames is not None and frames < 1
            self._saver.late.do_due()
            while not self._over and self._act():
                pass
        with self._changed:
            self._changed.notify_all()

    def settle(self) -> None:
        """Write what would have been written later, as an instrument does that is switched off.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        with self._stepping:
            self._saver.late.do_all()

    def due_in_s(self) -> float:
        """How long nothing is due, in s."""
        with self._stepping:
            return min(self._saver.late.due_in_s(), self._scan_due_in_s())

    def _scan_due_in_s(self) -> float:
        run, now = self._run, self.clock()
        if self._over:
            return math.inf if self._saver.late else 0.0
        if self._next is not None:
            return max(0.0, self._next.at_s - now)
        if run is None:
            return 0.0
        lines = self._pending[0].line if self._pending else run.geometry.rows
        return max(0.0, run.trace_end_s(2 * lines) - now)

    def moment(self) -> Moment | None:
        """The state of the scan now; None before the first step."""
        with self._changed:
            return self._moment()

    def wait_end_of_scan(self, timeout_s: float | None, alive: Callable[[], bool]) -> EndedScan | None:
        """Wait for the next end of a scan.

        Parameters
        ----------
        timeout_s : float or None
            By the clock of the controller or by the real one, whichever is over first; None: for ever.
        alive : callable
            Asked now and then; False gives up.

        Returns
        -------
        EndedScan or None
            None if it took too long.
        """
        with self._changed:
            before = self._serial()
            deadline = Deadline(self.clock, timeout_s)
            while self._serial() == before:
                if not self._wait(deadline, None, alive):
                    return None
            return self._ended

    def wait_end_of_trace(self, timeout_s: float | None, alive: Callable[[], bool]) -> tuple[int, bool] | None:
        """Wait for the next end of a trace.

        Returns
        -------
        (int, bool) or None
            Line from 0 and whether it was its forward trace; None if it took too long.
        """
        with self._changed:
            deadline = Deadline(self.clock, timeout_s)
            run: RunningScan | None = None
            before = 0
            while True:
                now = self._moment()
                if now is not None:
                    traces = now.run.traces(now.position)
                    if now.run is not run:
                        run, before = now.run, traces if run is None else 0
                    if traces > before:
                        return (traces - 1) // 2, traces % 2 == 1
                next_s = None
                if now is not None and now.running and before < 2 * self._last_line(now.run):
                    next_s = now.run.trace_end_s(before + 1)
                if not self._wait(deadline, next_s, alive):
                    return None

    def take_reply_fault(self, call: str) -> tuple[DueFault, RunningScan] | None:
        """The fault that the reply to a call is to have, if any; it is not asked for again."""
        with self._changed:
            for index, (fault, run) in enumerate(self._armed):
                if fault.call in ("", call):
                    del self._armed[index]
                    return fault, run
        return None

    def note(self, fault: DueFault, run: RunningScan, detail: str = "") -> None:
        """Write down that a fault was injected."""
        self.faults.note(Injection(fault.name, run.frame, run.number, fault.line, self.clock(), detail))

    def wake(self) -> None:
        """Let everybody who waits look again whether it is still alive."""
        with self._changed:
            self._changed.notify_all()

    def _serial(self) -> int:
        return 0 if self._ended is None else self._ended.serial

    def _moment(self) -> Moment | None:
        run = self._run
        if run is None:
            return None
        if self._held is not None:
            return Moment(run, self._held, running=False)
        position = run.position(self.clock())
        return Moment(run, position if self._cap is None else min(position, self._cap), running=True)

    def _wait(self, deadline: Deadline, next_s: float | None, alive: Callable[[], bool]) -> bool:
        """Wait until something may have changed; False: there is no more waiting."""
        if not alive():
            return False
        left_s = deadline.left_s()
        if left_s <= 0:
            return False
        if next_s is not None:
            left_s = min(left_s, next_s - self.clock())
        self._changed.wait(max(SHORTEST_WAIT_S, min(LONGEST_WAIT_S, left_s)))
        return True

    def _last_line(self, run: RunningScan) -> int:
        """How many lines are going to be seen before something else happens."""
        return run.geometry.rows if self._cap is None else self._cap.lines

    def _act(self) -> bool:
        """Do the next thing that is due; False: nothing is, or a frame has ended."""
        now = self.clock()
        if self._next is not None:
            if now < self._next.at_s:
                return False
            self._begin(self._next)
            return True
        run = self._run
        if run is None:
            return False
        position = run.position(now)
        if self._pending and self._pending[0].name not in FILE_FAULTS and self._pending[0].line <= position.lines:
            self._inject(run, self._pending.popleft())
            return True
        if position == run.end:
            self._end(run, run.geometry.rows, ScanOutcome.FINISHED)
        return False

    def _begin(self, what: _Next) -> None:
        subject = self.instrument.look(what.number, geometry=what.geometry)
        geometry = subject.scan.geometry
        if what.attempt == 0:
            self._pending = deque(self.faults.of_frame(what.frame, geometry.rows))
            changed = [fault for fault in self._pending if fault.name == "changed-frame" and fault.line == 0]
            for fault in changed:
                self._pending.remove(fault)
                geometry, self._details[fault] = another_geometry(self.faults.rng_for(what.frame, fault), geometry)
            if changed:
                subject = self.instrument.look(what.number, geometry=geometry)
        else:
            changed = []
            self._pending = deque(fault for fault in self._pending if fault.line < geometry.rows)
        spoilt = spoil(
            subject,
            lambda tip: self.instrument.look(what.number, tip, geometry),
            self._pending,
            what.frame,
            self.faults,
            what.attempt,
        )
        self._details |= spoilt.details
        run = RunningScan(
            what.frame,
            what.number,
            what.attempt,
            spoilt.subject,
            self.instrument.channels(what.number, spoilt.subject),
            self._old_picture(geometry),
            self.clock(),
            self.instrument.now(),
            self.instrument.plan.line_s(geometry.rows),
        )
        with self._changed:
            self._run, self._held, self._next = run, None, None
            self._set_cap()
            self._changed.notify_all()
        for fault in changed:
            self.note(fault, run, self._details.pop(fault))
        if self._begun_hook is not None:
            self._begun_hook(run)

    def _old_picture(self, geometry: ScanGeometry) -> Planes | None:
        now = self.moment()
        if not self.options.continuous or now is None:
            return None
        old = now.run.geometry
        if (old.rows, old.columns) != (geometry.rows, geometry.columns):
            return None
        return tuple(
            (now.run.picture(index, True, now.position), now.run.picture(index, False, now.position))
            for index in range(len(now.run.channels))
        )

    def _set_cap(self) -> None:
        line = next((fault.line for fault in self._pending if fault.name in ENDING), None)
        self._cap = None if line is None else Position(line)

    def _inject(self, run: RunningScan, fault: DueFault) -> None:
        """Let a fault happen whose line was reached."""
        if fault.name in REPLY_FAULTS:
            with self._changed:
                self._armed.append((fault, run))
            return
        now = self.clock()
        detail = self._details.pop(fault, "")
        geometry = run.geometry
        if fault.name == "changed-frame":
            geometry, detail = another_geometry(self.faults.rng_for(run.frame, fault), geometry)
        self.note(fault, run, detail)
        if fault.name in ("restart", "restart-anew"):
            self._restart()
        if fault.name == "stopped":
            self._hold(fault.line)
            self._end(run, fault.line, ScanOutcome.STOPPED)
        elif fault.name in ENDING:
            self._hold(fault.line)
            self._tell_end(run, fault.line, ScanOutcome.STOPPED, "")
            rest_s = self.options.restart_s if fault.name == "restart-anew" else 0.0
            self._next = _Next(now + rest_s, run.frame, run.number, run.attempt + 1, geometry)

    def _hold(self, line: int) -> None:
        with self._changed:
            self._held = Position(line)

    def _end(self, run: RunningScan, lines: int, outcome: ScanOutcome) -> None:
        """A frame is over: save it, tell of it, and plan the next one."""
        mine = [fault for fault in self._pending if fault.name in FILE_FAULTS]
        for fault in mine:
            self.note(fault, run, f"by {self.options.late_chain_s:g} s" if fault.name == "late-chain" else "")
        names = {fault.name for fault in mine}
        slowly, saves = "slow-file" in names, self.options.autosave and "no-file" not in names
        path = str(self.instrument.path_of(run.number, run.subject.unit).absolute()) if saves else ""
        if slowly:
            # The controller says so when it hands the file to its system; a slow share has it much later.
            self._tell_end(run, lines, outcome, path)
        if saves:
            self._saver.save(run, lines, slowly=slowly, late="late-chain" in names)
        if not slowly:
            self._tell_end(run, lines, outcome, path)
        logger.info("%s: %d molecules", path or f"frame {run.frame}, not saved", len(run.subject.scan.molecules))
        self._pending.clear()
        self._details.clear()
        rest_s = self.options.stopped_s if outcome is ScanOutcome.STOPPED else 0.0
        frames = self.instrument.plan.frames
        if frames is not None and run.frame >= frames:
            with self._changed:
                self._held, self._over = Position(lines), True
        else:
            self._next = _Next(self.clock() + rest_s, run.frame + 1, run.number + 1)

    def _tell_end(self, run: RunningScan, lines: int, outcome: ScanOutcome, path: str) -> None:
        with self._changed:
            serial = self._serial() + 1
            self._ended = EndedScan(serial, run.frame, run.number, run.subject.scan, lines, outcome, path)
            self._changed.notify_all()
        if self._ended_hook is not None:
            self._ended_hook(self._ended)
