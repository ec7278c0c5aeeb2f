"""Two clients of other people read the simulated controller: it is no mirror of our own client."""

from __future__ import annotations

import contextlib
import io
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scan_bench import HandClock

from spm_live_drivers.contract import ReadOptions, ScanDirection, Trace
from spm_live_drivers.formats.nanonis_sxm import NanonisSxmReader
from spm_live_drivers.simulate import ControllerOptions, ScanPlan, SimulatedController, SimulatedInstrument

nanonis_tcp = pytest.importorskip("nanonisTCP", reason="nanonisTCP is not installed")
nanonis_spm = pytest.importorskip("nanonis_spm", reason="nanonis_spm is not installed")
from nanonisTCP.FolMe import FolMe  # noqa: E402
from nanonisTCP.Scan import Scan  # noqa: E402
from nanonisTCP.Signals import Signals  # noqa: E402
from nanonisTCP.Util import Util  # noqa: E402

PX = 64
PLAN = ScanPlan(pixels=PX, size_nm=20.0, line_time_s=1.0, seed=4)


class Bench:
    """A controller on a clock that is stepped by hand."""

    def __init__(self, folder: Path, options: ControllerOptions, frames: int | None) -> None:
        self.clock = HandClock(1000.0)
        self.instrument = SimulatedInstrument(folder, replace(PLAN, frames=frames))
        self.controller = SimulatedController(self.instrument, options, clock=self.clock)

    def to_line(self, lines: float, frame: int = 1) -> None:
        self.controller.step()  # the step after the one that ended a frame begins the next
        self.clock.now = 1000.0 + (frame - 1) * PX + lines
        self.controller.step()


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    with contextlib.ExitStack() as stack:

        def make(frames: int | None = 2, **options: Any) -> Bench:
            bench = Bench(tmp_path, ControllerOptions(**options), frames)
            stack.enter_context(bench.controller)
            bench.controller.step()
            return bench

        yield make


class TcpClient:
    """nanonisTCP 1.1.5 behind the calls that this test makes."""

    def __init__(self, port: int) -> None:
        self._connection = nanonis_tcp.nanonisTCP("127.0.0.1", port, max_buf_size=1 << 16)
        self.scan, self.close = Scan(self._connection), self._connection.close_connection

    def running(self) -> bool:
        return bool(self.scan.StatusGet())

    def frame(self) -> list[float]:
        return list(self.scan.FrameGet())

    def buffer(self) -> tuple[list[int], int, int]:
        _, indices, pixels, lines = self.scan.BufferGet()
        return indices, pixels, lines

    def speed(self) -> list[float]:
        return list(self.scan.SpeedGet())

    def data(self, channel: int, direction: int) -> tuple[str, np.ndarray, bool]:
        name, data, way = self.scan.FrameDataGrab(channel, direction)
        return name, data, way == "up"

    def end_of_scan(self, timeout_ms: int) -> tuple[bool, str]:
        timed_out, _, path = self.scan.WaitEndOfScan(timeout_ms)
        return bool(timed_out), path

    def names(self) -> list[str]:
        return list(Signals(self._connection).NamesGet())

    def session(self) -> str:
        return str(Util(self._connection).SessionPathGet())


