"""From detections to molecules in nm: places, edges, counts, density and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live.domain import Detections, Frame, FrameInfo, FrameRef, Letterbox, ModelIdentity, ScanGeometry, Spectrum
from spm_live.locate import locate
from spm_live.locate.coverage import covered_pixels

MODEL = ModelIdentity("toy", "1", "0" * 64)
DISC = (np.hypot(*np.meshgrid(*[(np.arange(28) + 0.5) / 14 - 1] * 2)) < 1).astype(np.float32)


def frame_of(geometry: ScanGeometry, data: np.ndarray | None = None) -> Frame:
    data = np.zeros((geometry.rows, geometry.columns), dtype=np.float32) if data is None else data
    complete = int(np.isfinite(data).all(axis=1).sum())
    return Frame(FrameInfo(FrameRef("scan.sxm"), geometry, "m", complete_rows=complete), data)


def found(boxes, scores=None, classes=None, masks=None) -> Detections:
    count = len(boxes)
    return Detections(
        boxes=np.array(boxes, dtype=np.float32).reshape(count, 4),
        scores=np.linspace(0.9, 0.6, count, dtype=np.float32) if scores is None else np.array(scores, dtype=np.float32),
        classes=np.zeros(count, dtype=np.int64) if classes is None else np.array(classes, dtype=np.int64),
        masks=np.repeat(DISC[None], count, axis=0) if masks is None else masks,
    )


def same(geometry: ScanGeometry) -> Letterbox:
    return Letterbox(1.0, 1.0, geometry.rows, geometry.columns)


SQUARE = ScanGeometry(100, 100, (10.0, 10.0))


@given(
    x=st.floats(10, 90),
    y=st.floats(10, 70),
    angle=st.floats(-180, 180),
    center=st.tuples(st.floats(-1000, 1000), st.floats(-1000, 1000)),
    height=st.floats(2, 40),
    scale=st.tuples(st.floats(0.3, 4), st.floats(0.3, 4)),
)
def test_a_molecule_is_where_the_geometry_puts_it(x, y, angle, center, height, scale):
    geometry = ScanGeometry(80, 100, (10.0, height), center, angle)
    box = Letterbox(scale[0], scale[1], round(80 * scale[1]), round(100 * scale[0]))
    middle = box.to_model(np.array([[x, y]]))[0]
    half = np.array([5 * scale[0], 5 * scale[1]])
    edges = np.concatenate([middle - half + 0.5, middle + half + 0.5])
    result = locate(found([edges]), box, frame_of(geometry), ["a"], MODEL)
    (molecule,) = result.molecules
    expected = geometry.to_nm(np.array([[x, y]]))[0]
    pixel = min(geometry.nm_per_px)
    assert np.hypot(*(np.array(molecule.center_nm) - expected)) < 0.02 * pixel + 1e-4
    assert molecule.area_nm2 == pytest.approx(math.pi * 25 * geometry.pixel_area_nm2, rel=0.02)
    outline = np.array(molecule.outline_px)
    assert outline.mean(axis=0) == pytest.approx([x, y], abs=0.3)
    assert np.hypot(*(outline - [x, y]).T) == pytest.approx(5, abs=0.3)
    assert molecule.box_px == pytest.approx((x - 4.5, y - 4.5, x + 5.5, y + 5.5), abs=1e-2)
    assert not molecule.touches_edge


@pytest.mark.parametrize("angle", [0, 30, -75, 180])
@pytest.mark.parametrize("flat", [True, False])
def test_orientation_is_counter_clockwise_from_the_scanners_x(angle, flat):
    """A bar along the rows of a frame that is turned clockwise points below the scanner's x axis."""
    geometry = ScanGeometry(100, 100, (10.0, 10.0), angle_deg=angle)
    bar = (20.0, 45.0, 60.0, 55.0) if flat else (45.0, 20.0, 55.0, 60.0)
    (molecule,) = locate(found([bar]), same(geometry), frame_of(geometry), ["a"], MODEL).molecules
    ends = geometry.to_nm(np.array([[20.0, 50.0], [60.0, 50.0]] if flat else [[50.0, 60.0], [50.0, 20.0]]))
    along = math.degrees(math.atan2(*(ends[1] - ends[0])[::-1]))
    assert (molecule.orientation_deg - along + 90) % 180 - 90 == pytest.approx(0, abs=0.5)
    assert 0 <= molecule.orientation_deg < 180
    assert molecule.length_nm == pytest.approx(4.0, rel=0.02)
    assert molecule.width_nm == pytest.approx(1.0, rel=0.03)


