"""Mask R-CNN: the whole of it.

    pyramid   = trunk(image)
    proposals = propose(rpn(pyramid), anchors)
    class, box = box_head(roi_align(pyramid, proposals))
    detections = suppress(class, box)
    mask      = mask_head(roi_align(pyramid, detections))

The model is fed a dictionary. With ``image`` alone it detects; with the labels beside it (see
:func:`spm_live.training.maskrcnn.batch.encode`) it returns what the losses are made from.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.training.maskrcnn import losses, matching
from spm_live.training.maskrcnn.anchors import anchors_for
from spm_live.training.maskrcnn.boxes import HEAD_STD, RPN_STD, clip, decode, encode
from spm_live.training.maskrcnn.config import NetworkConfig
from spm_live.training.maskrcnn.network import build_box_head, build_mask_head, build_rpn, build_trunk
from spm_live.training.maskrcnn.proposals import propose
from spm_live.training.maskrcnn.roi_align import (
    BOX_CELLS,
    BOX_SAMPLES,
    MASK_CELLS,
    MASK_SAMPLES,
    roi_align,
)
from spm_live.training.maskrcnn.suppress import greedy_keep

RPN_SAMPLES = 256
"""Anchors that objectness is learnt from, a picture; at most half of them on molecules (Ren et al. 2015)."""

LOSSES = ("rpn_objectness", "rpn_box", "class", "box", "mask")


def build(config: NetworkConfig, seed: int = 0) -> Any:
    """Make the network with random weights.

    Parameters
    ----------
    config : NetworkConfig
    seed : int
        Of the weights, and of what is drawn while it learns.

    Returns
    -------
    MaskRCNN
        A ``keras.Model``.
    """
    import keras

    keras.utils.set_random_seed(seed)
    return _model_class()(config, seed=seed)


def __getattr__(name: str) -> Any:
    # The class derives from Keras', which is not imported before it is needed.
    if name == "MaskRCNN":
        return _model_class()
    raise AttributeError(name)


@lru_cache(maxsize=1)
def _model_class() -> Any:
    import keras
    from keras import ops

    class MaskRCNN(keras.Model):  # type: ignore[misc]
        """Mask R-CNN (He et al. 2017, arXiv:1703.06870).

        Parameters
        ----------
        config : NetworkConfig
        seed : int
            Of what is drawn while it learns.
        """

        def __init__(self, config: NetworkConfig, seed: int = 0) -> None:
            # Only the parts with weights may compute in bfloat16: it cannot tell neighbouring pixels apart from 256 on.
            super().__init__(name="mask_rcnn", dtype="float32")
            self.config = config
            self.trunk = build_trunk(config)
            self.rpn = build_rpn(config)
            self.box_head = build_box_head(config)
            self.mask_head = build_mask_head(config)
            self.noise = keras.random.SeedGenerator(seed)
            self.trackers = [keras.metrics.Mean(name=name) for name in LOSSES]
            self.detected_shape: tuple[int, ...] = ()
            self.built = True

        # Detecting -----------------------------------------------------------------------------------------------

        def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
            image = inputs["image"]
            shape = int(image.shape[1]), int(image.shape[2])
            pyramid = [ops.cast(level, "float32") for level in self.trunk(image, training=training)]
            anchors = anchors_for(self.config, *shape)
            logits, deltas = self._look(pyramid)
            learning = "boxes" in inputs
            boxes, alive = propose(
                [ops.stop_gradient(one) for one in logits],
                [ops.stop_gradient(one) for one in deltas],
                anchors,
                shape,
                before=self.config.proposals_learning if learning else self.config.proposals_before,
                after=self.config.proposals,
                iou=self.config.proposal_iou,
            )
            if not learning:
                return self._detect(pyramid, boxes, alive, shape)
            out = self._learn_rpn(logits, deltas, anchors, inputs)
            return out | self._learn_heads(pyramid, boxes, inputs)

        def _look(self, pyramid: list[Any]) -> tuple[list[Any], list[Any]]:
            """Objectness (B, N_l) and deltas (B, N_l, 4) of every level."""
            logits, deltas = [], []
            for level in pyramid:
                logit, delta = self.rpn(level)
                count = level.shape[1] * level.shape[2] * self.config.anchors_per_point
                logits.append(ops.cast(ops.reshape(logit, (-1, count)), "float32"))
                deltas.append(ops.cast(ops.reshape(delta, (-1, count, 4)), "float32"))
            return logits, deltas

        def _regions(self, pyramid: list[Any], boxes: Any, cells: int, samples: int) -> Any:
            """Read (B, N, 4) boxes as (B N, cells, cells, C)."""
            read = pyramid[: self.config.roi_levels]
            regions = roi_align(
                read,
                boxes,
                self.config.strides,
                cells=cells,
                samples=samples,
                canonical_px=self.config.roi_canonical_px,
            )
            return ops.reshape(regions, (-1, cells, cells, self.config.channels))

        def _judge(self, pyramid: list[Any], boxes: Any) -> tuple[Any, Any]:
            """Class logits (B, N, K + 1) and deltas (B, N, box kinds, 4)."""
            count = boxes.shape[1]
            logits, deltas = self.box_head(self._regions(pyramid, boxes, BOX_CELLS, BOX_SAMPLES))
            logits = ops.reshape(ops.cast(logits, "float32"), (-1, count, len(self.config.classes) + 1))
            return logits, ops.reshape(ops.cast(deltas, "float32"), (-1, count, self.config.box_kinds, 4))

        def _draw(self, pyramid: list[Any], boxes: Any, classes: Any) -> Any:
            """Mask logits (B, N, 28, 28) of boxes whose classes are known."""
            count = boxes.shape[1]
            logits = ops.cast(self.mask_head(self._regions(pyramid, boxes, MASK_CELLS, MASK_SAMPLES)), "float32")
            side = 2 * MASK_CELLS
            logits = ops.reshape(logits, (-1, count, side, side, self.config.box_kinds))
            if self.config.agnostic:
                return logits[..., 0]
            kind = ops.one_hot(classes, self.config.box_kinds, dtype="float32")
            return ops.sum(logits * kind[:, :, None, None, :], axis=-1)

        def _detect(self, pyramid: list[Any], boxes: Any, alive: Any, shape: tuple[int, int]) -> dict[str, Any]:
            logits, deltas = self._judge(pyramid, boxes)
            number = len(self.config.classes)
            score = ops.softmax(logits, axis=-1)[..., :number]
            score = ops.where(alive[..., None], score, 0.0)
            box = clip(decode(deltas, boxes[:, :, None, :], HEAD_STD), *shape)
            box = ops.broadcast_to(box, (ops.shape(box)[0], box.shape[1], number, 4))
            best, place = ops.top_k(ops.reshape(score, (-1, box.shape[1] * number)), self.config.candidates)
            box = ops.take_along_axis(ops.reshape(box, (-1, box.shape[1] * number, 4)), place[..., None], axis=1)
            kind = ops.cast(place % number, "int32")
            keep = greedy_keep(
                box, best >= self.config.min_score, self.config.nms_iou, same=kind[:, :, None] == kind[:, None, :]
            )
            keep = greedy_keep(box, keep, self.config.cross_nms_iou)
            best, order = ops.top_k(ops.where(keep, best, 0.0), min(self.config.max_detections, best.shape[1]))
            used = best > 0
            box = ops.take_along_axis(box, order[..., None], axis=1)
            kind = ops.where(used, ops.take_along_axis(kind, order, axis=1), 0)
            box = ops.where(used[..., None], box, 0.0)
            mask = ops.sigmoid(self._draw(pyramid, box, kind))
            return {"boxes": box, "scores": best, "classes": kind, "masks": ops.where(used[..., None, None], mask, 0.0)}

        def detect(self, images: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
            """Detect molecules.

            Parameters
            ----------
            images : (B, rows, columns, 1) float32 array
                0 to 1; rows and columns multiples of the greatest stride.

            Returns
            -------
            dict of str to array
                ``boxes`` (B, N, 4), ``scores`` (B, N) falling, ``classes`` (B, N), ``masks`` (B, N, 28, 28) in 0 to 1
                over the box. Score, box, class and mask of an unused place are 0.
            """
            shape = tuple(images.shape[1:3])
            if shape != self.detected_shape:
                # TensorFlow would make one function for all shapes, and the shape of a picture must be known in it.
                self.make_predict_function(force=True)
                self.detected_shape = shape
            found = self.predict_on_batch({"image": images})
            return {name: np.asarray(value) for name, value in found.items()}

        # Learning ------------------------------------------------------------------------------------------------

        def _learn_rpn(self, logits: list[Any], deltas: list[Any], anchors: list[Any], labels: Any) -> dict[str, Any]:
            every = ops.convert_to_tensor(np.concatenate(anchors))
            logit, delta = ops.concatenate(logits, 1), ops.concatenate(deltas, 1)
            match = matching.match_anchors(every, labels["boxes"], labels["classes"])
            noise = keras.random.uniform(ops.shape(logit), seed=self.noise)
            on, on_weight = matching.sample(match.positive, RPN_SAMPLES // 2, noise)
            off, off_weight = matching.sample(match.negative, RPN_SAMPLES, noise)
            room = RPN_SAMPLES - ops.sum(on_weight, axis=1, keepdims=True)
            off_weight = off_weight * ops.cast(ops.arange(off.shape[1], dtype="float32")[None] < room, "float32")
            truth = ops.take_along_axis(match.truth, on, axis=1)
            wanted = ops.take_along_axis(labels["boxes"], truth[..., None], axis=1)
            return {
                "rpn_logits": ops.take_along_axis(logit, ops.concatenate([on, off], 1), axis=1),
                "rpn_wanted": ops.concatenate([ops.ones_like(on_weight), ops.zeros_like(off_weight)], 1),
                "rpn_weight": ops.concatenate([on_weight, off_weight], 1),
                "rpn_deltas": ops.take_along_axis(delta, on[..., None], axis=1),
                "rpn_box": encode(wanted, ops.take(every, on, axis=0), RPN_STD),
                "rpn_on": on_weight,
            }

        def _learn_heads(self, pyramid: list[Any], boxes: Any, labels: Any) -> dict[str, Any]:
            boxes = ops.stop_gradient(ops.concatenate([boxes, labels["boxes"]], axis=1))
            match = matching.match_proposals(boxes, labels["boxes"], labels["classes"])
            noise = keras.random.uniform(ops.shape(match.truth), seed=self.noise)
            positives = max(1, round(self.config.rois * self.config.rois_positive))
            on, on_weight = matching.sample(match.positive, positives, noise)
            off, off_weight = matching.sample(match.negative, self.config.rois - positives, noise)
            drawn = ops.concatenate([on, off], axis=1)
            roi = ops.take_along_axis(boxes, drawn[..., None], axis=1)
            logits, deltas = self._judge(pyramid, roi)
            truth = ops.take_along_axis(match.truth, on, axis=1)
            number = len(self.config.classes)
            kind = ops.clip(ops.take_along_axis(labels["classes"], truth, axis=1), 0, number - 1)
            wanted = ops.take_along_axis(labels["boxes"], truth[..., None], axis=1)
            roi_on = roi[:, :positives]
            told = deltas[:, :positives]
            chosen = ops.zeros_like(kind) if self.config.agnostic else kind
            told = ops.sum(told * ops.one_hot(chosen, self.config.box_kinds, dtype="float32")[..., None], axis=2)
            return {
                "class_logits": logits,
                "class_wanted": ops.concatenate([kind, ops.full_like(off, number)], axis=1),
                "class_weight": ops.concatenate([on_weight, off_weight], axis=1),
                "box_deltas": told,
                "box_wanted": encode(wanted, roi_on, HEAD_STD),
                "box_weight": on_weight,
                "mask_logits": self._draw(pyramid, roi_on, kind),
                "mask_wanted": wanted_masks(labels["masks"], truth, wanted, roi_on, 2 * MASK_CELLS),
            }

        def compute_loss(
            self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
        ) -> Any:
            p = y_pred
            mask_weight = ops.broadcast_to(p["box_weight"][..., None, None], ops.shape(p["mask_logits"]))
            values = (
                losses.binary(p["rpn_logits"], p["rpn_wanted"], p["rpn_weight"]),
                losses.smooth_l1(p["rpn_deltas"], p["rpn_box"], p["rpn_on"]),
                losses.categorical(p["class_logits"], p["class_wanted"], p["class_weight"]),
                losses.smooth_l1(p["box_deltas"], p["box_wanted"], p["box_weight"]),
                losses.binary(p["mask_logits"], p["mask_wanted"], mask_weight),
            )
            for tracker, value in zip(self.trackers, values, strict=True):
                tracker.update_state(value)
            decay = self.losses
            return sum(values) + (sum(decay) if decay else 0.0)

    return MaskRCNN


def wanted_masks(masks: Any, truth: Any, boxes: Any, rois: Any, side: int) -> Any:
    """Cut the true masks as the mask head should draw them.

    Parameters
    ----------
    masks : (B, G, m, m) uint8 tensor
        Each over its own box.
    truth : (B, P) int tensor
        Which of them.
    boxes, rois : (B, P, 4) tensor
        The box of that molecule, and the region to be drawn.
    side : int
        Rows and columns of the result.

    Returns
    -------
    (B, P, side, side) float32 tensor
        0 or 1. Bilinear along both axes, then rounded; 0 outside of the box.
    """
    from keras import ops

    m = masks.shape[-1]
    chosen = ops.take_along_axis(ops.cast(masks, "float32"), ops.cast(truth, "int32")[..., None, None], axis=1)

    def reader(axis: int) -> Any:
        low, size = rois[..., axis : axis + 1], rois[..., axis + 2 : axis + 3] - rois[..., axis : axis + 1]
        at = low + size * (ops.arange(side, dtype="float32") + 0.5) / side
        box_low = boxes[..., axis : axis + 1]
        box_size = ops.maximum(boxes[..., axis + 2 : axis + 3] - box_low, 1e-3)
        place = (at - box_low) / box_size * m - 0.5
        inside = ops.cast(ops.logical_and(place >= -0.5, place <= m - 0.5), "float32")
        place = ops.clip(place, 0.0, m - 1.0)
        weight = ops.maximum(0.0, 1.0 - ops.abs(place[..., None] - ops.arange(m, dtype="float32")))
        return weight * inside[..., None]

    down, across = reader(1), reader(0)
    drawn = ops.matmul(ops.matmul(down, chosen), ops.swapaxes(across, -1, -2))
    return ops.cast(drawn >= 0.5, "float32")
