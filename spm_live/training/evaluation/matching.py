"""Which detection found which molecule: one molecule is found once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from spm_live.training.evaluation.excluded import Excluded, keep
from spm_live.training.evaluation.overlap import Shapes, box_cover, box_iou, mask_cover, mask_iou, shapes_of
from spm_live.training.evaluation.predictions import Prediction
from spm_live.training.labelled import LabelledMolecule, LabelledPicture

Kind = Literal["box", "mask"]
One = TypeVar("One")
NO_TRUTH = -1
"""The detection found nothing: it is false."""
IGNORED = -2
"""The detection lies where it is not known what is there: it is neither right nor false."""
MOST_IOU = 1 - 1e-10
"""An overlap as large as this counts as 1, as COCO's own program has it."""


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What was found in one picture, set against what is there, before any threshold.

    Parameters
    ----------
    picture : LabelledPicture
        The picture.
    true : tuple of M LabelledMolecule
        The molecules that are asked for.
    found : tuple of N Prediction
        The detections that are judged, in falling score.
    ignored : tuple of LabelledMolecule
        Those marked so: any number of detections may lie on them.
    left_out_true : tuple of LabelledMolecule
        Molecules that the rule of exclusion leaves out.
    left_out_found : tuple of Prediction
        Detections that it leaves out.
    torn : int
        As in :class:`spm_live.training.evaluation.excluded.Kept`.
    true_shapes, found_shapes, ignored_shapes : Shapes
        Boxes and masks of them.
    overlaps : mapping of "box" and "mask" to (N, M) float array
        Intersection over union of every detection with every molecule.
    covers : mapping of "box" and "mask" to (N,) float array
        The greatest part of each detection that lies on an ignored molecule (as COCO measures its crowds).
    """

    picture: LabelledPicture
    true: tuple[LabelledMolecule, ...]
    found: tuple[Prediction, ...]
    ignored: tuple[LabelledMolecule, ...]
    left_out_true: tuple[LabelledMolecule, ...]
    left_out_found: tuple[Prediction, ...]
    torn: int
    true_shapes: Shapes
    found_shapes: Shapes
    ignored_shapes: Shapes
    overlaps: dict[str, NDArray[np.float64]]
    covers: dict[str, NDArray[np.float64]]

    @property
    def scores(self) -> NDArray[np.float64]:
        """(N,) of the detections, falling."""
        return np.array([one.score for one in self.found], dtype=np.float64)

    @property
    def true_labels(self) -> NDArray[np.str_]:
        """(M,) classes of the molecules."""
        return np.array([one.label for one in self.true], dtype=np.str_)

    @property
    def found_labels(self) -> NDArray[np.str_]:
        """(N,) classes of the detections."""
        return np.array([one.label for one in self.found], dtype=np.str_)


def judge(picture: LabelledPicture, found: Sequence[Prediction], excluded: Excluded | None = None) -> Judged:
    """Set what was found in a picture against its labels.

    Parameters
    ----------
    picture : LabelledPicture
        The truth.
    found : sequence of Prediction
        In pixels of the picture, in any order.
    excluded : Excluded or None
        What to leave out, molecules and detections alike.
    """
    shape = picture.image.shape[:2]
    asked = tuple(one for one in picture.molecules if not one.ignore)
    ignored = tuple(one for one in picture.molecules if one.ignore)
    ordered = tuple(sorted(found, key=lambda one: -one.score))
    true_shapes = shapes_of([one.box_px for one in asked], [one.rings for one in asked], shape)
    found_shapes = shapes_of([one.box_px for one in ordered], [one.rings for one in ordered], shape)
    ignored_shapes = shapes_of([one.box_px for one in ignored], [one.rings for one in ignored], shape)
    overlap = box_iou(found_shapes.boxes, true_shapes.boxes)
    kept = keep(excluded or Excluded(), true_shapes.boxes, found_shapes.boxes, overlap, shape, picture.name)
    true_shapes, found_shapes = true_shapes.select(kept.true), found_shapes.select(kept.found)
    return Judged(
        picture=picture,
        true=_those(asked, kept.true),
        found=_those(ordered, kept.found),
        ignored=ignored,
        left_out_true=_those(asked, ~kept.true),
        left_out_found=_those(ordered, ~kept.found),
        torn=kept.torn,
        true_shapes=true_shapes,
        found_shapes=found_shapes,
        ignored_shapes=ignored_shapes,
        overlaps={"box": overlap[kept.found][:, kept.true], "mask": mask_iou(found_shapes, true_shapes)},
        covers={"box": box_cover(found_shapes, ignored_shapes), "mask": mask_cover(found_shapes, ignored_shapes)},
    )


def match(
    overlap: NDArray[np.float64], allowed: NDArray[np.bool_], cover: NDArray[np.float64], least: float
) -> NDArray[np.int64]:
    """Give each detection at most one molecule, and each molecule to at most one detection.

    Parameters
    ----------
    overlap : (N, M) float array
        Of every detection, in falling score, with every molecule.
    allowed : (N, M) bool array
        Pairs that may match: those of one class, as a rule.
    cover : (N,) float array
        The greatest part of each detection that lies on something ignored.
    least : float
        Smallest overlap, or part, that counts.

    Returns
    -------
    (N,) int array
        Index of the molecule, :data:`NO_TRUTH` or :data:`IGNORED`.

    Notes
    -----
    Greedy, in COCO's order: the detection with the highest score takes the free molecule that it overlaps most (of
    equal ones the last). What finds no molecule is ignored if it lies on something ignored (Lin et al. 2014,
    arXiv:1405.0312; cocoapi's ``COCOeval.evaluateImg`` is the reference).

    Examples
    --------
    >>> both = np.array([[0.9], [0.8]])
    >>> match(both, np.ones((2, 1), bool), np.zeros(2), 0.5).tolist()
    [0, -1]
    """
    least = min(least, MOST_IOU)
    result = np.where(cover >= least, IGNORED, NO_TRUTH).astype(np.int64)
    worth = np.where(allowed & (overlap >= least), overlap, -1.0)
    free = np.ones(overlap.shape[1], dtype=np.bool_)
    for index in np.flatnonzero((worth >= 0).any(axis=1)).tolist():
        row = np.where(free, worth[index], -1.0)
        best = len(row) - 1 - int(row[::-1].argmax())
        if row[best] >= 0:
            result[index], free[best] = best, False
    return result


def match_classes(judged: Judged, kind: Kind, least: float = 0.5) -> NDArray[np.int64]:
    """Match detections to molecules of their own class; see :func:`match`."""
    same = judged.found_labels[:, None] == judged.true_labels[None]
    return match(judged.overlaps[kind], same.reshape(judged.overlaps[kind].shape), judged.covers[kind], least)


def match_places(judged: Judged, kind: Kind, least: float = 0.5, min_score: float = 0.0) -> NDArray[np.int64]:
    """Match detections to molecules of any class, by place alone; those under ``min_score`` take none."""
    overlap = judged.overlaps[kind]
    enough = np.repeat((judged.scores >= min_score)[:, None], overlap.shape[1], axis=1)
    return match(overlap, enough, judged.covers[kind], least)


def _those(items: Sequence[One], which: NDArray[np.bool_]) -> tuple[One, ...]:
    return tuple(item for item, flag in zip(items, which.tolist(), strict=True) if flag)
