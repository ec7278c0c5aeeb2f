"""``spm-live-simulate``."""

from __future__ import annotations

import argparse
import logging
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from spm_live_drivers.errors import FrameError
from spm_live_drivers.simulate.controller import SERVED, SimulatedController
from spm_live_drivers.simulate.faults import FAULTS, FaultPlan, parse_fault
from spm_live_drivers.simulate.instrument import SimulatedInstrument
from spm_live_drivers.simulate.options import RELEASES, ControllerOptions
from spm_live_drivers.simulate.plan import FORMATS, ScanPlan

logger = logging.getLogger(__name__)


class _Stop(threading.Event):
    """Waits in short stretches: Windows hands a Ctrl-C to Python only between two of them."""

    def wait(self, timeout: float | None = None) -> bool:
        left = timeout if timeout is not None else threading.TIMEOUT_MAX
        end = time.monotonic() + left
        while left > 0 and not super().wait(min(left, 0.2)):
            left = end - time.monotonic()
        return self.is_set()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the simulated microscope from the command line until it is done or Ctrl-C is pressed."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        plan = _plan(given)
        options = ControllerOptions(
            release=given.release,
            continuous=given.continuous,
            mirrored=not given.unmirrored,
            autosave=not given.no_save,
        )
        faults = FaultPlan([parse_fault(text) for text in given.fault], given.seed)
        faults.check(plan.format)
    except ValueError as error:
        parser.error(str(error))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    stop = _Stop()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        instrument = SimulatedInstrument(given.folder, plan, truth=given.truth)
        port = given.tcp_port or 0
        controller = SimulatedController(instrument, options, host=given.host, port=port, faults=faults)
        try:
            if given.tcp_port is not None:
                logger.info("serving on %s port %d", given.host, controller.start())
            controller.run(stop)
        finally:
            controller.stop()
    except (OSError, FrameError) as error:
        parser.exit(2, f"spm-live-simulate: {error}\n")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _parser() -> argparse.ArgumentParser:
    plan = ScanPlan()
    parser = argparse.ArgumentParser(
        prog="spm-live-simulate",
        description="Simulates a scanning tunnelling microscope that saves its scans and answers over TCP.",
        epilog="Faults: " + "; ".join(f"{name} ({what})" for name, what in FAULTS.items()),
    )
    parser.add_argument("folder", type=Path, help="where the scan files go")
    parser.add_argument("--pixels", type=int, default=plan.pixels, help="rows and columns (default %(default)s)")
    parser.add_argument("--size-nm", type=float, default=plan.size_nm, help="width and height (default %(default)s)")
    parser.add_argument("--frame-time", type=float, default=plan.frame_time_s, help="s a frame (default %(default)s)")
    parser.add_argument(
        "--line-time", type=float, metavar="S", help="s a line, there and back; instead of --frame-time"
    )
    parser.add_argument("--frames", type=int, help="stop after so many (default: go on until Ctrl-C)")
    parser.add_argument("--slow-write", type=float, default=0.0, metavar="S", help="let a file grow for so many s")
    parser.add_argument("--seed", type=int, default=plan.seed, help="another seed, another surface")
    parser.add_argument("--series", default=plan.series, help="start of the file names (default %(default)s)")
    parser.add_argument("--format", choices=FORMATS, default=plan.format, help="of the files (default %(default)s)")
    parser.add_argument("--truth", type=Path, metavar="DIR", help="keep the truth about each frame here, as JSON")
    parser.add_argument(
        "--recorded", type=Path, action="append", default=[], metavar="FILE", help="scan this file again; repeatable"
    )
    parser.add_argument(
        "--drift-nm",
        type=float,
        default=0.0,
        metavar="NM",
        help="show one place that drifts so far from frame to frame",
    )
    parser.add_argument(
        "--hops", type=float, default=0.0, metavar="SHARE", help="show one place where this share of molecules hops"
    )
    parser.add_argument("--tcp-port", type=int, metavar="N", help="answer on this port; 0: any that is free")
    parser.add_argument("--host", default="127.0.0.1", help="listen here (default %(default)s: this machine only)")
    parser.add_argument("--release", type=int, choices=sorted(RELEASES), default=2024, help="of the software played")
    parser.add_argument("--continuous", action="store_true", help="a frame overwrites the old one line by line")
    parser.add_argument("--unmirrored", action="store_true", help="send backward traces with x to the right")
    parser.add_argument("--no-save", action="store_true", help="save no files")
    parser.add_argument(
        "--fault", action="append", default=[], metavar="NAME[@FRAME[:LINE]]", help="let something go wrong; repeatable"
    )
    return parser


def _plan(given: argparse.Namespace) -> ScanPlan:
    if given.tcp_port is not None and not 0 <= given.tcp_port <= 65535:
        raise ValueError(f"there is no port {given.tcp_port}")
    if given.tcp_port is not None and given.format != "sxm":
        raise ValueError(SERVED)
    return ScanPlan(
        pixels=given.pixels,
        size_nm=given.size_nm,
        frame_time_s=given.frame_time,
        frames=given.frames,
        slow_write_s=given.slow_write,
        seed=given.seed,
        series=given.series,
        line_time_s=given.line_time,
        recorded=tuple(given.recorded),
        drift_nm=given.drift_nm,
        hops=given.hops,
        format=given.format,
    )
