"""Writes the reference pages that are made from the code: ``docs/reference/settings.md`` and ``cli.md``.

python scripts/make_reference.py          writes them
python scripts/make_reference.py --check  exits with 1 if one is stale
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from spm_live.cli import build_parser
from spm_live.cli import main as main_of_cli
from spm_live.settings import Settings

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"
MADE = "<!-- made by scripts/make_reference.py; edit the code, not this page -->"


def settings_page() -> str:
    """The page on configuration files."""
    lines = [
        "# Settings",
        MADE,
        "",
        "A configuration is one TOML file. Relative paths are relative to it. An environment variable",
        "`SPM_LIVE_<SECTION>__<FIELD>` goes over the file. `spm-live check --config FILE` tries it out.",
        "",
    ]
    for name, field in Settings.model_fields.items():
        model = _section(field.annotation)
        repeated = field.annotation is not model
        lines += [f"## `[[{name}]]`" if repeated else f"## `[{name}]`", "", *_table(model), ""]
    return "\n".join(lines)


def _section(annotation: Any) -> type[BaseModel]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(part for part in get_args(annotation) if isinstance(part, type) and issubclass(part, BaseModel))


def _table(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    if not prefix:
        yield (model.__doc__ or "").strip().splitlines()[0]
        yield ""
        yield "| setting | type | default | |"
        yield "| --- | --- | --- | --- |"
    for name, field in model.model_fields.items():
        inner = [part for part in get_args(field.annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
        if inner:
            yield from _table(inner[0], f"{prefix}{name}.")
        else:
            yield f"| `{prefix}{name}` | {_type(field)} | {_default(field)} | {field.description or ''} |"


def _type(field: FieldInfo) -> str:
    text = str(field.annotation) if not isinstance(field.annotation, type) else field.annotation.__name__
    for long, short in (("typing.", ""), ("pathlib._local.", ""), ("pathlib.", ""), (" | None", ""), ("|", "or")):
        text = text.replace(long, short)
    if isinstance(field.annotation, type) and hasattr(field.annotation, "__members__"):
        text = ", ".join(f"`{value.value}`" for value in field.annotation)
    for module in ("spm_live.domain.", "spm_live_drivers.contract.", "spm_live.settings."):
        text = text.replace(module, "")
    return text


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "in the user's data folder"
    if field.default is PydanticUndefined:
        return "**needed**"
    return "" if field.default is None else f"`{_toml(field.default)}`"


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{getattr(value, "value", value)}"' if isinstance(value, str) else str(value)


def cli_page() -> str:
    """The page on the command line; not argparse's own help, whose layout differs between versions of Python."""
    parser = build_parser()
    lines = ["# Command line", MADE, "", "`spm-live COMMAND --help` tells the same.", ""]
    for name, summary, command in _commands(parser):
        lines += [f"## spm-live {name}", "", f"{summary[0].upper()}{summary[1:]}.", ""]
        rows = [_row(action) for action in command._actions if not isinstance(action, argparse._HelpAction)]
        if rows:
            lines += ["| argument | |", "| --- | --- |", *rows, ""]
    lines += ["## Exit codes", "", (main_of_cli.__doc__ or "").split("int\n", 1)[1].strip(), ""]
    return "\n".join(" ".join(line.split()) if "Exit" not in line else line for line in lines)


def _row(action: argparse.Action) -> str:
    name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
    if action.option_strings and action.nargs != 0:
        choices = (
            "{" + ",".join(map(str, action.choices)) + "}"
            if action.choices
            else (action.metavar or action.dest.upper())
        )
        name += f" {choices}"
    needed = " **needed**" if action.required else ""
    text = (action.help or "").replace("%(default)s", str(action.default))
    return f"| `{name}` | {text}{needed} |"


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                yield choice.dest, choice.help or "", action.choices[choice.dest]


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name, text in (("settings.md", settings_page()), ("cli.md", cli_page())):
        path = REFERENCE / name
        if check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            stale.append(name)
        elif not check:
            path.write_text(text, encoding="utf-8", newline="\n")
    if stale:
        print(f"stale: {', '.join(stale)}; run python scripts/make_reference.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
