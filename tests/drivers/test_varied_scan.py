"""Varied scans: one seed one picture, outlines where the molecules are, layers without overlap."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spm_live_drivers.contract import ScanDirection
from spm_live_drivers.synthetic.arrange import Floor
from spm_live_drivers.synthetic.packing import Crowd, pack_cell, repeat, turned
from spm_live_drivers.synthetic.sample import Tip
from spm_live_drivers.synthetic.scene import LAYOUTS, Kind, Scene, Variety, draw_scene
from spm_live_drivers.synthetic.shapes import FAMILIES, Lobe, Shape, draw_shape
from spm_live_drivers.synthetic.stamps import make_stamp
from spm_live_drivers.synthetic.varied import VariedScan, draw_varied_scan

STILL = Tip(blur_nm=0.01, white_nm=0.0, pink_nm=0.0, line_nm=0.0, scars=0.0, dropouts=0.0, jump=0.0)
DISC = Shape("disc", (Lobe(0, 0, 1, 1, 0, 1, 4),))
COMPACT = ("bump", "disc", "ellipse", "rod", "plate")
seeds = st.integers(0, 2**32 - 1)


def filled(ring: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels with their centre within an outline: crossed an odd number of times on the way out to the left."""
    mask = np.zeros(shape, dtype=bool)
    (left, top), (right, bottom) = np.floor(ring.min(axis=0)).astype(int), np.ceil(ring.max(axis=0)).astype(int)
    left, top = max(left, 0), max(top, 0)
    x, y = np.arange(left, min(right, shape[1])) + 0.5, np.arange(top, min(bottom, shape[0])) + 0.5
    inside = np.zeros((y.size, x.size), dtype=bool)
    for (ax, ay), (bx, by) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        crossed = (ay > y) != (by > y)
        at = ax + (y - ay) / ((by - ay) or 1.0) * (bx - ax)
        inside ^= crossed[:, None] & (at[:, None] < x[None, :])
    mask[top : top + y.size, left : left + x.size] = inside
    return mask


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def covered(scan: VariedScan) -> float:
    """Part of the frame within the outlines of molecules."""
    shape = (scan.geometry.rows, scan.geometry.columns)
    masks = [filled(one.outline_px, shape) for one in scan.molecules if not one.ignore]
    return float(np.any(masks, axis=0).mean()) if masks else 0.0


@settings(max_examples=8)
@given(seeds)
def test_one_seed_draws_one_varied_scan(seed: int) -> None:
    first = draw_varied_scan((seed, 1), rows=48, columns=40)
    np.random.default_rng(seed).random(100)
    again = draw_varied_scan((seed, 1), rows=48, columns=40)
    assert first.heights.tobytes() == again.heights.tobytes()
    assert len(first.molecules) == len(again.molecules)
    for one, other in zip(first.molecules, again.molecules, strict=True):
        np.testing.assert_array_equal(one.outline_px, other.outline_px)


def test_drawing_leaves_the_global_random_state_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw_varied_scan(3, rows=48, columns=48)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_draws_finite_heights_of_a_plausible_range(layout: str) -> None:
    for seed in range(3):
        scene = draw_scene(np.random.default_rng(seed), Variety(layouts={layout: 1.0}))
        scan = draw_varied_scan(seed, rows=56, columns=72, size_nm=(18.0, 14.0), scene=scene, most=60)
        assert scan.heights.shape == (56, 72)
        assert scan.heights.dtype == np.float32
        finite = scan.heights[np.isfinite(scan.heights)]
        assert finite.size > 0
        assert np.ptp(finite) < 100e-9
        named = [one for one in scan.molecules if not one.ignore]
        assert len(named) <= 60
        assert bool(named) is (layout != "empty")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stamp_is_as_wide_as_it_was_asked_for(family: str) -> None:
    for seed in range(4):
        stamp = make_stamp(draw_shape(np.random.default_rng(seed), family), 2.0, 0.0, 0.05)
        assert stamp.width_nm == pytest.approx(2.0, rel=0.08)
        assert stamp.family == family
        assert stamp.heights.max() == pytest.approx(1.0, abs=1e-5)
        assert np.abs(np.concatenate([stamp.heights[0], stamp.heights[:, -1]])).max() < 0.02


