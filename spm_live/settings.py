"""Configuration: one TOML file, checked as a whole before anything starts.

Every field can be set in the file, and over it by an environment variable ``SPM_LIVE_<SECTION>__<FIELD>``.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from platformdirs import user_data_path
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from spm_live.domain import Levelling, ReadOptions, Trace
from spm_live.errors import SetupError
from spm_live.settings_live import LiveSettings, NanonisSettings, RuleSettings, Section


def is_loopback(host: str) -> bool:
    """Whether a host name or address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def endpoint_is_local(endpoint: str) -> bool:
    """Whether a ZeroMQ endpoint can be reached from this machine only.

    Examples
    --------
    >>> endpoint_is_local("tcp://127.0.0.1:5555"), endpoint_is_local("tcp://*:5555")
    (True, False)
    """
    parts = urlsplit(endpoint)
    return parts.scheme in {"ipc", "inproc"} or (parts.scheme == "tcp" and is_loopback(parts.netloc.rsplit(":", 1)[0]))


class Observer(StrEnum):
    """How a folder is watched."""

    AUTO = "auto"
    NATIVE = "native"
    POLLING = "polling"


class CurveSettings(Section):
    """CURVE keys of a ZeroMQ socket, as 40-character Z85 text (``spm-live keys`` makes a pair)."""

    public_key: str = Field(min_length=40, max_length=40)
    secret_key: str = Field(min_length=40, max_length=40, repr=False)
    server_key: str | None = Field(None, min_length=40, max_length=40, description="Needed by the side that connects.")


class FolderSettings(Section):
    """One watched folder."""

    path: Path = Field(description="The instrument's output folder.")
    recursive: bool = Field(True, description="Watch sub-folders too.")
    observer: Observer = Field(
        Observer.AUTO, description="native: events of the operating system; polling: for network shares; auto: decides."
    )
    poll_s: float = Field(2.0, gt=0, le=3600, description="Time between two looks at the folder when polling, in s.")
    settle_s: float = Field(
        0.3, ge=0, le=3600, description="A file whose content is complete must have been still for this long, in s."
    )
    quiet_s: float = Field(
        60.0, gt=0, le=86400, description="An incomplete file still for this long is read as a partial frame, in s."
    )
    backlog: bool = Field(True, description="Process what already lies in the folder at the start.")
    include: tuple[str, ...] = Field(("*",), description="Patterns of file names to look at.")
    exclude: tuple[str, ...] = Field((), description="Patterns of file names to leave alone.")
    channel: str | None = Field(None, description="Channel by name; left out: Z, or current or frequency shift.")
    trace: Trace = Field(Trace.FORWARD, description="Direction of the fast axis.")
    nm_per_px: float | None = Field(None, gt=0, description="Pixel pitch of pictures that do not know it, in nm.")
    colour_table: str = Field("auto", description="How false-colour pictures are turned into height.")
    timezone: str | None = Field(None, description="Zone of the instrument's clock, such as Europe/Berlin.")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, zone: str | None) -> str | None:
        if zone is not None:
            try:
                ZoneInfo(zone)
            except (ZoneInfoNotFoundError, ValueError) as error:
                raise ValueError(f"no time zone is called {zone!r}; write for example 'Europe/Berlin'") from error
        return zone

    def read_options(self) -> ReadOptions:
        """The part of these settings that a reader needs."""
        return ReadOptions(
            channel=self.channel,
            trace=self.trace,
            nm_per_px=self.nm_per_px,
            colour_table=self.colour_table,
            timezone=self.timezone,
        )


class ZeroMQSettings(Section):
    """One ZeroMQ socket that frames arrive on."""

    mode: Literal["agent", "pull", "sub"] = Field(
        "agent", description="agent: acknowledged, from spm-live-agent; pull, sub: from any program, without a receipt."
    )
    endpoint: str = Field(pattern=r"^(tcp|ipc)://.+", description="Such as tcp://127.0.0.1:5650.")
    bind: bool = Field(True, description="Bind (true) or connect (false).")
    curve: CurveSettings | None = Field(None, description="Keys; needed to bind beyond this machine.")

    @model_validator(mode="after")
    def _closed_or_encrypted(self) -> Self:
        if self.bind and self.curve is None and not endpoint_is_local(self.endpoint):
            raise ValueError(
                f"{self.endpoint} would be open to the network without keys; bind to 127.0.0.1 or give curve keys"
            )
        if not self.bind and self.curve is not None and self.curve.server_key is None:
            raise ValueError("a socket that connects with curve keys needs curve.server_key")
        return self


