"""Outlines, areas and axes of masks, for all molecules of a frame at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

MASK_THRESHOLD = 0.5
"""Where a mask's probability exceeds this lies the molecule (He et al. 2017, arXiv:1703.06870, section 3.1)."""
GRID_SIDE = 28
"""Coarser masks are interpolated to about this many cells a side."""
MOST_POINTS = 64
"""Points of an outline, at most."""
OUTLINE_ERROR_CELLS = 0.15
"""How far a simplified outline may lie from the one through all points."""


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Area, centroid and second moments of N shapes, in a coordinate system of the caller's.

    Parameters
    ----------
    area : (N,) float64 array
        0 for a shape without a cell.
    center : (N, 2) float64 array
        x, y; NaN where the area is 0.
    spread : (N, 3) float64 array
        Variances along x and y, and the covariance; NaN where the area is 0.
    """

    area: NDArray[np.float64]
    center: NDArray[np.float64]
    spread: NDArray[np.float64]


def refine(masks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Interpolate masks to a finer grid.

    Parameters
    ----------
    masks : (N, M, M) float32 array
        Probabilities.

    Returns
    -------
    (N, U, U) float32 array
        U is the multiple of M nearest to 28, at least M.
    """
    count, size = masks.shape[:2]
    factor = max(1, round(GRID_SIDE / size))
    if factor == 1:
        return masks
    side = size * factor
    fine = np.empty((count, side, side), dtype=np.float32)
    for coarse, target in zip(masks, fine, strict=True):
        cv2.resize(coarse, (side, side), dst=target, interpolation=cv2.INTER_LINEAR)
    return fine


