"""Reads label files of labelme, versions 3 to 6.

The layout is that of labelme's own files: https://github.com/wkentaro/labelme (read as a description; it is GPL and is
not used). Points are positions on the picture with (0, 0) at its upper left corner, which are our pixel edges; a
``mask`` shape holds a PNG for the pixels from its first point to its second, both included. Programs that write the
same layout add ``rotation`` and rectangles of four points.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

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
from spm_live.training.labelled import Ring, rings_of
from spm_live_drivers.contract import MAX_FRAME_PIXELS

LARGEST_EMBEDDED = 4 * MAX_FRAME_PIXELS
"""Bytes of a picture that stands in a label file; base64 makes four letters of three bytes."""
CIRCLE_CORNERS = 64
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_NO_AREA = ("point", "points", "line", "linestrip")


def is_labelme(content: object) -> bool:
    """Whether a JSON value is a label file of labelme."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def read_labelme(path: Path, content: Mapping[str, Any], log: ProblemLog) -> ClaimedPicture:
    """Read what stands in a label file; the picture itself is looked for later.

    Parameters
    ----------
    path : Path
        The label file.
    content : dict
        Its JSON; :func:`is_labelme` holds.
    log : ProblemLog
        Takes what is wrong; a molecule that cannot be read is left out of the result.
    """
    rows, columns = whole_number(content.get("imageHeight")), whole_number(content.get("imageWidth"))
    named = content.get("imagePath")
    data, scale = content.get("imageData"), content.get("nm_per_px")  # the scale is ours
    if not isinstance(named, str) or not named.strip():
        named = ""
    return ClaimedPicture(
        label_file=path,
        name=PureWindowsPath(named).name or path.name,
        paths=(named,) if named else (),
        molecules=_molecules(content["shapes"], log),
        size=(rows, columns) if rows and columns else None,
        embedded=partial(decode_base64, data) if isinstance(data, str) and data else None,
        serials=True,
        nm_per_px=float(scale) if is_number(scale) and scale > 0 else None,
    )


def decode_base64(text: str) -> bytes:
    """Decode a picture that stands in a label file, after a look at its size.

    Raises
    ------
    ValueError
        If it is too large, or no base64.
    """
    text = text.partition("base64,")[2] or text  # some programs write a data: address
    if len(text) > LARGEST_EMBEDDED // 3 * 4:
        raise ValueError(f"holds a picture of {len(text) // 4 * 3} bytes; at most {LARGEST_EMBEDDED} are read")
    try:
        return base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"holds a picture that is no base64: {error}") from error


def _molecules(shapes: list[Any], log: ProblemLog) -> tuple[ClaimedMolecule, ...]:
    """Read every shape; those of one label and one ``group_id`` are pieces of one molecule, as labelme takes them."""
    groups: dict[object, list[tuple[int, str, Piece, bool, bool]]] = {}
    for index, shape in enumerate(shapes):
        try:
            label, piece = _shape(shape)
        except ValueError as error:
            log.error(str(error), index)
            continue
        flags = shape.get("flags")
        ignore = isinstance(flags, dict) and flags.get("ignore") is True
        group = shape.get("group_id")
        key: object = index if group is None else (label, repr(group))
        groups.setdefault(key, []).append((index, label, piece, ignore, shape.get("shape_type") == "mask"))
    return tuple(
        ClaimedMolecule(
            index=pieces[0][0],
            label=pieces[0][1],
            pieces=tuple(piece for _, _, piece, _, _ in pieces),
            ignore=any(ignore for *_, ignore, _ in pieces),
            traced=all(traced for *_, traced in pieces),
        )
        for pieces in groups.values()
    )


def _shape(shape: object) -> tuple[str, Piece]:
    if not isinstance(shape, dict):
        raise ValueError(f"is {shape!r:.60} and not a shape")
    label = shape.get("label")
    label = str(label).strip() if isinstance(label, str | int) and not isinstance(label, bool) else ""
    if not label:
        raise ValueError("has no label; give it the name of its class")
    points = points_of(shape.get("points"))
    kind = shape.get("shape_type") or "polygon"
    if kind in _NO_AREA:
        raise ValueError(f"({label}) is a {kind}, which has no area; draw a polygon")
    if kind not in tuple(_KINDS):  # it may be anything, also what cannot be a key
        raise ValueError(f"({label}) is a {kind!r:.40}; {', '.join(_KINDS)} can be read")
    try:
        return label, (_mask(points, shape.get("mask")) if kind == "mask" else (_KINDS[kind](points),))
    except ValueError as error:
        raise ValueError(f"({label}) {error}") from error


def _polygon(points: Ring) -> Ring:
    if len(points) < 3:
        number = {0: "no corner", 1: "one corner", 2: "two corners"}[len(points)]
        raise ValueError(f"has {number}; draw at least three")
    return points


def _rectangle(points: Ring) -> Ring:
    if len(points) == 2:
        return rectangle_ring(*points.ravel())
    if len(points) == 4:
        return points
    raise ValueError(f"is a rectangle of {len(points)} points; it needs two opposite corners, or four")


def _oriented(points: Ring) -> Ring:
    if len(points) != 4:
        raise ValueError(f"is a turned rectangle of {len(points)} points; it needs four")
    return points


def _circle(points: Ring) -> Ring:
    """A polygon of the circle's own area around its centre."""
    if len(points) != 2:
        raise ValueError(f"is a circle of {len(points)} points; it needs its centre and a point of its rim")
    step = 2 * math.pi / CIRCLE_CORNERS
    radius = float(np.hypot(*(points[1] - points[0]))) * math.sqrt(step / math.sin(step))
    angles = step * np.arange(CIRCLE_CORNERS)
    return np.asarray(points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1))


_KINDS: dict[str, Callable[[Ring], Ring]] = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "circle": _circle,
    "oriented_rectangle": _oriented,
    "rotation": _oriented,
    "mask": _polygon,
}


def _mask(points: Ring, text: object) -> Piece:
    if len(points) != 2:
        raise ValueError(f"is a mask with {len(points)} points; it needs two corners of its box")
    if not isinstance(text, str) or not text:
        raise ValueError("is a mask without its picture")
    corner = np.round(points.min(axis=0))
    span = np.round(points.max(axis=0)) - corner + 1
    pixels = _decode_mask(decode_base64(text))
    # The picture is the truth: corners that were moved by fractions of a pixel round to a box that is one off.
    if max(abs(pixels.shape[1] - span[0]), abs(pixels.shape[0] - span[1])) > 1:
        raise ValueError(
            f"is a mask of {pixels.shape[1]} x {pixels.shape[0]} px in a box of {span[0]:g} x {span[1]:g} px; "
            "draw it again"
        )
    rings = tuple(ring + corner for ring in rings_of(pixels))
    if not rings:
        raise ValueError("is a mask without a pixel; draw it again")
    return rings


def _decode_mask(png: bytes) -> NDArray[np.bool_]:
    if not png.startswith(_PNG_SIGNATURE) or len(png) < 24:
        raise ValueError("is a mask whose picture is no PNG")
    columns, rows = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    if not 0 < rows * columns <= MAX_FRAME_PIXELS or rows * columns > 1100 * 8 * len(png):
        raise ValueError(f"is a mask that claims {columns} x {rows} px in {len(png)} bytes")
    try:
        pixels = cv2.imdecode(np.frombuffer(png, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:
        raise ValueError(f"is a mask that cannot be decoded: {error.err}") from error
    if pixels is None:
        raise ValueError("is a mask that cannot be decoded")
    return np.asarray(pixels) > 0
