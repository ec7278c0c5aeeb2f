"""How a molecule looks: a sum of round Gaussian lobes with the symmetry of its class."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOLECULE_CLASSES = ("three-lobe", "four-lobe", "rod")
"""Names of the classes, in the order of their indices in the truth."""

SYMMETRY_DEG = {"three-lobe": 120.0, "four-lobe": 90.0, "rod": 180.0}
"""Turn that brings a molecule back onto itself, in degrees."""

MASK_LEVEL = 0.4
"""A pixel belongs to a molecule where the molecule alone reaches this part of its own height."""

RIM_SIGMAS = 1.2
"""A lobe ends this many of its widths from its middle: about where one Gaussian falls to half its height."""


@dataclass(frozen=True, slots=True)
class Species:
    """One kind of molecule as it appears on one sample.

    Parameters
    ----------
    label : str
        One of :data:`MOLECULE_CLASSES`.
    width_nm : float
        Largest extent, rim to rim, in nm.
    height_nm : float
        Apparent height of its highest point, in nm.
    spread : float
        Width (standard deviation) of a lobe over the distance of the outer lobes from the centre: at 0.4 the lobes
        stand apart, at 0.8 they melt into a rounded shape.
    centre : float
        Height of a lobe in the middle over that of the outer ones; 0 for none.
    """

    label: str
    width_nm: float
    height_nm: float
    spread: float
    centre: float = 0.0

    def __post_init__(self) -> None:
        if self.label not in MOLECULE_CLASSES:
            raise ValueError(f"no molecule is called {self.label!r}; there are {', '.join(MOLECULE_CLASSES)}")
        if min(self.width_nm, self.height_nm, self.spread) <= 0:
            raise ValueError("width, height and spread of a molecule are positive")

    @property
    def breadth_nm(self) -> float:
        """Extent across the long axis; the width itself for the round classes."""
        if self.label != "rod":
            return self.width_nm
        return 2 * RIM_SIGMAS * self.spread * self._ring_nm

    @property
    def _ring_nm(self) -> float:
        return self.width_nm / 2 / (1 + RIM_SIGMAS * self.spread)

    def lobes(self) -> NDArray[np.float64]:
        """Place the lobes of an upright molecule.

        Returns
        -------
        (4, 4) or (5, 4) float array
            x and y from the centre in nm (y up), standard deviation in nm, height relative to the outer lobes. Every
            class has five rows, unused ones of height 0, so that molecules can be drawn together.
        """
        count = {"three-lobe": 3, "four-lobe": 4, "rod": 2}[self.label]
        ring, sigma = self._ring_nm, self.spread * self._ring_nm
        lobes = np.zeros((5, 4))
        lobes[:, 2] = sigma
        for index in range(count):
            angle = 2 * math.pi * index / count
            lobes[index] = (ring * math.cos(angle), ring * math.sin(angle), sigma, 1.0)
        lobes[4, 3] = self.centre
        return lobes


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """Molecules at their places on the surface.

    Parameters
    ----------
    species : (N,) int array
        Index into the species of the sample.
    xy_nm : (N, 2) float array
        Centres from the middle of the frame, in nm; y grows up.
    angle_rad : (N,) float array
        Counter-clockwise turn.
    """

    species: NDArray[np.int64]
    xy_nm: NDArray[np.float64]
    angle_rad: NDArray[np.float64]

    def __len__(self) -> int:
        return int(self.species.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """Molecules drawn alone, each on its own small grid.

    Parameters
    ----------
    heights_nm : (N, P, Q) float32 array
        Height over the bare surface.
    level_nm : (N,) float32 array
        Height where the molecule ends: :data:`MASK_LEVEL` of its top.
    corners : (N, 2) int array
        Row and column of the upper left pixel in the frame; may lie outside of it.
    """

    heights_nm: NDArray[np.float32]
    level_nm: NDArray[np.float32]
    corners: NDArray[np.int64]


def draw_molecules(
    rng: np.random.Generator,
    species: tuple[Species, ...],
    placed: Placed,
    shape: tuple[int, int],
    pitch_nm: tuple[float, float],
    tip_nm: float,
) -> Patches:
    """Draw every molecule on a patch of its own.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the small differences between molecules of one species.
    species : tuple of Species
        What ``placed.species`` points into.
    placed : Placed
        Where the molecules lie.
    shape : (int, int)
        Rows and columns of the frame.
    pitch_nm : (float, float)
        Pixel pitch along x and y, in nm.
    tip_nm : float
        Standard deviation of the blur by the tip, in nm. Gaussians convolve to a Gaussian, their variances add.

    Returns
    -------
    Patches
    """
    count = len(placed)
    upright = np.stack([one.lobes() for one in species])[placed.species]
    lobes = _vary(rng, upright)
    cos, sin = np.cos(placed.angle_rad)[:, None], np.sin(placed.angle_rad)[:, None]
    x = placed.xy_nm[:, :1] + lobes[:, :, 0] * cos - lobes[:, :, 1] * sin
    y = placed.xy_nm[:, 1:] + lobes[:, :, 0] * sin + lobes[:, :, 1] * cos
    sigma = np.hypot(lobes[:, :, 2], tip_nm)
    # Pixel coordinates: (0, 0) is the centre of the upper left pixel.
    column = x / pitch_nm[0] + shape[1] / 2 - 0.5
    row = shape[0] / 2 - 0.5 - y / pitch_nm[1]
    reach_nm = max(one.width_nm for one in species) / 2 + 2.6 * float(sigma.max(initial=tip_nm))
    half = [math.ceil(reach_nm / pitch) for pitch in (pitch_nm[1], pitch_nm[0])]
    middle = np.stack(
        [shape[0] / 2 - 0.5 - placed.xy_nm[:, 1] / pitch_nm[1], placed.xy_nm[:, 0] / pitch_nm[0] + shape[1] / 2 - 0.5],
        axis=1,
    )
    corners = np.round(middle).astype(np.int64) - np.array(half)
    down = _bell(row, sigma / pitch_nm[1], corners[:, 0], 2 * half[0] + 1)
    across = _bell(column, sigma / pitch_nm[0], corners[:, 1], 2 * half[1] + 1)
    top = _top(x, y, sigma, lobes[:, :, 3], placed.xy_nm)
    tops_nm = np.array([one.height_nm for one in species])[placed.species] * rng.normal(1.0, 0.03, count)
    weight = (lobes[:, :, 3] * (tops_nm / top)[:, None]).astype(np.float32)
    heights = np.matmul((down * weight[:, :, None]).transpose(0, 2, 1), across)
    return Patches(heights, (MASK_LEVEL * tops_nm).astype(np.float32), corners)


def _vary(rng: np.random.Generator, lobes: NDArray[np.float64]) -> NDArray[np.float64]:
    varied = lobes.copy()
    count = lobes.shape[0]
    varied[:, :, :3] *= rng.normal(1.0, 0.015, (count, 1, 1))
    varied[:, :, 3] *= rng.normal(1.0, 0.05, lobes.shape[:2])
    return varied


def _bell(
    middle: NDArray[np.float64], sigma: NDArray[np.float64], first: NDArray[np.int64], size: int
) -> NDArray[np.float32]:
    """One axis of every lobe: (N, L) centres and widths in pixels give (N, L, size) values."""
    steps = (first[:, None] - middle)[:, :, None] + np.arange(size)
    return np.exp(-0.5 * (steps / sigma[:, :, None]) ** 2).astype(np.float32)


def _top(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    sigma: NDArray[np.float64],
    height: NDArray[np.float64],
    centre: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Highest value of each sum of lobes, looked for at the lobes and in the middle, (N,)."""
    at_x = np.concatenate([x, centre[:, :1]], axis=1)
    at_y = np.concatenate([y, centre[:, 1:]], axis=1)
    square = (at_x[:, :, None] - x[:, None, :]) ** 2 + (at_y[:, :, None] - y[:, None, :]) ** 2
    values = (height[:, None, :] * np.exp(-0.5 * square / sigma[:, None, :] ** 2)).sum(axis=2)
    return np.asarray(values.max(axis=1))
