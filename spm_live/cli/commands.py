"""What each command does. Imports stand inside the functions: a command pays for what it uses and no more."""

from __future__ import annotations

import argparse
import logging
import sys
import webbrowser
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spm_live.errors import SetupError

if TYPE_CHECKING:
    from spm_live.batch.report import Summary
    from spm_live.domain import ReadOptions

EXIT_OK = 0
EXIT_FAULTS = 1
EXIT_SETUP = 2
EXIT_INTERRUPTED = 130


def demo(arguments: argparse.Namespace) -> int:
    """Run the demonstration."""
    from spm_live.demo import run_demo

    _log_to_stderr("INFO")
    lines = run_demo(
        arguments.folder,
        port=arguments.port,
        every_s=arguments.every_s,
        frames=arguments.frames,
        seed=arguments.seed,
        browser=not arguments.no_browser,
    )
    for line in lines:
        print(line, flush=True)
    return EXIT_OK


def run(arguments: argparse.Namespace) -> int:
    """Run the daemon until it is told to stop."""
    from spm_live.service import open_service, run_until_signalled
    from spm_live.settings import load_settings

    load = partial(load_settings, arguments.config)
    settings = load()
    _log_to_stderr(settings.daemon.log_level)
    with open_service(settings, load) as service:
        print(f"viewer: {service.url or 'off'}", flush=True)
        if arguments.open and service.url:
            webbrowser.open(service.url)
        run_until_signalled(service)
    return EXIT_OK


def convert(arguments: argparse.Namespace) -> int:
    """Turn raw files into pictures and tables."""
    from spm_live.batch.convert import convert as convert_files
    from spm_live.batch.encode import ConvertOptions
    from spm_live.batch.report import progress_bar
    from spm_live.domain import Levelling

    options = ConvertOptions(
        formats=tuple(dict.fromkeys(arguments.format or ("tiff", "png"))),
        both_traces=arguments.both_traces,
        read=_read_options(arguments),
        levelling=Levelling(arguments.level),
        colour=arguments.colour,
        bits=arguments.bits,
    )
    with progress_bar("convert", quiet=arguments.quiet) as progress:
        summary = convert_files(
            arguments.inputs, arguments.out, options, jobs=arguments.jobs or None, progress=progress
        )
    return _end(summary)


def detect(arguments: argparse.Namespace) -> int:
    """Find the molecules of an archive."""
    from spm_live.batch.detect import detect_files
    from spm_live.batch.find import DetectOptions
    from spm_live.batch.report import progress_bar
    from spm_live.settings import ModelSettings

    model = ModelSettings(name=arguments.model, min_score=arguments.min_score)
    options = DetectOptions(model, _read_options(arguments), pictures=arguments.pictures)
    with progress_bar("detect", quiet=arguments.quiet) as progress:
        summary = detect_files(arguments.inputs, arguments.out, options, jobs=arguments.jobs or None, progress=progress)
    return _end(summary)


def export(arguments: argparse.Namespace) -> int:
    """Write what a store holds in the formats of other programs, or a model for another machine."""
    from spm_live.detect.manifest import MANIFEST_FILE

    place = Path(arguments.source)
    if (place / MANIFEST_FILE).is_file() or (place.suffix != ".sqlite3" and not place.exists()):
        from spm_live.cli.offline import export_model

        return export_model(arguments)
    from spm_live.publish.exporters import export as export_frames
    from spm_live.publish.store import Store

    if not place.is_file():
        raise SetupError(f"{place}: is not there; give the .sqlite3 file of run or detect, or a model")
    since, until = _time(arguments.since), _time(arguments.until)
    with Store(place, read_only=True) as store:
        kinds = tuple(dict.fromkeys(arguments.format or ("csv",)))
        for kind in kinds:
            out = arguments.out if len(kinds) == 1 else arguments.out / kind  # their pictures have the same names
            frames = export_frames(store, kind, out, since=since, until=until)
            print(f"{kind}: {frames} frame{'' if frames == 1 else 's'} to {out}")
    return EXIT_OK


