"""Molecules that hop, turn, leave and come while a place is scanned again and again."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spm_live_drivers.synthetic.layout import radius_nm
from spm_live_drivers.synthetic.molecules import Placed
from spm_live_drivers.synthetic.sample import Sample

HOP_WIDTHS = (0.4, 1.5)
"""A hop takes a molecule this many of its widths away, within these bounds."""

TURN_DEG = (20.0, 40.0)
"""A molecule that turns on the spot turns by an angle within these bounds."""

TRIES = 30
"""Places that are tried for a molecule that hops or comes down, before it stays where it is."""

FAR_NM = 1e6
"""Where molecules are kept that have not come down yet."""


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
class Window:
    """A frame as it lies on the surface: its middle and its size, in nm."""

    middle_nm: NDArray[np.float64]
    size_nm: tuple[float, float]

    def holds(self, xy_nm: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which places, (N, 2) on the surface, lie in it."""
        return np.asarray((np.abs(xy_nm - self.middle_nm) < np.array(self.size_nm) / 2).all(axis=1))


class Population:
    """All molecules of a place, those that have gone and those still to come included.

    Parameters
    ----------
    sample : Sample
        Has their species.
    placed : Placed
        Those that are there at first, on the surface.
    fixed : (F, 3) float array
        x, y and radius in nm of what else holds the ground.
    appearing : int
        How many come down in each of ``steps`` changes, if they find room.
    steps : int
        How often :meth:`change` is going to be called.
    rng : numpy.random.Generator
        Settles the species of those that will come.
    """

    def __init__(
        self,
        sample: Sample,
        placed: Placed,
        fixed: NDArray[np.float64],
        appearing: int,
        steps: int,
        rng: np.random.Generator,
    ) -> None:
        later = appearing * steps
        self.species = np.concatenate([placed.species, rng.choice(len(sample.shares), later, p=sample.shares)])
        """Index into the species of the sample, (N,)."""
        self.xy_nm = np.concatenate([placed.xy_nm, np.full((later, 2), FAR_NM)])
        """Places on the surface, (N, 2)."""
        self.angle_rad = np.concatenate([placed.angle_rad, np.zeros(later)])
        """Counter-clockwise turns, (N,)."""
        self.here = np.concatenate([np.ones(len(placed), np.bool_), np.zeros(later, np.bool_)])
        """Which are on the surface now, (N,)."""
        self._sample = sample
        self._fixed = fixed
        self._born = len(placed)
        self._appearing = appearing
        self._radii = np.array([radius_nm(sample, kind) for kind in range(len(sample.species))])

    def change(
        self, rng: np.random.Generator, changes: Changes, before: Window, now: Window
    ) -> dict[str, tuple[int, ...]]:
        """Let molecules hop, turn, go and come; only such as lie in two frames.

        Parameters
        ----------
        rng : numpy.random.Generator
            Decides.
        changes : Changes
            How many.
        before, now : Window
            The two frames.

        Returns
        -------
        dict
            Identities (indices into the arrays) of those that ``hopped``, ``turned``, ``vanished`` and ``appeared``.
        """
        seen = self.here & before.holds(self.xy_nm) & now.holds(self.xy_nm)
        order = rng.permutation(np.flatnonzero(seen)).tolist()
        counts = [round(share * len(order)) for share in (changes.vanish, changes.turn, changes.hop)]
        vanished, order = order[: counts[0]], order[counts[0] :]
        turned, order = order[: counts[1]], order[counts[1] :]
        self.here[vanished] = False
        for index in turned:
            self.angle_rad[index] += math.radians(rng.uniform(*TURN_DEG)) * rng.choice((-1, 1))
        hopped: list[int] = []
        for index in order:
            if len(hopped) < counts[2] and self._hop(rng, index):
                hopped.append(index)
        coming = range(self._born, self._born + self._appearing)
        self._born += self._appearing
        appeared = [index for index in coming if self._land(rng, index, now)]
        told = {"hopped": hopped, "turned": turned, "vanished": vanished, "appeared": appeared}
        return {name: tuple(sorted(which)) for name, which in told.items()}

    def _hop(self, rng: np.random.Generator, index: int) -> bool:
        width = self._sample.species[self.species[index]].width_nm
        for _ in range(TRIES):
            angle, reach = rng.uniform(0, 2 * math.pi), width * rng.uniform(*HOP_WIDTHS)
            if self._settle(rng, index, self.xy_nm[index] + reach * np.array([math.cos(angle), math.sin(angle)])):
                return True
        return False

    def _land(self, rng: np.random.Generator, index: int, window: Window) -> bool:
        for _ in range(TRIES):
            if self._settle(rng, index, window.middle_nm + rng.uniform(-0.5, 0.5, 2) * window.size_nm):
                return True
        return False

    def _settle(self, rng: np.random.Generator, index: int, place_nm: NDArray[np.float64]) -> bool:
        """Lay a molecule down at a place, turned anyhow, if it finds room there."""
        others = self.here.copy()
        others[index] = False
        to_others = np.hypot(*(self.xy_nm[others] - place_nm).T) - self._radii[self.species[others]]
        to_fixed = np.hypot(*(self._fixed[:, :2] - place_nm).T) - self._fixed[:, 2]
        if min(to_others.min(initial=math.inf), to_fixed.min(initial=math.inf)) < self._radii[self.species[index]]:
            return False
        self.xy_nm[index], self.here[index] = place_nm, True
        self.angle_rad[index] = rng.uniform(0, 2 * math.pi)
        return True
