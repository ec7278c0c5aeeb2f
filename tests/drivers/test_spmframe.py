"""Message files: read back whole, or refused."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live_drivers.contract import FileStatus, Frame, FrameInfo, FrameRef, ReadOptions, ScanGeometry, Trace
from spm_live_drivers.errors import FrameError
from spm_live_drivers.formats.spmframe import SpmFrameReader
from spm_live_drivers.registry import readers
from spm_live_drivers.testing import ConformanceError, check_reader
from spm_live_drivers.wire import encode_frame
from spm_live_drivers.wire_file import (
    MAGIC,
    from_file_bytes,
    read_parts,
    remove_unfinished,
    to_file_bytes,
    write_durably,
)


def message(trace: Trace = Trace.FORWARD) -> list[bytes]:
    info = FrameInfo(
        ref=FrameRef("D:/data/a.sxm", "ab" * 32, "Z", trace),
        geometry=ScanGeometry(2, 3, (6.0, 4.0)),
        unit="m",
        complete_rows=2,
        format="nanonis-sxm",
    )
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    return encode_frame(Frame(info, data), sender="stm-1", session="5f", sequence=0)


CONTENT = to_file_bytes(message())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "a.spmframe"
    file.write_bytes(CONTENT)
    return file


def refuse(content: bytes, tmp_path: Path) -> str:
    """The reason for which reading fails; both ways of reading must give it."""
    file = tmp_path / "bad.spmframe"
    file.write_bytes(content)
    with pytest.raises(FrameError) as from_file:
        SpmFrameReader().read(file)
    with pytest.raises(FrameError) as from_bytes:
        from_file_bytes(content)
    assert from_file.value.reason == from_bytes.value.reason
    return from_file.value.reason


def test_the_frame_is_that_of_the_instrument(path: Path) -> None:
    frame = SpmFrameReader().read(path)
    assert frame.ref == FrameRef("D:/data/a.sxm", "ab" * 32, "Z", Trace.FORWARD)
    assert frame.info.format == "nanonis-sxm"
    assert frame.data.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_the_registry_knows_the_reader() -> None:
    assert "wire" in [reader.name for reader in readers()]


def test_all_that_a_reader_promises_is_kept_but_that_the_frame_is_the_file(path: Path) -> None:
    """A message stands for a file elsewhere: its frame has that file's path and digest, and its reader's name."""
    with pytest.raises(ConformanceError) as caught:
        check_reader(SpmFrameReader(), path)
    unexpected = [
        problem
        for problem in caught.value.problems
        if not re.search(r"ref\.source is|ref\.sha256 is|format is 'nanonis-sxm'", problem)
    ]
    assert unexpected == []


@given(st.lists(st.binary(max_size=50), min_size=3, max_size=3))
def test_any_three_parts_are_given_back(parts: list[bytes]) -> None:
    assert from_file_bytes(to_file_bytes(parts)) == parts


def test_what_is_no_message_is_not_packed() -> None:
    with pytest.raises(ValueError):
        to_file_bytes([b"", b""])
    with pytest.raises(ValueError):
        to_file_bytes([b"x" * 257, b"", b""])


def test_a_file_cut_anywhere_is_refused_and_may_still_grow(tmp_path: Path) -> None:
    for size in range(1, len(CONTENT)):
        assert f"{size} bytes" in refuse(CONTENT[:size], tmp_path)
        assert SpmFrameReader().state(tmp_path / "bad.spmframe").status is FileStatus.INCOMPLETE


def test_a_flip_of_any_bit_is_refused(tmp_path: Path) -> None:
    for place in range(len(CONTENT)):
        content = bytearray(CONTENT)
        content[place] ^= 1 << (place % 8)
        assert refuse(bytes(content), tmp_path)


def test_a_padded_file_is_refused(tmp_path: Path) -> None:
    assert refuse(CONTENT + b"\0", tmp_path)
    with pytest.raises(FrameError, match="promises"):
        SpmFrameReader().state(tmp_path / "bad.spmframe")


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("size", [2**31, 2**63, 2**64 - 1])
def test_a_wild_size_takes_no_memory(tmp_path: Path, place: int, size: int) -> None:
    sizes = [0, 0, 0]
    sizes[place] = size
    assert "allowed" in refuse(MAGIC + struct.pack("<QQQI", *sizes, 0), tmp_path)


@pytest.mark.parametrize("content", [b"", b"SPMFRAME2\n", b"\x89PNG\r\n", MAGIC])
def test_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    assert refuse(content, tmp_path)


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path / "gone.spmframe", tmp_path):
        for method in (SpmFrameReader().state, SpmFrameReader().read, SpmFrameReader().channels):
            with pytest.raises(FrameError, match=r"cannot be opened|is a folder"):
                method(place)


def test_a_complete_file_says_so(path: Path) -> None:
    reader = SpmFrameReader()
    assert reader.state(path).status is FileStatus.COMPLETE
    assert reader.accepts(path, CONTENT[:4096])
    assert [(channel.name, channel.unit) for channel in reader.channels(path)] == [("Z", "m")]


def test_only_the_channel_that_is_there_can_be_asked_for(path: Path) -> None:
    assert SpmFrameReader().read(path, ReadOptions(channel="z")).ref.channel == "Z"
    with pytest.raises(FrameError, match="not 'Current'"):
        SpmFrameReader().read(path, ReadOptions(channel="Current"))
    with pytest.raises(FrameError, match="forward trace only"):
        SpmFrameReader().read(path, ReadOptions(trace=Trace.BACKWARD))


def test_a_backward_trace_is_read_without_being_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "b.spmframe"
    file.write_bytes(to_file_bytes(message(Trace.BACKWARD)))
    assert SpmFrameReader().read(file).ref.trace is Trace.BACKWARD


def test_a_durable_write_leaves_one_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "c.spmframe"
    size = write_durably(file, message())
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.spmframe"]
    assert size == file.stat().st_size
    assert read_parts(file) == message()


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken.spmframe").mkdir()
    (tmp_path / "taken.spmframe" / "x").touch()
    with pytest.raises(OSError):
        write_durably(tmp_path / "taken.spmframe", message())
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken.spmframe"]


def test_what_a_crash_left_of_a_write_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".d.spmframe.part").write_bytes(CONTENT[:20])
    (tmp_path / "e.spmframe").write_bytes(CONTENT)
    remove_unfinished(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["e.spmframe"]
