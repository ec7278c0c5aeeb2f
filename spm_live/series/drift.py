"""Drift between two frames: what the pictures say and what the molecules say, brought together."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spm_live.domain import ScanDirection
from spm_live.series.field import DriftField
from spm_live.series.frames import Method, SeriesFrame, minutes_between
from spm_live.series.pictures import Pair, likeness, pair_up, sharpened, shifts, whitened
from spm_live.series.votes import Support, confirming, displacements, fitted, steady_field

REACH = 0.45
"""Largest drift that is looked for, as a part of the frame's shorter side."""
SAME = 0.35
"""Two drifts closer than this, in widths of a molecule, are the same one."""
CLEAR, HALF = 0.85, 0.5
"""Molecules cannot tell a drift from another that has this part of its share, and this part of its confirmations."""
SURER, FAIR = 1.5, 0.6
"""Where the whitened pictures are so many times more alike, this part of its share is enough."""
LEAST = 3
"""Fewer molecules than this confirm nothing."""
LEAST_SHARE = 0.3
"""Nor does a smaller part of those that could."""
LEAST_LIKENESS = 0.25
"""Pictures less alike than this, when moved onto each other, say nothing."""
FITTED = 10
"""So many likely drifts are made to fit the molecules and are judged, besides the FIRST ones of the pictures."""
FIRST = 4
WORTH = 0.6
"""Not those with a smaller part of the confirmations of the best one: on a lattice all are left, else few."""


