"""Drift from the pictures alone: phase correlation.

The Fourier transform of a picture that was shifted differs by a phase that grows with the frequency; the inverse
transform of that phase alone is a sharp peak at the shift (Kuglin and Hines 1975, Proc. IEEE Conf. Cybernetics and
Society, 163). Whitened in this way, all details count, not only the bright ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.domain import ScanGeometry
from spm_live.series.field import DriftField
from spm_live.series.frames import SeriesFrame

SIDE = 256
"""Drifts are looked for at no more pixels a side than this; peaks are found to a small part of one."""
PEAKS = 8
"""So many shifts are looked into: a lattice gives a peak at every one of its vectors."""
SIGHT = 0.2
"""Details finer than this, in cycles a pixel (standard deviation of a Gaussian), are taken for noise."""
LEAST_COMMON = 0.15
"""Pictures that share less of their area than this are not compared."""
COARSER, BLUR = 1.2, 0.4
"""From this many old pixels in a new one on, a picture is blurred first, by this part of a new pixel."""
INVERSE = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two pictures on one grid of pixels, in the axes of the later frame.

    Parameters
    ----------
    before, after : (rows, columns) float32 array
        0 where not scanned; every line has mean 0 where scanned.
    seen_before, seen_after : (rows, columns) float32 array
        1 where scanned, 0 elsewhere.
    geometry : ScanGeometry
        Of the grid.
    """

    before: NDArray[np.float32]
    after: NDArray[np.float32]
    seen_before: NDArray[np.float32]
    seen_after: NDArray[np.float32]
    geometry: ScanGeometry


def pair_up(previous: SeriesFrame, current: SeriesFrame, side: int = SIDE) -> Pair | None:
    """Bring the pictures of two frames onto one grid: the pixels of the later frame, made coarser where that is enough.

    Parameters
    ----------
    previous, current : SeriesFrame
        The two frames.
    side : int
        Most pixels a side.

    Returns
    -------
    Pair or None
        None where one has no picture, or they share too little.
    """
    if previous.picture is None or current.picture is None:
        return None
    grid = _grid(previous.geometry, current.geometry, side)
    after, seen_after = _on(grid, current)
    before, seen_before = _on(grid, previous)
    common = np.count_nonzero(seen_before * seen_after)
    if common < LEAST_COMMON * grid.rows * grid.columns or min(grid.rows, grid.columns) < 16:
        return None
    return Pair(_centred(before, seen_before), _centred(after, seen_after), seen_before, seen_after, grid)


def shifts(pair: Pair, band: slice = slice(None)) -> list[tuple[NDArray[np.float64], float]]:
    """Find the most likely drifts by phase correlation.

    Parameters
    ----------
    pair : Pair
        Two pictures.
    band : slice
        Only these rows of them.

    Returns
    -------
    list of ((2,) float array, float)
        x and y of the drift in scanner coordinates, in nm, and the height of its peak over the noise of the
        correlation (standard deviations), highest first.
    """
    surface = _correlate(pair.before[band], pair.after[band])
    rows, columns = surface.shape
    noise = float(surface.std()) or 1.0
    reach = (rows // 2, columns // 2)
    peaks = surface == cv2.dilate(surface, np.ones((5, 5), dtype=np.uint8))
    places = np.flatnonzero(peaks)
    places = places[np.argsort(surface.ravel()[places])[::-1][:PEAKS]]
    found = []
    for place in places:
        row, column = divmod(int(place), columns)
        down, right = _refine(surface, row, column)
        shift = np.array([right - columns if right > reach[1] else right, down - rows if down > reach[0] else down])
        found.append((_to_nm(shift, pair.geometry), float(surface[row, column]) / noise))
    return found


def whitened(pair: Pair) -> Pair:
    """Bring all details of two pictures to the same weight: a lattice, which is strong in a few frequencies, fades.

    What is left tells one vector of a lattice from another: vacancies, dirt, and the small differences between
    molecules. It is noisier than the pictures themselves.
    """
    rows, columns = shape = pair.after.shape
    before, after = (
        np.fft.irfft2(_white(np.fft.rfft2(picture), (rows, columns)), shape).astype(np.float32) * seen
        for picture, seen in ((pair.before, pair.seen_before), (pair.after, pair.seen_after))
    )
    return replace(pair, before=before, after=after)


def likeness(pair: Pair, field: DriftField) -> float:
    """Correlation of two pictures when the earlier one is moved by a field, -1 to 1; NaN where little is common."""
    moved, seen = moved_by(pair, field)
    if np.count_nonzero(seen) < LEAST_COMMON * seen.size:
        return float("nan")
    one, other = moved[seen], pair.after[seen]
    one, other = one - one.mean(), other - other.mean()
    size = float(np.sqrt(np.dot(one, one) * np.dot(other, other)))
    return float(np.dot(one, other)) / size if size > 0 else float("nan")


def sharpened(pair: Pair, field: DriftField) -> DriftField:
    """Move a drift to where two pictures are most alike: the peak of the whitened correlation, but for its noise.

    The likeness is smooth over a pixel or two, so that the parabola through three of its values finds its top; along
    the axes of the picture one after the other, twice.
    """
    start = pair.geometry.to_nm(np.zeros((1, 2)))[0]
    axes = pair.geometry.to_nm(np.array([[1.0, 0.0], [0.0, 1.0]])) - start
    drift = np.array(field.drift_nm)

    def alike(place: NDArray[np.float64]) -> float:
        return likeness(pair, DriftField.on(pair.geometry, place, np.array(field.slope)))

    for axis in (*axes, *axes):
        before, top, after = (alike(drift + way * axis) for way in (-1.0, 0.0, 1.0))
        bend = before + after - 2 * top
        if bend < 0:  # not where one of them is NaN either
            drift = drift + axis * float(np.clip(0.5 * (before - after) / bend, -1, 1))
    return DriftField.on(pair.geometry, drift, np.array(field.slope))


def moved_by(pair: Pair, field: DriftField) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Move the earlier picture by a field.

    Returns
    -------
    moved : (rows, columns) float32 array
        The earlier picture where the later one shows it.
    seen : (rows, columns) bool array
        Where both were scanned.
    """
    rows, columns = pair.after.shape
    matrix = _warp(lambda px: pair.geometry.to_px(field.back(pair.geometry.to_nm(px))), rows, columns)
    moved = cv2.warpAffine(pair.before, matrix, (columns, rows), flags=INVERSE)
    seen = cv2.warpAffine(pair.seen_before, matrix, (columns, rows), flags=INVERSE)
    return np.asarray(moved, dtype=np.float32), np.asarray((seen > 0.99) & (pair.seen_after > 0))


def _grid(previous: ScanGeometry, current: ScanGeometry, side: int) -> ScanGeometry:
    """The later frame in square-ish pixels, no finer than the coarser of the two and no more than ``side`` a side."""
    pitch = max(*previous.nm_per_px, *current.nm_per_px, max(current.size_nm) / side)
    columns, rows = (max(1, round(size / pitch)) for size in current.size_nm)
    return ScanGeometry(rows, columns, current.size_nm, current.center_nm, current.angle_deg)


def _on(grid: ScanGeometry, frame: SeriesFrame) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A frame's picture on a grid, and where it was scanned."""
    picture = frame.picture
    if picture is None:
        raise ValueError(f"frame {frame.id} has no picture")
    shown = ScanGeometry(
        picture.shape[0], picture.shape[1], frame.geometry.size_nm, frame.geometry.center_nm, frame.geometry.angle_deg
    )
    # Pixels that are made coarser are averaged first, or fine noise would be folded into coarse.
    factors = [grid.nm_per_px[axis] / shown.nm_per_px[axis] for axis in (0, 1)]
    scanned = (picture > 0).astype(np.float32)
    values = picture.astype(np.float32)
    if max(factors) > COARSER:
        sigma = [max(BLUR * factor, 0.01) for factor in factors]
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), sigma[0], sigmaY=sigma[1]), dtype=np.float32)
        scanned = np.asarray(cv2.GaussianBlur(scanned, (0, 0), sigma[0], sigmaY=sigma[1]), dtype=np.float32)
    matrix = _warp(lambda px: shown.to_px(grid.to_nm(px)), grid.rows, grid.columns)
    size = (grid.columns, grid.rows)
    whole = (cv2.warpAffine(scanned, matrix, size, flags=INVERSE) > 0.99).astype(np.float32)
    return np.asarray(cv2.warpAffine(values, matrix, size, flags=INVERSE), dtype=np.float32) * whole, whole


