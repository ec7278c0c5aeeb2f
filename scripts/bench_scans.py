"""Scan files for the benchmarks: real ones, many times over, or drawn ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import cycle, islice
from pathlib import Path

FILES_PER_FOLDER = 200
CUT_SHORT = ("converter_9_of_256_rows.sxm", "empty.sxm")
"""Real files that nanonispy2 cannot read."""


def complete_scans(data: Path) -> list[Path]:
    """The complete .sxm files among the real data; empty where they are not there."""
    return [path for path in sorted((data / "nanonis").glob("*.sxm")) if path.name not in CUT_SHORT]


def replicate(scans: list[Path], folder: Path, number: int) -> list[Path]:
    """Copy files again and again, under new names, into folders of 200."""
    copies = []
    for serial, scan in enumerate(islice(cycle(scans), number)):
        place = folder / f"day{serial // FILES_PER_FOLDER:03d}"
        place.mkdir(parents=True, exist_ok=True)
        copies.append(Path(shutil.copyfile(scan, place / f"{serial:05d}_{scan.name}")))
    return copies


def drawn_scans(folder: Path, number: int, side: int, *, size_nm: float | None = None) -> Iterator[Path]:
    """Draw scans of molecules and save them as Nanonis does: Z, forward and backward."""
    from spm_live_drivers.formats.nanonis_writer import SxmChannel, SxmSettings, write_sxm
    from spm_live_drivers.synthetic import draw_scan

    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(number):
        scan = draw_scan(seed, rows=side, columns=side, size_nm=size_nm or side * 0.1)
        path = folder / f"drawn{seed:05d}.sxm"
        settings = SxmSettings(datetime(2026, 11, 21, 12) + timedelta(minutes=seed))  # noqa: DTZ001 - as files have it
        write_sxm(path, [SxmChannel(14, "Z", "m", scan.heights, scan.heights_backward)], scan.geometry, settings)
        yield path
