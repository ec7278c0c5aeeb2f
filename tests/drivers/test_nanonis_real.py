"""The Nanonis reader on real files, against nanonispy2 and against what is known of each picture."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from nanonispy2 import read as oracle

from spm_live_drivers.contract import FileStatus, ReadOptions, ScanDirection, Trace
from spm_live_drivers.formats.nanonis_header import HeaderError, SxmHeader, parse_header
from spm_live_drivers.formats.nanonis_spectrum import find_spectra
from spm_live_drivers.formats.nanonis_sxm import NanonisSxmReader
from spm_live_drivers.testing import check_reader

READER = NanonisSxmReader()
CONVERTED = "converter_9_of_256_rows.sxm"


def scans(data_dir: Path) -> list[Path]:
    return sorted((data_dir / "nanonis").glob("*.sxm"))


def test_every_plane_of_every_complete_file_equals_nanonispy2_to_the_last_bit(data_dir: Path) -> None:
    """After the documented turns: up scans and backward lines, both of which nanonispy2 leaves as stored."""
    compared = 0
    for path in scans(data_dir):
        if path.name == CONVERTED:  # a blank line in its header makes nanonispy2 give up
            continue
        signals = oracle.Scan(str(path)).signals
        for channel in READER.channels(path):
            for trace in channel.traces:
                frame = READER.read(path, ReadOptions(channel=channel.name, trace=trace, digest=False))
                expected = signals[channel.name][str(trace)]
                if frame.info.direction is ScanDirection.UP:
                    expected = expected[::-1]
                if trace is Trace.BACKWARD:
                    expected = expected[:, ::-1]
                assert frame.data.tobytes() == expected.astype(np.float32).tobytes(), (path.name, channel.name, trace)
                compared += 1
    assert compared >= 60


@pytest.mark.parametrize(
    ("name", "channel", "shape", "size_nm", "angle", "done"),
    [
        ("example_FFT", "Z", (256, 256), (50, 50), 0, 256),
        ("example_TOPO", "Z", (256, 256), (5, 5), 0, 256),
        ("example_nc-AFM", "OC_M1_Freq._Shift", (256, 256), (5.49671, 5.49671), -5.308, 256),
        ("nanonis", "Z", (160, 160), (10, 10), 0, 160),
        ("converter_9_of_256_rows", "Z", (256, 256), (99.8468, 99.8468), 0, 9),
        ("empty", "Z", (96, 240), (5, 2), 31, 0),
        ("Image_412", "Z", (256, 256), (9.999997, 9.999997), 0, 256),
        ("Au_mica_2023_Y_A_diPAMY_195", "Current", (256, 256), (4, 4), 135.1, 256),
        ("STM_nanonis_generic_4_5", "Z", (256, 256), (4, 4), 0, 256),
        ("img0013_H2PcDataset", "Current", (64, 64), (3, 3), 0, 64),
    ],
)
def test_real_file_gives_the_channel_and_geometry_that_are_known(
    data_dir: Path,
    name: str,
    channel: str,
    shape: tuple[int, int],
    size_nm: tuple[float, float],
    angle: float,
    done: int,
) -> None:
    path = data_dir / "nanonis" / f"{name}.sxm"
    frame = READER.read(path)
    assert frame.ref.channel == channel
    assert frame.data.shape == shape
    assert frame.geometry.size_nm == pytest.approx(size_nm)
    assert frame.geometry.angle_deg == pytest.approx(angle)
    assert frame.info.complete_rows == done
    assert READER.state(path).status is FileStatus.COMPLETE
    assert bool(frame.info.warnings) is (f"{name}.sxm" == CONVERTED)


def test_spectrum_lies_in_the_molecule_that_it_was_taken_on(data_dir: Path) -> None:
    """0.17 nm left of and 0.55 nm below the centre of a frame with one molecule in its middle."""
    frame = READER.read(data_dir / "nanonis" / "img0013_H2PcDataset.sxm")
    spectra = {Path(found.source).name: found for found in find_spectra(data_dir / "nanonis", "Europe/Zurich")}
    spectrum = spectra["dIdV_00001_H2PcDataset.dat"]
    column, row = frame.geometry.to_px(np.array([[spectrum.x_nm, spectrum.y_nm]]))[0]
    assert (column, row) == pytest.approx((27.86, 43.25), abs=0.01)
    current = np.abs(frame.data)
    assert current[round(row), round(column)] > 10 * np.median(current[[0, -1]])
    assert spectrum.taken == datetime(2026, 3, 25, 15, 58, 29, tzinfo=UTC)


def test_time_of_recording_is_the_start_as_the_names_of_files_tell(data_dir: Path) -> None:
    """These files are named by the clock when they were saved, which is when the scan ended."""
    for name in ("example_FFT", "example_TOPO", "example_nc-AFM"):
        info = READER.read(data_dir / "nanonis" / f"{name}.sxm", ReadOptions(timezone="UTC")).info
        stamp = info.metadata["SCAN_FILE"].rsplit("\\", 1)[1].removesuffix("_SPM001.sxm")
        saved = datetime.strptime(stamp, "%y%m%d_%H-%M-%S").replace(tzinfo=UTC)
        assert info.ended is not None
        assert abs((info.ended - saved).total_seconds()) <= 2


@pytest.mark.parametrize("name", ["img0013_H2PcDataset.sxm", CONVERTED])
def test_real_file_passes_the_conformance_suite(data_dir: Path, name: str) -> None:
    check_reader(READER, data_dir / "nanonis" / name, cuts=30, flips=30)


def _scale_entry(header: SxmHeader, content: bytes) -> range:
    start = content.index(b":SCAN_RANGE:") + len(b":SCAN_RANGE:")
    return range(start, content.index(b":", start))


def test_flipped_bit_in_the_scan_range_never_changes_the_scale_in_silence(data_dir: Path, tmp_path: Path) -> None:
    for path in scans(data_dir):
        content = bytearray(path.read_bytes())
        true = parse_header(bytes(content))
        for place in _scale_entry(true, bytes(content)):
            for bit in range(8):
                content[place] ^= 1 << bit
                try:
                    header = parse_header(bytes(content[: true.data_start]))
                except HeaderError:
                    pass
                else:
                    told = set(header.warnings) - set(true.warnings)
                    same = np.allclose(header.range_m, true.range_m, rtol=0.02)
                    witnessed = "Scan>Scanfield" in true.fields
                    assert same or told or not witnessed, (path.name, place, bit, header.range_m)
                content[place] ^= 1 << bit


def test_header_survives_being_copied_with_other_values(data_dir: Path) -> None:
    """The header is a plain value: frozen, comparable, and replaceable."""
    header = parse_header((data_dir / "nanonis" / "nanonis.sxm").read_bytes())
    assert dataclasses.replace(header, rows=1) != header
    assert header.plane_start(header.channels[1], Trace.BACKWARD) == header.data_start + 3 * 160 * 160 * 4
