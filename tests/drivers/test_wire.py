"""The wire message: what goes in comes out, and nothing else gets through."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spm_live_drivers.contract import Frame, FrameInfo, FrameRef, ScanDirection, ScanGeometry, Trace
from spm_live_drivers.errors import FrameError
from spm_live_drivers.wire import MAX_HEADER_BYTES, TOPIC, decode, encode_frame

SENT = {"sender": "stm-1", "session": "5f", "sequence": 7}


def names(longest: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=longest)


def prose(longest: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=longest)


finite = st.floats(-1e12, 1e12)
moments = st.none() | st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    rows, columns = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    size = st.floats(1e-6, 1e6)
    info = FrameInfo(
        ref=FrameRef(
            draw(names(40)),
            draw(st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")),
            draw(names(8)),
            draw(st.sampled_from(Trace)),
        ),
        geometry=ScanGeometry(
            rows, columns, (draw(size), draw(size)), (draw(finite), draw(finite)), draw(st.floats(-360, 360))
        ),
        unit=draw(names(4)),
        direction=draw(st.sampled_from(ScanDirection)),
        complete_rows=draw(st.integers(0, rows)),
        bias_v=draw(st.none() | finite),
        setpoint=draw(st.none() | finite),
        setpoint_unit=draw(names(4)),
        started=draw(moments),
        ended=draw(moments),
        instrument=draw(names(20)),
        comment=draw(prose(60)),
        format=draw(names(12)),
        warnings=tuple(draw(st.lists(prose(30), max_size=4))),
        metadata=draw(st.dictionaries(prose(10), prose(20), max_size=5)),
    )
    values = st.floats(width=32, allow_infinity=False)
    data = draw(st.lists(values, min_size=rows * columns, max_size=rows * columns))
    return Frame(info, np.array(data, dtype=np.float32).reshape(rows, columns))


def plain_frame(**changes: Any) -> Frame:
    info = FrameInfo(
        ref=FrameRef("D:/data/a.sxm", "ab" * 32, "Z", Trace.FORWARD),
        geometry=ScanGeometry(2, 3, (6.0, 4.0)),
        unit="m",
        complete_rows=2,
    )
    return Frame(replace(info, **changes), np.arange(6, dtype=np.float32).reshape(2, 3))


def header_of(parts: list[bytes]) -> dict[str, Any]:
    return dict(json.loads(parts[1]))


def minimal(**changes: Any) -> list[bytes]:
    header = {
        "schema": 1,
        "type": "frame",
        "sender": "lab",
        "sequence": 0,
        "rows": 2,
        "columns": 3,
        "size_nm": [6.0, 4.0],
        "channel": "Z",
        "unit": "m",
    }
    header = {name: value for name, value in {**header, **changes}.items() if value is not ...}
    return [b"", json.dumps(header).encode(), np.arange(6, dtype="<f4").tobytes()]


def reason(parts: list[bytes]) -> str:
    with pytest.raises(FrameError) as caught:
        decode(parts)
    assert caught.value.stage == "receive"
    assert len(caught.value.reason) < 400
    return caught.value.reason


@given(frames(), names(128), names(128), st.integers(0, 2**53 - 1))
def test_decode_gives_back_what_encode_took(frame: Frame, sender: str, session: str, sequence: int) -> None:
    message = decode(encode_frame(frame, sender=sender, session=session, sequence=sequence))
    envelope = message.envelope
    assert (envelope.type, envelope.sender, envelope.session) == ("frame", sender, session)
    assert envelope.sequence == sequence
    assert message.frame.info == frame.info
    np.testing.assert_array_equal(message.frame.data, frame.data)
    assert message.frame.data.tobytes() == frame.data.tobytes()


def test_only_nine_fields_are_required() -> None:
    frame = decode(minimal()).frame
    assert frame.info.complete_rows == 2
    assert frame.ref.trace is Trace.FORWARD
    assert frame.info.direction is ScanDirection.DOWN
    assert frame.ref.source == f"lab/{frame.ref.sha256[:16]}"
    assert frame.info.started is None


@pytest.mark.parametrize(
    "name", ["schema", "type", "sender", "sequence", "rows", "columns", "size_nm", "channel", "unit"]
)
def test_each_required_field_is_asked_for_by_name(name: str) -> None:
    assert name in reason(minimal(**{name: ...}))


def test_the_same_frame_sent_twice_without_a_digest_is_one_frame() -> None:
    first = decode(minimal(sequence=1)).frame.ref
    again = decode(minimal(sequence=2, session="after a restart", comment="again", trace="forward")).frame.ref
    assert first == again


@pytest.mark.parametrize(
    "change",
    [{"sender": "other"}, {"channel": "I"}, {"center_nm": [1, 0]}, {"started": "2026-01-01T00:00:00Z"}, {"bias_v": 1}],
)
def test_another_scan_without_a_digest_is_another_frame(change: dict[str, Any]) -> None:
    assert decode(minimal()).frame.ref.sha256 != decode(minimal(**change)).frame.ref.sha256


def test_rows_without_any_value_are_not_complete() -> None:
    data = np.array([[1, 2, np.nan], [np.nan] * 3], dtype="<f4")
    parts = minimal()
    parts[2] = data.tobytes()
    assert decode(parts).frame.info.complete_rows == 1


def test_infinite_pixels_are_taken_as_not_scanned_and_told() -> None:
    parts = minimal()
    parts[2] = np.array([[1, np.inf, 3], [4, -np.inf, 6]], dtype="<f4").tobytes()
    frame = decode(parts).frame
    assert np.isnan(frame.data[:, 1]).all()
    assert frame.info.warnings == ("2 infinite pixels are taken as not scanned",)


WILD = [-1, 0, 2**31, 2**63, 10**400, 1.5, math.nan, math.inf, True, "512", [], {}, [[]], 1e400]


@pytest.mark.parametrize("value", WILD, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("name", ["rows", "columns", "schema", "payload_crc32"])
def test_a_wild_whole_number_is_refused(name: str, value: object) -> None:
    assert reason(minimal(**{name: value}))


@pytest.mark.parametrize("value", [*WILD, [1, 2, 3], [1], [0, 1], [1, -1], ["1", 2], [True, 1], [math.inf, 1]], ids=str)
def test_a_wild_scan_range_is_refused(value: object) -> None:
    assert reason(minimal(size_nm=value))


@pytest.mark.parametrize("name", ["bias_v", "setpoint", "angle_deg"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400, True, "1", [1]], ids=lambda value: str(value)[:20])
def test_a_wild_number_is_refused(name: str, value: object) -> None:
    assert reason(minimal(**{name: value}))


@pytest.mark.parametrize(
    "change",
    [
        {"complete_rows": -1},
        {"complete_rows": 3},
        {"complete_rows": 1.0},
        {"complete_rows": 2**63},
        {"sequence": -1},
        {"sequence": 2**53},
        {"sender": ""},
        {"sender": "x" * 129},
        {"sender": "a\nb"},
        {"channel": "\x1b[31m"},
        {"channel": 3},
        {"unit": "\ud800"},
        {"trace": "sideways"},
        {"trace": []},
        {"direction": 1},
        {"sha256": "AB" * 32},
        {"sha256": "../../etc/passwd"},
        {"sha256": "ab" * 32 + "\n"},
        {"started": "yesterday"},
        {"started": "2026-01-01T00:00:00"},
        {"started": "0001-01-01T00:00:00+23:00"},
        {"ended": 5},
        {"comment": "x" * 16385},
        {"warnings": "none"},
        {"warnings": [1]},
        {"warnings": ["x"] * 33},
        {"metadata": [1]},
        {"metadata": {"a": 1}},
        {"dtype": "<f8"},
        {"dtype": ["<f4"]},
        {"type": "lines"},
        {"type": "Frame!"},
        {"type": "picture"},
        {"payload_crc32": 1},
        {"rows": 8193, "columns": 8192},
    ],
    ids=str,
)
def test_a_wrong_field_is_refused(change: dict[str, Any]) -> None:
    assert reason(minimal(**change))


def test_another_schema_says_which_side_to_update() -> None:
    assert reason(minimal(schema=2)) == (
        "the message has schema 2, this receiver knows schema 1: update the older side"
    )


def test_the_reason_gives_both_sizes() -> None:
    parts = minimal()
    parts[2] = parts[2][:-1]
    assert reason(parts) == "2 x 3 px need 24 bytes, the payload has 23"


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
        b'{"schema": ' + b"9" * 5000 + b"}",
        b" " * (MAX_HEADER_BYTES + 1),
        b'{"schema": NaN}',
        b"\x80\x04K\x01.",
    ],
    ids=lambda header: repr(header[:12]),
)
def test_a_header_that_is_no_object_is_refused(header: bytes) -> None:
    assert reason([TOPIC, header, b""])


@pytest.mark.parametrize("count", [0, 1, 2, 4, 9])
def test_another_number_of_parts_is_refused(count: int) -> None:
    assert f"{count} parts" in reason([b"x"] * count)


def test_a_long_topic_is_refused() -> None:
    assert "topic" in reason([b"x" * 257, *minimal()[1:]])


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_noise_is_refused(parts: list[bytes]) -> None:
    assert reason(parts)


@given(st.integers(0, 2), st.data())
def test_a_cut_part_is_refused(part: int, data: st.DataObject) -> None:
    parts = encode_frame(plain_frame(), **SENT)
    if part == 0:
        return  # the topic is for subscriptions only
    parts[part] = parts[part][: data.draw(st.integers(0, len(parts[part]) - 1))]
    assert reason(parts)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.sampled_from(sorted(header_of(encode_frame(plain_frame(), **SENT)))), json_values)
def test_any_json_in_any_field_gives_a_frame_or_a_reason(name: str, value: object) -> None:
    parts = encode_frame(plain_frame(), **SENT)
    parts[1] = json.dumps({**header_of(parts), name: value}).encode("utf-8", "surrogatepass")
    try:
        frame = decode(parts).frame
    except FrameError:
        return
    assert frame.data.shape == (2, 3)
    assert math.isfinite(sum(frame.geometry.size_nm))
    assert frame.info.comment.encode() is not None


@given(st.integers(0, 23), st.integers(0, 7))
def test_a_flipped_bit_of_a_pixel_is_noticed(byte: int, bit: int) -> None:
    parts = encode_frame(plain_frame(), **SENT)
    payload = bytearray(parts[2])
    payload[byte] ^= 1 << bit
    assert "checksum" in reason([*parts[:2], bytes(payload)])


def test_long_texts_and_metadata_are_cut_so_that_the_header_fits() -> None:
    frame = plain_frame(
        comment="\x01" * 50_000,
        warnings=("\x02" * 2000,) * 60,
        metadata={f"key {number}": "é" * 500 for number in range(1000)},
        instrument="x" * 5000,
        ref=FrameRef("s" * 9000, "ab" * 32, "Z\n2", Trace.FORWARD),
    )
    parts = encode_frame(frame, **SENT)
    info = decode(parts).frame.info
    assert len(parts[1]) <= MAX_HEADER_BYTES
    assert "did not fit" in info.warnings[-1]
    assert info.ref.channel == "Z 2"


def test_a_file_name_that_is_not_unicode_can_be_sent() -> None:
    frame = plain_frame(ref=FrameRef("/data/\udcff.sxm", "ab" * 32, "Z", Trace.FORWARD))
    assert decode(encode_frame(frame, **SENT)).frame.ref.source == "/data/?.sxm"


def test_a_time_in_another_zone_is_the_same_moment() -> None:
    moment = datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=2)))
    parts = encode_frame(plain_frame(started=moment), **SENT)
    assert header_of(parts)["started"] == "2026-01-31T10:00:00Z"
    assert decode(parts).frame.info.started == moment


def test_settings_that_are_not_numbers_are_left_out() -> None:
    parts = encode_frame(plain_frame(bias_v=math.nan, setpoint=math.inf), **SENT)
    assert not {"bias_v", "setpoint"} & set(header_of(parts))


@pytest.mark.parametrize("change", [{"sender": ""}, {"sequence": -1}, {"sender": "a\nb"}, {"session": "x" * 129}])
def test_an_envelope_that_no_receiver_takes_is_not_sent(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        encode_frame(plain_frame(), **{**SENT, **change})


def test_the_checksum_is_crc32_as_zlib_makes_it() -> None:
    parts = encode_frame(plain_frame(), **SENT)
    assert header_of(parts)["payload_crc32"] == zlib.crc32(parts[2])


def test_pixels_are_read_where_they_lie() -> None:
    parts = encode_frame(plain_frame(), **SENT)
    data = decode(parts).frame.data
    assert np.shares_memory(data, np.frombuffer(parts[2], dtype=np.uint8))
