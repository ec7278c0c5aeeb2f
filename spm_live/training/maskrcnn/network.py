"""The parts of the network that learn, as Keras functional models of a few plain kinds of layers.

They are kept apart from what has no weights (anchors, proposals, RoIAlign, suppression), so that an exporter can walk
through them layer by layer whatever the backend.
"""

from __future__ import annotations

from typing import Any

from spm_live.training.maskrcnn.config import NetworkConfig
from spm_live.training.maskrcnn.light import light_levels
from spm_live.training.maskrcnn.resnet50 import resnet50_levels
from spm_live.training.maskrcnn.roi_align import BOX_CELLS, MASK_CELLS

RARE = -4.6
"""Objectness starts at a probability of 0.01: most anchors lie on background (Lin et al. 2017, arXiv:1708.02002)."""


def build_trunk(config: NetworkConfig) -> Any:
    """Backbone and feature pyramid.

    Returns
    -------
    keras.Model
        From (B, rows, columns, 1) in 0 to 1 to a list of (B, rows / s, columns / s, channels), one for each stride s.
    """
    import keras

    image = keras.Input((None, None, 1), name="image")
    levels = light_levels(image) if config.backbone == "light" else resnet50_levels(image)
    return keras.Model(image, _pyramid(levels, config), name="trunk")


def _pyramid(levels: list[Any], config: NetworkConfig) -> list[Any]:
    """Feature pyramid (Lin et al. 2017, arXiv:1612.03144), with matterport's layer names."""
    from keras import layers

    top = layers.Conv2D(config.channels, 1, name="fpn_c5p5")(levels[-1])
    merged = [top]
    for number in (4, 3, 2):
        above = layers.UpSampling2D(2, name=f"fpn_p{number + 1}upsampled")(merged[0])
        beside = layers.Conv2D(config.channels, 1, name=f"fpn_c{number}p{number}")(levels[number - 2])
        merged.insert(0, layers.Add(name=f"fpn_p{number}add")([above, beside]))
    out = [
        layers.Conv2D(config.channels, 3, padding="same", name=f"fpn_p{number + 2}")(level)
        for number, level in enumerate(merged)
    ]
    if len(config.strides) == 5:
        out.append(layers.MaxPooling2D(1, strides=2, name="fpn_p6")(out[-1]))
    return out


def build_rpn(config: NetworkConfig) -> Any:
    """Region proposal head (Ren et al. 2015, arXiv:1506.01497), the same for every level.

    Returns
    -------
    keras.Model
        From (B, h, w, channels) to objectness logits (B, h, w, A) and deltas (B, h, w, 4 A), A anchors a point.
    """
    import keras
    from keras import layers

    anchors = config.anchors_per_point
    level = keras.Input((None, None, config.channels), name="level")
    width = 512 if config.backbone == "resnet50" else config.channels
    shared = layers.Conv2D(width, 3, padding="same", name="rpn_conv_shared", kernel_initializer="he_normal")(level)
    shared = layers.ReLU(name="rpn_conv_relu")(shared)
    logits = layers.Conv2D(
        anchors,
        1,
        name="rpn_class_raw",
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        bias_initializer=keras.initializers.Constant(RARE),
    )(shared)
    deltas = layers.Conv2D(
        4 * anchors, 1, name="rpn_bbox_pred", kernel_initializer=keras.initializers.RandomNormal(stddev=0.01)
    )(shared)
    return keras.Model(level, [logits, deltas], name="rpn")


def build_box_head(config: NetworkConfig) -> Any:
    """Class and box of a region (Ren et al. 2015).

    Returns
    -------
    keras.Model
        From (R, 7, 7, channels) to class logits (R, K + 1), the background last, and deltas (R, 4 x box kinds).
    """
    import keras
    from keras import layers

    region = keras.Input((BOX_CELLS, BOX_CELLS, config.channels), name="region")
    hidden = layers.Flatten(name="mrcnn_flatten")(region)
    for number in (1, 2):
        hidden = layers.Dense(config.fc_channels, kernel_initializer="he_normal", name=f"mrcnn_class_conv{number}")(
            hidden
        )
        hidden = layers.ReLU(name=f"mrcnn_class_relu{number}")(hidden)
    small = keras.initializers.RandomNormal(stddev=0.01)
    tiny = keras.initializers.RandomNormal(stddev=0.001)
    logits = layers.Dense(len(config.classes) + 1, kernel_initializer=small, name="mrcnn_class_logits")(hidden)
    deltas = layers.Dense(4 * config.box_kinds, kernel_initializer=tiny, name="mrcnn_bbox_fc")(hidden)
    return keras.Model(region, [logits, deltas], name="box_head")


def build_mask_head(config: NetworkConfig) -> Any:
    """Mask of a region (He et al. 2017, arXiv:1703.06870, figure 4 right).

    Returns
    -------
    keras.Model
        From (R, 14, 14, channels) to logits (R, 28, 28, box kinds).
    """
    import keras
    from keras import layers

    region = keras.Input((MASK_CELLS, MASK_CELLS, config.channels), name="region")
    hidden = region
    for number in range(1, config.mask_layers + 1):
        hidden = layers.Conv2D(
            config.mask_channels, 3, padding="same", kernel_initializer="he_normal", name=f"mrcnn_mask_conv{number}"
        )(hidden)
        hidden = layers.ReLU(name=f"mrcnn_mask_relu{number}")(hidden)
    hidden = layers.Conv2DTranspose(
        config.mask_channels, 2, strides=2, kernel_initializer="he_normal", name="mrcnn_mask_deconv"
    )(hidden)
    hidden = layers.ReLU(name="mrcnn_mask_deconv_relu")(hidden)
    logits = layers.Conv2D(config.box_kinds, 1, name="mrcnn_mask")(hidden)
    return keras.Model(region, logits, name="mask_head")
