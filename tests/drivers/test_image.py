"""Exported pictures: their pixels, their scale, their sidecar."""

from __future__ import annotations

import json
import struct
import zlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from spm_live_drivers.contract import FileStatus, Frame, ReadOptions, ScanDirection, Trace
from spm_live_drivers.errors import FrameError
from spm_live_drivers.formats.image import ImageReader
from spm_live_drivers.testing import check_reader

READER = ImageReader()
SCALE = ReadOptions(nm_per_px=0.1)


def ramp(rows: int = 20, columns: int = 30, top: int = 255) -> np.ndarray:
    return np.linspace(0, top, rows * columns).reshape(rows, columns).round()


def read(path: Path, options: ReadOptions = SCALE) -> Frame:
    assert READER.accepts(path, path.read_bytes()[:4096])
    assert READER.state(path).status is FileStatus.COMPLETE
    return READER.read(path, options)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_grey_picture_becomes_0_to_1(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(ramp().astype(np.uint8)).save(path)
    frame = read(path)
    np.testing.assert_array_equal(frame.data, (ramp() / np.float32(255)).astype(np.float32))
    assert (frame.info.unit, frame.info.complete_rows) == ("1", 20)
    assert frame.geometry.size_nm == pytest.approx((3, 2))


def test_jpeg_is_read_within_its_loss(tmp_path: Path) -> None:
    Image.fromarray(ramp().astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read(tmp_path / "a.jpg").data - ramp() / 255).max() < 0.03


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    values = ramp(top=65535).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", values)
    tifffile.imwrite(tmp_path / "b.tif", values, compression="zlib", predictor=True, byteorder=">")
    for name in ("a.png", "a.tif", "b.tif"):
        np.testing.assert_array_equal(read(tmp_path / name).data, (values / np.float32(65535)).astype(np.float32))


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_compressed_tiff_is_read(tmp_path: Path, compression: str) -> None:
    Image.fromarray(ramp().astype(np.uint8)).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_allclose(read(tmp_path / "a.tif").data, ramp() / 255, rtol=1e-6)


def test_floats_keep_their_values_and_nan_rows_are_not_complete(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32) * 1e-10
    values[15:] = np.nan
    values[3, 4] = np.inf
    tifffile.imwrite(tmp_path / "a.tif", values)
    np.save(tmp_path / "a.npy", values)
    np.save(tmp_path / "b.npy", np.asfortranarray(values.astype(">f8")))
    expected = np.where(np.isinf(values), np.nan, values)
    for name in ("a.tif", "a.npy", "b.npy"):
        frame = read(tmp_path / name)
        np.testing.assert_array_equal(frame.data, expected)
        assert frame.info.complete_rows == 15


def test_transparent_pixels_are_not_scanned(tmp_path: Path) -> None:
    pixels = np.repeat(ramp().astype(np.uint8)[:, :, None], 4, axis=2)
    pixels[:, :, 3] = 255
    pixels[5:8, 2:4, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    frame = read(tmp_path / "a.png")
    assert np.isnan(frame.data[5:8, 2:4]).all()
    assert np.isnan(frame.data).sum() == 6
    palette = Image.fromarray(ramp().astype(np.uint8)).convert("P")
    palette.save(tmp_path / "p.png", transparency=0)
    assert np.isnan(read(tmp_path / "p.png").data[0, 0])


def test_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    Image.fromarray(ramp().astype(np.uint8)).save(tmp_path / "a.bmp")
    (tmp_path / "a.bmp").rename(tmp_path / "a.png")
    assert read(tmp_path / "a.png").data.shape == (20, 30)


def test_scale_of_a_tiff_is_found_in_its_own_tags(tmp_path: Path) -> None:
    values = ramp().astype(np.float32)
    per_nm = (1 / 0.05, 1 / 0.06)
    tifffile.imwrite(tmp_path / "imagej.tif", values, imagej=True, resolution=per_nm, metadata={"unit": "nm"})
    tifffile.imwrite(tmp_path / "cm.tif", values, resolution=(1e7 / 0.05, 1e7 / 0.06), resolutionunit=3)
    ome = {"axes": "YX", "PhysicalSizeX": 0.05, "PhysicalSizeXUnit": "nm"}
    ome |= {"PhysicalSizeY": 0.06e-3, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", values, metadata=ome)
    for name in ("imagej.tif", "cm.tif", "a.ome.tif"):
        assert read(tmp_path / name, ReadOptions()).geometry.nm_per_px == pytest.approx((0.05, 0.06), rel=1e-4)
        assert read(tmp_path / name).geometry.nm_per_px == pytest.approx((0.1, 0.1))


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_dots_per_inch_of_a_screen_are_no_scale(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(ramp().astype(np.uint8)).save(path, dpi=(96, 96))
    with pytest.raises(FrameError, match=rf"--nm-per-px.*a\.{suffix}\.json"):
        READER.read(path)


def test_sidecar_says_everything_a_picture_cannot(tmp_path: Path) -> None:
    Image.fromarray(ramp().astype(np.uint8)).save(tmp_path / "a.png")
    sidecar = {
        "size_nm": [30, 10],
        "center_nm": [-5, 7.5],
        "angle_deg": 12,
        "unit": "pm",
        "value_range": [-50, 150],
        "channel": "Z",
        "direction": "up",
        "bias_v": -1.5,
        "setpoint": 1e-11,
        "setpoint_unit": "A",
        "started": "2024-07-01T12:00:00",
        "ended": "2024-07-01T12:05:00+00:00",
        "instrument": "LT-STM",
        "comment": "first try",
    }
    (tmp_path / "a.png.json").write_text(json.dumps(sidecar))
    frame = read(tmp_path / "a.png", ReadOptions(channel="z", nm_per_px=99, timezone="Europe/Berlin"))
    info = frame.info
    assert info.geometry.size_nm == pytest.approx((30, 10))
    assert (info.geometry.center_nm, info.geometry.angle_deg) == ((-5, 7.5), 12)
    assert (info.unit, info.ref.channel, info.direction) == ("m", "Z", ScanDirection.UP)
    assert (info.bias_v, info.setpoint, info.setpoint_unit) == (-1.5, 1e-11, "A")
    assert info.started == datetime(2024, 7, 1, 10, 0, tzinfo=UTC)
    assert info.ended == datetime(2024, 7, 1, 12, 5, tzinfo=UTC)
    assert (info.instrument, info.comment) == ("LT-STM", "first try")
    assert (frame.data.min(), frame.data.max()) == pytest.approx((-50e-12, 150e-12))


def test_short_sidecar_name_is_found_and_that_of_labelme_is_not(tmp_path: Path) -> None:
    Image.fromarray(ramp().astype(np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_text('{"shapes": []}')
    with pytest.raises(FrameError, match="scale of the picture is not known"):
        READER.read(tmp_path / "a.png")
    (tmp_path / "a.spm.json").write_text('{"nm_per_px": [0.2, 0.3]}')
    assert read(tmp_path / "a.png", ReadOptions()).geometry.nm_per_px == pytest.approx((0.2, 0.3))


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("{", ["is not JSON"]),
        ("[1]", ["no JSON object"]),
        ("[" * 100_000, ["is not JSON"]),
        ('{"nm_per_px": NaN}', ["not a finite number"]),
        ('{"nm_per_px": true}', ["not a number"]),
        ('{"nm_per_px": 0}', ["is no size"]),
        ('{"nm_per_px": -1, "colour": 1, "unit": "furlong"}', ["is no size", "no key 'colour'", "'furlong' is none"]),
        ('{"nm_per_px": 1, "size_nm": [1, 1]}', ["leave one out"]),
        ('{"nm_per_px": 1' + "0" * 400 + "}", ["too large"]),
        ('{"value_range": [1, 1]}', ["same value"]),
        ('{"direction": "left"}', ["neither up nor down"]),
        ('{"started": "noon"}', ["ISO 8601"]),
    ],
)
def test_wrong_sidecar_is_refused_by_name_with_every_problem(tmp_path: Path, text: str, reasons: list[str]) -> None:
    Image.fromarray(ramp().astype(np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.png.json").write_text(text)
    with pytest.raises(FrameError, match=r"sidecar a\.png\.json") as caught:
        READER.read(tmp_path / "a.png", SCALE)
    for reason in reasons:
        assert reason in caught.value.reason


def test_value_range_over_numbers_that_are_values_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp())
    (tmp_path / "a.npy.json").write_text('{"value_range": [0, 1]}')
    with pytest.raises(FrameError, match="values already"):
        READER.read(tmp_path / "a.npy", SCALE)


def test_other_channel_or_trace_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ramp())
    with pytest.raises(FrameError, match="no channel 'Z'; the file holds picture"):
        READER.read(tmp_path / "a.npy", ReadOptions(channel="Z", nm_per_px=1))
    with pytest.raises(FrameError, match="no backward trace"):
        READER.read(tmp_path / "a.npy", ReadOptions(trace=Trace.BACKWARD, nm_per_px=1))


def test_cut_array_keeps_its_whole_rows(tmp_path: Path) -> None:
    values = ramp().astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[: 128 + 30 * 4 * 7 + 11])
    frame = READER.read(tmp_path / "a.npy", SCALE)
    assert (frame.info.complete_rows, frame.info.partial) == (7, True)
    np.testing.assert_array_equal(frame.data[:7], values[:7])
    assert np.isnan(frame.data[7:]).all()
    assert READER.state(tmp_path / "a.npy").status is FileStatus.INCOMPLETE


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(5),
        np.zeros((2, 2, 2)),
        np.zeros((0, 4)),
        np.zeros((2, 2), complex),
        np.array([["a"]]),
        np.array([[{}, None]], dtype=object),
        np.zeros((2, 2), dtype=[("x", "f4")]),
    ],
    ids=lambda array: f"{array.dtype.kind}{array.shape}",
)
def test_array_that_is_no_picture_is_refused_and_nothing_is_unpickled(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(FrameError):
        READER.read(tmp_path / "a.npy", SCALE)


def _png(rows: int, columns: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("huge.png", _png(100_000, 100_000, b""), "more than|pixels"),
        ("empty.png", _png(8000, 8000, zlib.compress(b"")), "cannot be in a file"),
        ("huge.npy", b"\x93NUMPY\x01\x00\x60\x00" + b"{'descr': '<f4', 'fortran_order': False, "
         b"'shape': (99999999, 99999999)}".ljust(95) + b"\n", "more than"),
        ("wide.npy", b"\x93NUMPY\x01\x00\x60\x00" + b"{'descr': '<f4', 'fortran_order': False, "
         b"'shape': (8000, 8000)}".ljust(95) + b"\n" + bytes(40_000), "cannot be in a file"),
        ("deep.npy", b"\x93NUMPY\x01\x00\x00\x80" + b"(" * 32768, "cannot be decoded"),
    ],
)  # fmt: skip
def test_wild_sizes_are_refused_before_memory_is_taken(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FrameError, match=reason):
        READER.read(tmp_path / name, SCALE)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "npy"])
def test_small_picture_passes_the_conformance_suite(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, ramp())
    else:
        Image.fromarray(ramp().astype(np.uint8)).save(path)
    check_reader(READER, path, options=SCALE, cuts=40, flips=60)
