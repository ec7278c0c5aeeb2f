"""A simulated controller: scans line by line, saves, and answers over TCP meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from spm_live_drivers.simulate.calls import Calls
from spm_live_drivers.simulate.faults import FaultPlan
from spm_live_drivers.simulate.instrument import SimulatedInstrument
from spm_live_drivers.simulate.machine import ScanMachine
from spm_live_drivers.simulate.options import ControllerOptions
from spm_live_drivers.simulate.running import EndedScan, Moment, RunningScan
from spm_live_drivers.simulate.server import InstrumentServer, SpoiltReply
from spm_live_drivers.simulate.waiting import LONGEST_WAIT_S

SERVED = (
    "no controller that answers over TCP saves MATRIX files; leave the server (--tcp-port) out, or save .sxm files "
    "(--format sxm)"
)
"""Why an instrument that saves MATRIX files is a folder and nothing else."""

USUAL = ControllerOptions()
"""How it behaves unless told otherwise."""


class SimulatedController:
    """An instrument that can be watched while it scans.

    Parameters
    ----------
    instrument : SimulatedInstrument
        Shows the frames and saves them.
    options : ControllerOptions
        How it behaves.
    host : str
        Where to listen.
    port : int
        0: any that is free.
    faults : FaultPlan or None
        What goes wrong; None: nothing.
    clock : callable
        Time in s, never going back. All that the scan does follows from it, so that a test can step it.
    begun, ended : callable or None
        Told of every scan that begins and ends (:class:`RunningScan`, :class:`EndedScan`), by the thread that scans.

    Raises
    ------
    ValueError
        If a fault was planned that cannot happen to the files of the instrument.

    Examples
    --------
    Scan with a server, in a thread of one's own::

        stop = threading.Event()
        with SimulatedController(SimulatedInstrument(folder, plan)) as controller:
            threading.Thread(target=controller.run, args=(stop,)).start()
            ...                      # talk to controller.address
            stop.set()

    Without :meth:`run`, :meth:`step` does what is due by the clock.
    """

    def __init__(
        self,
        instrument: SimulatedInstrument,
        options: ControllerOptions = USUAL,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: FaultPlan | None = None,
        clock: Callable[[], float] = time.monotonic,
        begun: Callable[[RunningScan], object] | None = None,
        ended: Callable[[EndedScan], object] | None = None,
    ) -> None:
        self.instrument = instrument
        self.options = options
        self.faults = faults or FaultPlan()
        self._clock = clock
        self._host = host
        self._stopped = threading.Event()
        self._pause: Callable[[float], object] = self._stopped.wait
        self._back_s: float | None = None
        self._serving = False
        self._machine = ScanMachine(
            instrument,
            options,
            self.faults,
            clock=clock,
            pause=lambda seconds: self._pause(seconds),
            restart=self._go_away,
            begun=begun,
            ended=ended,
        )
        self._server = InstrumentServer(Calls(self._machine).answer, self._next_spoilt, host, port, options.connections)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the server."""
        return self._host, self._server.port

    @property
    def over(self) -> bool:
        """Whether all planned frames were scanned, and all of their files are written."""
        return self._machine.over

    @property
    def saved(self) -> int:
        """How many files were written."""
        return self._machine.saved

    def start(self) -> int:
        """Begin to serve; the scan itself needs :meth:`run` or :meth:`step`.

        Returns
        -------
        int
            The port.

        Raises
        ------
        OSError
            If it cannot listen.
        ValueError
            If MATRIX files are saved: no controller that answers these calls does that.
        """
        if self.instrument.plan.format != "sxm":
            raise ValueError(SERVED)
        port = self._server.listen()
        self._serving = True
        return port

    def stop(self) -> None:
        """Close the server and all connections, and end a :meth:`run`. May be called twice."""
        self._stopped.set()
        self._serving = False
        self._server.drop()
        self._machine.wake()
        self._server.close()

    def __enter__(self) -> SimulatedController:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def step(self) -> None:
        """Do what is due by the clock: at most one frame ends.

        Raises
        ------
        OSError
            If a folder or file cannot be written, or the server cannot come back.
        """
        if self._back_s is not None and self._clock() >= self._back_s and self._serving:
            self._back_s = None
            self._server.listen()
        self._machine.step()

    def run(self, stop: threading.Event) -> int:
        """Scan until the plan is done, ``stop`` is set, or :meth:`stop` is called. A frame under way is not saved.

        A parameter chain that is late is completed at the end, before its time if the scan was stopped.

        Returns
        -------
        int
            How many files were written.

        Raises
        ------
        OSError
            As :meth:`step`.
        """
        self._pause = stop.wait
        while not (stop.is_set() or self._stopped.is_set()):
            self.step()
            if self.over:
                break
            # A clock that does not run as fast as the real one is looked at now and then.
            stop.wait(min(self.due_in_s(), LONGEST_WAIT_S))
        self._machine.settle()
        return self.saved

    def due_in_s(self) -> float:
        """How long nothing is due, in s by the clock."""
        due_s = self._machine.due_in_s()
        return due_s if self._back_s is None else min(due_s, max(0.0, self._back_s - self._clock()))

    def moment(self) -> Moment | None:
        """The state of the scan now: what runs, and how far it has got; None before the first step."""
        return self._machine.moment()

    def _go_away(self) -> None:
        if self._serving:
            self._server.drop()
            self._machine.wake()
            self._back_s = self._clock() + self.options.restart_s

    def _next_spoilt(self, call: str) -> SpoiltReply | None:
        taken = self._machine.take_reply_fault(call)
        if taken is None:
            return None
        fault, run = taken
        rng = self.faults.rng_for(run.frame, fault)
        return SpoiltReply(
            fault.name, rng, self.options.slow_reply_s, lambda detail: self._machine.note(fault, run, detail)
        )
