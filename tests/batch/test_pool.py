"""The pool: every task ends exactly once, whatever it does to its worker."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from spm_live.batch.pool import Crash, WorkerPool
from spm_live.errors import SetupError


def test_every_task_is_answered_once_and_set_up_once_per_worker() -> None:
    with WorkerPool[int]("pool_works:doubles", 1, 2, chunk=4) as pool:
        outcomes = list(pool.run(range(50)))

    assert sorted(outcome.task for outcome in outcomes) == list(range(50))
    assert all(outcome.result == 2 * outcome.task + 1 for outcome in outcomes)


def test_a_task_that_kills_its_worker_is_tried_again_alone_and_then_given_up(tmp_path: Path) -> None:
    with WorkerPool[int]("pool_works:trips", str(tmp_path), 2, chunk=8) as pool:
        results = {outcome.task: outcome.result for outcome in pool.run([0, 1, 2, 3, 4, 7, 8, 9])}

    assert sorted(results) == [0, 1, 2, 3, 4, 7, 8, 9]
    assert isinstance(results[3], Crash)
    assert "died" in results[3].reason
    assert results[4] == 4, "killed once, done at the second try"
    assert (tmp_path / "3").read_text() == "xx"
    assert (tmp_path / "0").read_text() == "x", "what was answered before the crash is not done again"


def test_a_bug_is_told_with_its_traceback_and_costs_no_worker(tmp_path: Path) -> None:
    with WorkerPool[int]("pool_works:trips", str(tmp_path), 1) as pool:
        results = {outcome.task: outcome.result for outcome in pool.run([1, 5, 2])}

    assert results[1] == 1
    assert results[2] == 2
    assert results[5].reason == "ValueError: five is right out"
    assert "Traceback" in results[5].detail
    assert (tmp_path / "5").read_text() == "x"


def test_a_worker_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spm_live.batch.pool.START_LIMIT_S", math.inf)  # the next worker may take long to start
    hours = count(step=3600)

    def clock() -> float:
        """Stands still until the task has begun, then runs by the hour."""
        return float(next(hours)) if (tmp_path / "6").exists() else 0.0

    with WorkerPool[int]("pool_works:trips", str(tmp_path), 1, timeout_s=60.0, clock=clock) as pool:
        (outcome,) = pool.run([6])

    assert outcome.result == Crash("took longer than 60 s")


def test_what_keeps_workers_from_starting_is_raised_here() -> None:
    with WorkerPool[int]("pool_works:unfit", None, 2) as pool, pytest.raises(SetupError) as refused:
        list(pool.run([1]))
    assert refused.value.problems == ("no model", "no luck")
    with WorkerPool[int]("pool_works:broken", None, 2) as pool, pytest.raises(RuntimeError, match="bug at the start"):
        list(pool.run([1]))
    with WorkerPool[int]("pool_works:stillborn", None, 1) as pool, pytest.raises(RuntimeError, match="exit code 9"):
        list(pool.run([1]))


def test_workers_share_the_cores_unless_a_person_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    for own in (None, "7"):
        if own:
            monkeypatch.setenv("OPENBLAS_NUM_THREADS", own)
        else:
            monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
        with WorkerPool[int]("pool_works:threads", None, 1) as pool:
            told += [outcome.result for outcome in pool.run([0])]
        assert os.environ.get("OPENBLAS_NUM_THREADS") == own

    assert told == ["1", "7"]


def _counted(drawn: list[int]) -> Iterator[int]:
    for number in range(10_000):
        drawn.append(number)
        yield number


def _full(answered: list[int], limit: int) -> Callable[[], bool]:
    return lambda: len(answered) >= limit


def test_tasks_are_drawn_only_as_workers_come_free_and_not_after_a_stop() -> None:
    drawn: list[int] = []
    answered: list[int] = []
    with WorkerPool[int]("pool_works:doubles", 0, 2, chunk=4) as pool:
        for outcome in pool.run(_counted(drawn), _full(answered, 20)):
            answered.append(outcome.task)
            assert len(drawn) <= len(answered) + 2 * 4

    assert 20 <= len(answered) <= 28
    assert len(set(answered)) == len(answered)
