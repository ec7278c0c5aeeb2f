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
from spm_live_drivers.synthetic.layout import Ground, place_molecules, radius_nm
from spm_live_drivers.synthetic.molecules import Patches, Placed, draw_molecules
from spm_live_drivers.synthetic.noise import record, see_with_second_apex
from spm_live_drivers.synthetic.sample import Sample, Tip, draw_sample, draw_tip
from spm_live_drivers.synthetic.scan import (
    MARGIN_NM,
    SyntheticMolecule,
    SyntheticScan,
    lay_molecules,
    seen_molecules,
)
from spm_live_drivers.synthetic.surface import Grid, draw_adsorbates, draw_corrugation, draw_terraces

HOP_WIDTHS = (0.4, 1.5)
"""A hop takes a molecule this many of its widths away, within these bounds."""

HOP_TRIES = 30
"""Places that are tried for a hop before the molecule stays where it is."""

FAR_NM = 1e6
"""Where molecules are kept that have not come down yet."""


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


@dataclass(frozen=True, slots=True)
class Changes:
    """What happens to the molecules between two frames, as shares of those in the frame, 0 to 1.

    Parameters
    ----------
    hop : float
        Share that hops to a free place 0.4 to 1.5 of its own widths away, turned anyhow.
    turn : float
        Share that turns on the spot by 20 to 40 degrees.
    vanish : float
        Share that leaves the surface.
    appear : float
        Molecules that come down, as a share of those in the first frame.
    """

    hop: float = 0.0
    turn: float = 0.0
    vanish: float = 0.0
    appear: float = 0.0

    def __post_init__(self) -> None:
        if not all(0 <= share <= 1 for share in (self.hop, self.turn, self.vanish, self.appear)):
            raise ValueError("the shares of molecules that change are 0 to 1")


