"""A MATRIX experiment as it grows: the folder source and the real reader together, on real and on simulated files."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from spm_live.domain import Fault
from spm_live.settings import FolderSettings
from spm_live.sources import Arrival
from spm_live.sources.folder import FolderSource
from spm_live_drivers.formats.omicron_matrix import OmicronMatrixReader
from spm_live_drivers.simulate import ControllerOptions, FaultPlan, ScanPlan, SimulatedController, SimulatedInstrument
from spm_live_drivers.simulate.faults import parse_fault

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


@pytest.mark.parametrize(
    "planned",
    [
        ["late-chain@1"],  # there is no chain at all for a while
        ["late-chain@2"],  # the chain is there, and only the second scan is late
        ["late-chain@2", "late-chain@3"],
        ["slow-file@1", "late-chain@1"],
    ],
)
def test_a_scan_whose_chain_is_late_arrives_once_when_it_has_come(tmp_path: Path, planned: list[str]) -> None:
    now = 0.0
    arrivals: list[tuple[int, float]] = []
    faults: list[Fault] = []
    reader = OmicronMatrixReader()
    settings = FolderSettings(path=tmp_path, observer="polling")
    source = FolderSource(settings, clock=lambda: now, find=lambda path: reader, suffixes=reader.suffixes)

    def put(arrival: Arrival) -> None:
        arrivals.append((int(arrival.path.stem.rpartition("_")[2]), now))
        assert arrival.path.suffix == ".Z_mtrx"
        assert not reader.read(arrival.path).info.partial

    source.prepare(put, faults.append, lambda *_: False)
    plan = FaultPlan([parse_fault(text) for text in planned])
    instrument = SimulatedInstrument(
        tmp_path, ScanPlan(pixels=16, size_nm=8.0, line_time_s=5.0, frames=4, format="matrix")
    )
    late_s = 60.0
    simulated = SimulatedController(
        instrument, ControllerOptions(late_chain_s=late_s, slow_file_s=0.0), faults=plan, clock=lambda: now
    )
    most = 0
    while not simulated.over or now < 4 * 80.0 + 200.0:
        simulated.step()
        now += min(source.step(), 1.0)
        most = max(most, source.status().counters["waiting"])
    assert sorted(number for number, _ in arrivals) == [1, 2, 3, 4], "each of them once"
    assert faults == []
    assert source.status().counters["waiting"] == 0
    assert most == 2, "both channels of one scan"
    late = {one.frame: one.at_s for one in plan.injected if one.name == "late-chain"}
    assert [f"late-chain@{frame}" for frame in late] == [text for text in planned if text.startswith("late")]
    for number, when in arrivals:
        waited_s = when - late[number] if number in late else when - 80.0 * number
        assert waited_s >= (late_s if number in late else 0.0)
        # A poll, the time that a file has to be still, and for one that waited the time to the next time it is asked.
        assert waited_s < (late_s if number in late else 0.0) + 10.0
    source.close()
