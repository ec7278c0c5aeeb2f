"""The command line of ``spm-live-agent``."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from spm_live_drivers import __version__
from spm_live_drivers.agent.loop import Agent
from spm_live_drivers.agent.settings import (
    AgentSettings,
    AgentSetupError,
    SocketKind,
    default_sender,
    default_spool,
    load_keys,
    read_options,
)
from spm_live_drivers.contract import Trace

EXIT_OK = 0
EXIT_FAULTS = 1
EXIT_SETUP = 2
_MEGABYTE = 1024 * 1024


def parser() -> argparse.ArgumentParser:
    """Build the parser."""
    result = argparse.ArgumentParser(
        prog="spm-live-agent",
        description="Watch a folder on the instrument PC and send every finished frame to spm-live. Frames wait on "
        "this machine's disk while the receiver is away.",
    )
    result.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    result.add_argument("--watch", type=Path, required=True, metavar="FOLDER", help="the instrument's output folder")
    result.add_argument("--to", required=True, metavar="ENDPOINT", help="the receiver, such as tcp://192.168.0.5:5650")
    result.add_argument("--channel", help="channel by name (default: Z, or current or frequency shift)")
    result.add_argument("--trace", choices=[trace.value for trace in Trace], default="forward", help="which direction")
    result.add_argument("--nm-per-px", type=_positive, metavar="NM", help="pixel pitch of pictures that do not know it")
    result.add_argument("--timezone", metavar="ZONE", help="zone of the instrument's clock (default: this machine's)")
    result.add_argument("--spool", type=Path, metavar="FOLDER", help="where frames wait (default: in the home folder)")
    result.add_argument("--spool-max-mb", type=_positive, default=10_000, metavar="MB", help="how much may wait")
    result.add_argument("--sender", metavar="NAME", help="name of this instrument (default: machine and folder)")
    result.add_argument(
        "--socket",
        choices=[kind.value for kind in SocketKind],
        default="agent",
        help="agent: acknowledged, nothing is lost; push, pub: without receipts, for other programs",
    )
    result.add_argument("--bind", action="store_true", help="wait for the receiver to connect")
    result.add_argument("--curve-key-file", type=Path, metavar="FILE", help="TOML: public_key, secret_key, server_key")
    result.add_argument("--poll-s", type=_positive, default=2.0, metavar="S", help="time between two looks")
    result.add_argument(
        "--settle-s", type=_positive, default=0.5, metavar="S", help="how long a complete file must have been still"
    )
    result.add_argument(
        "--quiet-s", type=_positive, default=60.0, metavar="S", help="after which an incomplete file is sent as it is"
    )
    result.add_argument("--once", action="store_true", help="send what is there, then end")
    result.add_argument("--verbose", action="store_true", help="say more")
    return result


def settings_from(arguments: argparse.Namespace) -> AgentSettings:
    """Make settings of what the command line says.

    Raises
    ------
    AgentSetupError
        If the key file is no good.
    """
    watch: Path = arguments.watch.absolute()
    options = read_options(arguments.channel, arguments.trace, arguments.nm_per_px, arguments.timezone)
    return AgentSettings(
        watch=watch,
        to=arguments.to,
        spool=(arguments.spool or default_spool(watch, arguments.to, options)).absolute(),
        sender=arguments.sender or default_sender(watch),
        socket=SocketKind(arguments.socket),
        bind=arguments.bind,
        curve=load_keys(arguments.curve_key_file) if arguments.curve_key_file else None,
        options=options,
        spool_max_bytes=int(arguments.spool_max_mb * _MEGABYTE),
        poll_s=arguments.poll_s,
        settle_s=arguments.settle_s,
        quiet_s=arguments.quiet_s,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``spm-live-agent``.

    Returns
    -------
    int
        0; 1 if ``--once`` met files that could not be sent; 2 with one sentence if it cannot run as asked.
    """
    arguments = parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.INFO,
        format="%(asctime)s %(levelname)-7s %(message)s",
        stream=sys.stderr,
        force=True,
    )
    try:
        with Agent(settings_from(arguments)) as agent:
            _stop_on_signals(agent)
            agent.run(once=arguments.once)
    except AgentSetupError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_SETUP
    return EXIT_FAULTS if arguments.once and agent.faults else EXIT_OK


def _stop_on_signals(agent: Agent) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        agent.stop()

    # SIGBREAK is what Windows sends for Ctrl-Break, and to a service that is stopped.
    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number, is {text}")
    return value
