"""Reads arrays out of a weights file of Keras 2, and nothing else: no code, no other file, no more than is expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spm_live.errors import SetupError

Shape = tuple[int, ...]
Table = dict[str, NDArray[np.float32]]

MOST_LAYERS = 10_000
MOST_NAMED = 12
"""More missing layers than that are counted, not named."""


def read_layers(path: Path, wanted: Mapping[str, Shape]) -> tuple[Table, tuple[str, ...]]:
    """Read the arrays that are wanted.

    Parameters
    ----------
    path : Path
        An HDF5 file as ``save_weights`` of Keras 2 writes it; or one of a whole model, which has the weights in the
        group ``model_weights``.
    wanted : mapping of str to tuple of int
        Shape by name, as ``conv1/kernel``.

    Returns
    -------
    table : dict of str to float32 array
    unused : tuple of str
        Layers of the file that hold weights and that nothing was wanted of, in their order.

    Raises
    ------
    SetupError
        If it is no such file, or with everything that is missing, of another shape, or no number.
    """
    try:
        import h5py
    except ImportError as error:
        raise SetupError("weights in .h5 files need h5py: pip install h5py") from error

    if not path.is_file():
        raise SetupError(f"{path}: there is no such file; give the path of mask_rcnn_coco.h5")
    try:
        with h5py.File(path, "r") as file:
            found = dict(_arrays(path, file))
            problems = _missing(path, found, wanted) + _misfits(path, found, wanted)
            if problems:
                raise SetupError(problems)
            table = {name: np.asarray(found[name], dtype=np.float32) for name in wanted}
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        # What h5py is known to raise on files that are cut, overwritten in parts, or no HDF5 at all.
        raise SetupError(f"{path}: cannot be read as a weights file ({error}); copy it again") from error
    broken = sorted({_layer(name) for name, values in table.items() if not np.isfinite(values).all()})
    if broken:
        raise SetupError(f"{path}: the weights of {_listed(broken)} are not all finite; copy the file again")
    used = {_layer(name) for name in wanted}
    return table, tuple(dict.fromkeys(_layer(name) for name in found if _layer(name) not in used))


def _arrays(path: Path, file: Any) -> Iterator[tuple[str, Any]]:
    """All arrays that the file lists, as layer/kernel, not yet read."""
    root = file
    if "layer_names" not in root.attrs and "model_weights" in root:
        root = root["model_weights"]
    if "layer_names" not in root.attrs:
        raise SetupError(
            f"{path}: is no weights file of Keras 2 (no layer_names in it); give mask_rcnn_coco.h5, "
            "or a file that matterport's Mask R-CNN saved"
        )
    for group in _names(root.attrs["layer_names"]):
        for name in _names(root[group].attrs["weight_names"]):
            parts = [group, *name.split("/")]
            yield f"{parts[-2]}/{parts[-1].split(':')[0]}", _own(path, root[group], name)


def _names(listed: Any) -> list[str]:
    values = np.asarray(listed).ravel().tolist()
    if len(values) > MOST_LAYERS:
        raise ValueError(f"{len(values)} names in one list")
    return [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in values]


def _own(path: Path, group: Any, name: str) -> Any:
    """An array that lies in this very file: HDF5 can also point to other files."""
    import h5py

    place = group
    for part in name.split("/"):
        if not isinstance(place, h5py.Group) or not isinstance(place.get(part, getlink=True), h5py.HardLink):
            raise KeyError(f"{name} is listed and not there")
        place = place[part]
    if not isinstance(place, h5py.Dataset) or place.external or place.is_virtual:
        raise SetupError(f"{path}: {name} lies in another file; give a file that holds its weights itself")
    return place


def _missing(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Shape]) -> list[str]:
    layers = list(dict.fromkeys(_layer(name) for name in wanted if name not in found))
    if not layers:
        return []
    return [f"{path}: has no weights for {_listed(layers)}; give a file that matterport's Mask R-CNN saved"]


def _misfits(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Shape]) -> list[str]:
    problems = []
    for name, shape in wanted.items():
        if name not in found:
            continue
        if found[name].dtype.kind != "f":
            problems.append(f"{path}: {name} holds no floating-point numbers; copy the file again")
        elif found[name].shape != shape:
            problems.append(
                f"{path}: {name} is {found[name].shape}, the network wants {shape}; use the settings of the paper's "
                "network (resnet50_config), and name the classes that the file was trained on"
            )
    return problems


def _layer(name: str) -> str:
    return name.rsplit("/", 1)[0]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