def test_axes_are_measured_in_nm_where_pixels_are_not_square():
    geometry = ScanGeometry(100, 100, (10.0, 40.0))
    (molecule,) = locate(found([(30, 40, 50, 50)]), same(geometry), frame_of(geometry), ["a"], MODEL).molecules
    assert molecule.length_nm == pytest.approx(4.0, rel=0.03), "10 rows of 0.4 nm"
    assert molecule.width_nm == pytest.approx(2.0, rel=0.03), "20 columns of 0.1 nm"
    assert molecule.orientation_deg == pytest.approx(90, abs=2)


@pytest.mark.parametrize(
    ("box", "cut"),
    [
        ((40, 40, 60, 60), False),
        ((0, 40, 20, 60), True),
        ((40, 0, 60, 20), True),
        ((80, 40, 100, 60), True),
        ((40, 80, 60, 100), True),
        ((3, 3, 20, 20), False),
        ((80, 80, 97, 97), False),
    ],
)
def test_a_molecule_at_the_border_of_the_frame_is_cut(box, cut):
    (molecule,) = locate(found([box]), same(SQUARE), frame_of(SQUARE), ["a"], MODEL).molecules
    assert molecule.touches_edge is cut


@pytest.mark.parametrize("up", [False, True])
def test_the_front_of_a_partial_scan_is_a_border(up):
    data = np.zeros((100, 100), dtype=np.float32)
    data[50:] = np.nan
    boxes = [(10, 10, 30, 30), (40, 30, 60, 50), (70, 35, 90, 55)]
    if up:
        data = data[::-1].copy()
        boxes = [(x1, 100 - y2, x2, 100 - y1) for x1, y1, x2, y2 in boxes]
    result = locate(found(boxes), same(SQUARE), frame_of(SQUARE, data), ["a"], MODEL)
    assert [molecule.touches_edge for molecule in result.molecules] == [False, True, True]
    whole, _, cut = result.molecules
    assert cut.area_nm2 == pytest.approx(whole.area_nm2 * 0.8, rel=0.12), "what was not scanned does not count"
    assert result.scanned_area_nm2 == pytest.approx(50)


def test_a_front_in_the_middle_of_a_line_is_a_border():
    data = np.zeros((100, 100), dtype=np.float32)
    data[60:] = np.nan
    data[50:60, 50:] = np.nan
    boxes = [(10, 40, 30, 58), (35, 40, 48, 57), (60, 30, 80, 50), (42, 52, 50, 58)]
    result = locate(found(boxes), same(SQUARE), frame_of(SQUARE, data), ["a"], MODEL)
    assert [molecule.touches_edge for molecule in result.molecules] == [False, False, True, True]


def test_missing_rows_are_a_border_and_drop_outs_are_not():
    data = np.zeros((100, 100), dtype=np.float32)
    data[30] = np.nan
    data[70, 45] = np.nan
    data[75, 50:52] = np.inf
    boxes = [(40, 20, 60, 40), (40, 60, 60, 80), (10, 60, 30, 80)]
    result = locate(found(boxes), same(SQUARE), frame_of(SQUARE, data), ["a"], MODEL)
    assert [molecule.box_px for molecule in result.molecules] == boxes[1:], "a centre on a missing row is not scanned"
    assert [molecule.touches_edge for molecule in result.molecules] == [False, False]
    beside = locate(found([(40, 15, 60, 35)]), same(SQUARE), frame_of(SQUARE, data), ["a"], MODEL)
    assert beside.molecules[0].touches_edge


def test_what_lies_outside_the_scan_is_left_out():
    data = np.zeros((100, 100), dtype=np.float32)
    data[50:] = np.nan
    boxes = [(10, 70, 30, 90), (40, 45, 60, 65), (70, 10, 90, 30)]
    result = locate(found(boxes), same(SQUARE), frame_of(SQUARE, data), ["a"], MODEL)
    assert [molecule.box_px for molecule in result.molecules] == [(70, 10, 90, 30)]
    assert result.counts["a"].total == 1


