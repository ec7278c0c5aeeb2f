"""Damaged and misplaced files: a ``FrameError`` with file, stage and reason, or a partial frame; nothing else, ever.

The quick version damages each file of the real data in some places; ``-m slow`` in 200 and more.
"""

from __future__ import annotations

import os
import shutil
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from spm_live_drivers.contract import FileStatus, Frame, Reader, ReadOptions
from spm_live_drivers.errors import FrameError
from spm_live_drivers.formats.image import ImageReader
from spm_live_drivers.formats.nanonis_spectrum import read_spectrum
from spm_live_drivers.formats.nanonis_sxm import NanonisSxmReader
from spm_live_drivers.testing import frame_problems

OPTIONS = ReadOptions(nm_per_px=0.1, digest=False)
READERS: tuple[Reader, ...] = (NanonisSxmReader(), ImageReader())
SUFFIXES = (".sxm", ".png", ".tif", ".npy", ".jpg", ".bmp", ".dat", ".3ds", ".Z_mtrx", "")
MIB = 1024 * 1024


def readable(data_dir: Path) -> list[tuple[Reader, Path]]:
    files = sorted(path for path in data_dir.rglob("*") if path.is_file() and "tsne" not in path.parts)
    crops = sorted((data_dir / "tsne").rglob("*.png"))[::40]
    heads = [(path, path.open("rb")) for path in files + crops]
    found = []
    for path, file in heads:
        with file:
            head = file.read(4096)
        found += [(reader, path) for reader in READERS if reader.accepts(path, head)]
    return found


