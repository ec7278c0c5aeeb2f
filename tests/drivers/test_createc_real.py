"""The Createc reader on real files: against a slow, obvious reading, and against what physics says of each picture."""

from __future__ import annotations

import os
import shutil
import zlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from spm_live_drivers.contract import FileStatus, Frame, ReadOptions, ScanDirection, Trace
from spm_live_drivers.errors import FrameError
from spm_live_drivers.formats.createc import CreatecReader
from spm_live_drivers.formats.nanonis_sxm import NanonisSxmReader
from spm_live_drivers.registry import find_reader, scan_suffixes
from spm_live_drivers.testing import check_reader, frame_problems

READER = CreatecReader()
SILVER_OR_GOLD_STEP_M = 2.355e-10


def planes_of(path: Path, side: int) -> NDArray[np.float32]:
    """All planes in counts, as the bytes lie."""
    values = np.frombuffer(zlib.decompress(path.read_bytes()[16384:]), "<f4")
    return values[1 : 1 + 4 * side * side].reshape(4, side, side)


@pytest.mark.parametrize(
    ("name", "side", "done", "size_nm", "bias_v", "setpoint", "z_count_m"),
    [
        ("A200621.212434", 512, 353, 21.52566, 0.1, 1.0e-10, 8.79e-10 * 3 * 20 / 2**20),
        ("A250407.141806", 256, 9, 99.8468, 0.6538, 1.56e-10, 19.2e-10 * 10 * 20 / 2**20),
        ("A260317.105156", 512, 512, 240.00732, 0.5, 3.0e-11, 19.2e-10 * 10 * 20 / 2**20),
    ],
)
def test_real_file_gives_the_values_and_settings_that_are_known(
    data_dir: Path, name: str, side: int, done: int, size_nm: float, bias_v: float, setpoint: float, z_count_m: float
) -> None:
    path = data_dir / "createc" / f"{name}.dat"
    assert isinstance(find_reader(path), CreatecReader)
    assert READER.state(path).status is FileStatus.COMPLETE
    counts = planes_of(path, side)
    for k, (trace, channel) in enumerate((trace, channel) for trace in Trace for channel in ("Z", "Current")):
        frame = READER.read(path, ReadOptions(channel=channel, trace=trace, timezone="UTC"))
        scale = z_count_m if channel == "Z" else 20 / 2**20 / 1e9
        np.testing.assert_allclose(frame.data[:done], counts[k, :done] * scale, rtol=1e-6)
        assert np.isnan(frame.data[done:]).all()
        info = frame.info
        assert (info.complete_rows, info.direction, info.warnings) == (done, ScanDirection.DOWN, ())
        assert info.geometry.size_nm == pytest.approx((size_nm, size_nm))
        assert (info.bias_v, info.setpoint) == pytest.approx((bias_v, setpoint))
        assert info.started == datetime.strptime(name, "A%y%m%d.%H%M%S").replace(tzinfo=UTC)
        assert not frame_problems(frame, READER, path)
    assert READER.read(path).ref.channel == "Z"


def test_mean_of_the_current_is_the_set_point(data_dir: Path) -> None:
    for path in sorted((data_dir / "createc").glob("*.dat")):
        frame = READER.read(path, ReadOptions(channel="Current"))
        assert np.nanmean(frame.data) == pytest.approx(frame.info.setpoint, rel=0.06)


def test_backward_picture_is_the_forward_picture_and_not_its_mirror_image(data_dir: Path) -> None:
    for path in sorted((data_dir / "createc").glob("*.dat")):
        forward, backward = (READER.read(path, ReadOptions(trace=trace)).data for trace in Trace)
        rows = np.isfinite(forward).all(axis=1)
        one, other = (data[rows] - data[rows].mean(axis=1, keepdims=True) for data in (forward, backward))
        assert np.sum(one * other) > 0.5 * np.sqrt(np.sum(one**2) * np.sum(other**2))
        assert np.sum(one * other[:, ::-1]) < 0