def test_a_mask_that_is_nowhere_over_one_half_is_no_molecule():
    masks = np.stack([DISC * 0.4, DISC])
    result = locate(
        found([(10, 10, 30, 30), (40, 40, 60, 60)], masks=masks), same(SQUARE), frame_of(SQUARE), ["a"], MODEL
    )
    assert len(result.molecules) == 1


def test_counts_densities_and_coverage():
    boxes = [(0, 10, 20, 30), (40, 40, 60, 60), (70, 70, 90, 90), (20, 60, 40, 80)]
    result = locate(found(boxes, classes=[0, 0, 1, 0]), same(SQUARE), frame_of(SQUARE), ["a", "b", "none"], MODEL)
    disc = math.pi * 100 / 10_000
    a, b, none = (result.counts[label] for label in ("a", "b", "none"))
    assert (a.total, a.edge, b.total, b.edge, none.total) == (3, 1, 1, 0, 0)
    assert a.density_per_nm2 == pytest.approx((3 - 0.5) / 100)
    assert b.density_per_nm2 == pytest.approx(1 / 100)
    assert none.density_per_nm2 == none.coverage == 0
    assert a.coverage == pytest.approx(3 * disc, rel=0.02)
    assert result.coverage == pytest.approx(4 * disc, rel=0.02)
    assert result.total == 4
    assert [molecule.score for molecule in result.molecules] == pytest.approx([0.9, 0.8, 0.7, 0.6])


def test_coverage_counts_each_place_once():
    twice = found([(20, 20, 60, 60), (20, 20, 60, 60), (20, 20, 60, 60)], classes=[0, 0, 1])
    result = locate(twice, same(SQUARE), frame_of(SQUARE), ["a", "b"], MODEL)
    disc = math.pi * 400 / 10_000
    assert result.counts["a"].coverage == result.counts["b"].coverage == result.coverage
    assert result.coverage == pytest.approx(disc, rel=0.02)


def test_coverage_is_that_of_the_scanned_area():
    data = np.zeros((100, 100), dtype=np.float32)
    data[50:] = np.nan
    masks = np.ones((1, 28, 28), dtype=np.float32)
    result = locate(found([(0, 0, 100, 80)], masks=masks), same(SQUARE), frame_of(SQUARE, data), ["a"], MODEL)
    assert result.coverage == 1
    assert result.molecules[0].area_nm2 == pytest.approx(50, rel=0.04)


