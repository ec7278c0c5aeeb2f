"""Written scan files: read back by a public reader, by ours, and byte by byte."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nanonispy2.read import Scan

from spm_live_drivers.contract import FileStatus, ReadOptions, ScanDirection, ScanGeometry, Trace
from spm_live_drivers.formats.nanonis_sxm import NanonisSxmReader
from spm_live_drivers.formats.nanonis_writer import SxmChannel, SxmSettings, sxm_bytes, write_sxm

STARTED = datetime(2026, 3, 9, 18, 4, 59)
GEOMETRY = ScanGeometry(5, 7, (14.0, 10.0), (-346.5282, 152.0117), 12.5)


def pictures(rows: int, columns: int, seed: int = 0) -> tuple[SxmChannel, SxmChannel]:
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1e-9, (4, rows, columns)).astype(np.float32)
    return SxmChannel(14, "Z", "m", values[0], values[1]), SxmChannel(0, "Current", "A", values[2], values[3])


def the_right_way_up(scan: Scan, channel: str, trace: str) -> np.ndarray:
    """Undo by hand what the public reader leaves as it was stored."""
    stored = np.asarray(scan.signals[channel][trace])
    stored = stored[::-1] if scan.header["scan_dir"] == "up" else stored
    return stored[:, ::-1] if trace == "backward" else stored


@settings(max_examples=25)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from(ScanDirection), st.integers(0, 99))
def test_both_readers_give_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: int, columns: int, direction: ScanDirection, seed: int
) -> None:
    path = tmp_path_factory.mktemp("written") / "scan_0001.sxm"
    geometry = ScanGeometry(rows, columns, (12.0, 9.0), (5.0, -7.0), -30.0)
    channels = pictures(rows, columns, seed)
    write_sxm(path, channels, geometry, SxmSettings(STARTED, direction=direction))
    theirs = Scan(str(path))
    for channel in channels:
        for trace in Trace:
            wanted = channel.forward if trace is Trace.FORWARD else channel.backward
            np.testing.assert_array_equal(the_right_way_up(theirs, channel.name, trace.value), wanted)
            ours = NanonisSxmReader().read(path, ReadOptions(channel=channel.name, trace=trace))
            np.testing.assert_array_equal(ours.data, wanted)
            assert (ours.info.direction, ours.info.unit) == (direction, channel.unit)
            assert ours.info.complete_rows == rows


def test_our_reader_finds_the_geometry_and_the_settings_again(tmp_path: Path) -> None:
    path = tmp_path / "scan.sxm"
    settings = SxmSettings(STARTED, bias_v=-1.25, setpoint_a=20e-12, comment="Au(111)\nsecond line", line_time_s=0.5)
    write_sxm(path, pictures(5, 7), GEOMETRY, settings)
    info = NanonisSxmReader().read(path, ReadOptions(timezone="UTC")).info
    assert info.geometry.size_nm == pytest.approx(GEOMETRY.size_nm, rel=1e-6)
    assert info.geometry.center_nm == pytest.approx(GEOMETRY.center_nm, rel=1e-6)
    assert info.geometry.angle_deg == GEOMETRY.angle_deg
    assert (info.bias_v, info.setpoint, info.setpoint_unit) == (-1.25, pytest.approx(20e-12), "A")
    assert info.comment == "Au(111)\nsecond line"
    assert info.started == STARTED.replace(tzinfo=UTC)
    assert info.warnings == ()
    assert NanonisSxmReader().state(path).status is FileStatus.COMPLETE


def test_the_public_reader_finds_the_header_it_knows(tmp_path: Path) -> None:
    path = tmp_path / "scan.sxm"
    write_sxm(path, pictures(5, 7), GEOMETRY, SxmSettings(STARTED))
    header = Scan(str(path)).header
    assert header["scan_pixels"].tolist() == [7, 5]
    assert header["scan_range"] == pytest.approx([14e-9, 10e-9])
    assert header["scan_offset"] == pytest.approx([-346.5282e-9, 152.0117e-9])
    assert float(header["scan_angle"]) == 12.5
    assert header["data_info"]["Name"] == ("Z", "Current")
    assert header["scan_file"] == str(path.absolute())


def test_the_values_lie_in_the_file_as_an_instrument_lays_them() -> None:
    forward = np.array([[1, 2], [3, 4]], dtype=np.float32)
    backward = forward + 4
    content = sxm_bytes(
        [SxmChannel(14, "Z", "m", forward, backward)],
        ScanGeometry(2, 2, (1.0, 1.0)),
        SxmSettings(STARTED, direction=ScanDirection.UP),
    )
    header, _, values = content.partition(b":SCANIT_END:\n\n\n\x1a\x04")
    assert header.startswith(
        b":NANONIS_VERSION:\n2\n:SCANIT_TYPE:\n              FLOAT            MSBFIRST\n:REC_DATE:"
    )
    assert struct.unpack(">8f", values) == (3, 4, 1, 2, 8, 7, 6, 5)


@pytest.mark.parametrize(
    ("number", "text"), [(0.0, "0.000E+0"), (9.999997e-9, "1.000E-8"), (-0.02, "-2.000E-2"), (1.5e12, "1.500E+12")]
)
def test_numbers_look_like_the_controller_s(number: float, text: str) -> None:
    content = sxm_bytes(pictures(5, 7), GEOMETRY, SxmSettings(STARTED, bias_v=number))
    lines = content.split(b"\n")
    assert lines[lines.index(b":BIAS:") + 1].decode() == text.rjust(20)


def test_a_forward_only_channel_has_no_backward_block(tmp_path: Path) -> None:
    path = tmp_path / "scan.sxm"
    both, _ = pictures(5, 7)
    channel = SxmChannel(14, "Z", "m", both.forward)
    write_sxm(path, [channel], GEOMETRY, SxmSettings(STARTED))
    assert len(path.read_bytes().partition(b"\x1a\x04")[2]) == 5 * 7 * 4
    np.testing.assert_array_equal(NanonisSxmReader().read(path).data, both.forward)


def test_lines_that_were_not_scanned_stay_nan(tmp_path: Path) -> None:
    path = tmp_path / "scan.sxm"
    channels = pictures(5, 7)
    channels[0].forward[:2] = np.nan
    write_sxm(path, channels, GEOMETRY, SxmSettings(STARTED, direction=ScanDirection.UP))
    frame = NanonisSxmReader().read(path)
    np.testing.assert_array_equal(np.isnan(frame.data).all(axis=1), [True, True, False, False, False])
    assert frame.info.complete_rows == 3


@pytest.mark.parametrize("pieces", [1, 2, 7, 100_000])
def test_a_file_written_in_pieces_is_the_same_file(tmp_path: Path, pieces: int) -> None:
    whole, grown = tmp_path / "whole.sxm", tmp_path / "grown.sxm"
    settings = SxmSettings(STARTED, scan_file="D:\\scan.sxm")
    write_sxm(whole, pictures(5, 7), GEOMETRY, settings)
    write_sxm(grown, pictures(5, 7), GEOMETRY, settings, pieces=pieces)
    assert grown.read_bytes() == whole.read_bytes()


def test_while_a_file_grows_our_reader_says_that_it_is_not_complete(tmp_path: Path) -> None:
    path = tmp_path / "scan.sxm"
    seen = []

    def look() -> None:
        seen.append((path.stat().st_size, NanonisSxmReader().state(path).status))

    write_sxm(path, pictures(64, 64), ScanGeometry(64, 64, (9.0, 9.0)), SxmSettings(STARTED), pieces=5, pause=look)
    sizes = [size for size, _ in seen]
    assert len(seen) == 4
    assert sizes == sorted(set(sizes))
    assert {status for _, status in seen} == {FileStatus.INCOMPLETE}
    assert NanonisSxmReader().state(path).status is FileStatus.COMPLETE


def test_a_file_written_at_once_leaves_nothing_beside_it(tmp_path: Path) -> None:
    write_sxm(tmp_path / "scan.sxm", pictures(5, 7), GEOMETRY, SxmSettings(STARTED))
    assert [path.name for path in tmp_path.iterdir()] == ["scan.sxm"]


def test_arguments_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    settings = SxmSettings(STARTED)
    with pytest.raises(ValueError, match="at least one channel"):
        sxm_bytes([], GEOMETRY, settings)
    with pytest.raises(ValueError, match=r"Z has the shape \(6, 7\)"):
        sxm_bytes(pictures(6, 7), GEOMETRY, settings)
    with pytest.raises(ValueError, match="0 pieces"):
        write_sxm(tmp_path / "scan.sxm", pictures(5, 7), GEOMETRY, settings, pieces=0)
    assert list(tmp_path.iterdir()) == []
