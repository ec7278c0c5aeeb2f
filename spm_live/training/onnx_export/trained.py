"""From a model's folder back to the Keras model that it was exported from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spm_live.detect.manifest import MANIFEST_FILE, Manifest
from spm_live.errors import FrameError, SetupError
from spm_live.training.maskrcnn.config import NetworkConfig
from spm_live_drivers.registry import file_sha256


def read_manifest(folder: Path) -> Manifest:
    """Read a model's manifest, whatever became of the ONNX file that it names.

    Raises
    ------
    SetupError
        If it cannot be read, or does not hold.
    """
    path = folder / MANIFEST_FILE
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SetupError(f"{path}: cannot be read ({error.strerror or error}); give the folder of a model") from error
    except ValidationError as error:
        raise SetupError(_explain(str(path), error)) from error


def trained_model(folder: Path, manifest: Manifest) -> tuple[Any, NetworkConfig]:
    """Build a model's network, and give it its trained weights.

    Parameters
    ----------
    folder : Path
        Of the model.
    manifest : Manifest
        As :func:`read_manifest` returns it.

    Returns
    -------
    model : MaskRCNN
    config : NetworkConfig

    Raises
    ------
    SetupError
        If the folder has no such weights, they were changed, or they do not fit the network.
    """
    if manifest.network is None or manifest.training_weights is None:
        raise SetupError(
            f"{folder}: the model came without its training weights, so it cannot be exported anew; take the folder "
            "that spm-live train wrote"
        )
    path = folder / manifest.training_weights.file
    try:
        config = NetworkConfig.model_validate(manifest.network)
        found = file_sha256(path)
    except ValidationError as error:
        raise SetupError(
            [
                f"{folder / MANIFEST_FILE}: network.{'.'.join(map(str, one['loc']))}: {one['msg']}"
                for one in error.errors()
            ]
        ) from error
    except FrameError as error:
        raise SetupError(f"{path}: {error.reason}; copy the model's folder again") from error
    if found != manifest.training_weights.sha256:
        raise SetupError(
            f"{path}: sha256 is {found}, the manifest says {manifest.training_weights.sha256}: the weights were "
            "changed or damaged; copy the model's folder again"
        )
    if config.classes != manifest.classes:
        raise SetupError(f"{folder / MANIFEST_FILE}: classes and network.classes differ; copy the model's folder again")
    return _load(config, path), config


def _load(config: NetworkConfig, path: Path) -> Any:
    try:
        from spm_live.training.maskrcnn.model import build

        model = build(config)
    except ImportError as error:
        raise SetupError(f"Keras cannot be loaded ({error}); install it with: pip install 'spm-live[train]'") from error
    from spm_live.training.maskrcnn.weights import load_npz

    missing = load_npz(model, path)
    if missing:
        raise SetupError([f"{path}: has no weights of the right shape for {name}" for name in missing])
    return model


def _explain(place: str, error: ValidationError) -> list[str]:
    return [f"{place}: {'.'.join(map(str, one['loc'])) or 'as a whole'}: {one['msg']}" for one in error.errors()]
