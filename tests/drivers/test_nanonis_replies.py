"""Bytes of the Nanonis TCP programming interface: what is sent, and what is made of any reply whatever."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spm_live_drivers.contract import MAX_FRAME_PIXELS, ScanDirection
from spm_live_drivers.nanonis import calls
from spm_live_drivers.nanonis.calls import ALLOWED, Call
from spm_live_drivers.nanonis.errors import CommandRefusedError, NanonisError, ReplyError
from spm_live_drivers.nanonis.framing import (
    HEADER_BYTES,
    Fields,
    check_refused,
    close_reply,
    error_block,
    request,
    response_size,
)
from spm_live_drivers.nanonis.replies import (
    EndOfLine,
    EndOfScan,
    ScanBuffer,
    ScanFrame,
    ScanSpeed,
    Version,
    read_frame_data,
)

GOOD = struct.pack(">Ii", 0, 0)


def refused(text: str, status: int = 1) -> bytes:
    return struct.pack(">Ii", status, len(text.encode())) + text.encode()


def string(text: str | bytes) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode()
    return struct.pack(">i", len(raw)) + raw


def grab(data: np.ndarray, name: str = "Z (m)", direction: int = 1) -> bytes:
    rows, columns = data.shape
    return (
        string(name) + struct.pack(">ii", rows, columns) + data.astype(">f4").tobytes() + struct.pack(">I", direction)
    )


def names(texts: list[str], *, with_sizes: bool = True) -> bytes:
    raw = b"".join(map(string, texts))
    return struct.pack(">ii", len(raw) - (0 if with_sizes else 4 * len(texts)), len(texts)) + raw


PICTURE = np.arange(12, dtype=np.float32).reshape(3, 4)

BODIES: dict[str, bytes] = {
    "Scan.StatusGet": struct.pack(">I", 1),
    "Scan.WaitEndOfScan": struct.pack(">I", 0) + string("C:\\data\\a.sxm"),
    "Scan.WaitEndOfLine": struct.pack(">IiHi", 0, 7, 1, 1),
    "Scan.FrameGet": struct.pack(">5f", 1e-9, -2e-9, 5e-8, 4e-8, 30.0),
    "Scan.BufferGet": struct.pack(">i2iii", 2, 0, 30, 512, 256),
    "Scan.FrameDataGrab": grab(PICTURE),
    "Scan.SpeedGet": struct.pack(">4fHf", 1e-7, 2e-7, 0.5, 0.25, 1, 2.0),
    "Signals.NamesGet": names(["Current (A)", "Z (m)"]),
    "Util.SessionPathGet": string("D:\\sessions\\today"),
    "Util.VersionGet": string("Nanonis SPM Control Software") + string("Generic 5") + struct.pack(">II", 13742, 13742),
}
"""Fields of a sound reply to every call, without its error block."""


def decode(call: Call[Any], body: bytes) -> Any:
    """What the link does with a body."""
    check_refused(call.name, memoryview(body))
    fields = Fields(call.name, body)
    reply = call.read(fields)
    close_reply(fields)
    return reply


def named(name: str) -> Call[Any]:
    return next(call for call in ALLOWED if call.name == name)


def test_the_manuals_example_is_read_and_written_to_the_byte() -> None:
    """FolMe.XYPosGet, the example of the manual; the call itself is not one that we send."""
    sent = request("FolMe.XYPosGet", bytes.fromhex("00000001"))
    assert sent.hex() == "466f6c4d652e5859506f73476574" + "00" * 18 + "00000004" + "0001" + "0000" + "00000001"
    header = b"FolMe.XYPosGet".ljust(32, b"\0") + bytes.fromhex("00000018") + bytes(4)
    body = bytes.fromhex("3E35798EE2308C3A" + "BE35798EE2308C3A" + "00000000" + "00000000")
    assert response_size(header, "FolMe.XYPosGet", 100) == len(body) == 24
    fields = Fields("FolMe.XYPosGet", body)
    x, y = fields.numbers("2d")
    assert x == pytest.approx(5e-9)
    assert y == pytest.approx(-5e-9)
    assert close_reply(fields) == 0


def test_every_reply_is_read() -> None:
    read = {name: decode(named(name), body + GOOD) for name, body in BODIES.items()}
    assert set(BODIES) == {call.name for call in ALLOWED}
    assert read["Scan.StatusGet"] is True
    assert read["Scan.WaitEndOfScan"] == EndOfScan(False, "C:\\data\\a.sxm")
    assert read["Scan.WaitEndOfLine"] == EndOfLine(False, 7, 1, 1)
    frame = read["Scan.FrameGet"]
    assert isinstance(frame, ScanFrame)
    assert frame.size_m == pytest.approx((5e-8, 4e-8))
    assert frame.center_m == pytest.approx((1e-9, -2e-9))
    assert frame.angle_deg == 30
    assert read["Scan.BufferGet"] == ScanBuffer((0, 30), 512, 256)
    assert read["Scan.FrameDataGrab"].channel == "Z (m)"
    assert read["Scan.FrameDataGrab"].direction is ScanDirection.UP
    np.testing.assert_array_equal(read["Scan.FrameDataGrab"].data, PICTURE)
    assert read["Scan.SpeedGet"] == ScanSpeed(pytest.approx(1e-7), pytest.approx(2e-7), 0.5, 0.25)
    assert read["Scan.SpeedGet"].line_s == 0.75
    assert read["Signals.NamesGet"] == ("Current (A)", "Z (m)")
    assert read["Util.SessionPathGet"] == "D:\\sessions\\today"
    assert read["Util.VersionGet"] == Version("Nanonis SPM Control Software", "Generic 5", 13742, 13742)


@pytest.mark.parametrize("name", sorted(BODIES))
def test_a_body_cut_at_any_byte_is_a_clear_fault(name: str) -> None:
    whole = BODIES[name] + GOOD
    for end in range(len(whole)):
        with pytest.raises(NanonisError):
            decode(named(name), whole[:end])


@pytest.mark.parametrize("name", sorted(BODIES))
@pytest.mark.parametrize("value", [-1, -(2**31), 2**31 - 1, 2**31 - 8])
def test_a_size_that_is_not_one_never_gets_through(name: str, value: int) -> None:
    """Every int32 of a reply in turn is replaced; numbers that are no sizes may stand for themselves."""
    whole = BODIES[name] + GOOD
    for start in range(len(whole) - 3):
        body = whole[:start] + struct.pack(">i", value) + whole[start + 4 :]
        try:
            reply = decode(named(name), body)
        except NanonisError:
            continue
        assert not isinstance(reply, ScanBuffer) or reply.pixels * reply.lines <= MAX_FRAME_PIXELS


def test_a_header_must_name_the_call_and_a_size_that_fits() -> None:
    def header(name: bytes, size: int) -> bytes:
        return struct.pack(">32siI", name, size, 0)

    assert response_size(header(b"Scan.StatusGet", 12), "Scan.StatusGet", 12) == 12
    for name, size in [
        (b"Scan.Action", 12),
        (b"Scan.StatusGe", 12),
        (b"scan.statusget", 12),
        (b"", 12),
        (b"\xff" * 32, 12),
        (b"Scan.StatusGet", -1),
        (b"Scan.StatusGet", -(2**31)),
        (b"Scan.StatusGet", 2**31 - 1),
        (b"Scan.StatusGet", 13),
        (b"Scan.StatusGet", 7),
    ]:
        with pytest.raises(ReplyError, match=r"Scan\.StatusGet"):
            response_size(header(name, size), "Scan.StatusGet", 12)
    assert len(header(b"x", 0)) == HEADER_BYTES


def test_what_the_controller_complains_of_is_told() -> None:
    for body in (
        refused("no such command"),  # nothing but the error
        BODIES["Scan.FrameGet"] + refused("no such command"),  # all fields, then the error
        bytes(20) + refused("no such command"),
        BODIES["Scan.FrameGet"] + struct.pack(">I", 1) + struct.pack(">ii", 0, 15) + b"no such command",  # with a code
    ):
        with pytest.raises(CommandRefusedError, match="no such command"):
            decode(calls.SCAN_FRAME, body)
    with pytest.raises(CommandRefusedError, match="error 1, without a text"):
        decode(calls.SCAN_FRAME, BODIES["Scan.FrameGet"] + struct.pack(">Ii", 1, 0))
    latin = "défaut".encode("latin-1")
    with pytest.raises(CommandRefusedError, match="défaut"):
        decode(calls.SCAN_FRAME, struct.pack(">Ii", 1, len(latin)) + latin)


@pytest.mark.parametrize("growth", [1, 2, 4, 8, 20, 300])
@pytest.mark.parametrize("name", sorted(BODIES))
def test_fields_of_later_releases_are_passed_over_and_counted(name: str, growth: int) -> None:
    added = bytes(range(1, 256)) * 2
    fields = Fields(name, BODIES[name] + added[:growth] + GOOD)
    named(name).read(fields)
    assert close_reply(fields) == growth


def test_a_grown_reply_that_tells_of_an_error_is_an_error() -> None:
    body = BODIES["Scan.StatusGet"] + b"\x07\x08\x09" + refused("the scan module is closed")
    with pytest.raises(CommandRefusedError, match="the scan module is closed"):
        decode(calls.SCAN_STATUS, body)


def test_a_reply_without_an_error_block_at_its_end_is_refused() -> None:
    for tail in (b"", GOOD[:7], GOOD + b"\1", struct.pack(">Ii", 0, 5) + b"four", struct.pack(">Ii", 0, -1)):
        with pytest.raises(ReplyError, match="no error block"):
            decode(calls.SCAN_STATUS, BODIES["Scan.StatusGet"] + tail)
    assert error_block(memoryview(b"short"), 0) is None


def test_long_and_foreign_texts_are_read() -> None:
    """nanonis_spm misreads sizes from 256 on, and nanonisTCP takes UTF-8 only."""
    for size in (0, 255, 256, 257, 1000, 20_000):
        assert decode(calls.SESSION_PATH, string("x" * size) + GOOD) == "x" * size
    assert decode(calls.SESSION_PATH, string("Überstruktur Å".encode()) + GOOD) == "Überstruktur Å"
    assert decode(calls.SESSION_PATH, string("Überstruktur".encode("latin-1")) + GOOD) == "Überstruktur"
    long = ["Z (m)", "y" * 300]
    assert decode(calls.SIGNAL_NAMES, names(long) + GOOD) == tuple(long)
    assert decode(calls.SIGNAL_NAMES, names(long, with_sizes=False) + GOOD) == tuple(long)
    with pytest.raises(ReplyError, match="2147483647 texts announced"):
        decode(calls.SIGNAL_NAMES, struct.pack(">ii", 5, 2**31 - 1) + string("Z (m)") + GOOD)
    with pytest.raises(ReplyError, match="announced"):
        decode(calls.SIGNAL_NAMES, struct.pack(">ii", 3, 1) + string("Z (m)") + GOOD)


def test_a_frame_without_data_is_empty() -> None:
    for body in (string("Z (m)") + struct.pack(">i", 0), string("Z (m)") + struct.pack(">iiI", 0, 0, 0)):
        assert decode(calls.FRAME_DATA, body + GOOD).data.size == 0


def test_a_frame_that_is_larger_than_its_reply_takes_no_memory() -> None:
    for rows, columns in [(2**15, 2**15), (2**31 - 1, 2**31 - 1), (-1, -1), (-5, 3), (4, 4), (1, MAX_FRAME_PIXELS + 1)]:
        body = string("Z (m)") + struct.pack(">ii", rows, columns) + PICTURE.astype(">f4").tobytes() + bytes(4) + GOOD
        with pytest.raises(ReplyError):
            decode(calls.FRAME_DATA, body)


def test_what_is_no_number_becomes_a_quiet_nan() -> None:
    raw = np.array([np.inf, -np.inf, np.nan, 1.0], dtype=">f4").tobytes()[:-4] + bytes.fromhex("7F800001")
    fields = Fields(
        "Scan.FrameDataGrab", string("Z (m)") + struct.pack(">ii", 1, 4) + raw + struct.pack(">I", 0) + GOOD
    )
    data = read_frame_data(fields).data
    assert data.dtype == np.float32
    assert data.flags.writeable
    assert np.isnan(data).all()
    assert (data.view(np.uint32) & 0x00400000).all()


def mutated(draw: Callable[..., Any], whole: bytes) -> bytes:
    """A reply with a few bytes or numbers changed, cut or lengthened."""
    body = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["byte", "number", "cut", "insert"]))
        at = draw(st.integers(0, len(body)))
        if kind == "byte" and body:
            body[at % len(body)] = draw(st.integers(0, 255))
        elif kind == "number":
            number = draw(st.sampled_from([-1, 0, 1, 2**31 - 1, -(2**31), 255, 256]) | st.integers(-(2**31), 2**31 - 1))
            body[at : at + 4] = struct.pack(">i", number)
        elif kind == "cut":
            del body[at:]
        else:
            body[at:at] = draw(st.binary(max_size=12))
    return bytes(body)


@st.composite
def replies(draw: Callable[..., Any]) -> tuple[Call[Any], bytes]:
    call = named(draw(st.sampled_from(sorted(BODIES))))
    source = draw(st.sampled_from(["own", "foreign", "noise", "error"]))
    if source == "noise":
        return call, draw(st.binary(max_size=200))
    if source == "error":
        return call, mutated(draw, refused(draw(st.text(max_size=20))))
    name = call.name if source == "own" else draw(st.sampled_from(sorted(BODIES)))
    return call, mutated(draw, BODIES[name] + GOOD)


def check_reply(call: Call[Any], body: bytes) -> None:
    trouble = ""
    try:
        reply = decode(call, body)
    except NanonisError as error:
        trouble = str(error)
    if trouble:
        assert trouble.startswith(call.name)
        return
    if call is calls.FRAME_DATA:
        assert reply.data.dtype == np.float32
        assert reply.data.nbytes <= len(body)
        assert np.isfinite(reply.data[~np.isnan(reply.data)]).all()
    elif call is calls.SCAN_BUFFER:
        assert len(reply.channels) <= 128
        assert 0 < reply.pixels * reply.lines <= MAX_FRAME_PIXELS
    elif call is calls.SCAN_FRAME:
        assert np.isfinite([*reply.center_m, *reply.size_m, reply.angle_deg]).all()


@given(replies())
@settings(max_examples=400)
def test_no_reply_does_more_harm_than_a_clear_fault(reply: tuple[Call[Any], bytes]) -> None:
    check_reply(*reply)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@given(replies())
@settings(max_examples=100_000, database=None)
def test_a_hundred_thousand_replies_do_no_more_harm_than_a_clear_fault(reply: tuple[Call[Any], bytes]) -> None:
    check_reply(*reply)
