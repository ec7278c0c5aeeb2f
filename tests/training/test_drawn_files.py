"""Drawn scans as files: read back as any lab's own, and taken up where they were broken off."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from spm_live.errors import SetupError
from spm_live.training.data import load_pictures
from spm_live.training.drawn import DrawnRecipe
from spm_live.training.drawn_files import RECIPE_FILE, write_synthetic
from spm_live_drivers.registry import read_frame

RECIPE = DrawnRecipe(rows=64, columns=64)


def test_what_is_written_loads_with_all_its_molecules(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    result = write_synthetic(tmp_path, 4, 7, RECIPE, told=lambda number, count: done.append((number, count)))
    assert (result.written, result.kept) == (4, 0)
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    loaded = load_pictures([tmp_path])
    assert len(loaded.pictures) == 4
    assert sum(not one.ignore for picture in loaded.pictures for one in picture.molecules) == result.molecules > 0
    assert set(loaded.classes) == {"molecule"}
    assert all(picture.nm_per_px for picture in loaded.pictures)


def test_outlines_of_files_lie_in_the_frame_that_was_scanned(tmp_path: Path) -> None:
    write_synthetic(tmp_path, 6, 1, RECIPE)
    for label_file in tmp_path.glob("*.json"):
        content = json.loads(label_file.read_text(encoding="utf-8"))
        frame = read_frame(label_file.with_name(content["imagePath"]))
        assert frame.data.shape == (content["imageHeight"], content["imageWidth"])
        rows = np.flatnonzero(np.isfinite(frame.data).any(axis=1))
        for shape in content["shapes"]:
            points = np.array(shape["points"])
            assert (points >= (0, rows[0])).all()
            assert (points <= (frame.data.shape[1], rows[-1] + 1)).all()


def test_a_broken_off_call_is_taken_up_and_ends_in_the_same_files(tmp_path: Path) -> None:
    once, twice = tmp_path / "once", tmp_path / "twice"
    write_synthetic(once, 4, 3, RECIPE)
    write_synthetic(twice, 2, 3, RECIPE)
    (twice / "drawn-3-000001.json").unlink()  # broken off between a scan and its labels
    result = write_synthetic(twice, 4, 3, RECIPE)
    assert (result.written, result.kept) == (3, 1)
    assert {path.name: path.read_bytes() for path in once.iterdir()} == {
        path.name: path.read_bytes() for path in twice.iterdir()
    }


def test_scans_of_another_recipe_or_seed_are_not_mixed_in(tmp_path: Path) -> None:
    write_synthetic(tmp_path, 1, 3, RECIPE)
    for seed, recipe in ((4, RECIPE), (3, DrawnRecipe(rows=64, columns=80))):
        with pytest.raises(SetupError, match=RECIPE_FILE):
            write_synthetic(tmp_path, 1, seed, recipe)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(SetupError) as caught:
        write_synthetic(tmp_path, 0, -1, RECIPE)
    assert len(caught.value.problems) == 2


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    place = tmp_path / "scans"
    place.write_text("", encoding="utf-8")
    with pytest.raises(SetupError, match="scans"):
        write_synthetic(place, 1, 0, RECIPE)
