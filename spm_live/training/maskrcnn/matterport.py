"""Start from the weights of matterport's Mask R-CNN, as the paper did: ``mask_rcnn_coco.h5``, or what came of it.

The file is in the layout of Keras 2: one group for each layer, named by the attribute ``layer_names``; in it the arrays
that its attribute ``weight_names`` lists, as ``conv1/kernel:0``. The layers inside of ``rpn_model`` lie in its group.

What differs from ours, and is folded into the weights, so that nothing has to be computed later:

- Three colours, 0 to 255, less a mean: the kernel is summed over the colours, times 255, and the mean goes to the bias.
  At the border ours adds black where theirs adds the mean colour.
- Batch normalisation in the heads: goes into the layer before it.
- Background against object by two numbers: their difference.
- Boxes told as dy, dx, dh, dw, from anchors centred on the corner of a point and not on its middle, their ratios being
  width over height: reordered, and the half point goes to the bias.
- The head's 7 x 7 convolution: a dense layer.
- The background first among the classes.

What cannot be folded: their regions are read by ``crop_and_resize``, ours by RoIAlign, so the heads see regions about a
third of a point off and learn it away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.errors import SetupError
from spm_live.training.maskrcnn.boxes import RPN_STD
from spm_live.training.maskrcnn.config import NetworkConfig
from spm_live.training.maskrcnn.matterport_file import Shape, Table, read_layers
from spm_live.training.maskrcnn.resnet50 import NORM_EPSILON, STAGES

MEAN_PIXEL = (123.7, 116.8, 103.9)
"""Red, green, blue, subtracted from every picture (``MEAN_PIXEL`` of matterport's configuration)."""
RATIOS = (0.5, 1.0, 2.0)
"""Width over height of its anchors, in their order (``RPN_ANCHOR_RATIOS``)."""
ANCHOR_STEPS = 8.0
"""Side of an anchor in points of its level: 32 px at stride 4, up to 512 px at stride 64."""

_COCO = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,tie,suitcase,frisbee,"
    "skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,"
    "cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)
COCO_CLASSES = tuple(_COCO.split(","))
"""Of ``mask_rcnn_coco.h5``, in the order of its class numbers, which begin at 1 (cocodataset.org)."""

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MatterportLoad:
    """What came out of a file.

    Parameters
    ----------
    loaded : tuple of str
        Our layers that have their weights from the file.
    kept : tuple of str
        Our layers that keep the weights they had: what depends on the classes, where the classes are others.
    unused : tuple of str
        Layers of the file that we have no place for, as the longer fourth stage of a ResNet-101. The COCO file is one;
        its first six blocks are taken, as loading by name does.
    """

    loaded: tuple[str, ...]
    kept: tuple[str, ...]
    unused: tuple[str, ...]


def load_matterport(model: Any, path: Path, *, file_classes: Sequence[str] = COCO_CLASSES) -> MatterportLoad:
    """Read weights into a network with the ResNet-50 backbone.

    Parameters
    ----------
    model : MaskRCNN
        Of :func:`spm_live.training.maskrcnn.config.resnet50_config`; its weights are overwritten.
    path : Path
        The ``.h5`` file. Only arrays of numbers are read from it, of the shapes that are expected.
    file_classes : sequence of str
        The classes that the file was trained on, without the background, in their order. What depends on the classes is
        read only if all classes of ``model`` are among them.

    Returns
    -------
    MatterportLoad

    Raises
    ------
    SetupError
        If the network is of another kind, or listing every layer that is missing, of another shape, or damaged. The
        weights are as before then.
    """
    config: NetworkConfig = model.config
    if config.backbone != "resnet50":
        raise SetupError(
            f"matterport's weights fit a network with the backbone resnet50, this one has {config.backbone}; "
            "set backbone to resnet50, or start without these weights"
        )
    known = all(name in file_classes for name in config.classes)
    table, unused = read_layers(path, _wanted(config, len(file_classes) + 1 if known else None))
    chosen = [file_classes.index(name) + 1 for name in config.classes] if known else None
    weights = _trunk(table) | _rpn(table, config) | _heads(table, config) | _by_class(table, config, chosen)
    loaded, kept = [], []
    for part in (model.trunk, model.rpn, model.box_head, model.mask_head):
        for layer in part.layers:
            if layer.name in weights:
                layer.set_weights(weights[layer.name])
                loaded.append(layer.name)
            elif layer.weights:
                kept.append(layer.name)
    return MatterportLoad(tuple(loaded), tuple(kept), unused)


# What has to be in the file ---------------------------------------------------------------------------------------


def _wanted(config: NetworkConfig, outputs: int | None) -> dict[str, Shape]:
    """Shapes of all arrays that are read; ``outputs`` classes with the background, or None if those are left alone."""
    wide, fc, mask, anchors = config.channels, config.fc_channels, config.mask_channels, len(RATIOS)
    wanted = _convolution("conv1", 7, 3, 64) | _norm("bn_conv1", 64)
    before = 64
    for place, inner, outer, first in _blocks():
        steps = [("2a", 1, before, inner), ("2b", 3, inner, inner), ("2c", 1, inner, outer)]
        steps += [("1", 1, before, outer)] if first else []
        for branch, side, inputs, count in steps:
            wanted |= _convolution(f"res{place}_branch{branch}", side, inputs, count)
            wanted |= _norm(f"bn{place}_branch{branch}", count)
        before = outer
    for level, (_, outer, _) in enumerate(STAGES, start=2):
        wanted |= _convolution(f"fpn_c{level}p{level}", 1, outer, wide) | _convolution(f"fpn_p{level}", 3, wide, wide)
    wanted |= _convolution("rpn_conv_shared", 3, wide, 512)
    wanted |= _convolution("rpn_class_raw", 1, 512, 2 * anchors) | _convolution("rpn_bbox_pred", 1, 512, 4 * anchors)
    wanted |= _convolution("mrcnn_class_conv1", 7, wide, fc) | _norm("mrcnn_class_bn1", fc)
    wanted |= _convolution("mrcnn_class_conv2", 1, fc, fc) | _norm("mrcnn_class_bn2", fc)
    for number in range(1, config.mask_layers + 1):
        wanted |= _convolution(f"mrcnn_mask_conv{number}", 3, wide if number == 1 else mask, mask)
        wanted |= _norm(f"mrcnn_mask_bn{number}", mask)
    wanted |= _convolution("mrcnn_mask_deconv", 2, mask, mask)
    if outputs is not None:
        wanted |= {"mrcnn_class_logits/kernel": (fc, outputs), "mrcnn_class_logits/bias": (outputs,)}
    if outputs is not None and not config.agnostic:
        wanted |= {"mrcnn_bbox_fc/kernel": (fc, 4 * outputs), "mrcnn_bbox_fc/bias": (4 * outputs,)}
        wanted |= _convolution("mrcnn_mask", 1, mask, outputs)
    return wanted


def _blocks() -> Iterable[tuple[str, int, int, bool]]:
    """Name, inner and outer channels of every bottleneck of ResNet-50, and whether it is the first of its stage."""
    for stage, (inner, outer, count) in enumerate(STAGES, start=2):
        for block in range(count):
            yield f"{stage}{'abcdef'[block]}", inner, outer, block == 0


def _convolution(name: str, side: int, inputs: int, outputs: int) -> dict[str, Shape]:
    return {f"{name}/kernel": (side, side, inputs, outputs), f"{name}/bias": (outputs,)}


def _norm(name: str, channels: int) -> dict[str, Shape]:
    return {f"{name}/{part}": (channels,) for part in ("gamma", "beta", "moving_mean", "moving_variance")}


# From theirs to ours ----------------------------------------------------------------------------------------------


def _trunk(table: Table) -> dict[str, list[Array]]:
    kernel, bias = _plain(table, "conv1")
    shift = np.einsum("hwcn,c->n", kernel, np.array(MEAN_PIXEL, dtype=np.float32))
    out = {"conv1": [255 * kernel.sum(axis=2, keepdims=True), bias - shift], "bn_conv1": _norm_of(table, "bn_conv1")}
    for place, _, _, first in _blocks():
        for branch in ("2a", "2b", "2c", *(("1",) if first else ())):
            name = f"{place}_branch{branch}"
            out |= {f"res{name}": _plain(table, f"res{name}"), f"bn{name}": _norm_of(table, f"bn{name}")}
    for level in range(2, 6):
        out |= {name: _plain(table, name) for name in (f"fpn_c{level}p{level}", f"fpn_p{level}")}
    return out


def _rpn(table: Table, config: NetworkConfig) -> dict[str, list[Array]]:
    """Ours has an anchor for each size and ratio; each takes the weights of the ratio nearest to its own."""
    ratios = [1 / ratio for _ in config.anchor_sizes[0] for ratio in config.anchor_ratios]
    nearest = [min(range(len(RATIOS)), key=lambda k: abs(math.log(ratio / RATIOS[k]))) for ratio in ratios]
    score = [values.reshape(*values.shape[:-1], -1, 2)[..., nearest, :] for values in _plain(table, "rpn_class_raw")]
    boxes = [_swapped(values, nearest) for values in _plain(table, "rpn_bbox_pred")]
    # A box is told from the middle of a point here, half a point further than there.
    root = np.sqrt(np.array(RATIOS, dtype=np.float32)[nearest])
    half = np.stack([0.5 / (ANCHOR_STEPS * root), 0.5 * root / ANCHOR_STEPS], axis=-1) / np.array(RPN_STD[:2])
    boxes[1][:, :2] -= half.astype(np.float32)
    return {
        "rpn_conv_shared": _plain(table, "rpn_conv_shared"),
        "rpn_class_raw": [values[..., 1] - values[..., 0] for values in score],
        "rpn_bbox_pred": [_joined(values) for values in boxes],
    }


def _heads(table: Table, config: NetworkConfig) -> dict[str, list[Array]]:
    out = {"mrcnn_mask_deconv": _plain(table, "mrcnn_mask_deconv")}
    for number in (1, 2):
        kernel, bias = _folded(table, f"mrcnn_class_conv{number}", f"mrcnn_class_bn{number}")
        out[f"mrcnn_class_conv{number}"] = [kernel.reshape(-1, kernel.shape[-1]), bias]
    for number in range(1, config.mask_layers + 1):
        out[f"mrcnn_mask_conv{number}"] = _folded(table, f"mrcnn_mask_conv{number}", f"mrcnn_mask_bn{number}")
    return out


def _by_class(table: Table, config: NetworkConfig, chosen: list[int] | None) -> dict[str, list[Array]]:
    """The last layers, by the numbers of our classes in the file."""
    if chosen is None:
        return {}
    out = {"mrcnn_class_logits": [values[..., [*chosen, 0]] for values in _plain(table, "mrcnn_class_logits")]}
    if not config.agnostic:
        out["mrcnn_bbox_fc"] = [_joined(_swapped(values, chosen)) for values in _plain(table, "mrcnn_bbox_fc")]
        out["mrcnn_mask"] = [values[..., chosen] for values in _plain(table, "mrcnn_mask")]
    return out


def _swapped(values: Array, chosen: list[int]) -> Array:
    """(..., 4 N) as dy, dx, dh, dw to (..., len(chosen), 4) as dx, dy, dw, dh."""
    return values.reshape(*values.shape[:-1], -1, 4)[..., chosen, :][..., [1, 0, 3, 2]]


def _joined(values: Array) -> Array:
    return values.reshape(*values.shape[:-2], -1)


def _plain(table: Table, name: str) -> list[Array]:
    return [table[f"{name}/kernel"], table[f"{name}/bias"]]


def _norm_of(table: Table, name: str) -> list[Array]:
    return [table[f"{name}/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance")]


def _folded(table: Table, name: str, norm: str) -> list[Array]:
    """A layer and the batch normalisation after it as one layer."""
    kernel, bias = _plain(table, name)
    gamma, beta, mean, variance = _norm_of(table, norm)
    scale = gamma / np.sqrt(variance + np.float32(NORM_EPSILON))
    return [kernel * scale, (bias - mean) * scale + beta]
