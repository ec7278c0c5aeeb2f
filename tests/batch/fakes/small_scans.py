"""Small scan files for the tests of the batch commands."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np

from spm_live_drivers.contract import ScanGeometry
from spm_live_drivers.formats.nanonis_writer import SxmChannel, SxmSettings, sxm_bytes

ROWS, COLUMNS = 24, 32
SIZE_NM = (16.0, 6.0)


def heights_m(seed: int) -> np.ndarray:
    """Rows x columns of heights, in m; different for every seed."""
    rng = np.random.default_rng(seed)
    tilt = np.add.outer(np.arange(ROWS), 2.0 * np.arange(COLUMNS)) * 1e-12
    return (tilt + rng.normal(scale=5e-12, size=(ROWS, COLUMNS))).astype(np.float32)


def scan_bytes(seed: int) -> bytes:
    """A whole .sxm file with two channels, forward and backward."""
    geometry = ScanGeometry(ROWS, COLUMNS, SIZE_NM, center_nm=(100.0, -50.0), angle_deg=10.0)
    z, current = heights_m(seed), heights_m(seed + 1000) * np.float32(0.01)
    channels = [
        SxmChannel(14, "Z", "m", z, z + np.float32(1e-12)),
        SxmChannel(0, "Current", "A", current, current * np.float32(2)),
    ]
    return sxm_bytes(channels, geometry, SxmSettings(datetime(2026, 11, 21, 12, 0, seed % 60)))


def write_scan(path: Path, seed: int, *, cut: int = 0) -> Path:
    """Write a scan; ``cut`` bytes are missing at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = scan_bytes(seed)
    path.write_bytes(content[: len(content) - cut])
    return path
