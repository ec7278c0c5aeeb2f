"""What a person may say about how training pictures are made from labelled ones."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from spm_live.training.augment.outlines import KEEP_VISIBLE
from spm_live.training.augment.techniques import TECHNIQUES

Part = Annotated[float, Field(ge=0, le=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Chance(_Settings):
    """How often and how strongly a technique is used.

    Parameters
    ----------
    probability : float
        0 to 1; 0 for never.
    low, high : float
        The number of the technique is drawn evenly between these; see
        :data:`spm_live.training.augment.techniques.TECHNIQUES` for its meaning.
    """

    probability: Part
    low: float
    high: float

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is more than high {self.high}")
        return self


class Shares(_Settings):
    """How often each kind of picture is made; only the ratios count.

    Parameters
    ----------
    plain : float
        One window of one picture.
    mosaic : float
        Several windows side by side, each turned by itself, so that small scales fill the picture; where the scaled
        picture is large enough by itself, a plain one.
    sparse : float
        Molecules scattered on background.
    packed : float
        Molecules on a lattice, close to each other.
    padded : float
        A small window, 0 around it, as a small frame reaches the network.
    """

    plain: float = Field(default=0.45, ge=0)
    mosaic: float = Field(default=0.2, ge=0)
    sparse: float = Field(default=0.12, ge=0)
    packed: float = Field(default=0.13, ge=0)
    padded: float = Field(default=0.1, ge=0)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.plain + self.mosaic + self.sparse + self.packed + self.padded > 0:
            raise ValueError("at least one share must be more than 0")
        return self


def usual_chances() -> dict[str, Chance]:
    """Every technique as often and as strong as the standard recipe has it."""
    return {name: Chance(probability=one.probability, low=one.low, high=one.high) for name, one in TECHNIQUES.items()}


class AugmentRecipe(_Settings):
    """How training pictures are made from labelled ones.

    Parameters
    ----------
    scale : (float, float)
        Result pixels per picture pixel; drawn evenly by its logarithm.
    any_angle : bool
        Turned by any angle; else by quarter turns.
    flips : bool
        Whether mirror images are of the same class. False for molecules whose mirror image is another class.
    squeeze : (float, float)
        Width over height of what was a square.
    shear : float
        The most that x shifts per step along y.
    shares : Shares
        How often each kind of picture is made.
    keep_visible : float
        Molecules of which a smaller part is seen are ignored, 0 to 1.
    mark_fragments : bool
        Whether what looks like a molecule at a picture's border and has no label is ignored rather than background.
    density : (float, float)
        Part of a picture that scattered molecules cover, 0 to 1.
    most_overlap : float
        Part of a molecule that may lie on others, in pictures put together.
    techniques : mapping of str to Chance
        By name; those not named are not used.
    most_techniques : int
        So many at once, at most.
    """

    scale: tuple[Annotated[float, Field(gt=0.02, le=20)], Annotated[float, Field(gt=0.02, le=20)]] = (0.3, 1.25)
    any_angle: bool = True
    flips: bool = True
    squeeze: tuple[Annotated[float, Field(ge=0.5, le=2)], Annotated[float, Field(ge=0.5, le=2)]] = (0.93, 1.075)
    shear: float = Field(default=0.05, ge=0, le=0.5)
    shares: Shares = Shares()
    keep_visible: Part = KEEP_VISIBLE
    mark_fragments: bool = True
    density: tuple[Part, Part] = (0.05, 0.4)
    most_overlap: Part = 0.03
    techniques: dict[str, Chance] = Field(default_factory=usual_chances)
    most_techniques: int = Field(default=5, ge=0, le=100)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        problems = []
        for name in ("scale", "squeeze", "density"):
            low, high = getattr(self, name)
            if low > high:
                problems.append(f"{name} [{low}, {high}] must rise")
        for name, chance in self.techniques.items():
            known = TECHNIQUES.get(name)
            if known is None:
                problems.append(f"techniques.{name}: no such technique; there are {', '.join(TECHNIQUES)}")
            elif chance.low < known.least or chance.high > known.most:
                allowed = f"{known.least} to {known.most} ({known.unit})"
                problems.append(f"techniques.{name}: {chance.low} to {chance.high} leaves {allowed}")
        if problems:
            raise ValueError("; ".join(problems))
        return self