class SpmClient:
    """nanonis_spm 1.0.9 (of the maker) behind the same calls."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._client = nanonis_spm.Nanonis(self._socket)
        self.close = self._socket.close

    def _ask(self, call: Callable[..., Any], *arguments: int) -> list[Any]:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            error, _, values = call(*arguments)
        assert error == ""
        assert said.getvalue() == ""
        return list(values)

    def running(self) -> bool:
        return self._ask(self._client.Scan_StatusGet)[0] == 1

    def frame(self) -> list[float]:
        return self._ask(self._client.Scan_FrameGet)

    def buffer(self) -> tuple[list[int], int, int]:
        _, indices, pixels, lines = self._ask(self._client.Scan_BufferGet)
        return [index for (index,) in indices], pixels, lines

    def speed(self) -> list[float]:
        return self._ask(self._client.Scan_SpeedGet)

    def data(self, channel: int, direction: int) -> tuple[str, np.ndarray, bool]:
        _, name, _, _, data, up = self._ask(self._client.Scan_FrameDataGrab, channel, direction)
        return name, np.asarray(data), up == 1

    def end_of_scan(self, timeout_ms: int) -> tuple[bool, str]:
        timed_out, _, path = self._ask(self._client.Scan_WaitEndOfScan, timeout_ms)
        return timed_out == 1, path

    def names(self) -> list[str]:
        return list(self._ask(self._client.Signals_NamesGet)[2])

    def session(self) -> str:
        return str(self._ask(self._client.Util_SessionPathGet)[1])


@pytest.fixture(params=[TcpClient, SpmClient])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[[Bench], Any]]:
    with contextlib.ExitStack() as stack:

        def make(bench: Bench) -> Any:
            client = request.param(bench.controller.address[1])
            stack.callback(client.close)
            return client

        yield make


def test_a_client_reads_what_the_scan_is(make_bench: Callable[..., Bench], connect: Callable[[Bench], Any]) -> None:
    bench = make_bench()
    client = connect(bench)
    geometry = bench.instrument.scan(1).geometry
    metres = [value * 1e-9 for value in (*geometry.center_nm, *geometry.size_nm)]
    assert client.running()
    assert client.frame() == pytest.approx([*metres, 0.0], rel=1e-6)
    assert client.buffer() == ([30, 0], PX, PX)
    assert client.speed() == pytest.approx([40e-9, 40e-9, 0.5, 0.5, 1, 1.0])
    names = client.names()
    assert len(names) == 128
    assert (names[30], names[0]) == ("Z (m)", "Current (A)")
    assert client.session() == str(bench.instrument.folder.absolute())


def test_the_picture_grows_down_in_pieces_of_16_pixels(
    make_bench: Callable[..., Bench], connect: Callable[[Bench], Any]
) -> None:
    bench = make_bench()
    client = connect(bench)
    true = bench.instrument.scan(1)
    assert true.direction is ScanDirection.DOWN
    assert np.isnan(client.data(30, 1)[1]).all()

    bench.to_line(10 + 0.2)  # two fifths of the forward trace: 25.6 pixels, of which 16 have come
    name, forward, up = client.data(30, 1)
    expected = np.full((PX, PX), np.nan, np.float32)
    expected[:10] = true.heights[:10]
    expected[10, :16] = true.heights[10, :16]
    assert (name, up) == ("Z (m)", False)
    np.testing.assert_array_equal(forward, expected)

    bench.to_line(10 + 0.75)  # half of the backward trace, which runs to the left
    expected[10] = true.heights[10]
    np.testing.assert_array_equal(client.data(30, 1)[1], expected)
    expected = np.full((PX, PX), np.nan, np.float32)
    expected[:10] = true.heights_backward[:10]
    expected[10, 32:] = true.heights_backward[10, 32:]
    np.testing.assert_array_equal(client.data(30, 0)[1], expected[:, ::-1])


def test_an_up_scan_grows_from_the_bottom(make_bench: Callable[..., Bench], connect: Callable[[Bench], Any]) -> None:
    bench = make_bench()
    client = connect(bench)
    bench.to_line(PX)
    bench.to_line(7.25, frame=2)
    true = bench.instrument.scan(2)
    assert true.direction is ScanDirection.UP
    expected = np.full((PX, PX), np.nan, np.float32)
    expected[-7:] = true.heights[-7:]
    expected[-8, :32] = true.heights[-8, :32]
    name, forward, up = client.data(30, 1)
    assert (name, up) == ("Z (m)", True)
    np.testing.assert_array_equal(forward, expected)


def test_a_whole_frame_is_the_saved_one(make_bench: Callable[..., Bench], connect: Callable[[Bench], Any]) -> None:
    bench = make_bench()
    client = connect(bench)
    bench.to_line(PX)
    for trace, direction in ((Trace.FORWARD, 1), (Trace.BACKWARD, 0)):
        for channel, index in (("Z", 30), ("Current", 0)):
            options = ReadOptions(channel=channel, trace=trace)
            saved = NanonisSxmReader().read(bench.instrument.path_of(1), options)
            data = client.data(index, direction)[1]
            np.testing.assert_array_equal(data if direction else data[:, ::-1], saved.data)


def test_the_old_slots_and_unmirrored_traces_can_be_had(
    make_bench: Callable[..., Bench], connect: Callable[[Bench], Any]
) -> None:
    bench = make_bench(release=2021, mirrored=False)
    client = connect(bench)
    assert client.buffer() == ([14, 0], PX, PX)
    bench.to_line(3)
    name, backward, _ = client.data(14, 0)
    assert name == "Z (m)"
    np.testing.assert_array_equal(backward[:3], bench.instrument.scan(1).heights_backward[:3])


def test_in_continuous_mode_the_old_frame_is_overwritten(
    make_bench: Callable[..., Bench], connect: Callable[[Bench], Any]
) -> None:
    bench = make_bench(continuous=True)
    client = connect(bench)
    bench.to_line(PX)
    bench.to_line(20, frame=2)
    expected = np.concatenate([bench.instrument.scan(1).heights[:-20], bench.instrument.scan(2).heights[-20:]])
    np.testing.assert_array_equal(client.data(30, 1)[1], expected)


def test_the_end_of_a_scan_comes_with_its_file(
    make_bench: Callable[..., Bench], connect: Callable[[Bench], Any]
) -> None:
    bench = make_bench(frames=None)
    client = connect(bench)
    assert client.end_of_scan(0) == (True, "")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.end_of_scan, -1)
        # Nobody knows when the request arrives; the first scan that ends after that ends the wait.
        for _ in range(2000):
            if waiting.done():
                break
            bench.clock.now += PX
            bench.controller.step()
        else:
            bench.controller.stop()
        timed_out, path = waiting.result(timeout=20)
    assert not timed_out
    assert Path(path) in bench.instrument.folder.iterdir()


def test_after_the_last_frame_nothing_runs(make_bench: Callable[..., Bench], connect: Callable[[Bench], Any]) -> None:
    bench = make_bench()
    client = connect(bench)
    bench.to_line(PX)
    bench.to_line(0, frame=2)
    bench.to_line(PX, frame=2)
    assert bench.controller.over
    assert not client.running()
    assert not np.isnan(client.data(30, 1)[1]).any()


def test_the_position_of_the_tip_is_on_its_line(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench()
    bench.to_line(16.25)
    client = nanonis_tcp.nanonisTCP("127.0.0.1", bench.controller.address[1])
    try:
        position = np.array(FolMe(client).XYPosGet(1)) * 1e9
    finally:
        client.close_connection()
    column, row = bench.instrument.scan(1).geometry.to_px(position[None])[0]
    assert (column, row) == pytest.approx((31.5, 16.0), abs=1e-6)


def test_the_properties_of_the_scan_can_be_read(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench(autosave=False)
    client = nanonis_tcp.nanonisTCP("127.0.0.1", bench.controller.address[1])
    try:
        continuous, bouncy, autosave, series, comment, modules, _ = Scan(client).PropsGet()
    finally:
        client.close_connection()
    assert (continuous, bouncy, autosave, series, comment, modules) == (1, 1, 2, "sim_", "simulated", [])
