"""What a series knows beyond its last frame: which molecule has which track, and which were missed of late.

A detector misses a molecule now and then. Its track goes on when it is found again at its place.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spm_live.series.field import DriftField
from spm_live.series.frames import Lost, Molecules, SeriesFrame
from spm_live.series.links import FrameLinks

MEMORY = 3
"""Frames that may miss a molecule before its track ends."""


def remember(previous: SeriesFrame, current: SeriesFrame, links: FrameLinks) -> SeriesFrame:
    """Give the later frame the tracks of its molecules, and the memory of those it misses.

    Parameters
    ----------
    previous, current : SeriesFrame
        The two frames.
    links : FrameLinks
        Between them.

    Returns
    -------
    SeriesFrame
        ``current``, ready to be the ``previous`` of the frame to come.
    """
    tracks = current.molecules.keys.copy()
    partners = np.zeros(len(previous.molecules), dtype=np.bool_)
    for link in links.links:
        if link.molecule is not None:
            tracks[link.molecule] = link.track
            if link.before is not None:
                partners[link.before] = True
    molecules = replace(current.molecules, tracks=tracks)
    lost = Lost()
    if links.field is not None:
        lost = carry(previous.lost, links.field, previous.molecules.take(~partners), molecules)
    return replace(current, molecules=molecules, lost=lost)


def carry(lost: Lost, field: DriftField, left: Molecules, seen: Molecules) -> Lost:
    """Take the memory of missed molecules from one frame to the next.

    Parameters
    ----------
    lost : Lost
        Those missed by the earlier frame.
    field : DriftField
        Drift to the later one.
    left : Molecules
        Those of the earlier frame without a partner in the later one.
    seen : Molecules
        Those of the later frame, with their tracks.

    Returns
    -------
    Lost
        Those missed by the later frame, where they would lie in it.
    """
    missed = np.concatenate([lost.missed, np.zeros(len(left), dtype=np.int64)]) + 1
    molecules = Molecules.together(lost.molecules, left)
    molecules = molecules.moved_to(field.forward(molecules.xy_nm))
    keep = (missed <= MEMORY) & ~np.isin(molecules.tracks, seen.tracks)
    return Lost(molecules.take(keep), missed[keep])
