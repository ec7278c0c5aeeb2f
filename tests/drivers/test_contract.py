"""The frame contract: geometry both ways, and what a frame refuses to be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spm_live_drivers.contract import Frame, FrameInfo, FrameRef, ScanGeometry

NM = st.floats(-1e5, 1e5)
SIZE = st.floats(0.1, 1e5)
PIXELS = st.integers(1, 4096)


@st.composite
def geometries(draw: st.DrawFn) -> ScanGeometry:
    return ScanGeometry(
        rows=draw(PIXELS),
        columns=draw(PIXELS),
        size_nm=(draw(SIZE), draw(SIZE)),
        center_nm=(draw(NM), draw(NM)),
        angle_deg=draw(st.floats(-720, 720)),
    )


@given(geometries(), st.floats(-1, 4096), st.floats(-1, 4096))
def test_pixel_to_nm_and_back_is_identity(geometry: ScanGeometry, x: float, y: float) -> None:
    # A coordinate of 1e5 nm is exact to 1.5e-11 nm, so a few 1e-10 nm are lost on the way, measured in pixels.
    blur = 1e-6 + 1e-9 / min(geometry.nm_per_px)
    back = geometry.to_px(geometry.to_nm(np.array([[x, y]])))
    assert back[0] == pytest.approx([x, y], abs=blur)


@given(geometries())
def test_middle_of_the_picture_is_the_centre_of_the_frame(geometry: ScanGeometry) -> None:
    middle = np.array([[(geometry.columns - 1) / 2, (geometry.rows - 1) / 2]])
    assert geometry.to_nm(middle)[0] == pytest.approx(geometry.center_nm, abs=1e-6)


@given(geometries())
def test_neighbouring_pixels_are_one_pitch_apart_whatever_the_angle(geometry: ScanGeometry) -> None:
    here, right, below = geometry.to_nm(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    step_x, step_y = geometry.nm_per_px
    assert math.dist(here, right) == pytest.approx(step_x, rel=1e-6, abs=1e-9)
    assert math.dist(here, below) == pytest.approx(step_y, rel=1e-6, abs=1e-9)


@given(geometries())
def test_area_of_the_pixels_is_the_area_of_the_frame(geometry: ScanGeometry) -> None:
    area = geometry.pixel_area_nm2 * geometry.rows * geometry.columns
    assert area == pytest.approx(geometry.size_nm[0] * geometry.size_nm[1])


def test_a_frame_turned_clockwise_has_its_top_on_the_right() -> None:
    geometry = ScanGeometry(rows=100, columns=100, size_nm=(100, 100), angle_deg=90)
    middle_of_top = geometry.to_nm(np.array([[49.5, -0.5]]))[0]
    middle_of_right = geometry.to_nm(np.array([[99.5, 49.5]]))[0]
    assert middle_of_top == pytest.approx([50, 0], abs=1e-9)
    assert middle_of_right == pytest.approx([0, -50], abs=1e-9)


@pytest.mark.parametrize(
    "bad",
    [
        {"rows": 0},
        {"columns": -1},
        {"size_nm": (0.0, 1.0)},
        {"size_nm": (1.0, math.nan)},
        {"size_nm": (math.inf, 1.0)},
        {"center_nm": (math.nan, 0.0)},
        {"angle_deg": math.inf},
    ],
)
def test_impossible_geometry_is_refused(bad: dict[str, object]) -> None:
    good: dict[str, object] = {"rows": 2, "columns": 2, "size_nm": (1.0, 1.0)}
    with pytest.raises(ValueError):
        ScanGeometry(**{**good, **bad})  # type: ignore[arg-type]


def test_frame_refuses_wrong_shape_type_and_row_count_and_cannot_be_written() -> None:
    geometry = ScanGeometry(rows=2, columns=3, size_nm=(3.0, 2.0))
    info = FrameInfo(ref=FrameRef("a/b.sxm"), geometry=geometry, unit="m", complete_rows=1)
    with pytest.raises(ValueError, match="shape"):
        Frame(info, np.zeros((3, 2), np.float32))
    with pytest.raises(ValueError, match="type"):
        Frame(info, np.zeros((2, 3), np.float64))
    with pytest.raises(ValueError, match="3 complete rows"):
        FrameInfo(ref=FrameRef("a"), geometry=geometry, unit="m", complete_rows=3)
    frame = Frame(info, np.zeros((2, 3), np.float32))
    assert frame.info.partial
    with pytest.raises(ValueError, match="read-only"):
        frame.data[0, 0] = 1


@pytest.mark.parametrize("source", [r"C:\data\a.sxm", "/data/a.sxm", "a.sxm"])
def test_name_is_the_last_part_of_the_source_on_every_system(source: str) -> None:
    assert FrameRef(source).name == "a.sxm"
