"""The Createc reader on small files that the tests write themselves."""

from __future__ import annotations

import hashlib
import re
import tracemalloc
import zlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from spm_live_drivers.contract import FileStatus, Frame, ReadOptions, ScanDirection, Trace
from spm_live_drivers.errors import FrameError
from spm_live_drivers.formats.createc import CreatecReader
from spm_live_drivers.formats.createc_header import parse_header
from spm_live_drivers.formats.createc_text import find_data
from spm_live_drivers.testing import check_reader

READER = CreatecReader()
BACKWARD = ReadOptions(trace=Trace.BACKWARD)
COUNT_V = 20 / 2**20

GOLDEN = (
    b"[Paramco32]\r\nDAC-Type=20bit\r\nTitel / Titel=LHeNew\r\n"
    b"Delta X / Delta X [Dac]=64\r\nDelta Y / Delta Y [Dac]=128\r\nNum.X / Num.X=3\r\nNum.Y / Num.Y=2\r\n"
    b"GainX / GainX=10\r\nGainY / GainY=10\r\nGainZ / GainZ=3\r\nRotation / Rotation=90.00\r\n  /  = \r\n"
    b"BiasVoltage / BiasVolt.[mV]=-100.00\r\nGainpreamp / GainPre 10^=9\r\nChan(1,2,4) / ScanChannels=2\r\n"
    b"Scanrotoffx / OffsetX=-32768.0\r\nScanrotoffy / OffsetY=16384.0\r\n"
    b"Scanmode / ScanXMode=2\r\nCHMode / CHMode=0\r\nChannels / Channels=4\r\nScanYMode / ScanYMode=1\r\n"
    b"ScanmodeSine / ScanmodeSine=0\r\nChannelselectval / Channelselectval=3\r\nDrift_X / Drift_X[\xc5/sec]=0.0\r\n"
    b"Dacto[A]xy=0.00066\r\nDacto[A]z=0.00017\r\nActDriveDir=H:\\Createc\\STMDATA\\Cu(111)\\\r\nFBLogIset= 100.000\r\n"
    b"Length x[A]=1.2672\r\nLength y[A]=1.6896\r\nBiasvolt[mV]=-100.00\r\nCurrent[A]=1.0E-10\r\nActGainXYZ=10 10 3\r\n"
    b"Channels=4\r\nZPiezoconst=  8.79\r\nXpiezoconst= 34.60\r\nYPiezoconst= 34.60\r\n"
    b"PSTMAFM.EXE_Date=7/16/2019 10:58:02 AM  DSP-COMPDATE= Apr 29 2015 \r\nmemo:0=CO on Cu(111)\r\n\0\0\0\0\0\0DATA"
    # zlib header, then one block as it is: 144 bytes
    b"\x78\x01\x01\x90\x00\x6f\xff"
    b"\x00\x00\x00\x00"
    # Z forward: 1024 times 1 2 3, 4 5 7
    b"\x00\x00\x80\x44\x00\x00\x00\x45\x00\x00\x40\x45\x00\x00\x80\x45\x00\x00\xa0\x45\x00\x00\xe0\x45"
    # Current forward: 10 20 30, 40 50 60
    b"\x00\x00\x20\x41\x00\x00\xa0\x41\x00\x00\xf0\x41\x00\x00\x20\x42\x00\x00\x48\x42\x00\x00\x70\x42"
    # Z backward: 1024 times 1.5 2.5 3.5, 4.5 5.5 7.5
    b"\x00\x00\xc0\x44\x00\x00\x20\x45\x00\x00\x60\x45\x00\x00\x90\x45\x00\x00\xb0\x45\x00\x00\xf0\x45"
    # Current backward: -1 -2 -3, -4 -5 -6
    b"\x00\x00\x80\xbf\x00\x00\x00\xc0\x00\x00\x40\xc0\x00\x00\x80\xc0\x00\x00\xa0\xc0\x00\x00\xc0\xc0"
    # the rest of four lines of buffers, and the Adler-32 sum
    + bytes(44)
    + b"\xdb\xe8\x14\x9b"
)


