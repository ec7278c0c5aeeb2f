"""Training pictures from labelled ones: turned, bent, disturbed, put together anew; outlines always in step."""

from __future__ import annotations

from spm_live.training.augment.augmenter import Augmenter
from spm_live.training.augment.recipe import AugmentRecipe, Chance, Shares
from spm_live.training.augment.recipes import recipe_from
from spm_live.training.augment.techniques import TECHNIQUES, Technique

__all__ = ["TECHNIQUES", "AugmentRecipe", "Augmenter", "Chance", "Shares", "Technique", "recipe_from"]
