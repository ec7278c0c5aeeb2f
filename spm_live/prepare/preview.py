"""A frame as a person sees it in a list and on the page."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.png import encode_png
from spm_live.prepare.contrast import to_grey

PREVIEW_SIDE = 1024
THUMBNAIL_SIDE = 128


def draw_preview(
    levelled: NDArray[np.float32],
    quantiles: tuple[float, float] = (0.005, 0.995),
    limits: tuple[float, float] | None = None,
) -> tuple[bytes, bytes]:
    """Draw a levelled frame as a grey picture, and once more small.

    Parameters
    ----------
    levelled : (rows, columns) float32 array
        As :func:`spm_live.prepare.level` returns it; NaN where not scanned.
    quantiles : (float, float)
        Values that become black and white.
    limits : (float, float) or None
        These values themselves, where they are known already.

    Returns
    -------
    preview : bytes
        PNG, 8-bit grey, the frame's own pixels as long as no side is over 1024 px, else shrunk alike along both axes.
        Pixels that were not scanned are grey value 0, which a tRNS chunk makes transparent: the page behind shows.
    thumbnail : bytes
        The same, at most 128 px a side.
    """
    grey = _shrink(to_grey(levelled, quantiles, limits), PREVIEW_SIDE)
    return encode_png(grey), encode_png(_shrink(grey, THUMBNAIL_SIDE))


def _shrink(grey: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    rows, columns = grey.shape
    factor = side / max(rows, columns)
    if factor >= 1:
        return grey
    shape = max(1, round(columns * factor)), max(1, round(rows * factor))
    small = np.asarray(cv2.resize(grey, shape, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    scanned = grey > 0
    if not scanned.all():  # a pixel mixed of scanned and not scanned would be too dark
        cover = np.asarray(cv2.resize(scanned.view(np.uint8) * np.uint8(255), shape, interpolation=cv2.INTER_AREA))
        mixed = small * (255.0 / np.maximum(cover, 1))
        small = np.where(cover >= 128, np.clip(np.rint(mixed), 1, 255), 0).astype(np.uint8)
    return small
