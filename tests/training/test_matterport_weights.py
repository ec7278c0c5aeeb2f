"""Weights of matterport's Mask R-CNN: ours with them computes what theirs does.

The file itself is not at hand. The tests build matterport's network of plain Keras layers, with random weights, write
them as Keras 2 does, and compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")
h5py = pytest.importorskip("h5py")

from spm_live.errors import SetupError  # noqa: E402
from spm_live.training.maskrcnn import matterport, resnet50  # noqa: E402
from spm_live.training.maskrcnn.anchors import anchors_for  # noqa: E402
from spm_live.training.maskrcnn.config import NetworkConfig, resnet50_config  # noqa: E402
from spm_live.training.maskrcnn.matterport import COCO_CLASSES, load_matterport  # noqa: E402
from spm_live.training.maskrcnn.model import build  # noqa: E402

# Keras reads TensorFlow's variables in a way that numpy 2 frowns upon.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

THIN = ((8, 32, 3), (8, 32, 4), (16, 48, 6), (16, 64, 3))
"""Stages of the right depth and names, with a fortieth of the weights."""
MEAN = np.array([123.7, 116.8, 103.9])
SMALL = {"channels": 16, "fc_channels": 24, "mask_channels": 12}
FILE_CLASSES = ("square", "cross", "bar")


@pytest.fixture(scope="module", autouse=True)
def _thin() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resnet50, "STAGES", THIN)
        patch.setattr(matterport, "STAGES", THIN)
        yield


def array(value: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(value))


class Theirs:
    """matterport's network, layer by layer, from its description; called with numpy arrays."""

    def __init__(self, outputs: int = len(FILE_CLASSES) + 1, more_blocks: int = 0) -> None:
        self.layers: dict[str, Any] = {}
        self.rng = np.random.default_rng(11)
        self.outputs = outputs
        self.more_blocks = more_blocks

    def _layer(self, name: str, make: Callable[..., Any], value: Any, *args: Any, **options: Any) -> Any:
        if name not in self.layers:
            self.layers[name] = layer = make(*args, name=name, **options)
            layer.build(value.shape)
            layer.set_weights([self._random(weight.path, weight.shape) for weight in layer.weights])
        return self.layers[name](value)

    def _random(self, path: str, shape: tuple[int, ...]) -> np.ndarray:
        kind = path.rsplit("/", 1)[-1]
        if kind == "kernel":
            scale = 0.02 if "conv1/" in path and shape[2] == 3 else 1.0
            return self.rng.normal(scale=scale * np.sqrt(2 / np.prod(shape[:-1])), size=shape)
        if kind in {"gamma", "moving_variance"}:
            return self.rng.uniform(0.5, 1.0, shape)
        return self.rng.uniform(-0.2, 0.2, shape)

    def _conv(self, value: Any, name: str, count: int, side: int, norm: str = "", **options: Any) -> Any:
        value = self._layer(name, keras.layers.Conv2D, value, count, side, **({"padding": "same"} | options))
        return self._layer(norm, keras.layers.BatchNormalization, value, epsilon=1e-3) if norm else value

    def pyramid(self, grey: np.ndarray) -> list[np.ndarray]:
        """P2 to P6 of grey pictures (B, rows, columns) in 0 to 255, shown as three equal colours."""
        rgb = np.repeat(np.pad(grey, ((0, 0), (3, 3), (3, 3)))[..., None], 3, axis=-1) - MEAN
        relu = keras.ops.relu
        value = relu(self._conv(rgb.astype(np.float32), "conv1", 64, 7, "bn_conv1", strides=2, padding="valid"))
        value = keras.layers.MaxPooling2D(3, strides=2, padding="same")(value)
        stages = []
        for stage, (inner, outer, blocks) in enumerate(THIN, start=2):
            for block in range(blocks):
                place, stride = f"{stage}{chr(97 + block)}", 2 if stage > 2 and block == 0 else 1
                long = relu(self._conv(value, f"res{place}_branch2a", inner, 1, f"bn{place}_branch2a", strides=stride))
                long = relu(self._conv(long, f"res{place}_branch2b", inner, 3, f"bn{place}_branch2b"))
                long = self._conv(long, f"res{place}_branch2c", outer, 1, f"bn{place}_branch2c")
                if block == 0:
                    value = self._conv(value, f"res{place}_branch1", outer, 1, f"bn{place}_branch1", strides=stride)
                value = relu(long + value)
            stages.append(value)
        return [array(level) for level in self._merge(stages)]

    def _merge(self, stages: list[Any]) -> list[Any]:
        wide = SMALL["channels"]
        merged = [self._conv(stages[3], "fpn_c5p5", wide, 1)]
        for level in (4, 3, 2):
            above = keras.layers.UpSampling2D(2)(merged[0])
            merged.insert(0, above + self._conv(stages[level - 2], f"fpn_c{level}p{level}", wide, 1))
        out = [self._conv(value, f"fpn_p{level}", wide, 3) for level, value in enumerate(merged, start=2)]
        return [*out, out[-1][:, ::2, ::2]]

    def rpn(self, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Probability of an object, (B, h w 3), and dy, dx, dh, dw, (B, h w 3, 4), of each anchor in their order."""
        shared = keras.ops.relu(self._conv(level, "rpn_conv_shared", 512, 3))
        score = keras.ops.reshape(self._conv(shared, "rpn_class_raw", 6, 1), (len(level), -1, 2))
        boxes = keras.ops.reshape(self._conv(shared, "rpn_bbox_pred", 12, 1), (len(level), -1, 4))
        return array(keras.ops.softmax(score))[..., 1], array(boxes)

    def box_head(self, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits (R, outputs), background first, and dy, dx, dh, dw (R, outputs, 4)."""
        fc = SMALL["fc_channels"]
        value = self._conv(region, "mrcnn_class_conv1", fc, 7, "mrcnn_class_bn1", padding="valid")
        value = self._conv(keras.ops.relu(value), "mrcnn_class_conv2", fc, 1, "mrcnn_class_bn2")
        value = keras.ops.relu(value)[:, 0, 0]
        logits = self._layer("mrcnn_class_logits", keras.layers.Dense, value, self.outputs)
        boxes = self._layer("mrcnn_bbox_fc", keras.layers.Dense, value, 4 * self.outputs)
        return array(logits), array(boxes).reshape(len(region), self.outputs, 4)

    def mask_head(self, region: np.ndarray) -> np.ndarray:
        """Probabilities (R, 28, 28, outputs)."""
        value: Any = region
        for number in range(1, 5):
            value = self._conv(value, f"mrcnn_mask_conv{number}", SMALL["mask_channels"], 3, f"mrcnn_mask_bn{number}")
            value = keras.ops.relu(value)
        value = self._layer(
            "mrcnn_mask_deconv", keras.layers.Conv2DTranspose, value, SMALL["mask_channels"], 2, strides=2
        )
        return array(keras.ops.sigmoid(self._conv(keras.ops.relu(value), "mrcnn_mask", self.outputs, 1)))

    def write(self, path: Path) -> None:
        """As Keras 2 does: layers without weights are listed as well, and those of the rpn lie in their model."""
        self.pyramid(np.zeros((1, 64, 64)))
        self.rpn(np.zeros((1, 4, 4, SMALL["channels"]), dtype=np.float32))
        self.box_head(np.zeros((1, 7, 7, SMALL["channels"]), dtype=np.float32))
        self.mask_head(np.zeros((1, 14, 14, SMALL["channels"]), dtype=np.float32))
        groups = {"input_image": [], "zero_padding2d_1": []}
        for name in self.layers:
            groups.setdefault("rpn_model" if name.startswith("rpn_") else name, []).append(name)
        with h5py.File(path, "w") as file:
            file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.0.8"
            for number in range(self.more_blocks):
                groups[f"res4{chr(103 + number)}_branch2a"] = []
            file.attrs["layer_names"] = [name.encode() for name in groups]
            for group, names in groups.items():
                place = file.create_group(group)
                values = {
                    f"{name}/{weight.path.rsplit('/', 1)[-1]}:0": value
                    for name in names
                    for weight, value in zip(self.layers[name].weights, self.layers[name].get_weights(), strict=True)
                }
                if group.startswith("res4") and not names:
                    values = {f"{group}/kernel:0": np.zeros((1, 1, 2, 2), dtype=np.float32)}
                place.attrs["weight_names"] = np.array([name.encode() for name in values], dtype="S")
                for name, value in values.items():
                    place.create_dataset(name, data=value)


@pytest.fixture(scope="module")
def theirs(_thin: None) -> Theirs:
    return Theirs(more_blocks=2)


@pytest.fixture(scope="module")
def file(theirs: Theirs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mask_rcnn_coco.h5"
    theirs.write(path)
    return path


def ours(classes: tuple[str, ...] = ("bar", "square"), **more: Any) -> Any:
    return build(resnet50_config(classes, **(SMALL | more)))


@pytest.fixture(scope="module")
def model(file: Path) -> Any:
    """Ours with their weights."""
    model = ours()
    result = load_matterport(model, file, file_classes=FILE_CLASSES)
    assert result.kept == ()
    return model


def test_the_pyramid_of_a_picture_is_theirs(theirs: Theirs, model: Any) -> None:
    grey = np.random.default_rng(0).random((2, 128, 64)).astype(np.float32)
    wanted = theirs.pyramid(255 * grey)
    levels = model.trunk(grey[..., None])
    assert len(levels) == 5
    for told, level in zip(levels, wanted, strict=True):
        assert np.abs(level).std() > 0.01
        np.testing.assert_allclose(array(told), level, atol=2e-4 * np.abs(level).max())


def their_boxes(deltas: np.ndarray, shape: tuple[int, int], stride: int, size: float) -> np.ndarray:
    """x1, y1, x2, y2 of every (row, column, ratio): anchors centred on the corner of a point."""
    out = []
    for number, (dy, dx, dh, dw) in enumerate(deltas * [0.1, 0.1, 0.2, 0.2]):
        place, kind = divmod(number, 3)
        y, x = (place // shape[1]) * stride, (place % shape[1]) * stride
        ratio = (0.5, 1.0, 2.0)[kind]
        height, width = size / np.sqrt(ratio), size * np.sqrt(ratio)
        y, x = y + dy * height, x + dx * width
        height, width = height * np.exp(dh), width * np.exp(dw)
        out.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return np.array(out)


@pytest.mark.parametrize("level", [0, 2, 4])
def test_proposals_and_their_scores_are_theirs(oracles: Any, theirs: Theirs, model: Any, level: int) -> None:
    stride, size = model.config.strides[level], model.config.anchor_sizes[level][0]
    features = np.random.default_rng(level).normal(size=(1, 3, 2, SMALL["channels"])).astype(np.float32)
    score, deltas = theirs.rpn(features)
    boxes = their_boxes(deltas[0].astype(float), (3, 2), stride, size)
    logit, delta = (array(one)[0] for one in model.rpn(features))
    anchors = anchors_for(model.config, 384, 256)[level].reshape(384 // stride, 256 // stride, 3, 4)[:3, :2]
    told = [
        oracles.decode(one, [float(v) for v in anchor], (0.1, 0.1, 0.2, 0.2))
        for one, anchor in zip(delta.reshape(-1, 4), anchors.reshape(-1, 4), strict=True)
    ]
    # Ours are ordered by height over width, theirs by width over height.
    order = np.arange(18).reshape(6, 3)[:, ::-1].ravel()
    np.testing.assert_allclose(oracles.sigmoid(logit.reshape(-1)), score[0][order], atol=1e-5)
    np.testing.assert_allclose(told, boxes[order], atol=1e-3 * size)


def test_classes_boxes_and_masks_of_a_region_are_theirs(theirs: Theirs, model: Any) -> None:
    rng = np.random.default_rng(2)
    region = rng.normal(size=(5, 7, 7, SMALL["channels"])).astype(np.float32)
    logits, boxes = theirs.box_head(region)
    told, deltas = (array(one) for one in model.box_head(region))
    # bar is their third class, square their first, and the background comes last here.
    np.testing.assert_allclose(told, logits[:, [3, 1, 0]], atol=1e-4)
    np.testing.assert_allclose(deltas.reshape(5, 2, 4), boxes[:, [3, 1]][..., [1, 0, 3, 2]], atol=1e-4)
    region = rng.normal(size=(3, 14, 14, SMALL["channels"])).astype(np.float32)
    masks = 1 / (1 + np.exp(-array(model.mask_head(region))))
    np.testing.assert_allclose(masks, theirs.mask_head(region)[..., [3, 1]], atol=1e-5)


def test_other_classes_leave_the_last_layers_as_they_are(file: Path) -> None:
    model = ours(("square", "molecule"))
    last = ("mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask")
    parts = (model.box_head, model.box_head, model.mask_head)
    before = [part.get_layer(name).get_weights() for part, name in zip(parts, last, strict=True)]
    result = load_matterport(model, file, file_classes=FILE_CLASSES)
    assert result.kept == last
    for part, name, old in zip(parts, last, before, strict=True):
        for new, value in zip(part.get_layer(name).get_weights(), old, strict=True):
            np.testing.assert_array_equal(new, value)
    weighty = [layer.name for part in (model.trunk, model.rpn, *parts[1:]) for layer in part.layers if layer.weights]
    assert sorted(result.loaded + result.kept) == sorted(weighty)
    assert set(result.unused) >= {"res4g_branch2a", "res4h_branch2a"}


def test_one_box_for_all_classes_takes_the_classes_only(file: Path) -> None:
    result = load_matterport(ours(agnostic=True), file, file_classes=FILE_CLASSES)
    assert result.kept == ("mrcnn_bbox_fc", "mrcnn_mask")


def test_more_sizes_and_other_ratios_take_the_nearest_anchor(theirs: Theirs, file: Path) -> None:
    sizes = tuple((float(side), 1.3 * side) for side in (32, 64, 128, 256, 512))
    model = ours(anchor_sizes=sizes, anchor_ratios=(1.0, 2.2))
    load_matterport(model, file, file_classes=FILE_CLASSES)
    features = np.random.default_rng(1).normal(size=(1, 2, 2, SMALL["channels"])).astype(np.float32)
    score, _ = theirs.rpn(features)
    logit = array(model.rpn(features)[0])
    kinds = score.reshape(1, 2, 2, 3)
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), kinds[..., [1, 0, 1, 0]], atol=1e-5)


def test_the_light_network_is_told_that_these_weights_do_not_fit(file: Path) -> None:
    with pytest.raises(SetupError, match="resnet50"):
        load_matterport(build(NetworkConfig(classes=("a",))), file)


def test_all_missing_layers_and_wrong_shapes_are_named_and_nothing_changes(
    model: Any, file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(file.read_bytes())
    with h5py.File(path, "a") as opened:
        names = [name for name in opened.attrs["layer_names"] if name not in {"res3b_branch2b", "fpn_p4"}]
        opened.attrs["layer_names"] = names
        del opened["conv1/conv1/bias:0"]
        opened["conv1"].create_dataset("conv1/bias:0", data=np.zeros(63, dtype=np.float32))
        del opened["bn_conv1/bn_conv1/beta:0"]
        opened["bn_conv1"].create_dataset("bn_conv1/beta:0", data=np.zeros(64, dtype=np.int32))
    before = model.get_weights()
    with pytest.raises(SetupError) as caught:
        load_matterport(model, path, file_classes=FILE_CLASSES)
    text = str(caught.value)
    for part in ("res3b_branch2b", "fpn_p4", "conv1/bias is (63,)", "bn_conv1/beta holds no floating-point"):
        assert part in text
    assert len(caught.value.problems) == 3
    for new, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(new, old)


def test_heads_of_another_size_are_a_sentence(file: Path) -> None:
    with pytest.raises(SetupError, match=r"mrcnn_class_conv1/kernel is \(7, 7, 16, 24\), the network wants"):
        load_matterport(ours(fc_channels=32), file, file_classes=FILE_CLASSES)
    with pytest.raises(SetupError, match="name the classes that the file was trained on"):
        load_matterport(ours(("person",)), file, file_classes=COCO_CLASSES)


def test_a_file_that_is_cut_anywhere_is_a_sentence(model: Any, file: Path, tmp_path: Path) -> None:
    content, path = file.read_bytes(), tmp_path / "cut.h5"
    for part in (0.0, 0.001, 0.1, 0.37, 0.5, 0.9, 0.999):
        path.write_bytes(content[: int(part * len(content))])
        with pytest.raises(SetupError, match=r"cut\.h5"):
            load_matterport(model, path, file_classes=FILE_CLASSES)


def test_overwritten_bytes_are_a_sentence_or_other_numbers(file: Path, tmp_path: Path) -> None:
    content, path = file.read_bytes(), tmp_path / "flipped.h5"
    rng = np.random.default_rng(0)
    wanted = matterport._wanted(resnet50_config(FILE_CLASSES, **SMALL), 4)
    refused = 0
    for _ in range(10):
        broken = bytearray(content)
        # The layout of the file stands in its first part, and again in between the numbers.
        for place in rng.integers(0, min(len(content), 100_000), 20):
            broken[place] = int(rng.integers(256))
        path.write_bytes(broken)
        try:
            matterport.read_layers(path, wanted)
        except SetupError:
            refused += 1
    assert refused > 2


def test_a_file_that_is_none_of_theirs_is_a_sentence(model: Any, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="there is no such file"):
        load_matterport(model, tmp_path / "nothing.h5")
    with h5py.File(tmp_path / "other.h5", "w") as opened:
        opened.create_dataset("numbers", data=np.zeros(3))
    with pytest.raises(SetupError, match="no layer_names"):
        load_matterport(model, tmp_path / "other.h5")


def test_numbers_that_are_none_are_refused(model: Any, file: Path, tmp_path: Path) -> None:
    path = tmp_path / "nan.h5"
    path.write_bytes(file.read_bytes())
    with h5py.File(path, "a") as opened:
        opened["fpn_p3/fpn_p3/kernel:0"][0, 0, 0, 0] = np.nan
    with pytest.raises(SetupError, match=r"fpn_p3 are not all finite"):
        load_matterport(model, path, file_classes=FILE_CLASSES)


@pytest.mark.parametrize("kind", ["link", "storage"])
def test_weights_that_point_to_other_files_are_not_followed(model: Any, file: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "pointing.h5"
    path.write_bytes(file.read_bytes())
    with h5py.File(path, "a") as opened:
        del opened["conv1/conv1/bias:0"]
        if kind == "link":
            opened["conv1/conv1/bias:0"] = h5py.ExternalLink(str(file), "/conv1/conv1/bias:0")
        else:
            (tmp_path / "secret").write_bytes(bytes(256))
            opened["conv1"].create_dataset("conv1/bias:0", (64,), "f4", external=[(str(tmp_path / "secret"), 0, 256)])
    with pytest.raises(SetupError, match=r"not there|lies in another file"):
        load_matterport(model, path, file_classes=FILE_CLASSES)


def test_the_file_of_a_whole_model_is_read_too(model: Any, file: Path, tmp_path: Path) -> None:
    path = tmp_path / "whole.h5"
    with h5py.File(file, "r") as source, h5py.File(path, "w") as target:
        source.copy(source["/"], target, "model_weights")
    assert load_matterport(model, path, file_classes=FILE_CLASSES).kept == ()


def test_coco_has_eighty_classes() -> None:
    assert len(set(COCO_CLASSES)) == 80
