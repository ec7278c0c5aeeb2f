"""Which molecule is which: pairing those of two frames, drift taken off."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from spm_live.series.changes import Changes
from spm_live.series.field import DriftField
from spm_live.series.frames import Method, Molecules, SeriesFrame
from spm_live.series.votes import nearest_pairs

REACH = 1.8
"""A molecule may hop this far between two frames, in its lengths: further, nobody can tell it from another."""
STAYED = 0.25
"""A molecule that lies within this of its place, in its widths, has stayed."""
CERTAIN, NEAR = 3.0, 0.4
"""Or within this many times the scatter of the molecules that confirm the drift, as long as that is less than NEAR."""
HOP_COST, HOP_SLOPE = 4.0, 3.0
"""Cost of the shortest hop, and what the longest costs more."""
ALONE_COST = 12.0
"""Cost of two molecules without a partner."""
OTHER_LABEL_COST = 8.0
"""Cost of a pair of two classes: at its place a molecule may have been named wrongly, one that hopped may not."""
MISSED_COST = 1.0
"""Cost of taking a molecule for one that was missed before, over taking it for one that was seen."""
STILL_COST = 7.0
"""Cost of a hop from, or to, a place where the picture did not change."""
UNCHANGED, CHANGED = 1.8, 2.8
"""A picture surely did not change, and surely did, where it changed by so much; 1 is usual where a molecule stayed."""
TURN_COST = 0.3
"""Cost of a right angle between two long shapes: it only decides between pairs that are else alike."""
DIRECTED, LONG = 1.15, 1.5
"""A shape has a direction from this length over width on, and a sure one from LONG on."""
TURNED_DEG = 15.0
"""A long molecule has turned from this angle on; a rounder one from up to twice of it."""


class LinkKind(StrEnum):
    """What became of a molecule."""

    STAYED = "stayed"
    MOVED = "moved"
    TURNED = "turned"
    APPEARED = "appeared"
    VANISHED = "vanished"


@dataclass(frozen=True, slots=True)
class Link:
    """What became of one molecule.

    Parameters
    ----------
    kind : LinkKind
        In one word.
    molecule, before : int or None
        Its place in the later and in the earlier frame.
    track : int
        The key of its first sighting.
    moved_nm : (float, float) or None
        How far it moved over the surface, drift taken off.
    turned_deg : float or None
        How far it turned, counter-clockwise, -90 to 90; None where its shape has no direction.
    """

    kind: LinkKind
    molecule: int | None
    before: int | None
    track: int
    moved_nm: tuple[float, float] | None = None
    turned_deg: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FrameLinks:
    """What became of the molecules from one frame to the next.

    Parameters
    ----------
    frame : int
        Number of the later frame.
    previous : int or None
        Of the earlier one; None where there is none.
    field : DriftField or None
        How the place drifted; None where that could not be found.
    minutes : float or None
        Time between the two scans.
    method : Method
        What the drift rests on.
    agreement : float or None
        Part of the molecules that confirm it, 0 to 1.
    links : tuple of Link
        Those with a partner in the order of the later frame, then those that appeared, then those that vanished.
    """

    frame: int
    previous: int | None = None
    field: DriftField | None = None
    minutes: float | None = None
    method: Method = Method.NONE
    agreement: float | None = None
    links: tuple[Link, ...] = ()

    @property
    def counts(self) -> Mapping[str, int]:
        """Number of links of each kind."""
        found = Counter(link.kind for link in self.links)
        return {str(kind): found[kind] for kind in LinkKind}


def pair_molecules(
    previous: SeriesFrame, current: SeriesFrame, field: DriftField, residual_nm: float, changes: Changes | None = None
) -> tuple[Link, ...]:
    """Find the partner of each molecule, or that it has none.

    The pairing as a whole is the cheapest one (linear assignment: Kuhn 1955, doi:10.1002/nav.3800020109). A molecule at
    its place costs next to nothing, a hop costs a fixed price and a little more the further it goes: so a molecule
    that stayed is never exchanged for two that hopped.

    Parameters
    ----------
    previous, current : SeriesFrame
        The two frames.
    field : DriftField
        The drift between them.
    residual_nm : float
        Scatter of molecules that stayed; NaN where unknown.
    changes : Changes or None
        Where the pictures changed.

    Returns
    -------
    tuple of Link
        Ordered as in :class:`FrameLinks`.
    """
    from scipy.optimize import linear_sum_assignment  # takes 0.3 s to import: only who links pays for it

    seen, after = previous.molecules, current.molecules
    known = Molecules.together(seen, previous.lost.molecules)
    expected = field.forward(known.xy_nm)
    left, arrived = _changed(expected, known, after, changes)
    still = _still(left)[:, None] + _still(arrived)[None, :]
    cost = _costs(expected, known, after, len(seen), still, residual_nm)
    rows, columns = linear_sum_assignment(cost)
    good = cost[rows, columns] < ALONE_COST
    partner = np.full(len(after), -1, dtype=np.int64)
    partner[columns[good]] = rows[good]
    slack = _slack(known, residual_nm)
    links = [
        _linked(place, row, known, after, after.xy_nm[place] - expected[row], float(slack[row]))
        if row < len(seen)
        else Link(LinkKind.APPEARED, place, None, int(known.tracks[row]))
        for place, row in enumerate(partner.tolist())
        if row >= 0
    ]
    came = (partner < 0) & (_still(arrived) < 1) & previous.inside(field.back(after.xy_nm), after.length_nm / 2)
    links += [Link(LinkKind.APPEARED, int(place), None, int(after.keys[place])) for place in np.flatnonzero(came)]
    gone = (_still(left)[: len(seen)] < 1) & current.inside(expected[: len(seen)], seen.length_nm / 2)
    gone[partner[(partner >= 0) & (partner < len(seen))]] = False
    links += [Link(LinkKind.VANISHED, None, int(place), int(seen.tracks[place])) for place in np.flatnonzero(gone)]
    return tuple(links)


def _changed(
    expected: NDArray[np.float64], known: Molecules, after: Molecules, changes: Changes | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How much the picture changed where molecules should lie, and where they do; NaN where nobody can say."""
    if changes is None or not len(known) or not len(after):
        return np.full(len(known), np.nan), np.full(len(after), np.nan)
    stayed = expected[nearest_pairs(expected, known, after, STAYED * after.breadth_nm)[:, 0]]
    return changes.at(expected, stayed), changes.at(after.xy_nm, stayed)