def make_dat(
    planes: NDArray[np.float32], *, changes: dict[str, str] | None = None, behind: int | None = None, level: int = 6
) -> bytes:
    """A file of (planes, rows, columns) in counts: by default Z and current, forward and backward, 0.1 nm a pixel."""
    count, rows, columns = planes.shape
    pitch = 34.60 * COUNT_V * 10 * 64
    fields = {
        "DAC-Type": "20bit",
        "Delta X / Delta X [Dac]": "64",
        "Delta Y / Delta Y [Dac]": "64",
        "Num.X / Num.X": str(columns),
        "Num.Y / Num.Y": str(rows),
        "GainX / GainX": "10",
        "GainY / GainY": "10",
        "GainZ / GainZ": "10",
        "Rotation / Rotation": "0.00",
        "BiasVoltage / BiasVolt.[mV]": "500.00",
        "Gainpreamp / GainPre 10^": "9",
        "Scanrotoffx / OffsetX": "0.0",
        "Scanrotoffy / OffsetY": "0.0",
        "Scanmode / ScanXMode": "2",
        "CHMode / CHMode": "0",
        "CHModeGainpreamp / CHModeGainpreamp": "7",
        "CHModeBias[mV] / CHModeBias[mV]": "20.00",
        "Channels / Channels": str(count),
        "ScanYMode / ScanYMode": "1",
        "ScanmodeSine / ScanmodeSine": "0",
        "Channelselectval / Channelselectval": "3",
        "Dacto[A]z": "0.00037",
        "FBLogIset": " 30.000",
        "Length x[A]": f"{columns * pitch:.4f}",
        "Length y[A]": f"{rows * pitch:.4f}",
        "ActGainXYZ": "10 10 10",
        "ZPiezoconst": " 19.20",
        "Xpiezoconst": " 34.60",
        "YPiezoconst": " 34.60",
    }
    left = dict(changes or {})
    entries = {key: left.pop(key.split(" / ")[0], value) for key, value in fields.items()} | left
    lines = [f"{key}={value}" for key, value in entries.items() if value != "absent"]
    text = "\r\n".join(["[Paramco32]", *lines]) + "\r\n"
    tail = 4 * columns - 1 if behind is None else behind
    values = np.concatenate([[0.0], planes.ravel(), np.zeros(tail)]).astype("<f4")
    return text.encode("latin-1").ljust(2044, b"\0") + b"DATA" + zlib.compress(values.tobytes(), level)


def hills(planes: int = 4, rows: int = 12, columns: int = 10, seed: int = 0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=(planes, rows, columns)) * 100 - 1000).astype(np.float32)


def read(tmp_path: Path, content: bytes, options: ReadOptions = ReadOptions()) -> Frame:
    path = tmp_path / "A260317.105156.dat"
    path.write_bytes(content)
    return READER.read(path, options)


def refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(FrameError, match=reason) as caught:
        read(tmp_path, content)
    assert caught.value.stage == "read"


def test_golden_file_reads_as_it_was_written_by_hand(tmp_path: Path) -> None:
    frame = read(tmp_path, GOLDEN, ReadOptions(timezone="Europe/Berlin"))
    one_m = 1024 * 8.79e-10 * 3 * 20 / 2**20
    np.testing.assert_allclose(frame.data, np.array([[1, 2, 3], [4, 5, 7]]) * one_m, rtol=1e-6)
    info = frame.info
    assert info.ref.sha256 == hashlib.sha256(GOLDEN).hexdigest()
    assert (info.ref.channel, info.ref.trace, info.unit, info.format) == ("Z", Trace.FORWARD, "m", "createc")
    assert info.geometry.size_nm == pytest.approx((0.12672, 0.16896))
    assert (info.geometry.rows, info.geometry.columns, info.geometry.angle_deg) == (2, 3, -90)
    assert (info.direction, info.complete_rows, info.partial) == (ScanDirection.DOWN, 2, False)
    assert (info.bias_v, info.setpoint, info.setpoint_unit) == (-0.1, 1e-10, "A")
    assert info.started == datetime(2026, 3, 17, 9, 51, 56, tzinfo=UTC)
    assert info.ended is None
    assert info.instrument == "Createc STMAFM, program of 7/16/2019 10:58:02 AM"
    assert info.comment == "CO on Cu(111)"
    assert info.metadata["Titel"] == "LHeNew"
    assert info.metadata["Drift_X"] == "0.0"
    assert info.warnings == ()


