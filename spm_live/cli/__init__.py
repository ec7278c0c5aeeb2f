"""``spm-live``: the commands. Nothing heavy is imported before a command runs, so that ``--help`` is quick."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from spm_live import __version__
from spm_live.cli.parser_offline import add_model_export, add_offline
from spm_live.errors import SetupError

EXIT_FAULTS = 1
EXIT_SETUP = 2
EXIT_INTERRUPTED = 130

__all__ = ["build_parser", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns
    -------
    int
        0: all went well; 1: it ran, and some files could not be used; 2: this machine cannot run it as asked; 130:
        interrupted.
    """
    arguments = build_parser().parse_args(argv)
    from spm_live.cli import commands, offline

    name = arguments.command.replace("-", "_")
    try:
        code: int = getattr(offline if hasattr(offline, name) else commands, name)(arguments)
    except SetupError as error:
        for problem in error.problems:
            print(f"spm-live: {problem}", file=sys.stderr)
        return EXIT_SETUP
    except KeyboardInterrupt:
        print("spm-live: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return code


def build_parser() -> argparse.ArgumentParser:
    """The whole command line, for :func:`main` and for the reference page."""
    parser = argparse.ArgumentParser(prog="spm-live", description="Counts molecules while the microscope still scans.")
    parser.add_argument("--version", action="version", version=f"spm-live {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_live(commands)
    _add_archive(commands)
    add_offline(commands)
    _add_upkeep(commands)
    return parser


_Commands = argparse._SubParsersAction  # the only name argparse has for it


def _add_live(commands: _Commands[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser("demo", help="a simulated microscope, its daemon and the viewer; needs nothing")
    demo.add_argument("--folder", type=Path, help="keep the scans and results here (left out: removed at the end)")
    demo.add_argument("--every-s", type=float, default=20.0, help="time for one frame, in s (%(default)s)")
    demo.add_argument("--frames", type=int, help="end after so many frames (left out: go on until Ctrl-C)")
    demo.add_argument("--port", type=int, default=0, help="port of the viewer (left out: any that is free)")
    demo.add_argument("--seed", type=int, default=1, help="seed of the simulated surface (%(default)s)")
    demo.add_argument("--no-browser", action="store_true", help="print the address only")
    run = commands.add_parser("run", help="watch the microscope, for weeks")
    _add_config(run)
    run.add_argument("--open", action="store_true", help="open the viewer in a browser")
    check = commands.add_parser("check", help="try out a configuration: folders, model, ports, disk space")
    _add_config(check)
    reload = commands.add_parser("reload", help="have a running daemon read its configuration and model again")
    _add_config(reload)


def _add_archive(commands: _Commands[argparse.ArgumentParser]) -> None:
    convert = commands.add_parser("convert", help="raw files to pictures and tables")
    _add_inputs(convert)
    convert.add_argument("--format", action="append", help="tiff, png, jpg, npy, gsf, csv; may be repeated (tiff, png)")
    convert.add_argument("--both-traces", action="store_true", help="forward and backward")
    convert.add_argument(
        "--level",
        choices=("none", "plane", "polynomial", "rows"),
        default="rows",
        help="of pictures; measured values are never changed (%(default)s)",
    )
    convert.add_argument("--colour", default="grey", help="colour table of pictures (%(default)s)")
    convert.add_argument("--bits", type=int, choices=(8, 16), default=8, help="of PNG (%(default)s)")
    detect = commands.add_parser("detect", help="find molecules in an archive")
    _add_inputs(detect)
    _add_model(detect)
    detect.add_argument("--pictures", action="store_true", help="draw every frame with its molecules")
    export = commands.add_parser("export", help="results out of a store, or a model for another machine")
    export.add_argument("source", metavar="STORE_OR_MODEL", help="the .sqlite3 file of run or detect; or a model")
    export.add_argument("-o", "--out", type=Path, required=True, help="folder to write to")
    results = export.add_argument_group("results out of a store")
    results.add_argument(
        "--format",
        action="append",
        choices=("csv", "parquet", "coco", "labelme", "png"),
        help="may be repeated, then each in a sub-folder (csv)",
    )
    results.add_argument("--since", help="only frames from this time on, ISO 8601")
    results.add_argument("--until", help="only frames before this time, ISO 8601")
    add_model_export(export)
    track = commands.add_parser("track", help="follow molecules and drift from frame to frame, out of a store")
    track.add_argument("store", type=Path, metavar="STORE", help="the .sqlite3 file of run or detect")
    track.add_argument("-o", "--out", type=Path, required=True, metavar="CSV", help="table of the molecules")
    track.add_argument("--last", type=int, metavar="N", help="only the newest N frames (left out: all)")


def _add_upkeep(commands: _Commands[argparse.ArgumentParser]) -> None:
    commands.add_parser("formats", help="list the file formats that can be read")
    commands.add_parser("models", help="list the models that can be found")
    commands.add_parser("keys", help="make a pair of CURVE keys for ZeroMQ")
    retry = commands.add_parser("retry", help="give files that failed another chance at the next start")
    _add_config(retry)
    retry.add_argument("source", nargs="?", help="path of one file (left out: all that failed)")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the configuration, TOML")


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", type=Path, metavar="RAW", help="files and folders")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--channel", help="channel by name, or all (left out: Z, or current or frequency shift)")
    parser.add_argument("--trace", choices=("forward", "backward"), default="forward", help="(%(default)s)")
    parser.add_argument("--nm-per-px", type=float, help="pixel pitch of pictures that do not know it, in nm")
    parser.add_argument("--colour-table", default="auto", help="how false colour is turned into height (%(default)s)")
    parser.add_argument("--timezone", help="zone of the instrument's clock, such as Europe/Berlin")
    parser.add_argument("--jobs", type=int, default=0, help="processes (0: one per core)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="molecule-generic", help="name or folder of a model (%(default)s)")
    parser.add_argument("--min-score", type=float, help="overrides the model's threshold, 0 to 1")
