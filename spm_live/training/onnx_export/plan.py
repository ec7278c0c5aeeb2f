"""What is decided before a graph is built."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from spm_live.training.maskrcnn.config import NetworkConfig
from spm_live.training.onnx_export.suppress import ROUNDS

Flavour = Literal["cpu", "tensorrt"]
Precision = Literal["fp32", "fp16", "int8"]

FIRST_LAYERS = ("stem1", "stem2", "conv1")
"""They read the picture itself, and stay float32 where others do not: 3 % of the work of the light network. In float16
they moved scores by 0.01, all other layers together by 0.0005 (molecule-generic on the paper's tile 1); in eight bits
``stem2`` moved them more than any stage of residual blocks.
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """Shapes and kinds of operators.

    Parameters
    ----------
    config : NetworkConfig
    batch, rows, columns : int
        Pictures at once, and their shape in pixels.
    flavour : "cpu" or "tensorrt"
        ``cpu`` works on those regions that are there, with RoiAlign and NonMaxSuppression; ``tensorrt`` has plain
        operators and fixed shapes throughout.
    rounds : int
        Of suppression in plain operators; see :data:`spm_live.training.onnx_export.suppress.ROUNDS`.
    """

    config: NetworkConfig
    batch: int
    rows: int
    columns: int
    flavour: Flavour
    rounds: int = ROUNDS

    @property
    def plain(self) -> bool:
        """Whether there are plain operators only."""
        return self.flavour == "tensorrt"
