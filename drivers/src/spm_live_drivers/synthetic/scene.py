"""What a varied scan shows: drawn at random, from one adsorbate on a flat terrace to close-packed layers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from spm_live_drivers.synthetic.sample import STEP_NM, Tip
from spm_live_drivers.synthetic.shapes import FAMILIES, Shape, draw_shape
from spm_live_drivers.synthetic.stamps import OUTLINE_LEVEL

LAYOUTS = ("monolayer", "islands", "crowded", "clusters", "chains", "sparse", "empty")
"""How molecules may lie: see :mod:`spm_live_drivers.synthetic.arrange`."""

LEAST_OVER_STEP = 0.3
"""Molecules are at least this part of a step high, or the grey scale of a frame with steps would not show them."""


@dataclass(frozen=True, slots=True)
class Variety:
    """How much the scenes may differ.

    Parameters
    ----------
    width_nm : (float, float)
        Range of the largest extent of a molecule, in nm; its logarithm is drawn from a triangle with its top at two
        fifths.
    families : mapping of str to float
        How often each family of shapes comes, relative to the others.
    layouts : mapping of str to float
        How often each layout comes.
    species : tuple of float
        How often one, two, three ... species lie together.
    dark : float
        Chance that molecules are depressions, 0 to 1.
    negatives : float
        How much there is on the surface that is no molecule: 0 none, 1 as usual.
    noise : float
        Scale of all noise and faults; 1 as usual.
    outline : float
        Where outlines run, as a part of the height of a molecule, 0 to 1.
    """

    width_nm: tuple[float, float] = (0.5, 6.0)
    families: dict[str, float] = field(default_factory=lambda: dict.fromkeys(FAMILIES, 1.0) | {"bump": 2.5})
    layouts: dict[str, float] = field(
        default_factory=lambda: dict(zip(LAYOUTS, (0.18, 0.13, 0.1, 0.17, 0.06, 0.28, 0.08), strict=True))
    )
    species: tuple[float, ...] = (0.6, 0.32, 0.08)
    dark: float = 0.12
    negatives: float = 1.0
    noise: float = 1.0
    outline: float = OUTLINE_LEVEL

    def __post_init__(self) -> None:
        if not 0 < self.width_nm[0] <= self.width_nm[1]:
            raise ValueError("the widths of molecules are positive and rising")
        for what, given, known in (("family", self.families, FAMILIES), ("layout", self.layouts, LAYOUTS)):
            if unknown := sorted(set(given) - set(known)):
                raise ValueError(f"no {what} is called {', '.join(unknown)}; there are {', '.join(known)}")
            if sum(given.values()) <= 0 or min(given.values()) < 0:
                raise ValueError(f"the weights of the {what} names are not negative, and one is positive")
        if not self.species or sum(self.species) <= 0 or min(self.species) < 0:
            raise ValueError("species needs at least one positive weight")


@dataclass(frozen=True, slots=True)
class Kind:
    """One species: its shape, its largest extent and its height, in nm."""

    shape: Shape
    width_nm: float
    height_nm: float


@dataclass(frozen=True, slots=True)
class Background:
    """What lies under and beside the molecules and is none.

    Parameters
    ----------
    steps : int
        Number of step edges.
    step_rim : float
        Height of a bright line along them, as a part of a step.
    lattice_nm, lattice_period_nm : float
        Amplitude and period of the atoms.
    moire_nm, moire_period_nm : float
        The same of a long pattern.
    stripes_nm, stripes_period_nm : float
        The same of pairs of parallel zigzag lines (the herringbone of Au(111), doi:10.1103/PhysRevB.42.9307).
    rolling_nm : float
        Amplitude of slow shapeless waves.
    pits : int
        Number of large shapeless depressions or islands of the substrate.
    dirt : int
        Number of lumps; they are to be ignored, neither molecules nor background.
    """

    steps: int = 0
    step_rim: float = 0.0
    lattice_nm: float = 0.0
    lattice_period_nm: float = 0.28
    moire_nm: float = 0.0
    moire_period_nm: float = 2.5
    stripes_nm: float = 0.0
    stripes_period_nm: float = 6.3
    rolling_nm: float = 0.0
    pits: int = 0
    dirt: int = 0


@dataclass(frozen=True, slots=True)
class Look:
    """How the instrument shows it.

    Parameters
    ----------
    halo : float
        Depth of the dark surroundings of what is high, as constant height and a fast feedback give, 0 to 1.
    slope : float
        Part of the derivative along the fast axis in the picture, as a slow feedback's error signal shows it.
    smear_px : float
        How many pixels along the fast axis the feedback lags behind.
    hum_nm : float
        Amplitude of a vibration of one frequency.
    inverted : bool
        High is dark, as in a current at constant height or a frequency shift.
    """

    halo: float = 0.0
    slope: float = 0.0
    smear_px: float = 0.0
    hum_nm: float = 0.0
    inverted: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a varied scan follows from, but its frame and its seed.

    Parameters
    ----------
    kinds : tuple of Kind
        Species that may lie here; at least one.
    shares : tuple of float
        How often each comes, adding up to 1.
    layout : str
        One of :data:`LAYOUTS`.
    coverage : float
        Part of the surface that loose molecules are to cover. In a layer, the area of the molecules of a unit cell over
        that of the cell: above about 0.9 some find no room, and leave holes.
    gap : float
        Room around molecules that touch, as a part of their size.
    blend : float
        Where molecules overlap: 0, the higher one is seen; 1, their heights add up.
    background, tip, look
        See there.
    scanned : float
        Part of the lines that the scan got to, above 0 and up to 1.
    outline : float
        Where outlines run, as a part of the height of a molecule, 0 to 1.
    """

    kinds: tuple[Kind, ...]
    shares: tuple[float, ...]
    layout: str = "sparse"
    coverage: float = 0.1
    gap: float = 0.05
    blend: float = 0.3
    background: Background = field(default_factory=Background)
    tip: Tip = field(default_factory=Tip)
    look: Look = field(default_factory=Look)
    scanned: float = 1.0
    outline: float = OUTLINE_LEVEL

    @property
    def widest_nm(self) -> float:
        """Extent of the largest species."""
        return max(one.width_nm for one in self.kinds)

    @property
    def narrowest_nm(self) -> float:
        """Extent of the smallest species."""
        return min(one.width_nm for one in self.kinds)

    @property
    def close_packed(self) -> bool:
        """Whether molecules lie wall to wall."""
        return self.layout in ("monolayer", "islands")


