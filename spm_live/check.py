"""Tries out a configuration without starting anything: what would go wrong tonight?"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from spm_live.detect import open_detector
from spm_live.errors import SetupError
from spm_live.settings import FolderSettings, Settings
from spm_live.settings_live import NanonisSettings
from spm_live_drivers.nanonis.channels import ChannelFinder
from spm_live_drivers.nanonis.client import NanonisClient
from spm_live_drivers.nanonis.errors import ChannelError, NanonisError
from spm_live_drivers.registry import broken_readers, readers

MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried.

    Parameters
    ----------
    what : str
        What was tried.
    ok : bool
        Whether it would work.
    detail : str
        What was found, or what to do.
    """

    what: str
    ok: bool
    detail: str


def check(settings: Settings) -> Iterator[Finding]:
    """Try folders, model, ports and disk space, one finding each."""
    yield _readers()
    for folder in settings.folders:
        yield _folder(folder)
    yield _model(settings)
    yield _disk(settings)
    for controller in settings.nanonis:
        yield _controller(controller)
    for what, endpoint in _bound(settings):
        yield _port(what, endpoint)


def _readers() -> Finding:
    broken = "; ".join(f"{reader.entry_point} {reader.reason}" for reader in broken_readers())
    names = ", ".join(reader.title for reader in readers())
    return Finding("readers", bool(names) and not broken, broken or names or "none: install spm-live-drivers again")


def _folder(folder: FolderSettings) -> Finding:
    what = f"folder {folder.path}"
    if not folder.path.is_dir():
        return Finding(what, False, "does not exist yet; it is watched as soon as it appears. Is the path right?")
    try:
        entries = sum(1 for _ in folder.path.iterdir())
    except OSError as error:
        return Finding(what, False, f"cannot be listed ({error.strerror}); give this user the right to read it")
    return Finding(what, True, f"readable, {entries} entries")


def _model(settings: Settings) -> Finding:
    what = f"model {settings.model.name}"
    try:
        detector = open_detector(settings.model)
    except SetupError as error:
        return Finding(what, False, str(error))
    manifest = detector.manifest
    detector.close()
    classes = ", ".join(manifest.classes)
    pitch = manifest.spec.nm_per_px
    shown = "own pixels of the frame" if pitch is None else f"{pitch:g} nm/px"
    return Finding(what, True, f"version {manifest.version}, {shown}: {classes}")


def _controller(controller: NanonisSettings) -> Finding:
    what = f"controller {controller.host}:{controller.port}"
    try:
        with NanonisClient(controller.host, controller.port, timeout_s=controller.timeout_s) as client:
            channel = ChannelFinder(controller.channel).find(client, client.scan_buffer())
            running = client.scan_status()
    except ChannelError as error:
        return Finding(what, False, f"answers, but {error}")
    except NanonisError as error:
        return Finding(what, False, f"{error}; is Nanonis running, and is this port free and open to this machine?")
    return Finding(what, True, f"answers, channel {channel.name}, {'a scan runs' if running else 'no scan runs'}")


def _disk(settings: Settings) -> Finding:
    free_mb = shutil.disk_usage(_existing_parent(settings.store.path)).free // MB
    ok = free_mb >= settings.store.min_free_mb
    detail = f"{free_mb} MB free" + ("" if ok else f", less than store.min_free_mb = {settings.store.min_free_mb}")
    return Finding(f"store {settings.store.path}", ok, detail)


def _bound(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.web.enabled and settings.web.port:
        yield "viewer", f"tcp://{settings.web.host}:{settings.web.port}"
    if settings.publish.enabled:
        yield "publisher", settings.publish.endpoint
        yield "snapshots", settings.publish.snapshot_endpoint
    for source in settings.zeromq:
        if source.bind:
            yield f"{source.mode} socket", source.endpoint


def _port(what: str, endpoint: str) -> Finding:
    parts = urlsplit(endpoint)
    if parts.scheme != "tcp":
        return Finding(f"{what} {endpoint}", True, "no port is needed")
    host, _, port = parts.netloc.rpartition(":")
    address = host.strip("[]")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        try:
            trial.bind(("" if address == "*" else address, int(port)))
        except (OSError, ValueError, OverflowError) as error:
            return Finding(f"{what} {endpoint}", False, f"cannot be bound ({error}); is another spm-live running?")
    return Finding(f"{what} {endpoint}", True, "free")


def _existing_parent(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
