"""The parts of training that need no network: settings, schedule, feed, checkpoints, log, average precision."""

from __future__ import annotations

import json
import logging
import math
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live.errors import SetupError
from spm_live.training.evaluation.matching import judge
from spm_live.training.evaluation.predictions import Prediction
from spm_live.training.labelled import LabelledMolecule, LabelledPicture
from spm_live.training.learning.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from spm_live.training.learning.feed import Feed, FeedError
from spm_live.training.learning.progress import Pace
from spm_live.training.learning.run_log import Table, read_rows
from spm_live.training.learning.schedule import rate_at, stage_of
from spm_live.training.learning.settings import (
    Stage,
    TrainingSettings,
    load_training_settings,
    training_settings_from,
)
from spm_live.training.learning.shown import widened
from spm_live.training.learning.stopping import Best, StopRequest
from spm_live.training.learning.validate import average_precision, summary


def test_all_problems_of_a_settings_file_are_listed_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text(
        """
        bach = 3
        weight_decay = -1
        [validation]
        patiense = 2
        [[stages]]
        name = "a"
        steps = 0
        rate = 1
        """
    )
    with pytest.raises(SetupError) as caught:
        load_training_settings(path)
    text = str(caught.value)
    assert "bach: no such setting; did you mean 'batch'?" in text
    assert "validation.patiense: no such setting; did you mean 'patience'?" in text
    assert "weight_decay" in text
    assert "stages.0.steps" in text


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"rows": 100}, "multiple of 32"),
        ({"network": {"backbone": "resnet50"}, "columns": 96 + 256}, "multiple of 64"),
        ({"network": {"chanels": 3}}, "chanels"),
        ({"network": {"classes": ["a"]}}, "beside network"),
        ({"classes": ["a", "a"]}, "twice"),
        ({"shown": {"overlap_px": 400}}, "half a tile"),
        ({"name": "../up"}, "name"),
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, object], told: str) -> None:
    with pytest.raises(SetupError, match=told):
        training_settings_from(values)


