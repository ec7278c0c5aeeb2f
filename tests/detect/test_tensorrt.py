"""The TensorRT detector, all but the GPU: that is played by a fake that runs ONNX Runtime."""

from __future__ import annotations

import ctypes
import hashlib
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest

from spm_live.detect import load_manifest, open_detector, tensorrt
from spm_live.detect.cuda import CudaError, Gpu
from spm_live.detect.onnx_file import metadata
from spm_live.detect.tensorrt import TensorRTDetector, build_engine, cache_file, make_logger, tensorrt_is_usable
from spm_live.domain import FrameRef, Letterbox, ModelInput
from spm_live.errors import FrameError, SetupError
from spm_live.settings import ModelSettings

BOX = (4.0, 5.0, 14.0, 15.0)


class FakeCuda:
    """CUDA whose device memory is that of the host; it knows what was given out and not given back."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815

    def __init__(self, count: int = 1, fails: str = "") -> None:
        self.count, self.fails = count, fails
        self.memory: dict[int, ctypes.Array] = {}
        self.streams: set[int] = set()

    def __getattribute__(self, name: str):
        if name.startswith("cuda") and name == object.__getattribute__(self, "fails"):
            return lambda *_: (2, None)
        return object.__getattribute__(self, name)

    def cudaGetDeviceCount(self):
        return (0, self.count) if self.count else (100, None)

    def cudaGetErrorString(self, status):
        return 0, {2: b"out of memory", 100: b"no CUDA-capable device is detected"}.get(status, b"?")

    def cudaGetDeviceProperties(self, number):
        return 0, SimpleNamespace(name=b"Fake 1000", major=8, minor=9)

    def cudaMalloc(self, size):
        block = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(block)] = block
        return 0, ctypes.addressof(block)

    def cudaFree(self, address):
        del self.memory[address]
        return (0,)

    def cudaStreamCreate(self):
        self.streams.add(7)
        return 0, 7

    def cudaStreamDestroy(self, stream):
        self.streams.remove(stream)
        return (0,)

    def cudaMemcpyAsync(self, to, source, size, kind, stream):
        assert stream in self.streams
        device = to if kind == 1 else source
        assert len(self.memory[device]) == size
        ctypes.memmove(to, source, size)
        return (0,)

    def cudaStreamSynchronize(self, stream):
        return (0,)


class FakeEngine:
    """An engine that is an ONNX file run by ONNX Runtime, in the memory that it was told of."""

    def __init__(self, content: bytes) -> None:
        self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        self.nodes = {node.name: node for node in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.num_io_tensors = len(self.nodes)
        self.addresses: dict[str, int] = {}

    def get_tensor_name(self, number):
        return list(self.nodes)[number]

    def get_tensor_mode(self, name):
        return "in" if name == "image" else "out"

    def get_tensor_dtype(self, name):
        return self.nodes[name].type

    def get_tensor_shape(self, name):
        return self.nodes[name].shape

    def create_execution_context(self):
        return self

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        shape = self.nodes["image"].shape
        size = int(np.prod(shape)) * 4
        image = np.frombuffer(ctypes.string_at(self.addresses["image"], size), np.float32).reshape(shape)
        names = [name for name in self.nodes if name != "image"]
        for name, value in zip(names, self.session.run(names, {"image": image}), strict=True):
            ctypes.memmove(self.addresses[name], np.ascontiguousarray(value).ctypes.data, value.nbytes)
        return True


class FakeTensorRT:
    """TensorRT whose engines are ONNX files with a word before them; it counts how many it built."""

    __name__ = "tensorrt"
    __version__ = "11.0"
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    BuilderFlag = SimpleNamespace(TF32=3)
    TensorIOMode = SimpleNamespace(INPUT="in")

    class ILogger:
        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)

    def __init__(self, version: str = "11.0") -> None:
        self.__version__ = version
        self.built = 0
        self.content = b""

    def nptype(self, kind):
        return {"tensor(float)": np.float32, "tensor(int64)": np.int64}[kind]

    def Builder(self, logger):
        return self

    def create_network(self, flags):
        assert flags == 2
        return self

    def OnnxParser(self, network, logger):
        return self

    def parse(self, content):
        self.content = content
        return not content.startswith(b"nonsense")

    num_errors = 2

    def get_error(self, number):
        return SimpleNamespace(desc=lambda: f"fault {number}", node_name=lambda: f"node {number}")

    def create_builder_config(self):
        return SimpleNamespace(clear_flag=lambda flag: None)

    def build_serialized_network(self, network, config):
        self.built += 1
        return b"engine" + self.__version__.encode() + self.content

    def Runtime(self, logger):
        return self

    def deserialize_cuda_engine(self, engine):
        start = b"engine" + self.__version__.encode()
        return FakeEngine(engine.removeprefix(start)) if engine.startswith(start) else None


@pytest.fixture
def make(make_model, answers, constant_graph, tmp_path):
    """Make a detector on the fakes: ``make(trt, cuda)``; the model knows one box, in tiles by twos."""
    values = answers([BOX], batch=2)
    graph = constant_graph(values, (2, 1, 32, 48))
    onnx.helper.set_model_props(graph, {"spm_live.flavour": "tensorrt"})
    folder = make_model(values, graph=graph)

    def build(trt=None, cuda=None, cache=tmp_path / "cache", **changes):
        manifest = load_manifest(folder).model_copy(update=changes)
        return TensorRTDetector(
            manifest, folder / "toy.onnx", gpu=Gpu(cuda or FakeCuda()), trt=trt or FakeTensorRT(), cache=cache
        )

    build.folder = folder
    return build


def model_input(count: int = 3) -> ModelInput:
    return ModelInput(
        tiles=np.ones((count, 32, 48), dtype=np.float32),
        origins=np.array([[32 * k, 0] for k in range(count)], dtype=np.int64).reshape(-1, 2),
        letterbox=Letterbox(1.0, 1.0, 32 * count, 48),
        levelled=np.ones((32 * count, 48), dtype=np.float32),
        ref=FrameRef("scan.sxm"),
    )


def test_it_finds_what_onnx_runtime_finds_and_gives_all_memory_back(make):
    cuda = FakeCuda()
    detector = make(cuda=cuda)
    other = open_detector(ModelSettings(name=str(make.folder), provider="cpu", threads=1))
    found, wanted = detector.detect(model_input()), other.detect(model_input())
    assert len(found) == 3
    for name in ("boxes", "scores", "classes", "masks"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    assert len(cuda.memory) == 5
    detector.close()
    detector.close()
    other.close()
    assert not cuda.memory
    assert not cuda.streams
    with pytest.raises(ValueError, match="closed"):
        detector.detect(model_input())


def test_an_engine_is_built_once_for_each_network_version_and_gpu(make):
    first = FakeTensorRT()
    make(first).close()
    make(first).close()
    assert first.built == 1
    newer = FakeTensorRT("11.1")
    make(newer).close()
    assert newer.built == 1
    base = Path("cache")
    keys = {
        cache_file(base, sha, SimpleNamespace(__name__=name, __version__=version), gpu)
        for sha in ("a", "b")
        for name in ("tensorrt", "tensorrt_rtx")
        for version in ("1", "2")
        for gpu in ("x", "y")
    }
    assert len(keys) == 16


@pytest.mark.parametrize("spoil", [lambda content: content[:-1], lambda content: b"", lambda content: content[::-1]])
def test_a_damaged_engine_is_built_anew(make, tmp_path, spoil, caplog):
    trt = FakeTensorRT()
    make(trt).close()
    (path,) = (tmp_path / "cache").iterdir()
    good = path.read_bytes()
    path.write_bytes(spoil(good))
    detector = make(trt)
    assert len(detector.detect(model_input())) == 3
    detector.close()
    assert trt.built == 2
    assert path.read_bytes() == good
    assert "damaged" in caplog.text


def test_an_engine_that_tensorrt_refuses_is_built_anew(make, tmp_path, caplog):
    trt = FakeTensorRT()
    make(trt).close()
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(hashlib.sha256(b"of another kind").digest() + b"of another kind")
    make(trt).close()
    assert trt.built == 2
    assert "does not take this engine" in caplog.text


def test_a_cache_that_cannot_be_written_costs_only_time(make, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    trt = FakeTensorRT()
    for _ in range(2):
        detector = make(trt, cache=tmp_path / "file" / "cache")
        assert len(detector.detect(model_input())) == 3
        detector.close()
    assert trt.built == 2
    assert "will be built again" in caplog.text


@pytest.mark.parametrize("call", ["cudaMemcpyAsync", "cudaStreamSynchronize"])
def test_a_gpu_that_fails_on_a_frame_is_a_fault_of_the_frame(make, call):
    cuda = FakeCuda()
    detector = make(cuda=cuda)
    cuda.fails = call
    with pytest.raises(FrameError, match=f"{call} failed: out of memory"):
        detector.detect(model_input())
    cuda.fails = ""
    detector.close()
    assert not cuda.memory


def test_a_gpu_without_room_is_a_fault_of_the_setup(make):
    cuda = FakeCuda(fails="cudaMalloc")
    with pytest.raises(SetupError, match="out of memory"):
        make(cuda=cuda)
    assert not cuda.streams


def test_what_the_parser_says_is_listed(make):
    (make.folder / "toy.onnx").write_bytes(b"nonsense")
    with pytest.raises(SetupError, match="TensorRT cannot read it: fault 0") as caught:
        build_engine(FakeTensorRT(), None, make.folder / "toy.onnx")
    assert len(caught.value.problems) == 2


def test_a_graph_that_does_not_fit_the_manifest_is_refused(make):
    cuda = FakeCuda()
    with pytest.raises(SetupError, match=r"boxes has shape .*2, 4, 4.*2, 5, 4"):
        make(cuda=cuda, max_detections=5)
    assert not cuda.memory


def test_a_network_for_processors_is_refused_where_tensorrt_was_asked_for(make_model, answers):
    folder = make_model(answers([BOX]))
    with pytest.raises(SetupError, match="--flavour tensorrt"):
        TensorRTDetector(load_manifest(folder), folder / "toy.onnx", gpu=Gpu(FakeCuda()), trt=FakeTensorRT())


def test_everything_that_is_missing_is_named(make, monkeypatch):
    monkeypatch.setattr(tensorrt, "PACKAGES", ("spm_live_no_such_package",))
    monkeypatch.setattr(tensorrt, "Gpu", lambda: Gpu(FakeCuda(count=0)))
    with pytest.raises(SetupError) as caught:
        open_detector(ModelSettings(name=str(make.folder), provider="tensorrt"))
    assert len(caught.value.problems) == 2
    assert "TensorRT is not installed" in str(caught.value)
    assert "no CUDA-capable device" in str(caught.value)
    assert not tensorrt_is_usable()


def test_cuda_python_without_a_gpu_says_so():
    pytest.importorskip("cuda.bindings.runtime")
    try:
        Gpu()
    except CudaError as error:
        assert "no NVIDIA GPU can be used" in str(error)  # noqa: PT017
    else:
        pytest.skip("this machine has a GPU")


def test_auto_takes_tensorrt_where_it_is_there_and_onnx_runtime_where_it_fails(make, monkeypatch, caplog):
    settings = ModelSettings(name=str(make.folder), provider="auto", threads=1)
    monkeypatch.setattr(tensorrt, "tensorrt_is_usable", lambda: False)
    detector = open_detector(settings)
    assert type(detector).__name__ == "OnnxRuntimeDetector"
    detector.close()
    monkeypatch.setattr(tensorrt, "tensorrt_is_usable", lambda: True)
    monkeypatch.setattr(tensorrt, "_find", lambda trt, gpu: (FakeTensorRT(), Gpu(FakeCuda())))
    monkeypatch.setattr(tensorrt, "user_cache_path", lambda name: make.folder / "cache")
    detector = open_detector(settings)
    assert isinstance(detector, TensorRTDetector)
    detector.close()
    monkeypatch.setattr(tensorrt, "_find", lambda trt, gpu: (FakeTensorRT("11.2"), Gpu(FakeCuda(fails="cudaMalloc"))))
    with caplog.at_level(logging.WARNING):
        detector = open_detector(settings)
    assert type(detector).__name__ == "OnnxRuntimeDetector"
    assert "TensorRT cannot be used" in caplog.text
    detector.close()


def test_a_suppression_that_did_not_end_is_told(make_model, answers, constant_graph, tmp_path, caplog):
    values = answers([BOX]) | {"converged": np.array([0], dtype=np.int64)}
    graph = constant_graph(values, (1, 1, 32, 48))
    onnx.helper.set_model_props(graph, {"spm_live.flavour": "tensorrt"})
    folder = make_model(values, graph=graph)
    detector = TensorRTDetector(
        load_manifest(folder), folder / "toy.onnx", gpu=Gpu(FakeCuda()), trt=FakeTensorRT(), cache=tmp_path
    )
    assert len(detector.detect(model_input(1))) == 1
    detector.close()
    assert "did not reach its end" in caplog.text


def test_notes_are_read_from_an_onnx_file_and_from_no_other(tmp_path, constant_graph, answers):
    graph = constant_graph(answers([BOX]), (1, 1, 32, 48))
    path = tmp_path / "network.onnx"
    path.write_bytes(graph.SerializeToString())
    assert metadata(path) == {}
    notes = {"spm_live.flavour": "tensorrt", "long": "ü" * 9000, "empty": ""}
    onnx.helper.set_model_props(graph, notes)
    content = graph.SerializeToString()
    path.write_bytes(content)
    assert metadata(path) == notes
    for end in range(0, len(content), 97):
        path.write_bytes(content[:end])
        assert set(metadata(path)) <= set(notes)
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    assert isinstance(metadata(path), dict)
    assert metadata(tmp_path / "missing.onnx") == {}


def test_a_real_tensorrt_builds_a_network_without_a_gpu(tmp_path, caplog):
    trt = pytest.importorskip("tensorrt_rtx")
    path = tmp_path / "network.onnx"
    shape = [1, 1, 8, 8]
    kind = onnx.TensorProto.FLOAT
    image, boxes = (onnx.helper.make_tensor_value_info(name, kind, shape) for name in ("image", "boxes"))
    node = onnx.helper.make_node("Relu", ["image"], ["boxes"])
    graph = onnx.helper.make_graph([node], "small", [image], [boxes])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    assert len(build_engine(trt, make_logger(trt), path)) > 1000
    path.write_bytes(b"this is no network")
    with caplog.at_level(logging.CRITICAL), pytest.raises(SetupError, match="TensorRT cannot"):
        build_engine(trt, make_logger(trt), path)
