"""What there is to choose about an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from spm_live.training.evaluation.excluded import Excluded

Share = Annotated[float, Field(gt=0, le=1)]


class EvaluationSettings(BaseModel):
    """How a model is judged.

    Parameters
    ----------
    min_score : float or None
        Threshold for everything but average precision and the precision-recall curve; None takes the manifest's.
    floor_score : float
        Detections below are never looked at. The network itself gives none below its own.
    overlap : "mask" or "box"
        What overlap is measured on, for everything but average precision, which is given for both.
    least_iou : float
        Overlap that counts as found.
    excluded : Excluded
        What is left out, molecules and detections alike.
    labels : mapping of str to str
        Labels in the data, and the model's class that each stands for. A model of one class needs none: it is asked for
        molecules of any label.
    resolutions : tuple of float
        Scales at which recognition is measured, in (0, 1]; empty for no such study.
    robustness : bool
        Whether recognition is measured on disturbed pictures.
    study_pictures : int
        Pictures taken for the two studies, at most, evenly spread.
    overlays : int
        Pictures drawn with what was found, at most: those with most faults first.
    seed : int
        For the disturbances.
    provider : str
        What runs the network, as in the settings of the daemon.
    threads : int
        Of the network; 0 for one a core.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    min_score: float | None = Field(default=None, ge=0, le=1)
    floor_score: float = Field(default=0.05, ge=0, le=1)
    overlap: Literal["mask", "box"] = "mask"
    least_iou: Share = 0.5
    excluded: Excluded = Excluded()
    labels: Mapping[str, str] = Field(default_factory=dict)
    resolutions: tuple[Share, ...] = (1.0, 1 / 1.5, 1 / 2, 1 / 2.5, 1 / 3, 1 / 4)
    robustness: bool = True
    study_pictures: int = Field(default=20, ge=1)
    overlays: int = Field(default=8, ge=0)
    seed: int = Field(default=2026, ge=0)
    provider: Literal["auto", "cpu", "cuda", "tensorrt"] = "auto"
    threads: int = Field(default=0, ge=0, le=256)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.min_score is not None and self.min_score < self.floor_score:
            raise ValueError(
                f"min_score {self.min_score:g} is under floor_score {self.floor_score:g}: no detection is kept so low"
            )
        return self
