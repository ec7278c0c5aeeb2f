"""A varied scan: any molecules, any arrangement, any surface, and the outline of everything that is a molecule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import ScanDirection, ScanGeometry
from spm_live_drivers.synthetic.arrange import Floor, arrange, outline_nm
from spm_live_drivers.synthetic.background import draw_background
from spm_live_drivers.synthetic.noise import record_forward, see_with_second_apex
from spm_live_drivers.synthetic.packing import Crowd
from spm_live_drivers.synthetic.scene import Look, Scene, draw_scene
from spm_live_drivers.synthetic.shapes import draw_shape
from spm_live_drivers.synthetic.stamps import Stamp, make_stamp
from spm_live_drivers.synthetic.surface import Grid

Plane = NDArray[np.float32]

DIRT_SIZES = (0.5, 2.5)
"""Range of the extent of a lump of dirt, in widths of the largest molecule."""


@dataclass(frozen=True, slots=True, eq=False)
class OutlinedMolecule:
    """What is true about one thing on a varied scan.

    Parameters
    ----------
    label : str
        Family of its shape (:data:`spm_live_drivers.synthetic.shapes.FAMILIES`); ``"dirt"`` for a lump.
    outline_px : (K, 2) float64 array
        x and y of its outline in pixels, where pixel d covers d to d + 1; may lie partly or wholly outside the frame.
    height_nm : float
        Of its top over the surface.
    ignore : bool
        True for a lump: whether it is a molecule cannot be said.
    """

    label: str
    outline_px: NDArray[np.float64]
    height_nm: float
    ignore: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class VariedScan:
    """A drawn scan.

    Parameters
    ----------
    heights : (rows, columns) float32 array
        Height in m; row 0 at the top; NaN where the scan did not get to.
    geometry : ScanGeometry
        Size and place of the frame.
    direction : ScanDirection
        Which line was scanned first.
    molecules : tuple of OutlinedMolecule
        All that may reach into the frame.
    scene : Scene
        What it was drawn from.
    """

    heights: Plane
    geometry: ScanGeometry
    direction: ScanDirection
    molecules: tuple[OutlinedMolecule, ...]
    scene: Scene


def draw_varied_scan(
    seed: int | tuple[int, ...],
    *,
    rows: int = 256,
    columns: int = 256,
    size_nm: tuple[float, float] = (25.0, 25.0),
    scene: Scene | None = None,
    most: int = 1000,
) -> VariedScan:
    """Draw a scan.

    Parameters
    ----------
    seed : int or tuple of int
        The whole scan follows from it and the other arguments.
    rows, columns : int
        Shape of the frame, in pixels.
    size_nm : (float, float)
        Its width and height, in nm.
    scene : Scene or None
        What there is to see; None draws it from the seed.
    most : int
        No more molecules than this.

    Returns
    -------
    VariedScan

    Examples
    --------
    >>> scan = draw_varied_scan(3, rows=64, columns=96, size_nm=(15.0, 10.0))
    >>> scan.heights.shape
    (64, 96)
    """
    rng = np.random.default_rng(seed)
    scene = scene or draw_scene(rng)
    geometry = ScanGeometry(rows, columns, size_nm)
    grid = Grid((rows, columns), geometry.nm_per_px)
    margin = 0.55 * scene.widest_nm
    floor = Floor((grid.half_nm[0] + margin, grid.half_nm[1] + margin), scene.narrowest_nm)
    blur = scene.tip.blur_nm
    surface = draw_background(rng, scene.background, grid, floor, blur)
    pitch = min(grid.pitch_nm)
    stamps = [make_stamp(kind.shape, kind.width_nm, blur, pitch, scene.outline) for kind in scene.kinds]
    dirt = _dirt(rng, scene, blur, pitch)
    lumps = _throw(rng, dirt, floor, scene.background.dirt)
    crowd = arrange(rng, scene, stamps, floor, most)
    tops = np.array([kind.height_nm for kind in scene.kinds])[crowd.species] * _spread(rng, len(crowd))
    surface += _lay(stamps, crowd, tops, grid, scene.blend)
    typical = max(kind.height_nm for kind in scene.kinds)
    lump_tops = typical * np.exp(rng.uniform(math.log(0.4), math.log(2.5), len(lumps)))
    surface += _lay(dirt, lumps, lump_tops, grid, scene.blend)
    direction = ScanDirection.UP if rng.random() < 0.5 else ScanDirection.DOWN
    shown = _show(rng, see_with_second_apex(surface, scene.tip, grid), scene.look, scene.widest_nm, grid)
    heights = record_forward(rng, shown, scene.tip, grid, direction is ScanDirection.UP)
    heights = np.ascontiguousarray(heights * np.float32(1e-9))
    missing = rows - max(1, round(scene.scanned * rows))
    if missing:
        heights[slice(0, missing) if direction is ScanDirection.UP else slice(rows - missing, rows)] = np.nan
    molecules = (
        *_outlined(stamps, crowd, tops, grid, False),
        *_outlined(dirt, lumps, lump_tops, grid, True),
    )
    return VariedScan(heights, geometry, direction, molecules, scene)


def _spread(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """How high each molecule is beside its like: a few per cent, now and then much, as in another state."""
    spread = rng.normal(1, rng.uniform(0.01, 0.1), count)
    if rng.random() < 0.15:
        spread *= np.where(rng.random(count) < 0.15, rng.uniform(0.5, 1.5), 1.0)
    return np.clip(spread, 0.4, 2.0)


def _dirt(rng: np.random.Generator, scene: Scene, tip_nm: float, pitch_nm: float) -> list[Stamp]:
    if not scene.background.dirt:
        return []
    width = scene.widest_nm * float(np.exp(rng.uniform(*np.log(DIRT_SIZES))))
    return [make_stamp(draw_shape(rng, "chain"), width, tip_nm, pitch_nm)]


def _throw(rng: np.random.Generator, stamps: Sequence[Stamp], floor: Floor, count: int) -> Crowd:
    found = []
    for _ in range(count if stamps else 0):
        x, y, turn = rng.uniform(-1, 1, 3) * (*floor.half_nm, math.pi)
        lump = Crowd.of([(0, x, y, turn, bool(rng.random() < 0.5))])
        if floor.take(outline_nm(stamps, lump, 0)):
            found.append(lump)
    return Crowd.together(found) if found else Crowd.of([])


def _lay(stamps: Sequence[Stamp], crowd: Crowd, tops_nm: NDArray[np.float64], grid: Grid, blend: float) -> Plane:
    """Stamp molecules: where two meet, between the higher of them and their sum. (rows, columns), in nm."""
    rows, columns = grid.shape
    highest, total = (np.zeros(grid.shape, dtype=np.float32) for _ in range(2))
    for index in range(len(crowd)):
        stamp = stamps[int(crowd.species[index])]
        x, y = crowd.xy_nm[index]
        middle = (x + grid.half_nm[0]) / grid.pitch_nm[0] - 0.5, (grid.half_nm[1] - y) / grid.pitch_nm[1] - 0.5
        reach = stamp.reach_nm / grid.pitch_nm[0], stamp.reach_nm / grid.pitch_nm[1]
        left, right = max(0, math.ceil(middle[0] - reach[0])), min(columns, math.floor(middle[0] + reach[0]) + 1)
        top, bottom = max(0, math.ceil(middle[1] - reach[1])), min(rows, math.floor(middle[1] + reach[1]) + 1)
        if right <= left or bottom <= top:
            continue
        turn = float(crowd.angle_rad[index]), bool(crowd.mirrored[index])
        table = _to_stamp(stamp, grid, turn, (left - middle[0], top - middle[1]))
        size = (right - left, bottom - top)
        warped = cv2.warpAffine(stamp.heights, table, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        alone = np.asarray(warped, dtype=np.float32) * np.float32(tops_nm[index])
        part = highest[top:bottom, left:right]
        np.maximum(part, alone, out=part)
        total[top:bottom, left:right] += alone
    return np.asarray(highest + np.float32(blend) * (total - highest), dtype=np.float32)


def _to_stamp(
    stamp: Stamp, grid: Grid, turn: tuple[float, bool], corner_px: tuple[float, float]
) -> NDArray[np.float64]:
    """Table of cv2.warpAffine that maps pixels of a patch to those of the stamp.

    ``corner_px`` is the patch's first pixel, counted from the middle of the molecule.
    """
    angle, mirrored = turn
    cos, sin, flip = math.cos(angle), math.sin(angle), -1.0 if mirrored else 1.0
    # Pixels to nm with y up, turned back and mirrored back, to pixels of the stamp with y down.
    to_nm = np.diag([grid.pitch_nm[0], -grid.pitch_nm[1]])
    back = np.array([[cos, sin], [-sin * flip, cos * flip]])
    linear = np.diag([1.0, -1.0]) @ back @ to_nm / stamp.pitch_nm
    middle = stamp.heights.shape[0] / 2 - 0.5
    return np.column_stack([linear, linear @ np.array(corner_px) + middle])


def _show(rng: np.random.Generator, surface: Plane, look: Look, width_nm: float, grid: Grid) -> Plane:
    """What the instrument makes of the surface."""
    shown = surface
    if look.halo > 0:
        sigma = np.array([width_nm * rng.uniform(0.3, 1.0) / pitch for pitch in grid.pitch_nm])
        wide = cv2.GaussianBlur(shown, (0, 0), sigmaX=float(sigma[0]), sigmaY=float(sigma[1]))
        shown = np.asarray(shown - np.float32(look.halo) * np.asarray(wide), dtype=np.float32)
    if look.slope:
        change = np.diff(shown, axis=1, prepend=shown[:, :1])
        size = float(np.abs(change).max()) or 1.0
        shown = shown + np.float32(look.slope * float(np.ptp(shown)) / size) * change
    if look.smear_px > 0:
        taps = np.exp(-np.arange(math.ceil(4 * look.smear_px) + 1) / look.smear_px).astype(np.float32)
        kernel = np.concatenate([taps[::-1] / taps.sum(), np.zeros(len(taps) - 1, dtype=np.float32)])[None]
        # The lag looks back along the line: convolution turns the kernel around, cv2's correlation does not.
        shown = np.asarray(cv2.filter2D(shown, -1, kernel, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)
    if look.inverted:
        shown = -shown
    if look.hum_nm > 0:
        rate, slip = rng.uniform(0.02, 0.6), rng.uniform(-0.5, 0.5)
        rows, columns = (np.arange(size, dtype=np.float32) for size in grid.shape)
        hum = look.hum_nm * np.sin(rate * columns + slip * rows[:, None])
        shown = np.asarray(shown + hum, dtype=np.float32)
    return np.asarray(shown, dtype=np.float32)


def _outlined(
    stamps: Sequence[Stamp], crowd: Crowd, tops_nm: NDArray[np.float64], grid: Grid, dirt: bool
) -> list[OutlinedMolecule]:
    found = []
    half, pitch = np.array(grid.half_nm), np.array(grid.pitch_nm)
    for index, top in enumerate(tops_nm.tolist()):
        pixels = (outline_nm(stamps, crowd, index) * (1, -1) + half) / pitch
        label = "dirt" if dirt else stamps[int(crowd.species[index])].family
        found.append(OutlinedMolecule(label, pixels, top, dirt))
    return found
