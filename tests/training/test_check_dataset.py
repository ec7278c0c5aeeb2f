"""The report on a data set, and its contact sheet."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from spm_live.errors import SetupError
from spm_live.training.data import check_dataset, draw_sheet, write_sheets
from spm_live.training.data.sheet import PER_SHEET, TITLE_PX, UNSCANNED, colours_of
from spm_live.training.labelled import LabelledMolecule, LabelledPicture


def test_the_papers_data_are_reported_and_drawn(data_dir: Path, tmp_path: Path) -> None:
    report = check_dataset([data_dir / "molecules"], sheet=tmp_path / "sheet.png")
    assert report.ok
    assert [(one.label, one.count, one.pictures) for one in report.classes] == [("003a", 32, 2), ("020a", 66, 2)]
    least, median, most = report.classes[0].side_px
    assert 50 < least < median < most < 80
    assert report.classes[0].side_nm is None
    assert report.nm_per_px is None
    assert [(first, second) for first, second, _ in report.overlaps] == [("00-cut.png", "1.png")]
    told = "\n".join(report.lines())
    assert "1.png: 612 x 612 px, scale unknown, 76 molecules" in told
    assert "shares 76 x 309 px" in told
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet is not None
    for colour in colours_of(["003a", "020a"]).values():
        assert (np.abs(sheet.astype(int) - colour).sum(axis=2) == 0).sum() > 1000


def write(folder: Path, name: str, side: float, scale: float | None, size: int = 300) -> None:
    image = np.random.default_rng(len(name)).integers(0, 255, (size, size)).astype(np.uint8)
    cv2.imwrite(str(folder / f"{name}.png"), image)
    if scale is not None:
        (folder / f"{name}.png.json").write_text(json.dumps({"nm_per_px": scale}))
    shapes = [
        {"label": "a", "shape_type": "rectangle", "points": [[x, x], [x + side, x + side]]} for x in (10.0, 20 + side)
    ]
    (folder / f"{name}.json").write_text(json.dumps({"shapes": shapes, "imagePath": f"{name}.png"}))


def test_sizes_in_nm_and_a_pitch_are_given_where_the_scale_is_known(tmp_path: Path) -> None:
    write(tmp_path, "one", 24, 0.1)
    write(tmp_path, "second", 48, 0.05)
    report = check_dataset([tmp_path])
    (summary,) = report.classes
    assert summary.side_px == (24, 36, 48)
    assert summary.side_nm == pytest.approx((2.4, 2.4, 2.4))
    assert report.nm_per_px == pytest.approx(2.4 / 48)
    write(tmp_path, "third one", 48, None)
    assert check_dataset([tmp_path]).nm_per_px is None


def test_molecules_far_too_small_or_too_large_are_told_and_anchors_follow(tmp_path: Path) -> None:
    write(tmp_path, "one", 6, None)
    assert any("6 px wide" in problem.text for problem in check_dataset([tmp_path]).problems)
    write(tmp_path, "one", 220, None, size=500)
    report = check_dataset([tmp_path])
    assert any("220 px wide" in problem.text for problem in report.problems)
    assert max(size for level in report.anchor_sizes for size in level) == pytest.approx(220, rel=0.05)


def test_errors_come_first_and_nothing_is_raised(tmp_path: Path) -> None:
    write(tmp_path, "one", 24, None)
    (tmp_path / "two.json").write_text("")
    report = check_dataset([tmp_path], sheet=tmp_path / "sheet.png")
    assert not report.ok
    assert report.problems[0].text.startswith("the file is empty")
    assert len(report.pictures) == 1
    assert report.sheets == (tmp_path / "sheet.png",)


def test_nothing_at_all_is_a_report_too(tmp_path: Path) -> None:
    report = check_dataset([tmp_path], sheet=tmp_path / "sheet.png")
    assert not report.ok
    assert report.sheets == ()


def square(x: float, y: float, side: float) -> np.ndarray:
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])


def test_outlines_lie_where_they_are_and_unscanned_pixels_look_unlike_any_grey() -> None:
    image = np.full((64, 64), 0.5, dtype=np.float32)
    image[:8] = np.nan
    picture = LabelledPicture("α.png", image, (LabelledMolecule("a", (square(20, 30, 16),)),))
    sheet = draw_sheet([picture], ["a"])
    cell = sheet[30 + TITLE_PX :, 10:][:640, :640]  # enlarged ten times
    drawn = np.argwhere((cell == colours_of(["a"])["a"]).all(axis=2))
    assert drawn.min(axis=0) == pytest.approx((300, 200), abs=2)
    assert drawn.max(axis=0) == pytest.approx((460, 360), abs=2)
    assert tuple(cell[30, 300].tolist()) == UNSCANNED
    assert tuple(cell[600, 600].tolist()) == (127, 127, 127)


def test_many_pictures_go_on_several_sheets(tmp_path: Path) -> None:
    image = np.zeros((40, 900), dtype=np.float32)
    pictures = [LabelledPicture(str(number), image, ()) for number in range(PER_SHEET + 1)]
    written = write_sheets(pictures, [], tmp_path / "deep" / "sheet.png")
    assert [path.name for path in written] == ["sheet.png", "sheet-2.png"]
    assert all(path.is_file() for path in written)


def test_a_sheet_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    picture = LabelledPicture("a", np.zeros((40, 40), dtype=np.float32), ())
    with pytest.raises(SetupError, match="cannot be written"):
        write_sheets([picture], [], tmp_path / "file" / "sheet.png")
