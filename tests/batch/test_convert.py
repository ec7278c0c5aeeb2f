"""convert: every scan becomes its pictures once, and a second run does only what is left."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from small_scans import COLUMNS, ROWS, SIZE_NM, heights_m, write_scan

from spm_live.batch import convert as convert_module
from spm_live.batch.convert import convert
from spm_live.batch.encode import ConvertOptions
from spm_live.batch.journal import Journal
from spm_live.batch.output import OutputFolder
from spm_live.batch.plan import FileTask
from spm_live.batch.report import Progress, Summary
from spm_live.batch.write import convert_file
from spm_live.domain import Levelling, ReadOptions, Trace
from spm_live.errors import SetupError
from spm_live_drivers.registry import read_frame


def _counts(summary: Summary) -> tuple[int, int, int, int, int]:
    return summary.done, summary.partial, summary.skipped, summary.failed, summary.ignored


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _files(out: Path) -> set[str]:
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith(".spm-live/")}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Four good scans, one cut, one spoilt, one that is none, one of no format, a picture with the name of a scan."""
    raw = tmp_path / "raw"
    write_scan(raw / "a.sxm", 1)
    write_scan(raw / "may" / "a.sxm", 2)
    write_scan(raw / "may" / "ünï çødé 分子.sxm", 3)
    write_scan(raw / "june" / f"{'long' * 60}.sxm", 4)
    write_scan(raw / "june" / "cut.sxm", 5, cut=4 * COLUMNS * (ROWS * 3 + 4))
    (raw / "june" / "spoilt.sxm").write_bytes(b":NANONIS_VERSION:\nrubbish")
    (raw / "june" / "notes.txt").write_text("a good day")
    cv2.imwrite(str(raw / "a.png"), np.arange(64, dtype=np.uint8).reshape(8, 8))
    (raw / "a.png.json").write_text('{"nm_per_px": 0.5}')
    return raw


