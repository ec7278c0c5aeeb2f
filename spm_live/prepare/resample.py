"""Bringing a frame to the pixel pitch that a model was trained at."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.domain import FrameRef, Letterbox, ScanGeometry
from spm_live.errors import FrameError

MOST_PIXELS = 64 * 1024 * 1024
"""Larger pictures are refused: a header with a wild scan range must not take all memory."""
LONGEST_SIDE = 65_536
"""No side may become longer than this, however short the other is."""


def letterbox_for(geometry: ScanGeometry, nm_per_px: float | None, ref: FrameRef) -> Letterbox:
    """Say how large a frame becomes at a model's pixel pitch.

    Parameters
    ----------
    geometry : ScanGeometry
        Of the frame.
    nm_per_px : float or None
        Pixel pitch of the model, the same along x and y, in nm; None: the finer pitch of the frame itself, so that
        square pixels stay as they are.
    ref : FrameRef
        Named in the error.

    Returns
    -------
    Letterbox
        Sides rounded to whole pixels, at least one; the scales are the exact ratios after that.

    Raises
    ------
    FrameError
        If the picture would be too large to handle.
    """
    if nm_per_px is None:
        nm_per_px = min(geometry.nm_per_px)
    wanted_columns, wanted_rows = (size / nm_per_px for size in geometry.size_nm)
    if max(wanted_columns, wanted_rows) > LONGEST_SIDE or wanted_columns * wanted_rows > MOST_PIXELS:
        width, height = geometry.size_nm
        reason = (
            f"{width:.6g} x {height:.6g} nm at the model's {nm_per_px:g} nm per pixel would be "
            f"{wanted_columns:.4g} x {wanted_rows:.4g} px; at most {MOST_PIXELS // 2**20} million pixels are handled"
        )
        raise FrameError(ref, "prepare", reason)
    columns, rows = max(1, round(wanted_columns)), max(1, round(wanted_rows))
    return Letterbox(columns / geometry.columns, rows / geometry.rows, rows, columns)


def resample(data: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    """Resample a frame, corners staying corners.

    Parameters
    ----------
    data : (r, c) float32 array
        NaN where not scanned.
    rows, columns : int
        Shape of the result.

    Returns
    -------
    (rows, columns) float32 array
        A new array; NaN where less than half of what a pixel is made of was scanned.

    Notes
    -----
    Along an axis that shrinks, the pixels that fall into one are averaged by area; along one that grows, values are
    interpolated linearly between pixel centres. What was not scanned has no weight: values and coverage are resampled
    alike and divided (normalised convolution: Knutsson and Westin 1993, doi:10.1109/CVPR.1993.341081). Cubic
    interpolation is not used, because its negative weights have no such normalisation.
    """
    scanned = np.isfinite(data)
    if scanned.all():
        return _resize(data, rows, columns)
    values = _resize(np.where(scanned, data, np.float32(0)), rows, columns)
    cover = _resize(scanned.astype(np.float32), rows, columns)
    enough = cover >= 0.5
    result = np.full((rows, columns), np.nan, dtype=np.float32)
    np.divide(values, cover, out=result, where=enough)
    return result


def _resize(data: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    # Shrink first, each axis by itself: INTER_AREA averages only if no axis grows in the same call.
    smaller = (min(rows, data.shape[0]), min(columns, data.shape[1]))
    result: NDArray[np.float32] = np.ascontiguousarray(data)
    if smaller != data.shape:
        result = cv2.resize(result, (smaller[1], smaller[0]), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if smaller != (rows, columns):
        result = cv2.resize(result, (columns, rows), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return result if result is not data else data.copy()
