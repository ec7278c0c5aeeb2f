"""The conformance suite finds what is wrong with a reader: each of these readers breaks one promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spm_live_drivers.contract import ChannelInfo, FileState, FileStatus, Frame, ReadOptions
from spm_live_drivers.errors import FrameError
from spm_live_drivers.formats.image import ImageReader
from spm_live_drivers.testing import ConformanceError, check_reader

SCALE = ReadOptions(nm_per_px=0.1)


@pytest.fixture
def good_file(tmp_path: Path) -> Path:
    path = tmp_path / "good.npy"
    np.save(path, np.random.default_rng(0).normal(size=(16, 12)).astype(np.float32))
    return path


def problems_of(reader: ImageReader, path: Path) -> str:
    with pytest.raises(ConformanceError) as caught:
        check_reader(reader, path, options=SCALE, cuts=10, flips=10)
    assert caught.value.problems
    return str(caught.value)


def reader_with(**changes: Any) -> ImageReader:
    return type("Changed", (ImageReader,), changes)()


def changing_frame(change: Callable[[Frame], Frame]) -> ImageReader:
    def read(self: ImageReader, path: Path, options: ReadOptions = ReadOptions()) -> Frame:
        return change(ImageReader.read(self, path, options))

    return reader_with(read=read)


def _with_info(**changes: Any) -> Callable[[Frame], Frame]:
    return lambda frame: Frame(replace(frame.info, **changes), frame.data.copy())


def _with_ref(**changes: Any) -> Callable[[Frame], Frame]:
    return lambda frame: Frame(replace(frame.info, ref=replace(frame.ref, **changes)), frame.data.copy())


def _writable(frame: Frame) -> Frame:
    copy = Frame(frame.info, frame.data.copy())
    copy.data.flags.writeable = True
    return copy


def test_sound_reader_passes(good_file: Path) -> None:
    check_reader(ImageReader(), good_file, options=SCALE, cuts=10, flips=10)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_writable, "can be written to"),
        (_with_ref(sha256="0" * 64), "not the digest"),
        (_with_ref(source="good.npy"), "not the absolute path"),
        (_with_ref(trace=None), "trace is not set"),
        (_with_ref(channel="other"), "none of"),
        (_with_info(format="x"), "not 'image'"),
        (_with_info(unit="V"), "said to be in 1"),
        (_with_info(started=datetime(2024, 1, 1)), "has no zone"),
        (_with_info(complete_rows=3), "a row beyond is whole"),
        (lambda frame: Frame(frame.info, np.full_like(frame.data, np.nan)), "no finite value"),
        (lambda frame: Frame(frame.info, np.full_like(frame.data, np.inf)), "infinite"),
        (lambda frame: Frame(frame.info, np.asfortranarray(frame.data)), "not in rows"),
    ],
)
def test_frame_that_breaks_a_promise_is_reported(
    good_file: Path, change: Callable[[Frame], Frame], problem: str
) -> None:
    assert problem in problems_of(changing_frame(change), good_file)


def test_wrong_scale_or_values_of_a_cut_file_are_reported(good_file: Path) -> None:
    whole = good_file.stat().st_size

    def squeeze(frame: Frame) -> Frame:
        if Path(frame.ref.source).stat().st_size == whole:
            return frame
        geometry = replace(frame.geometry, size_nm=(frame.geometry.size_nm[0], 0.5))
        return Frame(replace(frame.info, geometry=geometry), frame.data + np.float32(1))

    found = problems_of(changing_frame(squeeze), good_file)
    assert "another geometry" in found
    assert "other values" in found


@pytest.mark.parametrize("error", [ValueError("bad"), OSError("gone"), MemoryError(), ZeroDivisionError()])
def test_other_exceptions_are_reported_by_name(good_file: Path, error: Exception) -> None:
    def read(self: ImageReader, path: Path, options: ReadOptions = ReadOptions()) -> Frame:
        try:
            return ImageReader.read(self, path, options)
        except FrameError:
            raise error from None

    assert f"raises {type(error).__name__}" in problems_of(reader_with(read=read), good_file)


def test_error_without_a_reason_is_reported(good_file: Path) -> None:
    def read(self: ImageReader, path: Path, options: ReadOptions = ReadOptions()) -> Frame:
        try:
            return ImageReader.read(self, path, options)
        except FrameError as error:
            raise FrameError(error.ref, "read", "") from error

    found = problems_of(reader_with(read=read), good_file)
    assert "lacks its file, stage or reason" in found
    assert "names no right one" in found


def test_wrong_channel_that_is_read_anyway_is_reported(good_file: Path) -> None:
    def read(self: ImageReader, path: Path, options: ReadOptions = ReadOptions()) -> Frame:
        return ImageReader.read(self, path, replace(options, channel=None))

    assert "a wrong channel name is read without an error" in problems_of(reader_with(read=read), good_file)


def test_much_memory_for_a_damaged_file_is_reported(good_file: Path) -> None:
    def read(self: ImageReader, path: Path, options: ReadOptions = ReadOptions()) -> Frame:
        np.zeros(200 * 1024 * 1024, np.uint8)
        return ImageReader.read(self, path, options)

    assert "takes 200 MiB" in problems_of(reader_with(read=read), good_file)


def test_state_that_is_always_complete_is_reported(good_file: Path) -> None:
    found = problems_of(reader_with(state=lambda self, path: FileState(FileStatus.COMPLETE)), good_file)
    assert "are said to be complete" in found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux tells what a process holds open")
def test_handle_left_open_is_reported(good_file: Path) -> None:
    kept = []

    def channels(self: ImageReader, path: Path) -> tuple[ChannelInfo, ...]:
        found = ImageReader.channels(self, path)
        kept.append(path.open("rb"))
        return found

    try:
        assert "still open or mapped" in problems_of(reader_with(channels=channels), good_file)
    finally:
        for file in kept:
            file.close()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": "Bad Name"}, "name 'Bad Name'"),
        ({"title": ""}, "no title"),
        ({"suffixes": ("PNG",)}, "suffixes"),
        ({"accepts": lambda self, path, head: True}, "it accepts nothing"),
        ({"accepts": lambda self, path, head: False}, "does not accept the good file"),
        ({"wanted": lambda self, path, options: False}, "does not want the good file"),
        ({"channels": lambda self, path: ()}, "channels are []"),
    ],
)
def test_reader_that_is_not_what_it_says_is_reported(good_file: Path, changes: dict[str, Any], problem: str) -> None:
    assert problem in problems_of(reader_with(**changes), good_file)


def test_good_file_is_left_as_it_was(good_file: Path) -> None:
    before = good_file.read_bytes()
    check_reader(ImageReader(), good_file, options=SCALE, cuts=3, flips=3)
    assert good_file.read_bytes() == before
    assert [path.name for path in good_file.parent.iterdir()] == ["good.npy"]