@given(st.integers(0, 2**32 - 1))
def test_coverage_agrees_with_sampling_points(seed):
    """Random places on the frame, each looked up in every mask by itself."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 80, (8, 2))
    boxes = np.concatenate([corner, np.minimum(corner + rng.uniform(4, 40, (8, 2)), 100)], axis=1)
    result = locate(found(boxes), same(SQUARE), frame_of(SQUARE), ["a"], MODEL)
    points = rng.uniform(0, 100, (4000, 2))
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    hit = (np.sum(((points[:, None] - middle) / half) ** 2, axis=2) < 1).any(axis=1)
    assert result.coverage == pytest.approx(hit.mean(), abs=0.04)


def test_half_of_the_cut_molecules_gives_the_true_density():
    """Discs strewn over a plane, seen through many frames: counting all, or none, of the cut ones would be wrong."""
    rng = np.random.default_rng(1)
    radius, per_frame, densities, naive = 8.0, 30, [], []
    true = per_frame / 10_000
    for _ in range(60):
        count = rng.poisson(true * 120**2)
        place = rng.uniform(-10, 110, (count, 2))
        low, high = np.clip(place - radius, 0, 100), np.clip(place + radius, 0, 100)
        seen = (high > low).all(axis=1)
        boxes = np.concatenate([low, high], axis=1)[seen]
        masks = np.ones((len(boxes), 8, 8), dtype=np.float32)
        result = locate(found(boxes, masks=masks), same(SQUARE), frame_of(SQUARE), ["a"], MODEL)
        densities.append(result.counts["a"].density_per_nm2)
        naive.append(result.counts["a"].total / 100)
    assert np.mean(densities) == pytest.approx(true * 100, rel=0.07)
    assert np.mean(naive) > 1.1 * true * 100


def test_an_empty_frame_has_an_empty_map():
    data = np.full((96, 240), np.nan, dtype=np.float32)
    geometry = ScanGeometry(96, 240, (5.0, 2.0))
    nothing = found([], masks=np.zeros((0, 1, 1), dtype=np.float32))
    result = locate(nothing, same(geometry), frame_of(geometry, data), ["a"], MODEL)
    assert result.molecules == ()
    assert result.scanned_area_nm2 == 0
    assert math.isnan(result.coverage)
    assert math.isnan(result.counts["a"].density_per_nm2)


def test_a_scanned_frame_without_molecules_has_zero_density():
    nothing = found([], masks=np.zeros((0, 1, 1), dtype=np.float32))
    result = locate(nothing, same(SQUARE), frame_of(SQUARE), ["a"], MODEL)
    assert result.coverage == result.counts["a"].density_per_nm2 == 0


def test_a_single_pixel_frame_does_not_break():
    geometry = ScanGeometry(1, 1, (0.1, 0.1))
    result = locate(found([(0, 0, 4, 4)]), Letterbox(4.0, 4.0, 4, 4), frame_of(geometry), ["a"], MODEL)
    assert result.molecules[0].touches_edge


def test_spectra_go_to_the_molecule_they_were_taken_on():
    geometry = ScanGeometry(100, 100, (10.0, 10.0), (50.0, -20.0), 30.0)

    def at(name, x, y):
        place = geometry.to_nm(np.array([[x, y]]))[0]
        return Spectrum(name, (float(place[0]), float(place[1])))

    spectra = [
        at("inside", 30, 30),
        at("beside", 41.0, 30),
        at("far", 50, 50),
        at("other", 75, 70),
        at("rim", 38.5, 30),
    ]
    result = locate(
        found([(20, 20, 40, 40), (60, 60, 90, 80)]), same(geometry), frame_of(geometry), ["a"], MODEL, spectra
    )
    assert [molecule.spectra for molecule in result.molecules] == [("inside", "beside", "rim"), ("other",)]


def test_a_spectrum_in_two_molecules_goes_to_the_one_it_lies_deepest_in():
    boxes = [(20, 20, 60, 60), (50, 20, 90, 60)]
    spectrum = [Spectrum("s", (float(SQUARE.to_nm(np.array([[57.0, 39.5]]))[0, 0]), 1.0))]
    result = locate(found(boxes), same(SQUARE), frame_of(SQUARE), ["a"], MODEL, spectrum)
    assert [molecule.spectra for molecule in result.molecules] == [(), ("s",)]


def test_spectra_in_a_frame_without_a_molecule_belong_to_none():
    place = SQUARE.to_nm(np.array([[30.0, 30.0]]))[0]
    spectra = [Spectrum("lonely", (float(place[0]), float(place[1])))]
    result = locate(found([]), same(SQUARE), frame_of(SQUARE), ["a"], MODEL, spectra)
    assert result.molecules == ()
    assert result.coverage == 0


@pytest.mark.parametrize("x", [50.0, 50.5])
def test_a_box_without_a_width_covers_next_to_nothing(x):
    (molecule,) = locate(found([(x, 40, x, 60)]), same(SQUARE), frame_of(SQUARE), ["a"], MODEL).molecules
    assert molecule.area_nm2 == 0


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 12))
def test_coverage_is_that_of_looking_pixel_by_pixel(seed, count):
    """Boxes anywhere, some between pixel centres; of two classes, which overlap one another and themselves."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 25, (count, 2))
    boxes = np.concatenate([corner, np.minimum(corner + rng.uniform(0.2, 15, (count, 2)), 30)], axis=1)
    masks = np.repeat((rng.random((count, 1, 1)) < 0.8).astype(np.float32), 6, axis=1).repeat(6, axis=2)
    classes = rng.integers(0, 2, count)
    scanned = rng.random((30, 30)) < 0.9
    y, x = np.mgrid[:30, :30] + 0.5
    under = [
        (x >= left) & (x <= right) & (y >= top) & (y <= bottom) & (mask[0, 0] > 0.5) & scanned
        for (left, top, right, bottom), mask in zip(boxes, masks, strict=True)
    ]
    layers = [np.any([one for one, k in zip(under, classes, strict=True) if k == number], axis=0) for number in (0, 1)]
    total, by_class = covered_pixels(boxes, masks, classes, 2, scanned)
    assert by_class == [int(np.count_nonzero(layer)) for layer in layers]
    assert total == int(np.count_nonzero(layers[0] | layers[1]))