def test_step_between_two_terraces_has_the_height_of_an_atom(data_dir: Path) -> None:
    """The upper terrace is bent by creep, so the medians are taken close to the step, the plane from the lower one."""
    data = READER.read(data_dir / "createc" / "A260317.105156.dat").data.astype(np.float64)
    y, x = np.mgrid[0:512, 0:512]
    plane = np.stack([x, y, np.ones_like(x)], axis=-1)
    below = y > 330
    for _ in range(5):
        flat = data - plane @ np.linalg.lstsq(plane[below], data[below], rcond=None)[0]
        below = (y > 330) & (np.abs(flat - np.median(flat[below])) < 40e-12)
    upper, lower = np.median(flat[175:185, 120:180]), np.median(flat[200:210, 120:180])
    assert upper - lower == pytest.approx(SILVER_OR_GOLD_STEP_M, rel=0.05)


def test_partial_real_file_passes_the_conformance_suite(data_dir: Path) -> None:
    check_reader(READER, data_dir / "createc" / "A250407.141806.dat", cuts=30, flips=30)


def explained(error: FrameError, path: Path) -> None:
    assert error.ref.source == str(path)
    assert (error.stage, bool(error.reason)) == ("read", True)


def outcome(path: Path) -> Frame | None:
    try:
        READER.state(path)
        frame = READER.read(path, ReadOptions(channel="Z", digest=False))
    except FrameError as error:
        return explained(error, path)
    assert not [problem for problem in frame_problems(frame, READER, path) if "sha256" not in problem]
    return frame


def fuzz(original: Path, path: Path, count: int) -> None:
    """Flip bits, half of them in the header; then put something behind; then cut, at ever smaller sizes."""
    shutil.copyfile(original, path)
    whole = outcome(path)
    assert whole is not None
    content = bytearray(original.read_bytes())
    size = len(content)
    chance = np.random.default_rng(size)
    for k in range(count):
        place = int(chance.integers(min(size, 12_000) if k % 2 else size))
        content[place] ^= 1 << int(chance.integers(8))
        path.write_bytes(content)
        outcome(path)
        content[place] = original.read_bytes()[place]
    for tail in (b"\0", bytes(100_000), chance.bytes(5000)):
        path.write_bytes(content + tail)
        frame = outcome(path)
        assert frame is not None
        np.testing.assert_array_equal(frame.data, whole.data)
    for end in sorted({*range(0, size, size // count), *range(0, 20_000, 40_000 // count), size - 1}, reverse=True):
        os.truncate(path, end)
        frame = outcome(path)
        if frame is not None:
            assert frame.geometry == whole.geometry
            there = np.isfinite(frame.data)
            np.testing.assert_array_equal(frame.data[there], whole.data[there])
            if end < size // 2:
                assert READER.state(path).status is FileStatus.INCOMPLETE


@pytest.mark.parametrize("name", ["A250407.141806", "A200621.212434"])
def test_real_file_cut_padded_and_flipped_in_some_places(data_dir: Path, tmp_path: Path, name: str) -> None:
    fuzz(data_dir / "createc" / f"{name}.dat", tmp_path / "copy.dat", 16)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_real_file_cut_padded_and_flipped_in_200_places(data_dir: Path, tmp_path: Path) -> None:
    for original in sorted((data_dir / "createc").glob("*.dat")):
        fuzz(original, tmp_path / "copy.dat", 200)


def test_spectra_of_another_maker_are_no_broken_scans(data_dir: Path) -> None:
    """They end in ``.dat`` too: no reader knows them, and that is worth no report."""
    assert ".dat" not in scan_suffixes()
    for path in sorted((data_dir / "nanonis").glob("*.dat")):
        assert not READER.accepts(path, path.read_bytes()[:4096])
        with pytest.raises(FrameError, match="no reader knows"):
            find_reader(path)


def test_lines_run_as_in_the_file_that_another_program_made_of_the_same_scan(data_dir: Path) -> None:
    """Only their order and direction: that program took the heights ten times too small, and all pixels one further."""
    made = NanonisSxmReader().read(data_dir / "nanonis" / "converter_9_of_256_rows.sxm").data[:9].astype(np.float64)
    ours = READER.read(data_dir / "createc" / "A250407.141806.dat").data[:9].astype(np.float64)
    inner = slice(4, -4)
    likeness = [
        np.corrcoef(np.roll(turned, 1, axis=1)[:, inner].ravel(), made[:, inner].ravel())[0, 1]
        for turned in (ours, ours[::-1], ours[:, ::-1])
    ]
    assert likeness[0] > 0.9999
    assert max(likeness[1:]) < 0.5
