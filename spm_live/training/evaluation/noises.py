"""Disturbances that a model is tried on: few, fixed, and never learnt from here.

Each one works on grey levels, where 0 and 1 are the quantiles 0.005 and 0.995 of the picture, and leaves every molecule
where it is. Lengths are measured by the molecules, so that a level means the same at any resolution. Pixels that were
not scanned stay so.

The augmentations of :mod:`spm_live.training.augment` are not used: a model is not judged by the very program that it
has learnt from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.training.evaluation.resolution import molecule_px
from spm_live.training.labelled import LabelledPicture

Image = NDArray[np.float32]
RANGE = (0.005, 0.995)
"""Quantiles of a picture that disturbances take for 0 and 1: a wild pixel does not set the scale."""
Change = Callable[[Image, float, np.random.Generator], NDArray[np.floating]]
Disturb = Callable[[LabelledPicture, float, np.random.Generator], LabelledPicture]


@dataclass(frozen=True, slots=True)
class Noise:
    """A disturbance, and how strongly it is tried.

    Parameters
    ----------
    name : str
        What people call it.
    unit : str
        What a level is.
    levels : tuple of float
        Rising.
    disturb : callable
        Disturbs a picture by a level.
    """

    name: str
    unit: str
    levels: tuple[float, ...]
    disturb: Disturb


def _on_image(change: Change, *, in_molecules: bool = False) -> Disturb:
    """Lift a change of grey levels to pictures in any unit; holes are filled by the median for it and stay holes.

    With ``in_molecules`` a level is a length, as a part of the size of a molecule; ``change`` is told it in pixels.
    """

    def disturb(picture: LabelledPicture, level: float, rng: np.random.Generator) -> LabelledPicture:
        scanned = np.isfinite(picture.image)
        if not scanned.any():
            return picture
        low, middle, high = np.quantile(picture.image[scanned].astype(np.float64), [RANGE[0], 0.5, RANGE[1]])
        span = (high - low) or 1.0
        grey = (np.where(scanned, picture.image, middle) - low) / span
        amount = level * _size_px(picture) if in_molecules else level
        changed = change(grey.astype(np.float32), amount, rng) * span + low
        return replace(picture, image=np.where(scanned, changed, np.nan).astype(np.float32))

    return disturb


def _size_px(picture: LabelledPicture) -> float:
    """Size of its molecules; without any, a tenth of its shorter side."""
    return molecule_px([picture]) if picture.labels else min(picture.image.shape) / 10


def white(image: Image, level: float, rng: np.random.Generator) -> NDArray[np.floating]:
    """Add Gaussian noise to each pixel; ``level`` is its standard deviation."""
    return image + level * rng.standard_normal(image.shape)


def pink(image: Image, level: float, rng: np.random.Generator) -> NDArray[np.floating]:
    """Add noise of power 1/f along the scan, line after line in time; ``level`` is its standard deviation."""
    rough = np.fft.rfft(rng.standard_normal(image.size))
    rough[0] = 0.0
    rough[1:] /= np.sqrt(np.arange(1, len(rough)))
    noise = np.fft.irfft(rough, image.size).reshape(image.shape)
    return image + level * noise / max(float(noise.std()), 1e-12)


def lines(image: Image, level: float, rng: np.random.Generator) -> NDArray[np.floating]:
    """Shift every row by a random height; ``level`` is its standard deviation."""
    return image + level * rng.standard_normal((image.shape[0], 1))


def scars(image: Image, level: float, rng: np.random.Generator) -> NDArray[np.floating]:
    """Replace stretches of rows by a constant height; ``level`` is the part of all rows that has one."""
    result = image.copy()
    for row in np.flatnonzero(rng.random(image.shape[0]) < level).tolist():
        length = max(1, int(image.shape[1] * rng.uniform(0.1, 0.5)))
        start = int(rng.integers(0, image.shape[1] - length + 1))
        result[row, start : start + length] = rng.uniform(0.0, 1.0)
    return result


def dropout(image: Image, level: float, rng: np.random.Generator) -> NDArray[np.floating]:
    """Set pixels to the lowest or the highest value; ``level`` is the part of all pixels."""
    struck = rng.random(image.shape) < level
    return np.where(struck, rng.integers(0, 2, image.shape), image)


def blur(image: Image, level: float, _rng: np.random.Generator) -> NDArray[np.floating]:
    """Blur; ``level`` is the standard deviation of the Gaussian, in pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), level, borderType=cv2.BORDER_REFLECT_101), dtype=np.float32)


def blunt(image: Image, level: float, _rng: np.random.Generator) -> NDArray[np.floating]:
    """Feel the surface with a flat tip: the highest point within ``level`` pixels (Villarrubia 1997, grey dilation)."""
    reach = int(np.ceil(level))
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(cv2.dilate(image, (x**2 + y**2 <= level**2).astype(np.uint8)), dtype=np.float32)


def double_tip(image: Image, level: float, rng: np.random.Generator) -> NDArray[np.floating]:
    """Show everything again, ``level`` pixels away in a random direction and lower by 0.2, where it is then higher."""
    angle = rng.uniform(0, 2 * np.pi)
    matrix = np.array([[1, 0, level * np.cos(angle)], [0, 1, level * np.sin(angle)]])
    again = cv2.warpAffine(image, matrix, image.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    higher: NDArray[np.float32] = np.maximum(image, np.asarray(again, dtype=np.float32) - np.float32(0.2))
    return higher


def tilt(image: Image, level: float, rng: np.random.Generator) -> NDArray[np.floating]:
    """Add a plane of random direction; ``level`` is its height over the picture."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = (np.linspace(-0.5, 0.5, size) for size in image.shape)
    plane: NDArray[np.float64] = np.cos(angle) * x[None] + np.sin(angle) * y[:, None]
    return image + level * plane


def flatten_contrast(image: Image, level: float, _rng: np.random.Generator) -> NDArray[np.floating]:
    """Bend the scale of heights as a saturating display does; ``level`` is the exponent of the grey levels."""
    return np.clip(image, 0, 1) ** level


NOISES: tuple[Noise, ...] = (
    Noise("white noise", "standard deviation / range", (0.02, 0.05, 0.1), _on_image(white)),
    Noise("1/f noise", "standard deviation / range", (0.02, 0.05, 0.1), _on_image(pink)),
    Noise("line noise", "standard deviation / range", (0.05, 0.1, 0.2), _on_image(lines)),
    Noise("scars", "part of the rows", (0.05, 0.1, 0.2), _on_image(scars)),
    Noise("dropout", "part of the pixels", (0.01, 0.03, 0.1), _on_image(dropout)),
    Noise("blur", "standard deviation / molecule", (0.05, 0.1, 0.2), _on_image(blur, in_molecules=True)),
    Noise("blunt tip", "radius / molecule", (0.05, 0.1, 0.2), _on_image(blunt, in_molecules=True)),
    Noise("double tip", "distance / molecule", (0.1, 0.2, 0.4), _on_image(double_tip, in_molecules=True)),
    Noise("tilt", "height / range", (0.5, 1.0, 2.0), _on_image(tilt)),
    Noise("contrast", "exponent", (0.6, 1.5, 2.2), _on_image(flatten_contrast)),
)
"""What every model is tried on, with the same levels, so that models can be compared."""