class ModelSettings(Section):
    """The recogniser."""

    name: str = Field("molecule-generic", description="A folder with manifest.json, or the name of an installed model.")
    provider: Literal["auto", "cpu", "cuda", "tensorrt"] = Field("auto", description="What runs the network.")
    threads: int = Field(0, ge=0, le=256, description="Threads of ONNX Runtime; 0: one per core.")
    min_score: float | None = Field(None, ge=0, le=1, description="Overrides the manifest's score threshold.")
    nms_iou: float | None = Field(None, gt=0, le=1, description="Overrides the manifest's overlap of two molecules.")
    levelling: Levelling | None = Field(None, description="Overrides the manifest's levelling.")


class StoreSettings(Section):
    """Where results are kept."""

    path: Path = Field(
        default_factory=lambda: user_data_path("spm-live") / "spm-live.sqlite3", description="The SQLite file."
    )
    min_free_mb: int = Field(200, ge=0, description="With less room than this on the disk, frames wait in the queue.")


class WebSettings(Section):
    """The viewer and the HTTP interface."""

    enabled: bool = True
    host: str = Field("127.0.0.1", description="Address to bind to.")
    port: int = Field(8765, ge=0, le=65535, description="0: any free port, printed at the start.")
    token: str | None = Field(
        None,
        min_length=16,
        repr=False,
        description="Asked from every client; left out: made once, kept beside the store.",
    )
    allow_network: bool = Field(False, description="Must be true to bind beyond this machine.")

    @model_validator(mode="after")
    def _closed(self) -> Self:
        if not is_loopback(self.host) and not self.allow_network:
            raise ValueError(f"host {self.host} is open to the network; use 127.0.0.1 or set allow_network = true")
        return self


class PublishSettings(Section):
    """The ZeroMQ publisher."""

    enabled: bool = True
    endpoint: str = Field("tcp://127.0.0.1:5651", pattern=r"^(tcp|ipc)://.+", description="PUB socket.")
    snapshot_endpoint: str = Field(
        "tcp://127.0.0.1:5652", pattern=r"^(tcp|ipc)://.+", description="ROUTER socket that late joiners ask."
    )
    curve: CurveSettings | None = Field(None, description="Keys; needed to bind beyond this machine.")
    curve_clients: tuple[str, ...] = Field(
        (), description="Public keys of the only programs let in; empty: all that know this side's public key."
    )

    @model_validator(mode="after")
    def _closed_or_encrypted(self) -> Self:
        for endpoint in (self.endpoint, self.snapshot_endpoint):
            if self.curve is None and not endpoint_is_local(endpoint):
                raise ValueError(
                    f"{endpoint} would be open to the network without keys; use 127.0.0.1 or give curve keys"
                )
        return self


