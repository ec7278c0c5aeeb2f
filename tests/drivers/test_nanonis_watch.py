"""Watching a controller: against a scripted one over loopback, with a clock that the test turns."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import numpy as np
import pytest
from scan_bench import HandClock

from spm_live_drivers.contract import ScanDirection
from spm_live_drivers.growing import GrowingEvent, GrowingFrame, ScanEnd, ScanLines, ScanOutcome, ScanStart
from spm_live_drivers.nanonis.calls import ALLOWED
from spm_live_drivers.nanonis.watch import ScanWatch

GOOD = struct.pack(">Ii", 0, 0)
LINES, COLUMNS = 6, 32
SHORT_S = 0.2
"""Time-out of a watch whose controller is not going to answer."""


def string(text: str) -> bytes:
    return struct.pack(">i", len(text.encode())) + text.encode()


class RefusedError(Exception):
    """The call is answered with an error."""


class GoneError(Exception):
    """The connection is closed instead of an answer."""


class Controller:
    """A controller whose scan a test moves on line by line."""

    def __init__(self, *, by_slot: bool = False) -> None:
        rng = np.random.default_rng(3)
        slope = np.linspace(0, 1, COLUMNS)
        self.truth = (slope + rng.normal(size=(LINES, 1)) + 0.1 * rng.normal(size=(LINES, COLUMNS))).astype(np.float32)
        self.names = [f"Input {number} (V)" for number in range(128)]
        self.names[0], self.names[30] = "Current (A)", "Z (m)"
        self.recorded = {0: "Current (A)", 5: "Z (m)"} if by_slot else {0: "Current (A)", 30: "Z (m)"}
        self.release = 10771 if by_slot else 13742
        self.frame = [1e-9, 2e-9, 20e-9, 10e-9, 15.0]
        self.line_s = 2.0
        self.running = False
        self.done = 0
        self.saved = ""
        self.up = False
        self.asked: list[str] = []
        self.grabbed: list[int] = []
        self.instead: dict[str, Callable[[bytes], bytes]] = {}
        self.quiet = threading.Event()
        self._served: list[tuple[threading.Thread, socket.socket]] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.listen()

    # --- what it answers ---------------------------------------------------------------------------------------------

    def answer(self, name: str, body: bytes) -> bytes:
        if name in self.instead:
            return self.instead[name](body)
        match name:
            case "Scan.StatusGet":
                return struct.pack(">I", self.running)
            case "Scan.WaitEndOfScan":
                saved, self.saved = self.saved, ""
                return struct.pack(">I", not saved) + string(saved)
            case "Scan.WaitEndOfLine":
                return struct.pack(">IiHi", 1, 0, 0, 0)
            case "Scan.FrameGet":
                return struct.pack(">5f", *self.frame)
            case "Scan.BufferGet":
                numbers = list(self.recorded)
                return struct.pack(f">i{len(numbers)}iii", len(numbers), *numbers, COLUMNS, LINES)
            case "Scan.FrameDataGrab":
                number, forward = struct.unpack(">II", body)
                self.grabbed.append(number)
                if number not in self.recorded:
                    raise RefusedError("not recorded")
                return string(self.recorded[number]) + self.data(forward == 1) + struct.pack(">I", self.up)
            case "Scan.SpeedGet":
                return struct.pack(">4fHf", 1e-8, 1e-8, self.line_s / 2, self.line_s / 2, 0, 1.0)
            case "Signals.NamesGet":
                texts = b"".join(map(string, self.names))
                return struct.pack(">ii", len(texts), len(self.names)) + texts
            case "Util.SessionPathGet":
                return string("D:\\today")
            case "Util.VersionGet":
                return string("Nanonis") + string("Generic 5") + struct.pack(">II", self.release, self.release)
        raise RefusedError(f"{name} is not known")

    def data(self, forward: bool) -> bytes:
        seen = np.full((LINES, COLUMNS), np.nan, dtype=np.float32)
        in_order = seen[::-1] if self.up else seen
        in_order[: self.done] = self.truth[: self.done] + (0 if forward else 0.001)
        return struct.pack(">ii", LINES, COLUMNS) + seen.astype(">f4").tobytes()

    def rows(self) -> np.ndarray:
        return self.truth[::-1] if self.up else self.truth

    # --- its server --------------------------------------------------------------------------------------------------

    def listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        thread = threading.Thread(target=self._accept, args=(self._listener,))
        thread.start()
        self._served.append((thread, self._listener))

    def leave(self) -> None:
        """Close everything; :meth:`listen` brings it back."""
        self.quiet.set()
        for thread, opened in self._served:
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()
            thread.join(10)
        self._served.clear()
        self.quiet.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._served.append((thread, connection))
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, GoneError), connection:
            while header := connection.recv(40, socket.MSG_WAITALL):
                name = header[:32].rstrip(b"\0").decode()
                size = struct.unpack(">i", header[32:36])[0]
                body = connection.recv(size, socket.MSG_WAITALL) if size else b""
                self.asked.append(name)
                try:
                    reply = self.answer(name, body) + GOOD
                except RefusedError as error:
                    text = str(error).encode()
                    reply = struct.pack(">Ii", 1, len(text)) + text
                connection.sendall(struct.pack(">32siI", name.encode(), len(reply), 0) + reply)


class Session:
    """A watch, its clock, and what it has told."""

    def __init__(self, controller: Controller, **options: object) -> None:
        self.controller, self.clock = controller, HandClock(100.0)
        self.watch = ScanWatch(
            "127.0.0.1",
            controller.port,
            sender="stm",
            clock=self.clock,
            now=lambda: datetime(2026, 11, 4, 12, tzinfo=UTC),
            **{"poll_s": 0.1, **options},  # type: ignore[arg-type]
        )
        self.events: list[GrowingEvent] = []
        self.faults: list[str] = []
        self.frames: dict[str, GrowingFrame] = {}

    def poll(self, wait_s: float | None = None) -> list[GrowingEvent]:
        """Poll when it is due, or after a time."""
        self.clock.now += self.watch.next_poll_s if wait_s is None else wait_s
        new = self.watch.poll()
        self.events += new
        self.faults += self.watch.faults()
        for event in new:
            if isinstance(event, ScanStart):
                self.frames[event.scan] = GrowingFrame(event)
            elif isinstance(event, ScanLines):
                self.frames[event.scan].add(event)
        return new

    def scan(self, lines: int = LINES, first: int = 0) -> None:
        """Let the controller scan, and poll once a line."""
        self.controller.running = True
        for line in range(first, lines + 1):
            self.controller.done = line
            self.poll(3.0)

    @property
    def starts(self) -> list[ScanStart]:
        return [event for event in self.events if isinstance(event, ScanStart)]

    @property
    def ends(self) -> list[ScanEnd]:
        return [event for event in self.events if isinstance(event, ScanEnd)]

    def done(self, scan: int = -1) -> int:
        return list(self.frames.values())[scan].lines_done if self.frames else 0


Begin = Callable[..., Session]


@pytest.fixture
def begin() -> Iterator[Begin]:
    with contextlib.ExitStack() as stack:

        def session(*, by_slot: bool = False, **options: object) -> Session:
            controller = Controller(by_slot=by_slot)
            stack.callback(controller.leave)
            made = Session(controller, **options)
            stack.callback(made.watch.close)
            return made

        yield session


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("by_slot", [False, True])
def test_a_scan_is_told_from_its_start_to_the_file_it_was_saved_in(begin: Begin, up: bool, by_slot: bool) -> None:
    session = begin(by_slot=by_slot)
    controller = session.controller
    controller.up = up
    assert session.poll() == []
    session.scan()
    controller.saved = "D:\\today\\scan0001.sxm"
    session.poll()
    controller.running = False
    session.poll()
    [start], [end] = session.starts, session.ends
    info = start.info
    assert start.backward
    assert start.line_time_s == 2.0
    assert info.geometry.size_nm == (20.0, 10.0)
    assert info.geometry.center_nm == (1.0, 2.0)
    assert info.geometry.angle_deg == 15.0
    assert (info.geometry.rows, info.geometry.columns) == (LINES, COLUMNS)
    assert info.unit == "m"
    assert info.ref.channel == "Z"
    assert info.ref.source == f"stm/{start.scan}"
    assert info.direction is (ScanDirection.UP if up else ScanDirection.DOWN)
    assert info.format == "nanonis-tcp"
    assert info.instrument == f"Nanonis Generic 5 R{controller.release}"
    assert info.metadata == {"Session path": "D:\\today"}
    assert info.started == datetime(2026, 11, 4, 12, tzinfo=UTC)
    np.testing.assert_array_equal(session.frames[start.scan].frame().data, controller.rows())
    assert end == ScanEnd(start.scan, ScanOutcome.FINISHED, "D:\\today\\scan0001.sxm")
    assert session.faults == []
    assert session.watch.trouble == ""


def test_nothing_but_what_reads_is_asked_during_a_whole_scan(begin: Begin) -> None:
    session = begin()
    session.poll()
    session.scan()
    session.controller.running = False
    session.poll()
    asked = Counter(session.controller.asked)
    assert set(asked) == {call.name for call in ALLOWED}
    grabs = asked["Scan.FrameDataGrab"]
    assert grabs <= 2 * (LINES + 2) + 1, "both traces once a line, once at the end, and once to find the channel"


def test_data_are_asked_for_at_most_once_a_line_however_often_one_polls(begin: Begin) -> None:
    session = begin()
    session.controller.running = True
    for step in range(400):
        session.controller.done = min(step // 80, LINES)
        session.poll(0.025)
    asked = Counter(session.controller.asked)
    lines = 400 * 0.025 / session.controller.line_s
    assert 2 * (lines - 2) <= asked["Scan.FrameDataGrab"] <= 2 * (lines + 1) + 1
    assert session.done() == 4


def test_data_are_not_asked_for_more_often_while_the_end_is_waited_for(begin: Begin) -> None:
    session = begin()
    session.poll()
    session.scan(LINES - 1)
    before = session.controller.asked.count("Scan.FrameDataGrab")
    waits = session.controller.asked.count("Scan.WaitEndOfScan")
    for _ in range(200):  # 10 s, five lines
        session.poll(0.05)
    assert session.controller.asked.count("Scan.FrameDataGrab") - before <= 2 * 6
    assert session.controller.asked.count("Scan.WaitEndOfScan") - waits >= 30


@pytest.mark.parametrize("how", ["refused", "closed", "silent"])
def test_a_controller_without_wait_end_of_line_is_polled(begin: Begin, how: str) -> None:
    session = begin(timeout_s=1.0)
    controller = session.controller

    def no_such_call(body: bytes) -> bytes:
        if how == "refused":
            raise RefusedError("unknown function")
        if how == "silent":
            controller.quiet.wait(10)
        raise GoneError

    controller.instead["Scan.WaitEndOfLine"] = no_such_call
    session.poll()
    controller.running = True
    for line in range(LINES + 1):
        controller.done = line
        session.poll(3.0)
    assert session.done() == LINES
    assert controller.asked.count("Scan.WaitEndOfLine") == (1 if how == "refused" else 2)
    assert any("Scan.WaitEndOfLine is done without" in fault for fault in session.faults)


def test_the_end_of_a_line_brings_a_look_at_once(begin: Begin) -> None:
    session = begin()
    controller = session.controller
    movements = iter([(1, 0), (1, 1)] * 20)  # every line ends twice: forward, then backward

    def wait(body: bytes) -> bytes:
        line, movement = next(movements)
        return struct.pack(">IiHi", 0, line, movement, 1)

    session.poll()
    session.scan(2)
    controller.instead["Scan.WaitEndOfLine"] = wait
    controller.done = 3
    session.poll(session.watch.next_poll_s)
    assert session.done() == 3
    waits = controller.asked.count("Scan.WaitEndOfLine")
    controller.done = 4
    session.poll(session.watch.next_poll_s)
    assert session.done() == 4
    assert controller.asked.count("Scan.WaitEndOfLine") == waits + 2


def test_a_controller_that_comes_back_goes_on_with_the_same_scan(begin: Begin) -> None:
    session = begin()
    session.poll()
    session.scan(3)
    session.controller.leave()
    pauses = []
    for _ in range(5):
        session.poll()
        pauses.append(session.watch.next_poll_s)
        assert session.watch.trouble
    assert pauses == sorted(pauses)
    assert pauses[-1] > 4 * pauses[0]
    session.controller.listen()
    session.controller.done = 4
    session.poll()
    assert session.watch.trouble == ""
    session.scan(first=5)
    assert len(session.starts) == 1
    assert session.ends == []
    assert session.done() == LINES
    assert len([fault for fault in session.faults if "connection" in fault]) <= 2, "trouble that goes on is told once"


def test_a_controller_that_comes_back_may_number_its_channels_otherwise(begin: Begin) -> None:
    session = begin()
    controller = session.controller
    session.poll()
    session.scan(3)
    controller.leave()
    session.poll()
    controller.recorded, controller.release = {2: "Z (m)", 30: "Current (A)"}, 10771
    controller.listen()
    controller.done = 4
    session.poll()
    assert session.watch.trouble == ""
    assert session.done() == 4
    assert len(session.starts) == 1


def test_a_controller_that_comes_back_with_another_scan_has_lost_the_one_before(begin: Begin) -> None:
    session = begin()
    session.poll()
    session.scan(3)
    session.controller.leave()
    session.poll()
    session.controller.listen()
    session.controller.truth = session.controller.truth + np.float32(1)
    session.scan(3, first=1)
    first, second = session.starts
    assert session.ends == [ScanEnd(first.scan, ScanOutcome.LOST)]
    assert first.scan != second.scan
    np.testing.assert_array_equal(session.frames[second.scan].lines(0)[0], session.controller.truth[:3])


def test_a_scan_is_lost_in_the_end_if_the_controller_stays_away(begin: Begin) -> None:
    session = begin()
    session.poll()
    session.scan(3)
    session.controller.leave()
    for _ in range(30):
        session.poll(20.0)
    assert [end.outcome for end in session.ends] == [ScanOutcome.LOST]


def test_a_reply_that_never_comes_ends_the_poll_and_is_trouble(begin: Begin) -> None:
    session = begin(timeout_s=SHORT_S)
    controller = session.controller

    def silent(body: bytes) -> bytes:
        controller.quiet.wait(10)
        raise GoneError

    session.poll()
    session.scan(2)
    controller.instead["Scan.FrameDataGrab"] = silent
    assert session.poll(3.0) == []
    assert "no whole reply in time" in session.watch.trouble
    del controller.instead["Scan.FrameDataGrab"]
    controller.done = 3
    session.poll(3.0)
    assert session.watch.trouble == ""
    assert session.done() == 3


def test_a_mix_up_of_channels_is_refused_and_the_channel_found_again(begin: Begin) -> None:
    session = begin(by_slot=True)
    controller = session.controller
    session.poll()
    session.scan(3)
    controller.recorded = {0: "Z (m)", 5: "Current (A)"}  # somebody has exchanged the slots
    controller.instead["Scan.BufferGet"] = lambda body: struct.pack(">i2iii", 2, 0, 5, COLUMNS, LINES)
    controller.done = 4
    assert session.poll(3.0) == []
    assert "was Z (m) and its data are now of Current (A)" in session.watch.trouble
    session.poll(3.0)
    assert session.watch.trouble == ""
    assert session.done() == 4
    assert len(session.starts) == 1


def test_a_channel_that_is_not_recorded_is_trouble_with_a_way_out(begin: Begin) -> None:
    for by_slot in (False, True):
        session = begin(by_slot=by_slot, channel="OC M1 Freq. Shift")
        session.controller.running = True
        session.poll()
        assert "no signal 'OC M1 Freq. Shift'; recorded are Current (A), Z (m)" in session.watch.trouble
        session.controller.names[76] = "OC M1 Freq. Shift (Hz)"
        session.watch._finder.forget()
        session.poll()
        assert "is not recorded: add it in the Scan module" in session.watch.trouble
        # By index it is known beforehand what a number stands for; what stands in a slot shows in its data.
        assert set(session.controller.grabbed) == ({0, 5} if by_slot else set())


def test_the_index_of_another_channel_is_not_taken_for_a_slot(begin: Begin) -> None:
    session = begin(by_slot=True)
    controller = session.controller
    controller.recorded = {3: "Z (m)", 9: "Current (A)"}
    controller.names[9], controller.names[30] = "Z (m)", "Input 30 (V)"
    session.poll()
    session.scan(3)
    assert set(controller.grabbed) == {3}
    assert session.done() == 3


def test_a_scan_whose_channel_is_gone_is_lost_and_does_not_hang(begin: Begin) -> None:
    session = begin()
    session.poll()
    session.scan(3)
    del session.controller.recorded[30]
    for _ in range(8):
        session.poll()
    assert [end.outcome for end in session.ends] == [ScanOutcome.LOST]
    assert "'Z' is not recorded" in session.watch.trouble


def test_without_a_version_the_channel_is_found_by_trying(begin: Begin) -> None:
    for by_slot in (False, True):
        session = begin(by_slot=by_slot)

        def unknown(body: bytes) -> bytes:
            raise RefusedError("unknown function")

        session.controller.instead["Util.VersionGet"] = unknown
        session.controller.instead["Util.SessionPathGet"] = unknown
        session.poll()
        session.scan(3)
        assert session.done() == 3
        assert session.starts[0].info.metadata == {}


def test_a_frame_that_changes_while_it_is_read_is_not_used(begin: Begin) -> None:
    session = begin()
    controller = session.controller
    session.poll()
    session.scan(3)
    plain = controller.data
    controller.done = 4

    def moved(forward: bool) -> bytes:
        controller.frame[4] = 90.0
        return plain(forward)

    controller.data = moved  # type: ignore[method-assign]
    assert session.poll(3.0) == []
    assert any("changed while it was read" in fault for fault in session.faults)
    controller.data = plain  # type: ignore[method-assign]
    session.poll(3.0)
    assert session.ends == [ScanEnd(session.starts[0].scan, ScanOutcome.STOPPED)]
    assert session.done() == 3, "line 3 may be of either frame"
    controller.done = 6
    session.poll(3.0)
    assert session.starts[1].info.geometry.angle_deg == 90.0
    rows = session.frames[session.starts[1].scan].frame().data
    assert np.isnan(rows[:4]).all()


def test_a_shape_that_does_not_fit_the_buffer_is_trouble_that_lasts(begin: Begin) -> None:
    session = begin()
    session.controller.running = True
    session.controller.data = lambda forward: struct.pack(">ii", 2, 2) + bytes(16)  # type: ignore[method-assign]
    for _ in range(6):
        assert session.poll(3.0) == []
    assert "data of 2 x 2 px, the frame has 6 x 32" in session.watch.trouble


def test_a_buffer_without_data_is_no_scan_yet(begin: Begin) -> None:
    session = begin()
    session.controller.running = True
    session.controller.data = lambda forward: struct.pack(">ii", 0, 0)  # type: ignore[method-assign]
    session.poll(3.0)
    session.poll(3.0)
    assert session.events == []
    assert session.watch.trouble == ""


def test_fields_of_a_later_release_are_told_once(begin: Begin) -> None:
    session = begin()
    controller = session.controller
    controller.instead["Scan.SpeedGet"] = lambda body: struct.pack(">4fHf", 1, 1, 1, 1, 0, 1) + b"more"
    session.poll()
    session.scan()
    assert [fault for fault in session.faults if "4 bytes more" in fault] == [
        "Scan.SpeedGet tells 4 bytes more than is known here; they are passed over"
    ]
    assert session.done() == LINES


def test_a_path_that_was_told_before_is_not_that_of_the_next_scan(begin: Begin) -> None:
    session = begin()
    controller = session.controller
    for _ in range(2):
        controller.done = 0
        session.poll(3.0)
        session.scan()
        controller.running = False
        controller.saved = "D:\\same.sxm"
        session.poll(3.0)
    assert [end.saved_as for end in session.ends] == ["D:\\same.sxm", ""]


def test_polls_that_come_too_early_ask_nothing(begin: Begin) -> None:
    session = begin()
    session.poll()
    asked = len(session.controller.asked)
    for _ in range(10):
        assert session.watch.poll() == []
    assert len(session.controller.asked) == asked
    assert session.watch.next_poll_s > 0