@dataclass(frozen=True, slots=True, eq=False)
class _Molecules:
    """All molecules of a series, those that have gone and those still to come included; the arrays change in place.

    ``species`` (N,), ``xy_nm`` (N, 2) on the surface, ``angle_rad`` (N,), ``here`` (N,): whether it is there now.
    """

    species: NDArray[np.int64]
    xy_nm: NDArray[np.float64]
    angle_rad: NDArray[np.float64]
    here: NDArray[np.bool_]


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
        Which line of the first frame is scanned first; every second frame is scanned the other way.

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
        changes: Changes = Changes(),
        *,
        rows: int = 256,
        columns: int = 256,
        size_nm: float | tuple[float, float] = 40.0,
        center_nm: tuple[float, float] = (0.0, 0.0),
        angle_deg: float = 0.0,
        first_direction: ScanDirection = ScanDirection.DOWN,
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
        self._each = 0  # molecules that come down before every frame but the first
        self._first = first_direction
        self._told: dict[str, tuple[int, ...]] = {}
        half = np.array(size_nm) / 2 + MARGIN_NM + np.abs(self.drift_nm) * (frames - 1) / 2
        self._half_nm = (float(half[0]), float(half[1]))
        self._molecules, self._fixed = self._lay_out()

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
        up = (self._first is ScanDirection.UP) != bool(number % 2)
        direction = ScanDirection.UP if up else ScanDirection.DOWN
        scan, ids = self._draw(number, direction, tip or self.tip, geometry or self.geometry)
        drift_nm = self.drift_nm if number else (0.0, 0.0)
        return SeriesScan(scan, ids, drift_nm, **self._told)

    def _middle(self, number: int) -> NDArray[np.float64]:
        """Where the middle of a frame lies on the surface, in nm."""
        return ((self.frames - 1) / 2 - number) * np.array(self.drift_nm)

    def _draw(
        self, number: int, direction: ScanDirection, tip: Tip, geometry: ScanGeometry
    ) -> tuple[SyntheticScan, tuple[int, ...]]:
        sample, molecules, middle = self.sample, self._molecules, self._middle(number)
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

    def _lay_out(self) -> tuple[_Molecules, NDArray[np.float64]]:
        """The molecules of the first frame, those that will come down later, and the ground that neither may take."""
        view = _View((1, 1), self.geometry.nm_per_px, self._half_nm, np.zeros(2))
        _, placed, fixed = self._draw_surface(view, self.tip)
        first = _Molecules(placed.species, placed.xy_nm, placed.angle_rad, np.ones(len(placed), np.bool_))
        self._each = round(self._changes.appear * np.count_nonzero(self._inside(first.xy_nm, 0)))
        later = self._each * (self.frames - 1)
        kinds = np.random.default_rng((*self._seed, 4)).choice(len(self.sample.shares), later, p=self.sample.shares)
        return (
            _Molecules(
                np.concatenate([first.species, kinds]),
                np.concatenate([first.xy_nm, np.full((later, 2), FAR_NM)]),
                np.concatenate([first.angle_rad, np.zeros(later)]),
                np.concatenate([first.here, np.zeros(later, np.bool_)]),
            ),
            fixed,
        )

    def _inside(self, xy_nm: NDArray[np.float64], number: int) -> NDArray[np.bool_]:
        """Which places lie in a frame."""
        away = np.abs(xy_nm - self._middle(number))
        return np.asarray((away < np.array(self.geometry.size_nm) / 2).all(axis=1))

    def _change(self, number: int) -> dict[str, tuple[int, ...]]:
        """Let the molecules hop, turn, go and come before a frame; only such as are in it and were in the last."""
        rng = np.random.default_rng((*self._seed, 5, number))
        now = self._molecules
        seen = now.here & self._inside(now.xy_nm, number - 1) & self._inside(now.xy_nm, number)
        order = rng.permutation(np.flatnonzero(seen)).tolist()
        counts = [round(share * len(order)) for share in (self._changes.vanish, self._changes.turn)]
        vanished, order = order[: counts[0]], order[counts[0] :]
        turned, order = order[: counts[1]], order[counts[1] :]
        now.here[vanished] = False
        for index in turned:
            now.angle_rad[index] += math.radians(rng.uniform(20, 40)) * rng.choice((-1, 1))
        wanted = round(self._changes.hop * int(np.count_nonzero(seen)))
        hopped: list[int] = []
        for index in order:
            if len(hopped) < wanted and self._hop(rng, index):
                hopped.append(index)
        born = len(now.here) - self._each * (self.frames - number)
        appeared = [index for index in range(born, born + self._each) if self._land(rng, index, number)]
        return {
            name: tuple(sorted(which))
            for name, which in (
                ("hopped", hopped),
                ("turned", turned),
                ("vanished", vanished),
                ("appeared", appeared),
            )
        }

    def _hop(self, rng: np.random.Generator, index: int) -> bool:
        now = self._molecules
        width = self.sample.species[now.species[index]].width_nm
        for _ in range(HOP_TRIES):
            angle, reach = rng.uniform(0, 2 * math.pi), width * rng.uniform(*HOP_WIDTHS)
            place = now.xy_nm[index] + reach * np.array([math.cos(angle), math.sin(angle)])
            if self._free(index, place):
                now.xy_nm[index] = place
                now.angle_rad[index] = rng.uniform(0, 2 * math.pi)
                return True
        return False

    def _land(self, rng: np.random.Generator, index: int, number: int) -> bool:
        now = self._molecules
        for _ in range(HOP_TRIES):
            place = self._middle(number) + rng.uniform(-0.5, 0.5, 2) * self.geometry.size_nm
            if self._free(index, place):
                now.xy_nm[index], now.here[index] = place, True
                now.angle_rad[index] = rng.uniform(0, 2 * math.pi)
                return True
        return False

    def _free(self, index: int, place_nm: NDArray[np.float64]) -> bool:
        """Whether a molecule finds room at a place."""
        now = self._molecules
        radii = np.array([radius_nm(self.sample, kind) for kind in range(len(self.sample.species))])
        others = now.here.copy()
        others[index] = False
        room = radii[now.species[index]]
        to_molecules = np.hypot(*(now.xy_nm[others] - place_nm).T) - radii[now.species[others]]
        to_fixed = np.hypot(*(self._fixed[:, :2] - place_nm).T) - self._fixed[:, 2]
        return bool(min(to_molecules.min(initial=math.inf), to_fixed.min(initial=math.inf)) >= room)


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