class DaemonSettings(Section):
    """Queues and limits."""

    queue_size: int = Field(64, ge=1, le=100_000, description="Arrivals that may wait; the rest wait in the folder.")
    frame_timeout_s: float = Field(120.0, gt=0, description="A frame that takes longer is given up, in s.")
    max_tries: int = Field(2, ge=1, le=10, description="A frame that crashed the worker this often is quarantined.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class Settings(BaseSettings):
    """A whole configuration."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix="SPM_LIVE_", env_nested_delimiter="__")

    folders: tuple[FolderSettings, ...] = Field((), description="Watched folders.")
    zeromq: tuple[ZeroMQSettings, ...] = Field((), description="Sockets that frames arrive on.")
    nanonis: tuple[NanonisSettings, ...] = Field((), description="Controllers asked for the frame in progress.")
    live: LiveSettings = LiveSettings()
    rules: tuple[RuleSettings, ...] = Field((), description="What to be told of, and how.")
    model: ModelSettings = ModelSettings()
    store: StoreSettings = Field(default_factory=StoreSettings)
    web: WebSettings = WebSettings()
    publish: PublishSettings = PublishSettings()
    daemon: DaemonSettings = DaemonSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes over the file; nothing else is looked at."""
        return env_settings, init_settings

    @field_validator("rules")
    @classmethod
    def _names_differ(cls, rules: tuple[RuleSettings, ...]) -> tuple[RuleSettings, ...]:
        names = [rule.name for rule in rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two rules are called {', '.join(map(repr, twice))}; every rule needs a name of its own")
        return rules

    @field_validator("nanonis")
    @classmethod
    def _instruments_differ(cls, controllers: tuple[NanonisSettings, ...]) -> tuple[NanonisSettings, ...]:
        names = [controller.name or f"{controller.host}:{controller.port}" for controller in controllers]
        places = [f"{controller.host}:{controller.port}" for controller in controllers]
        for told in (names, places):
            twice = sorted({one for one in told if told.count(one) > 1})
            if twice:
                raise ValueError(f"two controllers are called {twice[0]!r}: each needs a name and a port of its own")
        return controllers

    @model_validator(mode="after")
    def _something_to_watch(self) -> Self:
        if not self.folders and not self.zeromq and not self.nanonis:
            raise ValueError("nothing to watch: add a [[folders]], a [[zeromq]] or a [[nanonis]] section")
        return self


def load_settings(path: Path) -> Settings:
    """Read a configuration file.

    Relative paths in it are relative to the file.

    Raises
    ------
    SetupError
        Naming every problem at once, each with its place in the file and, for a misspelt name, the nearest right one.
    """
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise SetupError(f"{path}: cannot be read ({error.strerror}); give a configuration with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SetupError(f"{path}: is not valid TOML: {error}") from error
    return settings_from(values, origin=str(path), base=path.resolve().parent)


def settings_from(values: dict[str, Any], *, origin: str = "settings", base: Path | None = None) -> Settings:
    """Check a configuration given as nested dictionaries.

    Raises
    ------
    SetupError
        As :func:`load_settings`.
    """
    try:
        return Settings(**(_absolute(values, base) if base is not None else values))
    except ValidationError as error:
        raise SetupError([f"{origin}: {line}" for line in _explain(error)]) from error


def _absolute(values: dict[str, Any], base: Path) -> dict[str, Any]:
    def resolved(section: object) -> object:
        if isinstance(section, dict) and isinstance(section.get("path"), str):
            return {**section, "path": base / os.path.expandvars(Path(section["path"]).expanduser())}
        return section

    result = dict(values)
    if isinstance(result.get("folders"), list):
        result["folders"] = [resolved(folder) for folder in result["folders"]]
    if "store" in result:
        result["store"] = resolved(result["store"])
    return result


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"]) or "configuration"
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(problem["loc"][-1]), _field_names(problem["loc"][:-1]), n=1)
            yield f"{place}: no such setting" + (f"; did you mean {near[0]!r}?" if near else "")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            given = (
                ""
                if problem["type"] in {"missing", "value_error"} or "key" in place or "token" in place
                else (f" (is {problem['input']!r})")
            )
            yield f"{place}: {message}{given}"


def _field_names(loc: tuple[str | int, ...]) -> list[str]:
    model: type[BaseModel] = Settings
    sections: dict[str, type[BaseModel]] = {
        "folders": FolderSettings,
        "zeromq": ZeroMQSettings,
        "nanonis": NanonisSettings,
        "live": LiveSettings,
        "rules": RuleSettings,
        "curve": CurveSettings,
        "model": ModelSettings,
        "store": StoreSettings,
        "web": WebSettings,
        "publish": PublishSettings,
        "daemon": DaemonSettings,
    }
    for part in loc:
        if isinstance(part, str):
            model = sections.get(part, model)
    return list(model.model_fields)
