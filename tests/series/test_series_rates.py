"""How many links are right on drawn series whose truth is known: 98 % at least."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "measure_series.py"


def measured(folder: Path, *arguments: str) -> dict[str, dict[str, float]]:
    told = folder / "told.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--json", told, *arguments], capture_output=True, text=True, timeout=1500, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(told.read_text(encoding="utf-8"))


def test_links_of_two_small_series_are_right(tmp_path: Path) -> None:
    for scene, found in measured(tmp_path, "--seeds", "100:102", "--frames", "3", "--size", "20").items():
        assert found["links made"] > 20, scene
        assert found["stays linked rightly"] > 0.98, (scene, found)
        assert min(found["right of those made"], found["right of those"]) > 0.9, (scene, found)
        assert found["drift error 95 % nm"] < 0.1


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("sheared", [[], ["--sheared"]], ids=["still", "sheared"])
@pytest.mark.parametrize("found", ["truth", "model"])
def test_at_least_98_of_100_links_are_right(tmp_path: Path, found: str, sheared: list[str]) -> None:
    for scene, rates in measured(tmp_path, "--seeds", "100:125", "--found", found, *sheared).items():
        if scene == "layer":
            # Nobody can tell which neighbour of a vacancy filled it, so hops are a guess; and with nearly all vacancies
            # filled in each step, little but a few specks tells one lattice vector from another.
            assert rates["drifts wrong by over 0.5 nm"] <= 0.05 * rates["pairs of frames"], rates
            assert rates["stays linked rightly"] >= 0.95, rates
        else:
            assert rates["drifts wrong by over 0.5 nm"] == 0, (scene, rates)
            assert min(rates["right of those made"], rates["right of those"]) >= 0.98, (scene, rates)
