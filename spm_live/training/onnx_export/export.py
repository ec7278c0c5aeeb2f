"""Exports a trained model, if the exported network finds what the trained one finds."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from spm_live.detect.manifest import MANIFEST_FILE, Manifest
from spm_live.errors import SetupError
from spm_live.training.maskrcnn.config import NetworkConfig
from spm_live.training.onnx_export.parity import Parity, compare_models
from spm_live.training.onnx_export.plan import Flavour, Plan, Precision
from spm_live.training.onnx_export.trained import read_manifest, trained_model

_log = logging.getLogger(__name__)

MOST_PLACES = 3800
"""TensorRT's TopK takes fewer than 3840."""
COMPARED_TILES = 64
CALIBRATION_TILES = 16
"""More cost time and change nothing that was measured."""


class ExportSettings(BaseModel):
    """What there is to choose about an export.

    Parameters
    ----------
    flavour : "cpu" or "tensorrt"
        ``cpu`` for ONNX Runtime; ``tensorrt`` for TensorRT, which any other runtime reads too, only slower.
    precision : "fp32", "fp16" or "int8"
        Of the layers with weights.
    batch : int
        Tiles that the network takes at once.
    rows, columns : int or None
        Shape of a tile, in pixels; None: that of the manifest.
    max_detections : int or None
        Most molecules in a tile; None: as the network was trained. More places get more proposals with them.
    weight_bits : 7 or 8
        In int8 for the processor: 7 for processors without VNNI (before Ice Lake and Zen 4).
    count_score : float or None
        Detections from this score on count when networks are compared; None: the manifest's ``min_score``, or the
        network's own where there is no manifest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    flavour: Flavour = "cpu"
    precision: Precision = "fp32"
    batch: int = Field(default=1, ge=1, le=64)
    rows: int | None = Field(default=None, ge=32, le=8192)
    columns: int | None = Field(default=None, ge=32, le=8192)
    max_detections: int | None = Field(default=None, ge=1, le=MOST_PLACES // 2)
    weight_bits: Literal[7, 8] = 8
    count_score: float | None = Field(default=None, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    Parameters
    ----------
    path : Path
        The ONNX file.
    sha256 : str
        Its hex digest.
    parity : Parity
        How it compares with the trained model.
    """

    path: Path
    sha256: str
    parity: Parity


def export_folder(
    source: Path,
    out: Path,
    settings: ExportSettings,
    pictures: Sequence[tuple[str, NDArray[np.float32]]] = (),
    calibration: Sequence[tuple[str, NDArray[np.float32]]] | None = None,
) -> Exported:
    """Export the model of a folder again, for another machine: what ``spm-live export MODEL`` does.

    Parameters
    ----------
    source : Path
        A model's folder with its training weights.
    out : Path
        Folder to write to; made if need be, and given card and manifest of the model. May be ``source``.
    settings, pictures, calibration
        As of :func:`export_model`.

    Raises
    ------
    SetupError
        If the model has no weights to export from, or as of :func:`export_model`.
    """
    manifest = read_manifest(source)
    model, config = trained_model(source, manifest)
    if out.resolve() == source.resolve():
        return _export(model, config, out, manifest, settings, pictures, calibration)
    if (out / MANIFEST_FILE).exists() and read_manifest(out).name != manifest.name:
        raise SetupError(f"{out}: another model lies there; choose an empty folder")
    # Weights to train on stay behind: the machine that runs the network does not need them.
    manifest = manifest.model_copy(update={"training_weights": None})
    exported = _export(model, config, out, manifest, settings, pictures, calibration)
    if (source / "card.md").is_file():
        shutil.copyfile(source / "card.md", out / "card.md")
    return exported


