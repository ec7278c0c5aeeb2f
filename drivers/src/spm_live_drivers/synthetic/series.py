"""A series of drawn scans of one place: it drifts, and some of its molecules hop between two frames.

>>> first, second = drifting_series(5, 2, 0.5, 0.1, rows=64, columns=64, size_nm=12.0)
>>> round(float(np.hypot(*second.drift_nm)), 6), first.ids == tuple(range(len(first.ids)))
(0.5, False)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import ScanDirection, ScanGeometry
from spm_live_drivers.synthetic.layout import Ground, place_molecules
from spm_live_drivers.synthetic.molecules import Patches, Placed, draw_molecules
from spm_live_drivers.synthetic.noise import record, see_with_second_apex
from spm_live_drivers.synthetic.population import Changes, Population, Window
from spm_live_drivers.synthetic.sample import Sample, Tip, draw_sample, draw_tip
from spm_live_drivers.synthetic.scan import (
    MARGIN_NM,
    SyntheticMolecule,
    SyntheticScan,
    lay_molecules,
    seen_molecules,
)
from spm_live_drivers.synthetic.surface import Grid, draw_adsorbates, draw_corrugation, draw_terraces

UNCHANGED = Changes()
"""Nothing happens to the molecules."""


@dataclass(frozen=True, slots=True, eq=False)
class SeriesScan:
    """One frame of a series.

    Parameters
    ----------
    scan : SyntheticScan
        The frame. All frames of a series have the same geometry: the scanner does not know of the drift.
    ids : tuple of int
        Identity of every molecule in ``scan.molecules``, in their order: the same molecule has the same one in all
        frames.
    drift_nm : (float, float)
        How far the surface moved since the frame before, x and y in nm in the picture's axes (y up); (0, 0) in the
        first. A molecule that stayed at (x, y) in the frame before is now seen at (x, y) + drift.
    hopped, turned, vanished, appeared : tuple of int
        Identities of molecules that hopped, that turned on the spot, that left the surface and that came down on it
        since the frame before, whether they are seen in this frame or not.
    """

    scan: SyntheticScan
    ids: tuple[int, ...]
    drift_nm: tuple[float, float]
    hopped: tuple[int, ...] = ()
    turned: tuple[int, ...] = ()
    vanished: tuple[int, ...] = ()
    appeared: tuple[int, ...] = ()

    @property
    def molecules(self) -> tuple[SyntheticMolecule, ...]:
        """Shorthand for ``scan.molecules``."""
        return self.scan.molecules


class _View(Grid):
    """The pixels of a frame that looks at a part of a larger field; the half widths are those of the field."""

    def __init__(
        self,
        shape: tuple[int, int],
        pitch_nm: tuple[float, float],
        half_nm: tuple[float, float],
        middle_nm: NDArray[np.float64],
    ) -> None:
        super().__init__(shape, pitch_nm)
        self.half_nm = half_nm
        self.x = self.x + np.float32(middle_nm[0])
        self.y = self.y + np.float32(middle_nm[1])


class DriftingPlace:
    """A place on a surface that drifts under the scanner; its frames are drawn one after another.

    Within a frame the place stands still: the shear that drift adds to a slow scan is not drawn.

    Parameters
    ----------
    seed : int or tuple of int
        All frames follow from it and the other arguments.
    frames : int
        How many frames are going to be drawn, at least 1: the surface is made large enough for their drift.
    drift_nm : float or (float, float)
        Drift from frame to frame: so many nm in some direction, or along x and y (y up).
    changes : Changes
        What happens to the molecules between two frames.
    rows, columns, size_nm, center_nm, angle_deg, sample, tip
        As for :func:`spm_live_drivers.synthetic.draw_scan`.
    first_direction : ScanDirection
        Which line of the first frame is scanned first.
    alternates : bool
        Whether every second frame is scanned the other way.

    Raises
    ------
    ValueError
        If there is no frame, or the drift is not finite.
    """

    def __init__(
        self,
        seed: int | tuple[int, ...],
        frames: int,
        drift_nm: float | tuple[float, float] = 0.0,
        changes: Changes = UNCHANGED,
        *,
        rows: int = 256,
        columns: int = 256,
        size_nm: float | tuple[float, float] = 40.0,
        center_nm: tuple[float, float] = (0.0, 0.0),
        angle_deg: float = 0.0,
        first_direction: ScanDirection = ScanDirection.DOWN,
        alternates: bool = True,
        sample: Sample | None = None,
        tip: Tip | None = None,
    ) -> None:
        if frames < 1 or not np.isfinite(drift_nm).all():
            raise ValueError("a series has at least one frame, and a finite drift")
        self._seed = seed if isinstance(seed, tuple) else (seed,)
        rng = np.random.default_rng((*self._seed, 0))
        self.sample = sample or draw_sample(rng)
        self.tip = tip or draw_tip(rng, self.sample)
        way = rng.uniform(0, 2 * math.pi)
        if isinstance(drift_nm, (int, float)):
            drift_nm = (drift_nm * math.cos(way), drift_nm * math.sin(way))
        self.drift_nm = (float(drift_nm[0]), float(drift_nm[1]))
        size_nm = (float(size_nm), float(size_nm)) if isinstance(size_nm, (int, float)) else size_nm
        self.geometry = ScanGeometry(rows, columns, size_nm, center_nm, angle_deg)
        self.frames = frames
        self.done = 0
        """Frames that were drawn."""
        self._changes = changes
        self._first, self._alternates = first_direction, alternates
        self._told: dict[str, tuple[int, ...]] = {}
        half = np.array(size_nm) / 2 + MARGIN_NM + np.abs(self.drift_nm) * (frames - 1) / 2
        self._half_nm = (float(half[0]), float(half[1]))
        self._molecules = self._populate()

    def next_scan(self) -> SeriesScan:
        """Draw the next frame.

        Raises
        ------
        ValueError
            If all frames were drawn.
        """
        if self.done == self.frames:
            raise ValueError(f"all {self.frames} frames of the series were drawn")
        number = self.done
        self._told = self._change(number) if number else {}
        self.done += 1
        return self.draw_again()

    def draw_again(self, tip: Tip | None = None, geometry: ScanGeometry | None = None) -> SeriesScan:
        """Draw the last frame once more, with another tip or of another part of the surface.

        Parameters
        ----------
        tip : Tip or None
            None: the one of the series.
        geometry : ScanGeometry or None
            None: that of the series; its centre changes nothing in the picture, and it should not be larger.

        Raises
        ------
        ValueError
            If none was drawn yet.
        """
        if not self.done:
            raise ValueError("no frame of the series was drawn yet")
        number = self.done - 1
        up = (self._first is ScanDirection.UP) != (self._alternates and bool(number % 2))
        direction = ScanDirection.UP if up else ScanDirection.DOWN
        scan, ids = self._draw(number, direction, tip or self.tip, geometry or self.geometry)
        drift_nm = self.drift_nm if number else (0.0, 0.0)
        return SeriesScan(scan, ids, drift_nm, **self._told)

    def _draw(
        self, number: int, direction: ScanDirection, tip: Tip, geometry: ScanGeometry
    ) -> tuple[SyntheticScan, tuple[int, ...]]:
        sample, molecules, middle = self.sample, self._molecules, self._window(number).middle_nm
        grid = Grid((geometry.rows, geometry.columns), geometry.nm_per_px)
        surface, _, _ = self._draw_surface(_View(grid.shape, grid.pitch_nm, self._half_nm, middle), tip)
        shown = Placed(molecules.species, molecules.xy_nm - middle, molecules.angle_rad)
        # Always all molecules of the series, so that each keeps its own small differences from its like.
        rng = np.random.default_rng((*self._seed, 1))
        drawn = draw_molecules(rng, sample.species, shown, grid.shape, grid.pitch_nm, tip.blur_nm)
        here = np.flatnonzero(molecules.here)
        patches = Patches(drawn.heights_nm[here], drawn.level_nm[here], drawn.corners[here])
        shown = Placed(shown.species[here], shown.xy_nm[here], shown.angle_rad[here])
        raised, owner = lay_molecules(patches, grid.shape)
        seen = seen_molecules(sample, shown, patches, owner, grid)
        rng = np.random.default_rng((*self._seed, 2, number))
        doubled = see_with_second_apex(surface + raised, tip, grid)
        forward, backward = record(rng, doubled, tip, grid, direction is ScanDirection.UP)
        scan = SyntheticScan(
            np.ascontiguousarray(forward * np.float32(1e-9)),
            np.ascontiguousarray(backward * np.float32(1e-9)),
            geometry,
            direction,
            tuple(molecule for _, molecule in seen),
        )
        return scan, tuple(int(here[index]) for index, _ in seen)

    def _draw_surface(self, view: Grid, tip: Tip) -> tuple[NDArray[np.float32], Placed, NDArray[np.float64]]:
        """Draw all but the molecules: the picture, the molecules of the first frame, and what holds the ground."""
        rng = np.random.default_rng((*self._seed, 3))
        ground = Ground(self._half_nm)
        surface = draw_terraces(rng, self.sample, view, ground, tip.blur_nm)
        edges = len(ground.discs)
        placed = place_molecules(rng, self.sample, ground)
        dirt = len(ground.discs)
        surface += draw_corrugation(rng, self.sample, view)
        surface += draw_adsorbates(rng, self.sample, view, ground, tip.blur_nm)
        return surface, placed, np.concatenate([ground.discs[:edges], ground.discs[dirt:]])

    def _populate(self) -> Population:
        view = _View((1, 1), self.geometry.nm_per_px, self._half_nm, np.zeros(2))
        _, placed, fixed = self._draw_surface(view, self.tip)
        there = int(np.count_nonzero(self._window(0).holds(placed.xy_nm)))
        appearing = round(self._changes.appear * there)
        rng = np.random.default_rng((*self._seed, 4))
        return Population(self.sample, placed, fixed, appearing, self.frames - 1, rng)

    def _window(self, number: int) -> Window:
        """Where a frame lies on the surface."""
        return Window(((self.frames - 1) / 2 - number) * np.array(self.drift_nm), self.geometry.size_nm)

    def _change(self, number: int) -> dict[str, tuple[int, ...]]:
        """What happens to the molecules before a frame."""
        rng = np.random.default_rng((*self._seed, 5, number))
        return self._molecules.change(rng, self._changes, self._window(number - 1), self._window(number))


def drifting_series(
    seed: int | tuple[int, ...],
    frames: int,
    drift_nm: float | tuple[float, float] = 0.5,
    hop_share: float = 0.1,
    *,
    turn_share: float = 0.0,
    vanish_share: float = 0.0,
    appear_share: float = 0.0,
    rows: int = 256,
    columns: int = 256,
    size_nm: float | tuple[float, float] = 40.0,
    sample: Sample | None = None,
    tip: Tip | None = None,
) -> tuple[SeriesScan, ...]:
    """Draw successive frames of one place.

    Parameters
    ----------
    seed : int or tuple of int
        All frames follow from it and the other arguments.
    frames : int
        How many, at least 1.
    drift_nm : float or (float, float)
        Drift from frame to frame: so many nm in a direction that the seed settles, or along x and y (y up).
    hop_share, turn_share, vanish_share, appear_share : float
        What happens between two frames: see :class:`Changes`.
    rows, columns, size_nm, sample, tip
        As for :func:`spm_live_drivers.synthetic.draw_scan`.

    Returns
    -------
    tuple of SeriesScan
        Scanned down and up in turn.

    Raises
    ------
    ValueError
        If there is no frame, the drift is not finite, or a share is not 0 to 1.
    """
    place = DriftingPlace(
        seed,
        frames,
        drift_nm,
        Changes(hop_share, turn_share, vanish_share, appear_share),
        rows=rows,
        columns=columns,
        size_nm=size_nm,
        sample=sample,
        tip=tip,
    )
    return tuple(place.next_scan() for _ in range(frames))
