"""PNG, TIFF and GSF files of our own: read back by other programs, and chunk by chunk."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from spm_live.errors import SetupError
from spm_live.png import COLOURS, UNSCANNED_RGB, encode_jpg, encode_png, grey_levels, palette
from spm_live.tiff import encode_tiff

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        yield kind, body
        at += 12 + length


@settings(deadline=None)
@given(hnp.arrays(st.sampled_from([np.uint8, np.uint16]), SHAPES))
def test_a_png_holds_the_levels_it_was_given(levels: np.ndarray) -> None:
    decoded = cv2.imdecode(np.frombuffer(encode_png(levels), np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)

    assert decoded.dtype == levels.dtype
    np.testing.assert_array_equal(decoded, levels)


def test_unscanned_pixels_are_transparent_and_only_they() -> None:
    levels = np.array([[0, 1], [255, 7]], dtype=np.uint8)
    rgba = cv2.imdecode(np.frombuffer(encode_png(levels, colour="viridis"), np.uint8), cv2.IMREAD_UNCHANGED)
    grey = cv2.imdecode(np.frombuffer(encode_png(levels), np.uint8), cv2.IMREAD_UNCHANGED)

    assert rgba[:, :, 3].tolist() == [[0, 255], [255, 255]]
    assert grey.tolist() == levels.tolist()
    assert dict(_chunks(encode_png(levels)))[b"tRNS"] == b"\0\0", "grey level 0 is see-through"
    assert b"tRNS" not in dict(_chunks(encode_png(levels + np.uint8(1) * (levels == 0))))


@pytest.mark.parametrize("colour", COLOURS)
def test_colour_tables_run_from_their_dark_to_their_bright_end(colour: str) -> None:
    table = np.frombuffer(palette(colour), np.uint8).reshape(256, 3).astype(float)

    assert tuple(table[0]) == UNSCANNED_RGB
    lightness = table[1:] @ (0.2126, 0.7152, 0.0722)
    assert lightness[-1] - lightness[0] > 100
    assert (np.diff(lightness) > -2).all()


def test_scale_and_text_stand_in_the_chunks() -> None:
    png = encode_png(np.ones((2, 3), np.uint8), pixel_m=(2e-10, 3.5e-10), text={"Title": "Höhe Ω", "Gwy::ZUnit": "m"})
    chunks = list(_chunks(png))

    assert dict(chunks)[b"sCAL"] == b"\x012e-10\x003.5e-10"
    assert [body for kind, body in chunks if kind == b"tEXt"] == [b"Title\0H\xf6he ?", b"Gwy::ZUnit\0m"]
    assert [kind for kind, _ in chunks][:1] + [kind for kind, _ in chunks][-2:] == [b"IHDR", b"IDAT", b"IEND"]


def test_a_colour_table_is_refused_where_it_cannot_be() -> None:
    with pytest.raises(SetupError, match="16 bits"):
        encode_png(np.ones((2, 2), np.uint16), colour="hot")
    with pytest.raises(SetupError, match="no colour table is called 'puce'"):
        encode_png(np.ones((2, 2), np.uint8), colour="puce")


@given(
    hnp.arrays(np.float32, SHAPES, elements=st.floats(-1, 1, width=32) | st.just(np.nan)),
    st.sampled_from([8, 16]),
)
def test_levels_are_zero_where_not_scanned_and_nowhere_else(data: np.ndarray, bits: int) -> None:
    levels = grey_levels(data, -0.5, 0.5, bits)
    exact = 1 + np.clip(data.astype(np.float64) + 0.5, 0, 1) * (2**bits - 2)

    np.testing.assert_array_equal(levels == 0, np.isnan(data))
    scanned = np.isfinite(data)
    assert np.abs(levels[scanned] - exact[scanned]).max(initial=0) <= 0.5 + 2**bits * 1e-6


def test_a_flat_frame_is_middle_grey_and_tiny_currents_are_not() -> None:
    flat = np.array([[5.0, np.nan]], dtype=np.float32)
    assert grey_levels(flat, 5.0, 5.0).tolist() == [[128, 0]]
    currents = np.array([[0.0, 1e-38, 2e-38]], dtype=np.float32)
    assert grey_levels(currents, 0.0, 2e-38).tolist() == [[1, 128, 255]]


def test_one_wild_value_in_a_tiny_range_is_only_clipped() -> None:
    wild = np.array([[-1e30, 0.0, 1e-38, 4.0, 1e30, np.inf]], dtype=np.float32)
    assert grey_levels(wild, 0.0, 1e-38).tolist() == [[1, 1, 255, 255, 255, 255]]


def test_a_jpg_shows_the_colours() -> None:
    levels = np.full((16, 16), 200, np.uint8)
    decoded = cv2.imdecode(np.frombuffer(encode_jpg(levels, "hot"), np.uint8), cv2.IMREAD_COLOR)
    wanted = np.frombuffer(palette("hot"), np.uint8).reshape(256, 3)[200][::-1]

    assert np.abs(decoded.reshape(-1, 3).mean(axis=0) - wanted).max() < 4


@settings(deadline=None)
@given(hnp.arrays(np.float32, SHAPES, elements=st.floats(width=32)), st.booleans(), st.text())
def test_a_tiff_holds_every_value_bit_for_bit_and_its_text(data: np.ndarray, shown: bool, text: str) -> None:
    file = encode_tiff(data, (12.5, 3.0), display=(-1.0, 2.5) if shown else None, info=text)

    with tifffile.TiffFile(io.BytesIO(file)) as tiff:
        page = tiff.pages.first
        values = page.asarray()
        found = tiff.imagej_metadata or {}
        x, y = page.tags["XResolution"].value, page.tags["YResolution"].value
    assert values.astype("<f4").tobytes() == data.astype("<f4").tobytes()
    assert found["unit"] == "nm"
    assert found.get("Info", "") == text
    assert ("min" in found, found.get("max", 2.5)) == (shown, 2.5)
    assert x[0] / x[1] == pytest.approx(data.shape[1] / 12.5, rel=1e-7)
    assert y[0] / y[1] == pytest.approx(data.shape[0] / 3.0, rel=1e-7)


def test_opencv_too_reads_the_tiff() -> None:
    data = np.linspace(-1e-9, 1e-9, 35, dtype=np.float32).reshape(5, 7)
    decoded = cv2.imdecode(np.frombuffer(encode_tiff(data, (7, 5), info="x"), np.uint8), cv2.IMREAD_UNCHANGED)

    np.testing.assert_array_equal(decoded, data)
