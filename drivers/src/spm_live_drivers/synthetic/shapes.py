"""What arbitrary molecules look like: lobes, bars, plates and rings melted together, mostly with some symmetry."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Lobe:
    """A round or elliptic elevation, from a Gaussian to a flat-topped disc.

    Parameters
    ----------
    x, y : float
        Its middle.
    along, across : float
        Half axes at half height.
    angle : float
        Of the first axis, in rad.
    height : float
        Of its top.
    flat : float
        1 for a Gaussian; the larger, the steeper the edge and the flatter the top.
    """

    x: float
    y: float
    along: float
    across: float
    angle: float = 0.0
    height: float = 1.0
    flat: float = 1.0

    def heights(self, x: Plane, y: Plane) -> Plane:
        """Height at every point."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        u = ((x - self.x) * cos + (y - self.y) * sin) / self.along
        v = ((y - self.y) * cos - (x - self.x) * sin) / self.across
        square = u * u + v * v
        if self.flat != 1.0:
            square **= self.flat
        return np.asarray(self.height * np.exp(-math.log(2) * np.minimum(square, 60)), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Bar:
    """A straight piece with round ends: all that is nearer than ``radius`` to a line from (x1, y1) to (x2, y2)."""

    x1: float
    y1: float
    x2: float
    y2: float
    radius: float
    edge: float
    height: float = 1.0

    def heights(self, x: Plane, y: Plane) -> Plane:
        """Height at every point; falls to half at the radius, over about four times ``edge``."""
        dx, dy = self.x2 - self.x1, self.y2 - self.y1
        square = max(dx * dx + dy * dy, 1e-12)
        part = np.clip(((x - self.x1) * dx + (y - self.y1) * dy) / square, 0, 1)
        distance = np.hypot(x - self.x1 - part * dx, y - self.y1 - part * dy)
        return _falling(np.asarray(distance - self.radius, dtype=np.float32), self.edge, self.height)


@dataclass(frozen=True, slots=True)
class Plate:
    """A regular polygon of ``corners`` corners, rounded, that bulges in the middle or at its corners.

    Parameters
    ----------
    corners : int
        At least 3.
    inradius : float
        Distance of the sides from the middle.
    roundness : float
        Scale over which the sides melt into each other, as a part of the inradius.
    edge : float
        A quarter of the width of the slope.
    dome : float
        How much lower it is one inradius from the middle; negative: higher.
    """

    corners: int
    inradius: float
    roundness: float
    edge: float
    dome: float = 0.0
    height: float = 1.0

    def heights(self, x: Plane, y: Plane) -> Plane:
        """Height at every point."""
        sharp = 1 / (self.roundness * self.inradius)
        total = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.float32)
        for index in range(self.corners):
            angle = 2 * math.pi * (index + 0.5) / self.corners
            beyond = x * math.cos(angle) + y * math.sin(angle) - self.inradius
            total += np.exp(np.clip(beyond * sharp, -40, 40))
        distance = np.asarray(np.log(total) / sharp, dtype=np.float32)
        bulge = 1 - self.dome * (x * x + y * y) / self.inradius**2
        return np.asarray(_falling(distance, self.edge, self.height) * np.clip(bulge, 0.2, 2), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Ring:
    """A closed ring, brighter in ``lobes`` places by the part ``beat``."""

    radius: float
    width: float
    lobes: int = 0
    beat: float = 0.0
    height: float = 1.0

    def heights(self, x: Plane, y: Plane) -> Plane:
        """Height at every point."""
        across = (np.hypot(x, y) - self.radius) / self.width
        height = self.height * np.exp(-0.5 * across * across)
        if self.lobes and self.beat:
            height *= 1 - self.beat * (0.5 - 0.5 * np.cos(self.lobes * np.arctan2(y, x)))
        return np.asarray(height, dtype=np.float32)


Part = Lobe | Bar | Plate | Ring


@dataclass(frozen=True, slots=True)
class Shape:
    """The look of one species, in arbitrary units of length, its top at a height of about 1.

    Parameters
    ----------
    family : str
        One of :data:`FAMILIES`.
    parts : tuple of Part
        What it consists of.
    melt : int
        0: the heights of the parts add up; 1: their squares do; 2: their fourth powers, and so on: the larger, the
        more the highest alone is seen.
    rim : float
        Depth of a dark rim around it (a "sombrero"), as a part of its height.
    chiral : bool
        Its mirror image is another shape.
    """

    family: str
    parts: tuple[Part, ...]
    melt: int = 0
    rim: float = 0.0
    chiral: bool = False

    def heights(self, x: Plane, y: Plane) -> Plane:
        """Height at every point, without the rim; its top is 1.

        Parameters
        ----------
        x, y : float32 arrays that broadcast
            Points, y up.

        Returns
        -------
        float32 array
        """
        total = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.float32)
        for part in self.parts:
            height = part.heights(x, y)
            for _ in range(self.melt):  # squares are a tenth of the work of any other power
                height = height * height
            total += height
        for _ in range(self.melt):
            total = np.sqrt(total)
        return np.asarray(total / max(float(total.max()), 1e-6), dtype=np.float32)


