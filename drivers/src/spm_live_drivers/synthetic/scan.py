"""A whole drawn scan, and the truth about what is on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import ScanDirection, ScanGeometry
from spm_live_drivers.synthetic.layout import Ground, place_molecules
from spm_live_drivers.synthetic.molecules import SYMMETRY_DEG, Patches, Placed, draw_molecules
from spm_live_drivers.synthetic.noise import record, see_with_second_apex
from spm_live_drivers.synthetic.sample import Sample, Tip, draw_sample, draw_tip
from spm_live_drivers.synthetic.surface import Grid, draw_adsorbates, draw_corrugation, draw_terraces

MARGIN_NM = 1.5
"""Molecules lie this far beyond the frame too, so that its border cuts some of them."""


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticMolecule:
    """What is true about one molecule.

    Parameters
    ----------
    label : str
        One of :data:`MOLECULE_CLASSES`.
    center_px : (float, float)
        Column and row of its centre in the frame; (0, 0) is the centre of the upper left pixel. May lie outside.
    box_px : (int, int, int, int)
        x1, y1, x2, y2: edges of what is visible of it, so that a box over the upper left pixel alone is (0, 0, 1, 1).
    mask : (rows, columns) bool array
        Its visible pixels, over the box.
    angle_deg : float
        Counter-clockwise turn in the picture, 0 up to the symmetry of its class.
    visible : float
        Part of its area that lies in the frame, above 0 and up to 1.
    """

    label: str
    center_px: tuple[float, float]
    box_px: tuple[int, int, int, int]
    mask: NDArray[np.bool_]
    angle_deg: float
    visible: float


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticScan:
    """A drawn scan.

    Parameters
    ----------
    heights, heights_backward : (rows, columns) float32 array
        Height in m, forward and backward; row 0 at the top, x grows to the right in both.
    geometry : ScanGeometry
        Size and place of the frame.
    direction : ScanDirection
        Which line was scanned first.
    molecules : tuple of SyntheticMolecule
        All that are visible.
    """

    heights: NDArray[np.float32]
    heights_backward: NDArray[np.float32]
    geometry: ScanGeometry
    direction: ScanDirection
    molecules: tuple[SyntheticMolecule, ...]


def draw_scan(
    seed: int | tuple[int, ...],
    *,
    rows: int = 256,
    columns: int = 256,
    size_nm: float | tuple[float, float] | None = None,
    center_nm: tuple[float, float] = (0.0, 0.0),
    angle_deg: float = 0.0,
    direction: ScanDirection = ScanDirection.DOWN,
    sample: Sample | None = None,
    tip: Tip | None = None,
) -> SyntheticScan:
    """Draw a scan of molecules on a surface.

    Parameters
    ----------
    seed : int or tuple of int
        The whole picture follows from it and the other arguments.
    rows, columns : int
        Shape of the frame, in pixels.
    size_nm : float or (float, float) or None
        Width and height of the frame, or both at once, in nm; None draws a pitch of 0.05 to 0.2 nm.
    center_nm : (float, float)
        Middle of the frame in scanner coordinates; goes into the geometry and changes nothing in the picture.
    angle_deg : float
        Rotation of the frame, clockwise; likewise.
    direction : ScanDirection
        Which line comes first.
    sample, tip : Sample, Tip or None
        What is looked at, and with what; None draws them from the seed.

    Returns
    -------
    SyntheticScan

    Examples
    --------
    >>> scan = draw_scan(1, size_nm=30.0)
    >>> scan.geometry.nm_per_px
    (0.1171875, 0.1171875)
    """
    rng = np.random.default_rng(seed)
    sample = sample or draw_sample(rng)
    tip = tip or draw_tip(rng, sample)
    if size_nm is None:
        pitch = float(np.exp(rng.uniform(np.log(0.05), np.log(0.2))))
        size_nm = (columns * pitch, rows * pitch)
    elif isinstance(size_nm, (int, float)):
        size_nm = (float(size_nm), float(size_nm))
    geometry = ScanGeometry(rows, columns, size_nm, center_nm, angle_deg)
    grid = Grid((rows, columns), geometry.nm_per_px)
    ground = Ground((grid.half_nm[0] + MARGIN_NM, grid.half_nm[1] + MARGIN_NM))
    surface = draw_terraces(rng, sample, grid, ground, tip.blur_nm)
    placed = place_molecules(rng, sample, ground)
    surface += draw_corrugation(rng, sample, grid)
    surface += draw_adsorbates(rng, sample, grid, ground, tip.blur_nm)
    patches = draw_molecules(rng, sample.species, placed, grid.shape, grid.pitch_nm, tip.blur_nm)
    raised, owner = lay_molecules(patches, grid.shape)
    seen = see_with_second_apex(surface + raised, tip, grid)
    forward, backward = record(rng, seen, tip, grid, direction is ScanDirection.UP)
    return SyntheticScan(
        heights=np.ascontiguousarray(forward * np.float32(1e-9)),
        heights_backward=np.ascontiguousarray(backward * np.float32(1e-9)),
        geometry=geometry,
        direction=direction,
        molecules=tuple(molecule for _, molecule in seen_molecules(sample, placed, patches, owner, grid)),
    )


def lay_molecules(patches: Patches, shape: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Put the molecules into one picture: where two meet, the higher one is seen and owns the pixel.

    Parameters
    ----------
    patches : Patches
        The molecules.
    shape : (int, int)
        Rows and columns of the picture.

    Returns
    -------
    raised : (rows, columns) float32 array
        Height over the bare surface, in nm.
    owner : (rows, columns) int32 array
        Index of the molecule that is seen; -1: none.
    """
    raised = np.zeros(shape, dtype=np.float32)
    owner = np.full(shape, -1, dtype=np.int32)
    for index in range(len(patches.corners)):
        window, inner = _overlap(patches, index, shape)
        alone = patches.heights_nm[index][inner]
        higher = alone > raised[window]
        np.maximum(raised[window], alone, out=raised[window])
        owner[window][higher] = index
    return raised, owner


