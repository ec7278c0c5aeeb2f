from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from made_results import digest

from spm_live.publish.store import Store

FAKES = Path(__file__).parent / "fakes"


def save_and_kill(path: Path, first: int, acknowledged: int) -> list[int]:
    """Start a saving process, kill it after so many frames, and tell which it had acknowledged."""
    command = [sys.executable, str(FAKES / "save_until_killed.py"), str(path), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(acknowledged)]
        process.kill()
        lines += process.stdout.readlines()
    assert all(lines), "the saving process ended by itself"
    return [int(line) for line in lines if line.endswith("\n")]


def check_everything_once(path: Path, acknowledged: list[int], kills: int) -> None:
    with Store(path) as store:
        with store._database.read() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall()[0][0] == "ok"
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            parts = ("maps", "previews", "headers")
            rows = [connection.execute(f"SELECT count(*) FROM {part}").fetchone()[0] for part in ("frames", *parts)]
            assert len(set(rows)) == 1
        numbers = [int(Path(frame["source"]).stem) for frame in store.iter_frames()]
        assert len(numbers) == len(set(numbers))
        assert set(acknowledged) <= set(numbers)
        # Only the one in hand at a kill may be there without having been acknowledged.
        assert len(numbers) <= len(set(acknowledged)) + kills
        for frame, number in zip(store.iter_frames(), numbers, strict=True):
            assert len(frame["molecules"]) == frame["total"] == number % 7
            assert frame["sha256"] == digest(number)
            assert store.file_known(frame["source"], number, number)


def kill_rounds(path: Path, rounds: int, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged: list[int] = []
    for _ in range(rounds):
        # Begin a few frames back: a daemon that was killed finds its last files again.
        first = max(acknowledged[-1] - 3, 0) if acknowledged else 0
        acknowledged += save_and_kill(path, first, chance.randint(1, 40))
    check_everything_once(path, acknowledged, rounds)


def test_ten_kills_lose_and_double_nothing(tmp_path):
    kill_rounds(tmp_path / "s", rounds=10, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_kills_lose_and_double_nothing(tmp_path):
    kill_rounds(tmp_path / "s", rounds=100, seed=2)
