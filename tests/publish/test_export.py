"""Exports, read back by other programs and compared with what was stored."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from made_results import NOON, made
from made_scans import QUALITY

from spm_live.domain import Processed
from spm_live.errors import SetupError
from spm_live.png import encode_png
from spm_live.publish.exporters import KINDS, export
from spm_live.publish.exporters.picture import PALETTE, draw_annotated, round_length
from spm_live.publish.live_message import quality_body
from spm_live.publish.message import frame_message
from spm_live.publish.store import Store
from spm_live.scanning import Verdict

ROWS, COLUMNS = 64, 128
PICTURE = encode_png(np.full((ROWS, COLUMNS), 100, np.uint8))


def _frame(name: str, molecules: int = 2, *, hours: int = 0, picture: bytes = PICTURE) -> Processed:
    return replace(
        made(name, molecules=molecules, started=NOON + timedelta(hours=hours)),
        preview_png=picture,
        thumbnail_png=picture,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Three frames with 2, 0 and 3 molecules, an hour apart."""
    with Store(tmp_path / "store" / "results.sqlite3") as store:
        for hours, (name, molecules) in enumerate((("a", 2), ("b: ü/?", 0), ("c", 3))):
            store.save(_frame(name, molecules, hours=hours))
        yield store


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_tables_hold_what_is_stored(store: Store, tmp_path: Path) -> None:
    assert export(store, "csv", tmp_path / "out") == 3

    frames, molecules, counts = (_table(tmp_path / "out" / f"{name}.csv") for name in ("frames", "molecules", "counts"))
    assert [row["molecules"] for row in frames] == ["2", "0", "3"]
    assert (frames[0]["width_nm"], frames[0]["height_nm"], frames[0]["bias_v"]) == ("10.0", "5.0", "-1.5")
    assert frames[0]["comment"] == "Kupferoxid, 4,8 K"
    assert frames[0]["partial"] == "false"
    assert len(molecules) == 5
    second = molecules[1]
    assert (second["frame_id"], second["number"], second["label"]) == (frames[0]["frame_id"], "2", "rod")
    assert float(second["center_x_nm"]) == 1.1
    assert float(second["center_y_nm"]) == -2.1
    assert second["spectra"] == "D:/data/spectrum.dat"
    assert [molecules[0]["touches_edge"], second["touches_edge"]] == ["true", "false"]
    assert [(row["label"], row["total"]) for row in counts[:2]] == [("lobe", "0"), ("rod", "2")]
    assert counts[0]["coverage"] == "", "unknown is empty, not nan"


def test_the_table_of_frames_tells_how_good_their_scans_looked(store: Store, tmp_path: Path) -> None:
    ids = [frame["id"] for frame in store.iter_frames()]
    store.save_quality(ids[0], quality_body(QUALITY))
    store.save_quality(ids[1], quality_body(replace(QUALITY, verdict=Verdict.GOOD, tip_changes=())))
    export(store, "csv", tmp_path)
    rows = _table(tmp_path / "frames.csv")
    assert [(row["quality"], row["tip_changes"]) for row in rows] == [("doubtful", "12"), ("good", ""), ("", "")]


def test_parquet_tables_hold_the_same_with_types(store: Store, tmp_path: Path) -> None:
    export(store, "parquet", tmp_path / "out")
    export(store, "csv", tmp_path / "out")

    for name in ("frames", "molecules", "counts"):
        table = pq.read_table(tmp_path / "out" / f"{name}.parquet")
        rows = _table(tmp_path / "out" / f"{name}.csv")
        assert table.column_names == list(rows[0])
        assert table.num_rows == len(rows)
    frames = pq.read_table(tmp_path / "out" / "frames.parquet")
    assert frames["started"].to_pylist() == [NOON + timedelta(hours=hours) for hours in range(3)]
    assert str(frames.schema.field("partial").type) == "bool"
    assert str(frames.schema.field("center_x_nm").type) == "double"


