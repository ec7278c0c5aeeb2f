"""The files of the page, read once and served from memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

PAGE_FOLDER = Path(__file__).parent / "page"

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Written down because Windows asks its registry, where .js may be text/plain: with ``nosniff`` no module loads."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page."""

    content: bytes
    media_type: str
    etag: str


@dataclass(frozen=True, slots=True)
class Assets:
    """All files of the page.

    Parameters
    ----------
    files : dict of str to Asset
        By name, without a folder: the page's folder is flat, so no request can name anything outside it.
    digest : str
        Changes with any of the files: an open page that meets another digest loads itself anew.
    """

    files: dict[str, Asset]
    digest: str


def load_assets(folder: Path = PAGE_FOLDER) -> Assets:
    """Read every file of the page's folder whose suffix is known."""
    files = {}
    for path in sorted(folder.iterdir()):
        if media_type := MEDIA_TYPES.get(path.suffix):
            content = path.read_bytes()
            files[path.name] = Asset(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:24]}"')
    whole = hashlib.sha256("".join(asset.etag for asset in files.values()).encode()).hexdigest()
    return Assets(files, whole[:16])