def test_first_line_lies_where_the_offset_says_and_the_frame_turns_about_it(tmp_path: Path) -> None:
    """Rotation 90 turns anticlockwise: the lines then run upwards, and later lines lie to the right."""
    geometry = read(tmp_path, GOLDEN).geometry
    pitch = 34.60 * COUNT_V * 10 / 10
    corner, beside, below = geometry.to_nm(np.array([[1.0, -0.5], [2.0, -0.5], [1.0, 0.5]]))
    assert corner == pytest.approx((32768 * pitch, 16384 * pitch))
    assert beside - corner == pytest.approx((0, 0.12672 / 3))
    assert below - corner == pytest.approx((0.16896 / 2, 0), abs=1e-9)


def test_every_plane_is_found_and_backward_lines_are_stored_the_right_way_round(tmp_path: Path) -> None:
    one_m, one_a = 1024 * 8.79e-10 * 3 * COUNT_V, COUNT_V / 1e9
    backward = read(tmp_path, GOLDEN, BACKWARD)
    np.testing.assert_allclose(backward.data, np.array([[1.5, 2.5, 3.5], [4.5, 5.5, 7.5]]) * one_m, rtol=1e-6)
    current = read(tmp_path, GOLDEN, ReadOptions(channel="current"))
    np.testing.assert_allclose(current.data, np.array([[10, 20, 30], [40, 50, 60]]) * one_a, rtol=1e-6)
    assert current.info.unit == "A"
    current = read(tmp_path, GOLDEN, ReadOptions(channel="Current", trace=Trace.BACKWARD))
    np.testing.assert_allclose(current.data, np.array([[-1, -2, -3], [-4, -5, -6]]) * one_a, rtol=1e-6)
    refused_options = ReadOptions(channel="Frequency")
    with pytest.raises(FrameError, match="no channel 'Frequency'; the file holds Z, Current"):
        read(tmp_path, GOLDEN, refused_options)


def test_golden_file_passes_the_conformance_suite(tmp_path: Path) -> None:
    path = tmp_path / "A260317.105156.dat"
    path.write_bytes(GOLDEN)
    check_reader(READER, path, cuts=60, flips=80)


@pytest.mark.parametrize("level", [0, 1, 9])
def test_larger_file_passes_the_conformance_suite(tmp_path: Path, level: int) -> None:
    path = tmp_path / "made.dat"
    path.write_bytes(make_dat(hills(rows=40, columns=56), level=level, behind=4 * 56 + 31))
    check_reader(READER, path, cuts=30, flips=60)


@pytest.mark.parametrize("done", [0, 1, 7, 11])
@pytest.mark.parametrize("trace", list(Trace))
def test_rows_that_a_stopped_scan_did_not_reach_are_nan(tmp_path: Path, done: int, trace: Trace) -> None:
    planes = hills()
    planes[:, done:] = 0
    whole = read(tmp_path, make_dat(hills()), ReadOptions(trace=trace))
    frame = read(tmp_path, make_dat(planes), ReadOptions(trace=trace))
    assert (frame.info.complete_rows, frame.info.direction) == (done, ScanDirection.DOWN)
    assert frame.geometry == whole.geometry
    assert np.isnan(frame.data[done:]).all()
    np.testing.assert_array_equal(frame.data[:done], whole.data[:done])
    assert READER.state(tmp_path / "A260317.105156.dat").status is FileStatus.COMPLETE