def test_an_empty_store_gives_tables_with_their_columns(tmp_path: Path) -> None:
    with Store(tmp_path / "results.sqlite3") as store:
        for kind in ("csv", "parquet", "coco"):
            assert export(store, kind, tmp_path / "out") == 0
    assert pq.read_table(tmp_path / "out" / "molecules.parquet").num_rows == 0
    assert (tmp_path / "out" / "molecules.csv").read_text().startswith("frame_id,frame,started,number,label,")
    assert json.loads((tmp_path / "out" / "annotations.json").read_text())["images"] == []


def test_without_pyarrow_parquet_says_what_to_install(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(SetupError, match=r"pip install .*parquet"):
        export(store, "parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _coco(out: Path) -> dict[str, Any]:
    dataset: dict[str, Any] = json.loads((out / "annotations.json").read_text())
    return dataset


def test_coco_is_whole_and_its_polygons_cover_the_pixels_of_the_molecule(store: Store, tmp_path: Path) -> None:
    assert export(store, "coco", tmp_path) == 3

    dataset = _coco(tmp_path)
    assert {category["name"] for category in dataset["categories"]} == {"rod", "lobe"}
    categories = {category["id"] for category in dataset["categories"]}
    images = {image["id"]: image for image in dataset["images"]}
    assert len(images) == 3
    assert len({annotation["id"] for annotation in dataset["annotations"]}) == len(dataset["annotations"]) == 5
    for annotation in dataset["annotations"]:
        image = images[annotation["image_id"]]
        assert annotation["category_id"] in categories
        (polygon,) = annotation["segmentation"]
        assert len(polygon) % 2 == 0
        assert len(polygon) >= 6
        assert min(polygon) >= 0
        assert max(polygon[::2]) <= image["width"]
        assert cv2.imread(str(tmp_path / image["file_name"])).shape == (ROWS, COLUMNS, 3)
    first = dataset["annotations"][0]
    assert first["bbox"] == [10.0, 20.0, 5.5, 7.25]
    assert first["segmentation"][0][:2] == [10.5, 20.5], "the centre of pixel (10, 20)"
    assert first["area"] == pytest.approx(1.25 / (10 / COLUMNS * 5 / ROWS))


def test_coco_of_a_frame_larger_than_its_picture_fits_the_picture(tmp_path: Path) -> None:
    half = encode_png(np.full((ROWS // 2, COLUMNS // 2), 100, np.uint8))
    with Store(tmp_path / "results.sqlite3") as store:
        store.save(_frame("big", picture=half))
        export(store, "coco", tmp_path)

    dataset = _coco(tmp_path)
    assert (dataset["images"][0]["width"], dataset["images"][0]["height"]) == (COLUMNS // 2, ROWS // 2)
    first = dataset["annotations"][0]
    assert first["bbox"] == [5.0, 10.0, 2.75, 3.625]
    assert first["segmentation"][0][:2] == [5.25, 10.25]
    assert first["area"] == pytest.approx(1.25 / (10 / COLUMNS * 5 / ROWS) / 4)


def test_labelme_files_name_their_picture_and_hold_the_polygons(store: Store, tmp_path: Path) -> None:
    assert export(store, "labelme", tmp_path / "out") == 3

    files = sorted((tmp_path / "out").glob("*.json"))
    assert len(files) == 3
    for path, molecules in zip(files, (2, 0, 3), strict=True):
        content = json.loads(path.read_text())
        assert content["imageData"] is None
        picture = cv2.imread(str(path.parent / content["imagePath"]))
        assert picture.shape[:2] == (content["imageHeight"], content["imageWidth"]) == (ROWS, COLUMNS)
        assert [shape["label"] for shape in content["shapes"]] == ["rod"] * molecules
        assert {shape["shape_type"] for shape in content["shapes"]} <= {"polygon"}
    assert json.loads(files[0].read_text())["shapes"][0]["points"][0] == [10.5, 20.5]


def _drawn(processed: Processed) -> np.ndarray:
    message = frame_message(1, processed, when=NOON)
    return cv2.imdecode(np.frombuffer(draw_annotated(message, processed.preview_png), np.uint8), cv2.IMREAD_COLOR)


def _is(picture: np.ndarray, colour: str) -> np.ndarray:
    rgb = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return (picture[:, :, ::-1] == rgb).all(axis=2)


def test_pictures_show_outlines_where_the_molecules_are_and_a_legend(store: Store, tmp_path: Path) -> None:
    assert export(store, "png", tmp_path / "out") == 3
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [
        "000001_a.sxm.png",
        "000002__.sxm.png",
        "000003_c.sxm.png",
    ]
    picture = cv2.imread(str(tmp_path / "out" / "000001_a.sxm.png"))
    scale = picture.shape[1] / COLUMNS
    inside = picture[: round(ROWS * scale)]
    rod = _is(inside, PALETTE[1])  # of "lobe" and "rod", the second
    rows, columns = np.nonzero(rod)
    assert rod.sum() > 100
    assert columns.min() / scale == pytest.approx(10.5, abs=0.6)
    assert rows.max() / scale == pytest.approx(28.5, abs=0.6)
    assert not _is(inside, PALETTE[0]).any()
    legend = picture[round(ROWS * scale) :]
    assert _is(legend, PALETTE[0]).any()
    assert _is(legend, PALETTE[1]).any()


@pytest.mark.parametrize("size_nm", [(10.0, 5.0), (10.0, 20.0), (3.0, 3.0), (1500.0, 40.0)])
def test_a_nm_is_as_long_upwards_as_sideways_and_the_scale_bar_is_true(size_nm: tuple[float, float]) -> None:
    plain = _frame("scan", 0)
    geometry = replace(plain.map.frame.geometry, size_nm=size_nm)
    picture = _drawn(replace(plain, map=replace(plain.map, frame=replace(plain.map.frame, geometry=geometry))))

    scanned = (picture == 100).all(axis=2)
    height, width = int(scanned.any(axis=1).sum()), int(scanned.any(axis=0).sum())
    assert height / width == pytest.approx(size_nm[1] / size_nm[0], rel=0.06)
    assert max(height, width) >= 800
    panel = picture[height:]
    runs = "".join("x" if light else " " for light in (panel == (0xE4, 0xE9, 0xEB)).all(axis=2).ravel()).split()
    bar = max(len(run) for run in runs)
    wanted = round_length(0.28 * picture.shape[1] * size_nm[0] / width) * width / size_nm[0]
    assert bar == pytest.approx(wanted, abs=1.5)


def test_unscanned_pixels_look_unlike_any_grey() -> None:
    levels = np.full((ROWS, COLUMNS), 100, np.uint8)
    levels[30:] = 0
    picture = _drawn(_frame("partial", 0, picture=encode_png(levels)))

    blue, green, red = (int(value) for value in picture[round(50 / ROWS * picture.shape[1] / 2), 10])
    assert len({blue, green, red}) == 3


def test_names_and_classes_in_any_script_are_drawn(tmp_path: Path) -> None:
    processed = _frame("分子 \udcff", 1)
    counts = {f"Klasse µ{number} {'x' * 30}": count for number, count in enumerate([processed.map.counts["rod"]] * 9)}
    assert _drawn(replace(processed, map=replace(processed.map, counts=counts))).shape[1] >= 320


def test_since_and_until_choose_by_the_time_of_the_scan(store: Store, tmp_path: Path) -> None:
    hour = timedelta(hours=1)
    assert export(store, "csv", tmp_path, since=NOON + hour, until=NOON + 2 * hour) == 1
    assert [row["name"] for row in _table(tmp_path / "frames.csv")] == ["?.sxm"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_that_cannot_be_written_says_where(store: Store, tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SetupError, match="cannot be written"):
        export(store, kind, tmp_path / "file" / "out")


@pytest.mark.parametrize("kind", ["csv", "parquet", "coco"])
def test_an_export_that_breaks_off_leaves_the_file_of_before(
    store: Store, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export(store, kind, out)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}

    def breaks(*_: object) -> Iterator[dict[str, Any]]:
        yield store.frame(1) or {}
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "iter_frames", breaks)
    with pytest.raises(KeyboardInterrupt):
        export(store, kind, out)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_an_unknown_kind_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="there are csv, parquet"):
        export(store, "xlsx", tmp_path)
