"""The example of the wire format's page is a sender that spm-live takes frames from."""

from __future__ import annotations

import queue
import re
from pathlib import Path

import zmq

from spm_live.settings import ZeroMQSettings
from spm_live.sources import Arrival
from spm_live.sources.zeromq import ZeroMQSource
from spm_live_drivers.registry import read_frame

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "wire-format.md"


def test_the_example_sends_a_frame(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    arrivals: queue.Queue[Arrival] = queue.Queue()
    source = ZeroMQSource(ZeroMQSettings(endpoint="tcp://127.0.0.1:*"), tmp_path)
    source.start(arrivals.put, lambda fault: None, lambda path, size, mtime_ns: False)
    names: dict[str, object] = {}
    try:
        assert "tcp://127.0.0.1:5650" in example
        exec(example.replace("tcp://127.0.0.1:5650", source.endpoint), names)
        frame = read_frame(arrivals.get(timeout=20).path)
    finally:
        socket = names["socket"]
        assert isinstance(socket, zmq.Socket)
        socket.close(linger=0)
        zmq.Context.instance().term()
        source.stop()
    assert names["answer"]["result"] == "kept"  # type: ignore[index]
    assert frame.data.shape == (256, 256)
    assert not frame.info.partial
    assert frame.ref.source.startswith("home-built STM/")