@dataclass(frozen=True, slots=True, eq=False)
class Drift:
    """The drift between two frames and what it rests on.

    Parameters
    ----------
    field : DriftField or None
        None where none was found.
    method : Method
        What it rests on.
    agreement : float or None
        Part of the molecules that confirm it, 0 to 1; None where there were none to ask.
    residual_nm : float
        How far these lie from where they should, root mean square along one axis; NaN where there are none.
    """

    field: DriftField | None
    method: Method
    agreement: float | None = None
    residual_nm: float = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class _Guesses:
    """Likely drifts, most likely first, from the molecules and from the pictures."""

    molecules: list[DriftField]
    pictures: list[DriftField]


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A drift, and what speaks for it; ``fine_likeness`` is that of the whitened pictures."""

    support: Support
    likeness: float
    fine_likeness: float


def find_drift(previous: SeriesFrame, current: SeriesFrame) -> Drift:
    """Find how a place drifted between two frames.

    Both ways give their most likely drifts; each of these is made to fit the molecules that confirm it, and is
    judged by how many do and by how alike the pictures are when moved by it. Where molecules lie on a lattice they
    cannot tell its vectors apart: of drifts that nearly as many confirm, the pictures choose. Where the two still
    contradict each other, that which more molecules confirm holds.

    Parameters
    ----------
    previous, current : SeriesFrame
        Two frames whose scanned areas overlap.
    """
    pair = pair_up(previous, current)
    guesses = _screened(previous, current, _guesses(previous, current, pair))
    fine = whitened(pair) if pair is not None else None
    candidates = [_judged(previous, current, pair, fine, field) for field in guesses]
    if not candidates:
        return Drift(None, Method.NONE)
    molecules = max(candidates, key=_molecules_say)
    seen = [one for one in candidates if math.isfinite(one.likeness) and one.likeness >= LEAST_LIKENESS]
    pictures = max(seen, key=lambda one: one.fine_likeness, default=None)
    drift = _decide(previous, current, molecules, pictures)
    if (
        pair is not None
        and drift.field is not None
        and drift.method in (Method.PICTURES, Method.PICTURES_NOT_MOLECULES)
    ):
        return replace(drift, field=sharpened(pair, drift.field))
    return drift


def steady_slope(previous: SeriesFrame, current: SeriesFrame) -> float:
    """How much a steady drift grows along the slow axis between two scans, as a part of it for each nm.

    Returns
    -------
    float
        0 where both ran in the same direction. Where the files do not tell times, the second scan is taken to have
        followed the first at once.

    Notes
    -----
    With a scan of duration T and height H, and D from middle to middle, a place at u passes under the tip D + 2 u T / H
    later in a scan up after one down, and D - 2 u T / H later in one down after one up.
    """
    if previous.direction is current.direction:
        return 0.0
    apart = minutes_between(previous, current)
    took = [frame.minutes for frame in (previous, current) if frame.minutes is not None]
    part = 1.0 if apart is None or not took else min(1.0, float(np.mean(took)) / apart)
    sign = 1.0 if current.direction is ScanDirection.UP else -1.0
    return sign * 2 * part / current.geometry.size_nm[1]


def _guesses(previous: SeriesFrame, current: SeriesFrame, pair: Pair | None) -> _Guesses:
    """All drifts that either way thinks likely, each with and without the slope of a steady drift."""
    geometry = current.geometry
    reach_nm = REACH * min(*geometry.size_nm, *previous.geometry.size_nm)
    slopes = list(dict.fromkeys((0.0, steady_slope(previous, current))))
    voted = [
        field
        for slope in slopes
        for field in displacements(previous.molecules, current.molecules, geometry, reach_nm, slope)
    ]
    found = shifts(pair) if pair is not None else []
    seen = [steady_field(geometry, shift, slope) for shift, _ in found for slope in slopes]
    return _Guesses(
        [field for field in voted if np.hypot(*field.drift_nm) <= reach_nm],
        [field for field in seen if np.hypot(*field.drift_nm) <= reach_nm],
    )


def _screened(previous: SeriesFrame, current: SeriesFrame, guesses: _Guesses) -> list[DriftField]:
    """Those that most molecules confirm as they stand, and the first ones of the pictures."""
    fields = _different([*guesses.pictures, *guesses.molecules], current)
    confirmed = np.array([confirming(previous, current, field) for field in fields])
    best = np.argsort(-confirmed, kind="stable")[:FITTED].tolist()
    least = WORTH * max(confirmed.tolist(), default=0)
    return [
        field
        for place, field in enumerate(fields)
        if (place in best and confirmed[place] >= least) or field in guesses.pictures[:FIRST]
    ]


def _different(fields: list[DriftField], current: SeriesFrame) -> list[DriftField]:
    """Leave out drifts that would be made to fit the same molecules as one before them."""
    size = current.molecules.breadth_nm if len(current.molecules) else 0.0
    corners = current.geometry.to_nm(np.array([[0.0, 0.0], [0.0, current.geometry.rows]]))
    kept: list[DriftField] = []
    ends: list[NDArray[np.float64]] = []
    for field in fields:
        moved = field.at(corners)
        if all(float(np.abs(moved - other).max()) > SAME / 2 * size for other in ends):
            kept.append(field)
            ends.append(moved)
    return kept


def _judged(
    previous: SeriesFrame, current: SeriesFrame, pair: Pair | None, fine: Pair | None, field: DriftField
) -> _Candidate:
    bend = previous.direction is not current.direction
    support = fitted(previous, current, field, bend=bend)
    if pair is None or fine is None:
        return _Candidate(support, math.nan, math.nan)
    return _Candidate(support, likeness(pair, support.field), likeness(fine, support.field))


def _molecules_say(one: _Candidate) -> tuple[float, float]:
    alike = one.likeness if math.isfinite(one.likeness) else -1.0
    return one.support.confirming * one.support.share, alike


def _decide(previous: SeriesFrame, current: SeriesFrame, molecules: _Candidate, pictures: _Candidate | None) -> Drift:
    enough = molecules.support.confirming >= LEAST and molecules.support.share >= LEAST_SHARE
    if pictures is None:
        return _drift(molecules, Method.MOLECULES) if enough else Drift(None, Method.NONE)
    if not enough:
        few = min(len(previous.molecules), len(current.molecules)) < LEAST
        return _drift(pictures, Method.PICTURES if few else Method.PICTURES_NOT_MOLECULES)
    if _same(current, molecules, pictures):
        return _drift(molecules, Method.BOTH)
    if _as_good(pictures, molecules):
        return _drift(pictures, Method.BOTH)
    return _drift(molecules, Method.MOLECULES_NOT_PICTURES)


def _as_good(pictures: _Candidate, molecules: _Candidate) -> bool:
    """Whether the molecules cannot tell the drift of the pictures from the one that they like best.

    A larger drift leaves fewer that could confirm it, so shares are compared. Where the pictures are much surer of
    theirs, a smaller share will do: so it is in a layer in which a model finds only a part of the molecules.
    """
    one, other = pictures.support, molecules.support
    surer = pictures.fine_likeness >= SURER * molecules.fine_likeness
    least = FAIR if surer else CLEAR
    return one.share >= least * other.share and one.confirming >= HALF * other.confirming


def _same(current: SeriesFrame, one: _Candidate, other: _Candidate) -> bool:
    middle: NDArray[np.float64] = np.array([current.geometry.center_nm])
    away = one.support.field.at(middle) - other.support.field.at(middle)
    return float(np.hypot(*away[0])) <= SAME * current.molecules.breadth_nm


def _drift(one: _Candidate, method: Method) -> Drift:
    asked = one.support.share if one.support.confirming or method is not Method.PICTURES else None
    return Drift(one.support.field, method, asked, one.support.residual_nm)
