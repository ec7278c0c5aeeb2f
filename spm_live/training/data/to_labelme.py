"""Writes labelled pictures as label files of labelme, so that a person can correct them there."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from spm_live.errors import SetupError
from spm_live.prepare import to_grey
from spm_live.training.labelled import LabelledMolecule, LabelledPicture, mask_of

FORMAT_VERSION = "5.5.0"
"""The first labelme of major version 5 that has ``mask`` shapes; later ones read its files."""
DECIMALS = 3


def to_labelme(picture: LabelledPicture, folder: Path) -> Path:
    """Write a picture and its label file.

    Parameters
    ----------
    picture : LabelledPicture
        One ring becomes a polygon; a molecule in pieces or with holes becomes a ``mask`` shape, to whole pixels. What
        is ignored has the flag ``ignore``, which loading understands.
    folder : Path
        Made if it is not there. Files of the same name are not touched.

    Returns
    -------
    Path
        The label file; the picture lies beside it, in grey, black where not scanned.

    Raises
    ------
    SetupError
        If a file is there already or cannot be written.
    """
    stem = Path(picture.name.replace("\\", "/").replace("/", "-").replace(":", "-")).name
    png, label_file = folder / f"{stem}.png", folder / f"{stem}.json"
    if stem.lower().endswith(".png"):
        png, label_file = folder / stem, folder / f"{stem[:-4]}.json"
    there = [path for path in (png, label_file) if path.exists()]
    if there:
        raise SetupError([f"{path}: is there already; take it away, or give another folder" for path in there])
    rows, columns = picture.image.shape
    content: dict[str, Any] = {
        "version": FORMAT_VERSION,
        "flags": {},
        "shapes": [shape for one in picture.molecules if (shape := _shape(one, (rows, columns))) is not None],
        "imagePath": png.name,
        "imageData": None,
        "imageHeight": rows,
        "imageWidth": columns,
    }
    if picture.nm_per_px is not None:
        content["nm_per_px"] = picture.nm_per_px
    _, encoded = cv2.imencode(".png", to_grey(picture.image, (0.0, 1.0)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        png.write_bytes(encoded.tobytes())
        label_file.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        raise SetupError(f"{error.filename or folder}: cannot be written ({error.strerror or error})") from error
    return label_file


def write_labelme(pictures: Sequence[LabelledPicture], folder: Path) -> tuple[Path, ...]:
    """Write several pictures as :func:`to_labelme` does."""
    return tuple(to_labelme(picture, folder) for picture in pictures)


def _shape(molecule: LabelledMolecule, shape: tuple[int, int]) -> dict[str, Any] | None:
    common = {
        "label": molecule.label,
        "group_id": None,
        "description": "",
        "flags": {"ignore": True} if molecule.ignore else {},
    }
    if len(molecule.rings) == 1:
        points = np.round(molecule.rings[0], DECIMALS).tolist()
        return common | {"shape_type": "polygon", "points": points, "mask": None}
    mask = mask_of(molecule, shape)
    inside = np.argwhere(mask)
    if not len(inside):
        return None
    (top, left), (bottom, right) = inside.min(axis=0), inside.max(axis=0)
    pixels = mask[top : bottom + 1, left : right + 1].astype(np.uint8) * 255
    _, png = cv2.imencode(".png", pixels)
    return common | {
        "shape_type": "mask",
        "points": [[float(left), float(top)], [float(right), float(bottom)]],
        "mask": base64.b64encode(png.tobytes()).decode("ascii"),
    }
