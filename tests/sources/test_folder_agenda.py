"""The agenda against a slow and obvious one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spm_live.sources.agenda import Agenda


class SlowAgenda:
    """Sorts everything every time."""

    def __init__(self) -> None:
        self.dates: dict[str, tuple[float, bool]] = {}

    def set(self, name: str, due: float, backlog: bool) -> None:
        self.dates[name] = (due, self.dates.get(name, (0, backlog))[1])

    def drop(self, name: str) -> None:
        self.dates.pop(name, None)

    def due_names(self, now: float) -> set[str]:
        """Names that may be taken: of the new ones the earliest, else of the backlog."""
        for backlog in (False, True):
            dates = {name: due for name, (due, old) in self.dates.items() if old is backlog and due <= now}
            if dates:
                return {name for name, due in dates.items() if due == min(dates.values())}
        return set()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from("abcdef"), st.integers(0, 20), st.booleans()),
        st.tuples(st.just("drop"), st.sampled_from("abcdef")),
        st.tuples(st.just("take"), st.integers(0, 20)),
    )
)


@given(STEPS)
def test_the_agenda_gives_what_the_slow_one_gives(steps):
    agenda, slow = Agenda(), SlowAgenda()
    for step in steps:
        if step[0] == "set":
            agenda.set(step[1], step[2], backlog=step[3])
            slow.set(step[1], step[2], step[3])
        elif step[0] == "drop":
            agenda.drop(step[1])
            slow.drop(step[1])
        else:
            taken, may = agenda.take(step[1]), slow.due_names(step[1])
            assert (taken in may) if may else taken is None
            slow.drop(taken or "")
        assert agenda.next_due() <= min((due for due, _ in slow.dates.values()), default=float("inf"))
        assert (agenda.next_due() == float("inf")) is (not slow.dates)


def test_what_was_put_off_goes_behind_what_is_due_before_it():
    agenda = Agenda()
    agenda.set("put off", 0)
    agenda.set("put off", 1)
    agenda.set("due", 0)
    assert [agenda.take(1), agenda.take(1)] == ["due", "put off"]


def test_a_date_put_off_a_thousand_times_costs_one_entry():
    agenda = Agenda()
    for due in range(1000):
        agenda.set("file", due)
    assert len(agenda._live) == 1
    assert agenda.take(998) is None
    assert agenda.take(999) == "file"
