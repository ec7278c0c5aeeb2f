"""Finding molecules in a prepared frame."""

from __future__ import annotations

from spm_live.detect.manifest import Manifest, find_model, load_manifest
from spm_live.detect.protocol import Detector
from spm_live.errors import SetupError
from spm_live.settings import ModelSettings

__all__ = ["Detector", "Manifest", "find_model", "load_manifest", "open_detector"]


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
    try:
        from spm_live.detect.onnx_runtime import OnnxRuntimeDetector
    except ImportError as error:
        raise SetupError(
            f"ONNX Runtime cannot be loaded ({error}); install it with: pip install onnxruntime"
        ) from error
    return OnnxRuntimeDetector(
        manifest.model_copy(update=changes),
        folder / manifest.weights,
        provider=settings.provider,
        threads=settings.threads,
    )
