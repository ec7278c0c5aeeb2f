"""Detections of tiles become detections of the picture."""

from __future__ import annotations

import numpy as np
import pytest

from spm_live.detect.manifest import Manifest
from spm_live.detect.merge import TileDetections, clip, cut_by_tile, merge_tiles
from spm_live.domain import Detections, Letterbox


@pytest.fixture
def manifest(manifest_values):
    return Manifest.model_validate(manifest_values)


def found(boxes, scores=None, masks=None) -> Detections:
    count = len(boxes)
    return Detections(
        boxes=np.array(boxes, dtype=np.float32).reshape(count, 4),
        scores=np.array(scores if scores is not None else np.linspace(0.9, 0.6, count), dtype=np.float32),
        classes=np.zeros(count, dtype=np.int64),
        masks=np.ones((count, 8, 8), dtype=np.float32) if masks is None else masks,
    )


TILES = np.array([[0, 0], [0, 32]], dtype=np.int64)  # two tiles of 32 x 48, side by side in 32 x 80
PICTURE = Letterbox(1.0, 1.0, 32, 80)


def test_a_molecule_in_the_overlap_is_kept_once(manifest):
    whole = (36.0, 10.0, 44.0, 20.0)
    parts = [TileDetections(found([whole], [0.8]), np.array([0])), TileDetections(found([whole], [0.9]), np.array([1]))]
    merged = merge_tiles(parts, TILES, PICTURE, manifest)
    assert merged.boxes.tolist() == [list(whole)]
    assert merged.scores.tolist() == pytest.approx([0.9])


def test_a_piece_cut_by_a_tile_is_dropped_when_the_next_tile_sees_the_whole(manifest):
    """Even with the better score, and though the overlap of the piece with the whole is too small for suppression."""
    piece, whole = (44.0, 10.0, 47.9, 20.0), (44.0, 10.0, 56.0, 20.0)
    parts = [TileDetections(found([piece, whole], [0.95, 0.8]), np.array([0, 1]))]
    assert merge_tiles(parts, TILES, PICTURE, manifest).boxes.tolist() == [list(whole)]


def test_what_the_border_of_the_picture_cuts_is_kept(manifest):
    boxes = [(0.0, 0.0, 6.0, 6.0), (74.0, 26.0, 80.0, 32.0)]
    parts = [TileDetections(found(boxes), np.array([0, 1]))]
    assert len(merge_tiles(parts, TILES, PICTURE, manifest)) == 2


def test_an_object_larger_than_the_overlap_loses_no_piece():
    boxes = np.array([[10, 5, 48, 25], [32, 5, 70, 25]], dtype=np.float32)
    assert not cut_by_tile(boxes, np.array([0, 1]), TILES, (32, 48), (32, 80)).any()


def test_boxes_are_cut_to_the_picture_and_their_masks_with_them(manifest):
    half = np.zeros((1, 8, 8), dtype=np.float32)
    half[:, :, 4:] = 1  # the right half of a box that begins 10 px left of the picture
    parts = [TileDetections(found([(-10.0, 4.0, 10.0, 24.0)], [0.9], half), np.array([0]))]
    merged = merge_tiles(parts, TILES, PICTURE, manifest)
    assert merged.boxes.tolist() == [[0.0, 4.0, 10.0, 24.0]]
    assert (merged.masks[0] > 0.5).all(), "what is left of the mask fills what is left of the box"


def test_a_cropped_mask_shows_the_part_that_is_left():
    place = np.linspace(0, 1, 28, dtype=np.float32)
    ramp = np.broadcast_to(place, (1, 28, 28)).copy()
    low, high = np.array([[20.0, 0.0]], dtype=np.float32), np.array([[40.0, 10.0]], dtype=np.float32)
    clipped, which = clip(found([(0.0, 0.0, 40.0, 10.0)], [0.9], ramp), low, high)
    assert which.tolist() == [True]
    assert clipped.masks[0][:, 2:-2] == pytest.approx(np.broadcast_to(0.5 + place / 2, (28, 28))[:, 2:-2], abs=0.02)


@pytest.mark.parametrize(
    "box",
    [
        (5.0, 5.0, np.inf, 9.0),
        (-np.inf, 5.0, 6.0, 9.0),
        (np.nan, 5.0, 6.0, 9.0),
        (9.0, 5.0, 5.0, 9.0),
        (5.0, 5.0, 5.0, 9.0),
        (90.0, 5.0, 99.0, 9.0),
        (-9.0, -9.0, -1.0, -1.0),
    ],
)
def test_boxes_without_a_finite_area_in_the_picture_are_dropped(manifest, box):
    parts = [TileDetections(found([box, (20.0, 5.0, 30.0, 9.0)]), np.array([0, 0]))]
    assert merge_tiles(parts, TILES, PICTURE, manifest).boxes.tolist() == [[20.0, 5.0, 30.0, 9.0]]


def test_low_and_infinite_scores_are_dropped(manifest):
    boxes = [(0.0, 0.0, 5.0, 5.0), (10.0, 0.0, 15.0, 5.0), (20.0, 0.0, 25.0, 5.0)]
    parts = [TileDetections(found(boxes, [0.49, np.inf, 0.5]), np.array([0, 0, 0]))]
    assert merge_tiles(parts, TILES, PICTURE, manifest).boxes.tolist() == [[20.0, 0.0, 25.0, 5.0]]


def test_no_tiles_no_detections(manifest):
    assert len(merge_tiles([], np.zeros((0, 2), dtype=np.int64), PICTURE, manifest)) == 0
