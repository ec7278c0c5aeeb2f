"""Where spectra were taken."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spm_live_drivers.errors import FrameError
from spm_live_drivers.formats.nanonis_spectrum import SpectrumPosition, find_spectra, read_spectrum

LINES = [
    "Experiment\tbias spectroscopy\t",
    "Saved Date\t25.03.2026 17:00:17\t",
    "User\t\t",
    "X (m)\t121.37E-9\t",
    "Y (m)\t-94.3971E-9\t",
    "Start time\t25.03.2026 16:58:29\t",
    "Comment\twith\ttabs\tinside",
    "",
    "[DATA]",
    "Bias calc (V)\tCurrent (A)",
    "1.0E+0\t2.0E-12",
    "",
]


def write(path: Path, lines: list[str] = LINES, end: str = "\r\n", encoding: str = "utf-8") -> Path:
    path.write_bytes(end.join(lines).encode(encoding))
    return path


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_position_and_time_are_read_with_either_line_end(tmp_path: Path, end: str) -> None:
    path = write(tmp_path / "a.dat", end=end)
    spectrum = read_spectrum(path, "Europe/Zurich")
    assert spectrum == SpectrumPosition(
        str(path), pytest.approx(121.37), pytest.approx(-94.3971), datetime(2026, 3, 25, 15, 58, 29, tzinfo=UTC)
    )


def test_header_in_a_windows_code_page_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dat", [LINES[0], "Comment\t45 °C", *LINES[1:]], encoding="cp1252")
    assert read_spectrum(path).x_nm == pytest.approx(121.37)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("X (m)", "X [m]", "does not say where"),
        ("121.37E-9", "N/A", "cannot be read"),
        ("121.37E-9", "nan", "no place"),
        ("121.37E-9", "1E9", "no place"),
        ("[DATA]", "[DATB]", "cannot be read"),
        ("Experiment", "Experimant", "no Nanonis spectrum"),
    ],
)
def test_spectrum_without_a_sound_position_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    path = write(tmp_path / "a.dat", [line.replace(old, new) for line in LINES])
    with pytest.raises(FrameError, match=reason) as caught:
        read_spectrum(path)
    assert caught.value.ref.source == str(path)


def test_file_cut_anywhere_is_refused_or_right(tmp_path: Path) -> None:
    whole = "\r\n".join(LINES).encode()
    for size in range(len(whole)):
        path = tmp_path / f"{size}.dat"
        path.write_bytes(whole[:size])
        try:
            spectrum = read_spectrum(path)
        except FrameError:
            continue
        assert (spectrum.x_nm, spectrum.y_nm) == pytest.approx((121.37, -94.3971))


def test_wrong_time_zone_is_refused_and_wrong_time_is_none(tmp_path: Path) -> None:
    with pytest.raises(FrameError, match="time zone"):
        read_spectrum(write(tmp_path / "a.dat"), "Mars/Olympus")
    lines = [line.replace("25.03.2026", "yesterday") for line in LINES]
    assert read_spectrum(write(tmp_path / "b.dat", lines)).taken is None


def test_folder_gives_its_spectra_and_passes_over_everything_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "b.dat")
    write(tmp_path / "a.DAT".lower())
    write(tmp_path / "broken.dat", [line.replace("X (m)", "X") for line in LINES])
    (tmp_path / "createc.dat").write_bytes(b"[Paramco32]\r\n" + bytes(range(256)) * 100)
    (tmp_path / "empty.dat").touch()
    (tmp_path / "folder.dat").mkdir()
    (tmp_path / "note.txt").write_text("\t".join(LINES))
    with caplog.at_level(logging.WARNING):
        found = find_spectra(tmp_path)
    assert [Path(spectrum.source).name for spectrum in found] == ["a.dat", "b.dat"]
    assert [record.message for record in caplog.records if "broken.dat" in record.message]
    assert len(caplog.records) == 1
    assert find_spectra(tmp_path / "nowhere") == ()


def test_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dat")
    assert read_spectrum(path).x_nm == pytest.approx(121.37)
    write(path, [line.replace("121.37E-9", "1.5E-9") for line in LINES])
    assert read_spectrum(path).x_nm == pytest.approx(1.5)


def test_real_spectra_have_positions_and_createc_files_none(data_dir: Path) -> None:
    names = {Path(spectrum.source).name: spectrum for spectrum in find_spectra(data_dir / "nanonis")}
    assert set(names) == {"dIdV_00001_H2PcDataset.dat", "example_STS_DCACenter.dat"}
    assert names["example_STS_DCACenter.dat"].x_nm == pytest.approx(-46.5349)
    assert find_spectra(data_dir / "createc") == ()