def test_a_relative_start_is_relative_to_its_file(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text('start_from = "models/first"')
    assert load_training_settings(path, {"batch": 2}).start_from == tmp_path.resolve() / "models/first"
    assert load_training_settings(path, {"batch": 2}).batch == 2
    path.write_text('start_from = "molecule-generic"')
    assert load_training_settings(path).start_from == Path("molecule-generic")


@given(
    stages=st.lists(st.tuples(st.integers(1, 300), st.floats(1e-6, 1)), min_size=1, max_size=4),
    warm_up=st.integers(0, 100),
)
def test_the_rate_is_positive_never_above_its_stage_and_rises_at_every_start(
    stages: list[tuple[int, float]], warm_up: int
) -> None:
    settings = TrainingSettings(
        stages=tuple(Stage(name="s", steps=steps, rate=rate) for steps, rate in stages), warm_up=warm_up
    )
    for step in range(settings.steps):
        number, start = stage_of(step, settings.stages)
        rate = rate_at(step, settings)
        assert 0 < rate <= settings.stages[number].rate
        if start < step <= start + min(warm_up, settings.stages[number].steps // 5):
            flat = settings.model_copy(update={"falling": "none"})
            assert rate_at(step, flat) > rate_at(step - 1, flat)


def test_the_rate_ends_where_it_should() -> None:
    settings = TrainingSettings(stages=(Stage(name="s", steps=1000, rate=0.1),), warm_up=0, last_rate=0.02)
    assert rate_at(0, settings) == pytest.approx(0.1)
    assert rate_at(500, settings) == pytest.approx(0.1 * (0.02 + 0.98 / 2))
    assert rate_at(999, settings) == pytest.approx(0.002, rel=1e-3)


def _square(step: int) -> int:
    return step * step


def _fails_at(bad: int, step: int) -> int:
    if step == bad:
        raise ValueError("no molecule")
    return step


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_order_whatever_the_number_of_workers(workers: int) -> None:
    with Feed(_square, 3, 40, workers=workers, ahead=4) as feed:
        assert list(feed) == [(step, step * step) for step in range(3, 40)]


def test_processes_give_the_same_batches() -> None:
    with Feed(_square, 0, 5, workers=1, kind="processes", ahead=2) as feed:
        assert list(feed) == [(step, step * step) for step in range(5)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failing_draw_is_raised_at_its_step_with_its_name(workers: int) -> None:
    with Feed(partial(_fails_at, 2), 0, 9, workers=workers) as feed:
        assert next(feed)[0] == 0
        assert next(feed)[0] == 1
        with pytest.raises(FeedError, match=r"step 2 .*ValueError: no molecule"):
            next(feed)


def test_no_more_than_so_many_batches_are_made_ahead() -> None:
    made: list[int] = []
    fourth = threading.Event()

    def draw(step: int) -> int:
        made.append(step)
        if len(made) == 4:
            fourth.set()
        return step

    with Feed(draw, 0, 1000, workers=1, ahead=3) as feed:
        assert next(feed) == (0, 0)
        assert fourth.wait(10)
        assert len(made) == 4  # one was taken, three wait
    assert len(made) == 4


def test_closing_ends_a_feed_that_is_still_drawing() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def draw(step: int) -> int:
        begun.set()
        assert go_on.wait(10)
        return step

    feed = Feed(draw, 0, 1000, workers=1, ahead=3)
    threading.Timer(0.0, lambda: (begun.wait(10), go_on.set())).start()
    assert next(feed) == (0, 0)
    feed.close()
    with pytest.raises(StopIteration):
        next(feed)


def test_a_slow_batch_is_told_and_waited_for(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("spm_live.training.learning.feed.SLOW_S", 0.01)
    told = threading.Event()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.set()

    handler = Told()
    logging.getLogger("spm_live.training.learning.feed").addHandler(handler)

    def draw(step: int) -> int:
        assert told.wait(10)
        return step

    try:
        with Feed(draw, 0, 1, workers=1) as feed:
            assert next(feed) == (0, 0)
    finally:
        logging.getLogger("spm_live.training.learning.feed").removeHandler(handler)
    assert "waiting for the pictures of step 0" in caplog.text


def _checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, {"best": step}, {"model/0": np.full((2, 3), step, dtype=np.float32)})


def test_a_checkpoint_comes_back_as_it_was_and_only_two_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15):
        save_checkpoint(tmp_path, _checkpoint(step))
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert (found.step, found.notes) == (15, {"best": 15})
    assert np.array_equal(found.arrays["model/0"], np.full((2, 3), 15))
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".json", ".npz", ".npz"]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _garble(path: Path) -> None:
    path.with_suffix(".json").write_text("{", encoding="utf-8")


def _empty(path: Path) -> None:
    path.with_suffix(".json").write_text("{}", encoding="utf-8")


@pytest.mark.parametrize("damage", [_cut, _flip, _garble, _empty, Path.unlink])
def test_a_damaged_checkpoint_is_told_and_the_one_before_is_taken(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    save_checkpoint(tmp_path, _checkpoint(5))
    last = save_checkpoint(tmp_path, _checkpoint(10))
    damage(last.with_suffix(".npz"))
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 5
    assert "checkpoint-000000010 is damaged" in caplog.text


def test_arrays_whose_notes_were_never_written_are_no_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, _checkpoint(5)).unlink()
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "nowhere") is None


def test_a_table_goes_on_where_training_does(tmp_path: Path) -> None:
    path = tmp_path / "steps.csv"
    table = Table(path, ["step", "loss"], until=0)
    for step in (10, 20, 30):
        table.add({"step": step, "loss": step / 10})
    table.close()
    table = Table(path, ["step", "loss"], until=20)
    table.add({"step": 30, "loss": float("nan")})
    table.close()
    rows = read_rows(path)
    assert [row["step"] for row in rows] == [10, 20, 30]
    assert rows[1]["loss"] == 2
    assert math.isnan(rows[2]["loss"])


def test_the_best_look_is_kept_and_looks_without_gain_are_counted() -> None:
    best = Best()
    looks = [(1, float("nan")), (2, 0.5), (3, 0.505), (4, 0.4), (5, 0.505), (6, 0.6)]
    assert [best.look(step, score, 0.01) for step, score in looks] == [True, True, True, False, True, True]
    assert (best.step, best.score, best.poor) == (6, 0.6, 0)
    assert not best.look(7, float("nan"))
    assert (best.step, best.poor) == (6, 1)