def _falling(distance: Plane, edge: float, height: float) -> Plane:
    return np.asarray(height / (1 + np.exp(np.clip(distance / edge, -40, 40))), dtype=np.float32)


def _bump(rng: np.random.Generator) -> Shape:
    """A small adsorbate or an adatom: one round elevation, now and then in a dark rim."""
    rim = rng.uniform(0.1, 0.5) if rng.random() < 0.25 else 0.0
    return Shape("bump", (Lobe(0, 0, 1, rng.uniform(0.8, 1), 0, 1, rng.uniform(1, 1.4)),), rim=rim)


def _disc(rng: np.random.Generator) -> Shape:
    parts: list[Part] = [Lobe(0, 0, 1, 1, 0, 1, rng.uniform(1.5, 4))]
    if rng.random() < 0.4:
        angle, away = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.4)
        size = rng.uniform(0.3, 0.5)
        parts.append(Lobe(away * math.cos(angle), away * math.sin(angle), size, size, 0, rng.uniform(0.2, 0.6)))
    return Shape("disc", tuple(parts))


def _ellipse(rng: np.random.Generator) -> Shape:
    return Shape("ellipse", (Lobe(0, 0, 1, rng.uniform(0.35, 0.75), 0, 1, rng.uniform(1, 2.5)),))


def _dumbbell(rng: np.random.Generator) -> Shape:
    size, other = rng.uniform(0.3, 0.55), rng.uniform(0.75, 1.25) if rng.random() < 0.3 else 1.0
    height = rng.uniform(0.6, 1) if rng.random() < 0.3 else 1.0
    parts: list[Part] = [
        Lobe(-0.6, 0, size, size, 0, 1, rng.uniform(1, 2)),
        Lobe(0.6, 0, size * other, size * other, 0, height, rng.uniform(1, 2)),
    ]
    if rng.random() < 0.6:
        parts.append(Bar(-0.6, 0, 0.6, 0, size * rng.uniform(0.3, 0.8), 0.08, rng.uniform(0.4, 0.8)))
    return Shape("dumbbell", tuple(parts), melt=int(rng.integers(1, 3)))


def _rod(rng: np.random.Generator) -> Shape:
    radius = rng.uniform(0.14, 0.4)
    parts: list[Part] = [Bar(-1, 0, 1, 0, radius, radius * rng.uniform(0.12, 0.35), rng.uniform(0.6, 1))]
    count = int(rng.integers(0, 5))
    for x in np.linspace(-1, 1, count) if count > 1 else ():
        size = radius * rng.uniform(0.6, 1.1)
        parts.append(Lobe(float(x), 0, size, size, 0, rng.uniform(0.3, 0.9)))
    return Shape("rod", tuple(parts), melt=int(rng.integers(0, 2)))


def _ring(rng: np.random.Generator) -> Shape:
    lobes = int(rng.choice([0, 2, 3, 4, 6, 8]))
    parts: list[Part] = [Ring(1, rng.uniform(0.18, 0.4), lobes, rng.uniform(0.2, 0.9))]
    if rng.random() < 0.35:
        size = rng.uniform(0.25, 0.45)
        parts.append(Lobe(0, 0, size, size, 0, rng.uniform(0.5, 1.5)))
    return Shape("ring", tuple(parts))


def _plate(rng: np.random.Generator) -> Shape:
    corners = int(rng.choice([3, 4, 5, 6], p=[0.7, 0.15, 0.05, 0.1]))
    plate = Plate(corners, 1, rng.uniform(0.06, 0.35), rng.uniform(0.05, 0.22), rng.uniform(-0.1, 0.22))
    parts: list[Part] = [plate]
    if rng.random() < 0.4:
        reach, size, height = rng.uniform(0.6, 1.3), rng.uniform(0.3, 0.6), rng.uniform(0.15, 0.6)
        parts += [Lobe(x, y, size, size, 0, height) for x, y in _orbit(corners, reach, 0)]
    return Shape("plate", tuple(parts))


