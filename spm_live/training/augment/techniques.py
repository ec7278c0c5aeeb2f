"""The list of techniques: what each is called, what its number means, how strong and how frequent it is as a rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from spm_live.training.augment import appearance, microscope
from spm_live.training.augment.appearance import Operation

BEND_PX = 16
"""A bend moves nothing further than this: so much is drawn around a window for each one, and cut off afterwards."""


@dataclass(frozen=True, slots=True)
class Technique:
    """One way to change a picture.

    Parameters
    ----------
    name : str
        As in recipes.
    unit : str
        What the number means.
    low, high : float
        Usual range of the number.
    least, most : float
        Range within which it makes sense.
    probability : float
        How often the standard recipe uses it, 0 to 1.
    apply : callable
        Takes picture, generator and number.
    paper : bool
        One of the thirteen of Zhu et al. 2022, Table S2; else something a microscope does.
    bends : bool
        Whether outlines move.
    """

    name: str
    unit: str
    low: float
    high: float
    least: float
    most: float
    probability: float
    apply: Operation
    paper: bool = True
    bends: bool = False


_ALL = (
    Technique("superpixels", "side of a patch, px", 2.0, 5.0, 2.0, 64.0, 0.04, appearance.superpixels),
    Technique("blur", "standard deviation, px", 0.3, 2.0, 0.0, 20.0, 0.2, appearance.blur),
    Technique("sharpen", "weight", 0.2, 1.5, 0.0, 10.0, 0.1, appearance.sharpen),
    Technique("emboss", "weight", 0.1, 0.5, 0.0, 1.0, 0.05, appearance.emboss),
    Technique("edge_detect", "weight", 0.1, 0.5, 0.0, 1.0, 0.05, appearance.edge_detect),
    Technique("noise", "standard deviation", 0.01, 0.12, 0.0, 1.0, 0.3, appearance.noise),
    Technique("dropout", "part of the pixels", 0.005, 0.06, 0.0, 0.9, 0.06, appearance.dropout),
    Technique("invert", "weight", 1.0, 1.0, 0.0, 1.0, 0.03, appearance.invert),
    Technique("add", "grey scale", 0.0, 0.2, 0.0, 1.0, 0.1, appearance.add),
    Technique("multiply", "factor", 0.7, 1.4, 0.05, 10.0, 0.15, appearance.multiply),
    Technique("greyscale", "weight", 0.3, 1.0, 0.0, 1.0, 0.08, appearance.greyscale),
    Technique("elastic", "standard deviation, px", 0.5, 2.5, 0.0, 8.0, 0.2, appearance.elastic, bends=True),
    Technique("contrast", "factor", 0.6, 1.6, 0.05, 10.0, 0.2, appearance.contrast),
    Technique("line_noise", "standard deviation", 0.005, 0.06, 0.0, 1.0, 0.12, microscope.line_noise, paper=False),
    Technique("line_dropout", "part of the rows", 0.005, 0.03, 0.0, 0.9, 0.04, microscope.line_dropout, paper=False),
    Technique("pink_noise", "standard deviation", 0.01, 0.08, 0.0, 1.0, 0.12, microscope.pink_noise, paper=False),
    Technique("drift", "largest shift, px", 1.0, 12.0, 0.0, 16.0, 0.1, microscope.drift, paper=False, bends=True),
    Technique("creep", "largest shift, px", 1.0, 10.0, 0.0, 16.0, 0.05, microscope.creep, paper=False, bends=True),
    Technique("double_tip", "distance, px", 2.0, 8.0, 0.5, 200.0, 0.05, microscope.double_tip, paper=False),
    Technique("blunt_tip", "radius, px", 1.0, 3.0, 0.5, 12.0, 0.05, microscope.blunt_tip, paper=False),
    Technique("scars", "number", 1.0, 6.0, 1.0, 200.0, 0.08, microscope.scars, paper=False),
    Technique("tilt", "grey scale", 0.05, 0.4, 0.0, 5.0, 0.1, microscope.tilt, paper=False),
    Technique("step_edge", "grey scale", 0.1, 0.6, 0.0, 5.0, 0.05, microscope.step_edge, paper=False),
    Technique("partial_scan", "part of the rows", 0.3, 0.95, 0.05, 1.0, 0.04, microscope.partial_scan, paper=False),
    Technique("gamma", "exponent", 0.6, 1.6, 0.1, 10.0, 0.25, microscope.gamma, paper=False),
    Technique("restretch", "part of the pixels", 0.0, 0.06, 0.0, 0.4, 0.15, microscope.restretch, paper=False),
)

TECHNIQUES: Mapping[str, Technique] = MappingProxyType({one.name: one for one in _ALL})
"""By name. Those of the paper first."""

ORDER: tuple[str, ...] = (
    # The piezo, then the surface, the tip, the electronics, and at last what people do to the picture.
    *("elastic", "drift", "creep"),
    *("step_edge", "tilt", "double_tip", "blunt_tip"),
    *("blur", "superpixels", "sharpen", "emboss", "edge_detect"),
    *("gamma", "restretch", "greyscale", "contrast", "multiply", "add", "invert"),
    *("noise", "pink_noise", "line_noise", "scars", "line_dropout", "dropout", "partial_scan"),
)
"""In which order techniques are applied, where a picture gets several."""
