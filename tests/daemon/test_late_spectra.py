"""A spectrum that is taken on a molecule of a scan that was stored before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spm_live.daemon.late_spectra import LateSpectra
from spm_live.domain import (
    ClassCount,
    FrameInfo,
    FrameRef,
    ModelIdentity,
    Molecule,
    MoleculeMap,
    Processed,
    ScanGeometry,
    Trace,
)
from spm_live.publish.feed import Feed
from spm_live.publish.store import Store

BEGAN = datetime(2026, 3, 1, 20, 0, tzinfo=UTC)


def scan(number: int, began: datetime, folder: Path) -> Processed:
    """A frame of 10 nm around (100, 50) nm with one molecule of 2 nm in its middle."""
    ref = FrameRef(str(folder / f"scan_{number}.sxm"), f"{number:064d}", "Z", Trace.FORWARD)
    info = FrameInfo(ref, ScanGeometry(100, 100, (10.0, 10.0), (100.0, 50.0)), "m", complete_rows=100, started=began)
    square = ((39.5, 39.5), (59.5, 39.5), (59.5, 59.5), (39.5, 59.5))
    molecule = Molecule("rod", 0.9, (100.0, 50.0), 4.0, 2.0, 2.0, 0.0, (40.0, 40.0, 60.0, 60.0), square, False)
    counts = {"rod": ClassCount(1, 0, 0.01, 0.04)}
    found = MoleculeMap(info, ModelIdentity("m", "1", "00"), (molecule,), counts, 100.0, 0.04)
    return Processed(found, b"preview", b"thumbnail")


def write_spectrum(folder: Path, name: str, x_nm: float, y_nm: float, taken: datetime) -> Path:
    """A Nanonis spectrum of two points; its times are local, here UTC by the zone given."""
    path = folder / name
    path.write_text(
        "Experiment\tbias spectroscopy\t\n"
        f"Saved Date\t{taken:%d.%m.%Y %H:%M:%S}\t\n"
        f"X (m)\t{x_nm * 1e-9:.6E}\t\nY (m)\t{y_nm * 1e-9:.6E}\t\nZ (m)\t0E+0\t\n"
        f"Start time\t{taken:%d.%m.%Y %H:%M:%S}\t\n"
        "\n[DATA]\nBias calc (V)\tCurrent (A)\n1.0\t1e-12\n2.0\t2e-12\n"
    )
    return path


@pytest.mark.parametrize(
    ("x_nm", "y_nm", "minutes", "owner"),
    [
        (100.5, 50.5, 10, "scan_2.sxm"),  # on the molecule: the newest scan that shows it
        (100.5, 50.5, -30, "scan_1.sxm"),  # before the second scan began
        (103.0, 50.0, 10, None),  # beside it
        (200.0, 50.0, 10, None),  # elsewhere
    ],
)
def test_a_late_spectrum_is_given_to_the_newest_scan_that_shows_its_place(
    tmp_path: Path, x_nm: float, y_nm: float, minutes: int, owner: str | None
) -> None:
    with Store(tmp_path / "store.sqlite3") as store:
        feed = Feed()
        late = LateSpectra(store, feed)
        for number, began in ((1, BEGAN - timedelta(hours=1)), (2, BEGAN)):
            saved = store.save(scan(number, began, tmp_path))
            assert saved.new
            late.frame_stored(tmp_path / f"scan_{number}.sxm", "UTC")
        assert late.look() == 0
        path = write_spectrum(tmp_path, "spectrum_1.dat", x_nm, y_nm, BEGAN + timedelta(minutes=minutes))
        with feed.subscribe(10) as heard:
            assert late.look() == (owner is not None)
            told = heard.get(0)
        assert late.look() == 0
        if owner is None:
            assert told is None
        else:
            assert told is not None
            assert told["name"] == owner
            assert told["molecules"][0]["spectra"] == [str(path)]
        owners = [frame["name"] for frame in store.iter_frames() if frame["molecules"][0]["spectra"]]
        assert owners == ([owner] if owner else [])
