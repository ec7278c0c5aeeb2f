"""The commands of the offline part, from typed words to files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from spm_live.cli import build_parser, main
from spm_live.cli.offline import _label_rule, _region
from spm_live.errors import SetupError


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A picture with six labelled discs of two classes."""
    folder = tmp_path / "labels"
    folder.mkdir()
    picture = np.full((200, 240), 60, dtype=np.uint8)
    shapes = []
    for number in range(6):
        x, y, radius = 40 + 70 * (number % 3), 50 + 90 * (number // 3), 14 + 6 * (number % 2)
        cv2.circle(picture, (x, y), radius, 200, -1)
        points = [[x + 0.5, y + 0.5], [x + 0.5 + radius, y + 0.5]]
        kind = "large" if number % 2 else "small"
        shapes.append({"label": f"{kind}{number // 2 + 1}", "points": points, "shape_type": "circle"})
    cv2.imwrite(str(folder / "a.png"), picture)
    labels = {"version": "5.0.1", "flags": {}, "shapes": shapes, "imagePath": "a.png", "imageData": None}
    (folder / "a.json").write_text(json.dumps(labels | {"imageHeight": 200, "imageWidth": 240}))
    return folder


def test_dataset_check_counts_and_draws(labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet = tmp_path / "sheet.png"
    assert main(["dataset", "check", str(labelled), "--sheet", str(sheet)]) == 0
    out = capsys.readouterr().out
    assert "class large: 3" in out
    assert "class small: 3" in out
    assert cv2.imread(str(sheet)) is not None


def test_dataset_check_tells_every_error_and_leaves_with_1(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (labelled / "empty.json").write_text("")
    (labelled / "alone.json").write_text(
        json.dumps({"version": "5", "shapes": [], "imagePath": "gone.png", "imageData": None})
    )
    assert main(["dataset", "check", str(labelled)]) == 1
    out = capsys.readouterr().out
    assert "empty.json" in out
    assert "gone.png" in out


def test_augment_writes_pictures_that_can_be_learnt_from(labelled: Path, tmp_path: Path) -> None:
    out, sheet = tmp_path / "more", tmp_path / "sheet.png"
    command = ["augment", str(labelled), "-o", str(out), "--count", "3", "--size", "128", "--preview", str(sheet)]
    assert main(command) == 0
    assert cv2.imread(str(sheet)) is not None
    assert len(list(out.glob("*.png"))) == 3
    assert main(["dataset", "check", str(out)]) == 0


def test_augment_without_a_goal_says_what_to_give(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["augment", str(labelled)]) == 2
    assert "--preview" in capsys.readouterr().err


def test_synthesize_draws_scans_with_labels(tmp_path: Path) -> None:
    assert main(["synthesize", "-o", str(tmp_path / "drawn"), "--count", "2", "--seed", "5", "--quiet"]) == 0
    assert len(list((tmp_path / "drawn").glob("*.sxm"))) == 2
    assert main(["dataset", "check", str(tmp_path / "drawn")]) == 0


def test_a_region_and_a_new_name_are_checked() -> None:
    region = _region("1,2,30,40,tile.png")
    assert (region.x1, region.y2, region.picture) == (1, 40, "tile.png")
    with pytest.raises(SetupError, match="--leave-out"):
        _region("1,2,3")
    parser = build_parser()
    rule = _label_rule(parser.parse_args(["dataset", "check", "x", "--rename", "003a=triangle"]))
    assert rule.rename == {"003a": "triangle"}
    with pytest.raises(SetupError, match="OLD=NEW"):
        _label_rule(parser.parse_args(["dataset", "check", "x", "--rename", "003a"]))


def test_an_unknown_preset_names_those_there_are(
    labelled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(labelled), "-o", str(tmp_path / "m"), "--config", "no-such"]) == 2
    assert "fine-tune" in capsys.readouterr().err
