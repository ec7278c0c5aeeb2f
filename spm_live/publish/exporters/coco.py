"""Exports a COCO data set: the pictures, and one JSON file with every molecule as a polygon."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TextIO

from spm_live import __version__
from spm_live.publish.exporters.files import frame_stem, whole_text, write_whole
from spm_live.publish.exporters.shapes import Picture, picture_of

MIN_CORNERS = 3


def export_coco(frames: Iterable[Mapping[str, Any]], preview: Callable[[int], bytes | None], out: Path) -> int:
    """Write ``annotations.json`` and ``images/``.

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

    Notes
    -----
    Format: https://cocodataset.org/#format-data, object detection. A molecule may have holes in its mask that a polygon
    cannot tell, so ``area`` is that of the mask. ``score`` is added, as in COCO's results; ``nm_per_px`` is ours.
    """
    with whole_text(out / "annotations.json") as file, TemporaryFile("w+", encoding="utf-8", dir=out) as molecules:
        file.write(f'{{"info": {json.dumps({"description": "spm-live", "version": __version__})}, "licenses": [],')
        file.write('\n"images": [')
        dataset = _Dataset(file, molecules)
        for message in frames:
            png = preview(message["id"])
            if png is not None:
                name = f"images/{frame_stem(message['id'], message['name'])}.png"
                write_whole(out / name, png)
                dataset.add(message, name, picture_of(message, png))
        file.write('\n],\n"annotations": [')
        molecules.seek(0)
        shutil.copyfileobj(molecules, file)
        file.write(f'\n],\n"categories": {json.dumps(dataset.categories())}}}\n')
    return dataset.images


class _Dataset:
    """Streams images to one file and annotations to another, and numbers the classes as they come."""

    def __init__(self, images: TextIO, annotations: TextIO) -> None:
        self._file = images
        self._annotations = annotations
        self._numbers: dict[str, int] = {}
        self.images = 0
        self._annotations_written = 0

    def add(self, message: Mapping[str, Any], name: str, picture: Picture) -> None:
        self._file.write(",\n" if self.images else "\n")
        self.images += 1
        image = {
            "id": message["id"],
            "file_name": name,
            "width": picture.width,
            "height": picture.height,
            "date_captured": message["started"] or "",
            "nm_per_px": [message["nm_per_px"][0] / picture.scale_x, message["nm_per_px"][1] / picture.scale_y],
        }
        self._file.write(json.dumps(image))
        for label in message["counts"]:
            self._number(label)
        for molecule in message["molecules"]:
            self._add_molecule(message, molecule, picture)

    def categories(self) -> list[dict[str, Any]]:
        return [{"id": number, "name": label, "supercategory": "molecule"} for label, number in self._numbers.items()]

    def _number(self, label: str) -> int:
        return self._numbers.setdefault(label, len(self._numbers) + 1)

    def _add_molecule(self, message: Mapping[str, Any], molecule: Mapping[str, Any], picture: Picture) -> None:
        polygon = picture.polygon(molecule)
        pixel_nm2 = message["nm_per_px"][0] * message["nm_per_px"][1] / (picture.scale_x * picture.scale_y)
        self._annotations.write(",\n" if self._annotations_written else "\n")
        self._annotations_written += 1
        annotation = {
            "id": self._annotations_written,
            "image_id": message["id"],
            "category_id": self._number(molecule["label"]),
            "segmentation": [[round(value, 3) for point in polygon for value in point]]
            if len(polygon) >= MIN_CORNERS
            else [],
            "bbox": [round(value, 3) for value in picture.box(molecule)],
            "area": molecule["area_nm2"] / pixel_nm2,
            "iscrowd": 0,
            "score": molecule["score"],
        }
        self._annotations.write(json.dumps(annotation))
