from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from made_results import MODEL, NOON, made
from zmq.utils.monitor import recv_monitor_message

from spm_live.domain import DaemonState, DaemonStatus
from spm_live.errors import SetupError
from spm_live.publish.feed import Feed
from spm_live.publish.message import status_message
from spm_live.publish.snapshot import MAX_SNAPSHOT_FRAMES, RequestError, answer, parse_request
from spm_live.publish.store import Store, StoreError
from spm_live.publish.zap import zap_reply
from spm_live.publish.zeromq import ZeroMQPublisher
from spm_live.settings import CurveSettings, PublishSettings

TOKEN = "a token of the tests"
PATIENCE_MS = 20_000
STATUS = DaemonStatus(DaemonState.RUNNING, NOON, model=MODEL, counters={"frames": 3})
LOCAL = PublishSettings(endpoint="tcp://127.0.0.1:*", snapshot_endpoint="tcp://127.0.0.1:*")


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    with Store(tmp_path / "s") as store:
        yield store


@pytest.fixture
def feed() -> Feed:
    return Feed(run="this run")


@pytest.fixture
def context() -> Iterator[zmq.Context]:
    with zmq.Context() as context, contextlib.ExitStack() as sockets:
        context.sockopts = {zmq.LINGER: 0}
        made_here = context.socket

        def socket(*kind: int) -> zmq.Socket:
            return sockets.enter_context(made_here(*kind))

        context.socket = socket
        yield context


@contextlib.contextmanager
def publishing(feed: Feed, store: Store, settings: PublishSettings = LOCAL) -> Iterator[ZeroMQPublisher]:
    publisher = ZeroMQPublisher(settings, feed, store, lambda: STATUS, TOKEN)
    publisher.start()
    try:
        yield publisher
    finally:
        publisher.stop()


@pytest.fixture
def publisher(feed, store) -> Iterator[ZeroMQPublisher]:
    with publishing(feed, store) as publisher:
        yield publisher


def listener(context: zmq.Context, publisher: ZeroMQPublisher, password: str | None = TOKEN, **options: object):
    """A SUB socket as the reference says it is to be made."""
    sub = context.socket(zmq.SUB)
    sub.set(zmq.RCVTIMEO, PATIENCE_MS)
    for option, value in options.items():
        sub.set(getattr(zmq, option), value)
    if password is not None:
        sub.set(zmq.PLAIN_USERNAME, b"spm-live")
        sub.set(zmq.PLAIN_PASSWORD, password.encode())
    return sub


def join(sub: zmq.Socket, publisher: ZeroMQPublisher) -> dict:
    sub.connect(publisher.endpoint)
    for topic in ("frame", "fault", "status"):
        sub.subscribe(topic)
    return heard(sub)


def heard(sub: zmq.Socket) -> dict:
    topic, body = sub.recv_multipart()
    message = msgpack.unpackb(body)
    assert message["type"] == topic.decode()
    return message


def ask(context: zmq.Context, publisher: ZeroMQPublisher, request: object, kind: int = zmq.REQ, **options: object):
    with context.socket(kind) as asking:
        asking.set(zmq.RCVTIMEO, PATIENCE_MS)
        for option, value in options.items():
            asking.set(getattr(zmq, option), value)
        asking.connect(publisher.snapshot_endpoint)
        asking.send(request if isinstance(request, bytes) else msgpack.packb(request))
        return msgpack.unpackb(asking.recv())


def wanting(last: object = 10, **changes: object) -> dict:
    return {"kind": "snapshot", "token": TOKEN, "last": last, **changes}


def store_and_tell(store: Store, feed: Feed, name: object) -> dict:
    return feed.publish("frame", store.save(made(name)).message)


def test_whoever_subscribes_to_status_is_told_it_at_once(publisher, context):
    told = join(listener(context, publisher), publisher)
    assert told == {**status_message(STATUS), "run": "this run", "seq": 0}


def test_a_listener_hears_every_message_in_order(publisher, context, feed, store):
    sub = listener(context, publisher)
    join(sub, publisher)
    told = [
        store_and_tell(store, feed, "a"),
        feed.publish("fault", {"id": 1}),
        feed.publish("status", {"state": "running"}),
        store_and_tell(store, feed, "b"),
    ]
    assert [heard(sub) for _ in told] == told
    assert publisher.counters()["published"] >= 3  # counted just after it was sent


