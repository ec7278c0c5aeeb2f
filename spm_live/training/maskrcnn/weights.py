"""Weights as an open table of numbers: half the size of Keras' own file, and read without running anything."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from spm_live.errors import SetupError


def save_npz(model: Any, path: Path) -> None:
    """Write all weights as float16 (float32 where that would overflow).

    Parameters
    ----------
    model : keras.Model
    path : Path
        Ends in ``.npz``. Names in the file are the paths of the variables.
    """
    values: dict[str, Any] = {}
    for variable in model.variables:
        if "seed_generator" in variable.path or "optimizer" in variable.path:
            continue
        value = np.asarray(variable.numpy() if hasattr(variable, "numpy") else variable, dtype=np.float32)
        small = value.astype(np.float16)
        values[_name(variable.path)] = small if np.isfinite(small).all() else value
    np.savez_compressed(path, **values)


def load_npz(model: Any, path: Path) -> list[str]:
    """Read weights into a model, as far as names and shapes fit.

    Parameters
    ----------
    model : keras.Model
        Built, so that its variables exist.
    path : Path
        As :func:`save_npz` wrote it.

    Returns
    -------
    list of str
        Variables that were not in the file, or of another shape there; they keep their values.

    Raises
    ------
    SetupError
        If the file is no such table, or none of its weights fits.
    """
    missing, loaded = [], 0
    try:
        with np.load(path, allow_pickle=False) as stored:
            for variable in model.variables:
                if "seed_generator" in variable.path:
                    continue
                name = _name(variable.path)
                if name in stored and stored[name].shape == tuple(variable.shape):
                    variable.assign(stored[name].astype(np.float32))
                    loaded += 1
                else:
                    missing.append(variable.path)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise SetupError([f"{path}: cannot be read as weights: {error}; take another copy of the model"]) from error
    if not loaded:
        raise SetupError([f"{path}: none of its weights fits this network; was it another backbone?"])
    return missing


def _name(path: str) -> str:
    # The outermost name is that of the model object, and Keras counts it up from model to model.
    return path.split("/", 1)[1] if path.startswith("mask_rcnn") else path
