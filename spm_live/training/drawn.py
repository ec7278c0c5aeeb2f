"""Pictures to learn from before there are labels: drawn scans, prepared by the very code that prepares real ones.

One seed gives one picture. The scan is drawn at a pixel pitch of its own, levelled, resampled and stretched as the
daemon does it, and a window of the model's size is cut out of it with the outlines of its molecules.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from spm_live.domain import Frame, FrameInfo, FrameRef, InputSpec, Letterbox, Levelling, Trace
from spm_live.prepare import letterbox_for, prepare
from spm_live.training.labelled import LabelledMolecule, LabelledPicture, Ring, rings_of
from spm_live_drivers.synthetic import SyntheticMolecule, SyntheticScan, draw_scan

Share = Annotated[float, Field(ge=0, le=1)]
Length = Annotated[float, Field(gt=0, le=1e4)]


class DrawnRecipe(BaseModel):
    """What to draw.

    Parameters
    ----------
    rows, columns : int
        Shape of a picture, in pixels.
    nm_per_px : float
        Pixel pitch of the model, in nm.
    levelling, contrast
        As in :class:`spm_live.domain.InputSpec`.
    labels : "one" or "species"
        Whether every molecule is called ``label``, or by its species.
    label : str
        Name of the only class.
    frame_nm : (float, float)
        Range of the width of a frame, in nm.
    pitch_nm : (float, float)
        Range of the pixel pitch of a frame, in nm.
    least_visible : float
        A molecule of which the window shows a smaller part is to be ignored, neither found nor background; 0 to 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    rows: int = Field(default=256, ge=32, le=2048)
    columns: int = Field(default=256, ge=32, le=2048)
    nm_per_px: Length = 0.1
    levelling: Levelling = Levelling.ROWS
    contrast: tuple[Share, Share] = (0.005, 0.995)
    labels: Literal["one", "species"] = "one"
    label: str = Field(default="molecule", min_length=1)
    frame_nm: tuple[Length, Length] = (9.0, 40.0)
    pitch_nm: tuple[Length, Length] = (0.035, 0.3)
    least_visible: Share = 0.4


def draw_picture(seed: tuple[int, ...], recipe: DrawnRecipe) -> LabelledPicture:
    """Draw one training picture.

    Parameters
    ----------
    seed : tuple of int
        The whole picture follows from it and the recipe.
    recipe : DrawnRecipe
        What to draw.

    Returns
    -------
    LabelledPicture
        Of the recipe's shape, 0 to 1; 0 where not scanned and beyond the frame.
    """
    rng = np.random.default_rng((*seed, 1))
    scan = _scan(seed, rng, recipe)
    frame = frame_of(scan)
    letterbox = letterbox_for(frame.geometry, recipe.nm_per_px, frame.ref)
    # One tile as large as the frame: windows are cut here, not by a grid of tiles.
    spec = InputSpec(letterbox.rows, letterbox.columns, recipe.nm_per_px, 0, recipe.levelling, recipe.contrast)
    shown = prepare(frame, spec)
    corner = tuple(
        int(rng.integers(min(0, size - wanted), max(0, size - wanted) + 1))
        for size, wanted in ((letterbox.rows, recipe.rows), (letterbox.columns, recipe.columns))
    )
    image = _window(shown.tiles[0], corner, (recipe.rows, recipe.columns))
    molecules = tuple(_labelled(one, letterbox, corner, recipe) for one in scan.molecules)
    inside = tuple(one for one in molecules if one is not None)
    return LabelledPicture("-".join(map(str, seed)), image, inside, recipe.nm_per_px)


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


def _scan(seed: tuple[int, ...], rng: np.random.Generator, recipe: DrawnRecipe) -> SyntheticScan:
    side = float(np.exp(rng.uniform(*np.log(recipe.frame_nm))))
    pitch = float(np.exp(rng.uniform(*np.log(recipe.pitch_nm))))
    columns = int(np.clip(side / pitch, 64, 320))
    return draw_scan(seed, rows=columns, columns=columns, size_nm=columns * pitch)


def _window(picture: NDArray[np.float32], corner: tuple[int, ...], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Cut a window, 0 where it reaches beyond the picture."""
    window = np.zeros(shape, dtype=np.float32)
    into, out_of = [], []
    for start, wanted, size in zip(corner, shape, picture.shape, strict=True):
        first, last = max(0, start), min(size, start + wanted)
        out_of.append(slice(first, last))
        into.append(slice(first - start, last - start))
    window[into[0], into[1]] = picture[out_of[0], out_of[1]]
    return window


def _labelled(
    molecule: SyntheticMolecule, letterbox: Letterbox, corner: tuple[int, ...], recipe: DrawnRecipe
) -> LabelledMolecule | None:
    """Bring the outline of a molecule into the window; None where none of it lies there."""
    scale = np.array([letterbox.scale_x, letterbox.scale_y])
    shift = np.array([corner[1], corner[0]], dtype=np.float64)
    rings = tuple((ring + np.array(molecule.box_px[:2])) * scale - shift for ring in rings_of(molecule.mask))
    shape = np.array([recipe.columns, recipe.rows], dtype=np.float64)
    clipped = tuple(np.clip(ring, 0, shape) for ring in rings)
    whole, seen = _area(rings), _area(clipped)
    if seen <= 0 or whole <= 0:
        return None
    visible = molecule.visible * seen / whole
    label = recipe.label if recipe.labels == "one" else molecule.label
    return LabelledMolecule(label, tuple(r for r in clipped if _area((r,)) > 0), visible < recipe.least_visible)


def _area(rings: tuple[Ring, ...]) -> float:
    """Area of the largest ring, in pixels."""
    areas = [0.0]
    for ring in rings:
        x, y = ring.T
        areas.append(abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2)
    return max(areas)
