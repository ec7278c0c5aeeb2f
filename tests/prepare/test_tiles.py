"""Tiles cover the picture, and every object small enough lies in one of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live.prepare import cut_tiles, tile_origins


@st.composite
def tilings(draw):
    tile = draw(st.integers(2, 60))
    return draw(st.integers(1, 400)), tile, draw(st.integers(0, tile - 1))


@given(tilings())
def test_every_pixel_lies_in_a_tile(tiling):
    length, tile, overlap = tiling
    origins = tile_origins(length, tile, overlap)
    covered = np.zeros(max(length, tile), dtype=bool)
    for origin in origins:
        covered[origin : origin + tile] = True
    assert covered[:length].all()
    assert origins[0] == 0
    assert origins[-1] + tile == max(length, tile), "the last tile ends with the picture"
    assert (np.diff(origins) > 0).all()
    assert (np.diff(origins) <= tile - overlap).all()


@given(tilings(), st.data())
def test_an_object_no_longer_than_the_overlap_lies_wholly_in_one_tile(tiling, data):
    length, tile, overlap = tiling
    size = data.draw(st.floats(0, min(overlap, length)))
    start = data.draw(st.floats(0, length - size))
    assert any(origin <= start and start + size <= origin + tile for origin in tile_origins(length, tile, overlap))


@pytest.mark.parametrize(("tile", "overlap"), [(10, 10), (10, 11), (10, -1), (0, 0)])
def test_tiles_that_never_advance_are_refused(tile, overlap):
    with pytest.raises(ValueError, match="overlap"):
        tile_origins(100, tile, overlap)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 99))
def test_tiles_hold_the_pixels_of_their_place_and_zero_elsewhere(rows, columns, seed):
    rng = np.random.default_rng(seed)
    picture = rng.uniform(0.1, 1, (rows, columns)).astype(np.float32)
    picture[rng.random(picture.shape) < 0.2] = np.nan
    tiles, origins = cut_tiles(picture, 32, 24, 8)
    padded = np.zeros((rows + 32, columns + 24), dtype=np.float32)
    padded[:rows, :columns] = np.nan_to_num(picture)
    assert tiles.shape == (len(origins), 32, 24)
    for tile, (row, column) in zip(tiles, origins, strict=True):
        assert np.array_equal(tile, padded[row : row + 32, column : column + 24])


def test_tiles_without_a_scanned_pixel_are_left_out():
    picture = np.full((100, 100), np.nan, dtype=np.float32)
    picture[:9] = 0.5
    tiles, origins = cut_tiles(picture, 32, 32, 8)
    assert len(tiles) == 4
    assert (origins[:, 0] == 0).all()


def test_of_an_empty_picture_there_are_no_tiles():
    tiles, origins = cut_tiles(np.full((50, 50), np.nan, dtype=np.float32), 32, 32, 8)
    assert tiles.shape == (0, 32, 32)
    assert origins.shape == (0, 2)
