"""What an agent is told."""

from __future__ import annotations

import hashlib
import re
import socket
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from spm_live_drivers.contract import ReadOptions, Trace
from spm_live_drivers.errors import SpmLiveError
from spm_live_drivers.wire_fields import one_line, sound
from spm_live_drivers.wire_header import MAX_TEXT
from spm_live_drivers.wire_socket import CurveKeys

KEY_NAMES = frozenset({"public_key", "secret_key", "server_key"})


class AgentSetupError(SpmLiveError):
    """This agent cannot run as asked: one sentence that says what to do, exit code 2."""


class SocketKind(StrEnum):
    """How frames leave."""

    AGENT = "agent"
    """Acknowledged, to ``mode = "agent"`` of spm-live: nothing is lost."""
    PUSH = "push"
    """Handed to one of the connected receivers, without a receipt."""
    PUB = "pub"
    """Handed to whoever listens just then, without a receipt."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What an agent is told.

    Parameters
    ----------
    watch : Path
        The instrument's output folder; watched with its sub-folders.
    to : str
        Endpoint of the receiver, such as ``tcp://192.168.0.5:5650``.
    spool : Path
        Where frames wait for the receiver, with the journal; not inside ``watch``.
    sender : str
        Name under which frames are sent: the same after every restart.
    socket : SocketKind
        How frames leave.
    bind : bool
        Wait for the receiver to connect, rather than connect to it.
    curve : CurveKeys or None
        Keys.
    options : ReadOptions
        Channel and trace, scale of pictures, time zone.
    spool_max_bytes : int
        How much may wait; beyond it files are left in the folder until there is room. One frame always fits.
    poll_s : float
        Time between two looks at the folder where the system tells of no change, in s.
    settle_s : float
        A file whose content is complete must have been still for this long, in s.
    quiet_s : float
        An incomplete file that was still for this long is sent as a partial frame, in s.
    receipt_timeout_s : float
        How long the receiver may take to answer, plus a second for each megabyte, in s.
    """

    watch: Path
    to: str
    spool: Path
    sender: str
    socket: SocketKind = SocketKind.AGENT
    bind: bool = False
    curve: CurveKeys | None = None
    options: ReadOptions = ReadOptions()
    spool_max_bytes: int = 10_000 * 1024 * 1024
    poll_s: float = 2.0
    settle_s: float = 0.5
    quiet_s: float = 60.0
    receipt_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """What an agent is told about scans in progress.

    Parameters
    ----------
    host, port : str, int
        The Nanonis controller.
    to : str
        Endpoint of the receiver, such as ``tcp://192.168.0.5:5650``.
    sender : str
        Name under which it is told: that of the agent that sends the files of this instrument.
    channel : str
        Channel by name, as in Nanonis.
    backward : bool
        Tell the backward trace too.
    socket, bind, curve
        As in :class:`AgentSettings`.
    receipt_timeout_s : float
        How long the receiver may take to answer, plus a second for each megabyte, in s.
    repeat_s : float
        Without receipts the scan in progress is told anew after this time, for those who joined late, in s.
    """

    host: str
    port: int
    to: str
    sender: str
    channel: str = "Z"
    backward: bool = True
    socket: SocketKind = SocketKind.AGENT
    bind: bool = False
    curve: CurveKeys | None = None
    receipt_timeout_s: float = 5.0
    repeat_s: float = 15.0

    @property
    def name(self) -> str:
        """The controller, for the log."""
        return f"nanonis {self.host}:{self.port}"


def default_sender(what: str) -> str:
    """Name of the machine, and of the folder or the controller."""
    return one_line(sound(f"{socket.gethostname()}/{what}"))[: MAX_TEXT["sender"]]


def default_spool(watch: Path, to: str, options: ReadOptions) -> Path:
    """A folder in the home folder, one for each combination of folder, receiver and channel."""
    told = repr((str(watch), to, options.channel, options.trace.value))
    digest = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", watch.name).strip("-") or "root"
    return Path.home() / ".spm-live-agent" / f"{name}-{digest}"


def load_keys(path: Path) -> CurveKeys:
    """Read a key file: TOML with ``public_key``, ``secret_key`` and ``server_key``.

    Raises
    ------
    AgentSetupError
        If it cannot be read or a key is missing.
    """
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise AgentSetupError(f"{path}: the key file cannot be read ({error.strerror or error})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AgentSetupError(f"{path}: is not valid TOML: {error}") from error
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    if not {"public_key", "secret_key"} <= texts.keys() or not values.keys() <= KEY_NAMES or len(texts) < len(values):
        raise AgentSetupError(
            f'{path}: must hold public_key = "...", secret_key = "..." of this machine and server_key = "..." '
            "of the receiver, and nothing else; `spm-live keys` makes a pair"
        )
    return CurveKeys(texts["public_key"], texts["secret_key"], texts.get("server_key"))


def check(settings: AgentSettings) -> None:
    """Refuse settings that cannot work.

    Raises
    ------
    AgentSetupError
        With the first problem.
    """
    if not settings.watch.is_dir():
        raise AgentSetupError(f"{settings.watch}: there is no such folder; give the instrument's output with --watch")
    if settings.spool.resolve().is_relative_to(settings.watch.resolve()):
        raise AgentSetupError(f"{settings.spool}: the spool lies inside the watched folder; give another with --spool")
    _check_receiver(settings.to, settings.sender)
    zone = settings.options.timezone
    try:
        ZoneInfo(zone or "UTC")
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise AgentSetupError(f"no time zone is called {zone!r}; write for example --timezone Europe/Berlin") from error


def check_stream(settings: StreamSettings) -> None:
    """Refuse settings that cannot work.

    Raises
    ------
    AgentSetupError
        With the first problem.
    """
    _check_receiver(settings.to, settings.sender)
    if not settings.channel.strip():
        raise AgentSetupError("--nanonis-channel must be the name of a channel, such as Z")


def controller_address(text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``; a numeric IPv6 address stands in brackets.

    Raises
    ------
    AgentSetupError
        If it is no such thing.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise AgentSetupError(f"--nanonis {text}: write host and port of the controller, such as 127.0.0.1:6501")
    return host, int(port)


def _check_receiver(to: str, sender: str) -> None:
    if not re.match(r"(tcp|ipc)://.", to):
        raise AgentSetupError(f"{to}: is not an endpoint such as tcp://192.168.0.5:5650; correct --to")
    if not sender or sender != one_line(sound(sender)) or len(sender) > MAX_TEXT["sender"]:
        raise AgentSetupError("--sender must be one line of at most 128 characters")


def read_options(channel: str | None, trace: str, nm_per_px: float | None, timezone: str | None) -> ReadOptions:
    """Make the options of the readers from what the command line says."""
    return ReadOptions(channel=channel, trace=Trace(trace), nm_per_px=nm_per_px, timezone=timezone)
