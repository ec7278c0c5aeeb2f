"""Draws a frame with the outlines of its molecules, a scale bar and a legend."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live.publish.exporters.files import frame_stem, write_whole

Canvas = NDArray[np.uint8]
"""(rows, columns, 3), blue first, as OpenCV has it."""
PALETTE = ("#56b4e9", "#e69f00", "#cc79a7", "#f0e442", "#009e73", "#d55e00", "#6f8fff")
"""Colours of the classes, in the order of their names; the same as the viewer's."""
LEAST_SIDE, LARGEST_SIDE = 800, 2048
"""The longer side of the drawn frame, in px: small frames are enlarged until text is legible, whatever their size."""
LEAST_WIDTH = 320
"""The legend needs this much, in px."""
GROUND, INK = (0x13, 0x11, 0x0F), (0xE4, 0xE9, 0xEB)
UNSCANNED = (0x50, 0x40, 0x38)
BAR_PART = 0.28
"""The scale bar is the longest round length of at most this part of the width."""


def export_pictures(frames: Iterable[Mapping[str, Any]], preview: Callable[[int], bytes | None], out: Path) -> int:
    """Write an annotated PNG for each frame.

    Parameters
    ----------
    frames : iterable of dict
        Full frame messages; one whose picture is not stored any more is left out.
    preview : callable
        Gives the stored picture of a frame.
    out : Path
        Folder.

    Returns
    -------
    int
        How many frames.
    """
    done = 0
    for message in frames:
        png = preview(message["id"])
        if png is not None:
            path = out / f"{frame_stem(message['id'], message['name'])}.png"
            write_whole(path, draw_annotated(message, png))
            done += 1
    return done


def draw_annotated(message: Mapping[str, Any], png: bytes) -> bytes:
    """Draw one frame.

    Parameters
    ----------
    message : dict
        A full frame message.
    png : bytes
        The frame's preview: grey, 0 where not scanned.

    Returns
    -------
    bytes
        PNG in colour. Pixels are stretched until a nm is as long upwards as sideways; below the frame stand its name,
        the scale bar and, for every class, its colour, its count and how many of these are cut by the border.
    """
    canvas, scale_x, scale_y = _enlarged(message, png)
    height, width = canvas.shape[:2]
    style = _Style(max(0.42, min(0.9, max(height, width) / 1300)))
    labels = sorted(message["counts"])
    colours = {label: _bgr(PALETTE[index % len(PALETTE)]) for index, label in enumerate(labels)}
    for molecule in message["molecules"]:
        _outline(canvas, molecule, colours.get(molecule["label"], INK), scale_x, scale_y, style)
    panel = _panel(message, max(width, LEAST_WIDTH), message["size_nm"][0] / width, colours, style)
    whole = np.full((height + panel.shape[0], panel.shape[1], 3), GROUND, dtype=np.uint8)
    whole[:height, :width] = canvas
    whole[height:] = panel
    return bytes(cv2.imencode(".png", whole, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1])


@dataclass(frozen=True, slots=True)
class _Style:
    """Sizes that follow from the size of the text."""

    text: float

    @property
    def line(self) -> int:
        """Height of a line of text, in px."""
        return round(34 * self.text)

    @property
    def stroke(self) -> int:
        """Width of a line, in px."""
        return max(2, round(3 * self.text))

    def width(self, text: str) -> int:
        """Width of a text, in px."""
        return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, self.text, 1)[0][0])

    def write(self, canvas: Canvas, text: str, x: int, baseline: int, colour: tuple[int, int, int]) -> None:
        cv2.putText(canvas, text, (x, baseline), cv2.FONT_HERSHEY_SIMPLEX, self.text, colour, 1, cv2.LINE_AA)