def test_small_gains_add_up_to_one() -> None:
    best = Best()
    for step, score in enumerate([0.5, 0.504, 0.508]):
        best.look(step, score, 0.01)
    assert best.poor == 2
    best.look(3, 0.512, 0.01)
    assert best.poor == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_ends(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.asked
        signal.raise_signal(number)
        assert stop.asked
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_the_pace_counts_the_time_of_looks_and_goes_on_after_a_pause() -> None:
    times = iter([0.0, 2.0, 4.0])
    pace = Pace(lambda: next(times))
    pace.start(100)
    pace.tick(101)
    pace.tick(102)
    assert pace.steps_per_s == pytest.approx(0.5)
    assert pace.left_s(10) == pytest.approx(20)
    assert pace.seconds == pytest.approx(4)


def _at(x: float, label: str = "a", *, ignore: bool = False) -> LabelledMolecule:
    ring = np.array([[x, 4], [x + 10, 4], [x + 10, 14], [x, 14]], dtype=np.float64)
    return LabelledMolecule(label, (ring,), ignore)


def _found(x: float, score: float, label: str = "a") -> Prediction:
    one = _at(x, label)
    return Prediction(label, score, one.box_px, one.rings)


def _plain_ap(hits: list[bool], asked: int) -> float:
    """Average precision spelt out: the best precision at each of 101 recalls."""
    total = 0.0
    for step in range(101):
        reached = [
            sum(hits[: n + 1]) / (n + 1) for n in range(len(hits)) if sum(hits[: n + 1]) / asked >= step / 100 - 1e-12
        ]
        total += max(reached, default=0.0)
    return total / 101


@given(hits=st.lists(st.booleans(), min_size=1, max_size=12), missed=st.integers(0, 5))
def test_average_precision_is_what_its_definition_says(hits: list[bool], missed: int) -> None:
    there = [_at(20 * n) for n, hit in enumerate(hits) if hit] + [_at(20 * (len(hits) + n)) for n in range(missed)]
    picture = LabelledPicture("p", np.zeros((20, 500), dtype=np.float32), tuple(there))
    judged = judge(picture, [_found(20 * n, 0.9 - n / 100) for n in range(len(hits))])
    value = average_precision([judged], "a", "box", 0.5)
    if there:
        assert value == pytest.approx(_plain_ap(hits, len(there)))
    else:
        assert math.isnan(value)


def test_the_summary_counts_each_class_and_forgives_what_is_ignored() -> None:
    molecules = (_at(0), _at(20), _at(40, "b"), _at(60, ignore=True))
    picture = LabelledPicture("p", np.zeros((20, 100), dtype=np.float32), molecules)
    found = [_found(0, 0.9), _found(20, 0.8), _found(40, 0.7, "b"), _found(60, 0.99)]
    perfect = summary([judge(picture, found)], ["a", "b", "never"])
    assert (perfect["box_ap"], perfect["mask_ap"], perfect["count_error"]) == (1, 1, 0)
    poor = summary([judge(picture, [_found(0, 0.9), _found(40, 0.7, "a")])], ["a", "b"])
    assert poor["box_ap50"] == pytest.approx(51 / 101 / 2)
    assert poor["count_error"] == pytest.approx(1 / 3)  # two a of two, no b of one


def test_notes_of_a_checkpoint_are_json_a_person_can_read(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, _checkpoint(7))
    assert json.loads(path.read_text(encoding="utf-8"))["step"] == 7


@given(st.floats(0.2, 8), st.floats(20, 60), st.floats(0, 1))
def test_widened_outlines_lie_further_out_by_as_much(by_px, side, shift):
    corner = 40 + shift
    square = np.array([[0, 0], [side, 0], [side, side], [0, side]]) + corner
    molecules = (LabelledMolecule("a", (square,)), LabelledMolecule("a", (square + 100,), ignore=True))
    picture = widened(LabelledPicture("p", np.zeros((220, 220), np.float32), molecules), by_px)
    wanted = (corner - by_px, corner - by_px, corner + side + by_px, corner + side + by_px)
    assert np.allclose(picture.molecules[0].box_px, wanted, atol=0.45)
    assert picture.molecules[1] is molecules[1]
