"""Runs a network with TensorRT, on an NVIDIA GPU.

An engine fits only the version of TensorRT and the GPU that it was built for, so that the ONNX file is what models are
kept as, and engines lie in a cache of the user's. See ``docs/reference/models.md``.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from spm_live.detect.batches import detect_tiles
from spm_live.detect.contract import check_graph
from spm_live.detect.cuda import INSTALL, CudaError, EngineRunner, Gpu
from spm_live.detect.manifest import Manifest
from spm_live.detect.onnx_file import metadata
from spm_live.domain import Detections, ModelInput
from spm_live.errors import FrameError, SetupError

_log = logging.getLogger(__name__)

PACKAGES = ("tensorrt", "tensorrt_rtx")
"""TensorRT, and its edition for RTX cards that comes from PyPI; the first that is installed is taken."""
FLAVOUR = "spm_live.flavour"
"""Note in the ONNX file: ``tensorrt`` if it is made of operators that TensorRT's parser takes."""


def is_for_tensorrt(weights: Path) -> bool:
    """Whether a network was exported for TensorRT."""
    return metadata(weights).get(FLAVOUR) == "tensorrt"


def tensorrt_is_usable() -> bool:
    """Whether TensorRT is installed, and finds a GPU."""
    if not any(importlib.util.find_spec(name) for name in PACKAGES):
        return False
    try:
        Gpu()
    except CudaError:
        return False
    return True


class TensorRTDetector:
    """A :class:`spm_live.detect.Detector` on TensorRT.

    Parameters
    ----------
    manifest : Manifest
        Of the model.
    weights : Path
        The ONNX file, exported with ``--flavour tensorrt``.
    gpu : Gpu or None
        None: the first of this machine.
    trt : module or None
        None: the first of :data:`PACKAGES` that is installed.
    cache : Path or None
        Folder for engines; None: ``tensorrt`` in the user's cache folder.

    Raises
    ------
    SetupError
        If TensorRT, cuda-python or a GPU is missing (all that are missing are named), the file cannot be built for
        TensorRT, or the graph does not fit the manifest.
    """

    def __init__(
        self, manifest: Manifest, weights: Path, *, gpu: Any = None, trt: Any = None, cache: Path | None = None
    ) -> None:
        self.manifest = manifest
        trt, gpu = _find(trt, gpu)
        if not is_for_tensorrt(weights):
            raise SetupError(
                f"{weights}: was not exported for TensorRT; export it anew with: spm-live export MODEL --flavour "
                "tensorrt, or set provider = 'auto'"
            )
        cache = user_cache_path("spm-live") / "tensorrt" if cache is None else cache
        self._runner: EngineRunner | None = _load(trt, gpu, weights, manifest.sha256, cache)
        problems = _check(self._runner, manifest)
        if problems:
            self.close()
            raise SetupError([f"{weights}: {problem}" for problem in problems])
        self._batch = self._runner.tensors["image"][2][0]

    def detect(self, model_input: ModelInput) -> Detections:
        """Find the molecules of one frame; see :meth:`spm_live.detect.Detector.detect`."""
        runner = self._runner
        if runner is None:
            raise ValueError("this detector was closed")

        def run(image: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
            try:
                outputs = runner(image)
            except CudaError as error:
                raise FrameError(model_input.ref, "detect", f"the network failed: {error}") from error
            if "converged" in outputs and not outputs["converged"].all():
                _log.warning("%s: suppression of doubles did not reach its end", model_input.ref.source)
            return outputs

        return detect_tiles(run, self._batch, model_input, self.manifest)

    def close(self) -> None:
        """Free the engine and the GPU's memory."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()


def build_engine(trt: Any, logger: Any, weights: Path) -> bytes:
    """Build an engine for the GPU of this machine, or, with TensorRT for RTX, for one that is not there.

    Parameters
    ----------
    trt : module
        ``tensorrt`` or ``tensorrt_rtx``.
    logger : trt.ILogger
    weights : Path
        The ONNX file.

    Returns
    -------
    bytes

    Raises
    ------
    SetupError
        With all that the parser says, if TensorRT does not take the file.
    """
    builder = trt.Builder(logger)
    strongly = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if strongly is None else 1 << int(strongly))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(weights.read_bytes()):
        said = [parser.get_error(number) for number in range(parser.num_errors)]
        raise SetupError([f"{weights}: TensorRT cannot read it: {one.desc()} ({one.node_name()})" for one in said])
    config = builder.create_builder_config()
    # Counts were compared in float32; TF32 has ten bits of mantissa. Who wants speed exports in fp16.
    config.clear_flag(trt.BuilderFlag.TF32)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise SetupError(f"{weights}: TensorRT cannot build it for this GPU; the log says why")
    return bytes(engine)


def cache_file(cache: Path, sha256: str, trt: Any, gpu_name: str) -> Path:
    """Where an engine is kept: by the network's digest, TensorRT's edition and version, and the GPU's name."""
    parts = (sha256, trt.__name__, trt.__version__, gpu_name)
    return cache / f"{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:32]}.engine"


def make_logger(trt: Any) -> Any:
    """A logger that hands on what TensorRT says to Python's logging."""
    severity = trt.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.INFO,  # it warns of every int64 output
        severity.INFO: logging.DEBUG,
        severity.VERBOSE: logging.DEBUG,
    }

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, kind: Any, text: str) -> None:
            _log.log(levels.get(kind, logging.DEBUG), "TensorRT: %s", text)

    return Logger()


