"""What the network is asked to say, and the decoder that turns it back into molecules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spm_live.domain import InputSpec, Letterbox
from spm_live.prepare import prepare
from spm_live.training.first_model.examples import Recipe, batch, draw_training_scan, frame_of
from spm_live.training.first_model.export import LEAST_SCORE, MASK, MASK_SIGMA, export_decoder
from spm_live.training.first_model.network import PIXEL_SCALE, STRIDE
from spm_live.training.first_model.targets import LEAST_VISIBLE, Targets, owners, targets
from spm_live_drivers.synthetic import MOLECULE_CLASSES, Sample, Species, SyntheticScan, Tip, draw_scan

CLASSES = len(MOLECULE_CLASSES)
SPEC = InputSpec(rows=512, columns=512, nm_per_px=0.1, overlap_px=48)
SAMPLE = Sample(
    (Species("three-lobe", 1.5, 0.2, 0.6), Species("four-lobe", 1.5, 0.2, 0.45), Species("rod", 2.0, 0.2, 0.45, 0.8)),
    (0.4, 0.3, 0.3),
    steps=0.0,
    adsorbates_per_nm2=0.0,
    corrugation_nm=0.0,
)
TIP = Tip(scars=0.0, dropouts=0.0, jump=0.0)


def scan_of(seed: int) -> SyntheticScan:
    return draw_scan(seed, rows=128, columns=160, size_nm=(20.0, 16.0), sample=SAMPLE, tip=TIP)


def said(wanted: Targets) -> np.ndarray:
    """What a network without fault would put out: the targets, turned back through sigmoid and softplus."""
    heat = np.clip(wanted.heat, 1e-4, 0.999)
    box = np.maximum(wanted.box, 1e-6)
    parts = [
        np.log(heat / (1 - heat)),
        np.log(np.expm1(box)),
        np.where(wanted.field[..., :1] > 0, 9.0, -9.0),
        wanted.field[..., 1:],
    ]
    return np.concatenate(parts, axis=2).astype(np.float32).transpose(2, 0, 1)[None]


def decoded(raw: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(export_decoder(CLASSES, raw.shape[2] * STRIDE, raw.shape[3] * STRIDE))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"raw": raw}), strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_a_network_that_says_just_what_is_wanted_gives_the_truth_back(seed: int) -> None:
    scan = scan_of(seed)
    letterbox = Letterbox(1.25, 1.25, 160, 200)
    found = decoded(said(targets(scan, letterbox, (0, 0, 160, 208))))
    asked = [molecule for molecule in scan.molecules if molecule.visible >= LEAST_VISIBLE]
    used = found["scores"][0] > 0.9
    assert np.count_nonzero(used) == len(asked) > 15
    left = set(range(len(asked)))
    for box, label, mask in zip(
        found["boxes"][0][used], found["classes"][0][used], found["masks"][0][used], strict=True
    ):
        index = min(left, key=lambda i: np.abs(np.array(asked[i].box_px) * 1.25 - box).sum())
        left.remove(index)
        truth = asked[index]
        # Only a box so narrow that its centre point lies outside of it may come out a little too wide.
        np.testing.assert_allclose(box, np.array(truth.box_px) * 1.25, atol=1.05)
        assert MOLECULE_CLASSES[label] == truth.label
        assert mask_overlap(mask, box, truth.mask, np.array(truth.box_px) * 1.25) > 0.65


def mask_overlap(mask: np.ndarray, box: np.ndarray, truth: np.ndarray, true_box: np.ndarray) -> float:
    """Overlap of two masks over their boxes, counted on a fine grid."""
    low, high = np.minimum(box[:2], true_box[:2]), np.maximum(box[2:], true_box[2:])
    x, y = (np.arange(low[axis] + 0.05, high[axis], 0.1) for axis in (0, 1))
    pictures = []
    for grid, edges in ((mask > 0.5, box), (truth, true_box)):
        column = np.floor((x - edges[0]) / (edges[2] - edges[0]) * grid.shape[1]).astype(int)
        row = np.floor((y - edges[1]) / (edges[3] - edges[1]) * grid.shape[0]).astype(int)
        inside = ((row >= 0) & (row < grid.shape[0]))[:, None] & ((column >= 0) & (column < grid.shape[1]))[None]
        pictures.append(inside & grid[np.clip(row, 0, grid.shape[0] - 1)][:, np.clip(column, 0, grid.shape[1] - 1)])
    return float((pictures[0] & pictures[1]).sum() / (pictures[0] | pictures[1]).sum())


def slow_decoder(raw: np.ndarray) -> dict[str, np.ndarray]:
    """The decoder's docstring in loops, for one picture."""
    n = CLASSES
    heat = 1 / (1 + np.exp(-raw[:n]))
    rows, columns = heat.shape[1:]
    best = heat.max(axis=0)
    peaks = []
    for i, j in np.ndindex(rows, columns):
        around = best[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
        if best[i, j] == around.max() and best[i, j] > LEAST_SCORE:
            peaks.append((float(best[i, j]), i, j))
    peaks.sort(key=lambda peak: (-peak[0], peak[1], peak[2]))
    on, way = 1 / (1 + np.exp(-raw[n + 4])), raw[n + 5 :] * PIXEL_SCALE
    boxes, masks = [], []
    for _, i, j in peaks:
        reach = PIXEL_SCALE * np.log1p(np.exp(raw[n : n + 4, i, j]))
        x, y = (j + 0.5) * STRIDE, (i + 0.5) * STRIDE
        whole = np.array([x - reach[0], y - reach[1], x + reach[2], y + reach[3]])
        box = np.clip(whole, 0, [columns * STRIDE, rows * STRIDE] * 2)
        mask = np.zeros((MASK, MASK))
        for k, m in np.ndindex(MASK, MASK):
            px = box[0] + (m + 0.5) / MASK * (box[2] - box[0])
            py = box[1] + (k + 0.5) / MASK * (box[3] - box[1])
            part, aim_x, aim_y = (bilinear(field, px / STRIDE - 0.5, py / STRIDE - 0.5) for field in (on, *way))
            miss = (px + aim_x - whole[[0, 2]].mean()) ** 2 + (py + aim_y - whole[[1, 3]].mean()) ** 2
            size = max(box[2] - box[0], box[3] - box[1], STRIDE)
            mask[k, m] = part * np.exp(-0.5 * miss / (MASK_SIGMA * size) ** 2)
        boxes.append(box)
        masks.append(mask)
    return {
        "scores": np.array([peak[0] for peak in peaks]),
        "classes": np.array([heat[:, i, j].argmax() for _, i, j in peaks]),
        "boxes": np.array(boxes).reshape(-1, 4),
        "masks": np.array(masks).reshape(-1, MASK, MASK),
    }


def bilinear(field: np.ndarray, x: float, y: float) -> float:
    x, y = np.clip(x, 0, field.shape[1] - 1), np.clip(y, 0, field.shape[0] - 1)
    i, j = min(int(y), field.shape[0] - 2), min(int(x), field.shape[1] - 2)
    u, v = x - j, y - i
    upper = field[i, j] * (1 - u) + field[i, j + 1] * u
    return float(upper * (1 - v) + (field[i + 1, j] * (1 - u) + field[i + 1, j + 1] * u) * v)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_decoder_equals_the_slow_one(seed: int) -> None:
    raw = np.random.default_rng(seed).normal(0, 1.2, (2, CLASSES + 7, 8, 12)).astype(np.float32)
    raw[:, :CLASSES] -= 2.5
    found = decoded(raw)
    for picture in (0, 1):
        slow = slow_decoder(raw[picture].astype(np.float64))
        count = len(slow["scores"])
        assert (found["scores"][picture, count:] == 0).all()
        for name, wanted in slow.items():
            np.testing.assert_allclose(found[name][picture, :count], wanted, rtol=2e-4, atol=2e-4, err_msg=name)


def test_two_classes_at_one_place_are_one_molecule() -> None:
    raw = np.full((1, CLASSES + 7, 16, 16), -9.0, dtype=np.float32)
    raw[0, 0, 8, 8], raw[0, 1, 8, 9] = 2.0, 1.0
    scores = decoded(raw)["scores"][0]
    assert np.count_nonzero(scores) == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_window_shows_the_same_targets_as_the_whole(seed: int) -> None:
    scan, letterbox = scan_of(seed), Letterbox(1.25, 1.25, 160, 200)
    whole = targets(scan, letterbox, (0, 0, 160, 192))
    part = targets(scan, letterbox, (32, 48, 64, 80))
    np.testing.assert_allclose(part.field, whole.field[16:48, 24:64], atol=1e-5)
    inner = (slice(8, 24), slice(8, 32))
    np.testing.assert_allclose(part.heat[inner], whole.heat[24:40, 32:56], atol=1e-4)


def test_beyond_the_frame_nothing_is_asked_for() -> None:
    wanted = targets(scan_of(1), Letterbox(1.25, 1.25, 160, 200), (-32, -32, 256, 288))
    outside = np.ones(wanted.heat.shape[:2], dtype=bool)
    outside[16:96, 16:116] = False
    assert wanted.field[outside].max() == 0
    assert wanted.heat_weight[outside].min() == 1
    assert wanted.box_weight[~outside].sum() > 0


def test_a_molecule_of_which_hardly_anything_is_visible_does_not_matter_to_the_loss() -> None:
    scan = scan_of(2)
    index = max(range(len(scan.molecules)), key=lambda i: scan.molecules[i].mask.sum())
    hidden = replace(
        scan,
        molecules=tuple(
            replace(molecule, visible=LEAST_VISIBLE / 2) if i == index else molecule
            for i, molecule in enumerate(scan.molecules)
        ),
    )
    letterbox = Letterbox(1.0, 1.0, 128, 160)
    before, after = (targets(one, letterbox, (0, 0, 128, 160)) for one in (scan, hidden))
    assert (after.heat == 1).sum() == (before.heat == 1).sum() - 1
    changed = (after.heat_weight != before.heat_weight)[..., 0]
    assert changed.sum() > 10
    assert (owners(scan)[1::2, 1::2][changed] == index).all()
    assert (after.heat_weight[changed] == 0).all()


def test_examples_are_drawn_from_their_seed_and_keep_within_range() -> None:
    recipe = Recipe(crop=64)
    pictures, wanted = batch((7, 1), 5, recipe, SPEC)
    again, wanted_again = batch((7, 1), 5, recipe, SPEC)
    assert pictures.tobytes() == again.tobytes()
    assert wanted.tobytes() == wanted_again.tobytes()
    assert pictures.shape == (5, 64, 64, 1)
    assert wanted.shape == (5, 32, 32, CLASSES + 9)
    assert pictures.dtype == wanted.dtype == np.float32
    assert 0 <= pictures.min() < pictures.max() <= 1
    assert not np.array_equal(pictures, batch((7, 2), 5, recipe, SPEC)[0])


@pytest.mark.parametrize("seed", range(3))
def test_the_targets_lie_on_the_molecules_of_the_prepared_picture(seed: int) -> None:
    scan = scan_of(seed)
    shown = prepare(frame_of(scan), SPEC)
    wanted = targets(scan, shown.letterbox, (0, 0, 512, 512))
    half = shown.tiles[0].reshape(256, 2, 256, 2).mean(axis=(1, 3))
    inside = np.zeros((256, 256), dtype=bool)
    inside[: shown.letterbox.rows // 2, : shown.letterbox.columns // 2] = True
    on = wanted.field[..., 0] > 0
    assert half[on].mean() > half[inside & ~on].mean() + 0.4
    centres = wanted.heat.max(axis=2) == 1
    assert half[centres].min() > half[inside & ~on].mean() + 0.1


def test_training_scans_come_in_the_sizes_asked_for() -> None:
    recipe = Recipe()
    sides = []
    for number in range(40):
        geometry = draw_training_scan((1, number), recipe).geometry
        sides.append(geometry.size_nm[0])
        assert recipe.pitch_nm[0] * 0.99 <= geometry.nm_per_px[0] <= recipe.pitch_nm[1] * 1.01
        assert 64 <= geometry.rows <= 360
    assert min(sides) < 14 < 24 < max(sides)


def test_an_example_size_that_the_network_cannot_take_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        Recipe(crop=100)
