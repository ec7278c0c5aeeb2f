"""A sheet that shows what each technique does, outlines drawn, to be looked at before hours of training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.errors import SetupError
from spm_live.training.augment.augmenter import KINDS, Augmenter
from spm_live.training.augment.recipe import AugmentRecipe, Chance, Shares
from spm_live.training.augment.techniques import TECHNIQUES
from spm_live.training.labelled import LabelledPicture

Sheet = NDArray[np.uint8]
"""(rows, columns, 3): red, green, blue."""

ENLARGED = 2
"""Tiles are drawn this many times larger than the pictures, so that outlines do not cover them."""
TITLE_PX = 22
GAP_PX = 6
PAPER, INK = (255, 255, 255), (30, 30, 30)
UNSCANNED = (70, 80, 110)
IGNORED = (170, 170, 170)
# Okabe and Ito's colours, told apart by the colour-blind, too (https://jfly.uni-koeln.de/color/).
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167), (0, 114, 178))
SAMPLES = 6


def preview_sheet(
    pictures: Sequence[LabelledPicture],
    recipe: AugmentRecipe,
    *,
    seed: int = 0,
    size_px: int = 192,
    across: int = 8,
) -> Sheet:
    """Draw a tile of each kind of picture, of each technique, and a few pictures as the recipe makes them.

    Parameters
    ----------
    pictures : sequence of LabelledPicture
    recipe : AugmentRecipe
        Techniques that it leaves out are shown with their usual strength, and their titles say so.
    seed : int
        One seed, one sheet.
    size_px : int
        Rows and columns of a tile's picture; it is drawn twice as large.
    across : int
        Tiles in one row.

    Returns
    -------
    (rows, columns, 3) uint8 array
        Red, green, blue. Outlines in the colour of their class, grey where ignored; what was not scanned is blue.

    Raises
    ------
    SetupError
        If there are no pictures.
    """
    labels = sorted({label for one in pictures for label in one.labels})
    colours = {label: COLOURS[index % len(COLOURS)] for index, label in enumerate(labels)}
    drawn = [_tile(title, picture, colours) for title, picture in _examples(pictures, recipe, seed, size_px)]
    lines = math.ceil(len(drawn) / across)
    high, wide = drawn[0].shape[0] + GAP_PX, drawn[0].shape[1] + GAP_PX
    sheet = np.full((lines * high + GAP_PX, across * wide + GAP_PX, 3), PAPER, dtype=np.uint8)
    for number, tile in enumerate(drawn):
        top, left = GAP_PX + number // across * high, GAP_PX + number % across * wide
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return sheet


def write_preview(pictures: Sequence[LabelledPicture], recipe: AugmentRecipe, path: Path, *, seed: int = 0) -> None:
    """Write the sheet as PNG.

    Raises
    ------
    SetupError
        If there are no pictures, or the file cannot be written.
    """
    _, png = cv2.imencode(".png", np.ascontiguousarray(preview_sheet(pictures, recipe, seed=seed)[..., ::-1]))
    try:
        path.write_bytes(png.tobytes())
    except OSError as error:
        raise SetupError(f"{path}: cannot be written ({error.strerror or error}); give another place") from error


def _examples(
    pictures: Sequence[LabelledPicture], recipe: AugmentRecipe, seed: int, size_px: int
) -> Iterator[tuple[str, LabelledPicture]]:
    size = (size_px, size_px)
    middle = float(np.sqrt(recipe.scale[0] * recipe.scale[1]))
    for kind in KINDS:
        # Mosaics are for small scales.
        scale = recipe.scale[0] if kind == "mosaic" else middle
        alone = recipe.model_copy(update={"techniques": {}, "shares": _only(kind), "scale": (scale, scale)})
        yield f"{kind} x {scale:.2g}", Augmenter(alone, pictures).draw((seed, 0), size)
    upright = {"any_angle": False, "flips": False, "squeeze": (1.0, 1.0), "shear": 0.0, "scale": (1.0, 1.0)}
    still = recipe.model_copy(update={**upright, "techniques": {}, "shares": _only("plain")})
    window = Augmenter(still, pictures).draw((seed, 1), size)
    yield "as labelled", window
    for name, technique in TECHNIQUES.items():
        usual = Chance(probability=0.0, low=technique.low, high=technique.high)
        chance = recipe.techniques.get(name, usual)
        amount = chance.low + 0.8 * (chance.high - chance.low)
        left_out = "" if chance.probability > 0 else " (not used)"
        changed = technique.apply(window, np.random.default_rng((seed, 2)), amount)
        yield f"{name} {amount:.2g}{left_out}", changed
    augmenter = Augmenter(recipe, pictures)
    for number in range(SAMPLES):
        yield f"made {number + 1}", augmenter.draw((seed, 3, number), size)


def _only(kind: str) -> Shares:
    return Shares(**{other: float(other == kind) for other in KINDS})


def _tile(title: str, picture: LabelledPicture, colours: dict[str, tuple[int, int, int]]) -> Sheet:
    missing = np.isnan(picture.image)
    grey = np.round(np.clip(np.nan_to_num(picture.image, nan=0.0), 0, 1) * 255).astype(np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=2)
    colour[missing] = UNSCANNED
    large = np.ascontiguousarray(np.repeat(np.repeat(colour, ENLARGED, axis=0), ENLARGED, axis=1))
    for one in picture.molecules:
        pen = IGNORED if one.ignore else colours.get(one.label, IGNORED)
        # Edge coordinates less one half are OpenCV's pixel centres; it takes sixteenths of a pixel.
        lines = [np.round((ring * ENLARGED - 0.5) * 16).astype(np.int32) for ring in one.rings]
        cv2.polylines(large, lines, True, pen, 1, cv2.LINE_AA, 4)
    head = np.full((TITLE_PX, large.shape[1], 3), PAPER, dtype=np.uint8)
    cv2.putText(head, title, (3, TITLE_PX - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.48, INK, 1, cv2.LINE_AA)
    return np.concatenate([head, large])
