"""The WebSocket: a snapshot, then what the feed tells, whoever is slow."""

from __future__ import annotations

import base64
import json
import os
import socket
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from spm_live.domain import DaemonState, Fault
from spm_live.publish.message import fault_message
from spm_live.publish.store import StoreError
from spm_live.web import events


def listen(scene, **headers: str) -> ClientConnection:
    headers = headers or {"Authorization": f"Bearer {scene.token}"}
    return connect(f"ws://127.0.0.1:{scene.port}/api/events", additional_headers=headers, proxy=None, max_size=None)


def next_of(page: ClientConnection, kind: str) -> dict:
    while (message := json.loads(page.recv(timeout=10)))["type"] != kind:
        pass
    return message


def test_it_begins_with_a_snapshot(scene, draw) -> None:
    told = [scene.add(draw(number)) for number in range(1, 4)]
    scene.store.save_fault(Fault("D:/a.sxm", "read", "cut", datetime.now(UTC)))
    with listen(scene) as page:
        snapshot = json.loads(page.recv(timeout=10))
    assert snapshot["type"] == "snapshot"
    assert (snapshot["run"], snapshot["seq"]) == (scene.feed.run, 3)
    assert [frame["id"] for frame in snapshot["frames"]] == [message["id"] for message in told[::-1]]
    assert "molecules" not in snapshot["frames"][0]
    assert snapshot["latest"] == told[2]
    assert [fault["name"] for fault in snapshot["faults"]] == ["a.sxm"]
    assert snapshot["totals"]["frames"] == 3
    assert snapshot["status"]["state"] == "running"


def test_an_empty_store_has_a_snapshot_too(scene) -> None:
    with listen(scene) as page:
        snapshot = json.loads(page.recv(timeout=10))
    assert (snapshot["frames"], snapshot["latest"], snapshot["faults"]) == ([], None, [])


def test_what_is_published_comes_as_it_is(scene, draw) -> None:
    with listen(scene) as page:
        page.recv(timeout=10)
        told = scene.add(draw(1))
        heard = next_of(page, "frame")
        assert heard == {**told, "seq": 1, "run": scene.feed.run}
        fault = fault_message(1, Fault("D:/a.sxm", "read", "cut", datetime.now(UTC)))
        scene.feed.publish("fault", fault)
        assert next_of(page, "fault")["reason"] == "cut"


def test_every_page_hears_everything(scene, draw) -> None:
    with listen(scene) as one, listen(scene) as other:
        for page in (one, other):
            page.recv(timeout=10)
        for number in range(1, 9):
            scene.add(draw(number))
        for page in (one, other):
            assert [next_of(page, "frame")["seq"] for _ in range(8)] == list(range(1, 9))


def test_the_status_is_told_without_anything_happening(scene, monkeypatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.05)
    with listen(scene) as page:
        page.recv(timeout=10)
        assert next_of(page, "status")["state"] == "running"
        scene.status = replace(scene.status, state=DaemonState.WAITING, detail="the disk is full")
        while (status := next_of(page, "status"))["state"] == "running":
            pass
        assert status["detail"] == "the disk is full"


def test_a_slow_page_is_told_how_much_it_missed(scene, draw, monkeypatch) -> None:
    monkeypatch.setattr(events, "QUEUE_SIZE", 2)
    message = scene.add(draw(1), tell=False)
    with listen(scene) as page:
        page.recv(timeout=10)
        # Published from inside the loop's own thread in one go, so that none is sent in between.
        published = 300
        for _ in range(published):
            scene.feed.publish("frame", {**message, "comment": "x" * 100_000})
        scene.feed.publish("fault", {"last": True})
        missed = frames = 0
        while (heard := json.loads(page.recv(timeout=10)))["type"] != "fault":
            missed += heard["missed"] if heard["type"] == "overtaken" else 0
            frames += heard["type"] == "frame"
    assert missed > 0
    assert missed + frames == published
    with scene.client() as client:
        assert f"spm_live_viewer_overtaken_total {float(missed)}" in client.get("/metrics").text


@pytest.mark.parametrize("headers", [{"X-None": "1"}, {"Authorization": "Bearer wrong"}, {"Cookie": "spm_live=1"}])
def test_no_token_no_events(scene, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus) as refused:
        listen(scene, **headers)
    assert refused.value.response.status_code == 403


def test_a_browser_page_from_elsewhere_hears_nothing(scene) -> None:
    with httpx.Client(base_url=scene.url) as browser:
        browser.get("/", params={"token": scene.token})
        cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        with pytest.raises(InvalidStatus):
            listen(scene, Cookie=cookie, Origin=origin)
    with pytest.raises(InvalidStatus):
        listen(scene, Cookie=cookie)
    with listen(scene, Cookie=cookie, Origin=scene.url) as page:
        assert json.loads(page.recv(timeout=10))["type"] == "snapshot"


def test_pages_beyond_the_limit_are_sent_away_and_places_are_given_back(scene, monkeypatch) -> None:
    monkeypatch.setattr(events, "MAX_SOCKETS", 1)
    with listen(scene) as page:
        page.recv(timeout=10)
        with listen(scene) as other, pytest.raises(ConnectionClosed) as closed:
            other.recv(timeout=10)
        assert closed.value.rcvd.code == 1013
    while True:  # the place is free as soon as the server saw the first one go
        with listen(scene) as next_one:
            try:
                assert json.loads(next_one.recv(timeout=10))["type"] == "snapshot"
            except ConnectionClosed:
                continue
        break


def test_a_store_that_cannot_be_read_closes_the_socket_with_a_reason(scene, monkeypatch) -> None:
    def broken() -> None:
        raise StoreError("disk I/O error")

    monkeypatch.setattr(scene.store, "latest", broken)
    with listen(scene) as page, pytest.raises(ConnectionClosed) as closed:
        page.recv(timeout=10)
    assert closed.value.rcvd.code == 1011


def test_whatever_a_page_says_is_ignored(scene, draw) -> None:
    with listen(scene) as page:
        page.recv(timeout=10)
        page.send("{")
        page.send(b"\x00" * 1000)
        scene.add(draw(1))
        assert next_of(page, "frame")["seq"] == 1


def test_the_server_stops_with_open_pages(scene) -> None:
    with listen(scene) as one, listen(scene) as other:
        for page in (one, other):
            page.recv(timeout=10)
        thread = scene.server._thread
        scene.stop()
        assert not thread.is_alive()
        for page in (one, other):
            with pytest.raises(ConnectionClosed):
                page.recv(timeout=10)
    scene.feed.publish("status", {})  # nobody listens any more, and that hurts nobody


def test_the_server_stops_although_a_page_does_not_read(scene, draw) -> None:
    message = scene.add(draw(1), tell=False)
    with socket.create_connection(("127.0.0.1", scene.port)) as stuck:
        key = base64.b64encode(os.urandom(16)).decode()
        stuck.sendall(
            f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{scene.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {scene.token}\r\n\r\n".encode()
        )
        assert b"101" in stuck.recv(64)
        for _ in range(200):
            scene.feed.publish("frame", {**message, "comment": "x" * 200_000})
        thread = scene.server._thread
        scene.stop()
        assert not thread.is_alive()
