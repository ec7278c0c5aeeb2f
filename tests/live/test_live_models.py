"""The shipped models on frames in progress: drawn ones, and a real one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from spm_live.detect import Detector, open_detector
from spm_live.domain import Frame, FrameInfo, FrameRef, Molecule, ScanDirection, Trace
from spm_live.live.recognition import LiveRecognition
from spm_live.pipeline import process
from spm_live.scanning import LiveMap
from spm_live.settings import ModelSettings
from spm_live_drivers.contract import ReadOptions
from spm_live_drivers.registry import read_frame
from spm_live_drivers.synthetic import draw_scan


@pytest.fixture(scope="module")
def small() -> Iterator[Detector]:
    detector = open_detector(ModelSettings(name="synthetic-small", provider="cpu", threads=1))
    yield detector
    detector.close()


def drawn(seed: int, rows: int, columns: int, direction: ScanDirection) -> Frame:
    scan = draw_scan(seed, rows=rows, columns=columns, size_nm=(columns * 0.1, rows * 0.1), direction=direction)
    ref = FrameRef("drawn", "", "Z", Trace.FORWARD)
    return Frame(FrameInfo(ref, scan.geometry, "m", direction, complete_rows=rows), scan.heights)


def replayed(detector: Detector, frame: Frame, batch: int) -> list[LiveMap]:
    up = frame.info.direction is ScanDirection.UP
    lines = np.ascontiguousarray(frame.data[::-1] if up else frame.data)
    recognition = LiveRecognition(detector, frame.info)
    return [recognition.advance(lines[first : first + batch]) for first in range(0, len(lines), batch)]


def pairs(one: list[Molecule], other: list[Molecule], reach_nm: float) -> list[tuple[Molecule, Molecule]]:
    """The same molecules in both."""
    places, others = (np.array([molecule.center_nm for molecule in group]) for group in (one, other))
    distance = np.linalg.norm(places[:, None] - others[None], axis=2)
    first, second = linear_sum_assignment(np.minimum(distance, 10 * reach_nm))
    return [(one[i], other[j]) for i, j in zip(first, second, strict=True) if distance[i, j] < reach_nm]


@pytest.mark.parametrize("direction", list(ScanDirection))
def test_a_network_says_the_same_in_whatever_batches_lines_come(small: Detector, direction: ScanDirection) -> None:
    frame = drawn(3, 150, 120, direction)
    at_once = replayed(small, frame, 150)[-1]
    assert at_once.total > 10
    final = {one.molecule for one in at_once.molecules if one.settled}
    assert len(final) == len(at_once.molecules)
    halfway = 0
    for batch in (30, 64):
        maps = replayed(small, frame, batch)
        assert repr(replace(maps[-1], timings_ms={})) == repr(replace(at_once, timings_ms={}))
        for found in maps:
            settled = {one.molecule for one in found.molecules if one.settled}
            assert settled <= final
            halfway += len(settled) if found.frame.partial else 0
    assert halfway > 0


@pytest.mark.parametrize(("seed", "direction"), [(3, ScanDirection.UP), (8, ScanDirection.DOWN)])
def test_at_the_end_nearly_all_molecules_are_those_of_the_finished_frame(
    small: Detector, seed: int, direction: ScanDirection
) -> None:
    frame = drawn(seed, 384, 256, direction)
    finished = list(process(frame, small).molecules)
    live = [one.molecule for one in replayed(small, frame, 96)[-1].molecules]
    same = pairs(live, finished, 0.4)
    assert len(finished) > 40
    assert len(same) >= 0.97 * max(len(finished), len(live))
    assert sum(one.label == other.label for one, other in same) >= 0.95 * len(same)


def test_a_real_scan_replayed_shows_what_its_file_shows(data_dir: Path) -> None:
    frame = read_frame(data_dir / "nanonis" / "Image_412.sxm", ReadOptions())
    detector = open_detector(ModelSettings(name="molecule-generic", provider="cpu", threads=2))
    try:
        finished = list(process(frame, detector).molecules)
        maps = replayed(detector, frame, 64)
    finally:
        detector.close()
    live = [one.molecule for one in maps[-1].molecules]
    assert len(pairs(live, finished, 0.3)) >= len(finished) - 1
    assert len(live) <= len(finished) + 1
    counts = [found.total for found in maps]
    assert counts == sorted(counts), "molecules are counted when they are whole, and stay"
    assert any(one.cut_by_front for found in maps[:-1] for one in found.molecules)
