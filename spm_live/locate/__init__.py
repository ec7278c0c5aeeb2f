"""From detections in pixels to molecules on the surface, in nm: the last stage of the pipeline."""

from __future__ import annotations

from spm_live.locate.molecules import locate
from spm_live.locate.spectra import spectra_of

__all__ = ["locate", "spectra_of"]
