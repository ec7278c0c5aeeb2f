"""Pictures to learn from before there are labels: drawn scans, prepared by the very code that prepares real ones.

One seed gives one picture. The scan is drawn at a pixel pitch of its own, levelled, resampled and stretched as the
daemon does it, and a window of the model's size is cut out of it with the outlines of its molecules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from spm_live.domain import Frame, FrameInfo, FrameRef, InputSpec, Letterbox, Levelling, Trace
from spm_live.prepare import letterbox_for, prepare, quantile_limits
from spm_live.training.labelled import LabelledMolecule, LabelledPicture, Ring
from spm_live_drivers.synthetic.scene import Variety, draw_scene
from spm_live_drivers.synthetic.shapes import FAMILIES
from spm_live_drivers.synthetic.stamps import OUTLINE_LEVEL
from spm_live_drivers.synthetic.varied import VariedScan, draw_varied_scan

Share = Annotated[float, Field(ge=0, le=1)]
Length = Annotated[float, Field(gt=0, le=1e4)]
Weight = Annotated[float, Field(ge=0, le=1e6)]

MOST_FRAME_PX = 360
"""A drawn frame has no longer side than this, in pixels: beyond, drawing costs more than it teaches."""

FAINT = 0.07
"""A molecule that is lower than this part of the grey scale is to be ignored: nobody could see it."""

LEAST_AREA_PX = 4.0
"""Of what is cut by the window, less than this many pixels is not worth a label, not even one to be ignored."""

EDGE_MARGIN = 1.15
"""The frame is drawn this much larger than the window, so that levelling and the window's place differ."""


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
    labels : "one" or "family"
        Whether every molecule is called ``label``, or by the family of its shape.
    label : str
        Name of the only class.
    width_nm : (float, float)
        Range of the extent of the molecules, in nm.
    families, layouts : mapping of str to float
        Weights, to be set for some only: how often each family of shapes and each layout comes (0 for never). Those
        not named keep theirs if nothing is named, and else never come.
    species : tuple of float
        How often one, two, three ... species lie together.
    dark : float
        Chance that the molecules are darker than the surface, 0 to 1.
    negatives, noise : float
        Scales of what is on the surface and no molecule, and of all noise; 1 as usual.
    small : float
        Chance that the frame is smaller than the window, 0 to 1.
    smallest_nm : float
        Its least width then, in nm.
    pitch_nm : (float, float)
        Range of the pixel pitch of a frame, in nm; never coarser than a third of the smallest molecule.
    outline_level : float
        Where outlines run, as a part of the height of a molecule, 0 to 1: people draw them at half of it or higher.
    flat : float
        Chance that the contrast of the frame is set by something beyond the window, so that its molecules use a part
        of the grey scale only, 0 to 1.
    most_molecules : int
        In one picture. Where there would be more, they form an island, or the frame is smaller.
    least_visible : float
        A molecule of which the window shows a smaller part is to be ignored, neither found nor background; 0 to 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    rows: int = Field(default=256, ge=32, le=2048)
    columns: int = Field(default=256, ge=32, le=2048)
    nm_per_px: Length = 0.1
    levelling: Levelling = Levelling.ROWS
    contrast: tuple[Share, Share] = (0.005, 0.995)
    labels: Literal["one", "family"] = "one"
    label: str = Field(default="molecule", min_length=1)
    width_nm: tuple[Length, Length] = (0.5, 6.0)
    families: dict[str, Weight] | None = None
    layouts: dict[str, Weight] | None = None
    species: tuple[Weight, ...] = Field(default=(0.6, 0.32, 0.08), min_length=1, max_length=6)
    dark: Share = 0.12
    negatives: float = Field(default=1.0, ge=0, le=10)
    noise: float = Field(default=1.0, ge=0, le=10)
    outline_level: float = Field(default=OUTLINE_LEVEL, gt=0.1, lt=0.9)
    small: Share = 0.12
    smallest_nm: Length = 4.0
    pitch_nm: tuple[Length, Length] = (0.02, 0.6)
    flat: Share = 0.3
    most_molecules: int = Field(default=100, ge=1, le=2000)
    least_visible: Share = 0.4

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for name in ("contrast", "width_nm", "pitch_nm"):
            low, high = getattr(self, name)
            if low > high or (name == "contrast" and low == high):
                raise ValueError(f"{name} {low:g} to {high:g} does not rise")
        self.variety()  # a name that is not known is told by it
        return self

    @classmethod
    def monolayer(cls, **more: object) -> Self:
        """Close-packed layers of mostly two species, 15 to 75 px a molecule at 0.1 nm/px, with holes."""
        chosen: dict[str, object] = {
            "width_nm": (1.5, 7.5),
            "layouts": {"monolayer": 0.8, "islands": 0.2},
            "families": {"star": 3, "plate": 3, "lobes": 2, "disc": 0.5, "ring": 0.5, "ellipse": 0.5, "rod": 0.5},
            "species": (0.15, 0.75, 0.1),
            "dark": 0.03,
            "negatives": 0.4,
            "flat": 0.1,
            "noise": 0.6,
            "outline_level": 0.55,
            "small": 0.03,
            "smallest_nm": 12.0,
            "pitch_nm": (0.06, 0.25),
        }
        return cls.model_validate(chosen | more)

    def variety(self) -> Variety:
        """What the generator of scenes is to be told."""
        usual = Variety()
        return Variety(
            width_nm=self.width_nm,
            families=usual.families if self.families is None else dict(self.families),
            layouts=usual.layouts if self.layouts is None else dict(self.layouts),
            species=self.species,
            dark=self.dark,
            negatives=self.negatives,
            noise=self.noise,
            outline=self.outline_level,
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that occur."""
        if self.labels == "one":
            return (self.label,)
        return tuple(name for name in FAMILIES if self.variety().families.get(name, 0) > 0)


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
        Of the recipe's shape, 0 to 1; 0 where not scanned and beyond the frame. Outlines are cut at the window.

    Examples
    --------
    >>> picture = draw_picture((7,), DrawnRecipe(rows=64, columns=96))
    >>> picture.image.shape, picture.nm_per_px
    ((64, 96), 0.1)
    """
    rng = np.random.default_rng((*seed, 1))
    frame, scan = draw_frame(seed, rng, recipe)
    letterbox = letterbox_for(frame.geometry, recipe.nm_per_px, frame.ref)
    # One tile as large as the frame: windows are cut here, not by a grid of tiles.
    spec = InputSpec(letterbox.rows, letterbox.columns, recipe.nm_per_px, 0, recipe.levelling, recipe.contrast)
    shown = prepare(frame, spec)
    whole = shown.tiles[0] if len(shown.tiles) else np.zeros((letterbox.rows, letterbox.columns), dtype=np.float32)
    scanned = np.isfinite(shown.levelled)
    corner = (_corner(rng, letterbox.rows, recipe.rows), _corner(rng, letterbox.columns, recipe.columns))
    span = 1.0
    if rng.random() < recipe.flat:
        whole, span = _flattened(rng, whole, scanned)
    image = _window(whole, corner, (recipe.rows, recipe.columns))
    limits = quantile_limits(shown.levelled, recipe.contrast)
    faint_nm = FAINT / span * (limits[1] - limits[0]) * 1e9 if limits else 0.0
    view = _View(letterbox, corner, _scanned_rows(scanned, letterbox), faint_nm)
    name = "drawn-" + "-".join(map(str, seed))
    return LabelledPicture(name, image, _labelled(scan, view, recipe), recipe.nm_per_px)


def draw_frame(seed: tuple[int, ...], rng: np.random.Generator, recipe: DrawnRecipe) -> tuple[Frame, VariedScan]:
    """Draw a frame of random size and pitch, as a reader would give it, and what is true about it."""
    scene = draw_scene(rng, recipe.variety())
    size = (recipe.columns * recipe.nm_per_px * EDGE_MARGIN, recipe.rows * recipe.nm_per_px * EDGE_MARGIN)
    width, height = size
    if rng.random() < recipe.small:
        width = math.exp(rng.uniform(math.log(min(recipe.smallest_nm, size[0])), math.log(size[0])))
        height = min(width * float(rng.choice([1, 1, 1, 0.5, 0.75])), size[1])
    if scene.close_packed or scene.layout == "crowded":
        # A layer of small molecules is shown in a small frame more often than as an island in a large one.
        cell = 0.55 * sum(share * one.width_nm**2 for share, one in zip(scene.shares, scene.kinds, strict=True))
        if width * height / cell > recipe.most_molecules and rng.random() < 0.45:
            shrink = math.sqrt(recipe.most_molecules * cell / (width * height))
            width, height = max(width * shrink, 2 * scene.widest_nm), max(height * shrink, 2 * scene.widest_nm)
    pitch = min(math.exp(rng.uniform(*np.log(recipe.pitch_nm))), scene.narrowest_nm / 3)
    pitch = max(pitch, width / MOST_FRAME_PX, height / MOST_FRAME_PX)
    # Pixels of real frames are now and then not square.
    squeeze = math.exp(rng.uniform(-0.3, 0.3)) if rng.random() < 0.1 else 1.0
    columns, rows = max(24, round(width / pitch)), max(24, min(MOST_FRAME_PX, round(height / pitch * squeeze)))
    scan = draw_varied_scan(
        seed, rows=rows, columns=columns, size_nm=(width, height), scene=scene, most=recipe.most_molecules
    )
    return frame_of(scan), scan


def frame_of(scan: VariedScan, name: str = "drawn") -> Frame:
    """Give a drawn scan the shape that a reader gives a file."""
    ref = FrameRef(source=name, sha256="", channel="Z", trace=Trace.FORWARD)
    complete = int(np.isfinite(scan.heights[:, 0]).sum())
    info = FrameInfo(
        ref=ref, geometry=scan.geometry, unit="m", direction=scan.direction, complete_rows=complete, format="drawn"
    )
    return Frame(info, scan.heights)


def _corner(rng: np.random.Generator, size: int, wanted: int) -> int:
    """Where a window begins: within the picture, or, where that is smaller, with some or none of the rest before it."""
    if size >= wanted:
        return int(rng.integers(0, size - wanted + 1))
    # The daemon pads a small frame at its right and lower side.
    return 0 if rng.random() < 0.5 else int(rng.integers(size - wanted, 1))


def _flattened(
    rng: np.random.Generator, picture: NDArray[np.float32], scanned: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], float]:
    """Let the picture use a part of the grey scale, and say which part; what was not scanned stays 0."""
    low = rng.uniform(0, 0.6)
    high = rng.uniform(low + 0.25, 1)
    flat = np.float32(low) + picture * np.float32(high - low)
    if scanned.all():
        return flat, high - low
    mask = cv2.resize(scanned.astype(np.uint8), picture.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return np.where(mask > 0, flat, np.float32(0)), high - low


def _window(picture: NDArray[np.float32], corner: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Cut a window, 0 where it reaches beyond the picture."""
    window = np.zeros(shape, dtype=np.float32)
    into, out_of = [], []
    for start, wanted, size in zip(corner, shape, picture.shape, strict=True):
        first, last = max(0, start), min(size, start + wanted)
        out_of.append(slice(first, last))
        into.append(slice(first - start, last - start))
    window[into[0], into[1]] = picture[out_of[0], out_of[1]]
    return window


def _scanned_rows(scanned: NDArray[np.bool_], letterbox: Letterbox) -> tuple[float, float]:
    """First and last edge of what was scanned, in rows of the prepared picture."""
    rows = np.flatnonzero(scanned.any(axis=1))
    if rows.size == 0:
        return 0.0, 0.0
    return float(rows[0]) * letterbox.scale_y, float(rows[-1] + 1) * letterbox.scale_y


@dataclass(frozen=True, slots=True)
class _View:
    """What the window shows of the frame: its corner and the rows scanned, in px, and the height too low to see."""

    letterbox: Letterbox
    corner: tuple[int, int]
    scanned_rows: tuple[float, float]
    faint_nm: float


def _labelled(scan: VariedScan, view: _View, recipe: DrawnRecipe) -> tuple[LabelledMolecule, ...]:
    """Bring outlines into the window, cut at its sides; those of which nothing is seen are left out."""
    if not scan.molecules:
        return ()
    letterbox, (top, left) = view.letterbox, view.corner
    low = np.array([max(0, left), max(view.scanned_rows[0], top)])
    high = np.array([min(letterbox.columns, left + recipe.columns), min(view.scanned_rows[1], top + recipe.rows)])
    # All corners together: a call of NumPy for each molecule would take longer than drawing it.
    lengths = [len(one.outline_px) for one in scan.molecules]
    points = np.concatenate([one.outline_px for one in scan.molecules]) * (letterbox.scale_x, letterbox.scale_y)
    starts = np.cumsum([0, *lengths[:-1]])
    least, most = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    seen = ((most > low) & (least < high)).all(axis=1)
    inside = np.asarray(((least >= low) & (most <= high)).all(axis=1))
    found = []
    for index in np.flatnonzero(seen).tolist():
        molecule, ring = scan.molecules[index], points[starts[index] : starts[index] + lengths[index]]
        ignore = molecule.ignore or molecule.height_nm < view.faint_nm
        if not inside[index]:
            cut = clip_ring(ring, low, high)
            area = ring_area(cut)
            if area < LEAST_AREA_PX:
                continue
            ignore = ignore or area < recipe.least_visible * ring_area(ring)
            ring = cut
        label = recipe.label if recipe.labels == "one" else molecule.label
        found.append(LabelledMolecule(label, (ring - (left, top),), ignore))
    return tuple(found)


def clip_ring(ring: Ring, low: NDArray[np.float64], high: NDArray[np.float64]) -> Ring:
    """Cut an outline at the sides of a rectangle.

    Parameters
    ----------
    ring : (K, 2) float64 array
        x and y of its corners.
    low, high : (2,) float64 array
        Least and greatest x and y.

    Returns
    -------
    (M, 2) float64 array
        M may be 0. Parts of a concave outline that fall asunder stay joined along the side.

    Notes
    -----
    Sutherland and Hodgman 1974, doi:10.1145/360767.360802: one side after another.
    """
    for axis in (0, 1):
        for sign, limit in ((1.0, low[axis]), (-1.0, -high[axis])):
            if len(ring) == 0:
                return ring
            height = sign * ring[:, axis] - limit
            if (height >= 0).all():
                continue
            after, following = np.roll(ring, -1, axis=0), np.roll(height, -1)
            crosses = (height >= 0) != (following >= 0)
            part = np.divide(height, height - following, out=np.zeros_like(height), where=crosses)
            points = np.stack([ring, ring + part[:, None] * (after - ring)], axis=1).reshape(-1, 2)
            ring = points[np.stack([height >= 0, crosses], axis=1).ravel()]
    return ring


def ring_area(ring: Ring) -> float:
    """Area within an outline, in square pixels."""
    if len(ring) < 3:
        return 0.0
    x, y = ring.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
