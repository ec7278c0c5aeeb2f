"""Label files of labelme, as they are found: what is read, what is mended, what is refused."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from spm_live.errors import SetupError
from spm_live.training.data import (
    LabelRule,
    Loaded,
    PictureOptions,
    Severity,
    load_pictures,
    survey_pictures,
    to_labelme,
)
from spm_live.training.data.outlines import area_of
from spm_live.training.labelled import LabelledMolecule, LabelledPicture, mask_of

ROWS, COLUMNS = 80, 100


def picture(rows: int = ROWS, columns: int = COLUMNS, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns)).astype(np.uint8)


def encoded(image: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def shape(label: str, points: list[list[float]], kind: str | None = "polygon", **more: Any) -> dict[str, Any]:
    drawn = {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}}
    return drawn | more


def box(x: float, y: float, side: float = 10) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write_one(*shapes: dict[str, Any], name: str = "a", image: bytes | None = None, **more: Any) -> Path:
        (tmp_path / f"{name}.png").write_bytes(encoded(picture()) if image is None else image)
        content = {
            "version": "5.0.1",
            "flags": {},
            "shapes": list(shapes),
            "imagePath": f"{name}.png",
            "imageData": None,
            "imageHeight": ROWS,
            "imageWidth": COLUMNS,
        }
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(content | more), encoding="utf-8")
        return path

    return write_one


def texts(loaded: Loaded, severity: Severity) -> list[str]:
    return [problem.text for problem in loaded.problems if problem.severity is severity]


def area(molecule: LabelledMolecule) -> float:
    return sum(area_of(ring) for ring in molecule.rings)


def test_the_papers_labels_are_read_as_they_were_drawn(data_dir: Path) -> None:
    loaded = load_pictures([data_dir / "molecules"])
    assert loaded.classes == ("003a", "020a")
    sizes = {one.name: (one.image.shape, len(one.molecules)) for one in loaded.pictures}
    assert sizes == {"00-cut.png": ((320, 320), 22), "1.png": ((612, 612), 76)}
    content = json.loads((data_dir / "molecules" / "1.json").read_text())
    tile = loaded.pictures[1]
    for drawn, molecule in zip(content["shapes"], tile.molecules, strict=True):
        assert np.array_equal(molecule.rings[0], np.array(drawn["points"]))
        assert drawn["label"].startswith(molecule.label)
    for one in loaded.pictures:
        assert one.image.dtype == np.float32
        assert (one.image.min(), one.image.max()) == (0, 1)
        assert one.nm_per_px is None


def test_what_is_drawn_lies_on_bright_molecules(data_dir: Path) -> None:
    """Outlines that were shifted by a few pixels, or turned over, would not."""
    for one in load_pictures([data_dir / "molecules"]).pictures:
        inside = np.zeros(one.image.shape, dtype=bool)
        for molecule in one.molecules:
            inside |= mask_of(molecule, one.image.shape)
        right = one.image[inside].mean() - one.image[~inside].mean()
        assert right > 0.35
        for turned in (inside[::-1], inside[:, ::-1], np.roll(inside, 12, axis=0), np.roll(inside, 12, axis=1)):
            assert one.image[turned].mean() - one.image[~turned].mean() < 0.85 * right


@pytest.mark.parametrize(
    "changes",
    [
        {"version": "3.16.2", "lineColor": [0, 255, 0, 128], "fillColor": [255, 0, 0, 128]},
        {"version": "4.5.6"},
        {"version": "6.1.0", "description": ""},
        {"imageHeight": None, "imageWidth": None},
        {"version": None, "flags": None},
    ],
)
def test_every_version_is_read(write: Callable[..., Path], changes: dict[str, Any]) -> None:
    drawn = {"label": "a", "points": box(20, 30), "line_color": None, "fill_color": None}  # as version 3 has it
    loaded = load_pictures([write(drawn, **changes)])
    assert loaded.pictures[0].molecules[0].box_px == (20, 30, 30, 40)


def test_every_kind_of_shape_becomes_an_outline(write: Callable[..., Path]) -> None:
    pixels = np.zeros((6, 8), dtype=np.uint8)
    pixels[1:5, 2:7] = 255
    mask = base64.b64encode(encoded(pixels)).decode()
    loaded = load_pictures(
        [
            write(
                shape("polygon", [[1, 1], [9, 1], [9, 9]]),
                shape("rectangle", [[30, 12], [20, 2]], "rectangle"),
                shape("rectangle", box(40, 2), "rectangle"),
                shape("circle", [[60, 40], [60, 48]], "circle"),
                shape("turned", [[80, 10], [85, 15], [80, 20], [75, 15]], "oriented_rectangle"),
                shape("turned", [[80, 40], [85, 45], [80, 50], [75, 45]], "rotation"),
                shape("mask", [[10, 50], [17, 55]], "mask", mask=mask),
            )
        ]
    )
    found = loaded.pictures[0].molecules
    assert [round(area(one)) for one in found][1:3] == [100, 100]
    assert area(found[3]) == pytest.approx(math.pi * 64, abs=0.01)
    assert found[1].box_px == (20, 2, 30, 12)
    expected = np.zeros((ROWS, COLUMNS), dtype=bool)
    expected[51:55, 12:17] = True
    assert np.array_equal(mask_of(found[6], (ROWS, COLUMNS)), expected)


def test_pieces_of_a_group_are_one_molecule(write: Callable[..., Path]) -> None:
    loaded = load_pictures(
        [
            write(
                shape("a", box(10, 10), group_id=3),
                shape("a", box(40, 10), group_id=3),
                shape("b", box(60, 10), group_id=3),
                shape("b", box(10, 40)),
                shape("a", box(40, 40)),
            )
        ]
    )
    found = loaded.pictures[0].molecules
    assert [one.label for one in found] == ["a", "b", "b", "a"]
    assert len(found[0].rings) == 2
    assert area(found[0]) == 200


def test_the_flag_and_the_label_ignore_are_heeded(write: Callable[..., Path]) -> None:
    flagged = shape("a", box(10, 10), flags={"ignore": True})
    loaded = load_pictures([write(flagged, shape("ignore", box(40, 40)), shape("a", box(60, 10)))])
    assert [one.ignore for one in loaded.pictures[0].molecules] == [True, True, False]
    assert loaded.classes == ("a",)


@pytest.mark.parametrize("told", ["..\\scans\\a.png", "D:\\lab\\2026\\a.png", "/home/x/a.png", "A.PNG", "a.bmp"])
def test_a_path_of_another_system_is_found(write: Callable[..., Path], told: str) -> None:
    assert len(load_pictures([write(shape("a", box(10, 10)), imagePath=told)]).pictures) == 1


def test_a_folder_of_pictures_beside_that_of_labels_is_found(write: Callable[..., Path], tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    path = write(shape("a", box(10, 10)), imagePath="..\\a.png").rename(labels / "a.json")
    assert load_pictures([path]).pictures[0].image.shape == (ROWS, COLUMNS)


@pytest.mark.parametrize("suffix", [".bmp", ".jpg", ".tif"])
def test_the_content_decides_and_not_the_suffix(write: Callable[..., Path], suffix: str) -> None:
    path = write(shape("a", box(10, 10)), image=encoded(picture(), suffix))
    assert load_pictures([path]).pictures[0].image.shape == (ROWS, COLUMNS)


def test_a_name_that_lies_is_seen_through_by_the_embedded_picture(write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "other.png").write_bytes(encoded(picture(seed=7)))
    embedded = base64.b64encode(encoded(picture(), ".jpg")).decode()
    loaded = load_pictures([write(shape("a", box(10, 10)), imagePath="other.png", imageData=embedded)])
    honest = load_pictures([write(shape("a", box(10, 10)))])
    assert np.array_equal(loaded.pictures[0].image, honest.pictures[0].image)
    assert any("names other.png; a.png is taken" in text for text in texts(loaded, Severity.REPAIRED))


def test_a_doubtful_name_without_an_embedded_picture_is_told(write: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "other.png").write_bytes(encoded(picture(seed=7)))
    loaded = load_pictures([write(shape("a", box(10, 10)), imagePath="other.png")])
    assert any("was a.png meant" in text for text in texts(loaded, Severity.WARNING))


def test_the_embedded_picture_is_taken_where_there_is_no_other(write: Callable[..., Path], tmp_path: Path) -> None:
    embedded = base64.b64encode(encoded(picture())).decode()
    path = write(shape("a", box(10, 10)), imageData=embedded)
    whole = load_pictures([path]).pictures[0].image
    (tmp_path / "a.png").unlink()
    loaded = load_pictures([path])
    assert np.array_equal(loaded.pictures[0].image, whole)
    assert any("stands in the file itself" in text for text in texts(loaded, Severity.REPAIRED))


def test_pictures_of_all_depths_and_sizes_are_grey_between_0_and_1(tmp_path: Path) -> None:
    grey = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    deep = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
    kinds = {
        "eight": grey,
        "sixteen": deep,
        "rgb": np.repeat(grey[:, :, None], 3, axis=2),
        "rgba": np.dstack([grey, grey, grey, np.full_like(grey, 255)]),
        "large": np.tile(grey, (3, 2)),
    }
    for name, image in kinds.items():
        (tmp_path / f"{name}.png").write_bytes(encoded(image))
        drawn = {"shapes": [shape("a", box(10, 10)), shape("a", box(30, 10))], "imagePath": f"{name}.png"}
        (tmp_path / f"{name}.json").write_text(json.dumps(drawn))
    loaded = load_pictures([tmp_path])
    ramp = next(one.image for one in loaded.pictures if one.name == "sixteen.png")
    for one in loaded.pictures:
        assert (one.image.dtype, one.image.min(), one.image.max()) == (np.float32, 0, 1)
        if one.name != "large.png":
            assert np.abs(one.image - ramp).max() < 0.01


def test_a_raw_file_with_its_scale_can_be_labelled(data_dir: Path, tmp_path: Path) -> None:
    raw = data_dir / "nanonis" / "Image_412.sxm"
    drawn = {"shapes": [shape("a", box(10, 10)), shape("a", box(30, 10))], "imagePath": str(raw)}
    path = tmp_path / "Image_412.json"
    path.write_text(json.dumps(drawn))
    (one,) = load_pictures([path]).pictures
    assert one.nm_per_px == pytest.approx(10 / one.image.shape[1], rel=0.01)
    assert (np.nanmin(one.image), np.nanmax(one.image)) == (0, 1)
    assert np.std(np.nanmedian(one.image, axis=1)) < 0.1  # levelled


def test_a_scale_that_is_given_goes_to_pictures_without(write: Callable[..., Path]) -> None:
    path = write(shape("a", box(10, 10)))
    assert load_pictures([path]).pictures[0].nm_per_px is None
    assert load_pictures([path], options=PictureOptions(nm_per_px=0.05)).pictures[0].nm_per_px == 0.05


def test_pixels_that_are_not_square_are_made_so_with_their_outlines(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(shape("a", box(10, 10)))
    (tmp_path / "a.png.json").write_text(json.dumps({"nm_per_px": [0.1, 0.2]}))
    (one,) = load_pictures([path]).pictures
    assert one.image.shape == (2 * ROWS, COLUMNS)
    assert one.nm_per_px == pytest.approx(0.1)
    assert one.molecules[0].box_px == (10, 20, 20, 40)


@pytest.mark.parametrize(
    ("drawn", "why"),
    [
        (shape("a", [[10, 10], [20, 20]]), "two corners"),
        (shape("a", []), "no corner"),
        (shape("a", [[10, 10], [20, 20], [10, 10], [20, 20]]), "less than a pixel"),
        (shape("a", [[5, 5], [10, 10], [20, 20]]), "less than a pixel"),
        (shape("a", [[5, 5], [5, 5], [5, 5]]), "different corners"),
        (shape("a", [[10, 10], [20, float("nan")], [20, 20]]), "two finite numbers"),
        (shape("a", [[10, 10], [20, float("inf")], [20, 20]]), "two finite numbers"),
        (shape("a", [[10, 10, 0], [20, 10, 0], [20, 20, 0]]), "two finite numbers"),
        (shape("a", box(500, 10)), "outside the picture"),
        (shape("a", box(-60, -60)), "outside the picture"),
        (shape("a", box(0, 0), "rectangle") | {"points": [[1, 1], [2, 2], [3, 3]]}, "rectangle of 3 points"),
        (shape("a", [[1, 1]], "circle"), "circle of 1 points"),
        (shape("a", box(1, 1)[:3], "oriented_rectangle"), "of 3 points"),
        (shape("a", [[1, 1]], "point"), "has no area"),
        (shape("a", [[1, 1], [9, 9]], "linestrip"), "has no area"),
        (shape("a", box(1, 1), "ellipse"), "'ellipse'"),
        (shape("", box(1, 1)), "has no label"),
        (shape("a", [[1, 1], [9, 9]], "mask"), "without its picture"),
        (shape("a", [[1, 1], [9, 9]], "mask", mask="AAAA"), "no PNG"),
        (shape("a", [[1, 1], [9, 9]], "mask", mask=base64.b64encode(encoded(picture(3, 3))).decode()), "3 x 3 px in"),
        ("nothing", "not a shape"),
    ],
)
def test_a_shape_that_cannot_be_meant_is_an_error_that_names_it(
    write: Callable[..., Path], drawn: Any, why: str
) -> None:
    path = write(shape("a", box(40, 40)), drawn)
    with pytest.raises(SetupError) as caught:
        load_pictures([path])
    (problem,) = caught.value.problems
    assert problem.startswith(f"error: {path}, molecule 2: ")
    assert why in problem


def test_a_mask_that_claims_more_than_its_bytes_is_refused_before_it_is_decoded(write: Callable[..., Path]) -> None:
    png = bytearray(encoded(picture(3, 3)))
    png[16:24] = (60_000).to_bytes(4, "big") + (60_000).to_bytes(4, "big")
    drawn = shape("a", [[0, 0], [2, 2]], "mask", mask=base64.b64encode(png).decode())
    assert "claims 60000 x 60000" in texts(survey_pictures([write(drawn)]), Severity.ERROR)[0]


def test_an_outline_that_sticks_out_is_cut_at_the_border(write: Callable[..., Path]) -> None:
    loaded = load_pictures([write(shape("a", box(COLUMNS - 5, 20)), shape("a", box(-0.4, 50)))])
    first, second = loaded.pictures[0].molecules
    assert first.box_px == (COLUMNS - 5, 20, COLUMNS, 30)
    assert second.box_px[0] == 0
    assert [text for text in texts(loaded, Severity.REPAIRED) if "sticks out" in text] == [
        "(a) sticks out of the picture by 5 px: cut at its border"
    ]


def test_an_outline_that_crosses_itself_keeps_its_largest_part(write: Callable[..., Path]) -> None:
    loaded = load_pictures([write(shape("a", [[10, 10], [40, 40], [40, 10], [10, 34]]))])
    (molecule,) = loaded.pictures[0].molecules
    assert len(molecule.rings) == 1
    assert any("crosses itself" in text for text in texts(loaded, Severity.REPAIRED))


def test_one_molecule_labelled_twice_is_taken_once(write: Callable[..., Path]) -> None:
    loaded = load_pictures(
        [write(shape("a1", box(10, 10, 20)), shape("a2", box(10.2, 10, 20)), shape("a3", box(60, 9)))]
    )
    assert len(loaded.pictures[0].molecules) == 2
    (told,) = [problem for problem in loaded.problems if "once more" in problem.text]
    assert (told.molecule, told.severity) == (1, Severity.REPAIRED)


def test_one_molecule_of_two_classes_is_an_error(write: Callable[..., Path]) -> None:
    with pytest.raises(SetupError, match="labelled a as molecule 1, too"):
        load_pictures([write(shape("a", box(10, 10, 20)), shape("b", box(10, 10, 20)))])


def test_molecules_where_nothing_was_scanned_are_ignored(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((60, 60)).astype(np.float32)
    values[30:] = np.nan
    np.save(tmp_path / "a.npy", values)
    drawn = {"shapes": [shape("a", box(5, 5)), shape("a", box(20, 35)), shape("a", box(40, 22))], "imagePath": "a.npy"}
    (tmp_path / "a.json").write_text(json.dumps(drawn))
    loaded = load_pictures([tmp_path])
    assert [one.ignore for one in loaded.pictures[0].molecules] == [False, True, False]
    assert np.isnan(loaded.pictures[0].image[30:]).all()
    assert any("nothing was scanned" in text for text in texts(loaded, Severity.REPAIRED))


def test_a_picture_without_a_scanned_pixel_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((60, 60), np.nan, dtype=np.float32))
    (tmp_path / "a.json").write_text(json.dumps({"shapes": [shape("a", box(5, 5))], "imagePath": "a.npy"}))
    with pytest.raises(SetupError, match="no pixel of it was scanned"):
        load_pictures([tmp_path])


def test_a_class_with_one_example_is_told(write: Callable[..., Path]) -> None:
    loaded = load_pictures([write(shape("a", box(10, 10)), shape("b", box(30, 10)), shape("b", box(50, 10)))])
    assert next(text for text in texts(loaded, Severity.WARNING) if "one example" in text).startswith("class a has")


def test_the_rule_for_labels_is_applied(write: Callable[..., Path]) -> None:
    path = write(shape("x1", box(10, 10)), shape("x2", box(30, 10)), shape("dirt", box(50, 10)))
    loaded = load_pictures([path], label_rule=LabelRule(rename={"x": "molecule"}, leave_out=("dirt",)))
    assert [one.label for one in loaded.pictures[0].molecules] == ["molecule", "molecule"]


def test_all_errors_of_all_files_are_told_at_once(write: Callable[..., Path], tmp_path: Path) -> None:
    write(shape("a", [[1, 1], [2, 2]]), shape("b", box(900, 900)), name="one")
    write(shape("a", box(10, 10)), name="two")
    (tmp_path / "two.png").unlink()
    (tmp_path / "three.json").write_bytes(b"")
    (tmp_path / "four.json").write_text('{"shapes": [')
    write(shape("a", box(10, 10)), name="five", image=encoded(picture(20, 20)))
    write(shape("a", box(10, 10)), name="six", image=b"no picture at all")
    (tmp_path / "seven.json").write_bytes(b'{"shapes": ["\xff"]}')
    with pytest.raises(SetupError) as caught:
        load_pictures([tmp_path, tmp_path / "absent"])
    told = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 9
    for part in (
        "one.json, molecule 1: (a) has two corners",
        "one.json, molecule 2: (b) lies outside",
        "two.json: its picture two.png was not found",
        "three.json: the file is empty",
        "four.json: is no JSON",
        "five.json: its picture five.png cannot be used",
        "20 x 20 px, the outlines are drawn on 100 x 80",
        "six.json: its picture six.png cannot be used",
        "seven.json: is no text in UTF-8",
        "absent: is not there",
    ):
        assert part in told


def test_a_picture_may_be_named_instead_of_its_label_file(write: Callable[..., Path], tmp_path: Path) -> None:
    write(shape("a", box(10, 10)), shape("a", box(30, 10)))
    assert len(load_pictures([tmp_path / "a.png"]).pictures) == 1
    (tmp_path / "bare.png").write_bytes(encoded(picture()))
    with pytest.raises(SetupError, match=r"has no label file bare\.json beside it"):
        load_pictures([tmp_path / "bare.png"])


def test_a_file_named_twice_counts_once(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write(shape("a", box(10, 10)))
    assert len(load_pictures([path, tmp_path, tmp_path / "a.png"]).pictures) == 1


def test_what_is_no_label_file_is_passed_over_in_a_folder_and_refused_by_name(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    write(shape("a", box(10, 10)))
    other = tmp_path / "manifest.json"
    other.write_text("{}")
    (tmp_path / "a.png.json").write_text('{"nm_per_px": 0.1}')  # the scale of the picture
    loaded = load_pictures([tmp_path])
    assert [problem.file for problem in loaded.problems if "passed over" in problem.text] == [str(other)]
    with pytest.raises(SetupError, match="is neither"):
        load_pictures([other])


def test_one_picture_labelled_by_two_files_is_an_error(write: Callable[..., Path], tmp_path: Path) -> None:
    first = write(shape("a", box(10, 10)))
    (tmp_path / "b.json").write_text(first.read_text())
    with pytest.raises(SetupError, match="labels too"):
        load_pictures([tmp_path])


def test_equal_pictures_of_two_names_are_told_and_named_apart(write: Callable[..., Path], tmp_path: Path) -> None:
    write(shape("a", box(10, 10)))
    (tmp_path / "copy").mkdir()
    for name in ("a.png", "a.json"):
        (tmp_path / "copy" / name).write_bytes((tmp_path / name).read_bytes())
    loaded = load_pictures([tmp_path])
    assert {one.name for one in loaded.pictures} == {f"{tmp_path.name}/a.png", "copy/a.png"}
    assert any("show the same" in text for text in texts(loaded, Severity.WARNING))


def test_a_picture_without_molecules_is_background_and_a_set_without_any_is_an_error(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    empty = write(name="empty", image=encoded(picture(seed=3)))
    with pytest.raises(SetupError, match="no molecule is labelled"):
        load_pictures([empty])
    write(shape("a", box(10, 10)))
    loaded = load_pictures([tmp_path])
    assert len(loaded.pictures) == 2
    assert any("counts as background" in text for text in texts(loaded, Severity.WARNING))


def test_what_is_written_for_labelme_is_read_again(tmp_path: Path) -> None:
    rings = (np.array([[10.5, 10.25], [30, 11], [28, 31.125]]),)
    holed = (np.array(box(50, 20, 20), dtype=float), np.array(box(55, 25, 8), dtype=float))
    molecules = (
        LabelledMolecule("a", rings),
        LabelledMolecule("b", holed),
        LabelledMolecule("b", (np.array(box(5, 50), dtype=float),), ignore=True),
    )
    image = np.random.default_rng(0).random((ROWS, COLUMNS)).astype(np.float32)
    written = LabelledPicture("scan 1.sxm", image, molecules, nm_per_px=0.05)
    path = to_labelme(written, tmp_path / "out")
    (read,) = load_pictures([path], options=PictureOptions(contrast=(0.0, 1.0))).pictures
    assert read.nm_per_px == 0.05
    assert np.abs(read.image - (image - image.min()) / np.ptp(image)).max() < 0.006
    assert [(one.label, one.ignore) for one in read.molecules] == [("a", False), ("b", False), ("b", True)]
    assert np.allclose(read.molecules[0].rings[0], rings[0], atol=1e-3)
    shape_px = (ROWS, COLUMNS)
    assert np.array_equal(mask_of(read.molecules[1], shape_px), mask_of(molecules[1], shape_px))
    with pytest.raises(SetupError, match="is there already"):
        to_labelme(written, tmp_path / "out")
