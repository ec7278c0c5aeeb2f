"""What a microscope does to a picture, and the thirteen techniques lack: noise along lines, bad tips, drift, cuts.

Signature and promises as in :mod:`spm_live.training.augment.appearance`. The fast axis runs along the rows.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.training.augment.appearance import Image, on_grey
from spm_live.training.augment.bend import Field, bend
from spm_live.training.augment.outlines import KEEP_VISIBLE, clip
from spm_live.training.labelled import LabelledMolecule, LabelledPicture

OCTAVES = 7
"""1/f noise is summed up from so many octaves of equal power."""


@on_grey
def line_noise(image: Image, rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Shift the height of every row by itself; ``amount`` is the standard deviation."""
    return image + np.float32(amount) * rng.standard_normal((image.shape[0], 1), dtype=np.float32)


@on_grey
def line_dropout(image: Image, rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Lose a part ``amount`` of the rows, at least one, from some column on: they show one height there."""
    rows, columns = image.shape
    lost = rng.permutation(rows)[: max(1, int(rng.binomial(rows, min(amount, 1.0))))]
    changed = image.copy()
    starts = np.where(rng.random(len(lost)) < 0.5, 0, rng.integers(0, columns, len(lost)))
    heights = rng.choice(np.array([0.0, 0.5, 1.0], dtype=np.float32), len(lost))
    for row, start, height in zip(lost.tolist(), starts.tolist(), heights.tolist(), strict=True):
        changed[row, start:] = height
    return changed


@on_grey
def pink_noise(image: Image, rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Add noise of power 1/f along the scan; ``amount`` is its standard deviation.

    Notes
    -----
    Noise of one octave each, interpolated along the line of time and added with equal power, falls as 1/f (Voss and
    Clarke 1978, doi:10.1121/1.381721). The slowest octave lasts about one row, as after levelling row by row.
    """
    rows, columns = image.shape
    total = np.zeros((rows, columns), dtype=np.float32)
    for octave in range(OCTAVES):
        length = max(1, columns >> octave)
        part = rng.standard_normal((rows, length), dtype=np.float32)
        if length < columns:
            part = np.asarray(cv2.resize(part, (columns, rows), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
        total += part
    return image + np.float32(amount / max(float(total.std()), 1e-6)) * total


def drift(picture: LabelledPicture, rng: np.random.Generator, amount: float) -> LabelledPicture:
    """Shear and stretch the picture as steady drift does; ``amount`` is the largest shift, in pixels."""
    rows = picture.image.shape[0]
    turn = rng.uniform(0, 2 * np.pi)
    time = np.linspace(-1, 1, rows, dtype=np.float32)
    # Stretched by a quarter at most: further, and the picture folds.
    along_y = float(np.clip(amount * np.sin(turn), -0.1 * rows, 0.1 * rows))
    return bend(picture, _row_field(picture, amount * np.cos(turn) * time, along_y * time))


def creep(picture: LabelledPicture, rng: np.random.Generator, amount: float) -> LabelledPicture:
    """Bend the first rows as a piezo does that was just moved; ``amount`` is the shift of the very first, in pixels.

    Notes
    -----
    The shift falls as the logarithm of time (Jung and Gweon 2000, doi:10.1063/1.1150334); time is counted in rows.
    """
    rows = picture.image.shape[0]
    time = np.arange(rows, dtype=np.float32)
    begun = rows * rng.uniform(0.08, 0.25)
    left = 1 - np.log1p(time / begun) / np.log1p(rows / begun)
    if rng.random() < 0.5:  # scanned upwards
        left = left[::-1]
    turn = rng.uniform(0, 2 * np.pi)
    along_y = float(np.clip(amount * np.sin(turn), -0.3 * begun, 0.3 * begun))
    return bend(picture, _row_field(picture, amount * np.cos(turn) * left, along_y * left))


def _row_field(picture: LabelledPicture, dx: NDArray[np.floating], dy: NDArray[np.floating]) -> Field:
    columns = picture.image.shape[1]
    wide = np.ones((1, columns), dtype=np.float32)
    return Field(dx.astype(np.float32)[:, None] * wide, dy.astype(np.float32)[:, None] * wide)


@on_grey
def double_tip(image: Image, rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Show everything twice, ``amount`` pixels apart; the second time by a shorter tip, so that it shows where higher.

    Notes
    -----
    Of two tips the nearer one carries the current: the picture is the higher of two, one shifted in place and lowered
    in height. Outlines stay with the first.
    """
    turn, lowered = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.4)
    shift = np.array([[1, 0, amount * np.cos(turn)], [0, 1, amount * np.sin(turn)]])
    second = cv2.warpAffine(image, shift, image.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(np.maximum(image, np.asarray(second) - np.float32(lowered)))


@on_grey
def blunt_tip(image: Image, _rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Feel the surface with a tip of ``amount`` pixels radius: everything high grows by less than that.

    Notes
    -----
    The picture of a surface is its grey dilation by the mirrored tip (Villarrubia 1997, doi:10.6028/jres.102.030);
    here a paraboloid that has fallen by a fifth of the grey scale at its radius. Outlines stay as they are.
    """
    reach = max(1, int(np.ceil(amount)))
    padded = cv2.copyMakeBorder(image, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    rows, columns = image.shape
    felt = image.copy()
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            fall = 0.2 * (down**2 + right**2) / amount**2
            if 0 < fall <= 0.2 * 1.5:
                part = padded[reach + down : reach + down + rows, reach + right : reach + right + columns]
                np.maximum(felt, part - np.float32(fall), out=felt)
    return felt


@on_grey
def scars(image: Image, rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Draw ``amount`` short bright or dark lines along the rows, one or two rows high."""
    rows, columns = image.shape
    changed = image.copy()
    for _ in range(max(1, round(amount))):
        row, column = int(rng.integers(rows)), int(rng.integers(columns))
        length = int(columns * rng.uniform(0.03, 0.5))
        height = np.float32(rng.uniform(0.15, 0.6) * (1 if rng.random() < 0.8 else -1))
        changed[row : row + int(rng.integers(1, 3)), column : column + length] += height
    return changed


@on_grey
def tilt(image: Image, rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Add a plane that rises by ``amount`` over the picture, then fit the grey scale again."""
    turn = rng.uniform(0, 2 * np.pi)
    x = np.linspace(-0.5, 0.5, image.shape[1], dtype=np.float32)[None, :]
    y = np.linspace(-0.5, 0.5, image.shape[0], dtype=np.float32)[:, None]
    return _fitted(image + np.float32(amount) * (np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y))


@on_grey
def step_edge(image: Image, rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Let the surface rise by ``amount`` at a line through the picture, then fit the grey scale again."""
    turn = rng.uniform(0, 2 * np.pi)
    rows, columns = image.shape
    x = np.arange(columns, dtype=np.float32)[None, :] - columns * rng.uniform(0.2, 0.8)
    y = np.arange(rows, dtype=np.float32)[:, None] - rows * rng.uniform(0.2, 0.8)
    beyond = np.float32(np.cos(turn)) * x + np.float32(np.sin(turn)) * y
    rise = np.clip(beyond / np.float32(rng.uniform(1, 6)) + 0.5, 0, 1)
    return _fitted(image + np.float32(amount) * rise)


def partial_scan(picture: LabelledPicture, rng: np.random.Generator, amount: float) -> LabelledPicture:
    """Scan only a part ``amount`` of the rows: the rest is NaN, and molecules cut by the front are cut.

    Scans run downwards or, as often, upwards. What was cut by more than half is ignored.
    """
    rows, columns = picture.image.shape
    done = int(np.clip(round(rows * amount), 1, rows))
    top = 0 if rng.random() < 0.5 else rows - done
    image = np.full_like(picture.image, np.nan)
    image[top : top + done] = picture.image[top : top + done]
    window = (0.0, float(top), float(columns), float(top + done))
    cut = (clip(one, window, KEEP_VISIBLE) if _crosses(one, window) else one for one in picture.molecules)
    return replace(picture, image=image, molecules=tuple(one for one in cut if one is not None))


def _crosses(molecule: LabelledMolecule, window: tuple[float, float, float, float]) -> bool:
    _, y1, _, y2 = molecule.box_px
    return bool(y1 < window[1] or y2 > window[3])


@on_grey
def gamma(image: Image, _rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Bend the grey scale: the power ``amount`` of it."""
    return np.power(image, np.float32(amount))


@on_grey
def restretch(image: Image, rng: np.random.Generator, amount: float) -> NDArray[np.floating]:
    """Fit the grey scale to other quantiles: up to a part ``amount`` of the pixels is cut off at either end."""
    low, high = rng.uniform(0, amount, 2)
    return _fitted(image, float(low), float(high))


def _fitted(image: NDArray[np.floating], low: float = 0.002, high: float = 0.002) -> NDArray[np.floating]:
    """Map the range between two quantiles, of every ninth pixel, to 0 to 1."""
    least, most = np.quantile(image[::3, ::3], [low, 1 - high])
    return (image - np.float32(least)) / np.float32(max(float(most - least), 1e-3))
