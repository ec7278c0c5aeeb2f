"""A day at the microscope in a quarter of an hour: simulated scans, a real daemon, and faults all the time.

::

    python scripts/soak.py --frames 500 --hours 24

A simulated controller scans frame after frame and saves them; ``spm-live run`` watches it, in a process of its own,
over TCP and by its folder. The clock of the instrument runs faster than the real one, the daemon's does not. At the end
it is checked that no frame was lost or doubled, that every scan that was announced has an end, that the daemon held no
more memory, threads and files than after the first tenth, and that its log names every fault. Ctrl-C ends it earlier;
then this is checked for what was done. Needs the ``test`` extra. Exit code 1 if something was not as it must be.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import psutil
from bench_model import make_instant_model
from soak_books import Books, History, audit
from soak_faults import Injected, naming, planned, surprises
from soak_lab import START_S, Daemon, LabError, Listener, Resources, Webhook

from spm_live_drivers.simulate import FaultPlan, ScanPlan, SimulatedController, SimulatedInstrument
from spm_live_drivers.simulate.options import ControllerOptions

SIZE_NM = 40.0
TIMEOUT_S = 1.0
OPTIONS = ControllerOptions(stopped_s=1.0, restart_s=1.0, slow_file_s=4.0, slow_reply_s=3.0)
"""The times of the instrument are shortened as its frames are; a slow reply is slower than the daemon waits."""
AROUND_EVERY = 25
"""Frames from one fault around the daemon to the next."""
SETTLE_S, LONGEST_SETTLE_S = 30.0, 180.0
"""After the last frame: the daemon is done when nothing was heard for so long, or all is well."""
PROGRESS_S = 15.0
GROWTH = 0.10
"""Memory may grow by this part from the second tenth of the frames to the last."""
MORE_THREADS, MORE_FILES = 2, 8
JUDGED_FRAMES = 100
"""With fewer frames memory is told and not judged: caches still fill."""


@dataclass
class Soak:
    """What a run leaves for the verdict."""

    arguments: argparse.Namespace
    daemon: Daemon
    listener: Listener
    webhook: Webhook
    resources: Resources
    controller: SimulatedController
    history: History
    injected: list[Injected] = field(default_factory=list)
    began_s: float = field(default_factory=time.monotonic)
    crashed: str = ""
    over: threading.Event = field(default_factory=threading.Event)
    """The instrument scans no more. Python 3.11 takes a thread for ended when Ctrl-C comes into its ``join``."""

    def inject(self, name: str, what: str) -> None:
        """Note a fault around the daemon."""
        self.injected.append(Injected(name, datetime.now(), what))  # noqa: DTZ005 - local time, as in the log


def main() -> int:
    """Run it, and print the verdict."""
    arguments = _arguments()
    machine = f"{platform.platform()}, {os.cpu_count()} cores, {platform.processor() or platform.machine()}"
    print(f"{machine}, Python {platform.python_version()}, load {_load()}", flush=True)
    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="spm-live-soak-", ignore_cleanup_errors=True) as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        model = str(make_instant_model(folder / "model")) if arguments.model == "instant" else arguments.model
        try:
            soak, code = _run(arguments, folder, model)
        except LabError as error:
            print(f"FAILED: {error}")
            return 1
        lines = list(_verdict(soak, code))
    for good, line in lines:
        print({True: "  good  ", False: "  BAD   ", None: "        "}[good] + line)
    bad = sum(good is False for good, _ in lines)
    print("the soak test is passed" if not bad else f"the soak test is FAILED in {bad} point(s)")
    return 1 if bad else 0


def _run(arguments: argparse.Namespace, folder: Path, model: str) -> tuple[Soak, int]:
    """Scan, until the frames are done or Ctrl-C; what happened, and the exit code of the daemon."""
    with ExitStack() as stack:
        history = History()
        controller = _controller(arguments, folder / "scans", history)
        stack.callback(controller.stop)
        webhook = stack.enter_context(Webhook())
        port = controller.start()
        daemon = Daemon(folder, model, port, webhook.server_port, TIMEOUT_S)
        (folder / "scans").mkdir(exist_ok=True)
        listener = stack.enter_context(Listener(daemon.port))
        daemon.start()
        stack.callback(daemon.stop)
        if not listener.ready.wait(START_S):
            raise LabError(f"the daemon did not start: {daemon.log.read_text(errors='replace')[-2000:]}")
        resources = stack.enter_context(Resources(daemon, listener))
        soak = Soak(arguments, daemon, listener, webhook, resources, controller, history)
        stop = threading.Event()
        thread = threading.Thread(target=_scan, args=(soak, stop), name="soak-instrument")
        thread.start()
        try:
            _watch(soak)
        except KeyboardInterrupt:
            print("\nCtrl-C: this frame is the last; what was done is checked", flush=True)
            _finish(controller)
            soak.over.wait(LONGEST_SETTLE_S)
        finally:
            stop.set()
            thread.join()
        _settle(soak)
        code = daemon.stop()
    offset = time.time() - time.monotonic()
    soak.injected += [
        Injected(
            one.name,
            datetime.fromtimestamp(one.at_s + offset),  # noqa: DTZ006 - local, as in the log
            str(one),
            controller.instrument.path_of(one.number).name,
            one.line,
            f"{arguments.pixels} x {arguments.pixels} px, {SIZE_NM:g} x {SIZE_NM:g} nm at 0°",
        )
        for one in controller.faults.injected
    ]
    return soak, code


def _controller(arguments: argparse.Namespace, scans: Path, history: History) -> SimulatedController:
    frames, begun_s = arguments.frames, time.monotonic()
    begun = datetime.now() - timedelta(hours=arguments.hours)  # noqa: DTZ005 - the instrument's clock has no zone
    faster = arguments.hours * 3600 / (frames * arguments.frame_time)
    plan = ScanPlan(
        pixels=arguments.pixels,
        size_nm=SIZE_NM,
        frame_time_s=arguments.frame_time,
        frames=frames,
        seed=arguments.seed,
        series="soak_",
        drift_nm=1.0,
        hops=0.1,
    )
    instrument = SimulatedInstrument(
        scans, plan, now=lambda: begun + timedelta(seconds=(time.monotonic() - begun_s) * faster)
    )
    faults = FaultPlan(planned(frames, arguments.faults, arguments.seed), arguments.seed)
    return SimulatedController(instrument, OPTIONS, faults=faults, begun=history.begun, ended=history.ended)


def _finish(controller: SimulatedController) -> None:
    """Let the frame under way be the last of the plan."""
    now = controller.moment()
    plan = controller.instrument.plan
    controller.instrument.plan = replace(plan, frames=1 if now is None else now.run.frame)


def _scan(soak: Soak, stop: threading.Event) -> None:
    try:
        soak.controller.run(stop)
    except OSError as error:
        soak.crashed = f"the simulated instrument ended: {error}"
    finally:
        soak.over.set()


def _watch(soak: Soak) -> None:
    """Tell the progress, and let things go wrong around the daemon."""
    rng = np.random.default_rng((soak.arguments.seed, 13))
    every = max(2, min(AROUND_EVERY, soak.arguments.frames // 5))
    told_s, turn = time.monotonic(), 0
    while not soak.over.wait(0.25):
        process = soak.daemon.process
        if process is not None and process.poll() is not None:
            raise LabError(f"the daemon ended: {soak.daemon.log.read_text(errors='replace')[-2000:]}")
        if soak.controller.saved >= (turn + 1) * every:
            turn += 1
            _go_wrong(soak, turn, rng)
        if time.monotonic() - told_s > PROGRESS_S:
            told_s = time.monotonic()
            print(f"  {_progress(soak)}", flush=True)


def _go_wrong(soak: Soak, turn: int, rng: np.random.Generator) -> None:
    if turn == 1:  # early, so that what the worker gathers from then on is seen
        if (worker := soak.daemon.worker()) is not None:
            worker.kill()
            soak.inject("worker-killed", f"process {worker.pid}")
    elif turn % 2:
        soak.webhook.refuse_next += 1
        soak.inject("webhook-refuses", "the next notice is answered with 404")
    else:
        path = soak.daemon.scans / f"damaged_{turn:04d}.sxm"
        path.write_bytes(b":NANONIS_VERSION:\n2\n:SCAN_PIXELS:\n" + rng.bytes(400))
        soak.inject("damaged-file", path.name)


def _settle(soak: Soak) -> None:
    """Wait until the daemon has dealt with everything, or does nothing any more."""
    began_s = time.monotonic()
    while time.monotonic() - began_s < LONGEST_SETTLE_S:
        time.sleep(0.5)
        quiet_s = time.monotonic() - max(began_s, soak.listener.heard_s)
        process = soak.daemon.process
        if quiet_s > SETTLE_S or (process is not None and process.poll() is not None):
            return
        # A damaged file is given up when it was quiet for so long as the folder is told to wait.
        if quiet_s > 3 and time.monotonic() - began_s > 12 and not soak.listener.unended() and not _books(soak).wrong:
            return


def _progress(soak: Soak) -> str:
    listener, samples = soak.listener, soak.resources.samples
    memory = f"{samples[-1].daemon_mb:.0f} + {samples[-1].worker_mb:.0f} MB" if samples else "no sample yet"
    return (
        f"{time.monotonic() - soak.began_s:6.0f} s: {soak.controller.saved} of {soak.arguments.frames} frames saved, "
        f"{listener.counts['frame']} stored, {listener.counts['live']} live messages, "
        f"{listener.counts['notice']} notices, {listener.counts['fault']} faults, {memory}"
    )


# --- verdict ----------------------------------------------------------------------------------------------------------


def _verdict(soak: Soak, code: int) -> Iterator[tuple[bool | None, str]]:
    arguments, listener = soak.arguments, soak.listener
    spent_s = time.monotonic() - soak.began_s
    hours = arguments.hours * soak.controller.saved / arguments.frames
    yield (
        None,
        f"{soak.controller.saved} frames of {arguments.pixels} px, {hours:.1f} simulated hours in {spent_s:.0f} s",
    )
    yield None, "messages: " + ", ".join(f"{number} {kind}" for kind, number in sorted(listener.counts.items()))
    yield (
        None,
        "notices: " + (", ".join(f"{rule} {number}" for rule, number in sorted(listener.notices.items())) or "none"),
    )
    yield (
        code == 0 and not soak.crashed,
        f"the daemon ended with code {code}; {soak.crashed or 'the instrument is well'}",
    )
    yield from _frames(soak)
    yield from _scans(listener)
    yield from _resources(soak)
    for found in naming(soak.injected, soak.daemon.log):
        missed = f"; not named: {' | '.join(found.unnamed[:5])}" if found.unnamed else ""
        yield found.good, f"{found.name}: {found.named} of {found.injected} named, as {found.example[:140]!r}{missed}"
    bugs = surprises(soak.daemon.log)
    yield not bugs, f"{len(bugs)} traceback(s) in the log"


def _numbers(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items())) or "none"


def _books(soak: Soak) -> Books:
    return audit(soak.daemon.store, soak.daemon.scans, soak.history.scans(), soak.listener.begun)


def _frames(soak: Soak) -> Iterator[tuple[bool | None, str]]:
    books = _books(soak)
    told = soak.listener.frames
    doubled = [f"frame {number} told {times} times" for number, times in told.items() if times > 1]
    yield (
        not books.wrong,
        f"{books.files} files saved, {books.stored} frames of files; {books.unsaved} scans not saved, {books.kept} "
        f"kept as they were seen; {len(books.wrong)} wrong {' | '.join(books.wrong[:3])}".rstrip(),
    )
    yield not doubled, f"{len(told)} frames told, {len(doubled)} of them twice {' | '.join(doubled[:5])}".rstrip()
    posted, refused = soak.webhook.frames, soak.webhook.refused
    missing = soak.listener.done - posted - refused
    yield not missing, f"webhook: {len(posted)} frames posted, {len(refused)} refused, {len(missing)} missing"


def _scans(listener: Listener) -> Iterator[tuple[bool | None, str]]:
    unended = listener.unended()
    ends = [state for _, state, _ in listener.scans.values()]
    yield (
        bool(ends) and not unended,
        f"{len(ends)} scans announced: {ends.count('replaced')} replaced by their frames, {ends.count('ended')} ended"
        + (f"; {len(unended)} have no end: {' | '.join(unended[:5])}" if unended else ""),
    )
    yield not listener.wrong, f"{len(listener.wrong)} messages out of order {' | '.join(listener.wrong[:5])}".rstrip()
    yield listener.lost == 0, f"{listener.lost} messages lost on the way to the listener"


def _resources(soak: Soak) -> Iterator[tuple[bool | None, str]]:
    tenths = soak.resources.tenths()
    if len(tenths) < 3:
        yield None, "memory: too few samples"
        return
    for what, values in (
        ("daemon", [round(one.daemon_mb) for one in tenths]),
        ("worker", [round(one.worker_mb) for one in tenths]),
        ("threads", [one.threads for one in tenths]),
        ("open files", [one.files for one in tenths]),
    ):
        yield None, f"{what}, median of each tenth of the frames: {' '.join(map(str, values))}"
    judged = soak.controller.saved >= JUDGED_FRAMES
    first, last = tenths[1], tenths[-1]
    growth = last.total_mb / first.total_mb - 1
    yield (
        growth < GROWTH if judged else None,
        f"memory of daemon and worker: {first.total_mb:.1f} MB after the first tenth, {last.total_mb:.1f} MB in the "
        f"last, {growth:+.1%}" + ("" if judged else f" (judged from {JUDGED_FRAMES} frames on)"),
    )
    yield last.threads - first.threads <= MORE_THREADS, f"threads: {first.threads}, then {last.threads}"
    yield last.files - first.files <= MORE_FILES, f"open files: {first.files}, then {last.files}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=500, help="frames to scan (%(default)s)")
    parser.add_argument(
        "--hours", type=float, default=24.0, help="hours that they take on the instrument (%(default)s)"
    )
    parser.add_argument("--frame-time", type=float, default=2.0, help="real seconds a frame (%(default)s)")
    parser.add_argument("--pixels", type=int, default=128, help="rows and columns (%(default)s)")
    parser.add_argument("--faults", type=float, default=0.25, help="share of the frames with a fault (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of surfaces and faults (%(default)s)")
    parser.add_argument(
        "--model", default="molecule-generic", help="name, folder, or instant: finds the same everywhere (%(default)s)"
    )
    parser.add_argument("--folder", type=Path, help="where everything is kept (left out: it is removed at the end)")
    arguments = parser.parse_args()
    if arguments.frames < 3 or arguments.frame_time <= 0 or arguments.hours <= 0:
        parser.error("at least 3 frames, and times above 0")
    if arguments.folder is not None and arguments.folder.is_dir() and any(arguments.folder.iterdir()):
        parser.error(f"{arguments.folder} is not empty: frames of an earlier run would be counted")
    return arguments


def _load() -> str:
    return f"{psutil.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    raise SystemExit(main())
