"""Turns a false-colour picture back into height.

A colour table is a curve in the RGB cube with the height running along it. Where the table is known, each pixel goes to
the nearest point of its curve; where it is not, but gets steadily lighter, the picture's own colours, in order of their
lightness, are the curve.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]

AUTO = "auto"
GREY = "grey"
LIGHTNESS = "lightness"
_STEPS = 256
_SAMPLE = 1 << 18
_CHUNK = 1 << 22

_CURVES: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    # MATLAB's and matplotlib's "hot": red, then green, then blue; the thirds are 3/8, 3/8, 2/8 of 256 levels less one.
    "hot": ((0, 0.0416, 0, 0), (0.365079, 1, 0, 0), (0.746032, 1, 1, 0), (1, 1, 1, 1)),
    # gnuplot's formulae 34, 35, 36: 2x, 2x - 0.5, 2x - 1.
    "afmhot": ((0, 0, 0, 0), (0.25, 0.5, 0, 0), (0.5, 1, 0.5, 0), (0.75, 1, 1, 0.5), (1, 1, 1, 1)),
    # Of the pictures published with Mask R-CNN for SPM images: fitted to their 192 colours, at most 1.5/255 off.
    "flame": ((0, 0, 0, 0), (0.3, 0.9, 0, 0), (0.4, 1, 0.2, 0), (0.6, 1, 0.8, 0), (0.7, 1, 1, 0.1), (1, 1, 1, 1)),
    # MATLAB's "copper": 1.25 x, 0.7812 x, 0.4975 x.
    "copper": ((0, 0, 0, 0), (0.8, 1, 0.62496, 0.398), (1, 1, 0.7812, 0.4975)),
    # MATLAB's "jet": 1.5 - |4x - 3|, 1.5 - |4x - 2|, 1.5 - |4x - 1|, each cut to 0..1. Its lightness falls again.
    "jet": (
        (0, 0, 0, 0.5),
        (0.125, 0, 0, 1),
        (0.375, 0, 1, 1),
        (0.625, 1, 1, 0),
        (0.875, 1, 0, 0),
        (1, 0.5, 0, 0),
    ),
}


class ColourError(Exception):
    """The colours cannot be turned back into height; the text says why and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class ColourCurve:
    """A colour table.

    Parameters
    ----------
    name : str
        Of the table.
    colours : (N, 3) float32 array
        Points of the curve, 0 to 255.
    levels : (N,) float32 array
        Height of each, rising from 0 to 1.
    """

    name: str
    colours: NDArray[np.float32]
    levels: NDArray[np.float32]

    def nearest(self, colours: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Find the nearest point of the curve.

        Parameters
        ----------
        colours : (M, 3) float32 array
            0 to 255.

        Returns
        -------
        levels, distances : (M,) float32 arrays
            Height of the nearest point, and how far it is in RGB.
        """
        levels = np.empty(len(colours), dtype=np.float32)
        distances = np.empty(len(colours), dtype=np.float32)
        norms = np.sum(self.colours**2, axis=1)
        for start in range(0, len(colours), 16384):
            part = colours[start : start + 16384]
            squares = norms - 2 * part @ self.colours.T
            best = squares.argmin(axis=1)
            rest = part - self.colours[best]
            levels[start : start + len(part)] = self.levels[best]
            distances[start : start + len(part)] = np.sqrt(np.sum(rest**2, axis=1))
        return levels, distances


def tables() -> tuple[str, ...]:
    """Names that ``ReadOptions.colour_table`` may have."""
    return (AUTO, GREY, LIGHTNESS, *_CURVES)


def known_curve(name: str) -> ColourCurve:
    """A known table in 256 levels.

    Raises
    ------
    KeyError
        If there is none of that name.
    """
    points = np.array(_CURVES[name])
    levels = np.linspace(0, 1, _STEPS)
    colours = np.stack([np.interp(levels, points[:, 0], points[:, k]) for k in (1, 2, 3)], axis=1)
    return ColourCurve(name, (255 * colours).astype(np.float32), levels.astype(np.float32))


def to_height(rgb: Rgb, table: str = AUTO) -> tuple[NDArray[np.float32], str]:
    """Turn colours into height.

    Parameters
    ----------
    rgb : (rows, columns, 3) uint8 array
        The picture.
    table : str
        One of :func:`tables`. ``"auto"``: grey, else the known table that fits, else, if the colours form one curve
        that gets steadily lighter, that curve. ``"lightness"``: CIE lightness, whatever the colours.

    Returns
    -------
    height : (rows, columns) float32 array
        0 to 1.
    name : str
        What was found to be the table.

    Raises
    ------
    ColourError
        If there is no such table, or ``"auto"`` finds none.
    """
    if table not in tables():
        raise ColourError(f"there is no colour table {table!r}; there are {', '.join(tables())}")
    colours, counts = _distinct(rgb)
    if table == GREY or (table == AUTO and _is_grey(colours, counts)):
        return np.asarray(rgb.mean(axis=2, dtype=np.float32) / np.float32(255)), GREY
    if table == LIGHTNESS:
        return _by_lookup(rgb, lambda part: (_lightness(part) / 100).astype(np.float32)), LIGHTNESS
    curve = known_curve(table) if table != AUTO else _fitting_curve(colours, counts)
    if curve is None:
        _refuse_many_colours_of_one_lightness(colours, counts)
        curve = _own_curve(colours)
    if curve is None:
        return _by_lookup(rgb, lambda part: (_lightness(part) / 100).astype(np.float32)), LIGHTNESS
    return _by_lookup(rgb, lambda part: curve.nearest(part)[0]), curve.name


def _distinct(rgb: Rgb) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The colours of about 260,000 pixels spread over the picture, and how many pixels have each."""
    pixels = rgb.reshape(-1, 3)
    packed = _pack(pixels[:: max(1, len(pixels) // _SAMPLE)])
    values, counts = np.unique(packed, return_counts=True)
    return _unpack(values), counts.astype(np.int64)


def _pack(pixels: Rgb) -> NDArray[np.uint32]:
    wide = pixels.astype(np.uint32)
    return np.asarray((wide[:, 0] << 16) | (wide[:, 1] << 8) | wide[:, 2])


def _unpack(values: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    return np.stack([values >> 16, (values >> 8) & 255, values & 255], axis=1).astype(np.float32)


def _is_grey(colours: NDArray[np.float32], counts: NDArray[np.int64]) -> bool:
    spread = colours.max(axis=1) - colours.min(axis=1)
    return bool(counts[spread > 3].sum() <= 0.001 * counts.sum())


def _fitting_curve(colours: NDArray[np.float32], counts: NDArray[np.int64]) -> ColourCurve | None:
    """The known table that is nearest, if it is near: 6/255 on average, 16/255 for 95 % of the pixels."""
    best: tuple[float, ColourCurve] | None = None
    for name in _CURVES:
        curve = known_curve(name)
        _, distances = curve.nearest(colours)
        mean = float(np.average(distances, weights=counts))
        far = counts[distances > 16].sum() / counts.sum()
        if mean <= 6 and far <= 0.05 and (best is None or mean < best[0]):
            best = mean, curve
    return best[1] if best else None


def _refuse_many_colours_of_one_lightness(colours: NDArray[np.float32], counts: NDArray[np.int64]) -> None:
    """A table that gets steadily lighter has one colour for each lightness: 16/255 of spread at most on average."""
    bins = (_lightness(colours) * 0.64).astype(np.int64)
    weights = np.bincount(bins, weights=counts, minlength=65)
    filled = np.maximum(weights, 1)
    means = [np.bincount(bins, weights=counts * colours[:, k], minlength=65) / filled for k in range(3)]
    rest = colours - np.stack(means, axis=1)[bins]
    spread = float(np.sqrt(np.average(np.sum(rest**2, axis=1), weights=counts)))
    if spread > 16:
        raise ColourError(
            "the colours are of no known table and do not get steadily lighter, so that they do not tell the height; "
            "save the picture in grey, or set colour_table to the name of a table"
        )


def _own_curve(colours: NDArray[np.float32]) -> ColourCurve | None:
    """The picture's own colours in order of lightness, if they are few enough to be the entries of one table.

    Steps larger than those around them are entries that no pixel has: they count for as many levels as their length.
    """
    if not 2 <= len(colours) <= _STEPS:
        return None
    ordered = colours[np.argsort(_lightness(colours), kind="stable")]
    steps = np.sqrt(np.sum(np.diff(ordered, axis=0) ** 2, axis=1))
    usual = np.median(np.lib.stride_tricks.sliding_window_view(np.pad(steps, 4, mode="edge"), 9), axis=1)
    levels = np.concatenate([[0.0], np.cumsum(np.maximum(1, np.round(steps / np.maximum(usual, 1))))])
    return ColourCurve("own colours by lightness", ordered, (levels / levels[-1]).astype(np.float32))


def _lightness(colours: NDArray[np.float32]) -> NDArray[np.float64]:
    """CIE 1976 lightness of sRGB colours (IEC 61966-2-1; CIE 15), 0 to 100."""
    share = colours.astype(np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    cube = 216 / 24389
    return np.asarray(np.where(luminance > cube, 116 * np.cbrt(luminance) - 16, luminance * 24389 / 27))


def _by_lookup(rgb: Rgb, level: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> NDArray[np.float32]:
    """Work out each colour of the picture once: a picture has far fewer colours than pixels."""
    pixels = rgb.reshape(-1, 3)
    if len(pixels) < _SAMPLE:  # sorting them is cheaper than a table of all colours
        few, index = np.unique(_pack(pixels), return_inverse=True)
        return level(_unpack(few))[index].reshape(rgb.shape[:2])
    seen = np.zeros(1 << 24, dtype=np.bool_)
    for start in range(0, len(pixels), _CHUNK):
        seen[_pack(pixels[start : start + _CHUNK])] = True
    values = np.flatnonzero(seen)
    del seen
    lookup = np.zeros(1 << 24, dtype=np.float32)  # 64 MiB of address space; only the pages of the colours are touched
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]
        lookup[part] = level(_unpack(part))
    height = np.empty(len(pixels), dtype=np.float32)
    for start in range(0, len(pixels), _CHUNK):
        height[start : start + _CHUNK] = lookup[_pack(pixels[start : start + _CHUNK])]
    return height.reshape(rgb.shape[:2])
