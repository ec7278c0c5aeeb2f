"""Pictures to learn from: drawn scans, prepared by the very code that prepares real ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spm_live.domain import Frame, FrameInfo, FrameRef, InputSpec, ModelInput, Trace
from spm_live.prepare import prepare
from spm_live.training.first_model.network import DEEPEST
from spm_live.training.first_model.targets import targets
from spm_live_drivers.synthetic import SyntheticScan, draw_scan

BORDER = 12
"""A window may reach this far beyond the prepared picture, in model pixels, as a tile does."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What frames to draw.

    Parameters
    ----------
    crop : int
        Rows and columns of an example, in model pixels; a multiple of 16.
    side_nm : (float, float)
        Range of the width of a frame, in nm.
    pitch_nm : (float, float)
        Range of the pixel pitch of a frame, in nm.
    crops_per_frame : int
        Windows cut from one frame.
    """

    crop: int = 192
    side_nm: tuple[float, float] = (9.0, 40.0)
    pitch_nm: tuple[float, float] = (0.035, 0.17)
    crops_per_frame: int = 2

    def __post_init__(self) -> None:
        if self.crop % DEEPEST:
            raise ValueError(f"examples of {self.crop} px; the network needs a multiple of {DEEPEST}")


def frame_of(scan: SyntheticScan, name: str = "drawn") -> Frame:
    """Give a drawn scan the shape that a reader gives a file."""
    ref = FrameRef(source=name, sha256="", channel="Z", trace=Trace.FORWARD)
    info = FrameInfo(
        ref=ref,
        geometry=scan.geometry,
        unit="m",
        direction=scan.direction,
        complete_rows=scan.geometry.rows,
        format="drawn",
    )
    return Frame(info, scan.heights)


def draw_training_scan(seed: tuple[int, ...], recipe: Recipe) -> SyntheticScan:
    """Draw a frame of random size, pitch and shape."""
    rng = np.random.default_rng((*seed, 1))
    side = rng.uniform(*recipe.side_nm)
    pitch = float(np.exp(rng.uniform(*np.log(recipe.pitch_nm))))
    columns = int(np.clip(side / pitch, 64, 360))
    rows = int(np.clip(columns * rng.choice([1.0, 0.5, 0.75], p=[0.8, 0.1, 0.1]), 64, 360))
    # Pixels of real frames are now and then not square.
    squeeze = rng.uniform(0.8, 1.25) if rng.random() < 0.15 else 1.0
    return draw_scan(seed, rows=rows, columns=columns, size_nm=(columns * pitch, rows * pitch * squeeze))


def batch(
    seed: tuple[int, ...], size: int, recipe: Recipe, spec: InputSpec
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw one batch.

    Parameters
    ----------
    seed : tuple of int
        One seed, one batch.
    size : int
        Number of examples.
    recipe : Recipe
        What to draw.
    spec : InputSpec
        What the model will be shown.

    Returns
    -------
    pictures : (size, crop, crop, 1) float32 array
        0 to 1.
    wanted : (size, crop / 2, crop / 2, channels) float32 array
        :meth:`spm_live.training.first_model.targets.Targets.stacked`.
    """
    pictures: list[NDArray[np.float32]] = []
    wanted: list[NDArray[np.float32]] = []
    number = 0
    while len(pictures) < size:
        rng = np.random.default_rng((*seed, number))
        scan = draw_training_scan((*seed, number), recipe)
        shown = prepare(frame_of(scan), spec)
        number += 1
        # A second window of a frame hardly larger than a window would be the same picture again.
        room = shown.letterbox.rows * shown.letterbox.columns > 2 * recipe.crop**2
        for _ in range(min(recipe.crops_per_frame if room else 1, size - len(pictures))):
            picture, window = _cut(rng, shown, recipe.crop)
            pictures.append(_vary(rng, picture))
            wanted.append(targets(scan, shown.letterbox, window).stacked())
    return np.stack(pictures)[..., None], np.stack(wanted)


def _cut(
    rng: np.random.Generator, shown: ModelInput, crop: int
) -> tuple[NDArray[np.float32], tuple[int, int, int, int]]:
    """Cut a window out of a tile; where it reaches beyond, it is 0 as in a padded tile."""
    index = int(rng.integers(len(shown.tiles)))
    tile, origin = shown.tiles[index], shown.origins[index]
    filled = (
        min(tile.shape[0], shown.letterbox.rows - int(origin[0])),
        min(tile.shape[1], shown.letterbox.columns - int(origin[1])),
    )
    corner = [int(rng.integers(-BORDER, max(-BORDER, size - crop + BORDER) + 1)) for size in filled]
    window = np.zeros((crop, crop), dtype=np.float32)
    source = [slice(max(0, start), max(0, min(size, start + crop))) for start, size in zip(corner, filled, strict=True)]
    part = tile[source[0], source[1]]
    row, column = (max(0, -start) for start in corner)
    window[row : row + part.shape[0], column : column + part.shape[1]] = part
    return window, (int(origin[0]) + corner[0], int(origin[1]) + corner[1], crop, crop)


def _vary(rng: np.random.Generator, picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bend the grey scale, and add the grain of a real picture. What was not scanned stays 0."""
    varied = picture
    if rng.random() < 0.5:
        varied = varied ** np.float32(np.exp(rng.uniform(-0.45, 0.45)))
    if rng.random() < 0.3:
        noise = rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(rng.uniform(0.0, 0.04))
        varied = np.clip(varied + noise, 0, 1)
    return np.where(picture > 0, varied, np.float32(0))
