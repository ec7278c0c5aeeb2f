"""Scans in progress over HTTP and the WebSocket."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from growing_scans import Growing
from websockets.sync.client import ClientConnection, connect

from spm_live.publish.live_message import live_message
from spm_live.scanning import LiveState, Notice
from spm_live.web import events
from spm_live.web.server import WebServer, create_app

NOTICE = Notice("tip", "The tip changed.", datetime(2026, 3, 4, tzinfo=UTC), "nanonis", "s1", key="k1", lines=40)


@pytest.fixture
def client(scene):
    with scene.client() as client:
        yield client


@pytest.fixture
def growing() -> Growing:
    return Growing("k1", "nanonis 127.0.0.1:6501", "Au_0042")


def listen(scene) -> ClientConnection:
    headers = {"Authorization": f"Bearer {scene.token}"}
    return connect(f"ws://127.0.0.1:{scene.port}/api/events", additional_headers=headers, proxy=None, max_size=None)


def test_scans_in_progress_are_told_in_full(scene, client: httpx.Client, growing: Growing) -> None:
    assert client.get("/api/live").json() == {"live": []}
    scan = scene.board.show(growing, 40)
    assert client.get("/api/live").json() == {"live": [live_message(scan)]}
    assert client.get("/api/live").headers["cache-control"] == "no-store"


def test_the_picture_of_a_scan_is_the_newest_whatever_revision_is_asked_for(scene, client, growing: Growing) -> None:
    scene.board.show(growing, 40)
    address = "/api/live/k1/preview.png?revision=1"
    first = client.get(address)
    assert (first.headers["content-type"], first.content) == ("image/png", growing.preview(40))
    scene.board.show(growing, 60)
    assert client.get(address).content == growing.preview(60)
    assert client.get(address).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("key", "status"), [("k2", 404), ("", 404), ("..", 404), ("a%2Fb", 404), ("a b", 422), ("k" * 129, 422)]
)
def test_a_scan_that_is_not_there_has_no_picture(client: httpx.Client, key: str, status: int) -> None:
    assert client.get(f"/api/live/{key}/preview.png").status_code == status


def test_nothing_of_it_is_told_without_the_token(scene, growing: Growing) -> None:
    scene.board.show(growing, 40)
    scene.notice(NOTICE)
    for path in ("/api/live", "/api/live/k1/preview.png", "/api/notices"):
        answer = httpx.get(f"{scene.url}{path}")
        assert (answer.status_code, b"Au_0042" in answer.content) == (401, False), path


def test_notices_are_told_newest_first(scene, client: httpx.Client) -> None:
    told = scene.notice(NOTICE)
    (heard,) = client.get("/api/notices").json()["notices"]
    assert heard == {**told, "run": None, "seq": None}


def test_the_snapshot_of_a_page_holds_scans_and_notices(scene, growing: Growing) -> None:
    scan = scene.board.show(growing, 40)
    scene.notice(NOTICE)
    with listen(scene) as page:
        snapshot = json.loads(page.recv(timeout=10))
    assert snapshot["live"] == [live_message(scan)]
    assert [notice["rule"] for notice in snapshot["notices"]] == ["tip"]


def test_a_slow_page_gets_the_newest_state_and_misses_no_frame(scene, draw, growing: Growing, monkeypatch) -> None:
    monkeypatch.setattr(events, "QUEUE_SIZE", 4)
    told = scene.add(draw(1), tell=False)
    with listen(scene) as page:
        page.recv(timeout=10)
        scene.feed.publish("frame", told)
        body = {**live_message(growing.scan(40)), "comment": "x" * 100_000}
        for revision in range(200):
            scene.feed.publish("live", {**body, "revision": revision})
        scene.feed.publish("fault", {"last": True})
        heard = []
        while not heard or heard[-1].get("revision") != 199:
            heard.append(json.loads(page.recv(timeout=10)))
    kinds = [message["type"] for message in heard]
    assert (kinds.count("frame"), kinds.count("fault"), kinds.count("overtaken")) == (1, 1, 0)
    revisions = [message["revision"] for message in heard if message["type"] == "live"]
    assert revisions == sorted(revisions)


def test_metrics_tell_how_far_each_source_is(scene, client: httpx.Client, growing: Growing) -> None:
    lines = client.get("/metrics").text.splitlines()
    assert "spm_live_scans_in_progress 0.0" in lines
    scene.board.show(growing, 32, overtaken=3)
    scene.board.show(Growing("k2", growing.source, "again"), 64)
    scene.board.show(Growing("k3", "other", "over"), 64, state=LiveState.ENDED)
    lines = client.get("/metrics").text.splitlines()
    assert "spm_live_scans_in_progress 2.0" in lines
    progress = [line for line in lines if line.startswith("spm_live_scan_progress{")]
    assert progress == ['spm_live_scan_progress{source="nanonis 127.0.0.1:6501"} 0.5']


def test_the_reference_names_the_metrics_of_scans(scene, client: httpx.Client, growing: Growing) -> None:
    scene.board.show(growing, 32)
    text = (Path(__file__).parents[2] / "docs" / "reference" / "http.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^# TYPE (spm_live_scan\w+)", client.get("/metrics").text, re.MULTILINE))
    assert told == {"spm_live_scans_in_progress", "spm_live_scan_progress", "spm_live_scan_overtaken"}
    assert told <= set(re.findall(r"`(spm_live_[a-z0-9_]+)", text))


def test_a_daemon_that_follows_no_scans_says_so_with_empty_lists(scene) -> None:
    app = create_app(scene.store, scene.feed, lambda: scene.status, scene.token)
    with (
        WebServer(app, "127.0.0.1", 0) as server,
        httpx.Client(
            base_url=f"http://127.0.0.1:{server.port}", headers={"authorization": f"Bearer {scene.token}"}
        ) as c,
    ):
        assert c.get("/api/live").json() == {"live": []}
        assert c.get("/api/notices").json() == {"notices": []}
        assert c.get("/api/live/k1/preview.png").status_code == 404
