"""A drawn scan in whose middle the tip changes: it becomes longer or shorter, blunter or sharper, or double."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.contract import ScanDirection
from spm_live_drivers.synthetic.noise import record, see_with_second_apex
from spm_live_drivers.synthetic.sample import Sample, Tip, draw_sample, draw_tip
from spm_live_drivers.synthetic.scan import SyntheticScan, draw_scan
from spm_live_drivers.synthetic.surface import Grid

TIP_CHANGES = (
    "height",
    "blunter",
    "sharper",
    "double",
    "height and blunter",
    "height and sharper",
    "height and double",
)
"""What may happen to a tip."""

NO_CHANGE = "none"
"""A kind for comparison: the tip is drawn as for the others, and stays as it is."""

SHARP_NM, BLUNT_NM = (0.05, 0.12), (0.3, 0.5)
"""Ranges of the blur (standard deviation) by a sharp and by a blunt tip, in nm. An s-wave tip of radius R whose surface
is d away blurs by sqrt((R + d) / (2 kappa)): Tersoff and Hamann 1985, doi:10.1103/PhysRevB.31.805, for small
wave vectors; at 10 / nm, 0.3 nm stand for R + d = 1.8 nm and 0.5 nm for 5 nm."""

JUMP_NM = (0.05, 0.3)
"""Range of the jump of the height, in nm, up or down."""

CALM = Tip(SHARP_NM[0], white_nm=0, pink_nm=0, line_nm=0, scars=0, dropouts=0, jump=0)
"""The sharpest tip, without any fault: it shows the surface as it is."""


@dataclass(frozen=True, slots=True)
class TipSwitch:
    """What happens, and when.

    Parameters
    ----------
    kind : str
        One of :data:`TIP_CHANGES`, or :data:`NO_CHANGE`.
    before, after : Tip
        The tips; they differ in blur and second apex alone.
    jump_nm : float
        How much higher everything is afterwards, in nm.
    line : int
        First line, as scanned, that was recorded by the new tip from its first pixel to its last.
    sample : int
        At which sample of the line before it happened, there and back counted together.
    unrest : int
        Lines before ``line`` in which the tip was unsteady, 0 for a clean change.
    """

    kind: str
    before: Tip
    after: Tip
    jump_nm: float
    line: int
    sample: int
    unrest: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class PlannedChange:
    """A scan with a tip change in it that is about to be recorded.

    Parameters
    ----------
    calm : SyntheticScan
        The surface as the sharpest tip sees it without any fault.
    switch : TipSwitch
        What happens.
    seed : int
        Of the noise.
    """

    calm: SyntheticScan
    switch: TipSwitch
    seed: int

    @property
    def _up(self) -> bool:
        return self.calm.direction is ScanDirection.UP

    @property
    def _grid(self) -> Grid:
        geometry = self.calm.geometry
        return Grid((geometry.rows, geometry.columns), geometry.nm_per_px)

    def record(self) -> SyntheticScan:
        """Scan it."""
        rng, surface = np.random.default_rng(self.seed), self.calm.heights * np.float32(1e9)
        forward, backward = record_switch(rng, surface, self.switch, self._grid, up=self._up)
        return replace(
            self.calm,
            heights=np.ascontiguousarray(forward * np.float32(1e-9)),
            heights_backward=np.ascontiguousarray(backward * np.float32(1e-9)),
        )

    def visible_part(self) -> float:
        """How much of the picture shows another shape at the change: 0 to 1.

        Returns
        -------
        float
            Of the pixels of the six lines around it, the part in which the two tips show heights that differ by more
            than three standard deviations of the white noise, jump and offset between the tips not counted.
        """
        surface = self.calm.heights * np.float32(1e9)
        switch = self.switch
        differ = see(surface, switch.after, self._grid) - see(surface, switch.before, self._grid)
        lines = (differ[::-1] if self._up else differ)[max(0, switch.line - 3) : switch.line + 3]
        lines = lines - np.median(lines, axis=1, keepdims=True)
        return float(np.mean(np.abs(lines) > 3 * switch.before.white_nm))


def draw_tip_change(
    seed: int | tuple[int, ...],
    kind: str,
    *,
    rows: int = 256,
    columns: int = 256,
    size_nm: float | tuple[float, float] | None = None,
    direction: ScanDirection = ScanDirection.DOWN,
    sample: Sample | None = None,
    line: int | None = None,
) -> tuple[SyntheticScan, int]:
    """Draw a scan during which the tip changes once.

    Parameters
    ----------
    seed, kind, rows, columns, size_nm, direction, sample, line
        As for :func:`plan_tip_change`.

    Returns
    -------
    scan : SyntheticScan
        The noise and all faults but the change are those of :func:`spm_live_drivers.synthetic.draw_tip`.
    line : int
        First line, counted as scanned, that was recorded by the new tip from its first pixel to its last.

    Raises
    ------
    ValueError
        If there is no such kind or no such line.

    Examples
    --------
    >>> scan, line = draw_tip_change(5, "height", rows=64, columns=64)
    >>> 9 <= line <= 54
    True
    """
    plan = plan_tip_change(
        seed, kind, rows=rows, columns=columns, size_nm=size_nm, direction=direction, sample=sample, line=line
    )
    return plan.record(), plan.switch.line


def plan_tip_change(
    seed: int | tuple[int, ...],
    kind: str,
    *,
    rows: int = 256,
    columns: int = 256,
    size_nm: float | tuple[float, float] | None = None,
    direction: ScanDirection = ScanDirection.DOWN,
    sample: Sample | None = None,
    line: int | None = None,
) -> PlannedChange:
    """Draw a surface, two tips, and when the one becomes the other.

    Parameters
    ----------
    seed : int or tuple of int
        Everything follows from it and the other arguments.
    kind : str
        One of :data:`TIP_CHANGES`, or :data:`NO_CHANGE`.
    rows, columns, size_nm, direction, sample
        As for :func:`draw_scan`.
    line : int or None
        Where it happens, 1 to ``rows - 1``; None draws one between 15 and 85 % of the lines.

    Raises
    ------
    ValueError
        If there is no such kind or no such line.
    """
    rng = np.random.default_rng(seed)
    sample = sample or draw_sample(rng)
    calm = draw_scan(
        int(rng.integers(2**32)),
        rows=rows,
        columns=columns,
        size_nm=size_nm,
        direction=direction,
        sample=sample,
        tip=CALM,
    )
    lowest = min(one.height_nm for one in sample.species)
    switch = draw_switch(rng, kind, draw_tip(rng, sample), (rows, columns), lowest, line)
    return PlannedChange(calm, switch, int(rng.integers(2**32)))


def draw_switch(
    rng: np.random.Generator,
    kind: str,
    usual: Tip,
    shape: tuple[int, int],
    tall_nm: float,
    line: int | None = None,
) -> TipSwitch:
    """Draw what happens to a tip.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of chance.
    kind : str
        One of :data:`TIP_CHANGES`, or :data:`NO_CHANGE`.
    usual : Tip
        Has the noise and the faults, and the blur where that does not change.
    shape : (int, int)
        Rows and columns of the frame.
    tall_nm : float
        Height of the lowest molecules, in nm: a second apex sees 0.4 to 0.8 of it.
    line : int or None
        As for :func:`draw_tip_change`.

    Raises
    ------
    ValueError
        If there is no such kind or no such line.
    """
    if kind not in (*TIP_CHANGES, NO_CHANGE):
        raise ValueError(f"no tip change is called {kind!r}; there are {', '.join(TIP_CHANGES)}")
    rows, columns = shape
    if line is None:
        line = int(rng.integers(math.ceil(0.15 * rows), max(math.floor(0.85 * rows), math.ceil(0.15 * rows) + 1)))
    if not 1 <= line < rows:
        raise ValueError(f"a tip change lies between two lines: 1 to {rows - 1}, not {line}")
    sharp, blunt = float(rng.uniform(*SHARP_NM)), float(rng.uniform(*BLUNT_NM))
    before = after = replace(usual, double_depth_nm=0.0, jump=0.0)
    if "blunter" in kind:
        before, after = replace(before, blur_nm=sharp), replace(after, blur_nm=blunt)
    elif "sharper" in kind:
        before, after = replace(before, blur_nm=blunt), replace(after, blur_nm=sharp)
    elif "double" in kind:
        angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0.4, 1.5)
        apart = (float(reach * math.cos(angle)), float(reach * math.sin(angle)))
        after = replace(after, double_nm=apart, double_depth_nm=float(tall_nm * rng.uniform(0.2, 0.6)))
    jump = float(rng.uniform(*JUMP_NM) * rng.choice((-1.0, 1.0))) if "height" in kind else 0.0
    unrest = int(rng.integers(1, 4)) if kind != NO_CHANGE and rng.random() < 0.3 else 0
    return TipSwitch(kind, before, after, jump, line, int(rng.integers(0, 2 * columns)), min(unrest, line))


def record_switch(
    rng: np.random.Generator, surface: NDArray[np.float32], switch: TipSwitch, grid: Grid, *, up: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scan a surface with a tip that changes on the way.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the noise.
    surface : (rows, columns) float32 array
        What the sharpest tip sees without any fault, in nm; row 0 at the top.
    switch : TipSwitch
        What happens.
    grid : Grid
        Where the pixels lie.
    up : bool
        The bottom line comes first.

    Returns
    -------
    (rows, columns) float32 array, (rows, columns) float32 array
        Forward and backward picture in nm, both with x growing to the right.
    """
    seed = int(rng.integers(2**32))
    tracks = []
    for tip in (switch.before, switch.after):
        # The same seed twice: noise, scars and creep do not change with the tip.
        both = record(np.random.default_rng(seed), see(surface, tip, grid), tip, grid, up)
        forward, backward = (picture[::-1] if up else picture for picture in both)
        tracks.append(np.concatenate([forward, backward[:, ::-1]], axis=1))
    track, after = tracks
    after += np.float32(switch.jump_nm)
    happened = switch.line - 1
    track[switch.line :] = after[switch.line :]
    track[happened, switch.sample :] = after[happened, switch.sample :]
    unsteady = track[switch.line - switch.unrest : switch.line]
    size = float(np.ptp(surface)) or 0.1
    unsteady += rng.normal(0, 0.3 * size, (switch.unrest, 1)).astype(np.float32)
    unsteady += rng.standard_normal(unsteady.shape, dtype=np.float32) * np.float32(0.1 * size)
    columns = grid.shape[1]
    forward, backward = track[:, :columns], track[:, columns:][:, ::-1]
    return (forward[::-1], backward[::-1]) if up else (forward, backward)


