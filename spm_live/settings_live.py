"""The part of the configuration that is about scans in progress: controllers, rules, and what is done with them."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

RuleKind = Literal["coverage", "count", "quality", "tip_change", "nothing_found", "finished"]


class Section(BaseModel):
    """A part of the configuration: every name in it is known, and nothing changes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NanonisSettings(Section):
    """One Nanonis controller that is asked for the frame in progress. It is only ever read, never driven."""

    host: str = Field("127.0.0.1", min_length=1, description="The instrument PC.")
    port: int = Field(6501, ge=1, le=65535, description="One of the controller's ports, 6501 to 6504, free for this.")
    name: str | None = Field(
        None, min_length=1, max_length=64, description="Name of this instrument; left out: host and port."
    )
    channel: str = Field("Z", min_length=1, description="Channel by name, as in Nanonis, with or without its unit.")
    backward: bool = Field(True, description="Ask for the backward trace too: scan quality is judged by both.")
    poll_s: float = Field(
        0.5, ge=0.02, le=60, description="Least time between two questions, in s; never more than one a line."
    )
    timeout_s: float = Field(5.0, gt=0, le=60, description="A reply that takes longer means a lost connection, in s.")


class LiveSettings(Section):
    """Scans in progress."""

    enabled: bool = Field(True, description="Work on frames while they are scanned.")
    keep: Literal["finished", "all", "none"] = Field(
        "finished",
        description="Scans that no file comes of are kept as they were seen: those that reached their last line, also "
        "those that were stopped or lost, or none.",
    )
    file_wait_s: float = Field(
        60.0,
        gt=0,
        le=3600,
        description="How long the file of a scan may take to arrive before it counts as missing, in s.",
    )
    track: bool = Field(True, description="Follow molecules and drift from one finished frame to the next.")


class RuleSettings(Section):
    """One rule: when something is so, tell it. The program advises; it never drives the tip."""

    name: str = Field(min_length=1, max_length=64, description="Of the rule; told with every notice.")
    when: RuleKind = Field(
        description="coverage, count: reached `above`; quality: the verdict is bad; tip_change: the tip changed; "
        "nothing_found: no molecule after `lines` lines; finished: a frame was finished."
    )
    above: float | None = Field(None, ge=0, description="Threshold of coverage (0 to 1) or count.")
    label: str | None = Field(None, min_length=1, description="Class that is counted; left out: all classes together.")
    lines: int = Field(
        0, ge=0, description="Not before so many lines of the frame were scanned (nothing_found: after so many)."
    )
    webhook: str | None = Field(
        None, repr=False, description="http or https address that the notice is posted to, as JSON."
    )
    command: tuple[str, ...] = Field(
        (),
        description="Program (full path, or a name on the PATH) and its arguments, run without a shell; the notice "
        "comes on its standard input, as JSON.",
    )
    timeout_s: float = Field(10.0, gt=0, le=300, description="Webhook and command get this long, in s.")

    @field_validator("webhook")
    @classmethod
    def _web_address(cls, webhook: str | None) -> str | None:
        if webhook is not None:
            parts = urlsplit(webhook)
            if parts.scheme not in {"http", "https"} or not parts.hostname or not webhook.isprintable():
                raise ValueError("a webhook is an address such as http://127.0.0.1:8080/notice")
            if parts.username is not None or " " in webhook or parts.port == 0:
                raise ValueError("a webhook holds no spaces, and no name and password before its host")
        return webhook

    @field_validator("command")
    @classmethod
    def _found_from_anywhere(cls, command: tuple[str, ...]) -> tuple[str, ...]:
        """What is run must not depend on the folder that the daemon was started in."""
        if command:
            program = command[0]
            absolute = PurePosixPath(program).is_absolute() or PureWindowsPath(program).is_absolute()
            if not program or (("/" in program or "\\" in program) and not absolute):
                raise ValueError("the first part of a command is a program: its full path, or a name on the PATH")
            if any("\0" in part for part in command):
                raise ValueError("a command holds a character that no program can be given")
        return command

    @model_validator(mode="after")
    def _threshold_given(self) -> Self:
        if self.when in {"coverage", "count"} and self.above is None:
            raise ValueError(f"a rule for {self.when} needs `above`")
        if self.when == "coverage" and self.above is not None and self.above > 1:
            raise ValueError("coverage is 0 to 1")
        if self.when == "nothing_found" and self.lines == 0:
            raise ValueError("a rule for nothing_found needs `lines`")
        return self
