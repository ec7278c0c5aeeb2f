"""Outlines: clipping, crossing, joining; each against what filling pixels says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spm_live.training.data.outlines import (
    area_of,
    clipped,
    crosses_itself,
    joined,
    overlap_share,
    untangled,
    without_repeats,
)
from spm_live.training.labelled import LabelledMolecule, Ring, coverage_of

BOWTIE = np.array([[10.0, 10], [30, 30], [30, 10], [10, 30]])


def square(x: float, y: float, side: float) -> Ring:
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])


@st.composite
def stars(draw: st.DrawFn) -> Ring:
    """Simple polygons around a point: corners in the order of their angle."""
    corners = draw(st.integers(3, 14))
    radii = draw(st.lists(st.floats(2, 30), min_size=corners, max_size=corners))
    x, y = draw(st.floats(-20, 60)), draw(st.floats(-20, 60))
    angles = 2 * math.pi * np.arange(corners) / corners
    return np.stack([x + np.array(radii) * np.cos(angles), y + np.array(radii) * np.sin(angles)], axis=1)


@settings(max_examples=60)
@given(stars())
def test_clipping_keeps_exactly_what_lies_in_the_picture(ring: Ring) -> None:
    rows, columns = 32, 40
    everywhere = coverage_of([ring + 64.0], (192, 192))[64 : 64 + rows, 64 : 64 + columns]
    inside = clipped(ring, rows, columns)
    if not len(inside):
        assert everywhere.sum() < 3
        return
    assert inside.min() >= 0
    assert np.all(inside <= (columns, rows))
    # OpenCV's fill takes the pixels of the line itself, too: an eighth of a pixel along an outline.
    assert np.abs(coverage_of([inside], (rows, columns)) - everywhere).sum() <= 0.13 * (rows + columns) * 2 + 3


@settings(max_examples=60)
@given(stars())
def test_a_simple_outline_crosses_nothing(ring: Ring) -> None:
    assert not crosses_itself(ring)


def slow_crosses(ring: Ring) -> bool:
    def turn(a: Ring, b: Ring, c: Ring) -> float:
        return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))

    edges = [(ring[i], ring[(i + 1) % len(ring)]) for i in range(len(ring))]
    return any(
        turn(a, b, c) * turn(a, b, d) < 0 and turn(c, d, a) * turn(c, d, b) < 0
        for i, (a, b) in enumerate(edges)
        for c, d in edges[i + 1 :]
    )


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=3, max_size=9))
def test_crossing_is_what_every_pair_of_edges_says(points: list[tuple[int, int]]) -> None:
    ring = np.array(points, dtype=np.float64)
    assert crosses_itself(ring) == slow_crosses(ring)


def test_half_of_a_bow_tie_is_kept() -> None:
    assert crosses_itself(BOWTIE)
    ring, lost = untangled(BOWTIE)
    assert not crosses_itself(ring)
    assert area_of(ring) == pytest.approx(100, abs=6)
    assert lost == pytest.approx(0.5, abs=0.05)


def test_a_small_loop_where_the_line_closes_hardly_changes_the_molecule() -> None:
    looped = np.array([[10.0, 10], [50, 10], [50, 50], [10, 50], [10, 12], [13, 8], [13, 13]])
    assert crosses_itself(looped)
    ring, lost = untangled(looped)
    assert area_of(ring) == pytest.approx(1600, rel=0.01)
    assert lost < 0.01


def test_pieces_apart_stay_as_they_are_and_pieces_that_overlap_become_one() -> None:
    apart = joined([(square(0, 0, 10),), (square(20, 0, 10),)])
    assert [ring.tolist() for ring in apart] == [square(0, 0, 10).tolist(), square(20, 0, 10).tolist()]
    (one,) = joined([(square(0, 0, 10),), (square(5, 0, 10),)])
    assert area_of(one) == pytest.approx(150, abs=3)


def test_a_large_outline_is_joined_on_a_coarser_grid() -> None:
    (one,) = joined([(square(0, 0, 1500),), (square(100, 0, 1500),)])
    assert area_of(one) == pytest.approx(1600 * 1500, rel=0.01)


def test_repeated_corners_go() -> None:
    ring = np.array([[0.0, 0], [0, 0], [5, 0], [5, 5], [5, 5], [0, 0]])
    assert len(without_repeats(ring)) == 3


def test_overlap_is_intersection_over_union() -> None:
    one, other = LabelledMolecule("a", (square(0, 0, 10),)), LabelledMolecule("a", (square(5, 0, 10),))
    assert overlap_share(one, other) == pytest.approx(1 / 3)
    assert overlap_share(one, one) == 1
    assert overlap_share(one, other.moved((40, 0))) == 0
