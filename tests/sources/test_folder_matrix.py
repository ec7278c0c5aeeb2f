"""A MATRIX experiment as it grows: the folder source and the real reader together, on real files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from spm_live.domain import Fault
from spm_live.settings import FolderSettings
from spm_live.sources import Arrival
from spm_live.sources.folder import FolderSource
from spm_live_drivers.formats.omicron_matrix import OmicronMatrixReader

BEFORE_I, BEFORE_Z, BEHIND_Z = 290_636, 290_700, 290_764
"""Where the entries of the two files stand in the chain."""


@pytest.mark.parametrize(
    ("channel", "first", "expected"), [(None, "I", "Z"), (None, "Z", "Z"), ("I", "I", "I"), ("I", "Z", "I")]
)
def test_one_file_of_a_scan_arrives_once_its_chain_names_it(data_dir, tmp_path, channel, first, expected):
    now = 0.0
    arrivals: list[Arrival] = []
    faults: list[Fault] = []
    reader = OmicronMatrixReader()
    settings = FolderSettings(path=tmp_path, observer="polling", channel=channel)
    source = FolderSource(settings, clock=lambda: now, find=lambda path: reader, suffixes=reader.suffixes)
    source.prepare(arrivals.append, faults.append, lambda *_: False)

    def run(seconds: float) -> None:
        nonlocal now
        end = now + seconds
        while now < end:
            now = min(end, now + source.step())

    real = data_dir / "matrix"
    chain = (real / "20201111_0001.mtrx").read_bytes()
    growing: Path = tmp_path / "20201111_0001.mtrx"
    growing.write_bytes(chain[:BEFORE_I])
    run(10)
    for letter in (first, "ZI".replace(first, "")):
        (tmp_path / f"20201111--4_1.{letter}_mtrx").write_bytes((real / f"20201111--4_1.{letter}_mtrx").read_bytes())
        run(10)
        assert arrivals == [], "no scale is known yet"
    assert source.status().counters["waiting"] == 2
    assert "does not list" in source.status().detail
    growing.write_bytes(chain[:BEFORE_Z])
    run(10)
    growing.write_bytes(chain[:BEHIND_Z])
    run(10)
    growing.write_bytes(chain)
    run(1000)
    assert [arrival.path.name for arrival in arrivals] == [f"20201111--4_1.{expected}_mtrx"]
    assert faults == []
    assert source.status().counters["waiting"] == 0
    assert math.isclose(reader.read(arrivals[0].path).geometry.size_nm[0], 100.0)
    source.close()
