"""Weights to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spm_live.detect.manifest import MANIFEST_FILE, find_model
from spm_live.errors import FrameError, SetupError
from spm_live.training.maskrcnn.config import NetworkConfig
from spm_live_drivers.registry import file_sha256


def find_start(path: Path) -> Path:
    """The file of weights that ``start_from`` means.

    Parameters
    ----------
    path : Path
        A file of weights, the folder of a model, or the name of an installed model.

    Raises
    ------
    SetupError
        If there is none, or it is not the one that the model's manifest was written for.
    """
    if path.is_file():
        if path.suffix not in {".npz", ".h5"}:
            raise SetupError(f"start_from: {path} is neither a model's folder nor a file of weights (.npz, .h5)")
        return path
    folder = find_model(path)
    from spm_live.training.onnx_export.trained import read_manifest

    manifest = read_manifest(folder)
    if manifest.training_weights is None:
        raise SetupError(f"start_from: the model in {folder} came without weights to train on")
    file = folder / manifest.training_weights.file
    try:
        found = file_sha256(file)
    except FrameError as error:
        raise SetupError(f"start_from: {file}: {error.reason}; copy the model's folder again") from error
    if found != manifest.training_weights.sha256:
        raise SetupError(
            f"start_from: {file}: sha256 is {found}, the manifest says {manifest.training_weights.sha256}; "
            "copy the model's folder again"
        )
    return file


def start_config(path: Path) -> NetworkConfig | None:
    """The network that the weights were trained in; None where they do not say."""
    if path.is_file():
        return None
    folder = find_model(path)
    from spm_live.training.onnx_export.trained import read_manifest

    network = read_manifest(folder).network
    try:
        return None if network is None else NetworkConfig.model_validate(network)
    except ValidationError as error:
        raise SetupError(f"start_from: {folder / MANIFEST_FILE}: its network does not hold: {error}") from error


def load_start(model: Any, path: Path) -> list[str]:
    """Put weights into a model, as far as they fit.

    Parameters
    ----------
    model : MaskRCNN
    path : Path
        As :func:`find_start` takes it.

    Returns
    -------
    list of str
        Variables that keep their random values: of other shape, or not in the file.

    Raises
    ------
    SetupError
        If the file cannot be used.
    """
    file = find_start(path)
    if file.suffix == ".h5":
        from spm_live.training.maskrcnn.matterport import load_matterport

        return list(load_matterport(model, file).kept)
    from spm_live.training.maskrcnn.weights import load_npz

    return load_npz(model, file)