@pytest.mark.parametrize("family", COMPACT)
def test_an_outline_runs_at_about_half_of_the_height(family: str) -> None:
    for seed in range(4):
        stamp = make_stamp(draw_shape(np.random.default_rng(seed), family), 2.0, 0.1, 0.05)
        side = stamp.heights.shape[0]
        pixels = (stamp.outline_nm * (1, -1) + stamp.reach_nm) / stamp.pitch_nm
        columns, rows = (np.clip(pixels - 0.5, 0, side - 1)).astype(np.float32).T
        along = cv2.remap(stamp.heights, columns[None], rows[None], cv2.INTER_LINEAR)
        assert along.min() > 0.3
        assert along.max() < 0.6


@pytest.mark.parametrize("family", FAMILIES)
def test_a_molecule_lies_within_its_outline_at_any_turn_and_on_pixels_that_are_not_square(family: str) -> None:
    shape = draw_shape(np.random.default_rng(5), family)
    scene = Scene((Kind(shape, 2.5, 0.2),), (1.0,), "sparse", coverage=0.1, tip=STILL)
    scan = draw_varied_scan(8, rows=160, columns=240, size_nm=(20.0, 20.0), scene=scene)
    assert len(scan.molecules) > 3
    high = scan.heights > 0.42e-9 * 0.2
    inside = np.any([filled(one.outline_px, high.shape) for one in scan.molecules], axis=0)
    near = cv2.dilate(inside.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert not (high & ~near).any()
    # Holes and lobes that stand apart lie within an outline too; the solid families fill theirs.
    assert (high & inside).sum() > 0.25 * inside.sum()
    if family in ("bump", "disc", "ellipse", "plate"):
        assert iou(high, inside) > 0.85


def test_a_mirrored_molecule_is_drawn_as_its_mirrored_outline() -> None:
    shape = Shape("chain", (Lobe(-1, 0, 0.5, 0.5), Lobe(0, 0, 0.5, 0.5), Lobe(0.6, 0.8, 0.5, 0.5)), chiral=True)
    scene = Scene((Kind(shape, 2.5, 0.2),), (1.0,), "sparse", coverage=0.2, tip=STILL)
    scan = draw_varied_scan(8, rows=300, columns=300, size_nm=(30.0, 30.0), scene=scene)
    whole = [one for one in scan.molecules if one.outline_px.min() > 1 and one.outline_px.max() < 299]
    handed = []
    for one in whole:
        mask = filled(one.outline_px, (300, 300))
        assert scan.heights[mask].mean() > 0.5 * 0.2e-9
        x, y = one.outline_px.T
        handed.append(np.sign(x @ np.roll(y, -1) - y @ np.roll(x, -1)))
    assert {-1.0, 1.0} == set(handed)


def test_turning_is_counter_clockwise_and_mirroring_comes_first() -> None:
    ring = np.array([[1.0, 0.0], [0.0, 2.0]])
    np.testing.assert_allclose(turned(ring, math.pi / 2), [[0.0, 1.0], [-2.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(turned(ring, math.pi / 2, True), [[0.0, 1.0], [2.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(turned(ring, 0.0, scale=3.0), 3 * ring)


@pytest.mark.parametrize("seed", range(6))
def test_molecules_of_a_packed_cell_hardly_overlap_however_often_it_is_repeated(seed: int) -> None:
    rng = np.random.default_rng(seed)
    stamps = [make_stamp(draw_shape(rng, name), width, 0.05, 0.05) for name, width in (("star", 2.0), ("plate", 2.5))]
    cell = pack_cell(rng, stamps, [1, 0, 0, 1], 0.9, 0.0)
    crowd = repeat(cell, 0.4, (0.3, -0.8), (9.0, 7.0))
    claims = np.zeros((280, 360), dtype=int)
    area = 0.0
    for index in range(len(crowd)):
        ring = turned(stamps[crowd.species[index]].outline_nm, crowd.angle_rad[index], crowd.mirrored[index])
        mask = filled((ring + crowd.xy_nm[index]) * (20, -20) + (180, 140), claims.shape)
        claims += mask
        area += mask.sum()
    assert (np.maximum(claims, 1) - 1).sum() < 0.1 * area


def test_repeated_cells_fill_the_rectangle_with_as_many_molecules_as_its_area_holds() -> None:
    rng = np.random.default_rng(1)
    cell = pack_cell(rng, [make_stamp(DISC, 1.0, 0.0, 0.05)], [0, 0], 0.9, 0.0)
    crowd = repeat(cell, 0.7, (0.1, 0.2), (15.0, 10.0))
    assert (np.abs(crowd.xy_nm) < (15.0, 10.0)).all()
    assert len(crowd) == pytest.approx(len(cell.species) * 600 / cell.area_nm2, rel=0.06)


def test_layers_of_discs_cover_most_of_the_surface() -> None:
    scene = Scene((Kind(DISC, 2.0, 0.2),), (1.0,), "monolayer", coverage=1.2, gap=0.0, tip=STILL)
    parts = [covered(draw_varied_scan(seed, rows=128, columns=128, scene=scene)) for seed in range(8)]
    assert np.median(parts) > 0.6
    assert max(parts) > 0.75


def test_loose_molecules_cover_what_was_asked_for() -> None:
    for wanted in (0.05, 0.2):
        scene = Scene((Kind(DISC, 1.0, 0.2),), (1.0,), "sparse", coverage=wanted, tip=STILL)
        scan = draw_varied_scan(2, rows=300, columns=300, size_nm=(50.0, 50.0), scene=scene)
        assert covered(scan) == pytest.approx(wanted, rel=0.15)


def test_an_outline_at_a_higher_level_lies_further_within() -> None:
    shape = draw_shape(np.random.default_rng(3), "ellipse")
    lowest = []
    for level in (0.3, 0.5, 0.7):
        stamp = make_stamp(shape, 2.0, 0.0, 0.05, level)
        inside = filled((stamp.outline_nm * (1, -1) + stamp.reach_nm) / stamp.pitch_nm, stamp.heights.shape)
        lowest.append(float(stamp.heights[inside].min()))
    assert lowest == pytest.approx([0.3, 0.5, 0.7], abs=0.12)
    assert np.all(np.diff(lowest) > 0.1)


def test_an_interrupted_scan_ends_where_its_direction_says() -> None:
    ends = set()
    scene = Scene((Kind(DISC, 1.0, 0.2),), (1.0,), scanned=0.25)
    for seed in range(8):
        scan = draw_varied_scan(seed, rows=64, columns=32, scene=scene)
        rows = np.isfinite(scan.heights).all(axis=1)
        assert rows.sum() == 16
        assert rows[-1 if scan.direction is ScanDirection.UP else 0]
        ends.add(scan.direction)
    assert len(ends) == 2


def test_inverted_molecules_are_dark() -> None:
    scene = Scene((Kind(DISC, 2.0, 0.2),), (1.0,), tip=STILL)
    dark = Scene(scene.kinds, scene.shares, tip=STILL, look=type(scene.look)(inverted=True))
    for one, sign in ((scene, 1), (dark, -1)):
        scan = draw_varied_scan(4, rows=96, columns=96, scene=one)
        inside = np.any([filled(each.outline_px, (96, 96)) for each in scan.molecules], axis=0)
        assert sign * (scan.heights[inside].mean() - scan.heights[~inside].mean()) > 0.1e-9


@given(st.lists(st.tuples(st.floats(-12, 12), st.floats(-12, 12)), max_size=30))
def test_a_floor_gives_no_place_twice(places: list[tuple[float, float]]) -> None:
    floor = Floor((10.0, 10.0), 2.0)
    angles = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    disc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    kept = [place for place in places if floor.take(disc + place, 0.05)]
    inside = [place for place in kept if max(abs(place[0]), abs(place[1])) < 9]
    for index, place in enumerate(inside):
        assert all(math.dist(place, other) > 1.6 for other in inside[:index])


def test_no_molecules_are_still_a_crowd() -> None:
    assert len(Crowd.of([])) == 0
    assert len(Crowd.of([]).kept(np.zeros(0, dtype=bool))) == 0


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"families": {"cube": 1.0}}, "cube"),
        ({"layouts": {"pile": 1.0}}, "pile"),
        ({"layouts": {"sparse": 0.0}}, "layout"),
        ({"width_nm": (2.0, 1.0)}, "widths"),
        ({"species": ()}, "species"),
    ],
)
def test_a_variety_that_makes_no_sense_is_refused(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Variety(**wrong)  # type: ignore[arg-type]


def test_a_shape_of_an_unknown_family_is_refused() -> None:
    with pytest.raises(ValueError, match="cube"):
        draw_shape(np.random.default_rng(0), "cube")
