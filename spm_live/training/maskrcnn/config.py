"""What there is to choose about the network."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

STRIDES = {"light": (4, 8, 16, 32), "resnet50": (4, 8, 16, 32, 64)}
"""Picture pixels per point of each level of the feature pyramid, by backbone."""


class NetworkConfig(BaseModel):
    """The whole of the network but its weights.

    Parameters
    ----------
    classes : tuple of str
        Names, in the order of class numbers 0, 1, ...; the background comes after the last.
    backbone : "light" or "resnet50"
        ``light`` is meant for two CPU cores; ``resnet50`` is that of the paper (Figure S1).
    channels : int
        Of every level of the feature pyramid.
    anchor_sizes : tuple of tuple of float
        For each level, the sides of its square-equivalent anchors in pixels (side = sqrt of the area). Every level has
        the same number.
    anchor_ratios : tuple of float
        Height over width.
    agnostic : bool
        One box and one mask for all classes, rather than one a class: what is learnt on other molecules stays usable.
    fc_channels : int
        Of the two hidden layers of the box head.
    mask_channels, mask_layers : int
        Of the mask head's convolutions, and their number.
    max_truths : int
        Places for labelled molecules in one training picture.
    proposals_before, proposals : int
        Proposals taken by score from each level, and those that remain after suppression.
    proposals_learning : int
        As ``proposals_before``, while it learns: fewer, since only a sample of them is used.
    proposal_iou : float
        Overlap at which a proposal suppresses another.
    rois : int
        Proposals that the heads learn from, a picture.
    rois_positive : float
        The greatest part of them that lies on molecules.
    max_detections : int
        Places in the output, a picture.
    min_score, nms_iou, cross_nms_iou : float
        Detections with a lower score are dropped; overlap at which a detection suppresses another of its class, and
        one of another class.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    classes: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = Field(min_length=1, max_length=1000)
    backbone: Literal["light", "resnet50"] = "light"
    channels: int = Field(default=64, ge=8, le=512)
    anchor_sizes: tuple[tuple[Annotated[float, Field(gt=1, le=2048)], ...], ...] = (
        (10.0, 15.0),
        (22.0, 32.0),
        (46.0, 66.0),
        (96.0, 140.0),
    )
    anchor_ratios: tuple[Annotated[float, Field(gt=0.05, lt=20)], ...] = (1.0,)
    agnostic: bool = True
    fc_channels: int = Field(default=256, ge=16, le=4096)
    mask_channels: int = Field(default=48, ge=8, le=512)
    mask_layers: int = Field(default=3, ge=1, le=8)
    max_truths: int = Field(default=110, ge=1, le=2000)
    proposals_before: int = Field(default=400, ge=8, le=3800)
    proposals: int = Field(default=300, ge=8, le=3800)
    proposals_learning: int = Field(default=160, ge=8, le=3800)
    proposal_iou: float = Field(default=0.7, gt=0, le=1)
    rois: int = Field(default=96, ge=4, le=2000)
    rois_positive: float = Field(default=0.34, gt=0, le=1)
    max_detections: int = Field(default=200, ge=1, le=3800)
    min_score: float = Field(default=0.05, ge=0, lt=1)
    nms_iou: float = Field(default=0.5, gt=0, le=1)
    cross_nms_iou: float = Field(default=0.5, gt=0, le=1)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes {list(self.classes)} holds a name twice")
        if len(self.anchor_sizes) != len(self.strides):
            raise ValueError(
                f"anchor_sizes names {len(self.anchor_sizes)} levels; {self.backbone} has {len(self.strides)}"
            )
        if len({len(level) for level in self.anchor_sizes}) != 1 or not self.anchor_sizes[0]:
            raise ValueError("every level needs the same number of anchor_sizes, at least one")
        return self

    @property
    def strides(self) -> tuple[int, ...]:
        """Picture pixels per point of each level."""
        return STRIDES[self.backbone]

    @property
    def roi_canonical_px(self) -> float:
        """Side of the box that is read from level 4, which has stride 16: 224 px after Lin et al. 2017
        (arXiv:1612.03144, equation 1); less for the light backbone, whose molecules are small.
        """
        return 224.0 if self.backbone == "resnet50" else 128.0

    @property
    def roi_levels(self) -> int:
        """Levels that the heads read: all but resnet50's coarsest, which only proposes (matterport's choice)."""
        return min(4, len(self.strides))

    @property
    def anchors_per_point(self) -> int:
        """Anchors at each point of a level."""
        return len(self.anchor_sizes[0]) * len(self.anchor_ratios)

    @property
    def candidates(self) -> int:
        """How many pairs of proposal and class, the best by score, go into the last suppression."""
        return min(self.proposals * len(self.classes), max(self.proposals, 2 * self.max_detections), 3800)

    @property
    def box_kinds(self) -> int:
        """How many boxes, and how many masks, the heads give for one proposal."""
        return 1 if self.agnostic else len(self.classes)


def resnet50_config(classes: tuple[str, ...], **more: object) -> NetworkConfig:
    """The network of the paper: ResNet-50, 256 channels, three anchor shapes a point, heads of 1024 and 4 x 256."""
    paper: dict[str, object] = {
        "classes": classes,
        "backbone": "resnet50",
        "channels": 256,
        "anchor_sizes": ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,)),
        "anchor_ratios": (0.5, 1.0, 2.0),
        "agnostic": False,
        "fc_channels": 1024,
        "mask_channels": 256,
        "mask_layers": 4,
        # 64 regions a picture, one in four on a molecule (He et al. 2017, section 3.1): masks cost most of the heads.
        "rois": 64,
        "rois_positive": 0.25,
    }
    return NetworkConfig.model_validate(paper | more)
