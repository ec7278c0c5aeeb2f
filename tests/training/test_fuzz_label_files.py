"""Whatever stands in a label file, it is read or named: nothing else is ever raised."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spm_live.training.data import survey_pictures

SQUARE = [[5, 5], [15, 5], [15, 15], [5, 15]]
LABELME = {
    "version": "5.0.1",
    "shapes": [
        {"label": "a1", "points": SQUARE, "shape_type": "polygon", "group_id": 1, "flags": {}},
        {
            "label": "a2",
            "points": SQUARE[:2],
            "shape_type": "circle",
            "group_id": None,
            "flags": {},
            "mask": "iVBORw0KGgo=",
        },
    ],
    "imagePath": "a.npy",
    "imageData": "iVBORw0KGgo=",
    "imageHeight": 40,
    "imageWidth": 40,
}
COCO = {
    "images": [{"id": 1, "file_name": "a.npy", "height": 40, "width": 40}],
    "categories": [{"id": 1, "name": "a"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[5, 5, 15, 5, 15, 15]], "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 1, "segmentation": {"size": [40, 40], "counts": [820, 4, 776]}},
        {"id": 3, "image_id": 1, "category_id": 1, "bbox": [20, 20, 5, 5]},
    ],
}
MESSAGE = {
    "schema": 1,
    "type": "frame",
    "id": 1,
    "name": "a.npy",
    "source": "a.npy",
    "sha256": "00",
    "channel": None,
    "trace": "forward",
    "rows": 40,
    "columns": 40,
    "nm_per_px": [0.1, 0.1],
    "molecules": [{"label": "a", "score": 0.9, "box_px": [5, 5, 15, 15], "outline_px": SQUARE}],
}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\0") | st.just("x" * 300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every value in a JSON value, by the keys that lead to it."""
    inner: list[tuple[Any, ...]] = []
    entries = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in entries:
        inner += [(*path, key), *places(value, (*path, key))]
    return inner


@pytest.mark.parametrize("sound", [LABELME, COCO, MESSAGE], ids=["labelme", "coco", "message"])
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_value_replaced_by_any_other_is_read_or_named(
    sound: dict[str, Any], tmp_path: Path, data: st.DataObject
) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((40, 40)).astype(np.float32))
    content = copy.deepcopy(sound)
    *parents, last = data.draw(st.sampled_from(places(sound)))
    inner: Any = content
    for key in parents:
        inner = inner[key]
    inner[last] = data.draw(values)
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    loaded = survey_pictures([path])
    for picture in loaded.pictures:
        rows, columns = picture.image.shape
        for one in picture.molecules:
            x1, y1, x2, y2 = one.box_px
            assert 0 <= x1 < x2 <= columns
            assert 0 <= y1 < y2 <= rows
    assert loaded.pictures or loaded.errors


@pytest.mark.parametrize("sound", [LABELME, COCO, MESSAGE], ids=["labelme", "coco", "message"])
def test_a_file_cut_anywhere_is_named(sound: dict[str, Any], tmp_path: Path) -> None:
    whole = json.dumps(sound)
    path = tmp_path / "a.json"
    for end in range(0, len(whole), 7):
        path.write_text(whole[:end])
        (problem,) = survey_pictures([path]).errors
        assert "is no JSON" in problem.text or "is empty" in problem.text


def test_json_as_deep_as_a_well_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" * 200_000)
    (problem,) = survey_pictures([path]).errors
    assert "is no JSON" in problem.text