def _find(trt: Any, gpu: Any) -> tuple[Any, Any]:
    problems = []
    if trt is None:
        trt = _import_tensorrt()
        if trt is None:
            problems.append(f"TensorRT is not installed; install it with: {INSTALL}")
    if gpu is None:
        try:
            gpu = Gpu()
        except CudaError as error:
            problems.append(str(error))
    if problems:
        raise SetupError([f"model.provider = 'tensorrt': {problem}" for problem in problems])
    return trt, gpu


def _import_tensorrt() -> Any:
    for name in PACKAGES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def _load(trt: Any, gpu: Any, weights: Path, sha256: str, cache: Path) -> EngineRunner:
    """Take the engine from the cache, or build it and put it there."""
    path, logger = cache_file(cache, sha256, trt, gpu.name), make_logger(trt)
    engine = _read(path)
    if engine is not None:
        try:
            return gpu.load(trt, logger, engine)  # type: ignore[no-any-return]
        except CudaError as error:
            _log.warning("%s: cannot be used (%s), so it is built anew", path, error)
    _log.info("%s: building an engine for %s; this is done once", weights, gpu.name)
    engine = build_engine(trt, logger, weights)
    _write(path, engine)
    try:
        return gpu.load(trt, logger, engine)  # type: ignore[no-any-return]
    except CudaError as error:
        raise SetupError(f"{weights}: cannot be run on {gpu.name}: {error}") from error


def _read(path: Path) -> bytes | None:
    """An engine, if it is there and is what was written: its digest stands before it."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        _log.warning("%s: cannot be read (%s), so the engine is built anew", path, error)
        return None
    digest, engine = content[:32], content[32:]
    if hashlib.sha256(engine).digest() != digest:
        _log.warning("%s: is damaged, so the engine is built anew", path)
        return None
    return engine


def _write(path: Path, engine: bytes) -> None:
    """Keep an engine; a cache that cannot be written to costs time, and nothing else."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(hashlib.sha256(engine).digest() + engine)
        unfinished.replace(path)
    except OSError as error:
        _log.warning("%s: cannot be written (%s), so the engine will be built again next time", path, error)
        with contextlib.suppress(OSError):
            unfinished.unlink()


class _Node:
    """An input or output as :func:`spm_live.detect.contract.check_graph` wants it."""

    def __init__(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        names = {"float32": "float", "float16": "float16"}
        self.name, self.shape = name, list(shape)
        self.type = f"tensor({names.get(dtype.name, dtype.name)})"


def _check(runner: EngineRunner, manifest: Manifest) -> list[str]:
    inputs: list[_Node] = []
    outputs: list[_Node] = []
    for name, (is_input, dtype, shape) in runner.tensors.items():
        (inputs if is_input else outputs).append(_Node(name, dtype, shape))
    return check_graph(inputs, outputs, manifest)
