"""The MATRIX reader on a real scan, against access2theMatrix."""

from __future__ import annotations

import contextlib
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from access2thematrix import MtrxData

from spm_live_drivers.contract import FileStatus, ReadOptions, Trace
from spm_live_drivers.errors import FrameError, NotReadyError
from spm_live_drivers.formats.omicron_matrix import OmicronMatrixReader
from spm_live_drivers.testing import check_reader

READER = OmicronMatrixReader()
FIRST_ENTRY = 290_636
"""Where the chain's first BREF begins; found by walking through it."""


@pytest.fixture
def scan(data_dir, tmp_path) -> Path:
    """A copy of the Z file, with its chain and its sibling beside it."""
    for source in (data_dir / "matrix").iterdir():
        shutil.copyfile(source, tmp_path / source.name)
    return tmp_path / "20201111--4_1.Z_mtrx"


@pytest.mark.parametrize("channel", ["Z", "I"])
@pytest.mark.parametrize("trace", Trace)
def test_every_value_equals_the_library_to_the_last_bit_after_the_flip(data_dir, channel, trace):
    path = data_dir / "matrix" / f"20201111--4_1.{channel}_mtrx"
    library = MtrxData()
    library.open(str(path))
    image, _ = library.select_image(f"{trace}/up")
    frame = READER.read(path, ReadOptions(trace=trace))
    np.testing.assert_array_equal(frame.data, image.data[::-1].astype(np.float32))
    assert frame.geometry.size_nm == (image.width * 1e9, image.height * 1e9)
    assert frame.geometry.center_nm == (image.x_offset * 1e9, image.y_offset * 1e9)
    assert frame.info.unit == image.channel_name_and_unit[1]
    assert frame.info.ended == datetime(2020, 11, 11, 9, 7, 26, tzinfo=UTC)
    assert (frame.info.bias_v, frame.info.setpoint) == (pytest.approx(0.6), pytest.approx(3e-10))


@pytest.mark.parametrize("channel", ["Z", "I"])
def test_the_reader_keeps_the_contract(data_dir, channel):
    folder = data_dir / "matrix"
    check_reader(
        READER,
        folder / f"20201111--4_1.{channel}_mtrx",
        options=ReadOptions(channel=channel),
        companions=[folder / "20201111_0001.mtrx"],
        cuts=20,
        flips=20,
    )


def test_a_result_file_cut_at_200_offsets_is_an_error_or_a_partial_frame(scan):
    whole = scan.read_bytes()
    frame = READER.read(scan, ReadOptions(digest=False))
    outcomes = set()
    for offset in np.linspace(0, len(whole) - 1, 200).astype(int):
        scan.write_bytes(whole[:offset])
        try:
            cut = READER.read(scan, ReadOptions(digest=False))
        except FrameError as error:
            outcomes.add(type(error))
            continue
        rows = cut.info.complete_rows
        assert rows == max(0, offset - 104) // 3200
        np.testing.assert_array_equal(cut.data[400 - rows :], frame.data[400 - rows :])
        assert np.isnan(cut.data[: 400 - rows]).all()
        assert cut.geometry == frame.geometry
        outcomes.add("partial")
    assert outcomes == {FrameError, "partial"}


def test_a_chain_cut_before_the_entry_makes_the_file_wait(scan):
    chain = scan.with_name("20201111_0001.mtrx")
    whole = chain.read_bytes()
    for length in np.linspace(0, FIRST_ENTRY + 64 + 63, 40).astype(int):
        chain.write_bytes(whole[:length])
        assert READER.state(scan).status is FileStatus.WAITING
        with pytest.raises(NotReadyError):
            READER.read(scan)
    chain.write_bytes(whole[: FIRST_ENTRY + 128])
    assert READER.read(scan).info.complete_rows == 400


def test_flipped_bytes_of_the_chain_are_an_error_a_wait_or_the_full_geometry(scan):
    chain = scan.with_name("20201111_0001.mtrx")
    whole = chain.read_bytes()[: FIRST_ENTRY + 128]
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(whole), 100):
        flipped = bytearray(whole)
        flipped[position] ^= int(rng.integers(1, 256))
        chain.write_bytes(flipped)
        with contextlib.suppress(FrameError):
            assert READER.read(scan, ReadOptions(digest=False)).data.shape == (400, 400)


def test_a_stopped_scan_made_of_real_bytes_keeps_its_geometry(scan):
    whole = bytearray(scan.read_bytes())
    taken = 800 * 123 + 400
    whole[64:68] = taken.to_bytes(4, "little")
    position = whole.index(b"ATAD") + 4
    whole[position : position + 4] = (4 * taken).to_bytes(4, "little")
    frame = READER.read(scan)
    scan.write_bytes(whole[: position + 4 + 4 * taken])
    stopped = READER.read(scan)
    assert stopped.info.complete_rows == 123
    assert stopped.geometry == frame.geometry
    np.testing.assert_array_equal(stopped.data[-123:], frame.data[-123:])
    assert np.isnan(stopped.data[:-123]).all()
