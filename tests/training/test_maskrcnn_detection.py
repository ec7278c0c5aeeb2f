"""Detection by the whole of Mask R-CNN, against NumPy around the same convolutions; and whether every weight learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from spm_live.training.labelled import LabelledMolecule, LabelledPicture  # noqa: E402
from spm_live.training.maskrcnn.anchors import anchors_for  # noqa: E402
from spm_live.training.maskrcnn.batch import encode  # noqa: E402
from spm_live.training.maskrcnn.boxes import HEAD_STD, RPN_STD  # noqa: E402
from spm_live.training.maskrcnn.config import NetworkConfig  # noqa: E402
from spm_live.training.maskrcnn.model import build  # noqa: E402

# Keras reads TensorFlow's variables in a way that numpy 2 frowns upon.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROWS, COLUMNS = 64, 96
SMALL = {
    "classes": ("one", "two", "three"),
    "channels": 8,
    "fc_channels": 16,
    "mask_channels": 8,
    "mask_layers": 1,
    "max_truths": 6,
    "proposals_before": 24,
    "proposals": 24,
    "proposals_learning": 24,
    "rois": 24,
    "max_detections": 30,
    "min_score": 0.1,
    "nms_iou": 0.4,
    "cross_nms_iou": 0.6,
}


def array(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value))


def spread_out(part: Any, names: tuple[str, ...], shown: np.ndarray, spread: tuple[float, ...]) -> None:
    """Give layers random weights whose outputs have the mean 0 and the given standard deviation on what is shown."""
    rng = np.random.default_rng(0)
    for name in names:
        layer = part.get_layer(name)
        kernel, bias = layer.get_weights()
        layer.set_weights([rng.normal(size=kernel.shape), np.zeros_like(bias)])
    outputs = part(shown)
    for name, output, wanted in zip(names, outputs if len(names) > 1 else [outputs], spread, strict=True):
        layer = part.get_layer(name)
        kernel, _ = layer.get_weights()
        value = array(output).reshape(-1, kernel.shape[-1])
        scale = wanted / value.std(axis=0)
        layer.set_weights([kernel * scale, -value.mean(axis=0) * scale])


def small_model(agnostic: bool, images: np.ndarray) -> Any:
    """With weights that tell places and classes apart, so that there is something to choose between."""
    model = build(NetworkConfig.model_validate(SMALL | {"agnostic": agnostic}), seed=3)
    level = array(model.trunk(images)[0])
    windows = np.lib.stride_tricks.sliding_window_view(level, (7, 7), axis=(1, 2))[:, ::3, ::3]
    spread_out(model.rpn, ("rpn_class_raw", "rpn_bbox_pred"), level, (2.0, 1.0))
    regions = np.moveaxis(windows, 3, -1).reshape(-1, 7, 7, level.shape[-1])
    spread_out(model.box_head, ("mrcnn_class_logits", "mrcnn_bbox_fc"), regions, (1.5, 1.0))
    spread_out(model.mask_head, ("mrcnn_mask",), np.repeat(np.repeat(regions, 2, axis=1), 2, axis=2), (2.0,))
    return model


def slow_detection(oracles: Any, model: Any, image: np.ndarray) -> list[tuple[float, int, list[float], np.ndarray]]:
    """Score, class, box and mask of one picture: convolutions by the model, everything between them by loops."""
    config = model.config
    pyramid = [array(level) for level in model.trunk(image[None])]
    maps = [[array(one) for one in model.rpn(level)] for level in pyramid]
    proposals = oracles.propose(
        [logit.reshape(-1) for logit, _ in maps],
        [delta.reshape(-1, 4) for _, delta in maps],
        anchors_for(config, ROWS, COLUMNS),
        (ROWS, COLUMNS),
        config.proposals_before,
        config.proposals,
        config.proposal_iou,
        RPN_STD,
    )

    def region(box: list[float], cells: int, samples: int) -> np.ndarray:
        level = oracles.level_of(box, config.roi_levels, config.roi_canonical_px)
        return np.asarray(oracles.roi_align(pyramid[level][0], box, config.strides[level], cells, samples))

    read = np.stack([region(box, 7, 2) for box in proposals]).astype(np.float32)
    logits, deltas = (array(one) for one in model.box_head(read))
    found: list[tuple[float, int, list[float]]] = []
    for number, proposal in enumerate(proposals):
        scores = oracles.softmax([float(value) for value in logits[number]])
        for kind in range(len(config.classes)):
            delta = deltas[number].reshape(-1, 4)[0 if config.agnostic else kind]
            box = oracles.clip(oracles.decode(delta, proposal, HEAD_STD), ROWS, COLUMNS)
            found.append((scores[kind], kind, box))
    found.sort(key=lambda one: -one[0])
    found = [one for one in found[: config.candidates] if one[0] >= config.min_score]
    boxes, kinds = [box for _, _, box in found], [kind for _, kind, _ in found]
    keep = oracles.greedy(boxes, [True] * len(found), config.nms_iou, kinds)
    keep = oracles.greedy(boxes, keep, config.cross_nms_iou)
    left = [one for one, kept in zip(found, keep, strict=True) if kept][: config.max_detections]
    read = np.stack([region(box, 14, 1) for _, _, box in left]).astype(np.float32)
    masks = oracles.sigmoid(array(model.mask_head(read)))
    return [
        (score, kind, box, masks[number][..., 0 if config.agnostic else kind])
        for number, (score, kind, box) in enumerate(left)
    ]


@pytest.mark.parametrize("agnostic", [True, False])
def test_the_whole_detects_what_the_slow_version_detects(oracles: Any, agnostic: bool) -> None:
    images = np.random.default_rng(1).random((2, ROWS, COLUMNS, 1)).astype(np.float32)
    model = small_model(agnostic, images)
    found = model.detect(images)
    places = model.config.max_detections
    assert found["boxes"].shape == (2, places, 4)
    assert found["masks"].shape == (2, places, 28, 28)
    for number in range(2):
        wanted = slow_detection(oracles, model, images[number])
        count = len(wanted)
        assert count > 5
        assert len({kind for _, kind, _, _ in wanted}) > 1
        np.testing.assert_allclose(found["scores"][number, :count], [score for score, *_ in wanted], atol=1e-5)
        assert found["classes"][number, :count].tolist() == [kind for _, kind, _, _ in wanted]
        np.testing.assert_allclose(found["boxes"][number, :count], [box for _, _, box, _ in wanted], atol=1e-3)
        np.testing.assert_allclose(found["masks"][number, :count], [mask for *_, mask in wanted], atol=1e-4)
        assert not any(found[name][number, count:].any() for name in ("scores", "classes", "boxes", "masks"))


def labelled_picture(seed: int = 0) -> LabelledPicture:
    rng = np.random.default_rng(seed)
    image = rng.random((ROWS, COLUMNS)).astype(np.float32) * 0.2
    molecules = []
    for number, (x, y) in enumerate([(8, 8), (40, 10), (70, 30), (20, 40)]):
        image[y : y + 18, x : x + 20] += 0.6
        corners = np.array([[x, y], [x + 20, y], [x + 20, y + 18], [x, y + 18]], dtype=float)
        molecules.append(LabelledMolecule(("one", "two", "three")[number % 3], (corners,)))
    return LabelledPicture(f"picture {seed}", image, tuple(molecules))


def test_every_weight_learns_and_the_losses_fall() -> None:
    model = build(NetworkConfig.model_validate(SMALL | {"agnostic": False}), seed=3)
    # A few steps are done sooner than a graph is traced.
    model.compile(optimizer=keras.optimizers.Adam(2e-3), run_eagerly=True)
    batch = encode([labelled_picture(0), labelled_picture(1)], model.config)
    before = [array(variable.value) for variable in model.trainable_variables]
    first = model.train_on_batch(batch, return_dict=True)
    for variable, old in zip(model.trainable_variables, before, strict=True):
        new = array(variable.value)
        assert np.isfinite(new).all(), variable.path
        assert not np.array_equal(new, old), f"{variable.path} learnt nothing"
    for _ in range(2):
        last = model.train_on_batch(batch, return_dict=True)
    assert set(first) >= {"loss", "rpn_objectness", "rpn_box", "class", "box", "mask"}
    assert last["loss"] < 0.9 * first["loss"]
