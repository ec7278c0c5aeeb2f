"""Which molecule is which, and what became of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from made_series import drifted, frame, molecules, scattered
from scipy.optimize import linear_sum_assignment

from spm_live.series import DriftField, FrameLinks, Link, LinkKind, SeriesFrame, follow, remember
from spm_live.series.links import ALONE_COST, pair_molecules
from spm_live.series.memory import MEMORY

PLACES = scattered(40, side_nm=18)
DRIFT = (0.9, -0.6)


def still(before: SeriesFrame, after: SeriesFrame) -> tuple[Link, ...]:
    """Links where nothing drifted."""
    field = DriftField.on(after.geometry, np.zeros(2))
    return pair_molecules(before, after, field, 0.02)


def told(links: FrameLinks | tuple[Link, ...]) -> dict[str, int]:
    links = links if isinstance(links, FrameLinks) else FrameLinks(1, links=links)
    return {kind: count for kind, count in links.counts.items() if count}


def shapes(places, first, **changed):
    """Molecules, some of their columns changed."""
    return molecules(places, first, **{name: np.asarray(value) for name, value in changed.items()})


def test_every_molecule_is_found_again_after_a_drift():
    before = frame(PLACES, 1)
    links = follow(before, frame(drifted(PLACES, DRIFT), 2))
    pairs = [
        (link.before, link.molecule) for link in links.links if link.before is not None and link.molecule is not None
    ]
    expected = drifted(before.molecules.xy_nm, DRIFT)
    after = frame(drifted(PLACES, DRIFT), 2).molecules.xy_nm
    assert all(np.allclose(expected[one], after[other]) for one, other in pairs)
    assert len(pairs) >= 36
    assert set(told(links)) == {"stayed"}
    assert links.minutes == 4.0


def test_a_molecule_that_hops_is_the_same_one():
    moved = PLACES.copy()
    moved[7] += [0.9, 0.7]
    links = follow(frame(PLACES, 1, found=molecules(PLACES, 100)), frame(moved, 2, found=molecules(moved, 200)))
    (hop,) = [link for link in links.links if link.kind is LinkKind.MOVED]
    assert (hop.before, hop.molecule, hop.track) == (7, 7, 107)
    assert np.allclose(hop.moved_nm, (0.9, 0.7), atol=0.05)
    assert told(links) == {"stayed": 39, "moved": 1}


def test_one_that_stayed_is_never_exchanged_for_two_that_hopped():
    row = np.array([[float(x), 0.0] for x in range(-6, 6)])
    after = np.concatenate([row[1:], [[6.0, 0.0]]])  # the first one jumped over all others, or every one moved by one
    links = still(frame(row, 1, drawn=False), frame(after, 2, drawn=False))
    assert told(links) == {"stayed": 11, "appeared": 1, "vanished": 1}


def test_a_turn_is_told_of_long_shapes_only():
    angles = np.array([0.0, 170.0, 10.0, 0.0, 0.0])
    later = np.array([30.0, 15.0, 170.0, 10.0, 90.0])
    places = scattered(5, side_nm=10)
    long = [1.6, 1.6, 1.6, 1.6, 1.1]
    before = frame(places, 1, found=shapes(places, 100, length_nm=long, orientation_deg=angles), drawn=False)
    after = frame(places, 2, found=shapes(places, 200, length_nm=long, orientation_deg=later), drawn=False)
    links = still(before, after)
    assert [str(link.kind) for link in links] == ["turned", "turned", "turned", "stayed", "stayed"]
    assert [link.turned_deg for link in links] == [30.0, 25.0, -20.0, 10.0, None]


def test_a_nearly_round_shape_must_turn_further():
    places = scattered(2, side_nm=10)
    angles = np.array([0.0, 0.0]), np.array([20.0, 35.0])
    before, after = (
        frame(
            places, n, found=shapes(places, 100 * n, length_nm=[1.2, 1.2], orientation_deg=angles[n - 1]), drawn=False
        )
        for n in (1, 2)
    )
    assert [str(link.kind) for link in still(before, after)] == ["stayed", "turned"]


def test_molecules_come_and_go_only_where_both_frames_looked():
    border = np.array([[9.9, 0.0], [-9.8, 9.8]])
    many, gone = np.concatenate([PLACES, border]), PLACES[2:]
    links = still(frame(many, 1, drawn=False), frame(gone, 2, drawn=False))
    assert told(links) == {"stayed": 38, "vanished": 2}
    links = still(frame(gone, 1, drawn=False), frame(many, 2, drawn=False))
    assert told(links) == {"stayed": 38, "appeared": 2}


def test_what_lies_outside_the_scanned_part_is_not_gone():
    before = frame(PLACES, 1, drawn=False)
    half = frame(PLACES, 2, drawn=False)
    upper = half.molecules.xy_nm[:, 1] > 0.1
    half = replace(half, complete_rows=64, molecules=half.molecules.take(upper))
    links = still(before, half)
    assert set(told(links)) == {"stayed"}
    assert len(links) == int(upper.sum())


def test_where_the_picture_did_not_change_nothing_came_or_went_or_hopped():
    found = molecules(PLACES[1:], 200)  # the detector missed the first one ...
    ghost = molecules(PLACES[:1] + np.array([0.9, 0.9]), 300)  # ... and found one where there is none
    both = type(found).together(found, ghost)
    links = follow(frame(PLACES, 1, found=molecules(PLACES, 100)), frame(PLACES, 2, found=both))
    assert told(links) == {"stayed": 39}
    blind = follow(
        frame(PLACES, 1, found=molecules(PLACES, 100), drawn=False), frame(PLACES, 2, found=both, drawn=False)
    )
    assert told(blind) == {"stayed": 39, "moved": 1}


def test_one_that_left_is_told_where_the_picture_changed():
    links = follow(
        frame(PLACES, 1, found=molecules(PLACES, 100)), frame(PLACES[1:], 2, found=molecules(PLACES[1:], 200))
    )
    (gone,) = [link for link in links.links if link.kind is LinkKind.VANISHED]
    assert (gone.before, gone.molecule, gone.track) == (0, None, 100)


def test_a_hop_keeps_its_class_but_a_wrong_name_at_its_place_is_forgiven():
    labels = np.array(["disc"] * 40)
    labels[3] = "rod"
    moved = PLACES.copy()
    moved[5] += [0.8, 0.8]
    other = labels.copy()
    other[3], other[5] = "disc", "rod"
    before = frame(PLACES, 1, found=molecules(PLACES, 100, labels=labels), drawn=False)
    after = frame(moved, 2, found=molecules(moved, 200, labels=other), drawn=False)
    links = still(before, after)
    pairs = {(link.before, link.molecule) for link in links}
    assert (3, 3) in pairs
    assert (5, 5) not in pairs
    assert {(5, None), (None, 5)} <= pairs


def test_a_track_goes_on_over_frames_that_missed_the_molecule():
    previous = remembered = frame(PLACES, 1, found=molecules(PLACES, 100))
    for number in range(2, 2 + MEMORY + 3):
        places = drifted(PLACES, np.array(DRIFT) * (number - 1) / 4)
        keep = np.ones(len(PLACES), np.bool_)
        keep[4] = number in {2, 2 + MEMORY + 2}
        keep[9] = number not in {3, 4}
        found = molecules(places[keep], 1000 * number)
        current = frame(places, number, found=found)
        links = follow(previous, current)
        remembered = remember(previous, current, links)
        previous = remembered
        tracks = remembered.molecules.tracks
        assert len(set(tracks.tolist())) == len(tracks)
        if keep[9]:
            assert 109 in tracks
    # Missed by more frames than are remembered: a new track.
    assert 104 not in remembered.molecules.tracks
    assert sum(100 <= track < 140 for track in remembered.molecules.tracks) == 39


def test_a_frame_without_drift_forgets_what_was_missed():
    before = remember(frame(PLACES, 1), frame(PLACES[1:], 2), follow(frame(PLACES, 1), frame(PLACES[1:], 2)))
    assert len(before.lost.molecules) == 1
    lost = frame(PLACES, 3, drawn=False, found=molecules(np.empty((0, 2))))
    links = follow(before, lost)
    assert (links.field, links.links) == (None, ())
    assert len(remember(before, lost, links).lost.molecules) == 0


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 7), st.integers(0, 7))
def test_capped_costs_pair_like_costs_with_a_place_for_the_lonely(seed, rows, columns):
    """The oracle: a square matrix in which every molecule may also stay alone, at half the price of two."""
    cost = np.random.default_rng(seed).uniform(0, 2 * ALONE_COST, (rows, columns))
    square = np.full((rows + columns, rows + columns), ALONE_COST / 2)
    square[:rows, :columns] = cost
    square[rows:, columns:] = 0
    one, other = linear_sum_assignment(square)
    slow = {(int(r), int(c)) for r, c in zip(one, other, strict=True) if r < rows and c < columns}
    capped = np.minimum(cost, ALONE_COST)
    one, other = linear_sum_assignment(capped)
    quick = {(int(r), int(c)) for r, c in zip(one, other, strict=True) if capped[r, c] < ALONE_COST}
    assert quick == slow


def test_a_frame_without_molecules_is_followed_too():
    empty = frame(PLACES, 2, found=molecules(np.empty((0, 2))))
    assert follow(frame(PLACES, 1), empty).method.startswith("pictures")
    assert follow(empty, frame(PLACES, 3)).field is not None
    assert follow(empty, empty).links == ()