@pytest.mark.parametrize(
    ("password", "event"),
    [
        ("wrong", zmq.EVENT_HANDSHAKE_FAILED_AUTH),
        (TOKEN.upper(), zmq.EVENT_HANDSHAKE_FAILED_AUTH),
        (None, zmq.EVENT_DISCONNECTED),
    ],
)
def test_without_the_token_nothing_is_heard(publisher, context, feed, password, event):
    stranger = listener(context, publisher, password)
    stranger.subscribe("")
    with stranger.get_monitor_socket(event) as monitor:
        stranger.connect(publisher.endpoint)
        assert monitor.poll(PATIENCE_MS)
        assert recv_monitor_message(monitor)["event"] == event
        stranger.disable_monitor()
    friend = listener(context, publisher)
    join(friend, publisher)
    told = feed.publish("fault", {"id": 1})
    assert heard(friend) == told
    assert stranger.poll(0) == 0
    if password is not None:
        assert publisher.counters()["refused"] >= 1


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.DEALER])
def test_a_snapshot_holds_the_newest_frames_in_full(publisher, context, feed, store, kind):
    told = [store_and_tell(store, feed, name) for name in range(5)]
    snapshot = ask(context, publisher, wanting(3), kind)
    assert (snapshot["type"], snapshot["run"], snapshot["seq"]) == ("snapshot", "this run", 5)
    assert snapshot["status"] == status_message(STATUS)
    assert [frame["id"] for frame in snapshot["frames"]] == [3, 4, 5]
    assert snapshot["frames"][-1]["molecules"] == told[-1]["molecules"]
    assert ask(context, publisher, {"kind": "snapshot", "token": TOKEN})["frames"][0]["id"] == 1
    assert ask(context, publisher, wanting(0))["frames"] == []


def test_joining_as_the_reference_says_misses_and_doubles_nothing(publisher, context, feed, store):
    enough = threading.Event()

    def measure() -> None:
        for number in itertools.count():
            store_and_tell(store, feed, number)
            if enough.is_set():
                return

    microscope = threading.Thread(target=measure)
    microscope.start()
    try:
        sub = listener(context, publisher)
        join(sub, publisher)  # until a status is heard: now all three subscriptions hold
        snapshot = ask(context, publisher, wanting(MAX_SNAPSHOT_FRAMES))
        known = [frame["id"] for frame in snapshot["frames"]]
        numbers = []
        while len(numbers) < 30:
            message = heard(sub)
            if message["seq"] > snapshot["seq"]:
                numbers.append(message["seq"])
                known.append(message["id"])
    finally:
        enough.set()
        microscope.join()
    assert numbers == list(range(snapshot["seq"] + 1, snapshot["seq"] + 1 + len(numbers)))
    assert sorted(set(known)) == list(range(known[0], known[0] + len(set(known))))


class EnoughError(Exception):
    """Ends the endless loop of the example."""


def test_the_example_of_the_reference_shows_what_was_and_what_comes(publisher, feed, store):
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "messages.md"
    example = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    store_and_tell(store, feed, "before")
    shown = []

    def show(message: dict) -> None:
        shown.append(message["id"])
        if len(shown) == 2:
            raise EnoughError
        store_and_tell(store, feed, "after")

    places = {"ENDPOINT": publisher.endpoint, "SNAPSHOT_ENDPOINT": publisher.snapshot_endpoint, "TOKEN": TOKEN}
    with pytest.raises(EnoughError):
        exec(example, {**places, "show": show})
    assert shown == [1, 2]


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (wanting(token="wrong"), "wrong token"),
        (wanting(token=None), "wrong token"),
        (wanting(token="tökén"), "wrong token"),
        ({"kind": "snapshot"}, "wrong token"),
        ([1, 2], "wrong token"),
        (wanting(kind="everything"), "kind must be"),
        (wanting(last=-1), "whole number"),
        (wanting(last=MAX_SNAPSHOT_FRAMES + 1), "whole number"),
        (wanting(last=True), "whole number"),
        (wanting(last="10"), "whole number"),
        (b"\xc1", "not msgpack"),
        (b"", "not msgpack"),
        (b"\x93" * 3000, "not msgpack"),
        (msgpack.packb(wanting()) + b"x", "not msgpack"),
    ],
)
def test_a_bad_request_is_told_why_and_counted(publisher, context, request_, reason):
    reply = ask(context, publisher, request_)
    assert reply["type"] == "error"
    assert reason in reply["reason"]
    counters = publisher.counters()
    assert counters["refused" if reason == "wrong token" else "malformed"] == 1
    assert ask(context, publisher, wanting())["type"] == "snapshot"


