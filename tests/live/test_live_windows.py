"""Wherever the front is, the window shows what is not settled yet."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from spm_live.domain import InputSpec
from spm_live.live.windows import FEWEST_ROWS, WindowPlan


@st.composite
def plans(draw: st.DrawFn) -> WindowPlan:
    tile = draw(st.integers(16, 700))
    overlap = draw(st.integers(0, tile // 2))
    return WindowPlan.of(InputSpec(tile, 64, None, overlap), draw(st.integers(1, 1500)))


@given(plan=plans())
def test_no_row_is_left_between_what_is_settled_and_the_window(plan: WindowPlan) -> None:
    boundary, before = 0, 0
    for front in range(1, plan.rows + 1):
        top = plan.top(front)
        assert 0 <= top < front <= top + plan.tile_rows, "the front is in the window"
        assert top <= max(0, boundary - plan.slack), "what may be new is in the window, too"
        assert top >= before, "windows never go back"
        before = top
        if plan.settles(front):
            assert front - plan.margin > boundary
            boundary = front - plan.margin


@given(plan=plans())
def test_molecules_settle_every_eighth_of_a_tile_and_far_from_the_front(plan: WindowPlan) -> None:
    marks = [front for front in range(1, plan.rows + 1) if plan.settles(front)]
    assert all(later - earlier == plan.step for earlier, later in pairwise(marks))
    assert all(mark >= FEWEST_ROWS and mark < plan.rows for mark in marks)
    assert plan.step == max(1, plan.tile_rows // 8)


@given(plan=plans())
def test_the_last_window_ends_with_the_picture(plan: WindowPlan) -> None:
    assert plan.top(plan.rows) == max(0, plan.rows - plan.tile_rows)
    assert plan.worth_looking(plan.rows)
