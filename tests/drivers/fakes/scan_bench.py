"""A simulated scan on a clock that is turned by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spm_live_drivers.simulate import (
    ControllerOptions,
    EndedScan,
    Fault,
    FaultPlan,
    ScanPlan,
    SimulatedInstrument,
)
from spm_live_drivers.simulate.machine import ScanMachine
from spm_live_drivers.simulate.running import RunningScan


class HandClock:
    """Stands still until it is set."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class ScanBench:
    """A scan without a server, and all that it tells."""

    def __init__(self, folder: Path, *faults: Fault, plan: ScanPlan, truth: Path | None = None, **options: Any) -> None:
        self.clock = HandClock()
        self.folder = folder
        self.instrument = SimulatedInstrument(folder, plan, truth=truth)
        self.faults = FaultPlan(faults, seed=9)
        self.begun: list[RunningScan] = []
        self.ended: list[EndedScan] = []
        self.waited: list[float] = []
        self.restarts = 0
        self.machine = ScanMachine(
            self.instrument,
            ControllerOptions(**options),
            self.faults,
            clock=self.clock,
            pause=self.waited.append,
            restart=self._restart,
            begun=self.begun.append,
            ended=self.ended.append,
        )
        self.machine.step()

    def _restart(self) -> None:
        self.restarts += 1

    def pass_by(self, seconds: float) -> None:
        """Let time go on."""
        self.clock.now += seconds
        self.machine.step()