def export_model(
    model: Any,
    config: NetworkConfig,
    folder: Path,
    settings: ExportSettings,
    pictures: Sequence[tuple[str, NDArray[np.float32]]] = (),
    calibration: Sequence[tuple[str, NDArray[np.float32]]] | None = None,
) -> Exported:
    """Write a trained model as ONNX, and note it in the manifest of its folder.

    Parameters
    ----------
    model : MaskRCNN
        Trained.
    config : NetworkConfig
        Its own.
    folder : Path
        Of the model. Where it holds a manifest, that is changed to name the new file, its digest and its shapes.
    settings : ExportSettings
    pictures : sequence of (str, (rows, columns) float32 array)
        Names and prepared pictures, 0 to 1 with NaN where not scanned, that trained and exported network are compared
        on: those the model was validated with. Of any shape: they are cut into tiles. For fp32, pictures of nothing in
        particular do where none are given.
    calibration : sequence of (str, (rows, columns) float32 array) or None
        For int8, pictures that show what values occur; None: ``pictures``.

    Returns
    -------
    Exported

    Raises
    ------
    SetupError
        If the settings do not suit the network, or pictures are missing.
    ExportRefusedError
        If the exported network finds too much else; nothing is written then.
    """
    manifest = read_manifest(folder) if (folder / MANIFEST_FILE).exists() else None
    return _export(model, config, folder, manifest, settings, pictures, calibration)


def _export(
    model: Any,
    config: NetworkConfig,
    folder: Path,
    manifest: Manifest | None,
    settings: ExportSettings,
    pictures: Sequence[tuple[str, NDArray[np.float32]]],
    calibration: Sequence[tuple[str, NDArray[np.float32]]] | None,
) -> Exported:
    from spm_live.training.onnx_export.graph import build_graph
    from spm_live.training.onnx_export.quantise import quantise

    plan = _plan(config, settings, manifest)
    tiles = _tiles(pictures, plan, COMPARED_TILES)
    _check_pictures(tiles, settings)
    built = build_graph(model, plan, precision=settings.precision, metadata=_metadata(plan, settings))
    if settings.precision == "int8":
        shown = _batches(_tiles(pictures if calibration is None else calibration, plan, CALIBRATION_TILES), plan)
        built = quantise(built, shown, plan.flavour, weight_bits=settings.weight_bits)
    content = built.SerializeToString()
    count_score = settings.count_score
    if count_score is None:
        count_score = config.min_score if manifest is None else manifest.min_score
    compared = compare_models(_twin(model, plan.config), content, tiles or _drawn_tiles(plan), plan.batch, count_score)
    parity = Parity(settings.precision, tuple(compared))
    parity.check()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"network-{settings.flavour}-{settings.precision}.onnx"
    _replace(path, content)
    exported = Exported(path, hashlib.sha256(content).hexdigest(), parity)
    if manifest is not None:
        _write_manifest(folder, _changed(manifest, exported, plan))
    _log.info("%s: %s", path, json.dumps(parity.summary()))
    return exported


def _plan(config: NetworkConfig, settings: ExportSettings, manifest: Manifest | None) -> Plan:
    places = settings.max_detections or config.max_detections
    if places > config.max_detections:
        # Every molecule needs a proposal, and mostly gets several that suppression thins out.
        changes = {"proposals": 2 * places, "proposals_before": 3 * places}
        more = {name: min(MOST_PLACES, max(getattr(config, name), value)) for name, value in changes.items()}
        config = config.model_copy(update=more)
    config = config.model_copy(update={"max_detections": places})
    rows = settings.rows or (manifest.input.rows if manifest else None)
    columns = settings.columns or (manifest.input.columns if manifest else None)
    if rows is None or columns is None:
        raise SetupError("rows and columns of a tile are not known: there is no manifest; give both")
    coarsest = config.strides[-1]
    problems = [
        f"{name} = {value}: must be a multiple of {coarsest}; take {round(value / coarsest) * coarsest or coarsest}"
        for name, value in (("rows", rows), ("columns", columns))
        if value % coarsest
    ]
    if problems:
        raise SetupError(problems)
    return Plan(config, settings.batch, rows, columns, settings.flavour)


