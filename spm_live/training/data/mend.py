"""Holds what a label file says against its picture: mends what can be mended and tells the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from spm_live.training.data.claims import ClaimedMolecule, Piece
from spm_live.training.data.outlines import (
    area_of,
    clipped,
    crosses_itself,
    joined,
    overlap_share,
    untangled,
    without_repeats,
)
from spm_live.training.data.problem import ProblemLog
from spm_live.training.labelled import LabelledMolecule, Ring, mask_of

OVERHANG_PX = 1.0
"""Outlines that stick out by less were meant to end at the border."""
LEAST_AREA_PX2 = 1.0
"""A molecule of less than a pixel cannot have been drawn on purpose."""
SAME_MOLECULE = 0.9
"""Overlap (intersection over union) above which two labels mean one molecule; two persons agree to about 0.8."""
UNSCANNED_SHARE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Mended:
    """A molecule whose outline holds, and its place in the label file's own list."""

    index: int
    molecule: LabelledMolecule


class _UnmendableError(Exception):
    """The text completes "the molecule ..."."""


def mend(
    claim: ClaimedMolecule, shape: tuple[int, ...], stretch_xy: tuple[float, float], log: ProblemLog
) -> Mended | None:
    """Turn a claim into a molecule that lies in the picture and does not cross itself.

    Parameters
    ----------
    claim : ClaimedMolecule
        As the file has it.
    shape : (int, int)
        Rows and columns of the picture.
    stretch_xy : (float, float)
        What the claim's x and y are multiplied by first.
    log : ProblemLog
        Takes what was done.

    Returns
    -------
    Mended or None
        None where a person has to mend it.
    """
    scale = np.array(stretch_xy)
    try:
        pieces = [_mended_piece(claim, tuple(ring * scale for ring in piece), shape, log) for piece in claim.pieces]
    except _UnmendableError as error:
        log.error(f"({claim.label}) {error}", claim.index)
        return None
    within = [piece for piece in pieces if piece]
    if not within:
        log.error(
            f"({claim.label}) lies outside the picture of {shape[1]} x {shape[0]} px; is it the right picture?",
            claim.index,
        )
        return None
    if len(within) < len(pieces):
        log.repaired(f"({claim.label}) has a piece outside the picture: dropped", claim.index)
    # What was traced on a grid may stick out by a fraction of a pixel again.
    rings = tuple(inside for ring in joined(within) if len(inside := clipped(ring, shape[0], shape[1])))
    if not rings or sum(area_of(ring) for ring in rings) < LEAST_AREA_PX2:
        log.error(f"({claim.label}) encloses less than a pixel of the picture; draw it again", claim.index)
        return None
    return Mended(claim.index, LabelledMolecule(claim.label, rings, claim.ignore))


def _mended_piece(claim: ClaimedMolecule, piece: Piece, shape: tuple[int, ...], log: ProblemLog) -> Piece:
    """One piece within the picture; empty where nothing of it is."""
    rows, columns = shape[:2]
    kept: list[Ring] = []
    overhang = 0.0
    for drawn in piece:
        ring = without_repeats(drawn)
        if len(ring) < 3:
            raise _UnmendableError("has fewer than three different corners; draw it again")
        tangled = not claim.traced and crosses_itself(ring)
        if not tangled and area_of(ring) < LEAST_AREA_PX2:
            raise _UnmendableError(f"encloses {area_of(ring):.2g} px², less than a pixel; draw it again")
        inside = clipped(ring, rows, columns)
        if len(inside):
            beyond = max(-ring.min(), float((ring.max(axis=0) - (columns, rows)).max()))
            overhang = max(overhang, beyond)
        if len(inside) and tangled:
            inside, lost = untangled(inside)
            log.repaired(
                f"({claim.label}) has an outline that crosses itself: its largest part is kept, {lost:.0%} of its area "
                "dropped",
                claim.index,
            )
        if len(inside):
            kept.append(inside)
    if overhang > OVERHANG_PX:
        log.repaired(f"({claim.label}) sticks out of the picture by {overhang:.3g} px: cut at its border", claim.index)
    return tuple(kept)


def ignore_unscanned(molecules: Sequence[Mended], image: NDArray[np.float32], log: ProblemLog) -> tuple[Mended, ...]:
    """Ignore molecules that lie for the greater part where nothing was scanned."""
    missing = np.isnan(image)
    if not missing.any():
        return tuple(molecules)
    result: list[Mended] = []
    for one in molecules:
        mask = mask_of(one.molecule, (image.shape[0], image.shape[1]))
        share = float(missing[mask].mean()) if mask.any() else 0.0
        if share > UNSCANNED_SHARE and not one.molecule.ignore:
            log.repaired(
                f"({one.molecule.label}) lies to {share:.0%} where nothing was scanned (NaN): ignored", one.index
            )
            one = replace(one, molecule=replace(one.molecule, ignore=True))
        result.append(one)
    return tuple(result)


def drop_doubles(molecules: Sequence[Mended], log: ProblemLog) -> tuple[LabelledMolecule, ...]:
    """Keep one of several labels that mean one molecule; two classes for one molecule are an error."""
    dropped: set[int] = set()
    for (first, one), (second, other) in combinations(enumerate(molecules), 2):
        if first in dropped or second in dropped or not _boxes_agree(one.molecule, other.molecule):
            continue
        share = overlap_share(one.molecule, other.molecule)
        if share <= SAME_MOLECULE:
            continue
        if one.molecule.label != other.molecule.label and not (one.molecule.ignore or other.molecule.ignore):
            log.error(
                f"({other.molecule.label}) is labelled {one.molecule.label} as molecule {one.index + 1}, too (overlap "
                f"{share:.2f}); take one of the two away",
                other.index,
            )
            continue
        log.repaired(
            f"({other.molecule.label}) is molecule {one.index + 1} once more (overlap {share:.2f}): dropped",
            other.index,
        )
        dropped.add(second)
    return tuple(one.molecule for index, one in enumerate(molecules) if index not in dropped)


def _boxes_agree(first: LabelledMolecule, second: LabelledMolecule) -> bool:
    """Whether two boxes overlap enough for the outlines to overlap by :data:`SAME_MOLECULE`, cheaply."""
    a, b = first.box_px, second.box_px
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return False
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height > SAME_MOLECULE**2 / 2 * both
