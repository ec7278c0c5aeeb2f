"""False colour back to height."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spm_live_drivers.contract import ReadOptions
from spm_live_drivers.errors import FrameError
from spm_live_drivers.formats.colour_tables import ColourError, known_curve, tables, to_height
from spm_live_drivers.formats.image import ImageReader

KNOWN = [name for name in tables() if name not in {"auto", "grey", "lightness"}]


def surface(rows: int = 120, columns: int = 90) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    waves = np.sin(x / 9) + np.cos(y / 13) + x / 60
    return (waves - waves.min()) / (waves.max() - waves.min())


def painted(height: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Colours of a table given as (levels, 3), 0 to 255."""
    index = height * (len(points) - 1)
    return (
        np.stack([np.interp(index, np.arange(len(points)), points[:, k]) for k in range(3)], axis=2)
        .round()
        .astype(np.uint8)
    )


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("share", [(0.0, 1.0), (0.1, 0.7)])
def test_known_table_is_recognised_and_undone(name: str, share: tuple[float, float]) -> None:
    height = share[0] + (share[1] - share[0]) * surface()
    found, table = to_height(painted(height, known_curve(name).colours))
    assert table == name
    assert np.abs(found - height).max() < 0.03
    np.testing.assert_array_equal(to_height(painted(height, known_curve(name).colours), name)[0], found)


@pytest.mark.parametrize(
    "stops",
    [
        [(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)],  # dark blue, green, yellow
        [(0, 0, 20), (90, 20, 110), (200, 60, 80), (250, 160, 60), (255, 255, 200)],
        [(10, 20, 60), (200, 220, 255)],
    ],
)
def test_unknown_table_that_gets_steadily_lighter_keeps_the_order_of_heights(stops: list[tuple[int, int, int]]) -> None:
    height = np.round(surface() * 199) / 199
    levels = np.linspace(0, 1, len(stops))
    points = np.stack([np.interp(np.linspace(0, 1, 200), levels, np.array(stops)[:, k]) for k in range(3)], axis=1)
    found, table = to_height(painted(height, points))
    assert table not in KNOWN
    assert np.corrcoef(found.ravel(), height.ravel())[0, 1] > 0.99
    order = np.argsort(height.ravel(), kind="stable")
    assert np.diff(found.ravel()[order]).min() > -0.02


def test_table_that_gets_darker_again_is_refused_with_what_to_do() -> None:
    turns = np.stack(
        [np.interp(np.arange(200), [0, 99, 199], ends) for ends in ((0, 255, 0), (0, 40, 200), (250, 0, 0))]
    )
    rgb = painted(surface(), turns.T)
    with pytest.raises(ColourError, match="save the picture in grey"):
        to_height(rgb)
    assert to_height(rgb, "lightness")[1] == "lightness"
    with pytest.raises(ColourError, match="no colour table 'viridos'"):
        to_height(rgb, "viridos")


def test_grey_with_a_little_tint_is_grey() -> None:
    grey = (255 * surface()).astype(np.uint8)
    rgb = np.stack([grey, grey, np.clip(grey.astype(int) + 2, 0, 255).astype(np.uint8)], axis=2)
    found, table = to_height(rgb)
    assert table == "grey"
    assert np.abs(found - surface()).max() < 0.01


@pytest.mark.parametrize("colour", [(0, 0, 0), (200, 30, 0), (17, 200, 120)])
def test_picture_of_one_colour_is_flat(colour: tuple[int, int, int]) -> None:
    found, _ = to_height(np.full((5, 6, 3), colour, np.uint8))
    assert np.ptp(found) == 0


def test_height_of_the_published_picture_is_monotone_and_smooth(data_dir: Path) -> None:
    path = data_dir / "molecules" / "00.png"
    frame = ImageReader().read(path, ReadOptions(nm_per_px=0.02))
    assert frame.info.warnings == ("height from colour, by the table: flame",)
    rgb = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).astype(int)
    height = frame.data.ravel()
    # 192 colours become 192 heights, one level of 255 apart, rising with the sum of the three colours.
    total, first = np.unique(rgb.sum(axis=1), return_index=True)
    assert len(total) == 192
    np.testing.assert_allclose(np.diff(height[first]), 1 / 255, atol=1e-6)
    # As smooth as the picture: neighbours differ by a level or two, as they do in the colours.
    assert np.median(np.abs(np.diff(frame.data, axis=1))) <= 3 / 255


def test_paper_crop_has_the_heights_of_the_place_it_was_cut_from(data_dir: Path) -> None:
    options = ReadOptions(nm_per_px=0.02)
    whole = ImageReader().read(data_dir / "molecules" / "00.png", options)
    crop = ImageReader().read(data_dir / "molecules" / "00-cut.png", options)  # a BMP by its content
    assert crop.data.shape == (320, 320)
    np.testing.assert_allclose(crop.data, whole.data[303:623, 536:856], atol=2 / 255)


def test_wrong_table_name_is_a_frame_error(data_dir: Path) -> None:
    with pytest.raises(FrameError, match="there are auto, grey"):
        ImageReader().read(data_dir / "molecules" / "1.png", ReadOptions(nm_per_px=0.02, colour_table="x"))