def draw_scene(rng: np.random.Generator, variety: Variety = Variety()) -> Scene:
    """Draw what there is to see."""
    layout = _one_of(rng, variety.layouts)
    count = 1 + int(rng.choice(len(variety.species), p=np.array(variety.species) / sum(variety.species)))
    low, high = math.log(variety.width_nm[0]), math.log(variety.width_nm[1])
    width = math.exp(rng.triangular(low, low + 0.4 * (high - low), high) if high > low else low)
    height = math.exp(rng.uniform(math.log(0.04), math.log(0.5)))
    kinds = []
    for index in range(count):
        # Species that lie together are of like size, and one may be clearly higher.
        part = 1.0 if index == 0 else float(np.exp(rng.uniform(-0.5, 0.5)))
        extent = float(np.clip(width * part, *variety.width_nm))
        kinds.append(Kind(draw_shape(rng, _one_of(rng, variety.families)), extent, height * rng.uniform(0.65, 1.0)))
    shares = rng.dirichlet(np.full(count, 4.0))
    background = _background(rng, layout, height, variety.negatives)
    # Beside many steps nothing low can be seen.
    lift = max(1.0, LEAST_OVER_STEP * STEP_NM * math.sqrt(background.steps + background.pits) / height)
    kinds = [replace(one, height_nm=one.height_nm * lift) for one in kinds]
    inverted = bool(rng.random() < variety.dark)
    return Scene(
        kinds=tuple(kinds),
        shares=tuple(float(share) for share in shares / shares.sum()),
        layout=layout,
        coverage=float(rng.uniform(0.75, 1.3) if layout in ("monolayer", "islands") else rng.uniform(0.02, 0.22)),
        gap=float(rng.uniform(-0.015, 0.06)),
        blend=float(rng.uniform(0.0, 0.85)),
        background=background,
        tip=_tip(rng, height * lift, min(one.width_nm for one in kinds), variety.noise),
        look=_look(rng, height * lift, inverted, variety.noise),
        scanned=float(rng.uniform(0.15, 0.95)) if rng.random() < 0.07 else 1.0,
        outline=variety.outline,
    )


