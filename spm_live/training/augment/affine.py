"""L1: turning, mirroring, scaling, shearing, shifting and cropping, all in one resampling of the picture.

Matrices map picture to result in pixel-edge coordinates (pixel d covers d to d + 1), as outlines are kept, so that
outlines are moved exactly; OpenCV counts from pixel centres, and is given the matrix shifted by half a pixel.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.training.augment.outlines import KEEP_VISIBLE, seen_of
from spm_live.training.labelled import LabelledPicture

Matrix = NDArray[np.float64]
"""(2, 3): x, y, 1 of the picture to x, y of the result, in pixel-edge coordinates."""

BLUR_PX = 0.4
"""Standard deviation, in source pixels, of the blur before a picture is halved, over sqrt(2**2 - 1): near to that of
averaging by area (0.29), a little more because sampling is linear afterwards."""
MARGIN_PX = 3


def linear(
    angle_deg: float = 0.0, scale: float = 1.0, squeeze: float = 1.0, shear: float = 0.0, *, flip: bool = False
) -> NDArray[np.float64]:
    """Build the linear part of a matrix.

    Parameters
    ----------
    angle_deg : float
        Clockwise as seen, since y grows downwards.
    scale : float
        Result pixels per picture pixel.
    squeeze : float
        Width over height of what was a square; the area stays.
    shear : float
        Shift along x per step along y.
    flip : bool
        Whether x is mirrored, first of all.

    Returns
    -------
    (2, 2) float64 array
    """
    turn = np.deg2rad(angle_deg)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    stretch = np.array([[squeeze**0.5, shear], [0.0, squeeze**-0.5]]) * scale
    return np.asarray(stretch @ rotation @ np.diag([-1.0 if flip else 1.0, 1.0]))


def about(part: NDArray[np.float64], source_xy: tuple[float, float], result_xy: tuple[float, float]) -> Matrix:
    """Complete a linear part so that a point of the picture comes to lie at a point of the result."""
    shift = np.asarray(result_xy) - part @ np.asarray(source_xy)
    return np.concatenate([part, shift[:, None]], axis=1)


def warp(
    picture: LabelledPicture, matrix: Matrix, shape: tuple[int, int], keep_visible: float = KEEP_VISIBLE
) -> LabelledPicture:
    """Resample a picture, outlines in step.

    Parameters
    ----------
    picture : LabelledPicture
        Outlines within it (:func:`spm_live.training.augment.outlines.trimmed`).
    matrix : (2, 3) float64 array
        Picture to result.
    shape : (int, int)
        Rows and columns of the result.
    keep_visible : float
        Molecules of which a smaller part lies in the result are ignored.

    Returns
    -------
    LabelledPicture
        NaN where there was no picture.
    """

    def move(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])

    scale = float(abs(np.linalg.det(matrix[:, :2]))) ** 0.5
    pitch = None if picture.nm_per_px is None else picture.nm_per_px / scale
    return replace(
        picture,
        image=warp_image(picture.image, matrix, shape),
        molecules=seen_of(picture.molecules, move, shape, keep_visible),
        nm_per_px=pitch,
    )


def warp_image(image: NDArray[np.float32], matrix: Matrix, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resample an image.

    Parameters
    ----------
    image : (r, c) float32 array
        NaN where not scanned.
    matrix, shape
        As for :func:`warp`.

    Returns
    -------
    (rows, columns) float32 array
        NaN where pixel centres come from outside the image, or less than half from scanned pixels.

    Notes
    -----
    Where the picture shrinks it is blurred first, so that nothing is aliased. Pixels not scanned have no weight
    (normalised convolution, as in :func:`spm_live.prepare.resample.resample`).
    """
    rows, columns = shape
    back = np.asarray(np.linalg.inv(matrix[:, :2]), dtype=np.float64)
    corners = np.array([[0.0, 0.0], [columns, 0.0], [0.0, rows], [columns, rows]]) - matrix[:, 2]
    from_px = corners @ back.T
    part, origin = _cut(image, from_px)
    if part.size == 0:
        return np.full(shape, np.nan, dtype=np.float32)
    moved = matrix[:, 2] + matrix[:, :2] @ origin
    local = np.concatenate([matrix[:, :2], moved[:, None]], axis=1)
    result = _resample(part, local, shape)
    (x1, y1), (x2, y2) = from_px.min(axis=0), from_px.max(axis=0)
    if x1 < 0 or y1 < 0 or x2 > image.shape[1] or y2 > image.shape[0]:
        result[_outside(back, matrix[:, 2], shape, image.shape)] = np.nan
    return result


def _cut(image: NDArray[np.float32], from_px: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The part of an image that a result is made of, and where it begins (x, y)."""
    low = np.maximum(np.floor(from_px.min(axis=0)).astype(int) - MARGIN_PX, 0)
    high = np.ceil(from_px.max(axis=0)).astype(int) + MARGIN_PX
    return image[low[1] : max(0, high[1]), low[0] : max(0, high[0])], low.astype(np.float64)


def _resample(part: NDArray[np.float32], matrix: Matrix, shape: tuple[int, int]) -> NDArray[np.float32]:
    if not np.isnan(part.sum()):
        return smooth_warp(part, matrix, shape)
    scanned = np.isfinite(part)
    values = smooth_warp(np.where(scanned, part, np.float32(0)), matrix, shape)
    cover = smooth_warp(scanned.astype(np.float32), matrix, shape)
    result = np.full(shape, np.nan, dtype=np.float32)
    np.divide(values, cover, out=result, where=cover >= 0.5)
    return result


def least_scale(matrix: NDArray[np.float64]) -> float:
    """Result pixels per picture pixel along the direction that shrinks most: the smaller singular value."""
    (a, b), (c, d) = matrix[:, :2].tolist()
    squares, det = a * a + b * b + c * c + d * d, a * d - b * c
    largest = (squares + max(0.0, squares * squares - 4 * det * det) ** 0.5) / 2
    return float(abs(det) / largest**0.5)


def smooth_warp(part: NDArray[np.float32], matrix: Matrix, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resample an array without holes, (r, c) or (r, c, channels); beyond it its edge goes on."""
    least = least_scale(matrix)
    if least < 0.95:
        part = cv2.GaussianBlur(  # type: ignore[assignment]
            part, (0, 0), BLUR_PX * (1 / least**2 - 1) ** 0.5, borderType=cv2.BORDER_REPLICATE
        )
    # Pixel centres: edge coordinates less one half, before and after.
    centred = matrix.copy()
    centred[:, 2] += (matrix[:, :2] @ [0.5, 0.5]) - 0.5
    warped = cv2.warpAffine(part, centred, shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, dtype=np.float32)


def _outside(
    back: NDArray[np.float64], shift: NDArray[np.float64], shape: tuple[int, int], source: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Pixels whose centres come from outside the source."""
    x = np.arange(shape[1], dtype=np.float32)[None, :] + np.float32(0.5 - shift[0])
    y = np.arange(shape[0], dtype=np.float32)[:, None] + np.float32(0.5 - shift[1])
    outside = np.zeros(shape, dtype=np.bool_)
    for (by_x, by_y), length in zip(back.astype(np.float32), source[::-1], strict=True):
        place = by_x * x + by_y * y
        outside |= (place < 0) | (place > length)
    return outside
