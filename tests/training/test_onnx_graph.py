"""The parts of the graph that do not learn, against slow and obvious versions; no Keras needed."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402

from spm_live.training.maskrcnn.config import NetworkConfig  # noqa: E402
from spm_live.training.onnx_export.heads import choose  # noqa: E402
from spm_live.training.onnx_export.nodes import BOOL, FLOAT, Graph, build_model  # noqa: E402
from spm_live.training.onnx_export.plan import Plan  # noqa: E402
from spm_live.training.onnx_export.proposals import propose  # noqa: E402
from spm_live.training.onnx_export.roi import read_regions  # noqa: E402
from spm_live.training.onnx_export.suppress import keep_by_matrix, keep_by_operator  # noqa: E402

FLAVOURS = ("cpu", "tensorrt")
TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}


def run(graph: Graph, outputs: dict[str, tuple[int, ...]], **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Run a graph whose inputs and outputs are named; outputs are float32."""
    model = build_model(
        graph,
        [helper.make_tensor_value_info(name, TYPES[one.dtype], list(one.shape)) for name, one in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in outputs.items()],
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(outputs, session.run(list(outputs), inputs), strict=True))


def random_boxes(rng: np.random.Generator, count: int, span: float = 60) -> np.ndarray:
    corner = rng.uniform(0, span, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(2, 30, (count, 2))], axis=1).astype(np.float32)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    wide, tall = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or tall <= 0:
        return 0.0
    return wide * tall / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * tall)


def greedy(boxes: np.ndarray, scores: np.ndarray, alive: np.ndarray, limit: float, kinds: np.ndarray) -> np.ndarray:
    """Suppression as it is defined, one box after the other."""
    keep: list[int] = []
    for one in np.argsort(-scores, kind="stable"):
        rivals = [other for other in keep if kinds[other] == kinds[one]]
        if alive[one] and all(iou(boxes[one], boxes[other]) <= limit for other in rivals):
            keep.append(int(one))
    flags = np.zeros(len(boxes))
    flags[keep] = 1
    return flags


@pytest.mark.parametrize("limit", [0.2, 0.5, 0.7])
@pytest.mark.parametrize("classes", [1, 3])
def test_suppression_by_matrix_and_by_operator_is_greedy(limit, classes):
    rng = np.random.default_rng(int(10 * limit) + classes)
    batch, count = 2, 120
    boxes = np.stack([random_boxes(rng, count) for _ in range(batch)])
    scores = rng.choice(np.linspace(0.1, 1, 300), (batch, count)).astype(np.float32)  # some are equal
    alive = (rng.random((batch, count)) < 0.8).astype(np.float32)
    kinds = rng.integers(0, classes, (batch, count))
    graph, own_kind = Graph(), "kinds" if classes > 1 else ""
    keep, moved = keep_by_matrix(graph, "boxes", "scores", "alive", limit, count=count, kinds=own_kind, rounds=30)
    graph.op("Identity", keep, name="matrix")
    graph.op("Identity", moved, name="moved")
    live = graph.op("Mul", "scores", "alive")
    if classes > 1:
        own = graph.op("Equal", graph.op("Unsqueeze", "kinds", graph.whole(1)), np.arange(classes)[None, :, None])
        live = graph.op("Where", own, graph.op("Unsqueeze", live, graph.whole(1)), 0.0)
    flags = keep_by_operator(
        graph,
        "boxes",
        live,
        limit,
        shape=(batch, count),
        most=count,
        kinds="kinds" if classes > 1 else "",
        positive=True,
    )
    graph.op("Cast", flags, to=FLOAT, name="operator")
    inputs = {"boxes": boxes, "scores": scores, "alive": alive} | ({"kinds": kinds} if classes > 1 else {})
    found = run(graph, {"matrix": (batch, count), "operator": (batch, count), "moved": ()}, **inputs)
    wanted = [greedy(boxes[b], scores[b], alive[b] > 0, limit, kinds[b]) for b in range(batch)]
    np.testing.assert_array_equal(found["matrix"], wanted)
    np.testing.assert_array_equal(found["operator"], wanted)
    assert found["moved"] == 0


