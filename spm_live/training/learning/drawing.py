"""What the network learns from: each training picture follows from the seed, the step and its place in the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.errors import SetupError
from spm_live.training.drawn import DrawnRecipe, draw_picture
from spm_live.training.labelled import LabelledPicture
from spm_live.training.learning.settings import TrainingSettings
from spm_live.training.maskrcnn.batch import encode
from spm_live.training.maskrcnn.config import NetworkConfig

LEARNT, VALIDATED = 1, 2
"""First parts of the seeds of drawn pictures: what is validated on was never learnt from."""


@dataclass(frozen=True, slots=True, eq=False)
class BatchDraw:
    """Makes the batch of a step; picklable, so that processes can do it.

    Parameters
    ----------
    seed : int
        Of the run.
    batch : int
        Pictures a step.
    shape : (int, int)
        Rows and columns.
    drawn_share : float
        Part of the pictures that are drawn, 0 to 1.
    augmenter : Augmenter or None
        Changes labelled pictures; None where all are drawn.
    recipe : DrawnRecipe or None
        What to draw; None where nothing is.
    config : NetworkConfig
        Names the classes.
    """

    seed: int
    batch: int
    shape: tuple[int, int]
    drawn_share: float
    augmenter: Any
    recipe: DrawnRecipe | None
    config: NetworkConfig

    def __call__(self, step: int) -> dict[str, NDArray[np.generic]]:
        """Make the batch of a step."""
        return encode([self.picture(step, place) for place in range(self.batch)], self.config)

    def picture(self, step: int, place: int) -> LabelledPicture:
        """Make one training picture."""
        seed = (self.seed, LEARNT, step, place)
        share = np.random.default_rng(seed).random()
        try:
            if self.augmenter is None or share < self.drawn_share:
                assert self.recipe is not None
                return draw_picture(seed, self.recipe)
            return self.augmenter.draw(seed, self.shape)  # type: ignore[no-any-return]
        except Exception as error:
            error.add_note(f"training picture of seed {seed}")
            raise


def batch_draw(settings: TrainingSettings, pictures: Sequence[LabelledPicture], config: NetworkConfig) -> BatchDraw:
    """Set up what the network learns from.

    Parameters
    ----------
    settings : TrainingSettings
    pictures : sequence of LabelledPicture
        As the finished model will be shown them; without any, all is drawn.
    config : NetworkConfig

    Raises
    ------
    SetupError
        If a recipe does not hold.
    """
    augmenter = _augmenter(settings, pictures) if pictures and settings.drawn_share < 1 else None
    recipe = drawn_recipe(settings) if augmenter is None or settings.drawn_share > 0 else None
    shape = settings.rows, settings.columns
    return BatchDraw(settings.seed, settings.batch, shape, settings.drawn_share, augmenter, recipe, config)


def drawn_recipe(settings: TrainingSettings) -> DrawnRecipe:
    """What is drawn: as large as a training picture, prepared as the model will be shown pictures.

    Raises
    ------
    SetupError
        If ``settings.drawn`` does not hold.
    """
    given: dict[str, Any] = {"rows": settings.rows, "columns": settings.columns}
    given |= {"levelling": settings.shown.levelling, "contrast": settings.shown.contrast}
    if settings.shown.nm_per_px is not None:
        given["nm_per_px"] = settings.shown.nm_per_px
    make = DrawnRecipe.monolayer if settings.drawn_kind == "monolayer" else DrawnRecipe
    try:
        return make(**(given | settings.drawn))
    except ValueError as error:
        raise SetupError(f"drawn: {error}") from error


def drawn_classes(settings: TrainingSettings) -> tuple[str, ...]:
    """Classes of drawn molecules."""
    from spm_live_drivers.synthetic.shapes import FAMILIES

    recipe = drawn_recipe(settings)
    if recipe.labels == "one":
        return (recipe.label,)
    return tuple(sorted(recipe.families or FAMILIES))


def drawn_pictures(settings: TrainingSettings, count: int) -> tuple[LabelledPicture, ...]:
    """Pictures to validate on."""
    recipe = drawn_recipe(settings)
    return tuple(draw_picture((settings.seed, VALIDATED, number), recipe) for number in range(count))


def _augmenter(settings: TrainingSettings, pictures: Sequence[LabelledPicture]) -> Any:
    from spm_live.training.augment import Augmenter, recipe_from

    return Augmenter(recipe_from(settings.recipe, settings.recipe_changes), pictures)
