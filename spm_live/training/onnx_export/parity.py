"""Does the exported network find what the trained one finds? If not, there is no export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.errors import SetupError
from spm_live.training.onnx_export.plan import Precision

BOX_TOLERANCE_PX = 0.01
SCORE_TOLERANCE = 1e-4
"""What float32 arithmetic in another order may change."""
COUNT_TOLERANCE = 0.01
"""Part of a picture's molecules by which fewer bits may change its count; of fewer than 100, none."""

Found = Mapping[str, NDArray[Any]]
"""``boxes`` (B, N, 4), ``scores`` (B, N), ``classes`` (B, N), ``masks`` (B, N, M, M)."""


class ExportRefusedError(SetupError):
    """The exported network does not find what the trained one finds; nothing was written."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One picture, as the trained network and as the exported one see it.

    Parameters
    ----------
    name : str
        Of the picture.
    wanted, have : int
        Molecules that the trained and the exported network count.
    box_px, score, mask : float
        Greatest difference between detections that are the same, in pixels for the boxes.
    lost : int
        Detections of the trained network that the exported one does not have: none of its class within a pixel.
    """

    name: str
    wanted: int
    have: int
    box_px: float
    score: float
    mask: float
    lost: int


@dataclass(frozen=True, slots=True)
class Parity:
    """All pictures of a comparison."""

    precision: Precision
    pictures: tuple[Compared, ...]

    def problems(self) -> list[str]:
        """What forbids the export: one sentence for each picture that differs by too much."""
        return [text for one in self.pictures if (text := _problem(one, self.precision))]

    def check(self) -> None:
        """Raise :class:`ExportRefusedError` if there is a problem, with all the figures."""
        problems = self.problems()
        if not problems:
            return
        advice = {
            "fp32": "this is a fault of the exporter: report it, with the model",
            "fp16": "export in fp32",
            "int8": "export in fp32 or fp16, or give more pictures to calibrate with",
        }[self.precision]
        raise ExportRefusedError(
            [f"the {self.precision} network is not as good as the trained one; {advice}", *problems]
        )

    def summary(self) -> dict[str, float]:
        """The figures, over all pictures."""
        return {
            "pictures": len(self.pictures),
            "molecules": sum(one.wanted for one in self.pictures),
            "molecules_exported": sum(one.have for one in self.pictures),
            "largest_box_difference_px": max((one.box_px for one in self.pictures), default=0.0),
            "largest_score_difference": max((one.score for one in self.pictures), default=0.0),
            "largest_mask_difference": max((one.mask for one in self.pictures), default=0.0),
        }


def compare(names: Sequence[str], wanted: Found, have: Found, min_score: float) -> list[Compared]:
    """Compare what two networks found in the same pictures.

    Parameters
    ----------
    names : sequence of str
        Of B pictures.
    wanted, have : mapping of str to array
        Of the trained and of the exported network; the number of places may differ.
    min_score : float
        Detections from this score on count as molecules. Boxes, scores and masks are compared for all that were found.
    """
    return [
        _compare(
            name,
            {key: value[row] for key, value in wanted.items()},
            {key: value[row] for key, value in have.items()},
            min_score,
        )
        for row, name in enumerate(names)
    ]


def _compare(name: str, wanted: Found, have: Found, min_score: float) -> Compared:
    counts = [int(((one["scores"] > 0) & (one["scores"] >= min_score)).sum()) for one in (wanted, have)]
    free = (have["scores"] > 0).copy()
    box = score = mask = 0.0
    lost = 0
    for place in np.flatnonzero(wanted["scores"] > 0):
        apart = np.abs(have["boxes"] - wanted["boxes"][place]).max(axis=1)
        apart[~free | (have["classes"] != wanted["classes"][place])] = np.inf
        twin = int(apart.argmin())
        if apart[twin] > 1:
            lost += 1
            continue
        free[twin] = False
        box = max(box, float(apart[twin]))
        score = max(score, float(abs(have["scores"][twin] - wanted["scores"][place])))
        mask = max(mask, float(np.abs(have["masks"][twin] - wanted["masks"][place]).max()))
    return Compared(name, counts[0], counts[1], box, score, mask, lost)


def _problem(one: Compared, precision: Precision) -> str:
    if precision != "fp32":
        if abs(one.wanted - one.have) <= COUNT_TOLERANCE * one.wanted:
            return ""
        return f"{one.name}: {one.have} molecules where the trained network counts {one.wanted}"
    exact = one.wanted == one.have and not one.lost
    if exact and one.box_px <= BOX_TOLERANCE_PX and one.score <= SCORE_TOLERANCE:
        return ""
    return (
        f"{one.name}: {one.have} molecules for {one.wanted}, {one.lost} of all detections lost, boxes differ by "
        f"{one.box_px:.4f} px, scores by {one.score:.6f}"
    )


def compare_models(
    model: Any, onnx_file: bytes, tiles: Sequence[tuple[str, NDArray[np.float32]]], batch: int, min_score: float
) -> list[Compared]:
    """Let the Keras model and ONNX Runtime see the same tiles.

    Parameters
    ----------
    model : MaskRCNN
        With the same places and thresholds as the exported network.
    onnx_file : bytes
        The exported network.
    tiles : sequence of (str, (rows, columns) float32 array)
        Names and pictures, 0 to 1.
    batch : int
        Pictures that the exported network takes at once.
    min_score : float
        As of :func:`compare`.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx_file, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    # TensorFlow makes one function for pictures of all sizes of those it was shown, and then knows no size at all.
    model.make_predict_function(force=True)
    compared: list[Compared] = []
    for start in range(0, len(tiles), batch):
        part = tiles[start : start + batch]
        images = np.zeros((batch, *part[0][1].shape), dtype=np.float32)
        images[: len(part)] = [picture for _, picture in part]
        have = dict(zip(names, session.run(names, {"image": images[:, None]}), strict=True))
        if "converged" in have and not have.pop("converged").all():
            raise ExportRefusedError(
                f"{part[0][0]}: suppression did not reach its end in the rounds that the graph has; export for the "
                "processor, or with more rounds"
            )
        wanted = model.detect(images[..., None])
        compared += compare([name for name, _ in part], wanted, have, min_score)
    return compared
