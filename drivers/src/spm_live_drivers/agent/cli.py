"""The command line of ``spm-live-agent``."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from spm_live_drivers import __version__
from spm_live_drivers.agent.loop import Agent
from spm_live_drivers.agent.settings import (
    AgentSettings,
    AgentSetupError,
    SocketKind,
    StreamSettings,
    controller_address,
    default_sender,
    default_spool,
    load_keys,
    read_options,
)
from spm_live_drivers.agent.stream import ScanStream
from spm_live_drivers.contract import Trace

EXIT_OK = 0
EXIT_FAULTS = 1
EXIT_SETUP = 2
_MEGABYTE = 1024 * 1024


def parser() -> argparse.ArgumentParser:
    """Build the parser."""
    result = argparse.ArgumentParser(
        prog="spm-live-agent",
        description="Send to spm-live, from the instrument PC: every finished frame of a folder (--watch), and the "
        "scan in progress of a Nanonis controller (--nanonis), which is only ever read. Finished frames wait on this "
        "machine's disk while the receiver is away.",
    )
    result.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    result.add_argument("--watch", type=Path, metavar="FOLDER", help="the instrument's output folder")
    result.add_argument("--nanonis", metavar="HOST:PORT", help="the controller, such as 127.0.0.1:6501")
    result.add_argument("--nanonis-channel", default="Z", metavar="NAME", help="channel of the scan in progress")
    result.add_argument("--no-backward", action="store_true", help="do not ask for the backward trace")
    result.add_argument("--to", required=True, metavar="ENDPOINT", help="the receiver, such as tcp://192.168.0.5:5650")
    result.add_argument("--live-to", metavar="ENDPOINT", help="where the scan in progress goes, if not there too")
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
    result.add_argument("--once", action="store_true", help="send the files that are there, then end")
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
        sender=arguments.sender or default_sender(watch.name),
        socket=SocketKind(arguments.socket),
        bind=arguments.bind,
        curve=load_keys(arguments.curve_key_file) if arguments.curve_key_file else None,
        options=options,
        spool_max_bytes=int(arguments.spool_max_mb * _MEGABYTE),
        poll_s=arguments.poll_s,
        settle_s=arguments.settle_s,
        quiet_s=arguments.quiet_s,
    )


def stream_settings_from(arguments: argparse.Namespace) -> StreamSettings:
    """Make settings of what the command line says about the scan in progress.

    Raises
    ------
    AgentSetupError
        If the address of the controller or the key file is no good, or one port would be bound twice.
    """
    host, port = controller_address(arguments.nanonis)
    watch: Path | None = arguments.watch
    if arguments.bind and watch is not None and arguments.live_to in (None, arguments.to):
        raise AgentSetupError("a port can be bound once: give --live-to another endpoint for the scan in progress")
    return StreamSettings(
        host=host,
        port=port,
        to=arguments.live_to or arguments.to,
        sender=arguments.sender or default_sender(watch.absolute().name if watch is not None else f"{host}:{port}"),
        channel=arguments.nanonis_channel,
        backward=not arguments.no_backward,
        socket=SocketKind(arguments.socket),
        bind=arguments.bind,
        curve=load_keys(arguments.curve_key_file) if arguments.curve_key_file else None,
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
        faults = _run(arguments)
    except AgentSetupError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_SETUP
    return EXIT_FAULTS if arguments.once and faults else EXIT_OK


def _run(arguments: argparse.Namespace) -> int:
    """Do what the command line asks for, until stopped; the number of files that could not be sent."""
    if arguments.watch is None and arguments.nanonis is None:
        raise AgentSetupError("nothing to send: give --watch FOLDER, --nanonis HOST:PORT, or both")
    if arguments.once and arguments.nanonis is not None:
        raise AgentSetupError("--once sends the files that are there: leave --nanonis out")
    with ExitStack() as stack:
        stream = stack.enter_context(ScanStream(stream_settings_from(arguments))) if arguments.nanonis else None
        if arguments.watch is None:
            if stream is not None:
                _stop_on_signals(stream.stop)
                stream.run()
            return 0
        agent = stack.enter_context(Agent(settings_from(arguments)))
        _stop_on_signals(agent.stop)
        if stream is not None:
            stack.enter_context(_beside(stream))
        agent.run(once=arguments.once)
        return agent.faults


@contextmanager
def _beside(stream: ScanStream) -> Iterator[None]:
    """Run the stream in a thread of its own: files are sent whatever becomes of it."""
    thread = threading.Thread(target=stream.run, name=f"stream {stream.name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stream.stop()
        thread.join()  # every wait in there has its time-out; closing its sockets under it would be worse than waiting


def _stop_on_signals(end: Callable[[], None]) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        end()

    # SIGBREAK is what Windows sends for Ctrl-Break, and to a service that is stopped.
    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), stop)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number, is {text}")
    return value