def test_a_huge_request_is_cut_off_and_the_others_are_served(publisher, context):
    with context.socket(zmq.DEALER) as huge:
        huge.set(zmq.LINGER, 0)
        with huge.get_monitor_socket(zmq.EVENT_DISCONNECTED) as monitor:
            huge.connect(publisher.snapshot_endpoint)
            huge.send(b"x" * 10_000_000)
            assert monitor.poll(PATIENCE_MS)
            huge.disable_monitor()
    assert ask(context, publisher, wanting())["type"] == "snapshot"


def test_a_request_of_many_parts_gets_no_answer_and_is_counted(publisher, context):
    with context.socket(zmq.DEALER) as odd:
        odd.set(zmq.LINGER, 0)
        odd.set(zmq.RCVTIMEO, PATIENCE_MS)
        odd.connect(publisher.snapshot_endpoint)
        odd.send_multipart([b"a", b"b", b"c"])
        odd.send_multipart([b"", msgpack.packb(wanting())])  # answered after the odd one
        assert msgpack.unpackb(odd.recv_multipart()[1])["type"] == "snapshot"
    assert publisher.counters()["malformed"] == 1


def test_what_a_listener_says_is_not_listened_to(publisher, context, feed):
    with context.socket(zmq.XSUB) as talkative:
        talkative.set(zmq.PLAIN_USERNAME, b"spm-live")
        talkative.set(zmq.PLAIN_PASSWORD, TOKEN.encode())
        talkative.set(zmq.RCVTIMEO, PATIENCE_MS)
        talkative.set(zmq.LINGER, 0)
        talkative.connect(publisher.endpoint)
        for said in (b"hello", b"", b"\x05", b"\x00frame", b"\x01status"):
            talkative.send(said)
        assert heard(talkative)["type"] == "status"
        told = feed.publish("status", {"id": 1})
        assert heard(talkative) == told


class BrokenStore:
    """A store whose disk is gone."""

    def last_frames(self, limit: int) -> list[dict]:
        raise StoreError("disk I/O error")


def test_a_store_that_cannot_be_read_is_told_and_counted(feed, context):
    with publishing(feed, BrokenStore()) as publisher:
        reply = ask(context, publisher, wanting())
        assert (reply["type"], reply["reason"]) == ("error", "disk I/O error")
        assert publisher.counters()["failed"] == 1


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers(-9, 9) | st.text(), st.lists).map(msgpack.packb))
def test_no_request_without_the_token_is_answered_with_results(body):
    reply, what = answer(body, TOKEN, Feed(), BrokenStore(), lambda: STATUS)
    assert what in {"refused", "malformed"}
    assert msgpack.unpackb(reply)["type"] == "error"


def test_a_request_that_is_too_long_is_not_even_unpacked():
    with pytest.raises(RequestError, match="5000 bytes"):
        parse_request(b"\xc1" * 5000, TOKEN)


@given(st.lists(st.binary(max_size=40), max_size=9), st.sampled_from([b"PLAIN", b"CURVE", b"NULL", b"GSSAPI"]))
def test_nobody_is_let_in_by_chance(frames, mechanism):
    frames[5:6] = [mechanism]
    frames[:1] = [b"1.0"]
    reply, welcome = zap_reply(frames, token=TOKEN, clients={"k" * 40})
    assert not welcome
    assert reply[2] in {b"400", b"500"}


def test_a_listener_that_never_reads_takes_nothing_from_another(publisher, context, feed):
    stuck = listener(context, publisher, RCVHWM=1, RCVBUF=4096)
    quick = listener(context, publisher)
    for sub in (stuck, quick):
        join(sub, publisher)
    body = {"padding": "x" * 20_000}
    for _ in range(1000):
        told = feed.publish("fault", body)
        assert heard(quick) == told


def test_stopping_leaves_nothing_and_frees_the_ports(feed, store):
    publisher = ZeroMQPublisher(LOCAL, feed, store, lambda: STATUS, TOKEN)
    publisher.stop()
    with publishing(feed, store) as first:
        endpoints = {"endpoint": first.endpoint, "snapshot_endpoint": first.snapshot_endpoint}
    assert not {"spm-live-publisher", "spm-live-snapshots"} & {thread.name for thread in threading.enumerate()}
    assert feed._subscriptions == []
    with publishing(feed, store, PublishSettings(**endpoints)) as second:
        assert second.endpoint == endpoints["endpoint"]
        second.stop()


