"""Draws labelled pictures on a sheet, outlines in the colour of their class, to be looked through by a person."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.errors import SetupError
from spm_live.training.labelled import LabelledPicture

Sheet = NDArray[np.uint8]
"""(rows, columns, 3), blue, green, red."""

CELL_PX = 640
"""Longest side of a picture on the sheet; smaller pictures are enlarged by whole numbers."""
PER_SHEET = 12
TITLE_PX = 26
LEGEND_PX = 30
GAP_PX = 10
PAPER = (255, 255, 255)
INK = (40, 40, 40)
IGNORED = (160, 160, 160)
UNSCANNED = (160, 125, 96)
FONT = cv2.FONT_HERSHEY_SIMPLEX
# Okabe and Ito's colours, told apart by the colour-blind, too (https://jfly.uni-koeln.de/color/); here as B, G, R.
COLOURS = (
    (0, 159, 230),
    (233, 180, 86),
    (115, 158, 0),
    (66, 228, 240),
    (178, 114, 0),
    (0, 94, 213),
    (167, 121, 204),
)


def colours_of(classes: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """A colour for each class: blue, green, red, 0 to 255."""
    return {label: COLOURS[index % len(COLOURS)] for index, label in enumerate(classes)}


def draw_sheet(pictures: Sequence[LabelledPicture], classes: Sequence[str]) -> Sheet:
    """Draw pictures side by side under a legend of the classes.

    Parameters
    ----------
    pictures : sequence of LabelledPicture
        At least one; all on one sheet.
    classes : sequence of str
        In the order of their colours.

    Returns
    -------
    (rows, columns, 3) uint8 array
        Blue, green, red.
    """
    colours = colours_of(classes)
    cells = [_cell(picture, colours) for picture in pictures]
    across = math.ceil(math.sqrt(len(cells)))
    lines = [cells[start : start + across] for start in range(0, len(cells), across)]
    width = max(sum(cell.shape[1] + GAP_PX for cell in line) for line in lines) + GAP_PX
    legend = _legend(pictures, colours, width)
    bands = [legend]
    for line in lines:
        band = np.full((max(cell.shape[0] for cell in line) + GAP_PX, width, 3), PAPER, dtype=np.uint8)
        left = GAP_PX
        for cell in line:
            band[: cell.shape[0], left : left + cell.shape[1]] = cell
            left += cell.shape[1] + GAP_PX
        bands.append(band)
    return np.concatenate(bands)


def write_sheets(pictures: Sequence[LabelledPicture], classes: Sequence[str], path: Path) -> tuple[Path, ...]:
    """Draw as many sheets as it takes.

    Parameters
    ----------
    pictures, classes
        As in :func:`draw_sheet`.
    path : Path
        The first sheet, a PNG; the others have a number after the stem.

    Returns
    -------
    tuple of Path
        What was written.

    Raises
    ------
    SetupError
        If a file cannot be written.
    """
    written: list[Path] = []
    for number, start in enumerate(range(0, len(pictures), PER_SHEET), 1):
        place = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        _, png = cv2.imencode(".png", draw_sheet(pictures[start : start + PER_SHEET], classes))
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(png.tobytes())
        except OSError as error:
            raise SetupError(f"{place}: the contact sheet cannot be written ({error.strerror or error})") from error
        written.append(place)
    return tuple(written)


def _cell(picture: LabelledPicture, colours: dict[str, tuple[int, int, int]]) -> Sheet:
    """One picture with its outlines and a title above it."""
    canvas, factor = _enlarged(picture.image)
    for one in picture.molecules:
        colour = IGNORED if one.ignore else colours.get(one.label, IGNORED)
        corners = [np.round((ring * factor - 0.5) * 16).astype(np.int32) for ring in one.rings]
        cv2.polylines(canvas, corners, True, (0, 0, 0), 3, cv2.LINE_AA, shift=4)
        cv2.polylines(canvas, corners, True, colour, 2, cv2.LINE_AA, shift=4)
    rows, columns = picture.image.shape
    scale = f", {picture.nm_per_px:.3g} nm/px" if picture.nm_per_px else ""
    count = sum(not one.ignore for one in picture.molecules)
    title = _plain(f"{picture.name}  {columns} x {rows} px{scale}, {count} molecules")
    width = max(canvas.shape[1], cv2.getTextSize(title, FONT, 0.45, 1)[0][0])
    cell = np.full((canvas.shape[0] + TITLE_PX, width, 3), PAPER, dtype=np.uint8)
    cell[TITLE_PX:, : canvas.shape[1]] = canvas
    cv2.putText(cell, title, (0, TITLE_PX - 9), FONT, 0.45, INK, 1, cv2.LINE_AA)
    return cell


def _enlarged(image: NDArray[np.float32]) -> tuple[Sheet, float]:
    """The picture in grey and at a size to look at, and by what it was enlarged."""
    missing = np.isnan(image)
    grey = np.where(missing, np.float32(0), np.clip(image, 0, 1) * np.float32(255)).astype(np.uint8)
    canvas = np.repeat(grey[:, :, None], 3, axis=2)
    canvas[missing] = UNSCANNED
    factor = CELL_PX / max(image.shape)
    if factor > 1:
        factor = float(int(factor))
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_NEAREST
    return np.ascontiguousarray(cv2.resize(canvas, size, interpolation=how), dtype=np.uint8), factor


def _legend(pictures: Sequence[LabelledPicture], colours: dict[str, tuple[int, int, int]], width: int) -> Sheet:
    counts = Counter(one.label for picture in pictures for one in picture.molecules if not one.ignore)
    entries = [(f"{label} ({counts[label]})", colour) for label, colour in colours.items()]
    ignored = sum(one.ignore for picture in pictures for one in picture.molecules)
    if ignored:
        entries.append((f"ignored ({ignored})", IGNORED))
    places: list[tuple[int, int]] = []
    left, line = GAP_PX, 0
    for text, _ in entries:
        needed = 34 + cv2.getTextSize(_plain(text), FONT, 0.5, 1)[0][0] + 2 * GAP_PX
        if left > GAP_PX and left + needed > width:
            left, line = GAP_PX, line + 1
        places.append((left, line))
        left += needed
    legend = np.full(((line + 1) * LEGEND_PX, width, 3), PAPER, dtype=np.uint8)
    for (text, colour), (x, row) in zip(entries, places, strict=True):
        y = row * LEGEND_PX
        cv2.rectangle(legend, (x, y + 8), (x + 24, y + 22), colour, -1)
        cv2.putText(legend, _plain(text), (x + 34, y + 20), FONT, 0.5, INK, 1, cv2.LINE_AA)
    return legend


def _plain(text: str) -> str:
    """Text in the letters that OpenCV can draw."""
    return text.encode("ascii", "replace").decode("ascii")
