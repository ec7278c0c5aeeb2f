"""The soak test, in short; and that its verdict is one that can be bad."""

from __future__ import annotations

import importlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
NOON = datetime(2026, 11, 22, 12, 0)


@pytest.fixture
def soak_faults(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("soak_faults")


@pytest.fixture
def make_log(tmp_path: Path) -> Callable[..., Path]:
    """A log with one line a second from noon on."""

    def make(*texts: str) -> Path:
        path = tmp_path / "daemon.log"
        lines = [
            f"{NOON + timedelta(seconds=second)},250 INFO    spm_live.x: {text}" for second, text in enumerate(texts)
        ]
        path.write_text("\n".join([*lines, "Traceback (most recent call last):"]) + "\n")
        return path

    return make


@pytest.fixture
def soak_books(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("soak_books")


@pytest.fixture
def make_store(tmp_path: Path) -> Callable[..., Path]:
    """A store with rows of name, format and what superseded them."""

    def make(*rows: tuple[str, str, int | None]) -> Path:
        path = tmp_path / "store.sqlite3"
        with closing(sqlite3.connect(path)) as connection, connection:
            columns = "id INTEGER PRIMARY KEY, name TEXT, format TEXT, superseded_by INTEGER"
            connection.execute(f"CREATE TABLE frames ({columns})")
            connection.executemany("INSERT INTO frames (name, format, superseded_by) VALUES (?, ?, ?)", rows)
        return path

    return make


def test_a_line_names_one_fault_only_and_only_near_its_time(
    soak_faults: ModuleType, make_log: Callable[..., Path]
) -> None:
    log = make_log("watching", "rule done: notify: webhook at 127.0.0.1: answered 404", "x")

    def injected(second: float) -> object:
        return soak_faults.Injected("webhook-refuses", NOON + timedelta(seconds=second), f"at {second}")

    (one,) = soak_faults.naming([injected(0)], log)
    assert (one.good, one.named, one.unnamed) == (True, 1, ())
    assert one.example.endswith("answered 404")
    (two,) = soak_faults.naming([injected(0), injected(0.5)], log)
    assert (two.good, two.injected, two.named, len(two.unnamed)) == (False, 2, 1, 1)
    (late,) = soak_faults.naming([injected(5)], log)
    assert not late.good
    assert soak_faults.surprises(log) == ["Traceback (most recent call last):"]


def test_a_fault_that_must_be_seen_in_the_picture_may_be_missed_once_in_ten(soak_faults: ModuleType) -> None:
    def good(name: str, injected: int, named: int) -> bool | None:
        return soak_faults.Naming(name, injected, named, (), "").good

    assert [good("tip-change", 20, named) for named in (20, 18, 17)] == [True, True, False]
    assert [good("tip-change", 6, named) for named in (5, 4)] == [True, False]
    assert [good("tip-change", 2, named) for named in (2, 1)] == [True, None]
    assert [good("restart", 2, named) for named in (2, 1)] == [True, False]


def test_every_fault_is_planned_between_a_sound_first_and_a_sound_last_frame(soak_faults: ModuleType) -> None:
    for frames, share in ((20, 0.1), (500, 0.25), (60, 0.9)):
        faults = soak_faults.planned(frames, share, seed=3)
        assert {fault.name for fault in faults} == set(soak_faults.SIMULATED)
        assert len({fault.frame for fault in faults}) == len(faults) >= share * frames - 1
        assert all(1 < fault.frame < frames for fault in faults)
    assert soak_faults.planned(3, 1.0, seed=0)[0].frame == 2


def test_a_frame_that_is_lost_or_doubled_is_found(
    soak_books: ModuleType, make_store: Callable[..., Path], tmp_path: Path
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("a.sxm", "b.sxm", "c.sxm", "damaged_0001.sxm"):
        (scans / name).touch()
    times = [NOON.replace(tzinfo=UTC) + timedelta(minutes=minute) for minute in range(5)]
    history = [
        soak_books.Scanned(time, number, file, 128, finished=True)
        for number, (time, file) in enumerate(zip(times, ("a.sxm", "b.sxm", "c.sxm", ""), strict=False))
    ]
    announced = {f"scan-{number}": time + timedelta(seconds=30) for number, time in enumerate(times[:4])}
    store = make_store(
        ("a.sxm", "nanonis-sxm", None),
        ("b.sxm", "nanonis-sxm", 3),
        ("b.sxm", "nanonis-sxm", None),
        ("scan-3", "growing", None),
    )
    books = soak_books.audit(store, scans, history, announced)
    assert (books.files, books.stored, books.unsaved, books.kept) == (3, 2, 1, 1)
    assert books.wrong == ("c.sxm: no frame in the store",)
    announced["scan-3-again"] = times[4]
    with closing(sqlite3.connect(store)) as connection, connection:
        for name, form in (
            ("a.sxm", "nanonis-sxm"),
            ("d.sxm", "nanonis-sxm"),
            ("scan-1", "growing"),
            ("scan-3-again", "growing"),
            ("c.sxm", "growing"),
            ("never", "growing"),
        ):
            connection.execute("INSERT INTO frames (name, format) VALUES (?, ?)", (name, form))
    assert [line.split(":")[0] for line in soak_books.audit(store, scans, history, announced).wrong] == [
        "c.sxm",
        "a.sxm",
        "d.sxm",
        "scan-1",
        "scan-3-again",
        "c.sxm",
        "never",
    ]
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("DELETE FROM frames WHERE format = 'growing'")
    assert "scan 3: not saved, and not kept either" in soak_books.audit(store, scans, history, announced).wrong


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.name == "nt", reason="a worker that is killed and a daemon that is ended need signals")
def test_an_hour_of_scans_with_every_fault_once_loses_and_doubles_nothing(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPTS / "soak.py", "--frames", "20", "--hours", "1", "--model", "instant"]
    done = subprocess.run([*command, "--folder", tmp_path], capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the soak test is passed" in done.stdout
    assert "traceback" in done.stdout