@pytest.mark.parametrize("done", [1, 7, 11])
def test_scan_from_the_bottom_lacks_rows_at_the_top(tmp_path: Path, done: int) -> None:
    planes = hills()
    planes[:, : 12 - done] = 0
    frame = read(tmp_path, make_dat(planes, changes={"ScanYMode": "2"}))
    assert (frame.info.complete_rows, frame.info.direction) == (done, ScanDirection.UP)
    assert np.isnan(frame.data[: 12 - done]).all()
    assert np.isfinite(frame.data[12 - done :]).all()


def test_row_at_the_front_keeps_the_pixels_that_were_scanned(tmp_path: Path) -> None:
    planes = hills()
    planes[:, 8:] = 0
    planes[:2, 7, 4:] = 0  # forward: from the left, up to column 3
    planes[2:, 7, :6] = 0  # backward: from the right, down to column 6
    forward, backward = (read(tmp_path, make_dat(planes), ReadOptions(trace=trace)) for trace in Trace)
    assert forward.info.complete_rows == backward.info.complete_rows == 7
    assert np.isfinite(forward.data[7]).tolist() == [True] * 4 + [False] * 6
    assert np.isfinite(backward.data[7]).tolist() == [False] * 6 + [True] * 4


def test_zero_in_one_channel_of_a_scanned_pixel_is_a_value(tmp_path: Path) -> None:
    planes = hills()
    planes[0] = 0  # the height stands at 0, the current shows that the tip was there
    planes[0, 3, 3] = 5
    frame = read(tmp_path, make_dat(planes), ReadOptions(channel="Z"))
    assert frame.info.complete_rows == 12
    assert np.count_nonzero(frame.data) == 1


def test_scan_stopped_before_its_first_line_is_empty(tmp_path: Path) -> None:
    frame = read(tmp_path, make_dat(np.zeros((4, 12, 10), np.float32)))
    assert np.isnan(frame.data).all()
    assert (frame.info.complete_rows, frame.ref.channel) == (0, "Z")


def test_values_that_are_no_numbers_become_nan(tmp_path: Path) -> None:
    planes = hills()
    planes[0, 2, 3:6] = np.inf, -np.inf, np.nan
    planes[0, 4, 4] = 3e38
    frame = read(tmp_path, make_dat(planes, changes={"GainZ": "1e16", "ActGainXYZ": "absent"}))
    assert np.isnan(frame.data[2, 3:6]).all()
    assert np.count_nonzero(np.isnan(frame.data)) == 4
    assert frame.info.complete_rows == 12


def test_data_in_the_name_of_a_folder_is_not_taken_for_the_values() -> None:
    content = make_dat(hills(), changes={"ActDriveDir": "C:\\DATA\\DATAx\\xDATA", "LastMemoFile": "DATA"})
    assert find_data(content) == 2048
    moved = content[:2044] + bytes(14336) + content[2044:]
    assert find_data(moved) == 2048 + 14336


def test_thumbnail_in_the_header_is_passed_over() -> None:
    content = make_dat(hills())
    header = content[:2044].rstrip(b"\0") + b"ICON\xff\xd8\xff\xe0\r\nNum.X=77\r\nRotation=45\r\n"
    parsed = parse_header(header.ljust(2044, b"\0") + content[2044:])
    assert (parsed.columns, parsed.angle_deg) == (10, 0)


@pytest.mark.parametrize("kind", [b"[Paramet32]", b"[Parameter]"])
def test_old_kinds_are_known_and_refused_with_what_to_do(tmp_path: Path, kind: bytes) -> None:
    content = kind + make_dat(hills())[len(kind) :]
    assert READER.accepts(tmp_path / "x.dat", content[:4096])
    refused(tmp_path, content, r"old kind \[Param.*not read.*save it again")


@pytest.mark.parametrize("head", [b"Experiment\tbias spectroscopy\r\n", b"[ParVERT30]\r\n", b"[Paramco33]\r\n"])
def test_other_files_of_the_same_suffix_are_not_accepted(head: bytes) -> None:
    assert not READER.accepts(Path("x.dat"), head.ljust(4096, b" "))