def see(surface: NDArray[np.float32], tip: Tip, grid: Grid) -> NDArray[np.float32]:
    """Blur a surface as a tip does, and let its second apex touch.

    Parameters
    ----------
    surface : (rows, columns) float32 array
        What the sharpest tip sees, in nm.
    tip : Tip
        The tip.
    grid : Grid
        Where the pixels lie.

    Returns
    -------
    (rows, columns) float32 array
        In nm.
    """
    further = math.sqrt(max(0.0, tip.blur_nm**2 - CALM.blur_nm**2))
    seen = surface
    for axis, pitch in ((0, grid.pitch_nm[1]), (1, grid.pitch_nm[0])):
        seen = _blur(seen, further / pitch, axis)
    return see_with_second_apex(seen, tip, grid)


def _blur(picture: NDArray[np.float32], sigma_px: float, axis: int) -> NDArray[np.float32]:
    """Gaussian along one axis; the border goes on as it ends."""
    if sigma_px < 0.1:
        return picture
    reach = min(math.ceil(4 * sigma_px), picture.shape[axis])
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    weights /= weights.sum()
    padding = [(0, 0), (0, 0)]
    padding[axis] = (reach, reach)
    longer = np.pad(picture, padding, mode="edge")
    total = np.zeros_like(picture)
    for place, weight in enumerate(weights.astype(np.float32)):
        part = longer[place : place + picture.shape[0]] if axis == 0 else longer[:, place : place + picture.shape[1]]
        total += weight * part
    return total
