"""The conformance suite for readers: a package that adds a format calls it from one test.

It needs no test framework, and one good file::

    from spm_live_drivers.testing import check_reader

    def test_reader_conforms():
        check_reader(MyReader(), Path("tests/good.myformat"))

What it cannot know is whether the picture is the right way up: compare that with the instrument's own program once.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from spm_live_drivers.contract import (
    ChannelInfo,
    FileStatus,
    Frame,
    Reader,
    ReadOptions,
    ScanDirection,
)
from spm_live_drivers.errors import FrameError
from spm_live_drivers.registry import HEAD_BYTES, file_sha256

__all__ = ["ConformanceError", "check_reader", "frame_problems"]

T = TypeVar("T")
_MIB = 1024 * 1024


class ConformanceError(AssertionError):
    """A reader does not keep the contract.

    Parameters
    ----------
    problems : sequence of str
        All that was found.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(f"{len(problems)} problems:\n" + "\n".join(f"- {problem}" for problem in problems))
        self.problems = tuple(problems)


def check_reader(
    reader: Reader,
    good_file: Path,
    *,
    options: ReadOptions = ReadOptions(),
    companions: Sequence[Path] = (),
    cuts: int = 40,
    flips: int = 40,
    memory_mib: int = 96,
) -> None:
    """Test all that :class:`spm_live_drivers.contract.Reader` promises.

    Parameters
    ----------
    reader : Reader
        The one to test.
    good_file : Path
        A complete file; smaller is faster. It is copied, never changed.
    options : ReadOptions
        What the file needs, such as ``nm_per_px`` for a picture.
    companions : sequence of Path
        Files that must lie beside it (a MATRIX chain, a sidecar); copied along.
    cuts, flips : int
        At how many offsets the file is cut, and in how many places a bit is flipped.
    memory_mib : int
        How much memory, over four times the size of the file, a single damaged file may take, in MiB.

    Raises
    ------
    ConformanceError
        With every problem found.
    """
    with tempfile.TemporaryDirectory(prefix="spm-live-check-") as name:
        folder = Path(name)
        for path in (good_file, *companions):
            shutil.copyfile(path, folder / path.name)
        trial = _Trial(reader, folder / good_file.name, options, memory_mib * _MIB)
        trial.identity()
        frame = trial.good()
        if frame is not None:
            trial.every_channel(frame)
            trial.wrong_channel()
            trial.threads(frame)
            trial.cuts(frame, cuts)
            trial.padding(frame)
            trial.flips(flips)
        trial.not_files()
        trial.nothing_held()
    if trial.problems:
        raise ConformanceError(trial.problems)


def frame_problems(frame: Frame, reader: Reader, path: Path) -> list[str]:
    """What is wrong with a frame, whatever file it came from; the shape and the type are sure by construction."""
    info, data = frame.info, frame.data
    ref, rows, done = info.ref, info.geometry.rows, info.complete_rows
    unscanned = data[: rows - done] if info.direction is ScanDirection.UP else data[done:]
    times = [time for time in (info.started, info.ended) if time is not None]
    checks = {
        "data can be written to": not data.flags.writeable,
        "data is not in rows (C order)": data.flags.c_contiguous,
        "data holds infinite values": not np.isinf(data).any(),
        f"complete_rows is {done}, yet a row beyond is whole": not np.isfinite(unscanned).all(axis=1).any(),
        f"ref.source is {ref.source}, not the absolute path": Path(ref.source) == path.absolute(),
        f"ref.sha256 is {ref.sha256!r}, not the digest of the file": ref.sha256 == file_sha256(path),
        "ref.channel or ref.trace is not set": bool(ref.channel) and ref.trace is not None,
        f"format is {info.format!r}, not {reader.name!r}": info.format == reader.name,
        "unit is empty": bool(info.unit),
        "a time has no zone, or not UTC": all(str(time.tzinfo) == "UTC" for time in times),
        "the scan ended before it began": times == sorted(times),
        "metadata is not all text": all(isinstance(text, str) for pair in info.metadata.items() for text in pair),
    }
    return [problem for problem, holds in checks.items() if not holds]