def _overlap(patches: Patches, index: int, shape: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a patch lies in the frame, and which part of it does; empty slices where none."""
    size = patches.heights_nm.shape[1:]
    window, inner = [], []
    for axis in (0, 1):
        corner = int(patches.corners[index, axis])
        start = min(max(corner, 0), shape[axis])
        stop = max(min(corner + size[axis], shape[axis]), start)
        window.append(slice(start, stop))
        inner.append(slice(start - corner, stop - corner))
    return (window[0], window[1]), (inner[0], inner[1])


def seen_molecules(
    sample: Sample, placed: Placed, patches: Patches, owner: NDArray[np.int32], grid: Grid
) -> list[tuple[int, SyntheticMolecule]]:
    """Tell what is true about every molecule of which a pixel is seen.

    Parameters
    ----------
    sample : Sample
        Has the species.
    placed, patches : Placed, Patches
        The molecules, the same ones in both.
    owner : (rows, columns) int32 array
        From :func:`lay_molecules`.
    grid : Grid
        Pixel pitch; the places are counted from its middle.

    Returns
    -------
    list of (int, SyntheticMolecule)
        Index into ``placed``, and the truth.
    """
    found = []
    rows, columns = grid.shape
    for index in range(len(placed)):
        window, inner = _overlap(patches, index, grid.shape)
        whole = patches.heights_nm[index] > patches.level_nm[index]
        mask = whole[inner] & (owner[window] == index)
        filled_rows, filled_columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if filled_rows.size == 0:
            continue
        top, bottom = int(filled_rows[0]), int(filled_rows[-1]) + 1
        left, right = int(filled_columns[0]), int(filled_columns[-1]) + 1
        y, x = window[0].start, window[1].start
        label = sample.species[placed.species[index]].label
        molecule = SyntheticMolecule(
            label=label,
            center_px=(
                float(placed.xy_nm[index, 0] / grid.pitch_nm[0] + columns / 2 - 0.5),
                float(rows / 2 - 0.5 - placed.xy_nm[index, 1] / grid.pitch_nm[1]),
            ),
            box_px=(x + left, y + top, x + right, y + bottom),
            mask=mask[top:bottom, left:right],
            angle_deg=float(np.degrees(placed.angle_rad[index]) % SYMMETRY_DEG[label]),
            visible=float(np.count_nonzero(whole[inner]) / np.count_nonzero(whole)),
        )
        found.append((index, molecule))
    return found
