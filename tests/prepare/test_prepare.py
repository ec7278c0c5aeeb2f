"""From a frame to what a model is shown."""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from spm_live.domain import Frame, FrameInfo, FrameRef, InputSpec, Levelling, ScanGeometry
from spm_live.errors import FrameError
from spm_live.prepare import draw_preview, level, prepare

SPEC = InputSpec(rows=64, columns=64, nm_per_px=0.1, overlap_px=16, levelling=Levelling.ROWS)


def frame_of(data: np.ndarray, size_nm: tuple[float, float] = (10.0, 10.0)) -> Frame:
    geometry = ScanGeometry(data.shape[0], data.shape[1], size_nm)
    complete = int(np.isfinite(data).all(axis=1).sum())
    return Frame(FrameInfo(FrameRef("scan.sxm"), geometry, "m", complete_rows=complete), data.astype(np.float32))


def blobs(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    data = 1e-12 * rng.normal(size=(rows, columns))
    for place in rng.uniform(0, 1, (12, 2)):
        data += 1e-10 * np.exp(-((x - place[0] * columns) ** 2 + (y - place[1] * rows) ** 2) / (0.002 * rows * columns))
    return data


def test_tiles_have_the_shape_and_range_that_the_model_wants():
    made = prepare(frame_of(blobs(128, 200), (12.8, 30.0)), SPEC)
    assert made.letterbox.columns == 128
    assert made.letterbox.rows == 300
    assert made.tiles.shape[1:] == (64, 64)
    assert made.tiles.dtype == np.float32
    assert made.tiles.min() == 0
    assert made.tiles.max() == 1
    assert made.ref == FrameRef("scan.sxm")


@pytest.mark.parametrize("side", [50, 100, 200, 400])
def test_one_surface_looks_alike_at_every_zoom(side):
    """The same 10 nm, sampled at other pitches: this is what makes one model work at every zoom."""
    # 400 points a side averaged down, so that every sampling sees the same surface
    fine = blobs(400, 400)
    data = fine.reshape(side, 400 // side, side, 400 // side).mean(axis=(1, 3))
    spec = InputSpec(rows=128, columns=128, nm_per_px=0.1, overlap_px=16, levelling=Levelling.PLANE)
    this, reference = prepare(frame_of(data), spec), prepare(frame_of(fine), spec)
    assert this.letterbox.rows == this.letterbox.columns == 100
    assert np.abs(this.tiles - reference.tiles).mean() < 0.02


def test_a_partial_frame_gives_fewer_tiles_and_zero_beyond_its_front():
    data = blobs(200, 200)
    data[50:] = np.nan
    made = prepare(frame_of(data, (20.0, 20.0)), SPEC)
    whole = prepare(frame_of(blobs(200, 200), (20.0, 20.0)), SPEC)
    assert len(made.tiles) < len(whole.tiles)
    first = made.tiles[made.origins[:, 0] == 0][0]
    assert (first[50:] == 0).all()
    assert first[:50].std() > 0


def test_an_empty_frame_has_no_tiles_and_is_no_fault():
    made = prepare(frame_of(np.full((96, 240), np.nan), (5.0, 2.0)), SPEC)
    assert made.tiles.shape == (0, 64, 64)


@pytest.mark.parametrize("value", [0.0, -3e-9, 1e38, np.inf])
def test_a_constant_frame_is_prepared(value):
    made = prepare(frame_of(np.full((64, 64), value)), SPEC)
    assert np.isfinite(made.tiles).all()


def test_wild_pixels_do_not_spread():
    data = blobs(256, 256)
    clean = prepare(frame_of(data), SPEC)
    data[100, 100], data[17, 200], data[30, 30] = 1e30, -np.inf, np.nan
    wild = prepare(frame_of(data), SPEC)
    assert (np.abs(wild.tiles - clean.tiles) > 0.1).sum() < 30


@pytest.mark.parametrize("spike", [0.0, 1e3])
@pytest.mark.parametrize("nm_per_px", [0.1, 0.05, 0.2])
def test_neither_the_frame_nor_the_levelled_frame_is_written(spike, nm_per_px):
    """Also at the frame's own pitch, where nothing has to be resampled."""
    data = blobs(100, 100).astype(np.float32)
    data[50, 50] += spike
    frame = frame_of(data.copy())
    made = prepare(frame, InputSpec(rows=64, columns=64, nm_per_px=nm_per_px, overlap_px=16))
    assert np.array_equal(frame.data, data)
    assert np.array_equal(made.levelled, level(data, Levelling.ROWS))


def test_a_frame_that_would_become_too_large_is_refused():
    with pytest.raises(FrameError, match="would be"):
        prepare(frame_of(blobs(64, 64), (1e5, 1e5)), SPEC)


def test_the_order_of_calls_and_the_number_of_threads_do_not_matter():
    frames = [frame_of(blobs(100 + 20 * k, 150, seed=k)) for k in range(6)]
    alone = [zlib.crc32(prepare(frame, SPEC).tiles) for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda frame: zlib.crc32(prepare(frame, SPEC).tiles), frames[::-1]))
    assert together == alone[::-1]


def levelled(data: np.ndarray) -> np.ndarray:
    return level(frame_of(data).data, Levelling.ROWS)


def decode(png: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    return picture


def test_a_preview_shows_the_frame_pixel_by_pixel():
    frame = frame_of(np.add.outer(np.arange(60.0), np.zeros(80)))
    preview, thumbnail = draw_preview(frame.data, (0.0, 1.0))
    grey = decode(preview)
    assert grey.shape == (60, 80)
    assert np.array_equal(grey[:, 0], np.rint(np.arange(60) / 59 * 254 + 1).astype(np.uint8))
    assert preview == thumbnail, "a small frame is its own thumbnail"


def test_large_frames_are_shrunk_alike_along_both_axes():
    preview, thumbnail = draw_preview(levelled(blobs(1500, 3000)))
    assert decode(preview).shape[:2] == (512, 1024)
    assert decode(thumbnail).shape[:2] == (64, 128)
    thin, _ = draw_preview(levelled(blobs(2, 5000)))
    assert decode(thin).shape[:2] == (1, 1024)


def test_what_was_not_scanned_is_transparent_and_nothing_else_is():
    data = blobs(300, 300)
    data[101:] = np.nan
    for png, side in zip(draw_preview(levelled(data)), (300, 128), strict=True):
        assert b"\x00\x00\x00\x02tRNS\x00\x00" in png, "grey value 0 is declared transparent"
        shown = decode(png) > 0
        assert shown.shape == (side, side)
        front = round(101 * side / 300)
        assert shown[:front].all()
        assert not shown[front:].any()


def test_an_empty_frame_has_a_preview():
    preview, thumbnail = draw_preview(levelled(np.full((40, 50), np.nan)))
    assert decode(preview).shape[:2] == (40, 50)
    assert decode(thumbnail).shape[:2] == (40, 50)