def test_taken_ports_are_named_together(feed, store, context):
    with context.socket(zmq.PUB) as one, context.socket(zmq.PUB) as other:
        ports = [end.bind_to_random_port("tcp://127.0.0.1") for end in (one, other)]
        settings = PublishSettings(
            endpoint=f"tcp://127.0.0.1:{ports[0]}", snapshot_endpoint=f"tcp://127.0.0.1:{ports[1]}"
        )
        publisher = ZeroMQPublisher(settings, feed, store, lambda: STATUS, TOKEN)
        with pytest.raises(SetupError) as caught:
            publisher.start()
        publisher.stop()
    assert len(caught.value.problems) == 2
    assert f"publish.endpoint tcp://127.0.0.1:{ports[0]}: the port is taken" in caught.value.problems[0]
    assert feed._subscriptions == []


def test_an_address_of_another_machine_is_a_setup_error(feed, store):
    public, secret = (key.decode() for key in zmq.curve_keypair())
    settings = PublishSettings(
        endpoint="tcp://192.0.2.1:5651",  # RFC 5737: belongs to nobody
        snapshot_endpoint="tcp://127.0.0.1:*",
        curve=CurveSettings(public_key=public, secret_key=secret),
    )
    with pytest.raises(SetupError, match="no such address"):
        ZeroMQPublisher(settings, feed, store, lambda: STATUS, TOKEN).start()


def test_a_token_longer_than_the_protocol_carries_is_a_setup_error(feed, store):
    with pytest.raises(SetupError, match="at most 255"):
        ZeroMQPublisher(LOCAL, feed, store, lambda: STATUS, "x" * 256).start()


def keys() -> tuple[str, str]:
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def curve(server: str, mine: tuple[str, str]) -> dict[str, bytes]:
    return {
        "CURVE_SERVERKEY": server.encode(),
        "CURVE_PUBLICKEY": mine[0].encode(),
        "CURVE_SECRETKEY": mine[1].encode(),
    }


def test_with_keys_only_the_programs_named_are_let_in(feed, store, context):
    server, friend, stranger = keys(), keys(), keys()
    settings = PublishSettings(
        endpoint="tcp://127.0.0.1:*",
        snapshot_endpoint="tcp://127.0.0.1:*",
        curve=CurveSettings(public_key=server[0], secret_key=server[1]),
        curve_clients=(friend[0],),
    )
    with publishing(feed, store, settings) as publisher:
        refused = listener(context, publisher, None, **curve(server[0], stranger))
        with refused.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH) as monitor:
            refused.connect(publisher.endpoint)
            assert monitor.poll(PATIENCE_MS)
            refused.disable_monitor()
        sub = listener(context, publisher, None, **curve(server[0], friend))
        join(sub, publisher)
        told = store_and_tell(store, feed, "a")
        assert heard(sub) == told
        snapshot = ask(context, publisher, wanting(), **curve(server[0], friend))
        assert snapshot["frames"][0]["sha256"] == told["sha256"]
        assert ask(context, publisher, wanting(token="wrong"), **curve(server[0], friend))["type"] == "error"
        assert publisher.counters()["refused"] >= 2


def test_with_keys_and_no_names_whoever_knows_the_public_key_is_let_in(feed, store, context):
    server = keys()
    settings = PublishSettings(
        endpoint="tcp://127.0.0.1:*",
        snapshot_endpoint="tcp://127.0.0.1:*",
        curve=CurveSettings(public_key=server[0], secret_key=server[1]),
    )
    with publishing(feed, store, settings) as publisher:
        told = join(listener(context, publisher, None, **curve(server[0], keys())), publisher)
        assert told["type"] == "status"


def test_messages_go_over_a_local_file_too(feed, store, context, tmp_path):
    if not zmq.has("ipc"):
        pytest.skip("no ipc on this system")
    place = Path(tmp_path).resolve()
    settings = PublishSettings(endpoint=f"ipc://{place}/p", snapshot_endpoint=f"ipc://{place}/s")
    with publishing(feed, store, settings) as publisher:
        assert join(listener(context, publisher), publisher)["type"] == "status"
