"""Do the labels of a data set agree with its pictures? Looked at by t-SNE, as in the supplement of the paper.

    crops   = crops_of(pictures)
    upright = turn_upright(crops)
    picture = t-SNE(upright)
    suspicious = those whose nearest neighbours carry another label

Zhu et al. 2022, supplement, section 1: crops of the labelled molecules, turned upright and brought to one size in grey,
are laid out in the plane by t-SNE (van der Maaten and Hinton 2008, J. Mach. Learn. Res. 9, 2579) with the parameters of
Table S1. Kinds that fall into islands of their own can be told apart; a label alone among others is probably a slip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from spm_live.errors import SetupError
from spm_live.training.labelled import LabelledPicture
from spm_live.training.upright import Crop, crops_of, read_crops, turn_upright

FEWEST = 5
"""Fewer molecules than that lie anywhere in a t-SNE."""


class LabelCheckSettings(BaseModel):
    """How the labels are looked at; the defaults of the first four are those of Table S1.

    Parameters
    ----------
    perplexity : float
        About how many neighbours a molecule is kept near to. Lowered to a third of the molecules where they are few,
        the most that van der Maaten's own program takes.
    learning_rate : float
    iterations : int
    angle : float
        Of the Barnes-Hut approximation; smaller is more exact.
    size_px : int
        Rows and columns that every crop is brought to.
    neighbours : int
        How many of the most similar crops are asked for their label.
    turn_crops : bool
        Turn crops that have no outline as well. False: they are upright already.
    seed : int
        Of what t-SNE draws; one seed, one picture.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    perplexity: float = Field(default=10.0, ge=1, le=1000)
    learning_rate: float = Field(default=100.0, gt=0, le=100_000)
    iterations: int = Field(default=2000, ge=250, le=100_000)
    angle: float = Field(default=0.1, gt=0, lt=1)
    size_px: int = Field(default=48, ge=8, le=256)
    neighbours: int = Field(default=5, ge=1, le=100)
    turn_crops: bool = False
    seed: int = Field(default=0, ge=0, lt=2**32)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A label that its neighbours do not share.

    Parameters
    ----------
    index : int
        Number of the crop, counted from 0.
    source : str
        Where it comes from.
    label : str
        What it is called.
    looks_like : str
        What most of its neighbours are called.
    votes : int
        How many of them.
    asked : int
        How many neighbours there were to ask.
    """

    index: int
    source: str
    label: str
    looks_like: str
    votes: int
    asked: int

    def __str__(self) -> str:
        return f"{self.source}: labelled {self.label}, looks like {self.looks_like} ({self.votes} of {self.asked})"


@dataclass(frozen=True, slots=True, eq=False)
class LabelCheck:
    """What the check found.

    Parameters
    ----------
    labels, sources : tuple of str
        Of each of N crops.
    upright : (N, size_px, size_px) float32 array
        The crops as they were compared: mean 0 and standard deviation 1 on the molecule, 0 off it.
    embedding : (N, 2) float32 array
        Where t-SNE puts them.
    perplexity : float
        As used.
    agreement : float or None
        Part of the crops whose nearest neighbours carry their label, each asked with its own label left out (k-nearest
        neighbours, leave one out), 0 to 1: the separability of the classes. None where there is only one class.
    silhouette : float or None
        Mean silhouette of the classes in the embedding, -1 to 1 (Rousseeuw 1987, doi:10.1016/0377-0427(87)90125-7).
        None where there is only one class.
    suspicious : tuple of Suspicion
        Labels that the neighbours do not share, the most unanimous first.
    alone : tuple of str
        Classes of one single molecule: nothing can be said about them.
    left_out : tuple of str
        Molecules that were not looked at, because they touch the border of their picture.
    """

    labels: tuple[str, ...]
    sources: tuple[str, ...]
    upright: NDArray[np.float32]
    embedding: NDArray[np.float32]
    perplexity: float
    agreement: float | None
    silhouette: float | None
    suspicious: tuple[Suspicion, ...]
    alone: tuple[str, ...]
    left_out: tuple[str, ...]


def check_labels(source: Sequence[LabelledPicture] | Path, settings: LabelCheckSettings | None = None) -> LabelCheck:
    """Compare every label with the labels of the molecules that look like it.

    Parameters
    ----------
    source : sequence of LabelledPicture, or Path
        Labelled pictures; or a folder that holds a folder of crops for each class.
    settings : LabelCheckSettings or None
        None: those of Table S1.

    Returns
    -------
    LabelCheck

    Raises
    ------
    SetupError
        If there are too few molecules, crops that cannot be read, or scikit-learn is not installed.
    """
    settings = settings or LabelCheckSettings()
    crops, left_out = (read_crops(source), []) if isinstance(source, Path) else crops_of(source)
    if len(crops) < FEWEST:
        raise SetupError(
            f"{len(crops)} complete molecules are too few to compare; label at least {FEWEST} "
            f"that do not touch the border ({len(left_out)} do)"
        )
    upright = turn_upright(crops, size_px=settings.size_px, always=settings.turn_crops)
    features = upright.reshape(len(crops), -1).astype(np.float64)
    if not features.std(axis=0).any():
        raise SetupError(f"all {len(crops)} crops are the same; check that the pictures hold more than one grey")
    embedding, perplexity = _embed(features, settings)
    labels = tuple(crop.label for crop in crops)
    suspicious, judged = _ask_neighbours(features, crops, settings.neighbours)
    several = len(set(labels)) > 1
    return LabelCheck(
        labels,
        tuple(crop.source for crop in crops),
        upright,
        embedding,
        perplexity,
        1 - len(suspicious) / judged if several and judged else None,
        _silhouette(embedding, labels) if several else None,
        suspicious,
        tuple(sorted(label for label, count in Counter(labels).items() if count == 1)),
        tuple(left_out),
    )


def _embed(features: NDArray[np.float64], settings: LabelCheckSettings) -> tuple[NDArray[np.float32], float]:
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise SetupError("t-SNE needs scikit-learn: pip install scikit-learn") from error

    perplexity = min(settings.perplexity, (len(features) - 1) / 3)
    layout = TSNE(
        perplexity=perplexity,
        learning_rate=settings.learning_rate,
        max_iter=settings.iterations,
        angle=settings.angle,
        init="pca",
        random_state=settings.seed,
    )
    return np.asarray(layout.fit_transform(features), dtype=np.float32), perplexity


def _ask_neighbours(
    features: NDArray[np.float64], crops: Sequence[Crop], neighbours: int
) -> tuple[tuple[Suspicion, ...], int]:
    """Suspicious labels, and how many could be judged at all.

    Neighbours are those of the crops themselves, not of the embedding, which pulls apart what is a little different.
    In a small class fewer are asked, so that its own members can win the vote.
    """
    counts = Counter(crop.label for crop in crops)
    distances = _distances(features)
    np.fill_diagonal(distances, np.inf)
    found: list[Suspicion] = []
    judged = 0
    for index, crop in enumerate(crops):
        asked = min(neighbours, 2 * (counts[crop.label] - 1) - 1, len(crops) - 1)
        if asked < 1:
            continue
        judged += 1
        nearest = np.argsort(distances[index], kind="stable")[:asked]
        votes = Counter(crops[other].label for other in nearest)
        other, most = max(((name, count) for name, count in votes.items()), key=lambda pair: pair[1])
        if most > votes[crop.label]:
            found.append(Suspicion(index, crop.source, crop.label, other, most, asked))
    found.sort(key=lambda one: (-one.votes / one.asked, one.index))
    return tuple(found), judged


def _silhouette(points: NDArray[np.float32], labels: Sequence[str]) -> float:
    """Mean of (b - a) / max(a, b): a is the mean distance to one's own class, b to the nearest other class."""
    distances = _distances(points.astype(np.float64))
    names = np.array(labels)
    kinds = sorted(set(labels))
    sums = np.stack([distances[:, names == kind].sum(axis=1) for kind in kinds], axis=1)
    sizes = np.array([(names == kind).sum() for kind in kinds])
    own = np.array([kinds.index(label) for label in labels])
    rows = np.arange(len(labels))
    alone = sizes[own] == 1
    inner = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    means = sums / sizes
    means[rows, own] = np.inf
    outer = means.min(axis=1)
    scale = np.maximum(np.maximum(inner, outer), np.finfo(np.float64).tiny)
    return float(np.where(alone, 0.0, (outer - inner) / scale).mean())


def _distances(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, N) Euclidean distances of (N, K) points."""
    squares = (points**2).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0.0)))