def test_start_of_a_file_is_accepted_by_its_suffix() -> None:
    assert READER.accepts(Path("x.dat"), b"[Para")
    assert not READER.accepts(Path("x.sxm"), b"[Para")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Num.X": "ten"}, "Num.X is 'ten'"),
        ({"Num.Y": "0"}, "Num.Y is '0'"),
        ({"Num.Y": "1e9"}, "pixels are accepted"),
        ({"Num.X": "nan"}, "Num.X is 'nan'"),
        ({"Num.X": "11"}, "4 planes of 12 x 11 px"),
        ({"Num.X": "9"}, "4 planes of 12 x 9 px"),
        ({"Num.Y": "13"}, "4 planes of 13 x 10 px"),
        ({"Num.Y": "4000"}, "4 planes of 4000 x 10 px"),
        ({"Channels": "8"}, "header says 8 planes, 2 chosen channels, scan mode '2'"),
        ({"Channelselectval": "7"}, "header says 4 planes, 3 chosen channels"),
        ({"Channelselectval": "-3"}, "0 chosen channels"),
        ({"Scanmode": "3"}, "scan mode '3'"),
        ({"ScanmodeSine": "1"}, "sine"),
        ({"Gainpreamp": "99"}, "Gainpreamp is '99'"),
        ({"GainZ": "0"}, "scale of the height is missing"),
        ({"ZPiezoconst": "absent", "Dacto[A]z": "absent"}, "scale of the height is missing"),
        ({"Length x[A]": "absent", "Delta X": "absent"}, "length of the frame along x"),
    ],
)
def test_header_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, str], reason: str) -> None:
    refused(tmp_path, make_dat(hills(), changes=changes), reason)


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"DAC-Type": "absent"}, "taken as 20 bit"),
        ({"GainZ": "3"}, "ActGainXYZ says 10"),
        ({"ZPiezoconst": "29.20"}, "Dacto.A.z says 0.00037"),
        ({"Length x[A]": "43.2000"}, "Length x.A. means 4.32 nm, 10 pixels"),
        ({"Scanrotoffx": "absent"}, "where the frame lies"),
        ({"ScanYMode": "2"}, "which way this frame went is not known"),
    ],
)
def test_entry_that_others_contradict_is_told(tmp_path: Path, changes: dict[str, str], warning: str) -> None:
    frame = read(tmp_path, make_dat(hills(), changes=changes))
    assert len(frame.info.warnings) == 1
    assert re.search(warning, frame.info.warnings[0])


def test_values_behind_the_planes_are_told_unless_they_are_the_known_buffers(tmp_path: Path) -> None:
    for behind in (0, 39, 71):
        assert read(tmp_path, make_dat(hills(), behind=behind)).info.warnings == ()
    assert read(tmp_path, make_dat(hills(), behind=50)).info.warnings == (
        "50 values follow the planes that the header tells of",
    )
    refused(tmp_path, make_dat(hills(), behind=500), "holds more values")


def test_scale_comes_from_what_is_there(tmp_path: Path) -> None:
    full = read(tmp_path, make_dat(hills()))
    rounded = read(tmp_path, make_dat(hills(), changes={"ZPiezoconst": "absent"}))
    np.testing.assert_allclose(rounded.data, full.data, rtol=0.02)
    lengthless = read(tmp_path, make_dat(hills(), changes={"Length x[A]": "absent", "Length y[A]": "0"}))
    assert lengthless.geometry.size_nm == pytest.approx(full.geometry.size_nm, rel=1e-4)
    assert lengthless.info.warnings == ()


def test_scan_at_constant_height_shows_the_current_with_the_settings_of_that_mode(tmp_path: Path) -> None:
    planes = hills()
    planes[0::2] = -500
    frame = read(tmp_path, make_dat(planes, changes={"CHMode": "1"}))
    assert (frame.ref.channel, frame.info.bias_v) == ("Current", 0.02)
    np.testing.assert_allclose(frame.data, planes[1] * (COUNT_V / 1e7), rtol=1e-6)
    assert "constant height" in frame.info.warnings[0]


