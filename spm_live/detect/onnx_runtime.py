"""Runs a network with ONNX Runtime."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from spm_live.detect.manifest import Manifest
from spm_live.detect.merge import TileDetections, merge_tiles
from spm_live.domain import Detections, FrameRef, ModelInput
from spm_live.errors import FrameError, SetupError

_log = logging.getLogger(__name__)

# ONNX Runtime's errors have no base of their own, and older releases lack some of them.
RUNTIME_ERRORS: tuple[type[Exception], ...] = tuple(
    getattr(onnxruntime.capi.onnxruntime_pybind11_state, name)
    for name in (
        "EPFail",
        "Fail",
        "InvalidArgument",
        "InvalidGraph",
        "InvalidProtobuf",
        "NoModel",
        "NoSuchFile",
        "NotFound",
        "NotImplemented",
        "RuntimeException",
    )
    if hasattr(onnxruntime.capi.onnxruntime_pybind11_state, name)
)
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}
OUTPUTS = ("boxes", "scores", "classes", "masks")
TYPES = {
    "image": "tensor(float)",
    "boxes": "tensor(float)",
    "scores": "tensor(float)",
    "classes": "tensor(int64)",
    "masks": "tensor(float)",
}


class OnnxRuntimeDetector:
    """A :class:`spm_live.detect.Detector` on ONNX Runtime.

    Parameters
    ----------
    manifest : Manifest
        Of the model.
    weights : Path
        The ONNX file. Its graph takes ``image`` (batch, 1, rows, columns) float32, 0 to 1, and gives ``boxes``
        (batch, N, 4) float32, ``scores`` (batch, N) float32, ``classes`` (batch, N) int64 and ``masks``
        (batch, N, M, M) float32.
    provider : str
        ``"auto"`` (CUDA where ONNX Runtime has it, else the processor), ``"cpu"``, ``"cuda"`` or ``"tensorrt"``.
    threads : int
        Threads within an operator; 0 means one per core. They sleep between frames.

    Raises
    ------
    SetupError
        If the provider is not there, the file is no network, or the graph does not fit the manifest; every misfit is
        listed.
    """

    def __init__(self, manifest: Manifest, weights: Path, *, provider: str = "auto", threads: int = 0) -> None:
        self.manifest = manifest
        providers = _providers(provider)
        try:
            session = onnxruntime.InferenceSession(str(weights), _session_options(threads), providers=providers)
        except RUNTIME_ERRORS as error:
            raise SetupError(f"{weights}: ONNX Runtime cannot load it: {_first_line(error)}") from error
        problems = check_graph(session.get_inputs(), session.get_outputs(), manifest)
        if problems:
            raise SetupError([f"{weights}: {problem}" for problem in problems])
        batch = session.get_inputs()[0].shape[0]
        self._batch = batch if isinstance(batch, int) else 1
        self._session: Any = session

    def detect(self, model_input: ModelInput) -> Detections:
        """Find the molecules of one frame; see :meth:`spm_live.detect.Detector.detect`."""
        parts: list[TileDetections] = []
        for first, raw in self._run(model_input):
            used = self._used(raw, model_input.ref)
            tile, slot = np.nonzero(used)
            if used.all(axis=1).any():
                _log.warning(
                    "%s: all %d slots of a tile are taken, molecules may be missing",
                    model_input.ref.source,
                    used.shape[1],
                )
            corner = model_input.origins[first + tile][:, [1, 0, 1, 0]].astype(np.float32)
            found = Detections(
                boxes=raw.boxes[tile, slot] + corner,
                scores=raw.scores[tile, slot],
                classes=raw.classes[tile, slot],
                masks=raw.masks[tile, slot],
            )
            parts.append(TileDetections(found, first + tile))
        return merge_tiles(parts, model_input.origins, model_input.letterbox, self.manifest)

    def close(self) -> None:
        """Free the session, its threads and its memory."""
        self._session = None

    def _run(self, model_input: ModelInput) -> Iterator[tuple[int, _Raw]]:
        """Outputs batch by batch, each with the number of its first tile; a short last batch is filled with blanks."""
        if self._session is None:
            raise ValueError("this detector was closed")
        tiles = model_input.tiles
        for start in range(0, len(tiles), self._batch):
            image = tiles[start : start + self._batch, None]
            count = len(image)
            if count < self._batch:
                image = np.concatenate([image, np.zeros((self._batch - count, *image.shape[1:]), dtype=np.float32)])
            try:
                outputs = self._session.run(list(OUTPUTS), {"image": image})
            except RUNTIME_ERRORS as error:
                raise FrameError(model_input.ref, "detect", f"the network failed: {_first_line(error)}") from error
            yield start, _Raw(*(output[:count] for output in outputs))

    def _used(self, raw: _Raw, ref: FrameRef) -> NDArray[np.bool_]:
        """Slots that hold a detection with a score high enough, once it is known that they are sound."""
        if np.isnan(raw.scores).any():
            raise FrameError(ref, "detect", f"the network gave NaN for {np.isnan(raw.scores).sum()} scores")
        used: NDArray[np.bool_] = (raw.scores >= self.manifest.min_score) & (raw.scores > 0)
        broken = used & (np.isnan(raw.boxes).any(axis=2) | np.isnan(raw.masks).any(axis=(2, 3)))
        if broken.any():
            raise FrameError(ref, "detect", f"the network gave NaN for the boxes or masks of {broken.sum()} molecules")
        unknown = used & ((raw.classes < 0) | (raw.classes >= len(self.manifest.classes)))
        if unknown.any():
            number = int(raw.classes[unknown][0])
            raise FrameError(ref, "detect", f"the network gave class {number} of {len(self.manifest.classes)}")
        return used


@dataclass(frozen=True, slots=True, eq=False)
class _Raw:
    """The network's outputs for some tiles, in the order of ``OUTPUTS``."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]
    masks: NDArray[np.float32]


