"""The whole daemon on a MATRIX experiment whose parameter chain is written after the image files."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spm_live.domain import DaemonStatus
from spm_live.publish.store import Store
from spm_live.service import open_service
from spm_live.settings import load_settings
from spm_live_drivers.simulate import (
    ControllerOptions,
    Fault,
    FaultPlan,
    ScanPlan,
    SimulatedController,
    SimulatedInstrument,
)

LATE_S = 1000.0
"""By the clock of the simulated instrument, which the test steps."""


def waiting(status: DaemonStatus) -> int:
    """Files that wait for their chain; the daemon opens its sources only after the model."""
    return sum(source.counters["waiting"] for source in status.sources)


@pytest.mark.parametrize("late", [1, 2])
def test_a_scan_whose_chain_is_late_is_stored_once_and_without_a_fault(tmp_path: Path, late: int) -> None:
    now = 0.0
    config = tmp_path / "lab.toml"
    config.write_text(
        '[[folders]]\npath = "scans"\nsettle_s = 0.02\npoll_s = 0.05\n[store]\npath = "lab.sqlite3"\nmin_free_mb = 0\n'
        "[web]\nenabled = false\n[publish]\nenabled = false\n[model]\nthreads = 1\n"
    )
    settings = load_settings(config)
    plan = ScanPlan(pixels=64, size_nm=10.0, line_time_s=1.0, frames=2, seed=3, format="matrix")
    faults = FaultPlan([Fault("late-chain", late)])
    instrument = SimulatedInstrument(tmp_path / "scans", plan)
    simulated = SimulatedController(
        instrument, ControllerOptions(late_chain_s=LATE_S), faults=faults, clock=lambda: now
    )
    simulated.step()
    with open_service(settings) as service:
        life = threading.Thread(target=service.daemon.run)
        life.start()

        def wait(holds: Callable[[DaemonStatus], bool]) -> DaemonStatus:
            deadline, pause = time.monotonic() + 60, threading.Event()
            while not holds(status := service.daemon.status()):
                assert life.is_alive(), "the daemon ended by itself"
                assert time.monotonic() < deadline, status
                pause.wait(0.02)
            return status

        try:
            # What stands in the chain before the late scan is stored; the rest waits, both channels of every scan.
            for _ in range(2):
                now += 64
                simulated.step()
                simulated.step()
            status = wait(lambda one: waiting(one) == 2 * (3 - late) and one.counters["frames"] == late - 1)
            assert "sim_0001.mtrx" in status.sources[0].detail, "it says what it waits for"
            now += LATE_S
            simulated.step()
            assert simulated.over
            status = wait(lambda one: one.counters["frames"] == 2 and not waiting(one))
            assert (status.counters["faults"], status.counters["duplicates"]) == (0, 0)
        finally:
            service.daemon.stop()
            life.join(30)
        assert not life.is_alive()
    with Store(settings.store.path) as store:
        assert sorted(frame["name"] for frame in store.iter_frames()) == ["sim--1_1.Z_mtrx", "sim--1_2.Z_mtrx"]
    assert [(one.name, one.frame) for one in faults.injected] == [("late-chain", late)]