def _check_pictures(tiles: Sequence[Any], settings: ExportSettings) -> None:
    if settings.precision != "fp32" and not tiles:
        raise SetupError(
            f"{settings.precision} needs pictures to compare counts on; give the labelled pictures that the model was "
            "validated with (--pictures)"
        )


def _metadata(plan: Plan, settings: ExportSettings) -> dict[str, str]:
    return {"spm_live.flavour": plan.flavour, "spm_live.precision": settings.precision}


def _tiles(
    pictures: Sequence[tuple[str, NDArray[np.float32]]], plan: Plan, most: int
) -> list[tuple[str, NDArray[np.float32]]]:
    """Cut pictures into tiles that do not overlap, filled up with 0; at most so many, spread evenly over all."""
    tiles = []
    for name, picture in pictures:
        for top in range(0, picture.shape[0], plan.rows):
            for left in range(0, picture.shape[1], plan.columns):
                part = picture[top : top + plan.rows, left : left + plan.columns]
                tile = np.zeros((plan.rows, plan.columns), dtype=np.float32)
                tile[: part.shape[0], : part.shape[1]] = np.nan_to_num(part, nan=0.0)
                tiles.append((f"{name} from row {top}, column {left}", tile))
    if len(tiles) <= most:
        return tiles
    return [tiles[index] for index in np.linspace(0, len(tiles) - 1, most).round().astype(int)]


def _batches(tiles: Sequence[tuple[str, NDArray[np.float32]]], plan: Plan) -> list[NDArray[np.float32]]:
    """Tiles as the network takes them; the last batch is filled up with the first tiles again."""
    images = [tile for _, tile in tiles]
    images += [images[number % len(images)] for number in range(-len(images) % plan.batch)]
    return [np.stack(images[start : start + plan.batch])[:, None] for start in range(0, len(images), plan.batch)]


def _drawn_tiles(plan: Plan) -> list[tuple[str, NDArray[np.float32]]]:
    """Pictures of round bumps, to compare arithmetic on."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: plan.rows, : plan.columns]
    tiles = []
    for number in range(max(2, plan.batch)):
        tile = rng.normal(0.3, 0.05, (plan.rows, plan.columns))
        for _ in range(plan.rows * plan.columns // 4000):
            row, column, size = rng.uniform(0, plan.rows), rng.uniform(0, plan.columns), rng.uniform(4, 16)
            tile += 0.6 * np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * size**2))
        tiles.append((f"drawn picture {number}", np.clip(tile, 0, 1).astype(np.float32)))
    return tiles


def _twin(model: Any, config: NetworkConfig) -> Any:
    """The same weights with other places, computing in float32 whatever the model was trained in."""
    parts = ("trunk", "rpn", "box_head", "mask_head")
    computes_in = {layer.compute_dtype for part in parts for layer in getattr(model, part).layers}
    if model.config == config and computes_in == {"float32"}:
        return model
    import keras

    from spm_live.training.maskrcnn.model import MaskRCNN

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        twin = MaskRCNN(config)
    finally:
        keras.config.set_dtype_policy(policy)
    for part in parts:
        getattr(twin, part).set_weights(getattr(model, part).get_weights())
    return twin


def _changed(manifest: Manifest, exported: Exported, plan: Plan) -> Manifest:
    shapes = {"rows": plan.rows, "columns": plan.columns}
    shapes["overlap_px"] = min(manifest.input.overlap_px, min(plan.rows, plan.columns) // 2)
    return manifest.model_copy(
        update={
            "weights": exported.path.name,
            "sha256": exported.sha256,
            "max_detections": plan.config.max_detections,
            "input": manifest.input.model_copy(update=shapes),
        }
    )


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    _replace(folder / MANIFEST_FILE, (manifest.model_dump_json(indent=2) + "\n").encode())


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