def check_graph(inputs: Sequence[Any], outputs: Sequence[Any], manifest: Manifest) -> list[str]:
    """Compare a graph's inputs and outputs with what a manifest promises.

    Parameters
    ----------
    inputs, outputs : sequence of onnxruntime.NodeArg
        As a session lists them. A dimension that is not fixed has a name or None instead of a number; it fits.
    manifest : Manifest
        Says the shape of a tile and the number of slots.

    Returns
    -------
    list of str
        One sentence for each misfit.
    """
    problems = []
    known = {node.name: node for node in (*inputs, *outputs)}
    slots = manifest.max_detections
    batch = known["image"].shape[0] if "image" in known and known["image"].shape else None
    wanted: dict[str, tuple[Any, ...]] = {
        "image": (batch, 1, manifest.input.rows, manifest.input.columns),
        "boxes": (batch, slots, 4),
        "scores": (batch, slots),
        "classes": (batch, slots),
        "masks": (batch, slots, None, None),
    }
    extra = sorted({node.name for node in inputs} - {"image"})
    if extra:
        problems.append(f"the graph wants inputs that nobody gives: {', '.join(extra)}")
    for name, shape in wanted.items():
        node = known.get(name)
        if node is None or (node in inputs) != (name == "image"):
            problems.append(f"the graph has no {'input' if name == 'image' else 'output'} called {name!r}")
            continue
        if node.type != TYPES[name]:
            problems.append(f"{name} is of type {node.type}, not {TYPES[name]}")
        if len(node.shape) != len(shape) or any(
            isinstance(have, int) and isinstance(want, int) and have != want
            for have, want in zip(node.shape, shape, strict=True)
        ):
            problems.append(f"{name} has shape {_show(node.shape)}, the manifest says {_show(shape)}")
    masks = known.get("masks")
    if masks is not None and len(masks.shape) == 4 and masks.shape[2] != masks.shape[3]:
        problems.append(f"masks are not square: {_show(masks.shape)}")
    return problems


def _show(shape: Sequence[Any]) -> str:
    return "(" + ", ".join(str(size) if isinstance(size, int) else "any" for size in shape) + ")"


def _providers(wanted: str) -> list[str]:
    available = onnxruntime.get_available_providers()
    if wanted == "auto":
        return [name for name in (PROVIDERS["cuda"], PROVIDERS["cpu"]) if name in available]
    if PROVIDERS[wanted] not in available:
        raise SetupError(
            f"model.provider = {wanted!r}, but this ONNX Runtime has only {', '.join(available)}; "
            "install onnxruntime-gpu, or set provider = 'auto'"
        )
    return [PROVIDERS[wanted], *([PROVIDERS["cpu"]] if wanted != "cpu" else [])]


def _session_options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.use_deterministic_compute = True
    # Spinning threads would burn a core while the daemon waits for the next frame.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:500] if str(error).strip() else type(error).__name__