def test_scan_of_one_direction_has_no_backward_trace(tmp_path: Path) -> None:
    content = make_dat(hills(planes=2), changes={"Scanmode": "1"})
    assert read(tmp_path, content).info.complete_rows == 12
    with pytest.raises(FrameError, match="no channel holds a backward trace"):
        read(tmp_path, content, BACKWARD)


def test_signals_that_are_not_known_stay_counts(tmp_path: Path) -> None:
    planes = hills(planes=6)
    content = make_dat(planes, changes={"Channelselectval": "11"})  # bits 0, 1 and 3
    frame = read(tmp_path, content, ReadOptions(channel="signal_3", trace=Trace.BACKWARD))
    assert (frame.ref.channel, frame.info.unit) == ("Signal_3", "1")
    np.testing.assert_array_equal(frame.data, planes[5])


def test_older_header_names_its_channels_by_their_number(tmp_path: Path) -> None:
    changes = {"Channelselectval": "absent", "Chan(1,2,4)": "1"}
    read(tmp_path, make_dat(hills(planes=2), changes=changes))
    assert [channel.name for channel in READER.channels(tmp_path / "A260317.105156.dat")] == ["Z"]


@pytest.mark.parametrize("name", ["copy.dat", "A261317.105156.dat", "A260317.dat"])
def test_name_without_a_time_gives_none(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(GOLDEN)
    assert READER.read(path).info.started is None


def test_unknown_time_zone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="no time zone"):
        read(tmp_path, GOLDEN, ReadOptions(timezone="Moon/Tycho"))


def test_copy_in_progress_is_incomplete_and_gives_no_wrong_value(tmp_path: Path) -> None:
    """Also where the whole length was allocated at once, with zeros where nothing has arrived."""
    content = make_dat(hills(rows=30, columns=40))
    whole = read(tmp_path, content)
    path = tmp_path / "A260317.105156.dat"
    for size in range(2060, len(content) - 70, 211):
        for arrived in (content[:size], content[:size].ljust(len(content), b"\0")):
            path.write_bytes(arrived)
            assert READER.state(path).status is FileStatus.INCOMPLETE
            frame = READER.read(path)
            there = np.isfinite(frame.data)
            np.testing.assert_array_equal(frame.data[there], whole.data[there])
            assert frame.info.complete_rows == there.all(axis=1).sum()


def test_flipped_bits_in_the_values_are_noticed(tmp_path: Path) -> None:
    """By the checksum; or the stream loses its end, and the frame is not told to be complete."""
    content = bytearray(make_dat(hills(rows=30, columns=40)))
    whole = read(tmp_path, bytes(content))
    path = tmp_path / "A260317.105156.dat"
    chance = np.random.default_rng(5)
    reasons: list[str] = []
    for _ in range(150):
        place, bit = int(chance.integers(2060, len(content))), 1 << int(chance.integers(8))
        content[place] ^= bit
        path.write_bytes(content)
        try:
            complete = READER.state(path).status is FileStatus.COMPLETE
            assert not complete or np.array_equal(READER.read(path).data, whole.data)
        except FrameError as error:
            reasons.append(error.reason)
        content[place] ^= bit
    assert len(reasons) > 100
    assert all("damaged" in reason or "holds" in reason for reason in reasons)


def test_small_file_that_decompresses_to_much_takes_little_memory(tmp_path: Path) -> None:
    content = make_dat(hills())
    bomb = content[:2048] + zlib.compress(bytes(50_000_000), 9)
    path = tmp_path / "bomb.dat"
    path.write_bytes(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match="holds more values"):
            READER.read(path)
        with pytest.raises(FrameError, match="holds more values"):
            READER.state(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * 1024 * 1024


def test_header_that_asks_for_much_memory_is_refused_before_any_is_taken(tmp_path: Path) -> None:
    content = make_dat(hills(), changes={"Num.X": "8000", "Num.Y": "8000"})
    path = tmp_path / "large.dat"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match="8000 x 8000 px, file has"):
            READER.read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1024 * 1024
