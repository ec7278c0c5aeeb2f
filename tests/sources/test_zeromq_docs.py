"""The examples of the wire format's page are senders that spm-live takes frames from."""

from __future__ import annotations

import queue
import re
from pathlib import Path

import numpy as np
import zmq

from spm_live.settings import ZeroMQSettings
from spm_live.sources import Arrival
from spm_live.sources.zeromq import ZeroMQSource
from spm_live_drivers.growing import GrowingEvent, GrowingFrame, ScanEnd, ScanLines, ScanOutcome, ScanStart
from spm_live_drivers.registry import read_frame

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "wire-format.md"


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def run(example: str, source: ZeroMQSource, names: dict[str, object]) -> None:
    """Run an example against a source."""
    assert "tcp://127.0.0.1:5650" in example
    try:
        exec(example.replace("tcp://127.0.0.1:5650", source.endpoint), names)
    finally:
        socket = names["socket"]
        assert isinstance(socket, zmq.Socket)
        socket.close(linger=0)
        zmq.Context.instance().term()


def test_the_example_sends_a_frame(tmp_path: Path) -> None:
    example, _ = examples()
    arrivals: queue.Queue[Arrival] = queue.Queue()
    source = ZeroMQSource(ZeroMQSettings(endpoint="tcp://127.0.0.1:*"), tmp_path)
    source.start(arrivals.put, lambda fault: None, lambda path, size, mtime_ns: False)
    names: dict[str, object] = {}
    try:
        run(example, source, names)
        frame = read_frame(arrivals.get(timeout=20).path)
    finally:
        source.stop()
    assert names["answer"]["result"] == "kept"  # type: ignore[index]
    assert frame.data.shape == (256, 256)
    assert not frame.info.partial
    assert frame.ref.source.startswith("home-built STM/")


class Board:
    """Follows one scan, and forgets it once in its middle, as a daemon does that is restarted."""

    def __init__(self) -> None:
        self.growing: GrowingFrame | None = None
        self.rows: dict[int, bytes] = {}
        self.end: ScanEnd | None = None
        self.starts = 0

    def tell(self, source: str, sender: str, event: GrowingEvent) -> bool:
        assert sender == "home-built STM"
        if isinstance(event, ScanStart):
            self.growing, self.starts = GrowingFrame(event), self.starts + 1
        elif isinstance(event, ScanLines):
            if self.starts == 1 and event.first_row == 20:
                self.growing = None
            if self.growing is None:
                return False
            self.growing.add(event)
            for row, line in enumerate(event.forward, event.first_row):
                assert self.rows.setdefault(row, line.tobytes()) == line.tobytes()
        else:
            self.end = event
        return True


def test_the_other_example_sends_a_frame_line_by_line_also_to_a_receiver_that_is_restarted(tmp_path: Path) -> None:
    _, example = examples()
    assert len([line for line in example.splitlines() if line.strip()]) <= 31
    board, names = Board(), dict[str, object]()
    source = ZeroMQSource(ZeroMQSettings(endpoint="tcp://127.0.0.1:*"), tmp_path, tell=board.tell)
    source.start(lambda arrival: None, lambda fault: None, lambda path, size, mtime_ns: False)
    try:
        run(example, source, names)
        counters = source.status().counters
    finally:
        source.stop()
    assert board.starts == 2
    assert board.end == ScanEnd("frame 0001", ScanOutcome.FINISHED)
    assert board.growing is not None
    assert (board.growing.lines_done, board.growing.lines_missing) == (64, 0)
    frame = board.growing.frame()
    assert not np.isnan(frame.data).any()
    assert frame.data.tobytes() == b"".join(board.rows[row] for row in range(64))
    assert frame.geometry.size_nm == (30.0, 20.0)
    assert (counters["malformed"], counters["gaps"], counters["live_unknown"], counters["live_refused"]) == (0, 0, 1, 0)
