"""Which spectra belong to a frame."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from spm_live.domain import Frame, FrameInfo, FrameRef, ScanGeometry, Spectrum
from spm_live.locate import spectra_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def frame(started: datetime | None = NOON, ended: datetime | None = NOON + timedelta(minutes=10)) -> Frame:
    geometry = ScanGeometry(10, 20, (4.0, 2.0), (100.0, 50.0), 90.0)
    info = FrameInfo(FrameRef("scan.sxm"), geometry, "m", complete_rows=10, started=started, ended=ended)
    return Frame(info, np.zeros((10, 20), dtype=np.float32))


def test_only_spectra_inside_the_turned_frame_are_chosen():
    inside, above = Spectrum("a", (100.9, 51.9)), Spectrum("b", (101.9, 50.9))
    assert spectra_of(frame(), [inside, above]) == (inside,)


def test_spectra_of_another_day_are_left_out_when_asked_to():
    at = (100.0, 50.0)
    before = Spectrum("before", at, NOON - timedelta(days=1))
    soon = Spectrum("soon", at, NOON + timedelta(hours=1))
    unknown = Spectrum("unknown", at)
    assert spectra_of(frame(), [before, soon, unknown]) == (before, soon, unknown)
    assert spectra_of(frame(), [before, soon, unknown], timedelta(hours=3)) == (soon, unknown)
    assert len(spectra_of(frame(None, None), [before, soon], timedelta(hours=3))) == 2
    assert spectra_of(frame(None, NOON), [before, soon], timedelta(hours=3)) == (soon,)
