"""Messages of growing frames: what goes in comes out, and nothing else gets through."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spm_live_drivers.contract import MAX_FRAME_PIXELS, FrameInfo, FrameRef, ScanDirection, ScanGeometry, Trace
from spm_live_drivers.errors import FrameError
from spm_live_drivers.growing import GrowingEvent, ScanEnd, ScanLines, ScanOutcome, ScanStart
from spm_live_drivers.wire import MAX_HEADER_BYTES, decode
from spm_live_drivers.wire_growing import TOPICS, GrowingMessage, decode_event, encode_event, is_growing
from spm_live_drivers.wire_receipt import Receipt, Result, decode_receipt, encode_receipt

SENT = {"sender": "stm-1", "session": "5f", "sequence": 7}


def names(longest: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=longest)


def prose(longest: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=longest)


finite = st.floats(-1e12, 1e12)
sizes = st.floats(1e-6, 1e6)
moments = st.none() | st.datetimes(datetime(1980, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@st.composite
def starts(draw: st.DrawFn) -> ScanStart:
    info = FrameInfo(
        ref=FrameRef(draw(names(40)), "", draw(names(8)), draw(st.sampled_from(Trace))),
        geometry=ScanGeometry(
            draw(st.integers(1, 8192)),
            draw(st.integers(1, 8192)),
            (draw(sizes), draw(sizes)),
            (draw(finite), draw(finite)),
            draw(st.floats(-360, 360)),
        ),
        unit=draw(names(4)),
        direction=draw(st.sampled_from(ScanDirection)),
        bias_v=draw(st.none() | finite),
        setpoint=draw(st.none() | finite),
        setpoint_unit=draw(names(4)),
        started=draw(moments),
        instrument=draw(names(20)),
        comment=draw(prose(60)),
        format=draw(names(12)),
        warnings=tuple(draw(st.lists(prose(30), max_size=4))),
        metadata=draw(st.dictionaries(prose(10), prose(20), max_size=5)),
    )
    return ScanStart(draw(names(128)), info, draw(st.none() | st.floats(1e-6, 1e6)), draw(st.booleans()))


@st.composite
def line_events(draw: st.DrawFn) -> ScanLines:
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    values = st.lists(st.floats(width=32, allow_infinity=False), min_size=rows * columns, max_size=rows * columns)
    traces = [np.array(draw(values), dtype=np.float32).reshape(rows, columns) for _ in range(2)]
    return ScanLines(
        draw(names(128)), draw(st.integers(0, 8192)), traces[0], traces[1] if draw(st.booleans()) else None
    )


ends = st.builds(ScanEnd, names(128), st.sampled_from(ScanOutcome), st.just("") | names(60))
events = starts() | line_events() | ends

START = ScanStart(
    "scan 1",
    FrameInfo(
        FrameRef("stm-1/scan 1", "", "Z", Trace.FORWARD),
        ScanGeometry(4, 3, (6.0, 8.0), (1.0, -2.0), 30.0),
        "m",
        ScanDirection.UP,
        bias_v=0.1,
        comment="on gold\nafter annealing",
        metadata={"Z-Controller": "on"},
    ),
    0.5,
    backward=True,
)
LINES = ScanLines("scan 1", 1, np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 3), dtype=np.float32))
END = ScanEnd("scan 1", ScanOutcome.FINISHED, "D:/data/scan 1.sxm")
EVENTS: dict[str, GrowingEvent] = {"start": START, "lines": LINES, "end": END}


def message(kind: str, **changes: Any) -> list[bytes]:
    """A good message, and what is changed of its header; ``...`` takes a field away."""
    topic, header, payload = encode_event(EVENTS[kind], **SENT)
    values = {**json.loads(header), **changes}
    return [topic, json.dumps({name: value for name, value in values.items() if value is not ...}).encode(), payload]


def header_of(parts: list[bytes]) -> dict[str, Any]:
    return dict(json.loads(parts[1]))


def reason(parts: list[bytes]) -> str:
    with pytest.raises(FrameError) as caught:
        decode_event(parts, origin="tcp://here")
    assert caught.value.stage == "receive"
    assert 0 < len(caught.value.reason) < 400
    return caught.value.reason


def assert_same(one: GrowingEvent, other: GrowingEvent) -> None:
    assert type(one) is type(other)
    if isinstance(one, ScanLines) and isinstance(other, ScanLines):
        assert (one.scan, one.first_row) == (other.scan, other.first_row)
        assert one.forward.tobytes() == other.forward.tobytes()
        assert one.forward.shape == other.forward.shape
        assert (one.backward is None) == (other.backward is None)
        if one.backward is not None and other.backward is not None:
            assert one.backward.tobytes() == other.backward.tobytes()
    else:
        assert one == other


@given(events, names(128), names(128), st.integers(0, 2**53 - 1))
def test_decode_gives_back_what_encode_took(event: GrowingEvent, sender: str, session: str, sequence: int) -> None:
    parts = encode_event(event, sender=sender, session=session, sequence=sequence)
    kind = {ScanStart: "start", ScanLines: "lines", ScanEnd: "end"}[type(event)]
    assert parts[0] == TOPICS[kind]
    assert is_growing(parts)
    got = decode_event(parts)
    assert (got.envelope.type, got.envelope.sender, got.envelope.session) == (kind, sender, session)
    assert got.envelope.sequence == sequence
    assert_same(got.event, event)


@pytest.mark.parametrize("kind", EVENTS)
def test_a_growing_message_is_no_frame_and_says_so(kind: str) -> None:
    with pytest.raises(FrameError, match=f"type '{kind}' tells of a frame that still grows"):
        decode(message(kind))


def test_a_frame_is_no_growing_message() -> None:
    parts = message("start", type="frame")
    assert not is_growing(parts)
    assert reason(parts) == "a message of type 'frame' is none of end, lines, start"


@pytest.mark.parametrize("parts", [[], [b""] * 3, [b"spm.lines", b"{", b""], [b"", b'{"type": ["lines"]}', b""]])
def test_what_cannot_be_read_is_no_growing_message(parts: list[bytes]) -> None:
    assert not is_growing(parts)
    assert reason(parts)


REQUIRED = {
    "start": ["scan", "rows", "columns", "size_nm", "channel", "unit"],
    "lines": ["scan", "first_row", "count", "columns"],
    "end": ["scan", "outcome"],
}
ALWAYS = ["schema", "type", "sender", "session", "sequence"]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in EVENTS for name in [*ALWAYS, *REQUIRED[kind]]])
@pytest.mark.parametrize("instead", [..., None], ids=["left out", "null"])
def test_each_required_field_is_asked_for_by_name(kind: str, name: str, instead: object) -> None:
    assert name in reason(message(kind, **{name: instead}))


def test_only_the_required_fields_are_required() -> None:
    for kind in EVENTS:
        header = header_of(message(kind))
        spare = {name: ... for name in header if name not in [*ALWAYS, *REQUIRED[kind]]}
        parts = message(kind, **spare)
        if kind == "lines":
            parts[2] = parts[2][:24]
        event = decode_event(parts).event
        if isinstance(event, ScanStart):
            assert event.info.ref == FrameRef("stm-1/scan 1", "", "Z", Trace.FORWARD)
            assert event.info.direction is ScanDirection.DOWN
            assert (event.line_time_s, event.backward, event.info.complete_rows) == (None, False, 0)
        elif isinstance(event, ScanLines):
            assert event.backward is None
        else:
            assert event.saved_as == ""


def test_what_only_a_finished_frame_has_is_passed_over() -> None:
    event = decode_event(message("start", sha256="ab" * 32, complete_rows=3, payload_crc32=5)).event
    assert event == START


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("start", {"rows": 8193, "columns": 8192}),
        ("start", {"rows": 0}),
        ("start", {"columns": -1}),
        ("start", {"rows": 2**31}),
        ("start", {"columns": 10**400}),
        ("start", {"size_nm": [0, 1]}),
        ("start", {"size_nm": [math.inf, 1]}),
        ("start", {"angle_deg": "30"}),
        ("start", {"direction": "sideways"}),
        ("start", {"line_time_s": 0}),
        ("start", {"line_time_s": -1}),
        ("start", {"line_time_s": math.nan}),
        ("start", {"line_time_s": True}),
        ("start", {"backward": 1}),
        ("start", {"backward": "yes"}),
        ("start", {"started": "yesterday"}),
        ("start", {"metadata": {"a": 1}}),
        ("lines", {"first_row": -1}),
        ("lines", {"first_row": 2**31}),
        ("lines", {"first_row": 1.0}),
        ("lines", {"count": 0}),
        ("lines", {"count": -1}),
        ("lines", {"count": 2**31}),
        ("lines", {"count": True}),
        ("lines", {"columns": 0}),
        ("lines", {"columns": 2**31}),
        ("lines", {"columns": 10**400}),
        ("lines", {"columns": 4}),
        ("lines", {"traces": []}),
        ("lines", {"traces": ["forward"]}),
        ("lines", {"traces": ["backward", "forward"]}),
        ("lines", {"traces": ["forward", "backward", "backward"]}),
        ("lines", {"traces": "forward"}),
        ("lines", {"traces": {}}),
        ("lines", {"traces": [["forward"]]}),
        ("lines", {"dtype": "<f8"}),
        ("lines", {"dtype": ["<f4"]}),
        ("lines", {"payload_crc32": 1}),
        ("lines", {"payload_crc32": -5}),
        ("end", {"outcome": "well"}),
        ("end", {"outcome": ["finished"]}),
        ("end", {"saved_as": "a\nb"}),
        ("end", {"saved_as": "x" * 4097}),
        ("end", {"saved_as": 3}),
        *[
            (kind, change)
            for kind in EVENTS
            for change in (
                {"schema": 2},
                {"scan": ""},
                {"scan": "x" * 129},
                {"scan": "a\nb"},
                {"scan": "\x1b[31m"},
                {"scan": 5},
                {"session": ""},
                {"session": 5},
                {"sender": "a\nb"},
                {"sequence": -1},
                {"type": "middle"},
                {"type": "Lines!"},
            )
        ],
    ],
    ids=str,
)
def test_a_wrong_field_is_refused(kind: str, change: dict[str, Any]) -> None:
    assert reason(message(kind, **change))


def test_the_reason_gives_both_sizes() -> None:
    parts = message("lines")
    assert reason([*parts[:2], parts[2][:-1]]) == (
        "2 x 2 x 3 values (traces, rows, columns) need 48 bytes, the payload has 47"
    )


def test_a_huge_promise_takes_no_memory() -> None:
    parts = message("lines", count=MAX_FRAME_PIXELS, columns=MAX_FRAME_PIXELS, first_row=0)
    assert "the payload has 48" in reason(parts)


@pytest.mark.parametrize("kind", ["start", "end"])
def test_a_payload_where_none_belongs_is_refused(kind: str) -> None:
    assert "1 bytes" in reason([*message(kind)[:2], b"x"])


def test_infinite_values_are_taken_as_not_scanned() -> None:
    parts = message("lines", payload_crc32=...)
    parts[2] = np.array([1, np.inf, 3, 4, 5, 6, -np.inf, 8, 9, 10, 11, 12], dtype="<f4").tobytes()
    event = decode_event(parts).event
    assert isinstance(event, ScanLines)
    assert event.backward is not None
    np.testing.assert_array_equal(event.forward, [[1, np.nan, 3], [4, 5, 6]])
    np.testing.assert_array_equal(event.backward, [[np.nan, 8, 9], [10, 11, 12]])
    assert not event.forward.flags.writeable


def test_lines_are_read_where_they_lie() -> None:
    parts = message("lines")
    event = decode_event(parts).event
    assert isinstance(event, ScanLines)
    assert np.shares_memory(event.forward, np.frombuffer(parts[2], dtype=np.uint8))
    assert not event.forward.flags.writeable


def test_the_payload_is_trace_after_trace_row_after_row_with_its_crc32() -> None:
    parts = encode_event(LINES, **SENT)
    assert LINES.backward is not None
    assert parts[2] == LINES.forward.astype("<f4").tobytes() + LINES.backward.astype("<f4").tobytes()
    assert header_of(parts)["payload_crc32"] == zlib.crc32(parts[2])


@given(st.integers(0, 47), st.integers(0, 7))
def test_a_flipped_bit_of_a_value_is_noticed(byte: int, bit: int) -> None:
    parts = encode_event(LINES, **SENT)
    payload = bytearray(parts[2])
    payload[byte] ^= 1 << bit
    assert "checksum" in reason([*parts[:2], bytes(payload)])


@pytest.mark.parametrize("kind", EVENTS)
def test_a_message_cut_at_any_byte_is_refused(kind: str) -> None:
    parts = encode_event(EVENTS[kind], **SENT)
    for part in (1, 2):  # the topic is for subscriptions only
        for length in range(len(parts[part])):
            assert reason([*parts[:part], parts[part][:length], *parts[part + 1 :]])
    for count in (0, 1, 2):
        assert f"{count} parts" in reason(parts[:count])


def test_long_texts_and_metadata_are_cut_so_that_the_header_fits() -> None:
    metadata = {f"key {number}": "é" * 500 for number in range(1000)}
    info = replace(START.info, comment="\x01" * 50_000, metadata=metadata, instrument="x" * 5000)
    parts = encode_event(replace(START, info=info), **SENT)
    event = decode_event(parts).event
    assert isinstance(event, ScanStart)
    assert len(parts[1]) <= MAX_HEADER_BYTES
    assert "did not fit" in event.info.warnings[-1]


def test_a_long_path_keeps_the_name_of_the_file() -> None:
    event = decode_event(encode_event(replace(END, saved_as="D:/" + "x/" * 4000 + "\udcff\n1.sxm"), **SENT)).event
    assert isinstance(event, ScanEnd)
    assert event.saved_as.endswith("/? 1.sxm")


def test_a_line_time_that_is_none_is_left_out() -> None:
    for line_time_s in (None, 0.0, -1.0, math.nan, math.inf):
        assert "line_time_s" not in header_of(encode_event(replace(START, line_time_s=line_time_s), **SENT))


@pytest.mark.parametrize(
    ("event", "envelope"),
    [
        (replace(START, scan=""), {}),
        (replace(START, scan="a\nb"), {}),
        (replace(END, scan="x" * 129), {}),
        (ScanLines("s", 0, np.zeros((0, 3), np.float32)), {}),
        (ScanLines("s", 0, np.zeros((3, 0), np.float32)), {}),
        (ScanLines("s", 0, np.zeros(3, np.float32)), {}),
        (ScanLines("s", -1, np.zeros((1, 3), np.float32)), {}),
        (ScanLines("s", 0, np.zeros((1, 3), np.float32), np.zeros((1, 4), np.float32)), {}),
        (ScanLines("s", 0, np.broadcast_to(np.float32(0), (8193, 8192))), {}),
        (END, {"sender": ""}),
        (END, {"session": ""}),
        (END, {"sequence": -1}),
    ],
    ids=range(12),
)
def test_what_no_receiver_takes_is_not_sent(event: GrowingEvent, envelope: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        encode_event(event, **{**SENT, **envelope})


def test_unknown_is_a_receipt_of_its_own_and_not_the_last_word() -> None:
    receipt = Receipt("5f", 7, Result.UNKNOWN, "scan 'scan 1' is not known here")
    assert decode_receipt(encode_receipt(receipt)) == receipt
    assert [result for result in Result if not result.final] == [Result.LATER, Result.UNKNOWN]


# --- whatever arrives ------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 0, 2**31, 2**32 - 1, 2**53, 2**63, 10**30])
    | st.floats()
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
FIELDS = {kind: [*header_of(encode_event(event, **SENT)), "traces", "dtype"] for kind, event in EVENTS.items()}


@st.composite
def changed_fields(draw: st.DrawFn) -> list[bytes]:
    """A good message, any JSON in some of its fields."""
    kind = draw(st.sampled_from(sorted(EVENTS)))
    changes = draw(st.dictionaries(st.sampled_from(FIELDS[kind]), json_values, min_size=1, max_size=3))
    topic, header, payload = encode_event(EVENTS[kind], **SENT)
    return [topic, json.dumps({**json.loads(header), **changes}).encode("utf-8", "surrogatepass"), payload]


@st.composite
def changed_bytes(draw: st.DrawFn) -> list[bytes]:
    """A good message, some bytes of which are other ones, more or fewer."""
    parts = encode_event(EVENTS[draw(st.sampled_from(sorted(EVENTS)))], **SENT)
    for _ in range(draw(st.integers(1, 3))):
        number = draw(st.integers(0, 2))
        part = parts[number]
        at = draw(st.integers(0, len(part)))
        parts[number] = part[:at] + draw(st.binary(max_size=4)) + part[at + draw(st.integers(0, 4)) :]
    return parts


noise = st.lists(st.binary(max_size=60), max_size=5)
headed_noise = st.tuples(st.binary(max_size=9), st.dictionaries(st.sampled_from(FIELDS["lines"]), json_values))
anything = (
    changed_fields()
    | changed_bytes()
    | noise
    | headed_noise.map(lambda pair: [pair[0], json.dumps(pair[1]).encode("utf-8", "surrogatepass"), b""])
)


def assert_sound(message: GrowingMessage) -> None:
    """Nothing gets through that the rest of the program could stumble over."""
    event = message.event
    assert 0 < len(event.scan) <= 128
    assert event.scan.encode() is not None
    assert message.envelope.sender
    assert message.envelope.session
    if isinstance(event, ScanStart):
        geometry = event.info.geometry
        assert 0 < geometry.rows * geometry.columns <= MAX_FRAME_PIXELS
        assert math.isfinite(sum((*geometry.size_nm, *geometry.center_nm, geometry.angle_deg)))
        assert event.info.complete_rows == 0
        assert event.line_time_s is None or 0 < event.line_time_s < math.inf
    elif isinstance(event, ScanLines):
        for trace in (event.forward, event.backward):
            assert trace is None or (trace.dtype == np.float32 and trace.shape == event.forward.shape)
            assert trace is None or not np.isinf(trace).any()
        assert event.first_row >= 0
        assert min(event.forward.shape) > 0
    else:
        assert len(event.saved_as) <= 4096


def judge(parts: list[bytes]) -> None:
    refused: FrameError | None = None
    try:
        assert_sound(decode_event(parts))
    except FrameError as error:
        refused = error
    assert refused is None or (refused.stage == "receive" and 0 < len(refused.reason) < 400)
    is_growing(parts)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(anything)
def test_anything_gives_an_event_or_a_reason(parts: list[bytes]) -> None:
    judge(parts)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=100_000, suppress_health_check=[HealthCheck.too_slow], derandomize=False, database=None)
@given(anything)
def test_anything_gives_an_event_or_a_reason_a_hundred_thousand_times(parts: list[bytes]) -> None:
    judge(parts)