def _star(rng: np.random.Generator) -> Shape:
    """Arms that meet in the middle, straight or with a bend, thick or thin."""
    arms = int(rng.choice([2, 3, 4, 6], p=[0.12, 0.6, 0.2, 0.08]))
    radius = rng.uniform(0.2, 0.45) * (0.6 if arms > 4 else 1)
    edge, end = radius * rng.uniform(0.15, 0.4), rng.uniform(0.6, 1.0)
    bent = rng.uniform(0.4, 1.0) if arms == 2 else 0.0
    parts: list[Part] = []
    for index in range(arms):
        angle = (2 * math.pi / arms) * index + (bent if index else 0.0)
        x, y = math.cos(angle), math.sin(angle)
        parts.append(Bar(0, 0, x, y, radius, edge, end))
        if rng.random() < 0.5:
            parts.append(Lobe(x, y, radius * 1.2, radius * 1.2, 0, rng.uniform(0.6, 1.0)))
    if rng.random() < 0.6:
        size = radius * rng.uniform(1, 1.8)
        parts.append(Lobe(0, 0, size, size, 0, rng.uniform(0.7, 1.0)))
    return Shape("star", tuple(parts), melt=int(rng.integers(1, 4)))


def _lobes(rng: np.random.Generator) -> Shape:
    """One to three sets of lobes, each set with the symmetry C1 to C6 of the molecule, perhaps with mirrors."""
    order = int(rng.choice([1, 2, 3, 4, 5, 6], p=[0.1, 0.3, 0.25, 0.2, 0.05, 0.1]))
    mirror = bool(rng.random() < 0.5)
    parts: list[Part] = []
    for ring in range(int(rng.integers(1, 3))):
        reach = rng.uniform(0.7, 1.0) if ring == 0 else rng.uniform(0.3, 0.7)
        angle = 0.0 if ring == 0 else rng.uniform(0, 2 * math.pi / order)
        size, thin, height = rng.uniform(0.2, 0.5), rng.uniform(0.6, 1), rng.uniform(0.55, 1.0)
        angles = [angle, -angle] if mirror and ring else [angle]
        for start in angles:
            for index, (x, y) in enumerate(_orbit(order, reach, start)):
                if len(parts) < 9:
                    parts.append(Lobe(x, y, size, size * thin, start + 2 * math.pi * index / order, height))
    if rng.random() < 0.5 or len(parts) < 2:
        size = rng.uniform(0.25, 0.6)
        parts.append(Lobe(0, 0, size, size, 0, rng.uniform(0.4, 1.2)))
    return Shape("lobes", tuple(parts), melt=int(rng.integers(0, 3)), chiral=not mirror)


def _chain(rng: np.random.Generator) -> Shape:
    """Lobes in a bent row: flexible molecules, without any symmetry."""
    count, angle = int(rng.integers(2, 6)), 0.0
    x = y = 0.0
    places = []
    for _ in range(count):
        places.append((x, y))
        angle += rng.normal(0, 0.7)
        step = rng.uniform(0.5, 0.9)
        x, y = x + step * math.cos(angle), y + step * math.sin(angle)
    middle = np.mean(places, axis=0)
    parts: list[Part] = []
    for px, py in places - middle:
        size = rng.uniform(0.3, 0.55)
        parts.append(Lobe(float(px), float(py), size, size, 0, rng.uniform(0.55, 1), rng.uniform(1, 1.6)))
    return Shape("chain", tuple(parts), melt=int(rng.integers(0, 2)), chiral=True)


def _orbit(order: int, reach: float, start: float) -> list[tuple[float, float]]:
    angles = [start + 2 * math.pi * index / order for index in range(order)]
    return [(reach * math.cos(angle), reach * math.sin(angle)) for angle in angles]


_DRAWN: dict[str, Callable[[np.random.Generator], Shape]] = {
    "bump": _bump,
    "disc": _disc,
    "ellipse": _ellipse,
    "dumbbell": _dumbbell,
    "rod": _rod,
    "ring": _ring,
    "plate": _plate,
    "star": _star,
    "lobes": _lobes,
    "chain": _chain,
}

FAMILIES = tuple(_DRAWN)
"""Kinds of shapes: a name says how a shape is made, and each gives endlessly many."""


def draw_shape(rng: np.random.Generator, family: str) -> Shape:
    """Draw one shape of a family.

    Raises
    ------
    ValueError
        If there is no such family.
    """
    if family not in _DRAWN:
        raise ValueError(f"no family of shapes is called {family!r}; there are {', '.join(FAMILIES)}")
    return _DRAWN[family](rng)
