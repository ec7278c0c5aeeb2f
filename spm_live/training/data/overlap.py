"""Finds the place that two pictures share: a crop in its tile, or neighbouring tiles of one scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.training.labelled import LabelledPicture

Box = tuple[int, int, int, int]
"""x1, y1, x2, y2: edges of a rectangle, in pixels."""

PATCH_PX = 40
"""Side of the patches that are looked for; about a molecule."""
PATCHES_A_SIDE = 3
COARSE_SIDE = 512
"""Patches are looked for on copies of about this size; what they find is checked on the pictures themselves."""
LIKELY = 0.95
LIKELY_COARSE = 0.6
"""Correlation of a patch that is worth a closer look; on copies, which are sampled at other places, it is lower."""
SAME = 0.9995
"""Correlation of the shared rectangle above which it is one piece of one scan. Two places of the very regular layer of
``molecules/00.png`` reach 0.997 over the size of ten molecules and 0.9992 over that of two; its crop and its tile have
0.99995, a copy compressed as JPEG (quality 50) 0.9997."""
GREY_STEP_VARIANCE = (1 / 255) ** 2 / 12
"""Variance that rounding to 256 greys adds, uniform over one step (Bennett 1948,
doi:10.1002/j.1538-7305.1948.tb01340.x). In a crop of little contrast, saved as a picture of its own, it takes 0.0005
off the correlation."""
LEAST_SIDE = 8
LEAST_AREA = 400
"""Smaller rectangles agree by chance."""
LEAST_CONTRAST = 1e-3
"""Standard deviation of a patch, in units of the whole contrast, below which there is nothing to be recognised."""
CLOSER_PX = 128
"""Side of the patch that settles the shift to the pixel after a search on copies."""
MOST_CHECKED = 12


@dataclass(frozen=True, slots=True)
class Overlap:
    """What two pictures share.

    Parameters
    ----------
    first_box, second_box : (int, int, int, int)
        x1, y1, x2, y2 of the shared rectangle in either picture: edges, in pixels.
    likeness : float
        Correlation within it, 0 to 1.
    """

    first_box: Box
    second_box: Box
    likeness: float


def overlap_of(first: LabelledPicture, second: LabelledPicture) -> Overlap | None:
    """Find the rectangle that two pictures share.

    Parameters
    ----------
    first, second : LabelledPicture
        Of one scale, in any contrast; one may lie in the other, or both share a part. Pictures that were turned,
        flipped or resampled are not recognised, nor are two scans of one place.

    Returns
    -------
    Overlap or None
        None where they share nothing, or less than 8 px a side.

    Notes
    -----
    Patches spread over one picture are looked for in the other by normalised cross-correlation (Lewis 1995, Fast
    Template Matching). Every place that a patch is found at proposes a shift; the shift with the most proposals for
    which the whole shared rectangle agrees is taken.
    """
    if first.nm_per_px and second.nm_per_px and abs(first.nm_per_px / second.nm_per_px - 1) > 0.02:
        return None
    one, other = first.image, second.image
    factor = max(1, round(max(*one.shape, *other.shape) / COARSE_SIDE))
    small_one, small_other = _shrunk(one, factor), _shrunk(other, factor)
    likely = LIKELY if factor == 1 else LIKELY_COARSE
    proposed = Counter(_shifts(small_one, small_other, likely))
    for (column, row), count in Counter(_shifts(small_other, small_one, likely)).items():
        proposed[-column, -row] += count
    for (column, row), _ in proposed.most_common(MOST_CHECKED):
        shift = _refined(one, other, (column * factor, row * factor), factor) if factor > 1 else (column, row)
        found = _checked(one, other, shift) if shift is not None else None
        if found is not None:
            return found
    return None


def _plain(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The picture with its mean where nothing was scanned."""
    missing = np.isnan(image)
    if not missing.any():
        return image
    return np.where(missing, np.float32(0 if missing.all() else np.nanmean(image)), image)


