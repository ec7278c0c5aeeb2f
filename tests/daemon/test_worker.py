"""The worker process: what happens to a frame happens to it alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spm_live.daemon.worker import MakeWork, Worker, WorkerCrashError
from spm_live.domain import ReadOptions
from spm_live.errors import FrameError, NotReadyError, SetupError
from spm_live.find import Job
from spm_live.settings import ModelSettings


@pytest.fixture
def worker(make_work: MakeWork) -> Iterator[Worker]:
    worker = Worker(ModelSettings(name="fake"), make_work)
    yield worker
    worker.stop()


@pytest.fixture
def job(tmp_path: Path):
    def write(text: str) -> Job:
        path = tmp_path / text
        path.write_text(text)
        return Job(path, ReadOptions())

    return write


def test_a_result_comes_back_whole(worker: Worker, job) -> None:
    processed = worker.process(job("ok"), timeout_s=20)
    assert processed.map.frame.ref.name == "ok"
    assert processed.preview_png == b"preview"
    assert worker.identity.name == "fake"
    assert worker.classes == ("molecule",)


def test_a_frame_error_comes_back_as_it_was_raised(worker: Worker, job) -> None:
    with pytest.raises(FrameError, match="the header says so") as caught:
        worker.process(job("fault"), timeout_s=20)
    assert caught.value.stage == "read"
    assert caught.value.ref.name == "fault"
    with pytest.raises(NotReadyError):
        worker.process(job("wait"), timeout_s=20)


def test_a_bug_comes_back_with_its_traceback_and_the_worker_lives(worker: Worker, job) -> None:
    with pytest.raises(WorkerCrashError, match="ZeroDivisionError") as caught:
        worker.process(job("bug"), timeout_s=20)
    assert "spm_live_fake_work.py" in caught.value.detail
    assert not caught.value.died
    assert worker.process(job("ok"), timeout_s=20).map.total == 0


def test_a_crash_is_told_and_the_next_frame_is_worked_on(worker: Worker, job) -> None:
    with pytest.raises(WorkerCrashError, match="ended with code 9") as caught:
        worker.process(job("crash"), timeout_s=20)
    assert caught.value.died
    assert worker.process(job("ok"), timeout_s=20).map.total == 0


def test_a_frame_that_hangs_is_stopped_and_the_next_is_worked_on(worker: Worker, job) -> None:
    with pytest.raises(WorkerCrashError, match=r"took longer than 0\.3 s"):
        worker.process(job("hang"), timeout_s=0.3)
    assert worker.process(job("ok"), timeout_s=20).map.total == 0


def test_waiting_can_be_given_up(worker: Worker, job) -> None:
    with pytest.raises(InterruptedError):
        worker.process(job("hang"), timeout_s=60, give_up=lambda: True)


def test_every_problem_of_a_model_is_told(make_work: MakeWork) -> None:
    with pytest.raises(SetupError) as caught:
        Worker(ModelSettings(name="broken"), make_work)
    assert len(caught.value.problems) == 2


def test_a_worker_that_dies_at_the_start_is_a_setup_error(make_work: MakeWork) -> None:
    with pytest.raises(SetupError, match="ended with code 9"):
        Worker(ModelSettings(name="deadly"), make_work)


def test_stopping_twice_does_no_harm(make_work: MakeWork) -> None:
    worker = Worker(ModelSettings(name="fake"), make_work)
    worker.stop()
    worker.stop()
