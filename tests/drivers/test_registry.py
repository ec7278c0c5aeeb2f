"""Finding the reader for a file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spm_live_drivers import registry
from spm_live_drivers.contract import ReadOptions
from spm_live_drivers.errors import FrameError
from spm_live_drivers.formats.image import ImageReader
from spm_live_drivers.formats.nanonis_sxm import NanonisSxmReader


@pytest.fixture(autouse=True)
def _two_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "readers", lambda: (NanonisSxmReader(), ImageReader()))


def test_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "array.sxm"
    with path.open("wb") as file:
        np.save(file, np.ones((3, 4), np.float32))
    assert isinstance(registry.find_reader(path), ImageReader)
    frame = registry.read_frame(path, ReadOptions(nm_per_px=0.5))
    assert frame.geometry.size_nm == (2.0, 1.5)
    assert frame.ref.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() == registry.file_sha256(path)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"hello", "no reader knows"), (bytes(5000), "no reader knows")]
)
def test_unknown_content_is_refused_with_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.sxm"
    path.write_bytes(content)
    with pytest.raises(FrameError, match=reason) as caught:
        registry.find_reader(path)
    assert caught.value.ref.source == str(path)
    assert caught.value.stage == "read"


def test_folder_missing_file_and_broken_link_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="folder"):
        registry.find_reader(tmp_path)
    with pytest.raises(FrameError, match="cannot be opened"):
        registry.find_reader(tmp_path / "missing.sxm")
    link = tmp_path / "link.sxm"
    try:
        link.symlink_to(tmp_path / "nowhere")
    except OSError:
        pytest.skip("this system lets no plain user make links")
    with pytest.raises(FrameError, match="link to nothing"):
        registry.find_reader(link)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_named_pipe_is_refused_and_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "pipe.sxm"
    os.mkfifo(path)
    for call in (registry.find_reader, registry.file_sha256, NanonisSxmReader().read, ImageReader().state):
        with pytest.raises(FrameError, match="not a regular file"):
            call(path)


def test_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.sxm"
    path.write_bytes(b":NANONIS_VERSION:\n2\n")

    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)  # file modes do not bind the administrator
    for call in (registry.find_reader, registry.file_sha256, NanonisSxmReader().read, ImageReader().read):
        with pytest.raises(FrameError, match="Permission denied"):
            call(path)


def test_a_reader_that_cannot_be_used_is_told_and_the_others_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    class Point:
        def __init__(self, name: str, value: str, load: Callable[[], object]) -> None:
            self.name, self.value, self.load = name, value, load

    def missing() -> object:
        raise ImportError("no module named that")

    points = [
        Point("bad", "pathlib:Path", lambda: Path),
        Point("gone", "that:Reader", missing),
        Point("good", "nanonis", lambda: NanonisSxmReader),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    registry._survey.cache_clear()
    try:
        assert [reader.name for reader in registry.readers()] == ["nanonis-sxm"]
        bad, gone = registry.broken_readers()
        assert bad.entry_point == "bad = pathlib:Path"
        assert "is not a reader" in bad.reason
        assert "no module named that" in gone.reason
    finally:
        registry._survey.cache_clear()