def _enlarged(message: Mapping[str, Any], png: bytes) -> tuple[Canvas, float, float]:
    """The frame with square pixels in a legible size, and drawn pixels per frame pixel along x and y."""
    grey = cv2.imdecode(np.frombuffer(png, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise ValueError(f"the stored picture of frame {message['id']} is damaged")
    width_nm, height_nm = message["size_nm"]
    longer = min(LARGEST_SIDE, max(LEAST_SIDE, *grey.shape))
    px_per_nm = longer / max(width_nm, height_nm)
    width, height = max(1, round(width_nm * px_per_nm)), max(1, round(height_nm * px_per_nm))
    # Doubled pixels stay what they are; only a shrunk axis is averaged.
    smaller = width < grey.shape[1] or height < grey.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_NEAREST
    drawn = cv2.resize(grey, (width, height), interpolation=how)
    canvas = np.repeat(np.asarray(drawn, dtype=np.uint8)[:, :, None], 3, axis=2)
    canvas[drawn == 0] = UNSCANNED
    return canvas, width / message["columns"], height / message["rows"]


def _outline(
    canvas: Canvas,
    molecule: Mapping[str, Any],
    colour: tuple[int, int, int],
    scale_x: float,
    scale_y: float,
    style: _Style,
) -> None:
    if len(molecule["outline_px"]) < 2:
        return
    # OpenCV draws in pixels whose centres are whole numbers; "shift" gives it sixteenths of them.
    points = (np.asarray(molecule["outline_px"]) + 0.5) * (scale_x, scale_y) - 0.5
    fixed = [np.rint(points * 16).astype(np.int32)]
    cv2.polylines(canvas, fixed, True, (0, 0, 0), style.stroke + 2, cv2.LINE_AA, 4)
    cv2.polylines(canvas, fixed, True, colour, style.stroke, cv2.LINE_AA, 4)


def _panel(
    message: Mapping[str, Any],
    width: int,
    nm_per_px: float,
    colours: Mapping[str, tuple[int, int, int]],
    style: _Style,
) -> Canvas:
    """Title, scale bar and legend, as many lines as they need."""
    gap = style.line // 2
    legend = [(label, _legend(label, message["counts"][label])) for label in colours]
    places, lines = _flow([style.line + gap + style.width(text) for _, text in legend], width - 2 * gap, 2 * gap)
    panel = np.full(((lines + 2) * style.line + 3 * gap, width, 3), GROUND, dtype=np.uint8)
    baseline = style.line
    style.write(panel, _fitted(_title(message), width - 2 * gap, style), gap, baseline, INK)
    baseline += style.line
    _scale_bar(panel, nm_per_px, gap, baseline, style)
    for (label, text), (x, line) in zip(legend, places, strict=True):
        y = baseline + gap + (line + 1) * style.line
        side = style.line // 2
        cv2.rectangle(panel, (gap + x, y - side), (gap + x + side, y), colours[label], -1)
        style.write(panel, text, gap + x + side + gap // 2, y, INK)
    return panel


def _scale_bar(panel: Canvas, nm_per_px: float, x: int, baseline: int, style: _Style) -> None:
    length_nm = round_length(BAR_PART * panel.shape[1] * nm_per_px)
    end = x + max(1, round(length_nm / nm_per_px))
    thick = max(3, style.line // 5)
    cv2.rectangle(panel, (x, baseline - thick - style.line // 6), (end - 1, baseline - style.line // 6), INK, -1)
    style.write(panel, _length(length_nm), end + style.line // 2, baseline, INK)


def round_length(limit_nm: float) -> float:
    """The longest length of 1, 2 or 5 times a power of ten that is not over a limit.

    Examples
    --------
    >>> round_length(27.0), round_length(0.19)
    (20.0, 0.1)
    """
    power = 10.0 ** math.floor(math.log10(limit_nm))
    return max(step * power for step in (1.0, 2.0, 5.0) if step * power <= limit_nm)


def _flow(widths: list[int], room: int, gap: int) -> tuple[list[tuple[int, int]], int]:
    """Places (x, line) of things set side by side until a line is full, and how many lines that makes."""
    places: list[tuple[int, int]] = []
    x = line = 0
    for width in widths:
        if x and x + width > room:
            x, line = 0, line + 1
        places.append((x, line))
        x += width + gap
    return places, line + 1 if widths else 0


def _legend(label: str, count: Mapping[str, Any]) -> str:
    edge = f" ({count['edge']} at the edge)" if count["edge"] else ""
    return _ascii(f"{label} {count['total']}{edge}")


def _title(message: Mapping[str, Any]) -> str:
    width_nm, height_nm = message["size_nm"]
    partial = f", {message['complete_rows']} of {message['rows']} rows" if message["partial"] else ""
    return _ascii(f"{message['name']}  {width_nm:.4g} x {height_nm:.4g} nm{partial}")


def _fitted(text: str, room: int, style: _Style) -> str:
    while style.width(text) > room and len(text) > 4:
        text = text[:-4] + "..."
    return text


def _length(length_nm: float) -> str:
    return (
        f"{length_nm / 1000:g} um"
        if length_nm >= 1000
        else f"{length_nm:g} nm"
        if length_nm >= 1
        else (f"{length_nm * 1000:g} pm")
    )


def _ascii(text: str) -> str:
    """What the stroke font has: letters without their accents, a question mark for the rest."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "replace").decode("ascii")


def _bgr(colour: str) -> tuple[int, int, int]:
    return int(colour[5:7], 16), int(colour[3:5], 16), int(colour[1:3], 16)