def test_a_chain_longer_than_the_rounds_is_told():
    count = 12
    left = np.arange(count, dtype=np.float32) * 4
    boxes = np.stack([left, 0 * left, left + 10, 0 * left + 10], axis=1)[None]  # each overlaps its neighbours by 0.43
    scores = np.linspace(1, 0.5, count, dtype=np.float32)[None]
    alive = np.ones((1, count), np.float32)
    for rounds, wanted in ((4, False), (14, True)):
        graph = Graph()
        keep, moved = keep_by_matrix(graph, "boxes", "scores", "alive", 0.4, count=count, rounds=rounds)
        graph.op("Identity", keep, name="keep")
        graph.op("Identity", moved, name="moved")
        found = run(graph, {"keep": (1, count), "moved": ()}, boxes=boxes, scores=scores, alive=alive)
        assert (found["moved"] == 0) == wanted
    np.testing.assert_array_equal(found["keep"][0], [1, 0] * (count // 2))


def align(level: np.ndarray, box: np.ndarray, stride: int, cells: int, samples: int) -> np.ndarray:
    """RoIAlign of one box on its level (C, h, w), sample by sample."""
    channels, rows, columns = level.shape
    result = np.zeros((channels, cells, cells))
    side = cells * samples
    for i in range(side):
        for j in range(side):
            y = np.clip((box[1] + (i + 0.5) / side * (box[3] - box[1])) / stride - 0.5, 0, rows - 1)
            x = np.clip((box[0] + (j + 0.5) / side * (box[2] - box[0])) / stride - 0.5, 0, columns - 1)
            top, left = int(y), int(x)
            below, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            upper = (1 - (x - left)) * level[:, top, left] + (x - left) * level[:, top, right]
            lower = (1 - (x - left)) * level[:, below, left] + (x - left) * level[:, below, right]
            result[:, i // samples, j // samples] += (1 - (y - top)) * upper + (y - top) * lower
    return result / samples**2


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize(("cells", "samples"), [(7, 2), (14, 1)])
def test_every_region_is_read_from_its_level_as_the_definition_says(flavour, cells, samples):
    rng = np.random.default_rng(5)
    config = NetworkConfig(classes=("a",), channels=8)
    batch, count, rows, columns = 2, 9, 256, 288
    pyramid = [rng.normal(size=(batch, 8, rows // s, columns // s)).astype(np.float32) for s in config.strides]
    boxes = np.stack([random_boxes(rng, count, 30) for _ in range(batch)])
    boxes[0, 5:] *= 3
    boxes[:, 0] = [0, 0, columns, rows]
    boxes[:, 1] = [columns - 3, rows - 2, columns, rows]
    boxes[0, 2] = [1, 2, 190, 132]
    boxes[1, 3] = 0  # empty, as unused places are
    alive = np.ones((batch, count), np.float32)
    alive[0, 4] = alive[1, 3] = 0
    graph = Graph()
    plan = Plan(config, batch, rows, columns, flavour)
    flags = graph.cast("alive", BOOL)
    names = [f"p{number}" for number in range(4)]
    regions = read_regions(graph, plan, names, "boxes", flags, count=count, cells=cells, samples=samples)
    shape = (batch * count, 8, cells, cells)
    graph.op("Identity", regions.sorted_out(graph, regions.values, shape), name="out")
    found = run(graph, {"out": shape}, boxes=boxes, alive=alive, **dict(zip(names, pyramid, strict=True)))
    levels = set()
    for b in range(batch):
        for n in range(count):
            have = found["out"][b * count + n]
            if not alive[b, n]:
                assert flavour == "tensorrt" or not have.any(), "where no box is, the processor reads nothing"
                continue
            size = np.prod(boxes[b, n, 2:] - boxes[b, n, :2])
            level = int(np.clip(np.floor(4 + np.log2(np.sqrt(size) / config.roi_canonical_px)), 2, 5)) - 2
            levels.add(level)
            wanted = align(pyramid[level][b], boxes[b, n], config.strides[level], cells, samples)
            np.testing.assert_allclose(have, wanted, atol=1e-4)
    assert len(levels) == 4, "the boxes must lie on all levels"


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_without_any_box_nothing_is_read(flavour):
    config = NetworkConfig(classes=("a",), channels=8)
    graph = Graph()
    plan = Plan(config, 1, 32, 32, flavour)
    flags = graph.cast("alive", BOOL)
    names = [f"p{number}" for number in range(4)]
    regions = read_regions(graph, plan, names, "boxes", flags, count=3, cells=7, samples=2)
    graph.op("Identity", regions.sorted_out(graph, regions.values, (3, 8, 7, 7)), name="out")
    levels = {
        name: np.zeros((1, 8, 32 // s, 32 // s), np.float32) for name, s in zip(names, config.strides, strict=True)
    }
    found = run(
        graph,
        {"out": (3, 8, 7, 7)},
        boxes=np.zeros((1, 3, 4), np.float32),
        alive=np.zeros((1, 3), np.float32),
        **levels,
    )
    assert not found["out"].any()


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_proposals_are_the_best_of_each_level_that_survive(flavour):
    rng = np.random.default_rng(8)
    config = NetworkConfig(classes=("a",), proposals_before=20, proposals=30, proposal_iou=0.5)
    batch, rows, columns = 2, 64, 64
    levels = [
        (
            rng.normal(size=(batch, 2, rows // s, columns // s)).astype(np.float32),
            rng.normal(size=(batch, 8, rows // s, columns // s)).astype(np.float32),
        )
        for s in config.strides
    ]
    graph = Graph()
    names = [(f"l{number}", f"d{number}") for number in range(4)]
    boxes, alive, _ = propose(graph, Plan(config, batch, rows, columns, flavour), names)
    graph.op("Identity", boxes, name="boxes")
    graph.op("Cast", alive, to=FLOAT, name="alive")
    inputs = {
        name: value for pair, both in zip(names, levels, strict=True) for name, value in zip(pair, both, strict=True)
    }
    found = run(graph, {"boxes": (batch, 30, 4), "alive": (batch, 30)}, **inputs)
    for b in range(batch):
        wanted = slow_proposals(config, [(one[b], other[b]) for one, other in levels], rows, columns)
        assert found["alive"][b].sum() == len(wanted)
        np.testing.assert_allclose(found["boxes"][b, : len(wanted)], wanted, atol=1e-4)
        assert not found["boxes"][b, len(wanted) :].any()


def slow_proposals(config, levels, rows, columns):
    """Point by point, from the description in the network's documentation."""
    every = []
    for (logits, deltas), stride, sizes in zip(levels, config.strides, config.anchor_sizes, strict=True):
        here = []
        for i in range(rows // stride):
            for j in range(columns // stride):
                for a, size in enumerate(sizes):
                    dx, dy, dw, dh = deltas[4 * a : 4 * a + 4, i, j] * (0.1, 0.1, 0.2, 0.2)
                    x, y = (j + 0.5) * stride + dx * size, (i + 0.5) * stride + dy * size
                    w, h = size * np.exp(dw), size * np.exp(dh)
                    box = np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, [columns, rows, columns, rows])
                    here.append((logits[a, i, j], box))
        here.sort(key=lambda one: -one[0])
        every += here[: config.proposals_before]
    boxes, scores = np.array([box for _, box in every]), np.array([score for score, _ in every])
    none = np.zeros(len(boxes))
    keep = np.flatnonzero(greedy(boxes, scores, none == 0, config.proposal_iou, none))
    return boxes[keep[np.argsort(-scores[keep])]][: config.proposals]


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("classes", [("a",), ("a", "b", "c")])
def test_detections_are_suppressed_within_classes_then_across(flavour, classes):
    rng = np.random.default_rng(len(classes))
    config = NetworkConfig(
        classes=classes, proposals=40, max_detections=15, min_score=0.3, nms_iou=0.3, cross_nms_iou=0.6
    )
    batch, count, number = 2, 40, len(classes)
    boxes = np.stack([random_boxes(rng, count, 40) for _ in range(batch)])
    scores = rng.random((batch, count * number)).astype(np.float32)
    graph = Graph()
    found = choose(graph, Plan(config, batch, 64, 64, flavour), "given_scores", "given_boxes", count=count)
    for name in ("boxes", "scores"):
        graph.op("Identity", getattr(found, name), name=name)
    graph.op("Cast", found.classes, to=FLOAT, name="classes")
    have = run(
        graph,
        {"boxes": (batch, 15, 4), "scores": (batch, 15), "classes": (batch, 15)},
        given_scores=scores,
        given_boxes=boxes.reshape(-1, 4),
    )
    for b in range(batch):
        order = np.argsort(-scores[b], kind="stable")[: config.candidates]
        best, box, kind = scores[b][order], boxes[b][order // number], order % number
        keep = greedy(box, best, best >= 0.3, 0.3, kind)
        keep = greedy(box, best, keep > 0, 0.6, np.zeros(len(order)))
        wanted = np.flatnonzero(keep)[:15]
        assert len(wanted) > 3
        np.testing.assert_array_equal(have["scores"][b], np.pad(best[wanted], (0, 15 - len(wanted))))
        np.testing.assert_array_equal(have["boxes"][b, : len(wanted)], box[wanted])
        np.testing.assert_array_equal(have["classes"][b, : len(wanted)], kind[wanted])
        assert not have["boxes"][b, len(wanted) :].any()
