"""L2 and L3: the thirteen techniques of Zhu et al. 2022 (Table S2), each one a change of grey levels or a slight bend.

Every technique takes a picture, a random generator and one number that says how strong it is, and returns a new
picture with values from 0 to 1; pixels that were not scanned stay NaN. Their ranges are in
:data:`spm_live.training.augment.techniques.TECHNIQUES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.training.augment.bend import bend, smooth_field
from spm_live.training.labelled import LabelledPicture

Image = NDArray[np.float32]
Change = Callable[[Image, np.random.Generator, float], NDArray[np.floating]]
Operation = Callable[[LabelledPicture, np.random.Generator, float], LabelledPicture]

ELASTIC_GRAIN_PX = 40.0
"""An elastic bend changes over about one molecule."""


def on_grey(change: Change) -> Operation:
    """Lift a change of grey levels to pictures: holes are filled by the mean for it, and stay holes."""

    def operation(picture: LabelledPicture, rng: np.random.Generator, amount: float) -> LabelledPicture:
        image = picture.image
        missing = np.isnan(image) if np.isnan(image.sum()) else None
        if missing is not None:
            if missing.all():
                return picture
            image = np.where(missing, np.float32(image[~missing].mean()), image)
        changed = np.clip(np.asarray(change(image, rng, amount), dtype=np.float32), 0, 1)
        if missing is not None:
            changed[missing] = np.nan
        return replace(picture, image=changed)

    return operation


@on_grey
def superpixels(image: Image, rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Replace patches of about ``amount`` pixels a side by their means.

    Notes
    -----
    One round of SLIC (Achanta et al. 2012, doi:10.1109/TPAMI.2012.120) on grey levels: each pixel goes to that of the
    nearest centres of a jittered grid which is near in place and grey.
    """
    rows, columns = image.shape
    high, wide = max(2, round(rows / amount)), max(2, round(columns / amount))
    centre_y = (np.arange(high, dtype=np.float32)[:, None] + rng.uniform(0.2, 0.8, (high, wide))) * (rows / high)
    centre_x = (np.arange(wide, dtype=np.float32)[None, :] + rng.uniform(0.2, 0.8, (high, wide))) * (columns / wide)
    grey = cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA)
    cell_y = np.minimum(np.arange(rows) * high // rows, high - 1)
    cell_x = np.minimum(np.arange(columns) * wide // columns, wide - 1)
    y, x = np.arange(rows, dtype=np.float32)[:, None] + 0.5, np.arange(columns, dtype=np.float32)[None, :] + 0.5
    best = np.full(image.shape, np.inf, dtype=np.float32)
    owner = np.zeros(image.shape, dtype=np.int32)
    # A step of a tenth of the grey scale counts as much as the distance between two centres.
    weight = np.float32((amount / 0.1) ** 2)
    for down, right in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)):
        row, column = np.clip(cell_y + down, 0, high - 1), np.clip(cell_x + right, 0, wide - 1)
        place = np.ix_(row, column)
        gap_y, gap_x = y - centre_y.astype(np.float32)[place], x - centre_x.astype(np.float32)[place]
        distance = gap_y**2 + gap_x**2 + weight * (image - grey[place]) ** 2
        nearer = distance < best
        np.copyto(best, distance, where=nearer)
        np.copyto(owner, (row[:, None] * wide + column[None, :]).astype(np.int32), where=nearer)
    flat = owner.ravel()
    members = np.bincount(flat, minlength=high * wide)
    means = np.bincount(flat, weights=image.ravel(), minlength=high * wide) / np.maximum(members, 1)
    return means[owner]


@on_grey
def blur(image: Image, _rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Smooth by a Gaussian of standard deviation ``amount``, in pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(amount, 0.05), borderType=cv2.BORDER_REPLICATE))