@dataclass
class _Trial:
    reader: Reader
    path: Path
    options: ReadOptions
    memory: int
    problems: list[str] = field(default_factory=list)

    def identity(self) -> None:
        reader = self.reader
        head = self.path.read_bytes()[:HEAD_BYTES]
        self._expect(isinstance(reader, Reader), "it lacks a member of the Reader protocol")
        self._expect(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", reader.name) is not None, f"name {reader.name!r}")
        self._expect(bool(reader.title), "it has no title")
        good = reader.suffixes and all(re.fullmatch(r"\.[a-z0-9_.]+", suffix) for suffix in reader.suffixes)
        self._expect(bool(good), f"suffixes {reader.suffixes!r} are not lower case with a dot")
        self._expect(reader.accepts(self.path, head) is True, "it does not accept the good file")
        self._expect(reader.wanted(self.path, self.options) is True, "it does not want the good file")
        for what, other in {"nothing": b"", "zeros": bytes(HEAD_BYTES), "text": b"x = 1\n" * 600}.items():
            self._expect(not reader.accepts(self.path, other), f"it accepts {what}")

    def good(self) -> Frame | None:
        state = self._attempt("state of the good file", lambda: self.reader.state(self.path))
        if state is not None:
            self._expect(state.status is FileStatus.COMPLETE, f"the good file is {state.status}: {state.reason}")
        frame = self._attempt("the good file", lambda: self._read(self.path))
        if frame is not None:
            self._look_at("the good file", frame, self.path)
            self._expect(bool(np.isfinite(frame.data).any()), "the good file gives no finite value")
        return frame

    def every_channel(self, frame: Frame) -> None:
        channels = self._attempt("channels", lambda: self.reader.channels(self.path)) or ()
        names = [channel.name for channel in channels]
        self._expect(bool(names) and len(set(names)) == len(names), f"channels are {names}")
        self._expect(frame.ref.channel in names, f"it chose {frame.ref.channel}, which is none of {names}")
        for channel in channels:
            self._expect(bool(channel.traces), f"channel {channel.name} has no trace")
            for trace in channel.traces:
                self._one_channel(channel, replace(self.options, channel=channel.name.upper(), trace=trace), frame)

    def _one_channel(self, channel: ChannelInfo, options: ReadOptions, first: Frame) -> None:
        what = f"channel {channel.name} {options.trace}"
        frame = self._attempt(what, lambda: self.reader.read(self.path, options))
        if frame is None:
            return
        self._look_at(what, frame, self.path)
        info = frame.info
        self._expect((info.ref.channel, info.ref.trace) == (channel.name, options.trace), f"{what} gives {info.ref}")
        self._expect(info.unit == channel.unit, f"{what} is in {info.unit}, said to be in {channel.unit}")
        self._expect(info.geometry == first.geometry, f"{what} has another geometry")

    def wrong_channel(self) -> None:
        options = replace(self.options, channel="no such channel")
        error = self._refused("a wrong channel name", lambda: self.reader.read(self.path, options))
        known = [channel.name for channel in self.reader.channels(self.path)]
        if error is not None:
            self._expect(any(name in error.reason for name in known), "the error on a wrong channel names no right one")

    def threads(self, first: Frame) -> None:
        frames: list[Frame | None] = []
        workers = [
            threading.Thread(target=lambda: frames.append(self._attempt("reading in a thread", self._again)))
            for _ in range(4)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        same = [frame is not None and np.array_equal(frame.data, first.data, equal_nan=True) for frame in frames]
        self._expect(all(same), "four threads at once do not read the same values")

    def cuts(self, whole: Frame, count: int) -> None:
        content = self.path.read_bytes()
        step = max(1, len(content) // max(count, 1))
        for size in [*range(1, len(content), step), len(content) - 1]:
            what = f"the first {size} of {len(content)} bytes"
            with self._variant(content[:size]) as path:
                state = self._attempt(f"state of {what}", partial(self.reader.state, path), damaged=True)
                if state is not None and size < len(content) // 2:
                    self._expect(state.status is not FileStatus.COMPLETE, f"{what} are said to be complete")
                frame = self._bounded(what, path)
                if frame is not None:
                    self._same_where_finite(what, frame, whole)

    def padding(self, whole: Frame) -> None:
        content = self.path.read_bytes()
        for what, tail in {"zeros": bytes(1000), "noise": bytes(range(1, 256)) * 4}.items():
            with self._variant(content + tail) as path:
                frame = self._bounded(f"the file with {what} behind it", path)
                if frame is not None:
                    self._same_where_finite(f"the file with {what} behind it", frame, whole)

    def flips(self, count: int) -> None:
        """Half the flips in the first 4 kB, where headers are."""
        content = bytearray(self.path.read_bytes())
        chance = np.random.default_rng(0)
        for k in range(count):
            place = int(chance.integers(min(len(content), 4096) if k % 2 else len(content)))
            bit = 1 << int(chance.integers(8))
            content[place] ^= bit
            with self._variant(bytes(content)) as path:
                self._bounded(f"a flipped bit in byte {place}", path)
            content[place] ^= bit

    def not_files(self) -> None:
        folder = self.path.parent
        places = {
            "an empty file": folder / f"empty{self.path.suffix}",
            "a folder": folder / f"folder{self.path.suffix}",
        }
        places["a file that is not there"] = folder / f"missing{self.path.suffix}"
        places["an empty file"].touch()
        places["a folder"].mkdir()
        link = folder / f"link{self.path.suffix}"
        try:
            link.symlink_to(folder / "nowhere")
            places["a broken link"] = link
        except OSError:
            pass  # Windows allows links to administrators alone
        for what, path in places.items():
            calls: tuple[Callable[[Path], object], ...] = (self._read, self.reader.channels)
            for call in calls:
                self._refused(what, partial(call, path))
            self._attempt(f"state of {what}", partial(self.reader.state, path), damaged=True)

    def nothing_held(self) -> None:
        """Whether the file is still open or mapped; on Windows it could then not be removed."""
        gc.collect()
        held = [link for link in _open_paths() if link.startswith(str(self.path.parent))]
        self._expect(not held, f"still open or mapped after all calls: {held}")
        try:
            self.path.unlink()
        except OSError as error:
            self._expect(False, f"the file cannot be removed after reading: {error}")

    def _read(self, path: Path) -> Frame:
        return self.reader.read(path, self.options)

    def _again(self) -> Frame:
        return self._read(self.path)

    def _expect(self, holds: bool, problem: str) -> None:
        if not holds:
            self.problems.append(problem)

    def _look_at(self, what: str, frame: Frame, path: Path) -> None:
        self.problems.extend(f"{what}: {problem}" for problem in frame_problems(frame, self.reader, path))

    def _attempt(self, what: str, call: Callable[[], T], *, damaged: bool = False) -> T | None:
        try:
            return call()
        except FrameError as error:
            self._expect(damaged, f"{what}: {error}")
            self._explained(what, error)
        except Exception as error:  # noqa: BLE001 - finding out what a reader raises is what this is for
            self.problems.append(f"{what} raises {type(error).__name__}: {error}")
        return None

    def _refused(self, what: str, call: Callable[[], object]) -> FrameError | None:
        try:
            call()
        except FrameError as error:
            self._explained(what, error)
            return error
        except Exception as error:  # noqa: BLE001 - as above
            self.problems.append(f"{what} raises {type(error).__name__}: {error}")
            return None
        self.problems.append(f"{what} is read without an error")
        return None

    def _explained(self, what: str, error: FrameError) -> None:
        whole = error.ref.source and error.stage and error.reason
        self._expect(bool(whole), f"{what}: the error lacks its file, stage or reason")

    def _bounded(self, what: str, path: Path) -> Frame | None:
        """Read a damaged file; report what it may not do."""
        tracemalloc.start()
        try:
            frame = self._attempt(what, lambda: self._read(path), damaged=True)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        bound = self.memory + 4 * path.stat().st_size
        self._expect(peak <= bound, f"{what} takes {peak // _MIB} MiB, {bound // _MIB} are allowed")
        if frame is not None:
            self._look_at(what, frame, path)
        return frame

    def _same_where_finite(self, what: str, frame: Frame, whole: Frame) -> None:
        if frame.ref.channel != whole.ref.channel:
            return  # the channel that would be chosen is cut off
        self._expect(frame.geometry == whole.geometry, f"{what}: another geometry, {frame.geometry}")
        if frame.data.shape == whole.data.shape:
            there = np.isfinite(frame.data)
            self._expect(np.array_equal(frame.data[there], whole.data[there]), f"{what}: other values")

    def _variant(self, content: bytes) -> _Replaced:
        return _Replaced(self.path, content)


@dataclass
class _Replaced:
    """Puts other content into the file for a while, so that its name and companions stay."""

    path: Path
    content: bytes
    original: bytes = b""

    def __enter__(self) -> Path:
        self.original = self.path.read_bytes()
        self.path.write_bytes(self.content)
        return self.path

    def __exit__(self, *_: object) -> None:
        self.path.write_bytes(self.original)


def _open_paths() -> Iterator[str]:
    """Files that this process holds open or mapped, where the system tells (Linux)."""
    if sys.platform != "linux":
        return
    for number in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not files
        try:
            yield os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115 - as above
        except OSError:
            continue  # the handle of the listing itself
    for line in Path("/proc/self/maps").read_text().splitlines():
        yield line.split(maxsplit=5)[5] if line.count("/") else ""
