"""Finding molecules in a prepared frame."""

from __future__ import annotations

import logging
from pathlib import Path

from spm_live.detect.manifest import Manifest, find_model, load_manifest
from spm_live.detect.protocol import Detector
from spm_live.errors import SetupError
from spm_live.settings import ModelSettings

__all__ = ["Detector", "Manifest", "find_model", "load_manifest", "open_detector"]

_log = logging.getLogger(__name__)


def open_detector(settings: ModelSettings) -> Detector:
    """Load the model that the settings name.

    Parameters
    ----------
    settings : ModelSettings
        What they say about scores, overlap and levelling goes over what the manifest says.

    Returns
    -------
    Detector
        To be closed by the caller.

    Raises
    ------
    SetupError
        If the model is not found, was changed, does not fit its manifest, or cannot run on this machine.
    """
    folder = find_model(settings.name)
    manifest = load_manifest(folder)
    changes = {
        "min_score": manifest.min_score if settings.min_score is None else settings.min_score,
        "nms_iou": manifest.nms_iou if settings.nms_iou is None else settings.nms_iou,
        "input": manifest.input.model_copy(
            update={} if settings.levelling is None else {"levelling": settings.levelling}
        ),
    }
    manifest, weights = manifest.model_copy(update=changes), folder / manifest.weights
    native = _open_tensorrt(manifest, weights, settings.provider)
    if native is not None:
        return native
    try:
        from spm_live.detect.onnx_runtime import OnnxRuntimeDetector
    except ImportError as error:
        raise SetupError(
            f"ONNX Runtime cannot be loaded ({error}); install it with: pip install onnxruntime"
        ) from error
    return OnnxRuntimeDetector(manifest, weights, provider=settings.provider, threads=settings.threads)


def _open_tensorrt(manifest: Manifest, weights: Path, provider: str) -> Detector | None:
    """TensorRT, where it was asked for, or where it may be chosen and everything for it is there."""
    from spm_live.detect.tensorrt import TensorRTDetector, is_for_tensorrt, tensorrt_is_usable

    if provider == "tensorrt":
        return TensorRTDetector(manifest, weights)
    if provider != "auto" or not is_for_tensorrt(weights) or not tensorrt_is_usable():
        return None
    try:
        return TensorRTDetector(manifest, weights)
    except SetupError as error:
        _log.warning("TensorRT cannot be used, so ONNX Runtime is: %s", error)
        return None
