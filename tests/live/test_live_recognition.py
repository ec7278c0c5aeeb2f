"""A frame in progress: every answer follows from the lines alone, and what is settled stays."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spm_live.domain import Detections, Frame, FrameInfo, Levelling, Molecule, ScanDirection
from spm_live.errors import FrameError
from spm_live.live.recognition import LiveRecognition
from spm_live.pipeline import process
from spm_live.scanning import LiveMap

Make = Callable[..., Any]
EXAMPLES = int(os.environ.get("SPM_LIVE_EXAMPLES", "8"))
"""More of them, once in a while: a frame line by line takes its time."""
fixed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=EXAMPLES)
directions = st.sampled_from(list(ScanDirection))


def in_scan_order(info: FrameInfo, picture: np.ndarray) -> np.ndarray:
    return picture[::-1] if info.direction is ScanDirection.UP else picture


def advanced(recognition: LiveRecognition, info: FrameInfo, picture: np.ndarray, sizes: Iterable[int]) -> list[LiveMap]:
    """Maps after batches of these sizes, the rest in one at the end."""
    lines = in_scan_order(info, picture)
    maps, first = [], 0
    for size in [*sizes, len(lines)]:
        maps.append(recognition.advance(np.ascontiguousarray(lines[first : first + size])))
        first = min(len(lines), first + size)
    return maps


def told(found: LiveMap) -> str:
    """All that a map says but how long it took."""
    return repr(replace(found, timings_ms={}))


def settled_of(found: LiveMap) -> set[Molecule]:
    return {one.molecule for one in found.molecules if one.settled}


@fixed
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 200),
    columns=st.integers(1, 90),
    sizes=st.lists(st.integers(1, 60), max_size=12),
    direction=directions,
    pitch=st.sampled_from([None, 0.07, 0.1, 0.25]),
    levelling=st.sampled_from([Levelling.NONE, Levelling.ROWS]),
    lost=st.lists(st.tuples(st.integers(0, 199), st.integers(1, 6)), max_size=3),
)
def test_it_does_not_matter_in_which_batches_lines_come(
    blob_detector: Make,
    info_of: Make,
    spots: Make,
    seed: int,
    rows: int,
    columns: int,
    sizes: list[int],
    direction: ScanDirection,
    pitch: float | None,
    levelling: Levelling,
    lost: list[tuple[int, int]],
) -> None:
    info = info_of(rows, columns, direction=direction)
    noise = np.random.default_rng(seed).normal(size=(rows, columns)) * 0.02
    picture = (spots(rows, columns, seed) + noise).astype(np.float32)
    for first, count in lost:
        picture[first : first + count] = np.nan
    detector = blob_detector(nm_per_px=pitch, levelling=levelling)
    whole = LiveRecognition(detector, info)
    parts = LiveRecognition(detector, info)
    line_by_line = LiveRecognition(detector, info)
    at_once = advanced(whole, info, picture, [])[-1]
    in_parts = advanced(parts, info, picture, sizes)
    single = advanced(line_by_line, info, picture, [1] * rows)
    assert told(in_parts[-1]) == told(at_once)
    assert told(single[-1]) == told(at_once)
    final = settled_of(at_once)
    for earlier in (*in_parts, *single):
        assert settled_of(earlier) <= final, "what was settled stays as it is"
        assert told(earlier) == told(single[min(earlier.frame.complete_rows, rows) - 1])
    assert whole.preview_png() == line_by_line.preview_png()


@fixed
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(20, 200),
    columns=st.integers(20, 120),
    direction=directions,
    aspect=st.sampled_from([1.0, 0.5, 2.0]),
)
def test_a_finished_frame_has_the_map_that_the_pipeline_makes(
    blob_detector: Make,
    info_of: Make,
    spots: Make,
    seed: int,
    rows: int,
    columns: int,
    direction: ScanDirection,
    aspect: float,
) -> None:
    info = info_of(rows, columns, direction=direction, size_nm=(columns * 0.1 * aspect, rows * 0.1))
    picture = spots(rows, columns, seed)
    detector = blob_detector(columns=64, overlap_px=32)  # the largest spot has 24 px, and some to spare
    expected = process(Frame(replace(info, complete_rows=rows), picture), detector)
    found = advanced(LiveRecognition(detector, info), info, picture, [7] * (rows // 14))[-1]

    def place(one: Molecule) -> tuple[float, ...]:
        return tuple(round(value, 6) for value in (*one.box_px, *one.center_nm, one.area_nm2))

    assert sorted(place(one.molecule) for one in found.molecules) == sorted(map(place, expected.molecules))
    assert {one.molecule.touches_edge for one in found.molecules} <= {True, False}
    assert not any(one.cut_by_front for one in found.molecules)
    assert all(one.settled for one in found.molecules)
    for label, count in expected.counts.items():
        live = found.counts[label]
        assert (live.total, live.edge, live.cut_by_front) == (count.total, count.edge, 0)
        assert live.density_per_nm2 == pytest.approx(count.density_per_nm2)
        assert live.coverage == pytest.approx(count.coverage)
    assert found.coverage == pytest.approx(expected.coverage)
    assert found.scanned_area_nm2 == pytest.approx(expected.scanned_area_nm2)
    assert found.settled_rows == rows


@fixed
@given(seed=st.integers(0, 10_000), lines=st.integers(20, 150), direction=directions)
def test_halfway_it_tells_what_is_in_the_lines_at_hand(
    blob_detector: Make, info_of: Make, spots: Make, seed: int, lines: int, direction: ScanDirection
) -> None:
    rows, columns = 160, 44
    info = info_of(rows, columns, direction=direction)
    picture = spots(rows, columns, seed)
    begin = in_scan_order(info, picture)  # a view; without a molecule in the first lines there is no contrast yet
    begin[:17] = 0
    begin[4:9, 20:30] = 1
    seen = np.full_like(picture, np.nan)
    in_scan_order(info, seen)[:lines] = in_scan_order(info, picture)[:lines]
    detector = blob_detector(overlap_px=24)
    recognition = LiveRecognition(detector, info)
    found = recognition.advance(np.ascontiguousarray(in_scan_order(info, picture)[:lines]))
    # With every pixel seen at once, a detector of connected spots is right; the front is a border to the pipeline.
    tall = blob_detector(rows=160, columns=48, overlap_px=24)
    expected = process(Frame(replace(info, complete_rows=lines), seen), tall)
    boxes = {one.molecule.box_px for one in found.molecules}
    assert boxes == {one.box_px for one in expected.molecules}
    assert found.coverage == pytest.approx(expected.coverage)
    front = rows - lines if direction is ScanDirection.UP else lines
    for one in found.molecules:
        top, bottom = one.molecule.box_px[1], one.molecule.box_px[3]
        near = top <= front + 2 if direction is ScanDirection.UP else bottom >= front - 2
        assert one.cut_by_front == near
        at_border = top <= 1 or bottom >= rows - 1 or one.molecule.box_px[0] <= 1 or one.molecule.box_px[2] >= 43
        assert one.molecule.touches_edge == at_border, "the front is no border of the frame"
    assert found.total == sum(not one.cut_by_front for one in found.molecules)
    assert sum(count.cut_by_front for count in found.counts.values()) == len(found.molecules) - found.total


def test_a_molecule_that_the_front_cuts_is_marked_and_counted_once_it_is_whole(
    blob_detector: Make, info_of: Make
) -> None:
    info = info_of(60, 40)
    picture = np.zeros((60, 40), dtype=np.float32)
    picture[5:9, 5:15] = 1
    picture[24:34, 20:26] = 1
    recognition = LiveRecognition(blob_detector(), info)
    states = [recognition.advance(line[None]) for line in picture]
    area = 40 * 0.01  # of a line
    assert states[14].molecules == (), "nothing is said of fewer than sixteen lines"
    assert [(one.counts["wide"].total, one.counts["high"].total) for one in states[20:24]] == [(1, 0)] * 4
    cut = states[28]
    assert [one.cut_by_front for one in cut.molecules] == [False, True]
    assert cut.total == 1
    assert cut.frame.complete_rows == 29
    both = [sum(getattr(count, name) for count in cut.counts.values()) for name in ("total", "cut_by_front")]
    assert both == [1, 1]
    assert sum(count.density_per_nm2 for count in cut.counts.values()) == pytest.approx(1.5 / (29 * area))
    assert cut.coverage == pytest.approx((4 * 10 + 5 * 6) / (29 * 40))
    assert [state.total for state in states[34:38]] == [1, 1, 2, 2], "two lines behind the front it is whole"
    assert states[-1].counts["high"].density_error_per_nm2 == pytest.approx(1 / (60 * area))


def test_without_molecules_the_error_is_that_of_one(blob_detector: Make, info_of: Make) -> None:
    recognition = LiveRecognition(blob_detector(), info_of(100, 50))
    before = recognition.advance(np.zeros((0, 50), dtype=np.float32))
    assert math.isnan(before.counts["wide"].density_per_nm2)
    assert math.isnan(before.coverage)
    found = recognition.advance(np.zeros((40, 50), dtype=np.float32))
    assert found.molecules == ()
    assert found.counts["wide"].density_per_nm2 == 0
    assert found.counts["wide"].density_error_per_nm2 == pytest.approx(1 / 20)


def test_an_update_costs_its_new_lines_whatever_the_size_of_the_frame(
    blob_detector: Make, info_of: Make, spots: Make
) -> None:
    costs = []
    for rows in (128, 1024):
        detector = blob_detector(rows=64, columns=64)
        recognition = LiveRecognition(detector, info_of(rows, 60))
        picture = spots(rows, 60, 3)
        recognition.advance(picture[:100])
        detector.shown.clear()
        recognition.advance(picture[100:101])
        assert len(detector.shown) == 1
        recognition.advance(picture[101:103])
        assert len(detector.shown) == 2
        recognition.advance(picture[103:105])  # molecules settle at 104
        assert len(detector.shown) == 4
        recognition.advance(picture[105:106])
        costs.append([shown.tiles.shape for shown in detector.shown])
    assert costs[0] == costs[1]


def test_without_new_lines_the_last_map_comes_again(blob_detector: Make, info_of: Make, spots: Make) -> None:
    recognition = LiveRecognition(blob_detector(), info_of(50, 40))
    found = recognition.advance(spots(50, 40, 1)[:30])
    assert recognition.advance(np.zeros((0, 40), dtype=np.float32)) is found


@pytest.mark.parametrize("direction", list(ScanDirection))
def test_a_frame_without_a_scanned_pixel_has_an_empty_map(
    blob_detector: Make, info_of: Make, direction: ScanDirection
) -> None:
    info = info_of(100, 70, direction=direction)
    detector = blob_detector(levelling=Levelling.ROWS, nm_per_px=0.13)
    recognition = LiveRecognition(detector, info)
    for found in advanced(recognition, info, np.full((100, 70), np.nan, dtype=np.float32), [1, 30, 40]):
        assert found.molecules == ()
        assert found.scanned_area_nm2 == 0
    assert found.settled_rows == 100
    assert all(len(shown.tiles) == 0 for shown in detector.shown)
    assert cv2.imdecode(np.frombuffer(recognition.preview_png(), np.uint8), cv2.IMREAD_GRAYSCALE).max() == 0


@pytest.mark.parametrize("levelling", list(Levelling))
@pytest.mark.parametrize("pitch", [None, 0.03, 0.4])
@pytest.mark.parametrize("shape", [(40, 1), (1, 40), (1, 1), (20, 3)])
def test_the_smallest_frames_have_a_map(
    blob_detector: Make, info_of: Make, shape: tuple[int, int], pitch: float | None, levelling: Levelling
) -> None:
    info = info_of(*shape)
    detector = blob_detector(nm_per_px=pitch, levelling=levelling, contrast=(0.005, 0.995))
    picture = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    picture[shape[0] // 2, 0] = np.nan
    recognition = LiveRecognition(detector, info)
    found = advanced(recognition, info, picture, [1] * shape[0])[-1]
    assert found.settled_rows == shape[0]
    assert found.scanned_area_nm2 == pytest.approx((picture.size - 1) * 0.01)
    assert recognition.preview_png().startswith(b"\x89PNG")


def test_bare_noise_is_not_stretched_to_the_full_range(blob_detector: Make, info_of: Make) -> None:
    noise = np.random.default_rng(1).normal(size=(64, 48)).astype(np.float32) * 1e-12
    detector = blob_detector(levelling=Levelling.ROWS, contrast=(0.005, 0.995))
    found = LiveRecognition(detector, info_of(64, 48)).advance(noise)
    assert found.molecules == ()
    assert detector.shown[-1].tiles.max() < 0.5


def test_the_network_sees_the_picture_the_right_way_up(blob_detector: Make, info_of: Make) -> None:
    picture = np.zeros((80, 48), dtype=np.float32)
    picture[40:60, 10:14] = 1
    picture[56:60, 10:24] = 1  # an L
    seen = []
    for direction in ScanDirection:
        info = info_of(80, 48, direction=direction)
        detector = blob_detector()
        advanced(LiveRecognition(detector, info), info, picture, [])
        last = detector.shown[-1]
        top, left = last.origins[0].tolist()
        assert np.array_equal(last.tiles[0][: 80 - top], picture[top : top + 64, left : left + 48])
        seen.append(top)
    assert seen == [0, 16], "each last window ends with the line that was scanned last"


def test_lines_that_do_not_fit_are_refused(blob_detector: Make, info_of: Make) -> None:
    recognition = LiveRecognition(blob_detector(), info_of(10, 20))
    with pytest.raises(ValueError, match="20 px"):
        recognition.advance(np.zeros((2, 19), dtype=np.float32))
    with pytest.raises(ValueError, match="float64"):
        recognition.advance(np.zeros((2, 20)))
    with pytest.raises(ValueError, match="12 lines after 0 of 10"):
        recognition.advance(np.zeros((12, 20), dtype=np.float32))


def test_a_frame_too_large_for_the_model_is_named(blob_detector: Make, info_of: Make) -> None:
    with pytest.raises(FrameError, match="million pixels") as raised:
        LiveRecognition(blob_detector(nm_per_px=0.1), info_of(10, 10, size_nm=(1e5, 1e5)))
    assert raised.value.stage == "prepare"


def test_a_network_that_gives_nan_fails_the_frame(blob_detector: Make, info_of: Make, spots: Make) -> None:
    detector = blob_detector()
    answer = detector._run

    def broken(image: np.ndarray) -> dict[str, np.ndarray]:
        outputs = answer(image)
        outputs["scores"][0, 0] = np.nan
        return outputs

    detector._run = broken
    with pytest.raises(FrameError, match="NaN") as raised:
        LiveRecognition(detector, info_of(40, 40)).advance(spots(40, 40, 1))
    assert raised.value.stage == "detect"


def test_detections_beyond_the_front_are_no_molecules(blob_detector: Make, info_of: Make) -> None:
    class Dreamer:
        manifest = blob_detector().manifest

        def detect(self, _: object) -> Detections:
            boxes = np.array([[5, 30, 12, 60], [20, 24, 30, 34]], dtype=np.float32)
            masks = np.ones((2, 14, 14), dtype=np.float32)
            return Detections(boxes, np.array([0.9, 0.8], dtype=np.float32), np.zeros(2, dtype=np.int64), masks)

        def close(self) -> None:
            """Nothing is held."""

    picture = np.random.default_rng(1).normal(size=(64, 48)).astype(np.float32)
    found = LiveRecognition(Dreamer(), info_of(64, 48)).advance(picture[:30])
    assert [one.molecule.box_px for one in found.molecules] == [(20, 24, 30, 30)]
    assert found.coverage == pytest.approx(60 / (30 * 48))
