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
LIKELY = 0.8
"""Correlation of a patch that is worth a closer look: the copies may be sampled at other places."""
SAME = 0.9995
"""Correlation of the shared rectangle above which it is one piece of one scan. Two places of the very regular layer of
``molecules/00.png`` reach 0.997 over the size of ten molecules and 0.9992 over that of two; its crop and its tile have
0.99995, a copy compressed as JPEG (quality 50) 0.9997."""
COARSELY_SAME = 0.9
"""The same on the copies."""
LEAST_SIDE = 8
LEAST_AREA = 400
"""Smaller rectangles agree by chance."""
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
    proposed = Counter(_shifts(small_one, small_other))
    for (column, row), count in Counter(_shifts(small_other, small_one)).items():
        proposed[-column, -row] += count
    for (column, row), _ in proposed.most_common(MOST_CHECKED):
        if factor > 1 and _checked(small_one, small_other, (column, row), COARSELY_SAME) is None:
            continue
        near = _near((column * factor, row * factor), 0 if factor == 1 else factor)
        fitting = [found for shift in near if (found := _checked(one, other, shift, SAME)) is not None]
        if fitting:
            return max(fitting, key=lambda found: found.likeness)
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


def _shifts(one: NDArray[np.float32], other: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Column and row of ``other``'s corner in ``one``, as far as its patches tell."""
    one, other = _plain(one), _plain(other)
    side = min(PATCH_PX, *(size // 2 for size in other.shape))
    if side < LEAST_SIDE or side > min(one.shape):
        return
    rows, columns = (np.linspace(0, size - side, PATCHES_A_SIDE).astype(int) for size in other.shape)
    for row in rows:
        for column in columns:
            patch = np.ascontiguousarray(other[row : row + side, column : column + side])
            if float(patch.std()) < 1e-3:  # nothing to be recognised by
                continue
            likeness = cv2.matchTemplate(one, patch, cv2.TM_CCOEFF_NORMED)
            _, highest, _, (x, y) = cv2.minMaxLoc(likeness)
            if highest >= LIKELY:
                yield int(x - column), int(y - row)


def _near(shift: tuple[int, int], reach: int) -> Iterator[tuple[int, int]]:
    """Shifts near to one that was found on smaller copies."""
    for row in range(shift[1] - reach, shift[1] + reach + 1):
        for column in range(shift[0] - reach, shift[0] + reach + 1):
            yield column, row


def _checked(
    one: NDArray[np.float32], other: NDArray[np.float32], shift: tuple[int, int], same: float
) -> Overlap | None:
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
    if likeness < same:
        return None
    return Overlap(
        (left, top, right, bottom), (left - column, top - row, right - column, bottom - row), round(likeness, 6)
    )