def test_an_archive_is_converted_and_a_second_run_only_tries_again_what_failed(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    first = convert([archive], out, jobs=2)

    assert _counts(first) == (5, 1, 0, 1, 2)
    assert not first.stopped
    names = _files(out)
    assert {"a.sxm.tif", "a.sxm.png", "a.png.tif", "a.png.png", "may/a.sxm.tif", "may/ünï çødé 分子.sxm.png"} <= names
    assert len(names) == 6 * 2 + 2
    (fault,) = _table(out / "faults.csv")
    assert fault["file"].endswith("spoilt.sxm")
    assert fault["stage"] == "read"
    assert str(first).count("spoilt.sxm") == 1
    rows = {row["outputs"].split("; ")[0]: row for row in _table(out / "frames.csv")}
    assert len(rows) == 6
    assert rows["may/a.sxm.tif"]["width_nm"] == str(SIZE_NM[0])
    assert rows["june/cut.sxm.tif"]["partial"] == "True"

    second = convert([archive], out, jobs=2)

    assert _counts(second) == (0, 0, 6, 1, 2)
    assert len(_table(out / "frames.csv")) == 6


def test_measured_values_are_those_of_the_reader_and_pictures_show_where_nothing_was_scanned(
    archive: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    convert([archive / "june" / "cut.sxm", archive / "a.sxm"], out, jobs=1)

    frame = read_frame(archive / "june" / "cut.sxm")
    values = tifffile.imread(out / "june" / "cut.sxm.tif")
    assert values.tobytes() == frame.data.tobytes()
    missing = np.isnan(frame.data)
    assert 0 < missing.sum() < missing.size
    picture = cv2.imread(str(out / "june" / "cut.sxm.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(picture == 0, missing)
    with tifffile.TiffFile(out / "a.sxm.tif") as file:
        info = json.loads(file.imagej_metadata["Info"])
    assert info["unit"] == "m"
    assert info["angle_deg"] == 10.0
    assert info["header"]["SCAN_PIXELS"]
    np.testing.assert_array_equal(tifffile.imread(out / "a.sxm.tif"), heights_m(1))


def test_a_file_is_done_again_when_it_its_outputs_or_the_options_change(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    scans = [archive / "a.sxm", archive / "may" / "a.sxm"]
    convert(scans, out, jobs=1)

    write_scan(archive / "a.sxm", 50)
    os.utime(archive / "a.sxm", ns=(0, 1_700_000_000_000_000_000))
    assert _counts(convert(scans, out, jobs=1)) == (1, 0, 1, 0, 0)
    np.testing.assert_array_equal(tifffile.imread(out / "a.sxm.tif"), heights_m(50))

    whole = (out / "may" / "a.sxm.png").read_bytes()
    (out / "may" / "a.sxm.png").write_bytes(whole[:-1])
    assert _counts(convert(scans, out, jobs=1)) == (1, 0, 1, 0, 0)
    assert (out / "may" / "a.sxm.png").read_bytes() == whole

    plane = ConvertOptions(levelling=Levelling.PLANE)
    assert _counts(convert(scans, out, plane, jobs=1)) == (2, 0, 0, 0, 0)
    assert _counts(convert(scans, out, plane, jobs=1)) == (0, 0, 2, 0, 0)


def test_every_channel_and_both_traces_have_names_of_their_own(archive: Path, tmp_path: Path) -> None:
    options = ConvertOptions(("npy", "gsf"), both_traces=True, read=ReadOptions(channel="all"))

    convert([archive / "a.sxm"], tmp_path / "out", options, jobs=1)

    assert _files(tmp_path / "out") == {"frames.csv"} | {
        f"a.sxm.{channel}.{trace}.{suffix}"
        for channel in ("Z", "Current")
        for trace in ("forward", "backward")
        for suffix in ("npy", "gsf")
    }
    backward = read_frame(archive / "a.sxm", ReadOptions("Current", Trace.BACKWARD))
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "a.sxm.Current.backward.npy"), backward.data)
    gsf = (tmp_path / "out" / "a.sxm.Current.backward.gsf").read_bytes()
    head = gsf[: gsf.index(b"\0")].decode().splitlines()
    assert head[0] == "Gwyddion Simple Field 1.0"
    fields = dict(line.split(" = ") for line in head[1:])
    assert (fields["XRes"], fields["YRes"], fields["ZUnits"]) == (str(COLUMNS), str(ROWS), "A")
    assert float(fields["XReal"]) == pytest.approx(SIZE_NM[0] * 1e-9)
    assert len(gsf) % 4 == 0
    np.testing.assert_array_equal(np.frombuffer(gsf[-4 * ROWS * COLUMNS :], "<f4"), backward.data.ravel())


def test_all_formats_can_be_read_back(archive: Path, tmp_path: Path) -> None:
    options = ConvertOptions(("png", "jpg", "csv"), colour="afmhot")
    convert([archive / "a.sxm"], tmp_path / "out", options, jobs=1)
    convert([archive / "a.sxm"], tmp_path / "deep", ConvertOptions(("png",), bits=16), jobs=1)

    assert cv2.imread(str(tmp_path / "out" / "a.sxm.jpg")).shape == (ROWS, COLUMNS, 3)
    coloured = cv2.imread(str(tmp_path / "out" / "a.sxm.png"))
    assert (coloured[:, :, 2] >= coloured[:, :, 0]).all()
    table = np.loadtxt(tmp_path / "out" / "a.sxm.csv", delimiter=",", dtype=np.float32)
    np.testing.assert_array_equal(table, heights_m(1))
    deep = cv2.imread(str(tmp_path / "deep" / "a.sxm.png"), cv2.IMREAD_UNCHANGED)
    assert deep.dtype == np.uint16
    assert len(np.unique(deep)) > 256


def test_stopped_early_it_leaves_whole_files_and_goes_on_later(tmp_path: Path) -> None:
    for number in range(60):
        write_scan(tmp_path / "raw" / f"{number:02d}.sxm", number)
    stop = threading.Event()

    def tell(progress: Progress) -> None:
        if progress.done == 5:
            stop.set()

    first = convert([tmp_path / "raw"], tmp_path / "out", jobs=2, progress=tell, stop=stop)

    assert first.stopped == "interrupted"
    assert 5 <= first.done < 60
    assert len(_table(tmp_path / "out" / "frames.csv")) == first.done
    assert not list((tmp_path / "out" / ".spm-live").glob("tmp/*"))
    second = convert([tmp_path / "raw"], tmp_path / "out", jobs=2)
    assert (second.done, second.skipped) == (60 - first.done, first.done)


KILLED = """
import os, signal, sys
from spm_live.batch.convert import convert

def tell(progress):
    if progress.done == 7:
        os.kill(os.getpid(), signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)

if __name__ == "__main__":
    convert([sys.argv[1]], sys.argv[2], jobs=2, progress=tell)
"""


def test_killed_half_way_it_leaves_no_half_file_and_goes_on(tmp_path: Path) -> None:
    for number in range(40):
        write_scan(tmp_path / "raw" / f"{number:02d}.sxm", number)
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    out = tmp_path / "out"

    killed = subprocess.run(
        [sys.executable, script, tmp_path / "raw", out], capture_output=True, timeout=100, check=False
    )

    assert killed.returncode != 0
    for path in out.glob("*.tif"):
        assert tifffile.imread(path).shape == (ROWS, COLUMNS)
    summary = convert([tmp_path / "raw"], out, jobs=2)
    assert (summary.done + summary.skipped, summary.skipped) == (40, 7)
    assert len(_files(out)) == 40 * 2 + 1
    assert not (out / ".spm-live" / "tmp").exists()


def test_a_second_run_at_the_same_time_is_refused(archive: Path, tmp_path: Path) -> None:
    with OutputFolder(tmp_path / "out"), pytest.raises(SetupError, match="another spm-live"):
        convert([archive], tmp_path / "out")


def test_what_cannot_be_written_to_is_refused_before_anything_starts(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SetupError, match="cannot be written"):
        convert([archive], tmp_path / "file" / "out")
    with pytest.raises(SetupError) as refused:
        convert([archive], tmp_path / "out", ConvertOptions(("gif",), colour="puce", bits=12, contrast=(1, 0)))
    assert len(refused.value.problems) == 4
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this account may write everywhere")
def test_a_read_only_folder_is_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(SetupError, match="cannot be written"):
        convert([archive], tmp_path / "out")


def _no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_ends_a_file_without_leaving_part_of_it(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = archive / "a.sxm"
    task = FileTask(str(scan), "a.sxm", scan.stat().st_size, scan.stat().st_mtime_ns, explicit=True)
    with OutputFolder(tmp_path / "out") as folder:
        monkeypatch.setattr(os, "replace", _no_room)
        result = convert_file(task, ConvertOptions(), folder.path)
        assert result.state == "full"
        assert not list(folder.path.glob("*.tif"))
        assert not list((folder.private / "tmp").iterdir())


def test_a_full_disk_stops_the_batch_and_says_so(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", _no_room)
        summary = convert([archive], tmp_path / "out", jobs=1)
    assert "no room" in summary.stopped
    assert summary.done == 0
    assert convert([archive], tmp_path / "out", jobs=1).done == 5


def test_outputs_of_another_file_are_never_replaced(tmp_path: Path) -> None:
    write_scan(tmp_path / "one" / "a.sxm", 1)
    write_scan(tmp_path / "two" / "a.sxm", 2)
    out = tmp_path / "out"
    convert([tmp_path / "one"], out, jobs=1)

    summary = convert([tmp_path / "two"], out, jobs=1)

    assert summary.failed == 1
    assert "would replace those of" in summary.faults[0].reason
    np.testing.assert_array_equal(tifffile.imread(out / "a.sxm.tif"), heights_m(1))
    (tmp_path / "one").rename(tmp_path / "moved")
    assert convert([tmp_path / "moved"], out, jobs=1).skipped == 1, "an archive that moved is still the same"


def test_interrupts_set_the_flag_once_and_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    stop = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    with convert_module.interrupts(stop):
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        assert signal.getsignal(signal.SIGINT) is before, "a second Ctrl-C is the usual one"
    assert signal.getsignal(signal.SIGINT) is before


def test_real_scans_become_the_pictures_their_readers_give(data_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = convert([data_dir / "nanonis", data_dir / "matrix"], out, jobs=2)

    assert summary.failed == 0
    assert summary.done + summary.partial == len(list(out.rglob("*.tif"))) >= 11
    for row in _table(out / "frames.csv"):
        frame = read_frame(Path(row["source"]), replace(ReadOptions(), digest=False))
        tif, png = (out / name for name in row["outputs"].split("; "))
        assert tifffile.imread(tif).tobytes() == frame.data.tobytes()
        picture = cv2.imread(str(png), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(picture == 0, ~np.isfinite(frame.data))
