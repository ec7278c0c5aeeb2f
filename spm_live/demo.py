"""A microscope that needs no microscope: a simulated controller that scans, the real daemon, the real viewer."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spm_live.daemon.life import Daemon
from spm_live.service import open_service, run_until_signalled
from spm_live.settings import Settings, settings_from
from spm_live_drivers.simulate import ScanPlan, SimulatedController, SimulatedInstrument

logger = logging.getLogger(__name__)


DRIFT_NM = 0.4
HOPS = 0.1
PLACE_FRAMES = 6
"""The same place is scanned so often, drifting, and some molecules hop meanwhile."""
LAST_FRAME_S = 60.0
"""How long the last file may take to be counted, in s."""
ENOUGH = 0.12
"""Coverage of which the demonstration's rule tells."""


def demo_settings(folder: Path, port: int, controller: tuple[str, int]) -> Settings:
    """The configuration of the demonstration, all of it under one folder."""
    host, controller_port = controller
    return settings_from(
        {
            "folders": [{"path": folder / "scans", "settle_s": 0.3, "quiet_s": 20}],
            "nanonis": [{"host": host, "port": controller_port, "name": "simulated STM", "poll_s": 0.2}],
            "rules": [
                {"name": "enough molecules", "when": "coverage", "above": ENOUGH, "lines": 64},
                {"name": "bad scan", "when": "quality", "lines": 64},
                {"name": "the tip changed", "when": "tip_change"},
            ],
            "store": {"path": folder / "results" / "demo.sqlite3"},
            "web": {"port": port},
            # This one tells the three kinds of molecules apart that the simulated microscope scans.
            "model": {"name": "synthetic-small"},
            # A demonstration must not take the ports of a daemon that runs beside it.
            "publish": {"enabled": False},
        },
        origin="demo",
    )


def run_demo(
    folder: Path | None, *, port: int, every_s: float, frames: int | None, seed: int, browser: bool
) -> Iterator[str]:
    """Run until Ctrl-C, or until so many frames were scanned and counted.

    Yields
    ------
    str
        Lines for a person: first the address, last the summary.
    """
    with _place(folder) as place:
        scans = place / "scans"
        scans.mkdir(parents=True, exist_ok=True)
        plan = ScanPlan(
            frame_time_s=every_s,
            seed=seed,
            frames=frames,
            drift_nm=DRIFT_NM,
            hops=HOPS,
            place_frames=PLACE_FRAMES,
        )
        with SimulatedController(SimulatedInstrument(scans, plan)) as controller:
            controller.step()  # the first frame begins: who asks from now on is answered
            settings = demo_settings(place, port, controller.address)
            with open_service(settings) as service:
                yield f"viewer: {service.url}"
                yield f"scans:  {scans}"
                yield "Ctrl-C ends it."
                stop = threading.Event()
                scanning = threading.Thread(
                    target=_scan, args=(controller, service.daemon, stop, frames), name="simulated-instrument"
                )
                scanning.start()
                if browser and service.url:
                    webbrowser.open(service.url)
                try:
                    run_until_signalled(service)
                finally:
                    stop.set()
                    scanning.join()
                done = service.daemon.status().counters
                yield f"{done['frames']} frames, {done['molecules']} molecules, {done['faults']} faults"


def _scan(controller: SimulatedController, daemon: Daemon, stop: threading.Event, frames: int | None) -> None:
    """Scan; where the number of frames is limited, end the daemon when it has dealt with the last."""
    controller.run(stop)
    deadline_s = time.monotonic() + LAST_FRAME_S
    while frames is not None and not stop.wait(0.2):
        if daemon.status().counters["frames"] >= controller.saved or time.monotonic() > deadline_s:
            daemon.stop()
            return


@contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="spm-live-demo-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)
