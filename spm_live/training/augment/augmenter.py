"""Makes training pictures: one seed, one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spm_live.errors import SetupError
from spm_live.training.augment.affine import about, linear, warp, warp_image
from spm_live.training.augment.compose import TRIES, packed, put_together, scattered, side_by_side
from spm_live.training.augment.fragments import mirrored, with_fragments
from spm_live.training.augment.outlines import seen_of, trimmed
from spm_live.training.augment.recipe import AugmentRecipe
from spm_live.training.augment.sprites import Sprite, Stamp, background_of, cut_out, stamp_of
from spm_live.training.augment.techniques import BEND_PX, ORDER, TECHNIQUES
from spm_live.training.labelled import LabelledPicture

KINDS = ("plain", "mosaic", "sparse", "packed", "padded")
MOST_MIRRORED = 640
"""A picture is continued by its mirror image this far at most, in pixels."""
LEAST_REAL = 0.55
"""A window of which a smaller part can lie within the picture is made as a mosaic instead."""
CELL = 0.8
"""Side of the windows of a mosaic, in sides of the scaled picture."""
MOST_CELLS = 6
"""Windows along one side of a mosaic."""
STAMPS = 10
"""Differently turned molecules in one picture that is put together; each may come several times."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A labelled picture, made ready.

    Parameters
    ----------
    picture : LabelledPicture
        Fragments at its border marked.
    extended : LabelledPicture
        The same with its mirror images around it.
    margin : (int, int)
        x and y of the picture's corner in ``extended``.
    background : (rows, columns) float32 array
        Of ``extended``'s shape, without molecules.
    sprites : tuple of Sprite
        Its molecules.
    """

    picture: LabelledPicture
    extended: LabelledPicture
    margin: int
    background: NDArray[np.float32]
    sprites: tuple[Sprite, ...]


class Augmenter:
    """Makes training pictures from labelled ones.

    Parameters
    ----------
    recipe : AugmentRecipe
        How.
    pictures : sequence of LabelledPicture
        From what; each is as likely as it has pixels.

    Raises
    ------
    SetupError
        If there are no pictures, or one has no scanned pixel.

    Examples
    --------
    >>> from spm_live.training.labelled import LabelledMolecule
    >>> square = np.array([[20.0, 20.0], [44.0, 20.0], [44.0, 44.0], [20.0, 44.0]])
    >>> image = np.zeros((96, 96), dtype=np.float32)
    >>> image[20:44, 20:44] = 1.0
    >>> picture = LabelledPicture("square", image, (LabelledMolecule("a", (square,)),))
    >>> drawn = Augmenter(AugmentRecipe(), [picture]).draw((1, 2), (64, 64))
    >>> drawn.image.shape
    (64, 64)
    """

    def __init__(self, recipe: AugmentRecipe, pictures: Sequence[LabelledPicture]) -> None:
        empty = [one.name for one in pictures if not np.isfinite(one.image).any()]
        problems = [f"{name}: no pixel of the picture was scanned; leave it out" for name in empty]
        if not pictures:
            problems.append("no labelled pictures to make training pictures from; give at least one")
        if problems:
            raise SetupError(problems)
        self.recipe = recipe
        self._sources = tuple(_source(one, recipe) for one in pictures)
        sizes = np.array([one.image.size for one in pictures], dtype=np.float64)
        self._likely = sizes / sizes.sum()
        shares = np.array([getattr(recipe.shares, kind) for kind in KINDS])
        self._shares = shares / shares.sum()

    def draw(self, seed: tuple[int, ...], size: tuple[int, int]) -> LabelledPicture:
        """Make one training picture.

        Parameters
        ----------
        seed : tuple of int
            Not negative. One seed, one picture.
        size : (int, int)
            Rows and columns.

        Returns
        -------
        LabelledPicture
            0 to 1, and 0 where not scanned, as the network is shown it.
        """
        rng = np.random.default_rng(seed)
        names = self._techniques(rng)
        margin = BEND_PX * sum(TECHNIQUES[name].bends for name in names)
        picture = self._composition(rng, (size[0] + 2 * margin, size[1] + 2 * margin))
        for name in names:
            if margin and not TECHNIQUES[name].bends:
                picture, margin = cropped(picture, margin, self.recipe.keep_visible), 0
            chance = self.recipe.techniques[name]
            picture = TECHNIQUES[name].apply(picture, rng, float(rng.uniform(chance.low, chance.high)))
        if margin:
            picture = cropped(picture, margin, self.recipe.keep_visible)
        image = np.clip(np.nan_to_num(picture.image, nan=0.0), 0, 1)
        return replace(picture, image=np.ascontiguousarray(image, dtype=np.float32))

    def _techniques(self, rng: np.random.Generator) -> list[str]:
        """Choose techniques, in the order in which they are applied."""
        chances = self.recipe.techniques
        chosen = [name for name in ORDER if name in chances and rng.random() < chances[name].probability]
        if len(chosen) > self.recipe.most_techniques:
            kept = rng.permutation(len(chosen))[: self.recipe.most_techniques]
            chosen = [chosen[place] for place in sorted(kept.tolist())]
        return chosen

    def _composition(self, rng: np.random.Generator, shape: tuple[int, int]) -> LabelledPicture:
        kind = KINDS[int(rng.choice(len(KINDS), p=self._shares))]
        source = self._sources[int(rng.choice(len(self._sources), p=self._likely))]
        low, high = np.log(self.recipe.scale)
        scale = float(np.exp(rng.uniform(low, high)))
        if kind in ("sparse", "packed") and source.sprites:
            return self._put_together(rng, source, shape, scale, close=kind == "packed")
        if kind == "padded":
            return self._padded(rng, source, shape, scale)
        rows, columns = source.picture.image.shape
        fits = min(1.0, rows * scale / shape[0]) * min(1.0, columns * scale / shape[1])
        if (kind == "mosaic" and fits < 1) or fits < LEAST_REAL:
            return self._mosaic(rng, source, shape, scale)
        return self._window(rng, source, shape, scale)

    def _turned(self, rng: np.random.Generator, scale: float) -> NDArray[np.float64]:
        recipe = self.recipe
        angle = rng.uniform(0, 360) if recipe.any_angle else 90.0 * rng.integers(4)
        squeeze = float(np.exp(rng.uniform(*np.log(recipe.squeeze))))
        shear = rng.uniform(-recipe.shear, recipe.shear)
        return linear(angle, scale, squeeze, shear, flip=recipe.flips and bool(rng.random() < 0.5))

    def _window(
        self, rng: np.random.Generator, source: Source, shape: tuple[int, int], scale: float
    ) -> LabelledPicture:
        """One window, within the picture if it can be; else as little as may be beyond."""
        part = self._turned(rng, scale)
        size = np.array(source.picture.image.shape[::-1], dtype=np.float64)
        half = np.abs(np.linalg.inv(part)) @ [shape[1] / 2, shape[0] / 2]
        room = size / 2 - half
        # Where it does not fit, the centre may stray by a tenth of the picture, or as far as there are mirror images.
        stray = np.minimum(0.1 * size, np.maximum(source.margin + room, 0))
        centre = size / 2 + rng.uniform(-1, 1, 2) * np.where(room >= 0, room, stray)
        middle = (shape[1] / 2, shape[0] / 2)
        if (room >= 0).all():
            return warp(source.picture, about(part, tuple(centre), middle), shape, self.recipe.keep_visible)
        matrix = about(part, tuple(centre + source.margin), middle)
        return warp(source.extended, matrix, shape, self.recipe.keep_visible)

    def _mosaic(
        self, rng: np.random.Generator, source: Source, shape: tuple[int, int], scale: float
    ) -> LabelledPicture:
        side = max(CELL * scale * min(source.picture.image.shape), max(shape) / MOST_CELLS)

        def cell(size: tuple[int, int]) -> LabelledPicture:
            other = self._sources[int(rng.choice(len(self._sources), p=self._likely))]
            return self._window(rng, other, size, scale * rng.uniform(0.9, 1.1))

        image, molecules = side_by_side(rng, shape, min(side, 0.6 * max(shape)), cell)
        return LabelledPicture(source.picture.name, image, molecules)

    def _padded(
        self, rng: np.random.Generator, source: Source, shape: tuple[int, int], scale: float
    ) -> LabelledPicture:
        size = tuple(max(16, round(length * rng.uniform(0.3, 0.95))) for length in shape)
        small = self._window(rng, source, (min(size[0], shape[0]), min(size[1], shape[1])), scale)
        rows, columns = small.image.shape
        top, left = int(rng.integers(shape[0] - rows + 1)), int(rng.integers(shape[1] - columns + 1))
        image = np.full(shape, np.nan, dtype=np.float32)
        image[top : top + rows, left : left + columns] = small.image
        return replace(small, image=image, molecules=tuple(one.moved((left, top)) for one in small.molecules))

    def _put_together(
        self, rng: np.random.Generator, source: Source, shape: tuple[int, int], scale: float, *, close: bool
    ) -> LabelledPicture:
        recipe = self.recipe
        background = self._ground(rng, source, shape, scale)
        chosen = rng.integers(len(source.sprites), size=STAMPS)
        stamps: list[Stamp] = [stamp_of(source.sprites[one], self._turned(rng, scale)) for one in chosen.tolist()]
        if close:
            centres, kinds = packed(rng, shape, stamps)
        else:
            area = float(np.mean([max(1, stamp.area_px) for stamp in stamps]))
            count = max(1, round(rng.uniform(*recipe.density) * shape[0] * shape[1] / area))
            centres = scattered(rng, shape, count)[: min(TRIES * count, 400)]
            kinds = rng.integers(len(stamps), size=len(centres))
        image, molecules = put_together(
            background, stamps, centres, kinds, most_overlap=recipe.most_overlap, keep_visible=recipe.keep_visible
        )
        pitch = None if source.picture.nm_per_px is None else source.picture.nm_per_px / scale
        return LabelledPicture(source.picture.name, image, molecules, pitch)

    def _ground(
        self, rng: np.random.Generator, source: Source, shape: tuple[int, int], scale: float
    ) -> NDArray[np.float32]:
        """Background anywhere from the continued picture, magnified where that is too small."""
        rows, columns = source.background.shape
        least = 1.05 * max(np.hypot(*shape) / rows, np.hypot(*shape) / columns)
        part = self._turned(rng, max(scale, float(least)))
        size = np.array([columns, rows], dtype=np.float64)
        room = np.maximum(size / 2 - np.abs(np.linalg.inv(part)) @ [shape[1] / 2, shape[0] / 2], 0)
        centre = size / 2 + rng.uniform(-1, 1, 2) * room
        ground = warp_image(source.background, about(part, tuple(centre), (shape[1] / 2, shape[0] / 2)), shape)
        if np.isnan(ground.sum()):
            return np.nan_to_num(ground, nan=float(source.background.mean()))
        return ground


def cropped(picture: LabelledPicture, margin: int, keep_visible: float) -> LabelledPicture:
    """Cut a margin off all sides."""
    image = picture.image[margin:-margin, margin:-margin]
    molecules = seen_of(picture.molecules, lambda points: points - margin, image.shape[:2], keep_visible)
    return replace(picture, image=np.ascontiguousarray(image), molecules=molecules)


def _source(picture: LabelledPicture, recipe: AugmentRecipe) -> Source:
    image = np.where(np.isnan(picture.image), np.nan, np.clip(picture.image, 0, 1)).astype(np.float32)
    picture = trimmed(replace(picture, image=image), recipe.keep_visible)
    marked = with_fragments(picture) if recipe.mark_fragments else picture
    margin = min(*image.shape, MOST_MIRRORED)
    bare = mirrored(replace(marked, image=background_of(marked), molecules=()), margin)
    return Source(
        picture=marked,
        extended=mirrored(marked, margin, flips=recipe.flips),
        margin=margin,
        background=bare.image,
        sprites=cut_out(picture),
    )
