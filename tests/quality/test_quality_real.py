"""Real scans: what was seen in them by eye against what is told of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from spm_live.domain import ReadOptions, ScanDirection, Trace
from spm_live.quality.inspect import ScanInspector
from spm_live.scanning import ScanQuality, Verdict
from spm_live_drivers.registry import find_reader

CLEAN = (
    "nanonis/Image_412.sxm",
    "nanonis/STM_nanonis_generic_4_5.sxm",
    "nanonis/example_FFT.sxm",
    "nanonis/example_nc-AFM.sxm",
    "nanonis/img0013_H2PcDataset.sxm",
    "nanonis/Au_mica_2023_Y_A_diPAMY_195.sxm",
    "nanonis/nanonis.sxm",
    "createc/A200621.212434.dat",
    "createc/A260317.105156.dat",
)
"""Looked at one by one: no tip change is to be seen; short streaks in some."""


def inspected(path: Path, channel: str | None = None) -> ScanQuality:
    reader = find_reader(path)
    frame = reader.read(path, ReadOptions(channel=channel))
    channel = frame.ref.channel
    traces = next(one.traces for one in reader.channels(path) if one.name == channel)
    back = reader.read(path, ReadOptions(channel=channel, trace=Trace.BACKWARD)).data if len(traces) > 1 else None
    order = slice(None, None, -1 if frame.info.direction is ScanDirection.UP else 1)
    done = slice(0, frame.info.complete_rows)
    return ScanInspector(frame.info).advance(frame.data[order][done], None if back is None else back[order][done])


@pytest.mark.parametrize("name", CLEAN)
def test_clean_scans_raise_no_alarm(data_dir: Path, name: str) -> None:
    quality = inspected(data_dir / name)
    assert quality.verdict is Verdict.GOOD, quality.reasons
    assert (quality.tip_changes, quality.double_tip_nm) == ((), None)


@pytest.mark.parametrize("name", CLEAN)
def test_clean_scans_raise_none_on_the_way_either(data_dir: Path, name: str) -> None:
    """What the operator is told after a third of the frame counts, not what would be said at its end."""
    frame = find_reader(data_dir / name).read(data_dir / name, ReadOptions())
    lines = frame.data[:: -1 if frame.info.direction is ScanDirection.UP else 1][: frame.info.complete_rows]
    inspector = ScanInspector(frame.info)
    for first in range(0, len(lines), 8):
        quality = inspector.advance(lines[first : first + 8], None)
        assert (quality.tip_changes, quality.double_tip_nm) == ((), None), quality.lines


@pytest.mark.slow
def test_no_other_channel_of_a_clean_scan_raises_one(data_dir: Path) -> None:
    """Constant heights, set points, a loop's own signals: nothing in them is a tip change."""
    for name in CLEAN:
        path = data_dir / name
        for channel in find_reader(path).channels(path):
            assert inspected(path, channel.name).tip_changes == (), (name, channel.name)


def test_the_streaky_scan_is_doubtful_and_its_jump_is_told(data_dir: Path) -> None:
    """Everything below row 325 (line 75 of this up scan) lies 0.05 nm lower, in both traces, and 4 % is streaks."""
    quality = inspected(data_dir / "matrix" / "20201111--4_1.Z_mtrx")
    assert quality.verdict is Verdict.DOUBTFUL
    assert [(change.line, change.kind) for change in quality.tip_changes] == [(75, "height")]
    assert 0.03 < quality.streaks < 0.06


def test_of_nine_lines_and_of_none_nothing_is_said(data_dir: Path) -> None:
    for name in ("nanonis/converter_9_of_256_rows.sxm", "createc/A250407.141806.dat", "nanonis/empty.sxm"):
        assert inspected(data_dir / name).verdict is Verdict.UNKNOWN
