"""The MATRIX reader, on pairs of chain and result file put together block by block, also as no instrument would."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from access2thematrix import MtrxData

from spm_live_drivers.contract import FileStatus, Frame, ReadOptions, ScanDirection, Trace
from spm_live_drivers.errors import FrameError, NotReadyError
from spm_live_drivers.formats.matrix_bytes import (
    ParameterValue,
    chain_head,
    change_block,
    channels_block,
    mark_block,
    parameters_block,
    reference_block,
    result_bytes,
)
from spm_live_drivers.formats.matrix_chain import Transfer
from spm_live_drivers.formats.matrix_result import MAGIC
from spm_live_drivers.formats.matrix_values import CURRENT
from spm_live_drivers.formats.omicron_matrix import OmicronMatrixReader

ENDED_S = 1_700_000_000
READER = OmicronMatrixReader()


# A chain says when; that of these tests was changed long before its scan, unless a test says otherwise.
LONG_BEFORE_S = ENDED_S - 10_000

Z_TRANSFER = Transfer("m", "TFF_Linear1D", {"Offset": 7.0, "Factor": 2.4e15})
TRANSFERS = {"Z": Z_TRANSFER, "I": replace(CURRENT, factors={**CURRENT.factors, "Offset": 3.0})}


def changed(key: str, value: float, unit: str, seconds: int = LONG_BEFORE_S) -> bytes:
    return change_block(key, value, unit, seconds)


def listed(name: str) -> bytes:
    return reference_block(name, ENDED_S)


def result(values: np.ndarray, intended: int | None = None) -> bytes:
    return result_bytes(values, intended, ENDED_S)


@dataclass
class Scan:
    """A scan to be written: 5 rows of 4 px unless said otherwise."""

    folder: Path
    parameters: dict[str, tuple[ParameterValue, str]] = field(default_factory=dict)
    captured: int | None = None
    channels: tuple[str, ...] = ("Z",)
    before: bytes = b""
    listed: Iterable[str] | None = None
    transfers: dict[str, Transfer] = field(default_factory=lambda: dict(TRANSFERS))

    def __post_init__(self) -> None:
        self.parameters = {
            "XYScanner.Points": (4, "Count"),
            "XYScanner.Lines": (5, "Count"),
            "XYScanner.Width": (8e-9, "Meter"),
            "XYScanner.Height": (20e-9, "Meter"),
            "XYScanner.X_Offset": (-1e-8, "Meter"),
            "XYScanner.Y_Offset": (3e-8, "Meter"),
            "XYScanner.Angle": (0, "Degree"),
            "XYScanner.X_Retrace": (True, "--"),
            "XYScanner.Y_Retrace": (False, "--"),
            "XYScanner.Raster_Time": (0.5, "Second"),
            "GapVoltageControl.Voltage": (-1.25, "Volt"),
            "Regulator.Setpoint_1": (3e-11, "Ampere"),
            "Regulator.Feedback_Loop_Enabled": (True, "--"),
            "Clock.Period": (1, "--"),
            **self.parameters,
        }

    @property
    def full(self) -> int:
        value = {
            name: self.parameters[f"XYScanner.{name}"][0] for name in ("Points", "Lines", "X_Retrace", "Y_Retrace")
        }
        return value["Points"] * value["Lines"] * (1 + value["X_Retrace"]) * (1 + value["Y_Retrace"])  # type: ignore

    def path(self, channel: str = "Z") -> Path:
        return self.folder / f"night--12_3.{channel}_mtrx"

    @property
    def chain_path(self) -> Path:
        return self.folder / "night_0001.mtrx"

    def chain(self) -> bytes:
        """The bytes of the chain."""
        marks = b"".join(mark_block(f"MTRX$ENABLE_RECORDING-{channel}", ENDED_S) for channel in self.channels)
        names = [self.path(channel).name for channel in self.channels] if self.listed is None else self.listed
        head = chain_head("MATRIX", ENDED_S) + parameters_block(self.parameters, ENDED_S) + marks + self.before
        channels = channels_block(self.transfers, ENDED_S, described=bytes(3000))
        return head + channels + b"".join(listed(name) for name in names)

    def write(self) -> Path:
        """Write all files; the path of the first channel."""
        captured = self.full if self.captured is None else self.captured
        for seed, channel in enumerate(self.channels):
            values = np.random.default_rng(seed).integers(-(2**31), 2**31, captured)
            self.path(channel).write_bytes(result(values, self.full))
        self.chain_path.write_bytes(self.chain())
        return self.path(self.channels[0])


def by_library(path: Path, trace: str) -> np.ndarray:
    library = MtrxData()
    library.open(str(path))
    image, message = library.select_image(trace)
    assert "selected" in message
    return image.data[::-1].astype(np.float32)


@pytest.mark.parametrize("channel", ["Z", "I"])
@pytest.mark.parametrize("trace", Trace)
def test_a_complete_scan_equals_the_library_to_the_last_bit_after_the_flip(tmp_path, channel, trace):
    path = Scan(tmp_path, channels=(channel,)).write()
    frame = READER.read(path, ReadOptions(trace=trace))
    np.testing.assert_array_equal(frame.data, by_library(path, f"{trace}/up"))
    assert frame.info.direction is ScanDirection.UP
    assert not frame.info.partial
    assert READER.state(path).status is FileStatus.COMPLETE


def test_the_first_value_is_the_lower_left_corner(tmp_path):
    path = Scan(tmp_path).write()
    values = np.arange(1, 41)
    path.write_bytes(result(values))
    frame = READER.read(path)
    backward = READER.read(path, ReadOptions(trace=Trace.BACKWARD))
    height = (values - 7.0) / 2.4e15
    assert frame.data[-1, 0] == np.float32(height[0])
    assert frame.data[0, 0] == np.float32(height[32])
    assert backward.data[-1, -1] == np.float32(height[4]), "the backward half begins at the right"


def test_geometry_and_settings_come_in_the_units_of_the_contract(tmp_path):
    frame = READER.read(Scan(tmp_path, {"XYScanner.Angle": (30, "Degree")}).write())
    geometry = frame.geometry
    assert (geometry.rows, geometry.columns) == (5, 4)
    assert geometry.size_nm == pytest.approx((8.0, 20.0))
    assert geometry.center_nm == pytest.approx((-10.0, 30.0))
    assert geometry.angle_deg == -30.0, "counter-clockwise in MATRIX, clockwise here"
    assert (frame.info.bias_v, frame.info.setpoint, frame.info.setpoint_unit) == (-1.25, 3e-11, "A")
    assert frame.info.unit == "m"
    assert frame.info.ended == datetime.fromtimestamp(ENDED_S, UTC)
    assert (frame.info.ended - frame.info.started).total_seconds() == 40 * 0.5
    assert frame.info.metadata["XYScanner.Width"] == "8e-09 Meter"


def test_the_angle_turns_the_frame_the_way_the_library_turns_it(tmp_path):
    """The library moves the middle of a stopped scan by the angle; the middle of its pixels must lie there."""
    path = Scan(tmp_path, {"XYScanner.Angle": (30, "Degree")}, captured=2 * 8).write()
    geometry = READER.read(path).geometry
    library = MtrxData()
    library.open(str(path))
    image, _ = library.select_image("forward/up")
    middle = geometry.to_nm(np.array([[1.5, 3.5]]))[0]
    assert middle == pytest.approx((image.x_offset * 1e9, image.y_offset * 1e9))


@pytest.mark.parametrize("captured", [16, 8 * 4, 8 * 2 + 5, 8 * 4 + 7])
@pytest.mark.parametrize("trace", Trace)
def test_a_stopped_scan_keeps_its_full_geometry(tmp_path, captured, trace):
    path = Scan(tmp_path, captured=captured).write()
    frame = READER.read(path, ReadOptions(trace=trace))
    rows = captured // 8
    assert READER.state(path).status is FileStatus.COMPLETE, "it will not grow any more"
    assert frame.data.shape == (5, 4)
    assert frame.geometry.size_nm == pytest.approx((8.0, 20.0))
    assert frame.info.complete_rows == rows
    assert frame.info.partial
    assert np.isnan(frame.data[: 5 - rows]).all()
    np.testing.assert_array_equal(frame.data[5 - rows :], by_library(path, f"{trace}/up"))


def test_a_stopped_scan_that_says_it_was_meant_so_is_read_with_a_warning(tmp_path):
    path = Scan(tmp_path).write()
    path.write_bytes(result(np.arange(16)))
    frame = READER.read(path)
    assert frame.info.complete_rows == 2
    assert "meant to hold 16 values" in frame.info.warnings[0]


def test_of_a_scan_up_and_down_the_up_scan_is_read_and_the_other_told_of(tmp_path):
    path = Scan(tmp_path, {"XYScanner.Y_Retrace": (True, "--")}).write()
    frame = READER.read(path)
    np.testing.assert_array_equal(frame.data, by_library(path, "forward/up"))
    assert frame.info.direction is ScanDirection.UP
    assert any("down scan" in warning for warning in frame.info.warnings)


def test_a_forward_only_scan_has_no_backward_trace(tmp_path):
    path = Scan(tmp_path, {"XYScanner.X_Retrace": (False, "--")}).write()
    np.testing.assert_array_equal(READER.read(path).data, by_library(path, "forward/up"))
    assert READER.channels(path)[0].traces == (Trace.FORWARD,)
    with pytest.raises(FrameError, match="forward only"):
        READER.read(path, ReadOptions(trace=Trace.BACKWARD))


def test_a_file_without_a_chain_waits(tmp_path):
    scan = Scan(tmp_path)
    path = scan.write()
    scan.chain_path.unlink()
    state = READER.state(path)
    assert state.status is FileStatus.WAITING
    assert "night_0001.mtrx" in state.reason
    with pytest.raises(NotReadyError, match=r"night_0001\.mtrx is not beside it"):
        READER.read(path)


def test_a_file_whose_chain_is_locked_waits(tmp_path, monkeypatch):
    scan = Scan(tmp_path)
    path = scan.write()
    opened = Path.open

    def locked(self, *args, **kwargs):
        if self.suffix == ".mtrx":
            raise PermissionError(13, "used by another process")
        return opened(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", locked)
        assert "used by another process" in READER.state(path).reason
        with pytest.raises(NotReadyError):
            READER.read(path)
    assert READER.state(path).status is FileStatus.COMPLETE


def test_a_file_that_its_chain_does_not_list_yet_waits_where_the_library_reports_success(tmp_path):
    scan = Scan(tmp_path, listed=["night--12_2.Z_mtrx"])
    path = scan.write()
    library = MtrxData()
    traces, message = library.open(str(path))
    assert traces, "else the library has learnt it"
    assert message.startswith("Successfully")
    assert READER.state(path).status is FileStatus.WAITING
    with pytest.raises(NotReadyError, match="does not list"):
        READER.read(path)
    with scan.chain_path.open("ab") as chain:
        chain.write(listed(path.name))
    assert READER.state(path).status is FileStatus.COMPLETE
    assert READER.read(path).info.complete_rows == 5


def test_the_scale_is_that_of_the_moment_the_file_was_listed(tmp_path):
    scan = Scan(tmp_path, before=changed("XYScanner.Width", 16e-9, "Meter"))
    path = scan.write()
    with scan.chain_path.open("ab") as chain:
        chain.write(
            changed("XYScanner.Width", 99e-9, "Meter")
            + channels_block({"Z": Transfer("V", "TFF_Identity", {})}, ENDED_S, first=9)
        )
    frame = READER.read(path)
    assert frame.geometry.size_nm[0] == pytest.approx(16.0)
    assert frame.info.unit == "m"


def test_a_change_of_the_geometry_while_the_scan_ran_is_told(tmp_path):
    path = Scan(tmp_path, before=changed("XYScanner.Width", 16e-9, "Meter", ENDED_S - 5)).write()
    assert any("Width changed while" in warning for warning in READER.read(path).info.warnings)


def test_values_of_another_number_of_points_are_refused(tmp_path):
    scan = Scan(tmp_path)
    path = scan.write()
    path.write_bytes(result(np.zeros(6 * 8, dtype=int)))
    with pytest.raises(FrameError, match="not of one scan"):
        READER.read(path)


def test_units_that_an_earlier_list_of_channels_gave_are_void(tmp_path):
    volts = Transfer("V", "TFF_Linear1D", {"Offset": 0.0, "Factor": 1.0})
    scan = Scan(tmp_path, before=channels_block({"Z": volts}, ENDED_S, first=50))
    assert READER.read(scan.write()).info.unit == "m"


@pytest.mark.parametrize(
    ("transfers", "words"),
    [
        ({"Z": Transfer("m", "TFF_Cubic", {})}, "not known"),
        ({"Z": Transfer("m", "TFF_Linear1D", {"Offset": 0.0})}, "Factor = None"),
        ({"Z": Transfer("m", "TFF_Linear1D", {"Offset": 0.0, "Factor": 0.0})}, "gives no numbers"),
        ({"I": Transfer("A", "TFF_Identity", {})}, "does not say how"),
    ],
)
def test_a_transfer_function_that_is_not_understood_is_an_error(tmp_path, transfers, words):
    path = Scan(tmp_path, transfers=transfers).write()
    with pytest.raises(FrameError, match=words):
        READER.read(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Width", (float("nan"), "Meter")),
        ("Width", (-1e-9, "Meter")),
        ("Width", (8.0, "Nanometer")),
        ("Height", (1e9, "Meter")),
        ("Points", (0, "Count")),
        ("Points", (2**31 - 1, "Count")),
        ("Angle", ("steep", "Degree")),
        ("X_Retrace", (1, "--")),
        ("Raster_Time", (float("inf"), "Second")),
    ],
)
def test_parameters_that_make_no_sense_are_an_error(tmp_path, key, value):
    path = Scan(tmp_path).write()
    scan = Scan(tmp_path, {f"XYScanner.{key}": value})
    scan.chain_path.write_bytes(scan.chain())
    with pytest.raises(FrameError):
        READER.read(path)


def test_a_chain_in_two_links_is_read_as_one(tmp_path):
    scan = Scan(tmp_path, listed=[])
    path = scan.write()
    assert READER.state(path).status is FileStatus.WAITING
    (tmp_path / "night_0002.mtrx").write_bytes(MAGIC + changed("XYScanner.Width", 4e-9, "Meter") + listed(path.name))
    assert READER.read(path).geometry.size_nm[0] == pytest.approx(4.0)
    np.testing.assert_array_equal(READER.read(path).data, by_library(path, "forward/up"))


def test_a_chain_that_grows_is_not_read_again_from_its_beginning(tmp_path, monkeypatch):
    scan = Scan(tmp_path, listed=[])
    path = scan.write()
    old = time.time() - 100
    os.utime(scan.chain_path, (old, old))
    assert READER.state(path).status is FileStatus.WAITING
    parsed: list[bytes] = []
    whole = MtrxData._scan_raw_param
    monkeypatch.setattr(
        MtrxData, "_scan_raw_param", lambda self, at, data: parsed.append(data[:4]) or whole(self, at, data)
    )
    assert READER.state(path).status is FileStatus.WAITING
    with scan.chain_path.open("ab") as chain:
        chain.write(changed("XYScanner.Width", 4e-9, "Meter") + listed(path.name))
    assert READER.read(path).geometry.size_nm[0] == pytest.approx(4.0)
    assert parsed == [b"DOMP"]


def test_another_chain_in_its_place_is_noticed(tmp_path):
    scan = Scan(tmp_path)
    path = scan.write()
    assert READER.read(path).geometry.size_nm[0] == pytest.approx(8.0)
    other = Scan(tmp_path, {"XYScanner.Width": (9e-9, "Meter")})
    assert len(other.chain()) == len(scan.chain())
    scan.chain_path.write_bytes(other.chain())
    assert READER.read(path).geometry.size_nm[0] == pytest.approx(9.0)
    scan.chain_path.write_bytes(Scan(tmp_path, listed=[]).chain())
    assert READER.state(path).status is FileStatus.WAITING
    scan.chain_path.unlink()
    assert READER.state(path).status is FileStatus.WAITING


def test_a_chain_cut_anywhere_before_the_entry_makes_the_file_wait(tmp_path):
    scan = Scan(tmp_path)
    path = scan.write()
    whole = scan.chain()
    for length in range(0, len(whole), 7):
        scan.chain_path.write_bytes(whole[:length])
        with pytest.raises(NotReadyError):
            READER.read(path)
    scan.chain_path.write_bytes(whole)
    assert READER.read(path).info.complete_rows == 5


def test_a_chain_whose_end_is_allocated_but_not_written_makes_the_file_wait(tmp_path):
    scan = Scan(tmp_path, listed=[])
    path = scan.write()
    scan.chain_path.write_bytes(scan.chain() + bytes(512))
    assert READER.state(path).status is FileStatus.WAITING
    scan.chain_path.write_bytes(scan.chain() + listed(path.name) + bytes(512))
    assert READER.state(path).status is FileStatus.COMPLETE


@pytest.mark.parametrize("value", [0x00, 0x01, 0x7F, 0x80, 0xFF])
def test_a_chain_with_a_flipped_byte_is_an_error_a_wait_or_a_frame_but_nothing_else(tmp_path, value):
    scan = Scan(tmp_path)
    path = scan.write()
    whole = scan.chain()
    seen = set()
    for position in range(0, len(whole), 13):
        flipped = bytearray(whole)
        flipped[position] = value
        scan.chain_path.write_bytes(flipped)
        try:
            frame = READER.read(path)
        except FrameError as error:
            seen.add(type(error))
        else:
            assert frame.data.shape == (5, 4)
    assert seen == {FrameError, NotReadyError}


def check_cut(path: Path, whole: bytes, offsets: Iterable[int], frame: Frame) -> None:
    for offset in offsets:
        path.write_bytes(whole[:offset])
        try:
            cut = READER.read(path)
        except FrameError:
            assert offset < len(whole) - 4 * 40, "with its header whole it is a frame"
            continue
        rows = cut.info.complete_rows
        first = frame.geometry.rows - rows
        assert cut.data.shape == frame.data.shape
        np.testing.assert_array_equal(cut.data[first:], frame.data[first:])
        assert np.isnan(cut.data[:first]).all()
        assert READER.state(path).status is FileStatus.INCOMPLETE


def test_a_result_file_cut_anywhere_is_an_error_or_a_partial_frame(tmp_path):
    path = Scan(tmp_path).write()
    frame = READER.read(path)
    whole = path.read_bytes()
    check_cut(path, whole, range(len(whole)), frame)


@pytest.mark.parametrize("value", [0x00, 0x01, 0x7F, 0x80, 0xFF])
def test_a_result_file_with_a_flipped_byte_is_an_error_or_a_frame(tmp_path, value):
    path = Scan(tmp_path).write()
    whole = path.read_bytes()
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] = value
        path.write_bytes(flipped)
        try:
            frame = READER.read(path)
        except FrameError:
            assert position < len(whole) - 160, "a value is never an error"
        else:
            assert frame.data.shape == (5, 4)


def test_bytes_behind_the_data_do_no_harm(tmp_path):
    path = Scan(tmp_path).write()
    frame = READER.read(path)
    path.write_bytes(path.read_bytes() + b"junk" * 100)
    np.testing.assert_array_equal(READER.read(path).data, frame.data)


def test_a_frame_that_its_file_does_not_fill_is_refused_before_memory_is_taken(tmp_path):
    scan = Scan(tmp_path, {"XYScanner.Points": (8000, "Count"), "XYScanner.Lines": (8000, "Count")}, captured=8)
    with pytest.raises(FrameError, match="8000 x 8000 px, it holds 8 values"):
        READER.read(scan.write())


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_is_an_error(tmp_path, make):
    path = Scan(tmp_path).write()
    path.unlink()
    make(path)
    with pytest.raises(FrameError):
        READER.read(path)
    with pytest.raises(FrameError):
        READER.channels(path)


def test_a_file_of_another_name_or_of_spectra_is_an_error(tmp_path):
    path = Scan(tmp_path).write()
    renamed = path.rename(tmp_path / "night.Z_mtrx")
    with pytest.raises(FrameError, match="not named"):
        READER.read(renamed)
    curve = renamed.rename(tmp_path / "night--12_3.I(V)_mtrx")
    with pytest.raises(FrameError, match="spectra"):
        READER.read(curve)
    assert not READER.wanted(curve, ReadOptions())


def test_another_channel_than_the_file_holds_is_an_error(tmp_path):
    path = Scan(tmp_path).write()
    with pytest.raises(FrameError, match="holds the channel Z, not I"):
        READER.read(path, ReadOptions(channel="I"))
    assert READER.read(path, ReadOptions(channel="z")).ref.channel == "Z"


def test_of_the_files_of_one_scan_one_is_wanted(tmp_path):
    scan = Scan(tmp_path, channels=("I", "Z", "Aux2"), transfers={**TRANSFERS, "Aux2": Z_TRANSFER})
    scan.write()
    assert [READER.wanted(scan.path(channel), ReadOptions()) for channel in scan.channels] == [False, True, False]
    assert [READER.wanted(scan.path(c), ReadOptions(channel="aux2")) for c in scan.channels] == [False, False, True]
    assert not READER.wanted(scan.chain_path, ReadOptions())


def test_without_feedback_the_current_is_wanted(tmp_path):
    scan = Scan(tmp_path, {"Regulator.Feedback_Loop_Enabled": (False, "--")}, channels=("I", "Z"))
    scan.write()
    assert [READER.wanted(scan.path(channel), ReadOptions()) for channel in "IZ"] == [True, False]


def test_the_current_is_not_taken_just_because_the_height_comes_a_moment_later(tmp_path):
    scan = Scan(tmp_path, channels=("I", "Z"))
    scan.write()
    scan.path("Z").unlink()
    assert not READER.wanted(scan.path("I"), ReadOptions())
    old = time.time() - 3600
    os.utime(scan.path("I"), (old, old))
    assert READER.wanted(scan.path("I"), ReadOptions()), "of an old scan it is all that is left"


@pytest.mark.parametrize(
    ("name", "head", "accepted"),
    [
        ("a--1_1.Z_mtrx", MAGIC + b"TLKB", True),
        ("wrong.sxm", MAGIC + b"TLKB", True),
        ("a--1_1.Z_mtrx", MAGIC[:5], True),
        ("a.sxm", MAGIC[:5], False),
        ("a--1_1.Z_mtrx", b":NANONIS", False),
    ],
)
def test_the_content_decides_whether_it_is_a_matrix_file(name, head, accepted):
    assert READER.accepts(Path(name), head) is accepted


def test_nothing_is_printed(tmp_path, capfd):
    READER.read(Scan(tmp_path).write())
    assert capfd.readouterr() == ("", "")
