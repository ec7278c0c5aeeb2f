"""The Nanonis reader on small files that the tests write themselves, byte by byte."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spm_live_drivers.contract import FileStatus, Frame, ReadOptions, ScanDirection, Trace
from spm_live_drivers.errors import FrameError
from spm_live_drivers.formats.nanonis_sxm import NanonisSxmReader
from spm_live_drivers.testing import check_reader

READER = NanonisSxmReader()
BACKWARD = ReadOptions(trace=Trace.BACKWARD)

GOLDEN = (
    b":NANONIS_VERSION:\n2\n:SCANIT_TYPE:\n              FLOAT            MSBFIRST\n"
    b":REC_DATE:\n 25.03.2026\n:REC_TIME:\n17:11:14\n:REC_TEMP:\n      290.0000000000\n:ACQ_TIME:\n        47.5\n"
    b":SCAN_PIXELS:\n       3       2\n:SCAN_FILE:\nK:\\data\\golden.sxm\n"
    b":SCAN_TIME:\n             3.712E-1             3.712E-1\n"
    b":SCAN_RANGE:\n           6.000000E-9           4.000000E-9\n"
    b":SCAN_OFFSET:\n             1.000000E-7         -5.000000E-8\n:SCAN_ANGLE:\n            3.100E+1\n"
    b":SCAN_DIR:\nup\n:BIAS:\n-2.500000E+0\n"
    b":Z-CONTROLLER:\n\tName\ton\tSetpoint\tP-gain\tI-gain\tT-const\n"
    b"\tlog Current\t1\t1.000E-11 A\t5.000E-12 m\t2.500E-8 m/s\t2.000E-4 s\n"
    b":COMMENT:\nH2Pc on NaCl, 4 K\nsecond line\n:NanonisMain>SW Version:\nGeneric 5e\n"
    b":DATA_INFO:\n\tChannel\tName\tUnit\tDirection\tCalibration\tOffset\n"
    b"\t14\tZ\tm\tboth\t9.000E-9\t0.000E+0\n\t0\tCurrent\tA\tforward\t1.000E-9\t-1.132E-13\n\n"
    b":SCANIT_END:\n\n\n\x1a\x04"
    # Z forward: the bottom row 1 2 3, then the top row 4 5 7
    b"\x3f\x80\x00\x00\x40\x00\x00\x00\x40\x40\x00\x00\x40\x80\x00\x00\x40\xa0\x00\x00\x40\xe0\x00\x00"
    # Z backward, from right to left: the bottom row 3.5 2.5 1.5, then the top row 7.5 5.5 4.5
    b"\x40\x60\x00\x00\x40\x20\x00\x00\x3f\xc0\x00\x00\x40\xf0\x00\x00\x40\xb0\x00\x00\x40\x90\x00\x00"
    # Current forward: 10 20 30, 40 50 60
    b"\x41\x20\x00\x00\x41\xa0\x00\x00\x41\xf0\x00\x00\x42\x20\x00\x00\x42\x48\x00\x00\x42\x70\x00\x00"
)


def make_sxm(
    planes: NDArray[Any],
    *,
    channels: tuple[tuple[str, str, str], ...] = (("Z", "m", "both"),),
    order: str = "MSBFIRST",
    direction: str = "down",
    size_m: tuple[float, float] | None = None,
    extra: str = "",
    blank: str = "\n",
) -> bytes:
    """A file of (planes, rows, columns) in the order and orientation in which they are stored."""
    _, rows, columns = planes.shape
    width, height = size_m or (columns * 1e-10, rows * 1e-10)
    info = "".join(f"\t{k}\t{name}\t{unit}\t{way}\t1.0E+0\t0.0E+0\n" for k, (name, unit, way) in enumerate(channels))
    text = (
        f":NANONIS_VERSION:\n2\n:SCANIT_TYPE:\n FLOAT {order}\n:REC_DATE:\n 01.07.2024\n:REC_TIME:\n12:00:00\n"
        f":SCAN_PIXELS:\n {columns} {rows}\n:SCAN_RANGE:\n {width:.6E} {height:.6E}\n:SCAN_OFFSET:\n 0.0E+0 0.0E+0\n"
        f":SCAN_ANGLE:\n 0.0E+0\n:SCAN_DIR:\n{direction}\n:BIAS:\n 1.0E+0\n{extra}"
        f":DATA_INFO:\n\tChannel\tName\tUnit\tDirection\tCalibration\tOffset\n{info}{blank}:SCANIT_END:\n\n\n"
    )
    return text.encode("cp1252") + b"\x1a\x04" + planes.astype(">f4" if order == "MSBFIRST" else "<f4").tobytes()


def hills(planes: int = 2, rows: int = 12, columns: int = 10, seed: int = 0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=(planes, rows, columns)) * 1e-10).astype(np.float32)


def read(tmp_path: Path, content: bytes, options: ReadOptions = ReadOptions()) -> Frame:
    path = tmp_path / "scan.sxm"
    path.write_bytes(content)
    return READER.read(path, options)


def test_golden_file_reads_as_it_was_written_by_hand(tmp_path: Path) -> None:
    frame = read(tmp_path, GOLDEN, ReadOptions(timezone="Europe/Zurich"))
    assert frame.data.tolist() == [[4, 5, 7], [1, 2, 3]]
    info = frame.info
    assert info.ref.sha256 == hashlib.sha256(GOLDEN).hexdigest()
    assert (info.ref.channel, info.ref.trace, info.unit, info.format) == ("Z", Trace.FORWARD, "m", "nanonis-sxm")
    assert info.geometry.size_nm == pytest.approx((6, 4))
    assert info.geometry.center_nm == pytest.approx((100, -50))
    assert (info.geometry.rows, info.geometry.columns, info.geometry.angle_deg) == (2, 3, 31)
    assert (info.direction, info.complete_rows, info.partial) == (ScanDirection.UP, 2, False)
    assert (info.bias_v, info.setpoint, info.setpoint_unit) == (-2.5, 1e-11, "A")
    assert info.started == datetime(2026, 3, 25, 16, 11, 14, tzinfo=UTC)
    assert info.ended == datetime(2026, 3, 25, 16, 12, 1, 500_000, tzinfo=UTC)
    assert info.instrument == "Nanonis Generic 5e"
    assert info.comment == "H2Pc on NaCl, 4 K\nsecond line"
    assert info.metadata["SCAN_FILE"] == "K:\\data\\golden.sxm"
    assert info.warnings == ()


def test_backward_lines_are_turned_round(tmp_path: Path) -> None:
    frame = read(tmp_path, GOLDEN, BACKWARD)
    assert frame.data.tolist() == [[4.5, 5.5, 7.5], [1.5, 2.5, 3.5]]
    assert frame.ref.trace is Trace.BACKWARD


def test_forward_only_channel_is_found_behind_one_with_both_traces(tmp_path: Path) -> None:
    frame = read(tmp_path, GOLDEN, ReadOptions(channel="current"))
    assert frame.data.tolist() == [[40, 50, 60], [10, 20, 30]]
    with pytest.raises(FrameError, match="Current holds no backward trace"):
        read(tmp_path, GOLDEN, replace(BACKWARD, channel="Current"))


def test_golden_file_passes_the_conformance_suite(tmp_path: Path) -> None:
    path = tmp_path / "golden.sxm"
    path.write_bytes(GOLDEN)
    check_reader(READER, path, cuts=120, flips=120)


@pytest.mark.parametrize("order", ["MSBFIRST", "LSBFIRST"])
@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("blank", ["", "\n", "\n\n\t\n"])
@pytest.mark.parametrize("tail", [b"", b"\0" * 7, b"tail" * 500])
def test_byte_order_direction_blank_lines_and_trailing_bytes(
    tmp_path: Path, order: str, direction: str, blank: str, tail: bytes
) -> None:
    planes = hills(rows=7, columns=11)
    content = make_sxm(planes, order=order, direction=direction, blank=blank) + tail
    forward, backward = read(tmp_path, content), read(tmp_path, content, BACKWARD)
    rows = slice(None, None, -1 if direction == "up" else 1)
    np.testing.assert_array_equal(forward.data, planes[0][rows])
    np.testing.assert_array_equal(backward.data, planes[1][rows, ::-1])
    assert forward.info.complete_rows == 7
    assert READER.state(tmp_path / "scan.sxm").status is FileStatus.COMPLETE
    assert bool(forward.info.warnings) is (len(tail) > 44)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_file_cut_anywhere_keeps_its_whole_rows_and_its_scale(tmp_path: Path, direction: str) -> None:
    planes = hills(planes=1, rows=9, columns=5)
    content = make_sxm(planes, channels=(("Z", "m", "forward"),), direction=direction)
    start = content.index(b"\x1a\x04") + 2
    whole = read(tmp_path, content)
    for size in range(start, len(content)):
        frame = read(tmp_path, content[:size])
        there = (size - start) // 20
        assert frame.info.complete_rows == there
        assert frame.geometry == whole.geometry
        scanned = frame.data[9 - there :] if direction == "up" else frame.data[:there]
        np.testing.assert_array_equal(scanned, whole.data[9 - there :] if direction == "up" else whole.data[:there])
        assert np.isnan(frame.data).sum() == (9 - there) * 5
        assert READER.state(tmp_path / "scan.sxm").status is FileStatus.INCOMPLETE


def test_cut_header_is_an_error_but_may_still_grow(tmp_path: Path) -> None:
    start = GOLDEN.index(b"\x1a\x04") + 2
    path = tmp_path / "scan.sxm"
    for size in range(1, start, 5):
        path.write_bytes(GOLDEN[:size])
        assert READER.accepts(path, GOLDEN[:size])
        assert READER.state(path).status is FileStatus.INCOMPLETE
        with pytest.raises(FrameError, match="inside its header"):
            READER.read(path)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_scan_that_was_stopped_has_the_rows_that_are_not_nan(tmp_path: Path, direction: str) -> None:
    planes = hills(rows=10)
    planes[0, 4:] = np.nan
    planes[0, 3, 6:] = np.nan  # stopped in the middle of the fourth line
    planes[1, 3:] = np.nan
    content = make_sxm(planes, direction=direction)
    frame = read(tmp_path, content)
    assert (frame.info.complete_rows, frame.info.partial) == (3, True)
    assert read(tmp_path, content, BACKWARD).info.complete_rows == 3
    assert np.isfinite(frame.data[-3:] if direction == "up" else frame.data[:3]).all()
    assert READER.state(tmp_path / "scan.sxm").status is FileStatus.COMPLETE


def test_single_value_that_is_not_a_number_does_not_end_the_scan(tmp_path: Path) -> None:
    planes = hills(rows=10)
    planes[0, 5, 2] = np.nan
    assert read(tmp_path, make_sxm(planes)).info.complete_rows == 10


def test_infinite_and_signalling_values_of_a_damaged_file_become_plain_nan(tmp_path: Path) -> None:
    planes = hills(rows=10).astype(">f4")
    bits = planes.view(">u4")
    bits[0, 4, 2], bits[0, 6, 3], bits[0, 7, 1] = 0x7F800000, 0xFF800000, 0x7FA00000
    frame = read(tmp_path, make_sxm(planes))
    assert np.isnan(frame.data[[4, 6, 7], [2, 3, 1]]).all()
    assert np.isnan(frame.data).sum() == 3
    with np.errstate(invalid="raise"):
        frame.data.astype(np.float64)


def test_scan_stopped_before_its_first_line_is_a_frame_without_rows(tmp_path: Path) -> None:
    frame = read(tmp_path, make_sxm(np.full((2, 4, 4), np.nan)))
    assert frame.info.complete_rows == 0
    assert np.isnan(frame.data).all()


TIMES = ":SCAN_TIME:\n 5.0E-1 5.0E-1\n:ACQ_TIME:\n {}\n"
SETTINGS = ":Scan>lines:\n{}\n"


@pytest.mark.parametrize(
    ("extra", "rows", "said"),
    [
        (SETTINGS.format(60), 60, "Scan>lines"),
        (SETTINGS.format(6), 6, ""),
        (TIMES.format(60.2), 60, "ACQ_TIME"),
        (TIMES.format(6.1), 6, ""),
        (SETTINGS.format(6) + TIMES.format(60), 6, ""),
        (SETTINGS.format(512) + TIMES.format(60), 60, "ACQ_TIME"),
        ("", 60, "nothing else"),
    ],
)
def test_fewer_rows_than_the_range_spans(tmp_path: Path, extra: str, rows: int, said: str) -> None:
    """6 rows of 60 columns over a square range: stopped, unless the header says that the pixels are high."""
    planes = hills(rows=6, columns=60)
    frame = read(tmp_path, make_sxm(planes, size_m=(6e-9, 6e-9), extra=extra))
    assert frame.geometry.rows == rows
    assert frame.geometry.nm_per_px == pytest.approx((0.1, 6 / rows))
    assert frame.info.complete_rows == 6
    np.testing.assert_array_equal(frame.data[:6], planes[0])
    assert np.isnan(frame.data[6:]).all()
    assert said in "".join(frame.info.warnings)
    assert bool(frame.info.warnings) is bool(said)


def test_left_out_rows_of_an_up_scan_are_at_the_top(tmp_path: Path) -> None:
    planes = hills(rows=6, columns=60)
    frame = read(tmp_path, make_sxm(planes, size_m=(6e-9, 6e-9), direction="up"))
    np.testing.assert_array_equal(frame.data[-6:], planes[0][::-1])
    assert np.isnan(frame.data[:-6]).all()


def test_slightly_high_pixels_without_a_witness_are_believed_and_said(tmp_path: Path) -> None:
    frame = read(tmp_path, make_sxm(hills(rows=20, columns=40), size_m=(4e-9, 4e-9)))
    assert frame.geometry.nm_per_px == pytest.approx((0.1, 0.2))
    assert "2.00 times as high as wide" in frame.info.warnings[0]


def test_pixels_that_are_wide_are_believed(tmp_path: Path) -> None:
    frame = read(tmp_path, make_sxm(hills(rows=40, columns=20), size_m=(4e-9, 4e-9)))
    assert frame.geometry.nm_per_px == pytest.approx((0.2, 0.1))
    assert frame.info.warnings == ()


def test_range_that_contradicts_scan_field_and_speed_is_said(tmp_path: Path) -> None:
    extra = ":Scan>Scanfield:\n0E+0;0E+0;10E-9;10E-9;0E+0\n:Scan>speed forw. (m/s):\n20E-9\n:SCAN_TIME:\n 0.5 0.5\n"
    warned = read(tmp_path, make_sxm(hills(rows=10, columns=10), size_m=(1e-9, 1e-9), extra=extra))
    assert [text[:20] for text in warned.info.warnings] == ["SCAN_RANGE says 1 nm"]
    assert "wide" in warned.info.warnings[0]
    assert read(tmp_path, make_sxm(hills(rows=10), size_m=(10e-9, 10e-9), extra=extra)).info.warnings == ()
    high = read(tmp_path, make_sxm(hills(rows=10), size_m=(10e-9, 7e-9), extra=extra))
    assert "SCAN_RANGE says 7 nm high" in high.info.warnings[0]


MULTIPASS = (
    ":Multipass-Config:\n\tRecord-Ch\tPlayback\tBias_override\tBias_override_value\tZ_Setp_override\t"
    "Z_Setp_override_value\tSpeed_factor\n"
    "\t-1\tFALSE\tTRUE\t-1.0E-2\tFALSE\t0.0\t1.0\n\t-1\tFALSE\tTRUE\t-2.0E-2\tFALSE\t0.0\t1.0\n"
    "\t-1\tTRUE\tTRUE\t-3.0E-2\tTRUE\t4.0E-10\t1.0\n\t-1\tTRUE\tFALSE\t-4.0E-2\tFALSE\t0.0\t1.0\n"
)


def test_each_pass_of_a_multipass_scan_has_its_own_plane_bias_and_set_point(tmp_path: Path) -> None:
    planes = hills(planes=8)
    names = ("[P1]_Z", "[P1]_Current", "[P2]_Z", "[P2]_Current")
    content = make_sxm(planes, channels=tuple((name, "m", "both") for name in names), extra=MULTIPASS)
    for k, name in enumerate(names):
        frame = read(tmp_path, content, ReadOptions(channel=name))
        np.testing.assert_array_equal(frame.data, planes[2 * k])
        np.testing.assert_array_equal(
            read(tmp_path, content, replace(BACKWARD, channel=name)).data, planes[2 * k + 1][:, ::-1]
        )
    first, bare = read(tmp_path, content), read(tmp_path, content, ReadOptions(channel="Z"))
    assert first.ref.channel == bare.ref.channel == "[P1]_Z"
    assert first.info.bias_v == -0.01
    assert read(tmp_path, content, BACKWARD).info.bias_v == -0.02
    second = read(tmp_path, content, ReadOptions(channel="[P2]_Z")).info
    assert (second.bias_v, second.setpoint) == (-0.03, 4e-10)
    assert read(tmp_path, content, replace(BACKWARD, channel="[P2]_Z")).info.bias_v == 1.0


@pytest.mark.parametrize("name", ["OC_M1_Freq._Shift", "oc m1 freq. shift", "OC M1 Freq. Shift (Hz)"])
def test_channel_names_do_not_depend_on_case_blanks_or_unit(tmp_path: Path, name: str) -> None:
    content = make_sxm(hills(planes=4), channels=(("Z", "m", "both"), ("OC_M1_Freq._Shift", "Hz", "both")))
    assert read(tmp_path, content, ReadOptions(channel=name)).ref.channel == "OC_M1_Freq._Shift"


def test_wrong_channel_is_refused_with_the_right_ones(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="no channel 'Phase'; the file holds Z, Current"):
        read(tmp_path, GOLDEN, ReadOptions(channel="Phase"))


def _waves(noise: float, seed: int) -> NDArray[np.float64]:
    y, x = np.mgrid[:32, :32]
    return np.sin(x / 3) * np.cos(y / 4) + noise * np.random.default_rng(seed).normal(size=(32, 32))


def _chosen(tmp_path: Path, z: object, current: object, shift: object, extra: str = "") -> str:
    planes = np.stack([np.broadcast_to(np.asarray(plane, float), (32, 32)) for plane in (z, current, shift)])
    channels = (("Z", "m", "forward"), ("Current", "A", "forward"), ("Frequency_Shift", "Hz", "forward"))
    return read(tmp_path, make_sxm(planes, channels=channels, extra=extra)).ref.channel


def test_channel_that_shows_the_picture_is_chosen(tmp_path: Path) -> None:
    picture, noise = _waves(0.1, 1), np.random.default_rng(2).normal(size=(32, 32))
    tilt = np.add.outer(np.arange(32) * 1e-12, np.arange(32) * 3e-12) - 4e-8
    assert _chosen(tmp_path, picture * 1e-11, picture, picture) == "Z"
    assert _chosen(tmp_path, -4e-8, picture * 1e-10, noise) == "Current"
    assert _chosen(tmp_path, -4e-8, picture * 1e-10, picture) == "Frequency_Shift"
    assert _chosen(tmp_path, -4e-8, 1e-12, picture) == "Frequency_Shift"
    assert _chosen(tmp_path, tilt, picture * 1e-10, noise) == "Current"
    assert _chosen(tmp_path, -4e-8, 1e-12, 0.0) == "Z"
    steps = np.round(tilt / 1e-12) * 1e-12  # the converter's steps show once the controller is off
    off = ":Z-Controller>Controller status:\nOFF\n"
    assert _chosen(tmp_path, steps, picture * 1e-10, noise, off) == "Current"


def _edited(old: bytes, new: bytes) -> bytes:
    assert GOLDEN.count(old) == 1
    return GOLDEN.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"FLOAT            MSBFIRST", b"FLOAT            MSBGIRST", "MSBGIRST"),
        (b"FLOAT            MSBFIRST", b"INT MSBFIRST", "INT"),
        (b"       3       2", b"       3", "SCAN_PIXELS"),
        (b"       3       2", b"       3       0", "SCAN_PIXELS"),
        (b"       3       2", b"       3       -2", "SCAN_PIXELS"),
        (b"       3       2", b"       1_0       2", "SCAN_PIXELS"),
        (b"       3       2", b"       90000       90000", "larger than"),
        (b"       3       2", b"       8000       8000", "file has"),
        (b"6.000000E-9", b"6.000000E+9", "scan range"),
        (b"6.000000E-9", b"nan", "SCAN_RANGE"),
        (b"6.000000E-9", b"-6.000000E-9", "scan range"),
        (b"1.000000E-7 ", b"1.000000E+7 ", "SCAN_OFFSET"),
        (b"3.100E+1", b"inf", "SCAN_ANGLE"),
        (b"\nup\n", b"\nupp\n", "SCAN_DIR"),
        (b"both", b"bath", "DATA_INFO"),
        (b":DATA_INFO:", b":DATA_INFX:", "DATA_INFO"),
        (b":SCANIT_END:\n\n\n\x1a\x04", b":SCANIT_END:\n\n\nxx\x1a\x04", "1A 04"),
        (b":NANONIS_VERSION:", b":NANONIS_VERSIOM:", "NANONIS_VERSION"),
    ],
)
def test_header_that_cannot_be_true_is_refused(tmp_path: Path, old: bytes, new: bytes, reason: str) -> None:
    with pytest.raises(FrameError, match=reason) as caught:
        read(tmp_path, _edited(old, new))
    assert caught.value.ref.source == str(tmp_path / "scan.sxm")


def test_pixels_that_contradict_the_size_of_the_file_are_refused(tmp_path: Path) -> None:
    extra = ":Scan>pixels/line:\n10\n:Scan>lines:\n12\n"
    content = make_sxm(hills(rows=12, columns=10), size_m=(1e-9, 1.2e-9), extra=extra)
    assert read(tmp_path, content).data.shape == (12, 10)
    for wrong in (b" 18 12\n", b" 8 12\n"):
        with pytest.raises(FrameError, match="fit the 10 x 12"):
            read(tmp_path, content.replace(b" 10 12\n", wrong, 1))


def test_comment_cannot_overwrite_what_stands_before_it(tmp_path: Path) -> None:
    content = _edited(b"second line", b":SCAN_RANGE:\n 1.0E-6 1.0E-6\n:x:\n")
    assert read(tmp_path, content).geometry.size_nm == pytest.approx((6, 4))


def test_text_of_a_windows_code_page_is_read(tmp_path: Path) -> None:
    frame = read(tmp_path, _edited(b"second line", "20 °C, 5 µA".encode("cp1252")))
    assert frame.info.comment.endswith("20 °C, 5 µA")


def test_wrong_date_is_no_time_and_wrong_zone_is_an_error(tmp_path: Path) -> None:
    frame = read(tmp_path, _edited(b"25.03.2026", b"31.02.2026"))
    assert (frame.info.started, frame.info.ended) == (None, None)
    with pytest.raises(FrameError, match="no time zone 'Mars/Olympus'"):
        read(tmp_path, GOLDEN, ReadOptions(timezone="Mars/Olympus"))


def test_copy_that_was_allocated_but_not_written_is_incomplete(tmp_path: Path) -> None:
    """A network copy often has its full length at once; what has not arrived are zeros."""
    planes = hills(planes=4, rows=16, columns=16)
    content = make_sxm(planes, channels=(("Z", "m", "both"), ("Current", "A", "both")))
    path = tmp_path / "scan.sxm"
    start = content.index(b"\x1a\x04") + 2
    for written in (start, start + 3 * 64 + 10, start + 1024, start + 1024 + 500, start + 2048 + 200):
        path.write_bytes(content[:written].ljust(len(content), b"\0"))
        state = READER.state(path)
        assert state.status is FileStatus.INCOMPLETE, written
        frame = READER.read(path)
        there = min(16, (written - start) // 64)
        assert abs(frame.info.complete_rows - there) <= 1  # the last float may end in zeros
        assert not (frame.data == 0).any()


def test_channel_that_measured_exactly_zero_is_not_missing(tmp_path: Path) -> None:
    planes = hills(planes=4, rows=16, columns=16)
    planes[2:] = 0
    content = make_sxm(planes, channels=(("Z", "m", "both"), ("Excitation", "V", "both")))
    frame = read(tmp_path, content, ReadOptions(channel="Excitation"))
    assert READER.state(tmp_path / "scan.sxm").status is FileStatus.COMPLETE
    assert (frame.data == 0).all()
    assert frame.info.complete_rows == 16


def test_wildly_long_header_is_refused_for_good(tmp_path: Path) -> None:
    path = tmp_path / "scan.sxm"
    path.write_bytes(b":NANONIS_VERSION:\n2\n" + b"x" * (1 << 20))
    for call in (READER.read, READER.state, READER.channels):
        with pytest.raises(FrameError, match="SCANIT_END"):
            call(path)


def test_digest_can_be_left_out(tmp_path: Path) -> None:
    assert read(tmp_path, GOLDEN, ReadOptions(digest=False)).ref.sha256 == ""
