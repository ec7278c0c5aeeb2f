"""Training settings that come with spm-live."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from spm_live.errors import SetupError

_PACKAGE = Path(__file__).resolve().parents[2]


def preset_paths() -> dict[str, Path]:
    """Shipped training settings, by name: in the installed package, or in the checkout it is installed from."""
    return {path.stem: path for folder in _folders() for path in sorted(folder.glob("*.toml"))}


def preset_path(name: str) -> Path:
    """The file of shipped training settings.

    Raises
    ------
    SetupError
        Listing those that there are.
    """
    known = preset_paths()
    if name not in known:
        raise SetupError(f"--config {name}: no such file, and no shipped settings of that name ({', '.join(known)})")
    return known[name]


def _folders() -> Iterator[Path]:
    for folder in (_PACKAGE.parent / "configs" / "training", _PACKAGE / "shipped" / "configs" / "training"):
        if folder.is_dir():
            yield folder
