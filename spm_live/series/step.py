"""From one frame of a place to the next, in one call."""

from __future__ import annotations

from spm_live.series.changes import changes_between
from spm_live.series.drift import find_drift
from spm_live.series.frames import SeriesFrame, minutes_between
from spm_live.series.links import FrameLinks, pair_molecules


def follow(previous: SeriesFrame, current: SeriesFrame) -> FrameLinks:
    """Find out how a place drifted between two frames, and what became of each molecule.

    Pure: no file, clock or state.

    Parameters
    ----------
    previous : SeriesFrame
        The earlier frame, with the tracks of its molecules and the memory of those it misses
        (:func:`spm_live.series.memory.remember`).
    current : SeriesFrame
        The later frame.

    Returns
    -------
    FrameLinks
        Without links where no drift was found.

    Examples
    --------
    ::

        links = follow(before, after)
        before = remember(before, after, links)
    """
    drift = find_drift(previous, current)
    minutes = minutes_between(previous, current)
    if drift.field is None:
        return FrameLinks(current.id, previous.id, None, minutes, drift.method, drift.agreement)
    links = pair_molecules(
        previous, current, drift.field, drift.residual_nm, changes_between(previous, current, drift.field)
    )
    return FrameLinks(current.id, previous.id, drift.field, minutes, drift.method, drift.agreement, links)
