"""Reads COCO data sets: one JSON file for many pictures (https://cocodataset.org/#format-data, object detection)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from spm_live.training.data.claims import (
    ClaimedMolecule,
    ClaimedPicture,
    Piece,
    is_number,
    points_of,
    rectangle_ring,
    whole_number,
)
from spm_live.training.data.problem import ProblemLog
from spm_live.training.data.rle import decode_runs
from spm_live.training.labelled import rings_of

FOLDERS = ("", "images", "../images")
"""Where the pictures of a data set lie, relative to its JSON file."""


def is_coco(content: object) -> bool:
    """Whether a JSON value is a COCO data set."""
    return isinstance(content, dict) and isinstance(content.get("images"), list) and "annotations" in content


def read_coco(path: Path, content: Mapping[str, Any], log: ProblemLog) -> list[ClaimedPicture]:
    """Read every picture of a data set.

    Parameters
    ----------
    path : Path
        The JSON file.
    content : dict
        Its JSON; :func:`is_coco` holds.
    log : ProblemLog
        Takes what is wrong; what cannot be read is left out of the result. Molecules are counted as in ``annotations``.
    """
    names = _names(content, log)
    annotations = content["annotations"]
    if not isinstance(annotations, list):
        log.error("annotations is no list")
        return []
    images = {image["id"]: image for image in content["images"] if _is_image(image, log)}
    found: dict[object, list[ClaimedMolecule]] = defaultdict(list)
    boxes_only: list[int] = []
    for index, annotation in enumerate(annotations):
        try:
            image = images.get(_key(annotation, "image_id"))
            if image is None:
                raise ValueError("belongs to no picture of the file")
            molecule, box_only = _molecule(index, annotation, image, names)
        except ValueError as error:
            log.error(str(error), index)
            continue
        found[image["id"]].append(molecule)
        boxes_only += [index] * box_only
    if boxes_only:
        log.warning(
            f"{len(boxes_only)} molecules, the first of them number {boxes_only[0] + 1}, have a box but no outline: "
            "the box is taken for the outline"
        )
    return [_picture(path, image, tuple(found[key])) for key, image in images.items()]


def _key(annotation: object, name: str) -> int | str | None:
    """A number that points to a picture or a category; None where it is anything else."""
    key = annotation.get(name) if isinstance(annotation, dict) else None
    return key if isinstance(key, int | str) else None


def _names(content: Mapping[str, Any], log: ProblemLog) -> dict[object, str]:
    names: dict[object, str] = {}
    categories = content.get("categories")
    for category in categories if isinstance(categories, list) else []:
        if isinstance(category, dict) and isinstance(category.get("name"), str) and isinstance(category.get("id"), int):
            names[category["id"]] = category["name"].strip()
        else:
            log.error(f"holds a category {category!r:.60} without an id or a name")
    return names


def _is_image(image: object, log: ProblemLog) -> bool:
    sound = (
        isinstance(image, dict) and isinstance(image.get("file_name"), str) and isinstance(image.get("id"), int | str)
    )
    if not sound:
        log.error(f"holds a picture {image!r:.60} without an id or a file_name")
    return sound


def _picture(path: Path, image: Mapping[str, Any], molecules: tuple[ClaimedMolecule, ...]) -> ClaimedPicture:
    rows, columns = whole_number(image.get("height")), whole_number(image.get("width"))
    scale = image.get("nm_per_px")  # ours; x and y
    if isinstance(scale, list) and len(scale) == 2:
        scale = scale[0] if all(map(is_number, scale)) and abs(scale[0] - scale[1]) <= 0.005 * scale[0] else None
    name = image["file_name"]
    return ClaimedPicture(
        label_file=path,
        name=PureWindowsPath(name).name,
        paths=tuple(f"{folder}/{name}" if folder else name for folder in FOLDERS),
        molecules=molecules,
        size=(rows, columns) if rows and columns else None,
        nm_per_px=float(scale) if is_number(scale) and scale > 0 else None,
    )


def _molecule(
    index: int, annotation: Mapping[str, Any], image: Mapping[str, Any], names: Mapping[object, str]
) -> tuple[ClaimedMolecule, bool]:
    label = names.get(_key(annotation, "category_id"), "")
    if not label:
        raise ValueError(f"has the category {annotation.get('category_id')!r:.40}, which the file does not name")
    shape = annotation.get("segmentation")
    crowd = bool(annotation.get("iscrowd"))
    if isinstance(shape, dict):
        return ClaimedMolecule(index, label, (_from_runs(shape, image),), crowd, traced=True), False
    if isinstance(shape, list) and shape:
        return ClaimedMolecule(index, label, tuple(_from_corners(part) for part in shape), crowd), False
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise ValueError("has neither an outline nor a box of four numbers")
    x, y, width, height = box
    if width <= 0 or height <= 0:
        raise ValueError(f"has a box of {width:g} x {height:g} px")
    return ClaimedMolecule(index, label, ((rectangle_ring(x, y, x + width, y + height),),), crowd), True


def _from_corners(part: object) -> Piece:
    if not isinstance(part, list) or len(part) < 6 or len(part) % 2:
        raise ValueError("has an outline that is not x, y of three corners or more")
    return (points_of([list(pair) for pair in zip(part[::2], part[1::2], strict=True)]),)


def _from_runs(shape: Mapping[str, Any], image: Mapping[str, Any]) -> Piece:
    size = shape.get("size")
    if not isinstance(size, list) or len(size) != 2 or not all(whole_number(side) for side in size):
        raise ValueError("has run lengths without a size")
    wanted = [image.get("height", size[0]), image.get("width", size[1])]
    if size != wanted:
        raise ValueError(f"has run lengths for {size[0]} x {size[1]} px; the picture has {wanted[0]} x {wanted[1]}")
    mask = decode_runs(shape.get("counts"), size[0], size[1])
    inside = np.argwhere(mask)
    if not len(inside):
        raise ValueError("has a mask without a pixel")
    top, left = inside.min(axis=0)
    bottom, right = inside.max(axis=0) + 1
    return tuple(ring + np.array([left, top], dtype=np.float64) for ring in rings_of(mask[top:bottom, left:right]))
