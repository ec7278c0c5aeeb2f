"""A microscope that needs no microscope: simulated scans, the real daemon, the real viewer."""

from __future__ import annotations

import logging
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spm_live.daemon.life import Daemon
from spm_live.service import open_service, run_until_signalled
from spm_live.settings import Settings, settings_from
from spm_live_drivers.simulate import ScanPlan, SimulatedInstrument

logger = logging.getLogger(__name__)


def demo_settings(folder: Path, port: int) -> Settings:
    """The configuration of the demonstration, all of it under one folder."""
    return settings_from(
        {
            "folders": [{"path": folder / "scans", "settle_s": 0.3, "quiet_s": 20}],
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
        settings = demo_settings(place, port)
        scans = settings.folders[0].path
        scans.mkdir(parents=True, exist_ok=True)
        with open_service(settings) as service:
            yield f"viewer: {service.url}"
            yield f"scans:  {scans}"
            yield "Ctrl-C ends it."
            stop = threading.Event()
            instrument = SimulatedInstrument(scans, ScanPlan(frame_time_s=every_s, seed=seed, frames=frames))
            scanning = threading.Thread(
                target=_scan, args=(instrument, service.daemon, stop, frames), name="simulated-instrument"
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


def _scan(instrument: SimulatedInstrument, daemon: Daemon, stop: threading.Event, frames: int | None) -> None:
    """Scan; where the number of frames is limited, end the daemon when it has dealt with the last."""
    instrument.run(stop)
    while frames is not None and not stop.wait(0.2):
        done = daemon.status().counters
        if done["frames"] + done["faults"] >= frames:
            daemon.stop()
            return


@contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="spm-live-demo-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)