@on_grey
def sharpen(image: Image, _rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Add ``amount`` times what a blur of 1.5 pixels takes away (unsharp masking)."""
    soft = np.asarray(cv2.GaussianBlur(image, (0, 0), 1.5, borderType=cv2.BORDER_REPLICATE))
    return image + np.float32(amount) * (image - soft)


@on_grey
def emboss(image: Image, rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Blend with a picture lit from one side; ``amount`` is its weight, 0 to 1."""
    turn = rng.uniform(0, 2 * np.pi)
    slope_x, slope_y = _slopes(image)
    lit = image + 2 * (np.float32(np.cos(turn)) * slope_x + np.float32(np.sin(turn)) * slope_y)
    return _blend(image, lit, amount)


@on_grey
def edge_detect(image: Image, _rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Blend with the steepness of the picture; ``amount`` is its weight, 0 to 1."""
    edges = np.hypot(*_slopes(image))
    return _blend(image, edges / max(float(edges.max()), 1e-6), amount)


@on_grey
def noise(image: Image, rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Add Gaussian noise of standard deviation ``amount`` to every pixel."""
    return image + np.float32(amount) * rng.standard_normal(image.shape, dtype=np.float32)


@on_grey
def dropout(image: Image, rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Set a part ``amount`` of the picture to 0: single pixels, or, as often, patches of 2 to 6 pixels a side."""
    rows, columns = image.shape
    side = 1 if rng.random() < 0.5 else int(rng.integers(2, 7))
    lost = rng.random((-(-rows // side), -(-columns // side)), dtype=np.float32) < amount
    if side > 1:
        lost = np.repeat(np.repeat(lost, side, axis=0), side, axis=1)[:rows, :columns]
    return np.where(lost, np.float32(0), image)


@on_grey
def invert(image: Image, _rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Blend with the negative; an ``amount`` of 1 is the negative itself."""
    return _blend(image, 1 - image, amount)


@on_grey
def add(image: Image, rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Make the picture brighter or, as often, darker by ``amount``."""
    return np.asarray(image + np.float32(amount if rng.random() < 0.5 else -amount))


@on_grey
def multiply(image: Image, _rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Multiply by ``amount``."""
    return image * np.float32(amount)


@on_grey
def greyscale(image: Image, rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Blend with what remains of a false-colour picture that was made grey; ``amount`` is its weight, 0 to 1.

    Notes
    -----
    Pictures here have one channel, so that making them grey would do nothing. What people do is worse: they save false
    colours and later make them grey by luma (Rec. 601), which bends the grey scale as the colour table does. Three
    tables are drawn from: one that runs through red and yellow, one through blue, one through brown.
    """
    red, green, blue = ((3.0, 1.5, 1.0), (0.8, 1.6, 2.4), (1.6, 1.0, 0.7))[int(rng.integers(3))]
    luma = 0.299 * np.minimum(image * red, 1) + 0.587 * np.minimum(image**2 * green, 1)
    luma = luma + 0.114 * np.minimum(image**3 * blue, 1)
    most = 0.299 * min(red, 1) + 0.587 * min(green, 1) + 0.114 * min(blue, 1)
    return _blend(image, luma / np.float32(most), amount)


def elastic(picture: LabelledPicture, rng: np.random.Generator, amount: float) -> LabelledPicture:
    """Bend the picture, and its outlines, by a smooth field of standard deviation ``amount``, in pixels."""
    return bend(picture, smooth_field(rng, picture.image.shape[:2], amount, ELASTIC_GRAIN_PX))


@on_grey
def contrast(image: Image, _rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Multiply differences to the mean by ``amount``."""
    mean = np.float32(image.mean())
    return np.asarray(mean + np.float32(amount) * (image - mean), dtype=np.float32)


def _slopes(image: Image) -> tuple[Image, Image]:
    """Differences per pixel along x and y (Scharr's filter)."""
    slope_x = cv2.Scharr(image, cv2.CV_32F, 1, 0, scale=1 / 32, borderType=cv2.BORDER_REPLICATE)
    slope_y = cv2.Scharr(image, cv2.CV_32F, 0, 1, scale=1 / 32, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(slope_x, dtype=np.float32), np.asarray(slope_y, dtype=np.float32)


def _blend(image: Image, other: NDArray[np.floating], amount: float) -> NDArray[np.floating]:
    return np.asarray(image + np.float32(amount) * (np.clip(other, 0, 1) - image))
