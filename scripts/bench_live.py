"""Recognition of a frame in progress: what an update costs, against its new lines and against the size of the frame."""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from bench_result import Line, percentile
from numpy.typing import NDArray

if TYPE_CHECKING:
    from spm_live.detect import Detector
    from spm_live.domain import FrameInfo, ModelInput
    from spm_live.scanning import LiveMap

SIDE = 512
NEW_LINES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
TALL = (512, 1024, 2048)
UPDATES = 12
"""Updates of one line, in a row, of which the median counts; the last ones of the frame but a few, so that every window
shows the model as much of the same scan, and only what lies before it differs."""
END = 30
"""How long before the end of the frame they begin."""
MOST_GROWTH = 1.2
"""An update in a frame four times as long may cost so much more: nothing, but for what measuring scatters by."""
GOAL_MS = 15.0


def measure(_folder: Path, arguments: argparse.Namespace) -> list[Line]:
    """The curve against new lines, the curve against the frame, and what is not the network."""
    from spm_live.detect import open_detector
    from spm_live.errors import SetupError
    from spm_live.settings import ModelSettings

    try:
        detector = open_detector(ModelSettings(name=arguments.model))
    except SetupError as error:
        return [Line("recognition of a frame in progress", None, note=str(error))]
    try:
        return [
            *against_new_lines(detector, arguments.rounds),
            *against_the_frame(detector, arguments.rounds),
            *without_the_network(detector),
        ]
    finally:
        detector.close()


def against_new_lines(detector: Detector, rounds: int) -> list[Line]:
    """Cost of one update of so many lines in a frame of 512 x 512 px."""
    counted = Counting(detector)
    lines, info = drawn(SIDE, detector)
    found = []
    for new in NEW_LINES:
        before = min(SIDE // 2 + 20, SIDE - new)  # not where molecules settle, so that one line shows one line
        spent, windows, molecules = [], 0, 0
        for _ in range(rounds):
            recognition = _recognition(counted, info, lines[:before])
            counted.windows = 0
            took_ms, live = _timed(recognition, lines[before : before + new])
            spent.append(took_ms)
            windows, molecules = counted.windows, len(live.molecules)
        note = f"{windows} windows; {molecules} molecules on the map"
        found.append(
            Line(f"update of {new} lines, {SIDE} x {SIDE} px, median", statistics.median(spent), "ms", note=note)
        )
    return found


def against_the_frame(detector: Detector, rounds: int) -> list[Line]:
    """Cost of an update of one line in frames of more and more lines, all of the same scan over and over."""
    spent: dict[int, list[float]] = {rows: [] for rows in TALL}
    for _ in range(rounds):
        for rows in TALL:
            lines, info = drawn(rows, detector)
            before = rows - END
            recognition = _recognition(detector, info, lines[:before])
            spent[rows] += [_timed(recognition, lines[i : i + 1])[0] for i in range(before, before + UPDATES)]
    medians = {rows: statistics.median(times) for rows, times in spent.items()}
    ratio = medians[TALL[-1]] / medians[TALL[0]]
    return [
        *(
            Line(f"update of 1 line, {rows} x {SIDE} px, median", value, "ms", note=f"{len(spent[rows])} updates")
            for rows, value in medians.items()
        ),
        Line(f"  {TALL[-1]} lines over {TALL[0]}", ratio, "times", MOST_GROWTH),
    ]


def without_the_network(detector: Detector) -> list[Line]:
    """A whole frame, line by line, with the network's answers kept from the time before."""
    lines, info = drawn(SIDE, detector)
    step = 4  # every line would take minutes of network; the answers are kept for each window that comes
    kept = Keeping(detector)
    _replay(kept, info, lines, step)
    kept.again()
    spent, live, recognition = _replay(kept, info, lines, step)
    began_s = time.perf_counter()
    recognition.preview_png()
    drew_ms = 1e3 * (time.perf_counter() - began_s)
    stages = "; ".join(f"{stage} {value:.1f}" for stage, value in live.timings_ms.items())
    what = f"everything but the network, {step} lines, {SIDE} x {SIDE} px"
    return [
        Line(f"{what}, median", statistics.median(spent), "ms", GOAL_MS, note=f"{len(live.molecules)} molecules"),
        Line(f"{what}, p95", percentile(spent, 0.95), "ms", note=f"last one, ms: {stages}"),
        Line(f"preview, {SIDE} x {SIDE} px", drew_ms, "ms"),
    ]


def drawn(rows: int, detector: Detector) -> tuple[NDArray[np.float32], FrameInfo]:
    """A drawn scan at the model's own pitch, as many times one below the other as it takes."""
    from spm_live.domain import FrameInfo, FrameRef, ScanGeometry, Trace
    from spm_live_drivers.synthetic import draw_scan

    size_nm = SIDE * (detector.manifest.input.nm_per_px or 0.1)
    scan = draw_scan((7, 0), rows=SIDE, columns=SIDE, size_nm=size_nm)
    geometry = ScanGeometry(rows, SIDE, (size_nm, size_nm * rows / SIDE))
    return np.tile(scan.heights, (-(-rows // SIDE), 1))[:rows], FrameInfo(
        FrameRef("drawn", "", "Z", Trace.FORWARD), geometry, "m"
    )


class Counting:
    """A detector that counts its calls."""

    def __init__(self, detector: Detector) -> None:
        self.manifest, self._detector = detector.manifest, detector
        self.windows = 0

    def detect(self, model_input: ModelInput) -> Any:
        """Find the molecules of one window."""
        self.windows += 1
        return self._detector.detect(model_input)

    def close(self) -> None:
        """The other one is closed by whoever opened it."""


class Keeping(Counting):
    """A detector that gives its answers once more, in the same order, in no time."""

    def __init__(self, detector: Detector) -> None:
        super().__init__(detector)
        self._answers: list[Any] = []
        self._next: int | None = None

    def again(self) -> None:
        """From now on the answers come from memory."""
        self._next = 0

    def detect(self, model_input: ModelInput) -> Any:
        """Find the molecules of one window, or remember them."""
        if self._next is None:
            self._answers.append(super().detect(model_input))
            return self._answers[-1]
        self._next += 1
        return self._answers[self._next - 1]


def _recognition(detector: Any, info: FrameInfo, lines: NDArray[np.float32]) -> Any:
    from spm_live.live.recognition import LiveRecognition

    recognition = LiveRecognition(detector, info)
    recognition.advance(lines)
    return recognition


def _timed(recognition: Any, lines: NDArray[np.float32]) -> tuple[float, LiveMap]:
    began_s = time.perf_counter()
    live = recognition.advance(lines)
    return 1e3 * (time.perf_counter() - began_s), live


def _replay(detector: Any, info: FrameInfo, lines: NDArray[np.float32], step: int) -> tuple[list[float], LiveMap, Any]:
    """All updates of a frame: how long each took, the last map, and who made it."""
    recognition = _recognition(detector, info, lines[:0])
    spent, live = [], None
    for first in range(0, len(lines), step):
        took_ms, live = _timed(recognition, lines[first : first + step])
        spent.append(took_ms)
    if live is None:
        raise ValueError("no lines")
    return spent, live, recognition
