"""detect: every content once in the store, whatever happened before."""

from __future__ import annotations

import csv
import shutil
import threading
from pathlib import Path

import cv2
import pytest
from small_scans import write_scan

from spm_live.batch.detect import detect_files
from spm_live.batch.find import DetectOptions
from spm_live.batch.report import Progress
from spm_live.domain import ReadOptions
from spm_live.errors import SetupError
from spm_live.publish.store import Store, StoreFullError
from spm_live.settings import ModelSettings

OPTIONS = DetectOptions(ModelSettings(name="synthetic-small"), ReadOptions(), pictures=True)


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three scans, one of them twice, one spoilt file and one that is none."""
    raw = tmp_path / "raw"
    for number in range(3):
        write_scan(raw / f"{number}.sxm", number)
    shutil.copy(raw / "1.sxm", raw / "sub-1.sxm")
    (raw / "spoilt.sxm").write_bytes(b":NANONIS_VERSION:\nrubbish")
    (raw / "notes.txt").write_text("a good day")
    return raw


def test_each_content_is_stored_once_and_a_second_run_does_nothing_twice(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    first = detect_files([archive], out, OPTIONS, jobs=1)

    assert (first.done, first.skipped, first.failed, first.ignored) == (3, 1, 1, 1)
    assert len(_table(out / "frames.csv")) == 3
    assert {row["label"] for row in _table(out / "counts.csv")} >= {"rod"}
    assert (out / "molecules.csv").exists()
    assert len(list((out / "pictures").glob("*.png"))) in {3, 4}
    assert cv2.imread(str(out / "pictures" / "0.sxm.png")).shape[1] >= 320
    with Store(out / "results.sqlite3", read_only=True) as store:
        assert store.totals()["frames"] == 3
        assert [fault["name"] for fault in store.faults(10)] == ["spoilt.sxm"]

    second = detect_files([archive], out, OPTIONS, jobs=1)

    assert (second.done, second.skipped, second.failed) == (0, 4, 1)
    with Store(out / "results.sqlite3", read_only=True) as store:
        assert store.totals()["frames"] == 3
        assert store.totals()["faults"] == 1, "those of the last run"


def test_stopped_early_it_goes_on_later(archive: Path, tmp_path: Path) -> None:
    stop = threading.Event()

    def tell(progress: Progress) -> None:
        if progress.done == 1:
            stop.set()

    first = detect_files([archive], tmp_path / "out", OPTIONS, jobs=1, progress=tell, stop=stop)
    assert first.stopped == "interrupted"
    assert 1 <= first.done < 3

    detect_files([archive], tmp_path / "out", OPTIONS, jobs=1)
    assert len(_table(tmp_path / "out" / "frames.csv")) == 3


def test_results_of_other_settings_are_not_mixed(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    scan = archive / "0.sxm"
    detect_files([scan], out, OPTIONS, jobs=1)

    other = DetectOptions(ModelSettings(min_score=0.9), ReadOptions(channel="Current"))
    with pytest.raises(SetupError, match=r"min_score, channel"):
        detect_files([scan], out, other, jobs=1)
    with pytest.raises(SetupError, match="no-such-model"):
        detect_files(
            [scan], tmp_path / "new", DetectOptions(ModelSettings(name="no-such-model"), ReadOptions()), jobs=1
        )


def test_a_full_disk_stops_the_batch_and_says_so(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = archive / "0.sxm"
    with monkeypatch.context() as patch:
        patch.setattr("spm_live.batch.detect.MIN_FREE_MB", 10**9)
        with pytest.raises(SetupError, match="no room"):
            detect_files([scan], tmp_path / "out", OPTIONS, jobs=1)

    def full(*_: object, **__: object) -> None:
        raise StoreFullError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "save", full)
        summary = detect_files([scan], tmp_path / "out", OPTIONS, jobs=1)
    assert "no room" in summary.stopped
    assert summary.done == 0
    assert detect_files([scan], tmp_path / "out", OPTIONS, jobs=1).done == 1