def _still(change: NDArray[np.float64]) -> NDArray[np.float64]:
    """How sure it is that nothing happened at a place, 0 to 1; 0 where nobody can say."""
    return np.nan_to_num(np.clip((CHANGED - change) / (CHANGED - UNCHANGED), 0, 1), nan=0.0)


def _costs(
    expected: NDArray[np.float64],
    known: Molecules,
    after: Molecules,
    seen: int,
    still: NDArray[np.float64],
    residual_nm: float,
) -> NDArray[np.float64]:
    """Cost of every pair, (known, after); :data:`ALONE_COST` where both had better stay alone.

    Two without a partner cost ALONE_COST together, so a pair that costs as much is none. ``still`` tells how sure it
    is that a molecule cannot have left its place plus that it cannot have come to its place.
    """
    away = np.hypot(*(after.xy_nm[None, :, :] - expected[:, None, :]).transpose(2, 0, 1))
    at_place = (away / _slack(known, residual_nm)[:, None]) ** 2
    far = away / (REACH * known.length_nm[:, None])
    cost = np.minimum(at_place, HOP_COST + HOP_SLOPE * far + STILL_COST * still)
    cost[far > 1] = ALONE_COST
    # One that was missed may only come back where it was.
    cost[seen:] = MISSED_COST + at_place[seen:]
    cost += np.where(known.labels[:, None] == after.labels[None, :], 0.0, OTHER_LABEL_COST)
    cost += np.abs(np.log(known.area_nm2[:, None] / after.area_nm2[None, :]))
    turn = np.radians(known.orientation_deg[:, None] - after.orientation_deg[None, :])
    both = np.minimum(_stretch(known)[:, None], _stretch(after)[None, :])
    cost += TURN_COST * np.sin(turn) ** 2 * np.minimum(both, 1.0)
    return np.asarray(np.minimum(np.nan_to_num(cost, nan=ALONE_COST), ALONE_COST))


def _slack(molecules: Molecules, residual_nm: float) -> NDArray[np.float64]:
    """How far from its place a molecule has still stayed, in nm. Across, since that is how near a neighbour may lie."""
    scatter = residual_nm if math.isfinite(residual_nm) else 0.0
    return np.asarray(np.clip(CERTAIN * scatter, STAYED * molecules.width_nm, NEAR * molecules.width_nm))


def _stretch(molecules: Molecules) -> NDArray[np.float64]:
    """Length over width less one: 0 for round ones."""
    return np.asarray(molecules.length_nm / molecules.width_nm - 1)


def _linked(
    place: int, row: int, known: Molecules, after: Molecules, moved: NDArray[np.float64], slack_nm: float
) -> Link:
    turned, most = _turn(known, row, after, place)
    kind = LinkKind.STAYED
    if math.hypot(*moved) > slack_nm:
        kind = LinkKind.MOVED
    elif turned is not None and abs(turned) > most:
        kind = LinkKind.TURNED
    return Link(kind, place, row, int(known.tracks[row]), (float(moved[0]), float(moved[1])), turned)


def _turn(known: Molecules, row: int, after: Molecules, place: int) -> tuple[float | None, float]:
    """How far a molecule turned, None where it has no direction; and from where on that counts.

    The direction of a nearly round shape is uncertain by the noise over its stretch: it must turn further.
    """
    stretch = 1 + float(min(_stretch(known)[row], _stretch(after)[place]))
    if not stretch > DIRECTED:
        return None, math.inf
    turned = float((after.orientation_deg[place] - known.orientation_deg[row] + 90) % 180 - 90)
    round_part = min(1.0, max(0.0, (LONG - stretch) / (LONG - DIRECTED)))
    return turned, TURNED_DEG * (1 + round_part)