def cover(fine: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much of each cell lies inside the line where the probability is one half.

    Parameters
    ----------
    fine : (N, U, U) float32 array
        Probabilities, from :func:`refine`.

    Returns
    -------
    (N, U, U) float32 array
        0 to 1. With 28 cells a side areas become good to one or two per cent; whole cells alone, to three.

    Notes
    -----
    The line passes a cell's centre at a distance of about (p - 1/2) / |grad p| cells, and cuts off half a cell more or
    less than that.
    """
    padded = np.pad(fine, ((0, 0), (1, 1), (1, 1)), mode="edge")
    slope = np.square(padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2])
    slope += np.square(padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1])
    steepness = np.sqrt(slope, out=slope)
    np.maximum(steepness, 1e-6, out=steepness)
    covered = fine - np.float32(MASK_THRESHOLD)
    covered /= steepness
    covered *= 2  # the differences above span two cells
    covered += np.float32(0.5)
    return np.clip(covered, 0, 1, out=covered)


def moments(inside: NDArray[np.float32], corner: NDArray[np.float64], size: NDArray[np.float64]) -> Moments:
    """Measure shapes given as cells of a grid over their boxes.

    Parameters
    ----------
    inside : (N, U, U) float32 array
        How much of each cell belongs to the shape, 0 to 1; row 0 first.
    corner : (N, 2) float array
        x and y of the outer corner of cell (0, 0).
    size : (N, 2) float array
        Extent of the grid along x and y.

    Returns
    -------
    Moments
        Exact for whole rectangular cells; of a part of a cell the area counts, at the cell's centre.
    """
    side = inside.shape[1]
    place = (np.arange(side) + 0.5) / side - 0.5
    powers = np.stack([np.ones(side), place, place**2], axis=1)
    by_row = (inside @ powers.astype(np.float32)).astype(np.float64)
    both = powers.T @ by_row  # [:, i, j] holds the sums of y^i x^j
    cells = both[:, 0, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.stack([both[:, 0, 1], both[:, 1, 0]], axis=1) / cells[:, None]
        square = np.stack([both[:, 0, 2], both[:, 2, 0]], axis=1) / cells[:, None]
        product = both[:, 1, 1] / cells
    # A cell is no point: its own variance is a twelfth of its width squared.
    variance = (square - mean**2 + 1 / (12 * side**2)) * size**2
    covariance = (product - mean[:, 0] * mean[:, 1]) * size[:, 0] * size[:, 1]
    return Moments(
        area=cells / side**2 * size[:, 0] * size[:, 1],
        center=corner + (mean + 0.5) * size,
        spread=np.column_stack([variance, covariance]),
    )


def axes(spread: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Full axes of the ellipses with given second moments.

    Parameters
    ----------
    spread : (N, 3) float array
        As in :class:`Moments`.

    Returns
    -------
    length, width : (N,) float array
        In the unit of the coordinates.
    angle_deg : (N,) float array
        Long axis, counter-clockwise from x where y grows up; -90 to 90.

    Notes
    -----
    A filled ellipse with half axis a has the variance a²/4 along it, so the full axis is four standard deviations. The
    axes diagonalise the matrix of second moments (Hu 1962, doi:10.1109/TIT.1962.1057692).
    """
    middle = (spread[:, 0] + spread[:, 1]) / 2
    half = np.hypot((spread[:, 0] - spread[:, 1]) / 2, spread[:, 2])
    angle = np.degrees(np.arctan2(2 * spread[:, 2], spread[:, 0] - spread[:, 1])) / 2
    return 4 * np.sqrt(middle + half), 4 * np.sqrt(np.maximum(middle - half, 0)), angle


def outlines(fine: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Polygons around masks.

    Parameters
    ----------
    fine : (N, U, U) float32 array
        Probabilities, from :func:`refine`.

    Returns
    -------
    list of N (P, 2) float32 arrays
        x and y in cells, from 0 to U over the box; at most 64 points, at least 3, or none for a mask without a cell
        over the threshold. Of a mask in pieces the largest piece.

    Notes
    -----
    The border cells are followed for all masks in one go (Suzuki and Abe 1985, doi:10.1016/0734-189X(85)90016-7), one
    mask below the other with empty cells between. Of each border at most 64 cells, evenly spread, are moved to where
    the probability is one half on the way to the cell outside (as marching squares does: Lorensen and Cline 1987,
    doi:10.1145/37402.37422), so that the outline does not shrink by half a cell.
    What then lies nearly straight is left out (Douglas and Peucker 1973, doi:10.3138/FM57-6770-U75U-7727).
    """
    count, side = fine.shape[:2]
    pitch = side + 2
    column = np.zeros((count * pitch, pitch), dtype=np.float32)
    column.reshape(count, pitch, pitch)[:, 1:-1, 1:-1] = fine
    contours, _ = cv2.findContours((column > MASK_THRESHOLD).view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest: dict[int, NDArray[np.int32]] = {}
    for contour in contours:
        number = contour.item(1) // pitch  # the first point's row
        rival = largest.get(number)
        if rival is None or cv2.contourArea(contour) > cv2.contourArea(rival):
            largest[number] = contour  # type: ignore[assignment]
    result = [np.zeros((0, 2), dtype=np.float32)] * count
    if not largest:
        return result
    spread = [_spread(contour) for contour in largest.values()]
    lengths = [len(points) for points in spread]
    points = np.concatenate(spread)[:, 0]
    step = _to_crossing(column, points)
    points[:, 1] -= np.repeat(np.array(list(largest), dtype=np.int32) * pitch, lengths)
    # From cell centres in the padded grid to edges in the mask's own.
    exact = np.clip(points + step - 0.5, 0, side).astype(np.float32)
    end = 0
    for (number, contour), length in zip(largest.items(), lengths, strict=True):
        begin, end = end, end + length
        polygon = cv2.approxPolyDP(exact[begin:end], OUTLINE_ERROR_CELLS, closed=True)
        result[number] = polygon[:, 0] if len(polygon) > 2 else _around(contour, number * pitch)
    return result


def _to_crossing(field: NDArray[np.float32], points: NDArray[np.int32]) -> NDArray[np.float32]:
    """From cells at the border, along the steeper axis, to where the threshold is crossed: (P, 2), up to one cell."""
    width = field.shape[1]
    values = field.ravel()
    place = points[:, 1] * np.intp(width) + points[:, 0]
    slope_x = values[place + 1] - values[place - 1]
    slope_y = values[place + width] - values[place - width]
    across = np.abs(slope_x) >= np.abs(slope_y)
    toward = -np.sign(np.where(across, slope_x, slope_y))
    here, there = values[place], values[place + toward.astype(np.intp) * np.where(across, 1, width)]
    part = np.where(there < MASK_THRESHOLD, (here - MASK_THRESHOLD) / np.maximum(here - there, 1e-6), 0)
    part *= toward
    crossing: NDArray[np.float32] = np.where(np.stack([across, ~across], axis=1), part[:, None], np.float32(0))
    return crossing


def _spread(contour: NDArray[np.int32]) -> NDArray[np.int32]:
    """Every second, third, ... point of a contour, so that they are few enough: (P, 1, 2)."""
    return contour[:: math.ceil(len(contour) / MOST_POINTS)]


def _around(contour: NDArray[np.int32], offset: int) -> NDArray[np.float32]:
    """The rectangle around the cells of a shape that is too thin for a polygon."""
    left, top = contour[:, 0, :].min(axis=0) - [1, 1 + offset]
    right, bottom = contour[:, 0, :].max(axis=0) - [0, offset]
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=np.float32)
