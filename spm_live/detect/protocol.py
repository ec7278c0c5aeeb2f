"""What the pipeline asks of a detector, whatever runs the network."""

from __future__ import annotations

from typing import Protocol

from spm_live.detect.manifest import Manifest
from spm_live.domain import Detections, ModelInput


class Detector(Protocol):
    """Finds molecules. Used from one thread at a time; the same input always gives the same detections."""

    @property
    def manifest(self) -> Manifest:
        """The model's manifest, with the overrides of the settings."""
        ...

    def detect(self, model_input: ModelInput) -> Detections:
        """Find the molecules of one frame.

        Parameters
        ----------
        model_input : ModelInput
            As ``prepare`` makes it; without tiles there are no detections.

        Returns
        -------
        Detections
            In pixels of the resampled picture, tiles merged, in falling score, none under ``manifest.min_score``.

        Raises
        ------
        FrameError
            With stage ``"detect"``, if the network fails on this frame.
        """
        ...

    def close(self) -> None:
        """Free what the detector holds; it is not used again."""
        ...
