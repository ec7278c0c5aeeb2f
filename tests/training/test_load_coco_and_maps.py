"""COCO data sets, and what spm-live itself found."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from spm_live.domain import (
    ClassCount,
    FrameInfo,
    FrameRef,
    ModelIdentity,
    Molecule,
    MoleculeMap,
    Processed,
    ScanGeometry,
    Trace,
)
from spm_live.errors import SetupError
from spm_live.publish.exporters import export
from spm_live.publish.message import frame_message
from spm_live.publish.store import Store
from spm_live.training.data import PictureOptions, load_pictures, survey_pictures
from spm_live.training.data.outlines import area_of
from spm_live.training.data.rle import encode_runs
from spm_live.training.labelled import mask_of
from spm_live_drivers.registry import read_frame

ROWS, COLUMNS = 60, 80
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def png(rows: int = ROWS, columns: int = COLUMNS, seed: int = 0) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (rows, columns)).astype(np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


def coco(folder: Path, *annotations: dict[str, Any], image: dict[str, Any] | None = None) -> Path:
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images" / "a.png").write_bytes(png())
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": COLUMNS, "height": ROWS} | (image or {})],
        "categories": [{"id": 1, "name": "rod"}, {"id": 2, "name": "star"}],
        "annotations": [{"id": n, "image_id": 7, "iscrowd": 0} | one for n, one in enumerate(annotations)],
    }
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return path


def mask() -> np.ndarray:
    pixels = np.zeros((ROWS, COLUMNS), dtype=bool)
    pixels[10:20, 30:45] = True
    pixels[12:15, 33:36] = False
    return pixels


SQUARE = [5, 5, 15, 5, 15, 15, 5, 15]


def test_every_way_to_write_a_mask_is_read(tmp_path: Path) -> None:
    flat = mask().T.ravel().astype(int)
    edges = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), flat.size]
    path = coco(
        tmp_path,
        {"category_id": 1, "segmentation": [SQUARE]},
        {"category_id": 2, "segmentation": {"size": [ROWS, COLUMNS], "counts": encode_runs(mask())}},
        {"category_id": 1, "segmentation": [SQUARE, [25, 5, 35, 5, 35, 15]], "iscrowd": 1},
        {"category_id": 2, "bbox": [50, 40, 10.5, 8]},
    )
    loaded = load_pictures([path])
    (picture,) = loaded.pictures
    square, holed, crowd, box = picture.molecules
    assert [one.label for one in picture.molecules] == ["rod", "star", "rod", "star"]
    assert [one.ignore for one in picture.molecules] == [False, False, True, False]
    assert square.box_px == (5, 5, 15, 15)
    assert np.array_equal(mask_of(holed, (ROWS, COLUMNS)), mask())
    assert sum(map(area_of, crowd.rings)) == 150
    assert box.box_px == (50, 40, 60.5, 48)
    assert any("have a box but no outline" in problem.text for problem in loaded.problems)
    uncompressed = {"size": [ROWS, COLUMNS], "counts": np.diff(edges).tolist()}
    other = load_pictures([coco(tmp_path, {"category_id": 2, "segmentation": uncompressed})])
    assert np.array_equal(mask_of(other.pictures[0].molecules[0], (ROWS, COLUMNS)), mask())


def test_names_of_categories_keep_their_digits(tmp_path: Path) -> None:
    path = coco(tmp_path, {"category_id": 1, "segmentation": [SQUARE]}, {"category_id": 2, "bbox": [50, 40, 9, 9]})
    path.write_text(path.read_text().replace('"rod"', '"T1"').replace('"star"', '"T2"'))
    assert load_pictures([path]).classes == ("T1", "T2")


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        ({"category_id": 9, "segmentation": [SQUARE]}, "category 9"),
        ({"category_id": 1, "segmentation": [[1, 2, 3, 4]]}, "three corners"),
        ({"category_id": 1, "segmentation": [[1, 2, 3, None, 5, 6]]}, "two finite numbers"),
        ({"category_id": 1, "segmentation": {"size": [5, 5], "counts": "a"}}, "the picture has 60 x 80"),
        ({"category_id": 1, "segmentation": {"size": [60, 80], "counts": "0"}}, "add up"),
        ({"category_id": 1, "segmentation": {"size": [60, 80], "counts": [4800]}}, "without a pixel"),
        ({"category_id": 1, "segmentation": []}, "neither an outline nor a box"),
        ({"category_id": 1, "bbox": [1, 1, 0, 5]}, "box of 0 x 5"),
        ({"category_id": 1, "segmentation": [SQUARE], "image_id": 8}, "belongs to no picture"),
        ({"category_id": 1, "segmentation": [SQUARE], "image_id": [7]}, "belongs to no picture"),
        ({"category_id": 1, "segmentation": [[900, 5, 950, 5, 950, 15]]}, "outside the picture"),
    ],
)
def test_an_annotation_that_cannot_be_meant_is_named(tmp_path: Path, annotation: dict[str, Any], why: str) -> None:
    path = coco(tmp_path, {"category_id": 1, "segmentation": [SQUARE]}, annotation)
    (problem,) = survey_pictures([path]).errors
    assert (problem.file, problem.molecule) == (str(path), 1)
    assert why in problem.text


def test_a_picture_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = coco(tmp_path, {"category_id": 1, "segmentation": [SQUARE]}, image={"file_name": "b.png"})
    with pytest.raises(SetupError, match=r"its picture b\.png was not found"):
        load_pictures([path])


def molecule(number: int, score: float = 0.9) -> Molecule:
    x, y = 5.0 + 20 * number, 10.0
    return Molecule(
        label="rod",
        score=score,
        center_nm=(0.0, 0.0),
        area_nm2=1.0,
        length_nm=1.0,
        width_nm=1.0,
        orientation_deg=0.0,
        box_px=(x, y, x + 10, y + 8),
        outline_px=((x - 0.5, y - 0.5), (x + 9.5, y - 0.5), (x + 9.5, y + 7.5), (x - 0.5, y + 7.5)),
        touches_edge=False,
    )


def result(raw: Path, picture: bytes, rows: int, columns: int, *molecules: Molecule, sha256: str = "") -> Processed:
    info = FrameInfo(
        ref=FrameRef(str(raw), sha256 or "ab" * 32, "", Trace.FORWARD),
        geometry=ScanGeometry(rows=rows, columns=columns, size_nm=(columns * 0.05, rows * 0.05)),
        unit="m",
        complete_rows=rows,
        started=NOON,
        format="image",
    )
    counts = {"rod": ClassCount(len(molecules), 0, 0.1, 0.1), "star": ClassCount(0, 0, 0.0, 0.0)}
    found = MoleculeMap(info, ModelIdentity("m", "1", "cd" * 32), molecules, counts, 1.0, 0.1)
    return Processed(found, picture, b"")


def test_what_the_daemon_found_can_be_learnt_from(data_dir: Path, tmp_path: Path) -> None:
    raw = data_dir / "nanonis" / "Image_412.sxm"
    frame = read_frame(raw)
    rows, columns = frame.data.shape
    processed = result(raw, png(), rows, columns, molecule(0), molecule(1, score=0.3), sha256=frame.ref.sha256)
    path = tmp_path / "frame.json"
    path.write_text(json.dumps(frame_message(1, processed, when=NOON)))
    loaded = load_pictures([path])
    (picture,) = loaded.pictures
    assert picture.name == "Image_412.sxm"
    assert picture.nm_per_px == pytest.approx(10 / columns, rel=0.01)
    assert [one.box_px for one in picture.molecules] == [(5, 10, 15, 18), (25, 10, 35, 18)]
    assert [one.ignore for one in picture.molecules] == [False, True]
    assert not any("changed since" in problem.text for problem in loaded.problems)
    everything = load_pictures([path], options=PictureOptions(min_score=0.2))
    assert not everything.pictures[0].molecules[1].ignore


@pytest.mark.parametrize("form", ["list", "snapshot", "lines"])
def test_messages_come_in_a_list_in_a_snapshot_or_line_by_line(tmp_path: Path, form: str) -> None:
    messages = []
    for number in range(2):
        raw = tmp_path / f"scan{number}.png"
        raw.write_bytes(png(seed=number))
        messages.append(frame_message(number, result(raw, b"", ROWS, COLUMNS, molecule(number)), when=NOON))
    path = tmp_path / ("found.jsonl" if form == "lines" else "found.json")
    match form:
        case "list":
            path.write_text(json.dumps(messages))
        case "snapshot":
            path.write_text(json.dumps({"schema": 1, "type": "snapshot", "frames": messages}))
        case _:
            path.write_text("\n".join(map(json.dumps, messages)))
    loaded = load_pictures([path])
    assert [one.name for one in loaded.pictures] == ["scan0.png", "scan1.png"]
    assert [one.nm_per_px for one in loaded.pictures] == [0.05, 0.05]
    assert any("was changed since" in problem.text for problem in loaded.problems)


def test_a_store_gives_its_own_pictures_where_the_raw_files_are_gone(tmp_path: Path) -> None:
    """Stored pictures of large frames are smaller than the frames: the outlines shrink with them."""
    with Store(tmp_path / "results.sqlite3") as store:
        store.save(result(tmp_path / "gone.sxm", png(), 2 * ROWS, 2 * COLUMNS, molecule(0), molecule(1)))
    loaded = load_pictures([tmp_path / "results.sqlite3"])
    (picture,) = loaded.pictures
    assert picture.image.shape == (ROWS, COLUMNS)
    assert picture.nm_per_px == pytest.approx(0.1)
    assert [one.box_px for one in picture.molecules] == [(2.5, 5, 7.5, 9), (12.5, 5, 17.5, 9)]
    with pytest.raises(SetupError, match="no molecule is labelled"):
        load_pictures([tmp_path])  # a store that lies in a folder is not taken


@pytest.mark.parametrize("kind", ["coco", "labelme"])
def test_what_spm_live_exports_is_read_again(tmp_path: Path, kind: str) -> None:
    with Store(tmp_path / "results.sqlite3") as store:
        store.save(result(tmp_path / "gone.sxm", png(), ROWS, COLUMNS, molecule(0), molecule(1)))
        export(store, kind, tmp_path / kind)
    (picture,) = load_pictures([tmp_path / kind]).pictures
    assert [one.box_px for one in picture.molecules] == [(5, 10, 15, 18), (25, 10, 35, 18)]
    assert picture.image.shape == (ROWS, COLUMNS)
    assert picture.nm_per_px == (pytest.approx(0.05) if kind == "coco" else None)


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite3"
    path.write_bytes(b"SQLite format 3\0" + bytes(4096))
    with pytest.raises(SetupError, match=r"other\.sqlite3"):
        load_pictures([path])


def test_a_message_without_outlines_or_labels_is_an_error(tmp_path: Path) -> None:
    raw = tmp_path / "scan.png"
    raw.write_bytes(png())
    message = frame_message(1, result(raw, b"", ROWS, COLUMNS, molecule(0), molecule(1), molecule(2)), when=NOON)
    message["molecules"][0]["outline_px"] = None
    message["molecules"][1]["label"] = None
    message["molecules"][2]["outline_px"] = []
    path = tmp_path / "found.json"
    path.write_text(json.dumps(message))
    loaded = survey_pictures([path])
    assert [problem.molecule for problem in loaded.errors] == [0, 1]
    assert loaded.pictures[0].molecules[0].box_px == (45, 10, 55, 18)