def _one_of(rng: np.random.Generator, weights: dict[str, float]) -> str:
    names = sorted(weights)
    values = np.array([weights[name] for name in names], dtype=np.float64)
    return names[int(rng.choice(len(names), p=values / values.sum()))]


def _background(rng: np.random.Generator, layout: str, height: float, much: float) -> Background:
    """Patterns stay lower than molecules, but where there are none they may be all there is."""
    alone = layout == "empty"
    dense = layout == "monolayer"

    def perhaps(chance: float, low: float, high: float) -> float:
        drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
        return drawn * height if rng.random() < chance * much * (2.0 if alone else 1.0) else 0.0

    return Background(
        steps=int(min(4, rng.poisson(much * (1.0 if alone else 0.15 if dense else 0.45)))),
        step_rim=float(rng.uniform(0.0, 0.6)) if rng.random() < 0.3 else 0.0,
        lattice_nm=perhaps(0.25, 0.01, 0.12),
        lattice_period_nm=float(rng.uniform(0.22, 0.36)),
        moire_nm=perhaps(0.15, 0.02, 0.25),
        moire_period_nm=float(np.exp(rng.uniform(math.log(0.9), math.log(8)))),
        stripes_nm=perhaps(0.12, 0.03, 0.25),
        stripes_period_nm=float(rng.uniform(5.5, 7.5)),
        rolling_nm=perhaps(0.5, 0.02, 0.4),
        pits=int(min(4, rng.poisson(much * 0.15))),
        dirt=int(min(8, rng.poisson(much * (0.1 if dense else 0.7)))),
    )


def _tip(rng: np.random.Generator, height: float, width: float, noise: float) -> Tip:
    double = rng.random() < 0.06 * min(noise, 1)
    angle, reach = rng.uniform(0, 2 * np.pi), width * rng.uniform(0.25, 1.0)

    def level(low: float, high: float) -> float:
        # Most published pictures are calm.
        least, most = math.log(low), math.log(high)
        return float(height * noise * np.exp(rng.triangular(least, least + 0.35 * (most - least), most)))

    return Tip(
        blur_nm=float(width * np.exp(rng.uniform(math.log(0.02), math.log(0.16)))),
        double_nm=(float(reach * np.cos(angle)), float(reach * np.sin(angle))),
        double_depth_nm=float(height * rng.uniform(0.5, 0.9)) if double else 0.0,
        tilt=(float(rng.normal(0, 0.01)), float(rng.normal(0, 0.01))),
        creep_nm=float(rng.normal(0, 1.2 * height * noise)) if rng.random() < 0.5 else 0.0,
        white_nm=level(0.002, 0.12),
        pink_nm=level(0.004, 0.15),
        line_nm=level(0.003, 0.2),
        scars=float(rng.exponential(0.8 * noise)),
        dropouts=float(rng.exponential(0.1 * noise)),
        jump=0.1 * min(noise, 1),
    )


def _look(rng: np.random.Generator, height: float, inverted: bool, noise: float) -> Look:
    return Look(
        halo=float(rng.uniform(0.1, 0.7)) if rng.random() < (0.4 if inverted else 0.12) else 0.0,
        slope=float(rng.uniform(-0.5, 0.5)) if rng.random() < 0.07 else 0.0,
        smear_px=float(rng.uniform(0.3, 1.5)) if rng.random() < 0.2 * min(noise, 1) else 0.0,
        hum_nm=float(height * noise * rng.uniform(0.01, 0.12)) if rng.random() < 0.12 else 0.0,
        inverted=inverted,
    )
