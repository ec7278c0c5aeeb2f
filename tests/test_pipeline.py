"""The whole spine, with a detector that finds blobs by threshold on scans of known geometry."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spm_live.detect.manifest import InputSection, Manifest
from spm_live.detect.merge import TileDetections, merge_tiles
from spm_live.domain import (
    Detections,
    Frame,
    FrameInfo,
    FrameRef,
    Levelling,
    ModelInput,
    ScanDirection,
    ScanGeometry,
    Spectrum,
)
from spm_live.pipeline import process

MASK_SIDE = 28


class BlobDetector:
    """Finds what is brighter than one half, tile by tile, and merges the tiles as the real detector does."""

    def __init__(self, rows: int = 128, columns: int = 128, overlap: int = 40, nm_per_px: float = 0.1) -> None:
        self.manifest = Manifest(
            schema_version=1,
            name="blobs",
            version="1",
            classes=("blob", "other"),
            weights="none.onnx",
            sha256="0" * 64,
            license="MIT",
            input=InputSection(
                rows=rows,
                columns=columns,
                nm_per_px=nm_per_px,
                overlap_px=overlap,
                levelling=Levelling.PLANE,
                contrast=(0.0, 1.0),
            ),
            min_score=0.5,
            nms_iou=0.5,
            nms_kind="mask",
            max_detections=100,
        )

    def detect(self, model_input: ModelInput) -> Detections:
        found = [self._look(*pair) for pair in zip(model_input.tiles, model_input.origins, strict=True)]
        parts = [TileDetections(part, np.full(len(part), index)) for index, part in enumerate(found)]
        return merge_tiles(parts, model_input.origins, model_input.letterbox, self.manifest)

    def close(self) -> None:
        pass

    def _look(self, tile: np.ndarray, origin: np.ndarray) -> Detections:
        _, labels, stats, _ = cv2.connectedComponentsWithStats((tile > 0.5).astype(np.uint8))
        boxes, masks = [], []
        for number in range(1, len(stats)):
            left, top, wide, high = stats[number, :4]
            crop = np.where(labels == number, tile, 0)[top : top + high, left : left + wide]
            masks.append(cv2.resize(crop.astype(np.float32), (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_LINEAR))
            boxes.append([left + origin[1], top + origin[0], left + wide + origin[1], top + high + origin[0]])
        count = len(boxes)
        return Detections(
            boxes=np.array(boxes, dtype=np.float32).reshape(count, 4),
            scores=np.full(count, 0.9, dtype=np.float32),
            classes=np.zeros(count, dtype=np.int64),
            masks=np.array(masks, dtype=np.float32).reshape(count, MASK_SIDE, MASK_SIDE),
        )


def scan(geometry: ScanGeometry, places_px: np.ndarray, radius_nm: float = 0.8) -> np.ndarray:
    """A tilted surface with round molecules at known pixels; the geometry says how far apart pixels are."""
    y, x = np.mgrid[: geometry.rows, : geometry.columns]
    step_x, step_y = geometry.nm_per_px
    data = 2e-12 * x - 1e-12 * y + 5e-9
    for column, row in places_px:
        distance = np.hypot((x - column) * step_x, (y - row) * step_y)
        data += 1e-10 / (1 + np.exp(np.clip((distance - radius_nm) / 0.08, -60, 60)))
    return data.astype(np.float32)


PLACES = np.array([[30.0, 25.5], [70.25, 30.0], [110.0, 45.75], [60.5, 60.0], [20.0, 70.0], [125.0, 75.0]])
GEOMETRIES = {
    "square": ScanGeometry(100, 150, (15.0, 10.0)),
    "far away": ScanGeometry(100, 150, (15.0, 10.0), (1200.0, -800.0)),
    "turned": ScanGeometry(100, 150, (15.0, 10.0), (5.0, 7.0), 37.0),
    "turned back": ScanGeometry(100, 150, (15.0, 10.0), (5.0, 7.0), -120.0),
    "oblong pixels": ScanGeometry(100, 150, (30.0, 10.0), (1.0, 2.0), 10.0),
    "finer": ScanGeometry(100, 150, (12.0, 8.0), (1.0, 2.0), 10.0),
    "coarser": ScanGeometry(100, 150, (25.0, 20.0), (1.0, 2.0), 90.0),
}


def frame_of(geometry: ScanGeometry, data: np.ndarray, direction: ScanDirection = ScanDirection.DOWN) -> Frame:
    complete = int(np.isfinite(data).all(axis=1).sum())
    return Frame(FrameInfo(FrameRef("scan.sxm"), geometry, "m", direction, complete), data)


def assert_found_at(result, geometry: ScanGeometry, places_px: np.ndarray) -> None:
    """Every place has its molecule within a tenth of a pixel, and no molecule is left over."""
    found = np.array([molecule.center_nm for molecule in result.molecules]).reshape(-1, 2)
    assert len(found) == len(places_px)
    step = np.array(geometry.nm_per_px)
    for place in places_px:
        distance = np.abs(geometry.to_px(found) - place)
        nearest = distance[np.argmin(np.sum((distance * step) ** 2, axis=1))]
        assert (nearest < 0.1).all() or (nearest * step < 0.01).all()


@pytest.mark.parametrize("name", GEOMETRIES)
def test_molecules_are_found_where_they_are_in_nm(name):
    geometry = GEOMETRIES[name]
    result = process(frame_of(geometry, scan(geometry, PLACES)), BlobDetector())
    assert_found_at(result, geometry, PLACES)
    assert result.counts["blob"].total == 6
    assert result.counts["other"].total == 0
    inner = [molecule for molecule in result.molecules if not molecule.touches_edge]
    assert [molecule.area_nm2 for molecule in inner] == pytest.approx([np.pi * 0.64] * len(inner), rel=0.1)


@pytest.mark.parametrize("direction", list(ScanDirection))
def test_a_partial_scan_gives_what_was_scanned_in_its_true_place(direction):
    geometry = GEOMETRIES["turned"]
    data = scan(geometry, PLACES)
    if direction is ScanDirection.DOWN:
        data[52:] = np.nan
        inside = PLACES[PLACES[:, 1] < 45]
    else:
        data[:56] = np.nan
        inside = PLACES[PLACES[:, 1] > 65]
    result = process(frame_of(geometry, data, direction), BlobDetector())
    whole = [molecule for molecule in result.molecules if not molecule.touches_edge]
    found = np.array([molecule.center_nm for molecule in whole])
    for place in inside:
        assert np.abs(geometry.to_px(found) - place).max(axis=1).min() < 0.1
    assert len(whole) == len(inside)
    assert result.scanned_area_nm2 == pytest.approx(np.isfinite(data).mean() * 150)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(64, 200), st.integers(64, 200))
def test_the_same_molecules_are_found_whatever_the_tiles(seed, rows, columns):
    rng = np.random.default_rng(seed)
    geometry = ScanGeometry(150, 170, (17.0, 15.0))
    grid = np.stack(np.meshgrid(np.arange(15, 160, 25), np.arange(15, 140, 25)), axis=-1).reshape(-1, 2)
    places = grid + rng.uniform(-3, 3, grid.shape)
    frame = frame_of(geometry, scan(geometry, places))
    tiled = process(frame, BlobDetector(rows, columns, overlap=30))
    whole = process(frame, BlobDetector(256, 256, overlap=30))
    assert len(whole.molecules) == len(places)
    key = lambda molecule: molecule.center_nm  # noqa: E731
    for one, other in zip(sorted(tiled.molecules, key=key), sorted(whole.molecules, key=key), strict=True):
        assert one.center_nm == pytest.approx(other.center_nm, abs=1e-4)
        assert one.area_nm2 == pytest.approx(other.area_nm2, rel=1e-4)


def test_an_empty_frame_has_an_empty_map():
    geometry = ScanGeometry(96, 240, (5.0, 2.0))
    result = process(frame_of(geometry, np.full((96, 240), np.nan, dtype=np.float32)), BlobDetector())
    assert result.molecules == ()
    assert result.scanned_area_nm2 == 0


def test_a_spectrum_is_matched_and_the_model_is_named():
    geometry = GEOMETRIES["turned"]
    place = geometry.to_nm(PLACES[2:3])[0]
    spectrum = Spectrum("spectrum.dat", (float(place[0]), float(place[1])))
    result = process(frame_of(geometry, scan(geometry, PLACES)), BlobDetector(), [spectrum])
    (molecule,) = [molecule for molecule in result.molecules if molecule.spectra]
    assert molecule.spectra == ("spectrum.dat",)
    assert molecule.center_nm == pytest.approx(tuple(place), abs=0.01)
    assert (result.model.name, result.model.version) == ("blobs", "1")


def test_the_frame_is_not_written_and_the_result_is_the_same_twice():
    geometry = GEOMETRIES["coarser"]
    frame = frame_of(geometry, scan(geometry, PLACES))
    before = frame.data.copy()
    first, second = process(frame, BlobDetector()), process(frame, BlobDetector())
    assert np.array_equal(frame.data, before)
    assert first.molecules == second.molecules
