"""Runs a network with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from spm_live.detect.batches import OUTPUTS, detect_tiles
from spm_live.detect.contract import check_graph
from spm_live.detect.manifest import Manifest
from spm_live.domain import Detections, ModelInput
from spm_live.errors import FrameError, SetupError

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
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


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
        ``"auto"`` (CUDA where ONNX Runtime has it, else the processor), ``"cpu"`` or ``"cuda"``.
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
        session = self._session
        if session is None:
            raise ValueError("this detector was closed")

        def run(image: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
            try:
                return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"image": image}), strict=True))
            except RUNTIME_ERRORS as error:
                raise FrameError(model_input.ref, "detect", f"the network failed: {_first_line(error)}") from error

        return detect_tiles(run, self._batch, model_input, self.manifest)

    def close(self) -> None:
        """Free the session, its threads and its memory."""
        self._session = None


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
