"""What lies under the microscope: the species, the surface, and the tip that looks at it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spm_live_drivers.synthetic.molecules import MOLECULE_CLASSES, Species

STEP_NM = 0.2355
"""Height of a monatomic step on Au(111): 0.4078 nm / sqrt(3) (CRC Handbook, lattice constant of gold)."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A surface with molecules on it, the same for all frames taken of it.

    Parameters
    ----------
    species : tuple of Species
        What lies on it; at least one.
    shares : tuple of float
        How often each species comes, adding up to 1.
    coverage : float
        Part of the surface that the loose molecules aim to cover, 0 to about 0.4.
    island : float
        Chance that a frame shows a close-packed island, 0 to 1.
    gap : float
        Smallest room between two molecules, as a part of their width.
    symmetry_deg : float
        The surface turns molecules to multiples of this angle; 0: they lie as they fell.
    steps : float
        Mean number of step edges in a frame.
    adsorbates_per_nm2 : float
        Density of contaminants.
    corrugation_nm, period_nm : float
        Amplitude and period of the pattern of the bare surface.
    """

    species: tuple[Species, ...]
    shares: tuple[float, ...]
    coverage: float = 0.2
    island: float = 0.35
    gap: float = 0.12
    symmetry_deg: float = 60.0
    steps: float = 0.5
    adsorbates_per_nm2: float = 0.006
    corrugation_nm: float = 0.004
    period_nm: float = 2.5

    def __post_init__(self) -> None:
        if not self.species or len(self.species) != len(self.shares):
            raise ValueError("a sample has at least one species, and one share for each")
        if min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError("the shares of the species are positive and add up to 1")


@dataclass(frozen=True, slots=True)
class Tip:
    """The tip and the electronics: everything that spoils a picture.

    Parameters
    ----------
    blur_nm : float
        Standard deviation of the blur, in nm.
    double_nm : (float, float)
        Where a second apex stands, x and y in nm; it sees the surface ``double_depth_nm`` lower.
    double_depth_nm : float
        How much shorter the second apex is, in nm; 0 or less: there is none.
    tilt : (float, float)
        Slope of the surface along x and y, in nm per nm.
    creep_nm : float
        Slow drift of z over the frame, in nm.
    white_nm, pink_nm, line_nm : float
        Standard deviations of white noise, of 1/f noise and of the offsets between lines, in nm.
    scars, dropouts : float
        Mean number in a frame of short streaks, and of stretches where the tip lost contact with the picture.
    jump : float
        Chance that the tip changes in the middle of the frame.
    """

    blur_nm: float = 0.1
    double_nm: tuple[float, float] = (0.0, 0.0)
    double_depth_nm: float = 0.0
    tilt: tuple[float, float] = (0.0, 0.0)
    creep_nm: float = 0.0
    white_nm: float = 0.003
    pink_nm: float = 0.003
    line_nm: float = 0.003
    scars: float = 2.0
    dropouts: float = 0.1
    jump: float = 0.05


def draw_species(rng: np.random.Generator, label: str, height_nm: float) -> Species:
    """Draw one species of about a height: 1.0 to 2.4 nm wide (a rod up to 2.8), its lobes apart or melted together."""
    width = float(rng.triangular(1.0, 1.4, 2.4))
    height = float(height_nm * rng.uniform(0.6, 1.4))
    spread, centre = {
        "three-lobe": (rng.uniform(0.45, 0.95), rng.uniform(0.0, 1.2) * (rng.random() < 0.6)),
        "four-lobe": (rng.uniform(0.38, 0.58), rng.uniform(0.0, 0.9) * (rng.random() < 0.5)),
        "rod": (rng.uniform(0.38, 0.52), rng.uniform(0.6, 1.2)),
    }[label]
    return Species(label, width * (1.15 if label == "rod" else 1.0), height, float(spread), float(centre))


def draw_sample(rng: np.random.Generator) -> Sample:
    """Draw a sample, from clean and sparse to crowded and dirty."""
    count = int(rng.choice([1, 2, 3], p=[0.3, 0.35, 0.35]))
    labels = rng.permutation(MOLECULE_CLASSES)[:count]
    shares = rng.dirichlet(np.full(count, 4.0))
    height = float(np.exp(rng.uniform(np.log(0.06), np.log(0.4))))
    species = tuple(draw_species(rng, str(label), height) for label in labels)
    bare = rng.random() < 0.1
    highest = max(one.height_nm for one in species)
    return Sample(
        species=species,
        shares=tuple(float(share) for share in shares),
        coverage=0.0 if bare else float(rng.uniform(0.02, 0.4)),
        island=0.0 if bare else float(rng.uniform(0.0, 0.8)),
        gap=float(rng.uniform(0.02, 0.4)),
        symmetry_deg=float(rng.choice([0.0, 30.0, 60.0, 90.0], p=[0.55, 0.15, 0.15, 0.15])),
        steps=float(rng.uniform(0.0, 1.2)),
        adsorbates_per_nm2=float(rng.uniform(0.0, 0.02)),
        corrugation_nm=float(highest * rng.uniform(0.0, 0.06)),
        period_nm=float(np.exp(rng.uniform(np.log(0.3), np.log(7.0)))),
    )


def draw_tip(rng: np.random.Generator, sample: Sample) -> Tip:
    """Draw a tip whose faults leave the molecules of a sample still recognisable to a trained eye."""
    lowest = min(one.height_nm for one in sample.species)
    double = rng.random() < 0.08
    angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 1.5)
    return Tip(
        blur_nm=float(rng.uniform(0.05, 0.2)),
        double_nm=(float(reach * np.cos(angle)), float(reach * np.sin(angle))) if double else (0.0, 0.0),
        double_depth_nm=float(lowest * rng.uniform(0.5, 0.9)) if double else 0.0,
        tilt=(float(rng.normal(0, 0.01)), float(rng.normal(0, 0.01))),
        creep_nm=float(rng.normal(0, 0.2)),
        white_nm=float(lowest * np.exp(rng.uniform(np.log(0.004), np.log(0.12)))),
        pink_nm=float(lowest * np.exp(rng.uniform(np.log(0.004), np.log(0.12)))),
        line_nm=float(lowest * np.exp(rng.uniform(np.log(0.003), np.log(0.15)))),
        scars=float(rng.exponential(3.0)),
        dropouts=float(rng.exponential(0.4)),
        jump=float(rng.uniform(0.0, 0.15)),
    )
