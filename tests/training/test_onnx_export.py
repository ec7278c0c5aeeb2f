"""A whole network, exported, finds what Keras finds; or there is no export."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import onnxruntime
import pytest

keras = pytest.importorskip("keras")
onnx = pytest.importorskip("onnx")

from spm_live.detect import open_detector  # noqa: E402
from spm_live.detect.onnx_file import metadata  # noqa: E402
from spm_live.domain import FrameRef, Letterbox, ModelInput  # noqa: E402
from spm_live.errors import SetupError  # noqa: E402
from spm_live.settings import ModelSettings  # noqa: E402
from spm_live.training.maskrcnn.config import NetworkConfig  # noqa: E402
from spm_live.training.maskrcnn.model import build  # noqa: E402
from spm_live.training.maskrcnn.weights import save_npz  # noqa: E402
from spm_live.training.onnx_export.export import ExportSettings, export_folder, export_model  # noqa: E402
from spm_live.training.onnx_export.graph import build_graph  # noqa: E402
from spm_live.training.onnx_export.parity import ExportRefusedError, compare  # noqa: E402
from spm_live.training.onnx_export.plan import Plan  # noqa: E402
from spm_live.training.onnx_export.quantise import quantise  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROWS, COLUMNS = 64, 96
SMALL = {
    "channels": 16,
    "fc_channels": 32,
    "mask_channels": 8,
    "mask_layers": 1,
    "proposals_before": 60,
    "proposals": 50,
    "max_detections": 30,
    "min_score": 0.6,
}


def lively(model: object, seed: int = 0) -> object:
    """Random weights with which some things are found and others not."""
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.path.endswith("moving_mean"):
            variable.assign(rng.normal(0, 0.05, variable.shape))
        elif variable.path.endswith(("moving_variance", "gamma")):
            variable.assign(rng.uniform(0.8, 1.2, variable.shape))
    for part, name, spread in (
        ("rpn", "rpn_class_raw", 0.1),
        ("rpn", "rpn_bbox_pred", 0.05),
        ("box_head", "mrcnn_class_logits", 0.3),
        ("box_head", "mrcnn_bbox_fc", 0.05),
        ("mask_head", "mrcnn_mask", 0.3),
    ):
        kernel = getattr(model, part).get_layer(name).kernel
        kernel.assign(rng.normal(0, spread, kernel.shape))
    return model


@pytest.fixture(scope="module")
def agnostic():
    return lively(build(NetworkConfig(classes=("a", "b"), **SMALL)))


@pytest.fixture(scope="module")
def by_class():
    more = {"agnostic": False, "anchor_ratios": (0.5, 2.0), "nms_iou": 0.4, "cross_nms_iou": 0.3}
    return lively(build(NetworkConfig(classes=("a", "b", "c"), **SMALL, **more)), seed=1)


def pictures(count: int, rows: int = ROWS, columns: int = COLUMNS) -> list[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(2)
    coarse = [rng.random((rows // 8, columns // 8)) for _ in range(count)]
    return [(f"picture {n}", np.kron(one, np.ones((8, 8))).astype(np.float32)) for n, one in enumerate(coarse)]


def run(content: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": images}), strict=True))


@pytest.mark.parametrize("kind", ["agnostic", "by_class"])
def test_both_flavours_find_what_keras_finds(kind, request):
    model = request.getfixturevalue(kind)
    images = np.stack([picture for _, picture in pictures(2)] + [np.zeros((ROWS, COLUMNS), np.float32)])
    wanted = model.detect(images[..., None])
    assert (wanted["scores"] > 0).any(axis=1).sum() >= 2
    assert (wanted["scores"] == 0).any(), "some places should stay unused"
    assert len(set(wanted["classes"][wanted["scores"] > 0].tolist())) > 1
    for flavour in ("cpu", "tensorrt"):
        built = build_graph(model, Plan(model.config, 3, ROWS, COLUMNS, flavour))
        have = run(built.SerializeToString(), images[:, None])
        converged = have.pop("converged", np.ones(1))
        for one in compare(["0", "1", "2"], wanted, have, 0.05):
            assert (one.wanted, one.lost) == (one.have, 0)
            assert one.box_px < 0.01
            assert one.score < 1e-4
            assert one.mask < 1e-3
        np.testing.assert_array_equal(have["scores"] > 0, wanted["scores"] > 0)
        assert not have["masks"][have["scores"] == 0].any()
        assert have["classes"].dtype == np.int64
        assert converged.all()


def test_the_flavours_differ_in_their_operators(agnostic):
    kinds = {
        flavour: {node.op_type for node in build_graph(agnostic, Plan(agnostic.config, 1, 64, 64, flavour)).graph.node}
        for flavour in ("cpu", "tensorrt")
    }
    unfit = {"RoiAlign", "NonMaxSuppression", "NonZero", "ScatterND"}
    assert unfit <= kinds["cpu"]
    assert not unfit & kinds["tensorrt"]


@pytest.mark.parametrize("flavour", ["cpu", "tensorrt"])
def test_half_precision_is_for_layers_with_weights_only(agnostic, flavour):
    built = build_graph(agnostic, Plan(agnostic.config, 1, ROWS, COLUMNS, flavour), precision="fp16")
    whole = build_graph(agnostic, Plan(agnostic.config, 1, ROWS, COLUMNS, flavour))
    assert len(built.SerializeToString()) < 0.6 * len(whole.SerializeToString())
    halves = {one.name for one in built.graph.initializer if one.data_type == onnx.TensorProto.FLOAT16}
    readers = {node.op_type for node in built.graph.node if halves & set(node.input)}
    assert readers == {"Conv", "Gemm"}
    stem = [one for one in built.graph.initializer if "/stem" in one.name]
    assert len(stem) == 4
    assert {one.data_type for one in stem} == {onnx.TensorProto.FLOAT}
    image = pictures(1)[0][1][None, None]
    score, same = run(built.SerializeToString(), image)["scores"], run(whole.SerializeToString(), image)["scores"]
    np.testing.assert_allclose(score[0, :3], same[0, :3], atol=0.005)


@pytest.mark.parametrize("flavour", ["cpu", "tensorrt"])
def test_eight_bits_give_about_the_same(agnostic, flavour):
    built = build_graph(agnostic, Plan(agnostic.config, 1, ROWS, COLUMNS, flavour))
    images = [picture[None, None] for _, picture in pictures(3)]
    small = quantise(built, images, flavour)
    assert len(small.SerializeToString()) < 0.4 * len(built.SerializeToString())
    kinds = {one.name: one.data_type for one in small.graph.initializer}
    zeros = {node.input[2] for node in small.graph.node if node.op_type == "QuantizeLinear"}
    wanted = onnx.TensorProto.INT8 if flavour == "tensorrt" else onnx.TensorProto.UINT8
    assert {kinds[name] for name in zeros} == {wanted}
    if flavour == "tensorrt":
        values = {one.name: onnx.numpy_helper.to_array(one) for one in small.graph.initializer}
        assert all(int(values[name]) == 0 for name in zeros)
    name = next(node.output[0] for node in built.graph.node if node.name.startswith("trunk/fpn_p2"))
    whole = tensor(built, name, images[0])
    again = tensor(small, name, images[0])
    assert np.abs(again - whole).mean() < 0.1 * whole.std()


def tensor(model, name, image):
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return run(watched.SerializeToString(), image)[name]


def manifest(config, **changes):
    return {
        "schema_version": 1,
        "name": "toy",
        "version": "1",
        "classes": list(config.classes),
        "weights": "network.onnx",
        "sha256": "0" * 64,
        "license": "MIT",
        "input": {"rows": ROWS, "columns": COLUMNS, "nm_per_px": None, "overlap_px": 16},
        "min_score": 0.05,
        "nms_iou": 0.5,
        "max_detections": 30,
    } | changes


@pytest.fixture
def folder(tmp_path, agnostic):
    """A model as training leaves it."""
    place = tmp_path / "toy"
    place.mkdir()
    # The weights are stored in float16: what comes back must be compared with the same numbers.
    save_npz(agnostic, place / "training.npz")
    digest = hashlib.sha256((place / "training.npz").read_bytes()).hexdigest()
    values = manifest(
        agnostic.config,
        network=agnostic.config.model_dump(mode="json"),
        training_weights={"file": "training.npz", "sha256": digest},
    )
    (place / "manifest.json").write_text(json.dumps(values), encoding="utf-8")
    (place / "card.md").write_text("A toy.", encoding="utf-8")
    return place


def test_a_model_is_exported_again_for_another_machine_and_detects_there(folder, tmp_path):
    out = tmp_path / "out"
    settings = ExportSettings(batch=2, rows=96, columns=64, max_detections=40)
    exported = export_folder(folder, out, settings, pictures(1, 128, 128))
    assert exported.path.name == "network-cpu-fp32.onnx"
    assert exported.sha256 == hashlib.sha256(exported.path.read_bytes()).hexdigest()
    assert len(exported.parity.pictures) == 4, "cut into tiles"
    assert metadata(exported.path) == {"spm_live.flavour": "cpu", "spm_live.precision": "fp32"}
    assert sorted(path.name for path in out.iterdir()) == ["card.md", "manifest.json", exported.path.name]
    detector = open_detector(ModelSettings(name=str(out), provider="auto", threads=1))
    assert (detector.manifest.input.rows, detector.manifest.max_detections) == (96, 40)
    found = detector.detect(
        ModelInput(
            tiles=np.stack([picture for _, picture in pictures(1, 96, 64)] * 3),
            origins=np.array([[0, 0], [96, 0], [192, 0]], dtype=np.int64),
            letterbox=Letterbox(1.0, 1.0, 288, 64),
            levelled=np.ones((288, 64), dtype=np.float32),
            ref=FrameRef("scan.sxm"),
        )
    )
    detector.close()
    assert len(found) > 0
    assert found.masks.shape[1:] == (28, 28)


def test_an_export_into_the_models_own_folder_keeps_its_weights(folder):
    exported = export_folder(folder, folder, ExportSettings(flavour="tensorrt"))
    values = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert values["weights"] == exported.path.name == "network-tensorrt-fp32.onnx"
    assert values["training_weights"]["file"] == "training.npz"
    assert exported.parity.problems() == []


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_network_that_counts_otherwise_is_refused_and_nothing_is_written(agnostic, tmp_path, monkeypatch, precision):
    from spm_live.training.onnx_export import parity

    def one_less(names, wanted, have, min_score):
        have = have | {"scores": wanted["scores"] * (np.arange(wanted["scores"].shape[1]) > 0)}
        return compare(names, wanted, have, min_score)

    monkeypatch.setattr(parity, "compare", one_less)
    settings = ExportSettings(precision=precision, rows=ROWS, columns=COLUMNS)
    with pytest.raises(ExportRefusedError, match=r"molecules where the trained network counts \d+") as caught:
        export_model(agnostic, agnostic.config, tmp_path, settings, pictures(2))
    assert caught.value.problems[0].startswith(f"the {precision} network is not as good")
    assert not list(tmp_path.iterdir())


def test_what_differs_by_more_than_arithmetic_is_refused(agnostic, tmp_path, monkeypatch):
    from spm_live.training.onnx_export import parity

    def shifted(names, wanted, have, min_score):
        return compare(names, wanted, have | {"boxes": have["boxes"] + np.float32(0.02)}, min_score)

    monkeypatch.setattr(parity, "compare", shifted)
    with pytest.raises(ExportRefusedError, match=r"boxes differ by 0\.02"):
        export_model(agnostic, agnostic.config, tmp_path, ExportSettings(rows=64, columns=64))
    assert not list(tmp_path.iterdir())


def test_fewer_bits_need_pictures(agnostic, tmp_path):
    settings = ExportSettings(precision="int8", rows=64, columns=64)
    with pytest.raises(SetupError, match="--pictures"):
        export_model(agnostic, agnostic.config, tmp_path, settings)


def test_every_fault_of_the_shape_is_named(agnostic, tmp_path):
    with pytest.raises(SetupError, match=r"rows = 70.*take 64\ncolumns = 100.*take 96"):
        export_model(agnostic, agnostic.config, tmp_path, ExportSettings(rows=70, columns=100))
    with pytest.raises(SetupError, match="give both"):
        export_model(agnostic, agnostic.config, tmp_path, ExportSettings())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "training.npz").unlink(), "training.npz"),
        (lambda folder: (folder / "training.npz").write_bytes(b"x"), "sha256"),
        (lambda folder: (folder / "manifest.json").write_text("{}"), "schema_version"),
        (lambda folder: (folder / "manifest.json").unlink(), "give the folder of a model"),
        (lambda folder: change(folder, training_weights=None), "without its training weights"),
        (lambda folder: change(folder, network={"classes": ["a", "b"], "depth": 3}), r"network\.depth"),
        (lambda folder: change(folder, network={"classes": ["a", "c"]}), r"network.classes differ"),
        (lambda folder: change(folder, network={"classes": ["a", "b"], "channels": 24}), "no weights of the right"),
    ],
)
def test_a_folder_that_cannot_be_exported_from_is_explained(folder, tmp_path, spoil, said):
    spoil(folder)
    with pytest.raises(SetupError, match=said):
        export_folder(folder, tmp_path / "out", ExportSettings())
    assert not (tmp_path / "out").exists()


def change(folder, **values):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


def test_another_models_folder_is_left_alone(folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text(json.dumps(manifest(NetworkConfig(classes=("x",)), name="other")))
    with pytest.raises(SetupError, match="another model"):
        export_folder(folder, out, ExportSettings())


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_flavour_for_tensorrt_is_parsed_and_built_without_a_gpu(agnostic, tmp_path, precision):
    trt = pytest.importorskip("tensorrt_rtx")
    from spm_live.detect.tensorrt import build_engine, make_logger

    built = build_graph(agnostic, Plan(agnostic.config, 2, ROWS, COLUMNS, "tensorrt"), precision=precision)
    if precision == "int8":
        built = quantise(built, [np.stack([picture for _, picture in pictures(2)])[:, None]], "tensorrt")
    path = tmp_path / "network.onnx"
    path.write_bytes(built.SerializeToString())
    assert len(build_engine(trt, make_logger(trt), path)) > 10_000


def test_the_flavour_for_processors_is_no_file_for_tensorrt(agnostic, tmp_path):
    trt = pytest.importorskip("tensorrt_rtx")
    from spm_live.detect.tensorrt import build_engine, make_logger

    path = tmp_path / "network.onnx"
    path.write_bytes(build_graph(agnostic, Plan(agnostic.config, 1, 64, 64, "cpu")).SerializeToString())
    with pytest.raises(SetupError, match="TensorRT cannot"):
        build_engine(trt, make_logger(trt), path)
