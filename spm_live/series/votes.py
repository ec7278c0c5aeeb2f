"""Drift from the molecules alone: every pair of like ones votes for the displacement between them.

The true drift gets a vote from every molecule that stayed; all other displacements get theirs by chance, unless the
molecules lie on a lattice: then every lattice vector gets many, and the pictures must decide.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.domain import ScanGeometry
from spm_live.series.field import DriftField
from spm_live.series.frames import Molecules, SeriesFrame

MOST = 400
"""Molecules of a frame that vote: the surest ones, which stand first."""
CANDIDATES = 10
"""Displacements that are looked into."""
BIN = 0.2
"""Width of a bin of votes, in widths of a molecule."""
NEAR = 0.35
"""A molecule confirms a drift if it lies no further than this from where it should, in widths of a molecule."""
ROUNDS = 4
"""Times that a drift is made to fit the molecules that confirm it."""
FIT_PAIRS = 12
"""Fewest molecules that a slope is fitted to."""
SURE = 5.0
"""A slope is believed from this many of its own standard errors on."""
STEEPEST = 0.25
"""Largest slope believed, in nm per nm."""


@dataclass(frozen=True, slots=True, eq=False)
class Support:
    """A drift, made to fit the molecules that confirm it.

    Parameters
    ----------
    field : DriftField
        The drift.
    confirming : int
        Molecules that confirm it.
    share : float
        Their part of the molecules that could, 0 to 1; 0 where none could.
    residual_nm : float
        How far they lie from where they should, root mean square along one axis; NaN where there are none.
    """

    field: DriftField
    confirming: int
    share: float
    residual_nm: float


def displacements(
    previous: Molecules, current: Molecules, geometry: ScanGeometry, reach_nm: float, steady: float = 0.0
) -> list[DriftField]:
    """Find the displacements that most pairs vote for.

    Parameters
    ----------
    previous, current : Molecules
        Of the two frames.
    geometry : ScanGeometry
        Of the later frame.
    reach_nm : float
        Largest displacement that is looked for.
    steady : float
        How much the drift grows along the slow axis, as a part of the drift for each nm: 0 where both scans
        ran in the same direction.

    Returns
    -------
    list of DriftField
        Most votes first, at most :data:`CANDIDATES`.
    """
    one, other = previous.take(np.arange(min(len(previous), MOST))), current.take(np.arange(min(len(current), MOST)))
    if not len(one) or not len(other):
        return []
    # The field at (x, y) is d (1 + steady u): each pair votes for its d.
    growth = 1 + steady * DriftField.on(geometry, np.zeros(2)).along_slow(one.xy_nm)
    one, growth = one.take(growth > LEAST_GROWTH), growth[growth > LEAST_GROWTH]
    apart = (other.xy_nm[None, :, :] - one.xy_nm[:, None, :]) / growth[:, None, None]
    alike = one.labels[:, None] == other.labels[None, :]
    alike &= (np.abs(apart) < reach_nm).all(axis=2)
    bin_nm = BIN * current.breadth_nm
    bins = max(3, int(np.ceil(2 * reach_nm / bin_nm)))
    if bins > MOST_BINS:
        bins = MOST_BINS
        bin_nm = 2 * reach_nm / bins
    places = np.clip(((apart[alike] + reach_nm) / bin_nm).astype(np.int64), 0, bins - 1)
    votes = np.bincount(places[:, 1] * bins + places[:, 0], minlength=bins * bins).reshape(bins, bins)
    smooth = cv2.GaussianBlur(votes.astype(np.float32), (5, 5), 1.0)
    peaks = np.flatnonzero((smooth == cv2.dilate(smooth, np.ones((3, 3), np.uint8))) & (smooth > 0))
    peaks = peaks[np.argsort(smooth.ravel()[peaks])[::-1][:CANDIDATES]]
    found = []
    for peak in peaks:
        row, column = divmod(int(peak), bins)
        drift = (np.array([column, row]) + 0.5) * bin_nm - reach_nm
        found.append(steady_field(geometry, drift, steady))
    return found


LEAST_GROWTH = 0.25
"""Places that hardly moved between the scans, because the second began where the first ended, have no vote."""
MOST_BINS = 400


def steady_field(geometry: ScanGeometry, drift_nm: NDArray[np.float64], steady: float) -> DriftField:
    """The field of a drift that grows along the slow axis."""
    return DriftField.on(geometry, drift_nm, steady * drift_nm)


def fitted(previous: SeriesFrame, current: SeriesFrame, field: DriftField, *, bend: bool) -> Support:
    """Make a drift fit the molecules that confirm it, and count them.

    Parameters
    ----------
    previous, current : SeriesFrame
        The two frames.
    field : DriftField
        Where to begin.
    bend : bool
        Whether a slope may be fitted: it is only where enough molecules are sure of it.
    """
    one, other = previous.molecules, current.molecules
    size = other.breadth_nm if len(other) else one.breadth_nm
    pairs = np.empty((0, 2), dtype=np.int64)
    residual = float("nan")
    for _ in range(ROUNDS):
        if not len(one) or not len(other):
            break
        known, pairs = pairs, nearest_pairs(field.forward(one.xy_nm), one, other, NEAR * size)
        if len(pairs) < 2:
            break
        before, after = one.xy_nm[pairs[:, 0]], other.xy_nm[pairs[:, 1]]
        field, residual = _fit(current.geometry, field, before, after, bend=bend)
        if np.array_equal(known, pairs):
            break
    could = possible(previous, current, field)
    return Support(field, len(pairs), min(1.0, len(pairs) / could) if could else 0.0, residual)


def confirming(previous: SeriesFrame, current: SeriesFrame, field: DriftField) -> int:
    """How many molecules confirm a drift as it stands."""
    one, other = previous.molecules, current.molecules
    if not len(one) or not len(other):
        return 0
    return len(nearest_pairs(field.forward(one.xy_nm), one, other, NEAR * other.breadth_nm))


def possible(previous: SeriesFrame, current: SeriesFrame, field: DriftField) -> int:
    """How many molecules could confirm a drift: those of the one frame that the other has scanned, the fewer ones."""
    one, other = previous.molecules, current.molecules
    forward = int(np.count_nonzero(current.inside(field.forward(one.xy_nm))))
    back = int(np.count_nonzero(previous.inside(field.back(other.xy_nm))))
    return min(forward, back)


def nearest_pairs(
    expected_nm: NDArray[np.float64], one: Molecules, other: Molecules, near_nm: float
) -> NDArray[np.int64]:
    """Pair molecules of one class that are each other's nearest.

    Parameters
    ----------
    expected_nm : (N, 2) float array
        Where those of the earlier frame should lie.
    one, other : Molecules
        Of the earlier (N) and the later frame (M).
    near_nm : float
        Largest distance of a pair.

    Returns
    -------
    (P, 2) int array
        Places in ``one`` and ``other``.
    """
    from scipy.spatial import cKDTree  # takes 0.2 s to import: only who links pays for it

    tree, back = cKDTree(other.xy_nm), cKDTree(expected_nm)
    distance, mine = tree.query(expected_nm, distance_upper_bound=near_nm)
    first = np.flatnonzero(np.isfinite(distance))
    if not first.size:
        return np.empty((0, 2), dtype=np.int64)
    second = mine[first]
    mutual = back.query(other.xy_nm[second])[1] == first
    mutual &= one.labels[first] == other.labels[second]
    return np.stack([first[mutual], second[mutual]], axis=1).astype(np.int64)


def _fit(
    geometry: ScanGeometry, field: DriftField, before: NDArray[np.float64], after: NDArray[np.float64], *, bend: bool
) -> tuple[DriftField, float]:
    """Least squares with the far ones left out; a slope only where it is sure."""
    along = field.along_slow(before)
    away = after - before
    slope = np.asarray(field.slope)
    rest = away - along[:, None] * slope
    drift = np.median(rest, axis=0)
    if bend and len(before) >= FIT_PAIRS:
        rows = np.stack([np.ones_like(along), along], axis=1)
        keep = np.ones(len(before), dtype=np.bool_)
        for _ in range(3):
            solution, *_ = np.linalg.lstsq(rows[keep], away[keep], rcond=None)
            off = np.hypot(*(away - rows @ solution).T)
            keep = off <= max(3 * float(np.median(off)), 1e-9)
        scatter = float(np.sqrt((off[keep] ** 2).mean() / 2))
        error = scatter / max(float(np.sqrt(((along[keep] - along[keep].mean()) ** 2).sum())), 1e-9)
        steep = float(np.abs(solution[1]).max())
        slope = solution[1] if SURE * error < steep <= STEEPEST else np.zeros(2)
        drift = np.median(away - along[:, None] * slope, axis=0)
    rest = away - along[:, None] * slope - drift
    near = np.hypot(*rest.T) <= max(3 * float(np.median(np.hypot(*rest.T))), 1e-9)
    drift = drift + rest[near].mean(axis=0)
    scatter = float(np.sqrt((rest[near] ** 2).mean()))
    return DriftField.on(geometry, drift, slope), scatter
