"""Exports a JSON file and a picture for every frame, to be opened, looked through and corrected in labelme."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from spm_live.publish.exporters.files import frame_stem, write_whole
from spm_live.publish.exporters.shapes import Picture, picture_of

FORMAT_VERSION = "5.0.1"
"""Version of labelme whose files look like these; it warns about another major number only."""


def export_labelme(frames: Iterable[Mapping[str, Any]], preview: Callable[[int], bytes | None], out: Path) -> int:
    """Write a ``.json`` and a ``.png`` for each frame.

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
        if png is None:
            continue
        stem = frame_stem(message["id"], message["name"])
        write_whole(out / f"{stem}.png", png)
        content = _annotated(message, picture_of(message, png), f"{stem}.png")
        write_whole(out / f"{stem}.json", json.dumps(content, indent=1).encode("utf-8"))
        done += 1
    return done


def _annotated(message: Mapping[str, Any], picture: Picture, image: str) -> dict[str, Any]:
    shapes = []
    for molecule in message["molecules"]:
        polygon = picture.polygon(molecule)
        if len(polygon) >= 3:
            shapes.append(
                {
                    "label": molecule["label"],
                    "points": [[round(x, 3), round(y, 3)] for x, y in polygon],
                    "group_id": None,
                    "description": f"score {molecule['score']:.3f}",
                    "shape_type": "polygon",
                    "flags": {},
                }
            )
    return {
        "version": FORMAT_VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": image,
        "imageData": None,
        "imageHeight": picture.height,
        "imageWidth": picture.width,
    }
