"""Runs a TensorRT engine on the first NVIDIA GPU, through cuda-python.

This is the only part of the program that needs a GPU to be run at all; it is kept as small as it can be.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

INSTALL = "pip install 'spm-live[tensorrt]'"


class CudaError(RuntimeError):
    """A call to CUDA or to an engine failed."""


class Gpu:
    """The first GPU of this machine.

    Parameters
    ----------
    cuda : module or None
        ``cuda.bindings.runtime``, or what stands in for it in a test; None: import it.

    Raises
    ------
    CudaError
        If cuda-python is not installed, or there is no GPU that it can use.
    """

    def __init__(self, cuda: Any = None) -> None:
        if cuda is None:
            try:
                cuda = importlib.import_module("cuda.bindings.runtime")
            except ImportError as error:
                raise CudaError(f"cuda-python cannot be loaded ({error}); install it with: {INSTALL}") from error
        self._cuda = cuda
        status, count = cuda.cudaGetDeviceCount()
        if int(status) != 0 or not count:
            raise CudaError(f"no NVIDIA GPU can be used ({self._reason(status)}); install or update NVIDIA's driver")
        properties = self._call("cudaGetDeviceProperties", 0)
        name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
        self.name = f"{name} (compute capability {properties.major}.{properties.minor})"

    def load(self, trt: Any, logger: Any, engine: bytes) -> EngineRunner:
        """Make an engine ready to run.

        Parameters
        ----------
        trt : module
            ``tensorrt`` or ``tensorrt_rtx``.
        logger : trt.ILogger
        engine : bytes
            As TensorRT serialised it, on this GPU and in this version.

        Raises
        ------
        CudaError
            If TensorRT does not take it, or the GPU's memory is too small.
        """
        return EngineRunner(self, trt, logger, engine)

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call CUDA; what it returns but the status."""
        status, *values = getattr(self._cuda, name)(*arguments)
        if int(status) != 0:
            raise CudaError(f"{name} failed: {self._reason(status)}")
        return values[0] if values else None

    def _reason(self, status: Any) -> str:
        _, text = self._cuda.cudaGetErrorString(status)
        return text.decode() if isinstance(text, bytes) else str(text)


class EngineRunner:
    """An engine with memory for its inputs and outputs on both sides.

    Attributes
    ----------
    tensors : dict of str to (is input, dtype, shape)
    """

    def __init__(self, gpu: Gpu, trt: Any, logger: Any, engine: bytes) -> None:
        self._gpu, self._kinds = gpu, gpu._cuda.cudaMemcpyKind
        self._addresses: dict[str, int] = {}
        self._stream: Any = None
        self._runtime = trt.Runtime(logger)
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise CudaError("TensorRT does not take this engine")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise CudaError("TensorRT cannot set the engine up; is the GPU's memory full?")
        self.tensors: dict[str, tuple[bool, np.dtype[Any], tuple[int, ...]]] = {}
        self._outputs: dict[str, NDArray[Any]] = {}
        try:
            self._stream = gpu._call("cudaStreamCreate")
            for number in range(self._engine.num_io_tensors):
                self._make_room(trt, self._engine.get_tensor_name(number))
        except CudaError:
            self.close()
            raise

    def __call__(self, image: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Run the engine on one batch.

        Parameters
        ----------
        image : (batch, 1, rows, columns) float32 array

        Returns
        -------
        dict of str to array
            The outputs, as copies that the next call leaves alone.

        Raises
        ------
        CudaError
            If CUDA or the engine fails.
        """
        image = np.ascontiguousarray(image, dtype=np.float32)
        _, _, shape = self.tensors["image"]
        if image.shape != shape:
            raise CudaError(f"a picture of shape {image.shape}, where the engine takes {shape}")
        call = self._gpu._call
        to, back = self._kinds.cudaMemcpyHostToDevice, self._kinds.cudaMemcpyDeviceToHost
        call("cudaMemcpyAsync", self._addresses["image"], image.ctypes.data, image.nbytes, to, self._stream)
        if not self._context.execute_async_v3(int(self._stream)):
            raise CudaError("TensorRT could not start the engine")
        for name, host in self._outputs.items():
            call("cudaMemcpyAsync", host.ctypes.data, self._addresses[name], host.nbytes, back, self._stream)
        call("cudaStreamSynchronize", self._stream)
        return {name: host.copy() for name, host in self._outputs.items()}

    def close(self) -> None:
        """Free the GPU's memory; the engine is not used again."""
        addresses, self._addresses = self._addresses, {}
        stream, self._stream = self._stream, None
        self._context = None
        for address in addresses.values():
            self._gpu._call("cudaFree", address)
        if stream is not None:
            self._gpu._call("cudaStreamDestroy", stream)

    def _make_room(self, trt: Any, name: str) -> None:
        is_input = self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
        shape = tuple(int(size) for size in self._engine.get_tensor_shape(name))
        self.tensors[name] = is_input, dtype, shape
        address = self._gpu._call("cudaMalloc", int(np.prod(shape)) * dtype.itemsize)
        self._addresses[name] = int(address)
        if not is_input:
            self._outputs[name] = np.zeros(shape, dtype=dtype)
        if not self._context.set_tensor_address(name, int(address)):
            raise CudaError(f"TensorRT does not take memory for {name}")