def _shrunk(image: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    if factor == 1:
        return image
    rows, columns = (side // factor * factor for side in image.shape)
    blocks = image[:rows, :columns].reshape(rows // factor, factor, columns // factor, factor)
    return np.ascontiguousarray(blocks.mean(axis=(1, 3), dtype=np.float32))  # NaN where any pixel is


def _shifts(one: NDArray[np.float32], other: NDArray[np.float32], likely: float) -> Iterator[tuple[int, int]]:
    """Column and row of ``other``'s corner in ``one``, as far as its patches tell."""
    one, other = _plain(one), _plain(other)
    side = min(PATCH_PX, *(size // 2 for size in other.shape))
    if side < LEAST_SIDE or side > min(one.shape):
        return
    rows, columns = (np.linspace(0, size - side, PATCHES_A_SIDE).astype(int) for size in other.shape)
    for row in rows:
        for column in columns:
            patch = np.ascontiguousarray(other[row : row + side, column : column + side])
            if float(patch.std()) < LEAST_CONTRAST:  # nothing to be recognised by
                continue
            likeness = cv2.matchTemplate(one, patch, cv2.TM_CCOEFF_NORMED)
            _, highest, _, (x, y) = cv2.minMaxLoc(likeness)
            if highest >= likely:
                yield int(x - column), int(y - row)


def _refined(
    one: NDArray[np.float32], other: NDArray[np.float32], shift: tuple[int, int], reach: int
) -> tuple[int, int] | None:
    """The shift near to one found on smaller copies at which the middle of what is shared agrees best."""
    spans = []
    for offset, here, there in zip(shift, one.shape[::-1], other.shape[::-1], strict=True):
        first, last = max(0, offset) + reach, min(here, offset + there) - reach
        if last - first < LEAST_SIDE:
            return None
        middle, half = (first + last) // 2, min(CLOSER_PX, last - first) // 2
        spans.append((middle - half, middle + half))
    (left, right), (top, bottom) = spans
    patch = _plain(other[top - shift[1] : bottom - shift[1], left - shift[0] : right - shift[0]])
    window = _plain(one[top - reach : bottom + reach, left - reach : right + reach])
    if float(patch.std()) < LEAST_CONTRAST:
        return None
    likeness = cv2.matchTemplate(np.ascontiguousarray(window), np.ascontiguousarray(patch), cv2.TM_CCOEFF_NORMED)
    x, y = cv2.minMaxLoc(likeness)[3]
    return shift[0] + int(x) - reach, shift[1] + int(y) - reach


def _checked(one: NDArray[np.float32], other: NDArray[np.float32], shift: tuple[int, int]) -> Overlap | None:
    """Compare what two pictures share if the second's corner lies at ``shift`` in the first."""
    column, row = shift
    left, top = max(0, column), max(0, row)
    right, bottom = min(one.shape[1], column + other.shape[1]), min(one.shape[0], row + other.shape[0])
    if min(right - left, bottom - top) < LEAST_SIDE:
        return None
    here = one[top:bottom, left:right]
    there = other[top - row : bottom - row, left - column : right - column]
    scanned = np.isfinite(here) & np.isfinite(there)
    if np.count_nonzero(scanned) < LEAST_AREA:
        return None
    x, y = here[scanned].astype(np.float64), there[scanned].astype(np.float64)
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.sqrt(x @ x * (y @ y)))
    likeness = float(x @ y) / norm if norm else 0.0
    if likeness < SAME * _left_by_rounding(x) * _left_by_rounding(y):
        return None
    return Overlap(
        (left, top, right, bottom), (left - column, top - row, right - column, bottom - row), round(likeness, 6)
    )


def _left_by_rounding(values: NDArray[np.float64]) -> float:
    """The correlation that a picture keeps with itself when it is rounded to 256 greys; its mean is zero already."""
    variance = float(values @ values) / values.size
    return float(np.sqrt(max(0.9, 1 - GREY_STEP_VARIANCE / variance))) if variance else 1.0