def track(arguments: argparse.Namespace) -> int:
    """Write tables of the molecules that were followed, and of the drift."""
    from spm_live.batch.track import track_table

    if not arguments.store.is_file():
        raise SetupError(f"{arguments.store}: is not there; give the .sqlite3 file of run or detect")
    if arguments.last is not None and arguments.last < 1:
        raise SetupError("--last is a number of frames, at least 1")
    frames, drifts = track_table(arguments.store, arguments.out, last=arguments.last)
    print(f"{frames} frame{'' if frames == 1 else 's'}: molecules in {arguments.out}, drift in {drifts}")
    return EXIT_OK


def check(arguments: argparse.Namespace) -> int:
    """Try out a configuration and print a line for each thing tried."""
    from spm_live.check import check as findings
    from spm_live.settings import load_settings

    failed = 0
    for finding in findings(load_settings(arguments.config)):
        print(f"{'ok     ' if finding.ok else 'PROBLEM'}  {finding.what}: {finding.detail}")
        failed += not finding.ok
    return EXIT_SETUP if failed else EXIT_OK


def reload(arguments: argparse.Namespace) -> int:
    """Ask the running daemon of a configuration to read it again."""
    from spm_live.service import ask_running
    from spm_live.settings import load_settings

    for change in ask_running(load_settings(arguments.config), "/api/reload"):
        print(change)
    return EXIT_OK


def formats(arguments: argparse.Namespace) -> int:
    """List the readers."""
    from spm_live_drivers.registry import broken_readers, readers

    del arguments
    for reader in readers():
        print(f"{reader.name:<16} {' '.join(reader.suffixes):<28} {reader.title}")
    for broken in broken_readers():
        print(f"{broken.entry_point}: {broken.reason}", file=sys.stderr)
    return EXIT_SETUP if broken_readers() else EXIT_OK


def models(arguments: argparse.Namespace) -> int:
    """List the models that can be found by name."""
    from spm_live.detect.manifest import installed_models

    del arguments
    for folder, manifest in installed_models():
        print(f"{manifest.name:<20} {manifest.version:<8} {', '.join(manifest.classes)}\n{'':<20} {folder}")
    return EXIT_OK


def keys(arguments: argparse.Namespace) -> int:
    """Print a fresh pair of CURVE keys, ready to be pasted."""
    import zmq

    del arguments
    if not zmq.has("curve"):
        raise SetupError("this ZeroMQ was built without CURVE; install pyzmq from its own packages")
    public, secret = zmq.curve_keypair()
    print(f'public_key = "{public.decode()}"\nsecret_key = "{secret.decode()}"')
    return EXIT_OK


def retry(arguments: argparse.Namespace) -> int:
    """Forget that files failed, so that the next start tries them again."""
    from spm_live.service import open_store
    from spm_live.settings import load_settings

    with open_store(load_settings(arguments.config)) as store:
        forgotten = store.retry(arguments.source) if arguments.source else store.clear_faults()
    print("it will be tried again at the next start" if forgotten else "nothing failed that could be tried again")
    return EXIT_OK


def _read_options(arguments: argparse.Namespace) -> ReadOptions:
    from spm_live.domain import ReadOptions, Trace

    return ReadOptions(
        channel=arguments.channel,
        trace=Trace(arguments.trace),
        nm_per_px=arguments.nm_per_px,
        colour_table=arguments.colour_table,
        timezone=arguments.timezone,
    )


def _time(text: str | None) -> datetime | None:
    """A time as a person writes it; without a zone it is that of this machine."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError as error:
        raise SetupError(f"{text!r} is no time; write for example 2026-03-01 or 2026-03-01T18:30") from error


def _end(summary: Summary) -> int:
    """Print what a batch did; the exit code tells whether all of it went well."""
    print(summary)
    if summary.stopped:
        return EXIT_INTERRUPTED
    return EXIT_FAULTS if summary.failed else EXIT_OK


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", stream=sys.stderr, force=True
    )
    logging.getLogger("uvicorn").setLevel("WARNING")  # its life is told by the daemon's
