"""Where the molecules of a varied scan lie: loose, in clusters, chains and islands, or wall to wall."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.synthetic.packing import Crowd, pack_cell, repeat, turned
from spm_live_drivers.synthetic.scene import Scene
from spm_live_drivers.synthetic.stamps import Stamp

ACROSS = 9
"""The smallest molecule is this many points of the floor wide."""

MOST_POINTS = 420
"""Longest side of the floor, in points."""

TOUCH = 0.06
"""Part of a molecule that may lie over what is taken already."""

SUBBITS, SUBPOINTS = 4, 16
"""Outlines are filled to a sixteenth of a point."""

MOST_MISSES = 30
"""The surface is full when so many throws in a row found no room."""

MOST_IN_CELL = 8
"""Molecules in a unit cell at most."""


class Floor:
    """The surface as a grid of points that are taken or free.

    Parameters
    ----------
    half_nm : (float, float)
        Half of its width and of its height around the middle of the frame, in nm.
    detail_nm : float
        Width of the smallest molecule, in nm.
    """

    def __init__(self, half_nm: tuple[float, float], detail_nm: float) -> None:
        self.half_nm = half_nm
        self.pitch_nm = max(detail_nm / ACROSS, 2 * max(half_nm) / MOST_POINTS)
        self.shape = (math.ceil(2 * half_nm[1] / self.pitch_nm), math.ceil(2 * half_nm[0] / self.pitch_nm))
        self.taken = np.zeros(self.shape, dtype=np.uint8)

    def points_nm(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """x of the columns and y of the rows, y up."""
        x = (np.arange(self.shape[1]) + 0.5) * self.pitch_nm - self.half_nm[0]
        y = self.half_nm[1] - (np.arange(self.shape[0]) + 0.5) * self.pitch_nm
        return x.astype(np.float32), y.astype(np.float32)

    def take(self, ring_nm: NDArray[np.float64], part: float = TOUCH) -> bool:
        """Take what lies within an outline, if no more than a part of it is taken; all of it may lie outside."""
        points = (ring_nm * (1, -1) + self.half_nm) * (SUBPOINTS / self.pitch_nm) - SUBPOINTS / 2
        x, y, width, height = cv2.boundingRect(points.astype(np.int32))
        # OpenCV fills half a point too far on every side: the outline is made smaller by as much.
        size = np.maximum([width, height], 2 * SUBPOINTS)
        middle = np.array([x, y]) + size / 2
        points = middle + (points - middle) * (1 - SUBPOINTS / size)
        low = x // SUBPOINTS, y // SUBPOINTS
        across, down = (x + width) // SUBPOINTS + 2 - low[0], (y + height) // SUBPOINTS + 2 - low[1]
        mask = np.zeros((down, across), dtype=np.uint8)
        shifted = (points - np.multiply(low, SUBPOINTS) + 0.5).astype(np.int32)
        cv2.fillPoly(mask, [shifted], (1,), shift=SUBBITS)
        top, left = max(0, -low[1]), max(0, -low[0])
        bottom, right = min(down, self.shape[0] - low[1]), min(across, self.shape[1] - low[0])
        if bottom <= top or right <= left:
            return True
        inner = mask[top:bottom, left:right]
        held = self.taken[low[1] + top : low[1] + bottom, low[0] + left : low[0] + right]
        if np.count_nonzero(held & inner) > part * np.count_nonzero(mask):
            return False
        held |= inner
        return True


def arrange(rng: np.random.Generator, scene: Scene, stamps: Sequence[Stamp], floor: Floor, most: int) -> Crowd:
    """Lay the molecules of a scene down.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides.
    scene : Scene
        What there is.
    stamps : sequence of Stamp
        Its species as the tip sees them.
    floor : Floor
        What is free; afterwards, the molecules have taken their places.
    most : int
        No more molecules than this.

    Returns
    -------
    Crowd
    """
    laid: list[Crowd] = []
    if scene.close_packed:
        layer = _layer(rng, scene, stamps, floor.half_nm)
        if scene.layout == "islands":
            layer = layer.kept(_in_island(rng, layer.xy_nm, floor.half_nm))
        layer = _nearest(rng, layer, most, floor.half_nm)
        free = [floor.take(outline_nm(stamps, layer, index), 0.12) for index in range(len(layer))]
        laid.append(layer.kept(np.array(free, dtype=np.bool_)))
        room = most - len(laid[0])
        if scene.layout == "islands" and rng.random() < 0.6:
            laid.append(_loose(rng, scene, stamps, floor, min(room, int(rng.integers(1, 25)))))
    elif scene.layout != "empty":
        laid.append(_loose(rng, scene, stamps, floor, most))
    return Crowd.together(laid) if laid else Crowd.of([])


def outline_nm(stamps: Sequence[Stamp], crowd: Crowd, index: int) -> NDArray[np.float64]:
    """The outline of one molecule at its place, (K, 2) in nm, y up."""
    stamp = stamps[int(crowd.species[index])]
    ring = turned(stamp.outline_nm, float(crowd.angle_rad[index]), bool(crowd.mirrored[index]))
    return np.asarray(ring + crowd.xy_nm[index])


def _layer(rng: np.random.Generator, scene: Scene, stamps: Sequence[Stamp], half_nm: tuple[float, float]) -> Crowd:
    """One or more domains of a close-packed layer, with vacancies."""
    several = len(stamps) > 1
    count = int(rng.integers(2 if several else 1, MOST_IN_CELL + 1)) if several or rng.random() < 0.6 else 1
    kinds = rng.choice(len(stamps), size=count, p=scene.shares)
    if several:
        kinds[: len(stamps)] = np.arange(len(stamps))[:count]
    # The largest come first: they find no room later.
    kinds = kinds[np.argsort([-stamps[kind].area_nm2 for kind in kinds], kind="stable")]
    cell = pack_cell(rng, stamps, kinds.tolist(), scene.coverage, scene.gap)
    seeds = rng.uniform(-1, 1, (1 if rng.random() < 0.7 else int(rng.integers(2, 4)), 2)) * half_nm
    domains = []
    for index, seed in enumerate(seeds):
        tilt = float(rng.uniform(0, 2 * math.pi))
        domain = repeat(cell, tilt, (float(seed[0]), float(seed[1])), half_nm)
        distance = np.hypot(*(domain.xy_nm[:, None, :] - seeds[None]).transpose(2, 0, 1))
        others = np.delete(distance, index, axis=1).min(axis=1, initial=math.inf)
        domains.append(domain.kept(distance[:, index] < others))
    layer = Crowd.together(domains)
    layer = layer.kept(rng.random(len(layer)) > (rng.uniform(0, 0.15) if rng.random() < 0.5 else 0.0))
    jitter = rng.normal(0, 0.012 * scene.narrowest_nm, layer.xy_nm.shape)
    turn = rng.normal(0, 0.03, len(layer))
    return Crowd(layer.species, layer.xy_nm + jitter, layer.angle_rad + turn, layer.mirrored)


def _in_island(rng: np.random.Generator, xy_nm: NDArray[np.float64], half_nm: tuple[float, float]) -> NDArray[np.bool_]:
    """Where slow waves together are high."""
    waves = rng.normal(0, 2.2 / max(half_nm), (5, 2))
    phases = rng.uniform(0, 2 * math.pi, 5)
    total = np.cos(xy_nm @ waves.T + phases).sum(axis=1)
    if not len(total):
        return np.zeros(0, dtype=np.bool_)
    return np.asarray(total > np.quantile(total, rng.uniform(0.15, 0.8)))


def _nearest(rng: np.random.Generator, crowd: Crowd, most: int, half_nm: tuple[float, float]) -> Crowd:
    """Those around some place, where there are too many: an island."""
    if len(crowd) <= most:
        return crowd
    middle = rng.uniform(-0.6, 0.6, 2) * half_nm
    away = turned(crowd.xy_nm - middle, float(rng.uniform(0, math.pi))) * (1.0, rng.uniform(0.4, 1.0))
    # A shore with corners or bays: the distance is scaled by slow waves around the middle.
    way = np.arctan2(away[:, 1], away[:, 0])
    waves = rng.normal(0, 0.12, 4) * np.sin(way[:, None] * np.arange(1, 5) + rng.uniform(0, 2 * math.pi, 4))
    distance = np.hypot(*away.T) * np.exp(waves.sum(axis=1))
    return crowd.kept(distance <= np.partition(distance, most - 1)[most - 1])


def _loose(rng: np.random.Generator, scene: Scene, stamps: Sequence[Stamp], floor: Floor, most: int) -> Crowd:
    """Throw groups of molecules until enough of the surface is covered: single ones, clusters, or chains."""
    wanted_nm2 = scene.coverage * 4 * floor.half_nm[0] * floor.half_nm[1]
    if scene.layout == "crowded":
        wanted_nm2 *= 5
    snap = float(rng.choice([0.0, 30.0, 60.0, 90.0], p=[0.55, 0.15, 0.15, 0.15]))
    found: list[tuple[int, float, float, float, bool]] = []
    covered, missed = 0.0, 0
    while covered < wanted_nm2 and len(found) < most and missed < MOST_MISSES:
        x, y = rng.uniform(-1, 1, 2) * floor.half_nm
        for kind, ex, ey, angle, mirrored in _group(rng, scene, stamps, (float(x), float(y)), snap):
            missed += 1
            ring = turned(stamps[kind].outline_nm, angle, mirrored) + np.array([ex, ey])
            if len(found) < most and floor.take(ring):
                missed = 0
                found.append((kind, ex, ey, angle, mirrored))
                covered += stamps[kind].area_nm2
    return Crowd.of(found)


def _group(
    rng: np.random.Generator, scene: Scene, stamps: Sequence[Stamp], start: tuple[float, float], snap: float
) -> list[tuple[int, float, float, float, bool]]:
    """One molecule, or several in touch: in a heap, or in a row."""
    size = 1
    if scene.layout == "clusters":
        size = 1 + int(min(9, rng.geometric(0.45) - 1))
    elif scene.layout == "chains":
        size = int(rng.integers(2, 12))
    x, y = start
    way = rng.uniform(0, 2 * math.pi)
    kind = int(rng.choice(len(stamps), p=scene.shares))
    turn = _turn(rng, snap)
    group = []
    for _ in range(size):
        group.append((kind, x, y, turn, bool(stamps[kind].chiral and rng.random() < 0.4)))
        last = kind
        if scene.layout == "chains":
            way += rng.normal(0, 0.12)
            turn += rng.normal(0, 0.05)
        else:
            kind, turn = int(rng.choice(len(stamps), p=scene.shares)), _turn(rng, snap)
            way = rng.uniform(0, 2 * math.pi)
        # Round molecules touch at the mean of their widths; long ones may come nearer or stand apart.
        reach = (math.sqrt(stamps[last].area_nm2) + math.sqrt(stamps[kind].area_nm2)) / math.sqrt(math.pi)
        away = reach * rng.uniform(0.95, 1.2)
        x, y = x + away * math.cos(way), y + away * math.sin(way)
    return group


def _turn(rng: np.random.Generator, snap: float) -> float:
    if snap == 0:
        return float(rng.uniform(0, 2 * math.pi))
    return math.radians(snap) * int(rng.integers(12)) + float(rng.normal(0, 0.05))