def offsets(size: int, count: int) -> Iterator[int]:
    """From the end to the beginning, half of them in the first 12 kB, so that a copy only ever shrinks."""
    dense = range(0, min(size, 12_000), max(1, min(size, 12_000) // (count // 2)))
    spread = range(0, size, max(1, size // (count // 2)))
    yield from sorted({*dense, *spread, size - 1}, reverse=True)


def explained(error: FrameError, path: Path) -> None:
    assert error.ref.source == str(path)
    assert error.stage == "read"
    assert error.reason


def outcome(reader: Reader, path: Path, options: ReadOptions = OPTIONS) -> Frame | None:
    try:
        reader.state(path)
    except FrameError as error:
        explained(error, path)
    try:
        frame = reader.read(path, options)
    except FrameError as error:
        return explained(error, path)
    problems = [problem for problem in frame_problems(frame, reader, path) if "sha256" not in problem]
    assert not problems
    return frame


def fuzz(reader: Reader, original: Path, folder: Path, cuts: int, flips: int) -> None:
    path = folder / f"copy{original.suffix}"
    shutil.copyfile(original, path)
    whole = outcome(reader, path)
    assert whole is not None
    _flip(reader, path, flips)
    _pad(reader, path, whole)
    _cut(reader, path, whole, cuts)


def _flip(reader: Reader, path: Path, count: int) -> None:
    chance = np.random.default_rng(len(path.name))
    size = path.stat().st_size
    with path.open("r+b", buffering=0) as file:
        for k in range(count):
            place = int(chance.integers(min(size, 8192) if k % 2 else size))
            file.seek(place)
            byte = file.read(1)[0]
            for value in (byte ^ (1 << int(chance.integers(8))), byte):
                file.seek(place)
                file.write(bytes([value]))
                if value != byte:
                    outcome(reader, path)


def _pad(reader: Reader, path: Path, whole: Frame) -> None:
    size = path.stat().st_size
    for tail in (b"\0", bytes(100_000), os.urandom(5000)):
        with path.open("ab") as file:
            file.write(tail)
        frame = outcome(reader, path)
        if frame is not None:
            assert frame.geometry == whole.geometry
            np.testing.assert_array_equal(frame.data, whole.data)
        os.truncate(path, size)


def _cut(reader: Reader, path: Path, whole: Frame, count: int) -> None:
    size = path.stat().st_size
    for end in offsets(size, count):
        os.truncate(path, end)
        frame = outcome(reader, path)
        if frame is not None and frame.ref.channel == whole.ref.channel:
            assert frame.geometry == whole.geometry
            there = np.isfinite(frame.data)
            np.testing.assert_array_equal(frame.data[there], whole.data[there])
        if 0 < end < size // 2:
            try:
                assert reader.state(path).status is not FileStatus.COMPLETE
            except FrameError:
                continue


def test_every_real_file_cut_padded_and_flipped_in_some_places(data_dir: Path, tmp_path: Path) -> None:
    for reader, path in readable(data_dir):
        fuzz(reader, path, tmp_path, cuts=30, flips=20)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_real_file_cut_padded_and_flipped_in_200_places(data_dir: Path, tmp_path: Path) -> None:
    for reader, path in readable(data_dir):
        fuzz(reader, path, tmp_path, cuts=200, flips=200)


def test_no_cut_takes_more_memory_than_the_whole_file(data_dir: Path, tmp_path: Path) -> None:
    original = data_dir / "nanonis" / "example_FFT.sxm"
    path = tmp_path / "copy.sxm"
    shutil.copyfile(original, path)
    tracemalloc.start()
    try:
        for end in offsets(path.stat().st_size, 60):
            os.truncate(path, end)
            outcome(NanonisSxmReader(), path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * MIB


def test_every_real_file_under_every_suffix_is_read_by_its_content_or_refused(data_dir: Path, tmp_path: Path) -> None:
    for original in sorted((data_dir / "nanonis").iterdir()) + sorted((data_dir / "molecules").glob("*.png")):
        path = tmp_path / "copy"
        shutil.copyfile(original, path)
        head = path.read_bytes()[:4096]
        for suffix in SUFFIXES:
            path = path.rename(tmp_path / f"copy{suffix}")
            for reader in READERS:
                frame = outcome(reader, path)
                assert (frame is not None) == reader.accepts(path, head), (original.name, suffix, reader.name)


def test_every_other_real_file_is_refused_by_these_readers(data_dir: Path) -> None:
    for folder in ("createc", "matrix", "other"):
        for path in sorted((data_dir / folder).iterdir()):
            head = path.read_bytes()[:4096]
            for reader in READERS:
                assert not reader.accepts(path, head), path.name
                assert outcome(reader, path) is None


def test_spectrum_cut_or_flipped_anywhere_is_refused_or_has_a_position(data_dir: Path, tmp_path: Path) -> None:
    content = (data_dir / "nanonis" / "dIdV_00001_H2PcDataset.dat").read_bytes()
    chance = np.random.default_rng(0)
    path = tmp_path / "copy.dat"
    for k in range(120):
        changed = bytearray(content[: int(chance.integers(len(content)))] if k % 2 else content)
        if changed:
            changed[int(chance.integers(min(4096, len(changed))))] ^= 1 << int(chance.integers(8))
        path.write_bytes(changed)
        try:
            spectrum = read_spectrum(path)
        except FrameError as error:
            explained(error, path)
        else:
            assert np.isfinite([spectrum.x_nm, spectrum.y_nm]).all()


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
@pytest.mark.parametrize("seed", range(40))
def test_noise_behind_a_true_magic_is_refused(reader: Reader, seed: int, tmp_path: Path) -> None:
    magics = [
        b":NANONIS_VERSION:\n",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"II*\0\x08\0\0\0",
        b"BM",
        b"\x93NUMPY\x01\0",
    ]
    chance = np.random.default_rng(seed)
    path = tmp_path / "noise.bin"
    path.write_bytes(magics[seed % len(magics)] + chance.bytes(int(chance.integers(1, 3000))))
    assert outcome(reader, path) is None


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_what_is_no_file_is_refused(reader: Reader, tmp_path: Path) -> None:
    empty, folder, link = tmp_path / "empty.sxm", tmp_path / "folder.sxm", tmp_path / "link.sxm"
    empty.touch()
    folder.mkdir()
    places = [empty, folder, tmp_path / "missing.sxm"]
    try:
        link.symlink_to(tmp_path / "nowhere")
        places.append(link)
    except OSError:
        pass  # Windows allows links to administrators alone
    for place in places:
        assert outcome(reader, place) is None
        with pytest.raises(FrameError):
            reader.channels(place)