def _warp(source: Callable[[NDArray[np.float64]], NDArray[np.float64]], rows: int, columns: int) -> NDArray[np.float64]:
    """The affine map, for OpenCV, that tells of each pixel of the result where in the source it lies."""
    corners = np.array([[0.0, 0.0], [columns - 1.0, 0.0], [0.0, rows - 1.0]])
    matrix = cv2.getAffineTransform(corners.astype(np.float32), source(corners).astype(np.float32))
    return np.asarray(matrix, dtype=np.float64)


def _centred(values: NDArray[np.float32], seen: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take its mean off every line: what does not change along a line is noise that stays in its place."""
    mean = values.sum(axis=1, keepdims=True) / np.maximum(seen.sum(axis=1, keepdims=True), 1)
    return np.asarray((values - mean) * seen, dtype=np.float32)


def _correlate(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = before.shape
    window = (np.hanning(rows + 2)[1:-1, None] * np.hanning(columns + 2)[None, 1:-1]).astype(np.float32)
    # SIDE is a power of two where it counts; cv2 is told the best size, and the rest is zeros, as the border is.
    shape = (cv2.getOptimalDFTSize(rows), cv2.getOptimalDFTSize(columns))
    cross = np.fft.rfft2(after * window, shape) * np.conj(np.fft.rfft2(before * window, shape))
    return np.asarray(np.fft.irfft2(_white(cross, shape), shape), dtype=np.float32)


def _white(spectrum: NDArray[np.complex128], shape: tuple[int, int]) -> NDArray[np.complex128]:
    """Leave the phases of a spectrum, at even weight up to the frequencies that are taken for noise."""
    amplitude = np.abs(spectrum)
    floor = float(amplitude.mean()) * 1e-3 or 1.0
    down, across = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
    weight = np.exp(-0.5 * (down[:, None] ** 2 + across[None, :] ** 2) / SIGHT**2)
    weight[:, 0] = 0  # offsets of lines
    return np.asarray(weight * spectrum / (amplitude + floor))


def _refine(surface: NDArray[np.float32], row: int, column: int) -> tuple[float, float]:
    """The top of the parabola through a peak and its neighbours, along each axis."""
    rows, columns = surface.shape
    top = float(surface[row, column])
    result = []
    for before, after, place in (
        (surface[row - 1, column], surface[(row + 1) % rows, column], row),
        (surface[row, column - 1], surface[row, (column + 1) % columns], column),
    ):
        bend = float(before) + float(after) - 2 * top
        result.append(place + (0.5 * (float(before) - float(after)) / bend if bend < 0 else 0.0))
    return result[0], result[1]


def _to_nm(shift_px: NDArray[np.float64], geometry: ScanGeometry) -> NDArray[np.float64]:
    start, end = geometry.to_nm(np.array([[0.0, 0.0], shift_px]))
    return np.asarray(end - start)
