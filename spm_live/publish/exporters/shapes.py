"""Molecules as polygons in the pixels of an exported picture."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Picture:
    """A stored preview, and how frame pixels become its pixels.

    Previews of large frames are smaller than the frame. The coordinates given here are those of COCO and labelme:
    continuous, with (0, 0) at the upper left corner of the upper left pixel, not at its centre.
    """

    png: bytes
    width: int
    height: int
    scale_x: float
    scale_y: float

    def polygon(self, molecule: Mapping[str, Any]) -> list[tuple[float, float]]:
        """The outline of a molecule, kept inside the picture."""
        return [
            (
                min(max((x + 0.5) * self.scale_x, 0.0), float(self.width)),
                min(max((y + 0.5) * self.scale_y, 0.0), float(self.height)),
            )
            for x, y in molecule["outline_px"]
        ]

    def box(self, molecule: Mapping[str, Any]) -> tuple[float, float, float, float]:
        """x, y, width and height of a molecule's box."""
        x1, y1, x2, y2 = molecule["box_px"]
        return x1 * self.scale_x, y1 * self.scale_y, (x2 - x1) * self.scale_x, (y2 - y1) * self.scale_y


def picture_of(message: Mapping[str, Any], png: bytes) -> Picture:
    """Measure a preview: its size stands in the IHDR chunk, bytes 16 to 24 of every PNG file."""
    width, height = struct.unpack(">II", png[16:24])
    return Picture(png, width, height, width / message["columns"], height / message["rows"])
