"""Drawn scans: one seed one picture, and a truth that is true."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live_drivers.contract import ScanDirection
from spm_live_drivers.synthetic import MOLECULE_CLASSES, Sample, Species, SyntheticScan, Tip, draw_scan
from spm_live_drivers.synthetic.layout import Ground
from spm_live_drivers.synthetic.molecules import MASK_LEVEL, Placed, draw_molecules
from spm_live_drivers.synthetic.truth_file import run_lengths, truth_of

STILL = Tip(white_nm=0.0, pink_nm=0.0, line_nm=0.0, scars=0.0, dropouts=0.0, jump=0.0)
SPECIES = (
    Species("three-lobe", 1.5, 0.2, 0.6),
    Species("four-lobe", 1.5, 0.2, 0.45),
    Species("rod", 2.0, 0.2, 0.45, 0.8),
)
CLEAN = Sample(SPECIES, (0.4, 0.3, 0.3), steps=0.0, adsorbates_per_nm2=0.0, corrugation_nm=0.0)
seeds = st.integers(0, 2**32 - 1)


def numbered(scan: SyntheticScan) -> np.ndarray:
    """How many molecules claim each pixel."""
    claims = np.zeros((scan.geometry.rows, scan.geometry.columns), dtype=int)
    for molecule in scan.molecules:
        x1, y1, x2, y2 = molecule.box_px
        claims[y1:y2, x1:x2] += molecule.mask
    return claims


@given(seeds)
def test_one_seed_draws_one_picture(seed: int) -> None:
    first = draw_scan(seed, rows=48, columns=40)
    np.random.default_rng(seed).random(100)
    again = draw_scan(seed, rows=48, columns=40)
    assert first.heights.tobytes() == again.heights.tobytes()
    assert first.heights_backward.tobytes() == again.heights_backward.tobytes()
    assert truth_of(first, "a") == truth_of(again, "a")


def test_another_seed_draws_another_picture() -> None:
    assert not np.array_equal(draw_scan(1, size_nm=20.0).heights, draw_scan(2, size_nm=20.0).heights)


def test_drawing_leaves_the_global_random_state_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    draw_scan(3)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@given(seeds, st.integers(16, 80), st.integers(16, 80))
def test_every_scan_is_finite_float32_of_the_asked_shape_and_of_a_plausible_height(
    seed: int, rows: int, columns: int
) -> None:
    scan = draw_scan(seed, rows=rows, columns=columns)
    for picture in (scan.heights, scan.heights_backward):
        assert picture.shape == (rows, columns)
        assert picture.dtype == np.float32
        assert np.isfinite(picture).all()
        assert np.ptp(picture) < 30e-9


@given(seeds)
def test_masks_do_not_overlap_and_fill_their_boxes_to_every_edge(seed: int) -> None:
    scan = draw_scan(seed, rows=96, columns=112)
    assert numbered(scan).max(initial=0) <= 1
    for molecule in scan.molecules:
        x1, y1, x2, y2 = molecule.box_px
        assert 0 <= x1 < x2 <= 112
        assert 0 <= y1 < y2 <= 96
        assert molecule.mask.shape == (y2 - y1, x2 - x1)
        assert all(
            side.any() for side in (molecule.mask[0], molecule.mask[-1], molecule.mask[:, 0], molecule.mask[:, -1])
        )
        assert molecule.label in MOLECULE_CLASSES
        assert 0 < molecule.visible <= 1


@pytest.mark.parametrize("seed", range(6))
def test_molecules_keep_apart(seed: int) -> None:
    scan = draw_scan(seed, size_nm=40.0, sample=CLEAN)
    assert len(scan.molecules) > 20
    centres = np.array([molecule.center_px for molecule in scan.molecules]) * scan.geometry.nm_per_px[0]
    gaps = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1)) + np.eye(len(centres)) * 99
    breadths = {one.label: one.breadth_nm for one in SPECIES}
    narrow = np.array([breadths[molecule.label] for molecule in scan.molecules])
    assert (gaps > 0.85 * (narrow[:, None] + narrow[None]) / 2).all()


def test_what_the_truth_calls_a_molecule_stands_out_of_the_surface() -> None:
    scan = draw_scan(11, size_nm=30.0, sample=CLEAN, tip=STILL)
    claimed = numbered(scan) > 0
    assert scan.heights[claimed].min() > MASK_LEVEL * 0.15e-9
    assert np.median(scan.heights[~claimed]) < 0.02e-9


def test_a_whole_molecule_lies_around_its_centre() -> None:
    scan = draw_scan(12, size_nm=25.0, sample=CLEAN, tip=STILL)
    whole = [molecule for molecule in scan.molecules if molecule.visible == 1]
    assert len(whole) > 10
    for molecule in whole:
        rows, columns = np.nonzero(molecule.mask)
        middle = columns.mean() + molecule.box_px[0], rows.mean() + molecule.box_px[1]
        assert math.dist(middle, molecule.center_px) < 1.5


def test_the_border_cuts_molecules_and_says_how_much_is_left() -> None:
    scan = draw_scan(13, size_nm=20.0, sample=CLEAN, tip=STILL)
    cut = [molecule for molecule in scan.molecules if molecule.visible < 1]
    assert cut
    for molecule in cut:
        x1, y1, x2, y2 = molecule.box_px
        assert x1 == 0 or y1 == 0 or x2 == 256 or y2 == 256


def test_without_faults_forward_and_backward_show_the_same() -> None:
    scan = draw_scan(14, size_nm=20.0, sample=CLEAN, tip=STILL)
    np.testing.assert_array_equal(scan.heights, scan.heights_backward)


def test_an_upward_scan_shows_the_same_surface_the_same_way_up() -> None:
    down = draw_scan(15, size_nm=20.0, sample=CLEAN, tip=STILL)
    up = draw_scan(15, size_nm=20.0, sample=CLEAN, tip=STILL, direction=ScanDirection.UP)
    np.testing.assert_allclose(down.heights, up.heights, atol=1e-15)


def test_the_same_surface_at_twice_the_pixels_is_the_same_surface() -> None:
    coarse = draw_scan(16, rows=64, columns=64, size_nm=16.0, sample=CLEAN, tip=STILL)
    fine = draw_scan(16, rows=128, columns=128, size_nm=16.0, sample=CLEAN, tip=STILL)
    ours = np.array([molecule.center_px for molecule in coarse.molecules if molecule.visible == 1])
    theirs = np.array([molecule.center_px for molecule in fine.molecules if molecule.visible == 1])
    np.testing.assert_allclose((ours + 0.5) * 2, theirs + 0.5, atol=1e-6)


@pytest.mark.parametrize("label", MOLECULE_CLASSES)
def test_the_fast_drawing_of_molecules_equals_the_sum_of_their_lobes(label: str) -> None:
    species = Species(label, 1.4, 0.25, 0.5, 0.4)
    placed = Placed(np.zeros(1, dtype=np.int64), np.array([[0.3, -0.2]]), np.array([0.7]))
    patch = draw_molecules(np.random.default_rng(0), (species,), placed, (64, 48), (0.1, 0.12), 0.15)
    height = patch.heights_nm[0]
    slow = np.zeros_like(height, dtype=float)
    for row, column in np.ndindex(height.shape):
        x = (column + patch.corners[0, 1] - 48 / 2 + 0.5) * 0.1 - 0.3
        y = (64 / 2 - row - patch.corners[0, 0] - 0.5) * 0.12 + 0.2
        # Turn the point back into the molecule's own frame.
        u, v = x * math.cos(0.7) + y * math.sin(0.7), y * math.cos(0.7) - x * math.sin(0.7)
        for lobe_x, lobe_y, sigma, weight in species.lobes():
            slow[row, column] += weight * math.exp(-((u - lobe_x) ** 2 + (v - lobe_y) ** 2) / 2 / (sigma**2 + 0.15**2))
    assert height.max() == pytest.approx(0.25, rel=0.15)
    np.testing.assert_allclose(height / height.max(), slow / slow.max(), atol=0.12)  # each molecule differs a little
    assert np.corrcoef(height.ravel(), slow.ravel())[0, 1] > 0.995


def test_an_upright_rod_lies_along_the_rows_and_turns_counter_clockwise() -> None:
    rod = Species("rod", 2.0, 0.2, 0.4, 1.0)
    turns = np.array([0.0, math.pi / 2, math.pi / 4])
    placed = Placed(np.zeros(3, dtype=np.int64), np.zeros((3, 2)), turns)
    patches = draw_molecules(np.random.default_rng(0), (rod,), placed, (64, 64), (0.1, 0.1), 0.05)
    masks = patches.heights_nm > patches.level_nm[:, None, None]
    wide, tall = masks[0].any(axis=0).sum(), masks[0].any(axis=1).sum()
    assert wide > 1.5 * tall
    assert masks[1].any(axis=1).sum() > 1.5 * masks[1].any(axis=0).sum()
    rows, columns = np.nonzero(masks[2])
    assert np.corrcoef(rows, columns)[0, 1] < -0.5  # to the right is up, against the rows


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9), st.floats(0.1, 2)), max_size=40))
def test_ground_that_is_taken_is_not_given_again(discs: list[tuple[float, float, float]]) -> None:
    ground = Ground((10.0, 10.0))
    kept = [disc for disc in discs if ground.take(*disc)]
    for index, (x, y, radius) in enumerate(kept):
        assert all(math.dist((x, y), (a, b)) >= radius + other - 1e-9 for a, b, other in kept[:index])
    assert len(kept) == len(discs) or any(
        math.dist(a[:2], b[:2]) < a[2] + b[2] for i, a in enumerate(discs) for b in discs[:i]
    )


@given(seeds)
def test_run_lengths_hold_the_mask(seed: int) -> None:
    rng = np.random.default_rng(seed)
    full = np.zeros((7, 9), dtype=bool)
    full[2:5, 3:9] = rng.random((3, 6)) < 0.5
    counts = run_lengths(full[2:5, 3:9], (3, 2, 9, 5), (7, 9))
    values = np.arange(len(counts)) % 2 == 1
    np.testing.assert_array_equal(np.repeat(values, counts).reshape(9, 7).T, full)


def test_run_lengths_begin_with_the_absent_pixels_even_where_there_are_none() -> None:
    assert run_lengths(np.array([[True]]), (0, 0, 1, 1), (2, 1)) == [0, 1, 1]


@pytest.mark.parametrize(
    ("species", "shares"), [((), ()), (SPECIES, (0.5, 0.5)), (SPECIES, (0.5, 0.5, 0.5)), (SPECIES, (1.5, -0.5, 0.0))]
)
def test_a_sample_that_makes_no_sense_is_refused(species: tuple[Species, ...], shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="spec"):
        Sample(species, shares)


def test_a_molecule_of_an_unknown_class_is_refused() -> None:
    with pytest.raises(ValueError, match="five-lobe"):
        Species("five-lobe", 1.0, 0.1, 0.5)
