"""The routes, seen from outside, over a real socket."""

from __future__ import annotations

import json
import logging
import re
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from _pytest.logging import LogCaptureHandler

from spm_live.domain import DaemonState, Fault
from spm_live.errors import SetupError
from spm_live.publish.message import status_message
from spm_live.publish.store import StoreError
from spm_live.web.server import WebServer, create_app

GUARDED = [
    "/", "/static/main.js", "/api/status", "/api/frames", "/api/frames/1", "/api/frames/1/preview.png",
    "/api/frames/1/thumbnail.png", "/api/faults", "/api/totals", "/api/openapi.json", "/metrics", "/nowhere",
]  # fmt: skip


@pytest.fixture
def client(scene) -> Iterator[httpx.Client]:
    with scene.client() as client:
        yield client


@pytest.fixture
def stranger(scene) -> Iterator[httpx.Client]:
    """A client without a token."""
    with httpx.Client(base_url=scene.url, timeout=10) as client:
        yield client


# -- who is let in -----------------------------------------------------------------------------------------------------


def test_nothing_is_told_without_the_token(scene, draw, stranger: httpx.Client) -> None:
    scene.add(draw(1))
    for path in GUARDED:
        answer = stranger.get(path)
        assert answer.status_code == 401, path
        assert "scan_0001" not in answer.text
        assert stranger.get(path, headers={"authorization": "Bearer wrong"}).status_code == 401, path
        assert stranger.get(f"{path}?token={scene.token}x").status_code == 401, path


def test_without_the_token_a_page_says_where_to_find_it(stranger: httpx.Client) -> None:
    answer = stranger.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "spm-live run" in answer.text
    assert ".token" in answer.text
    assert "script-src" not in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_link_with_the_token_leaves_a_cookie_and_a_clean_address(scene, stranger: httpx.Client) -> None:
    answer = stranger.get("/", params={"token": scene.token})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert f"spm_live_{scene.port}=" in cookie
    assert scene.token not in cookie
    assert stranger.get("/").status_code == 200  # the client kept the cookie
    assert stranger.get("/api/frames").json() == {"frames": []}


def test_a_link_followed_from_another_site_still_arrives(scene, stranger: httpx.Client) -> None:
    answer = stranger.get("/", params={"token": scene.token}, headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert 'http-equiv="refresh"' in answer.text
    assert "set-cookie" in answer.headers


def test_the_token_in_the_address_counts_for_the_page_alone(scene, stranger: httpx.Client) -> None:
    assert stranger.get("/api/frames", params={"token": scene.token}).status_code == 401


def test_another_host_name_is_not_answered(client: httpx.Client) -> None:
    for path in ("/", "/health", "/api/frames"):
        assert client.get(path, headers={"host": "evil.example"}).status_code == 421
    assert client.get("/api/frames", headers={"host": "localhost"}).status_code == 200


def test_another_page_cannot_make_the_browser_post(scene, stranger: httpx.Client) -> None:
    stranger.get("/", params={"token": scene.token})
    for origin in ("http://evil.example", f"http://localhost:{scene.port}", "http://127.0.0.1:1", "null"):
        assert stranger.post("/api/reload", headers={"origin": origin}).status_code == 403
    assert stranger.post("/api/reload").status_code == 403
    assert stranger.post("/api/reload", headers={"origin": scene.url}).status_code == 200


def test_a_script_with_the_bearer_token_needs_no_origin(client: httpx.Client) -> None:
    assert client.post("/api/reload").json() == {"messages": ["nothing changed"]}


def test_every_answer_carries_the_security_headers(client: httpx.Client) -> None:
    for path in ["/", "/api/frames", "/static/page.css", "/health", "/nowhere"]:
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers


# -- what is told ------------------------------------------------------------------------------------------------------


def test_health_tells_running_and_nothing_else(scene, stranger: httpx.Client) -> None:
    assert (stranger.get("/health").status_code, stranger.get("/health").json()) == (200, {"ok": True})
    for state in set(DaemonState) - {DaemonState.RUNNING}:
        scene.status = replace(scene.status, state=state)
        assert (stranger.get("/health").status_code, stranger.get("/health").json()) == (503, {"ok": False})


def test_status_is_the_status_message(scene, client: httpx.Client) -> None:
    assert client.get("/api/status").json() == status_message(scene.status)


def test_frames_are_summaries_newest_first_in_pages(scene, draw, client: httpx.Client) -> None:
    told = [scene.add(draw(number)) for number in range(1, 6)]
    first = client.get("/api/frames", params={"limit": 2}).json()["frames"]
    assert [frame["id"] for frame in first] == [told[4]["id"], told[3]["id"]]
    assert "molecules" not in first[0]
    assert first[0]["counts"] == told[4]["counts"]
    rest = client.get("/api/frames", params={"limit": 9, "before": first[-1]["id"]}).json()["frames"]
    assert [frame["id"] for frame in rest] == [message["id"] for message in told[2::-1]]


def test_one_frame_is_told_in_full_as_the_feed_told_it(scene, draw, client: httpx.Client) -> None:
    told = scene.add(draw(1))
    assert told["molecules"]
    assert client.get(f"/api/frames/{told['id']}").json() == told


def test_pictures_are_those_of_the_store(scene, draw, client: httpx.Client) -> None:
    frame = scene.add(draw(1))["id"]
    for name, png in (("preview", scene.store.preview(frame)), ("thumbnail", scene.store.thumbnail(frame))):
        answer = client.get(f"/api/frames/{frame}/{name}.png")
        assert answer.content == png
        assert answer.headers["content-type"] == "image/png"


def test_a_picture_is_kept_for_good_only_under_an_address_that_names_its_content(scene, draw, client) -> None:
    path = f"/api/frames/{scene.add(draw(1))['id']}/preview.png"
    assert client.get(path).headers["cache-control"] == "private, no-cache"
    assert "immutable" in client.get(path, params={"v": "abc"}).headers["cache-control"]
    etag = client.get(path).headers["etag"]
    again = client.get(path, headers={"if-none-match": f'"other", W/{etag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(path, headers={"if-none-match": '"other"'}).status_code == 200


def test_answers_of_the_api_are_not_kept(client: httpx.Client) -> None:
    for path in ["/api/frames", "/api/status", "/api/totals", "/api/faults", "/metrics"]:
        assert client.get(path).headers["cache-control"] == "no-store"


def test_a_frame_that_is_not_there_is_404(client: httpx.Client) -> None:
    for path in ["/api/frames/7", "/api/frames/7/preview.png", "/api/frames/7/thumbnail.png"]:
        assert client.get(path).status_code == 404


def test_numbers_out_of_range_are_refused(client: httpx.Client) -> None:
    for path in [
        "/api/frames?limit=0",
        "/api/frames?limit=501",
        "/api/frames?limit=x",
        "/api/frames?before=0",
        f"/api/frames?before={2**63}",
        f"/api/frames/{2**63}",
        "/api/frames/0",
        "/api/frames/x",
        "/api/faults?limit=0",
    ]:
        assert client.get(path).status_code == 422


def test_faults_are_told_newest_first(scene, client: httpx.Client) -> None:
    for number in range(3):
        scene.store.save_fault(Fault(f"D:/{number}.sxm", "read", "cut", datetime.now(UTC), detail="Traceback"))
    faults = client.get("/api/faults", params={"limit": 2}).json()["faults"]
    assert [fault["name"] for fault in faults] == ["2.sxm", "1.sxm"]
    older = client.get("/api/faults", params={"before": faults[-1]["id"]}).json()["faults"]
    assert [fault["name"] for fault in older] == ["0.sxm"]


def test_totals_are_those_of_the_store(scene, draw, client: httpx.Client) -> None:
    scene.add(draw(1))
    assert client.get("/api/totals").json() == scene.store.totals()


def test_a_frame_without_scanned_rows_is_valid_json(scene, draw, client: httpx.Client) -> None:
    frame = scene.add(draw(1, complete_rows=0))["id"]
    text = client.get(f"/api/frames/{frame}").text
    assert "NaN" not in text
    assert json.loads(text)["coverage"] is None


def test_reload_tells_every_problem(scene, client: httpx.Client) -> None:
    def refuse() -> list[str]:
        raise SetupError(["folders.0.path: no such folder", "web.port: taken"])

    scene.reload = refuse
    answer = client.post("/api/reload")
    assert answer.status_code == 422
    assert answer.json() == {"problems": ["folders.0.path: no such folder", "web.port: taken"]}


def test_a_store_that_cannot_be_read_is_told_as_such(scene, client: httpx.Client, monkeypatch) -> None:
    def broken(limit: int, before: int | None = None) -> list[dict]:
        raise StoreError("disk I/O error")

    monkeypatch.setattr(scene.store, "frames", broken)
    answer = client.get("/api/frames")
    assert answer.status_code == 503
    assert "disk I/O error" in answer.json()["detail"]


def test_metrics_tell_the_daemon_the_store_and_the_newest_frame(scene, draw, client: httpx.Client) -> None:
    told = scene.add(draw(1))
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = answer.text.splitlines()
    assert 'spm_live_state{state="running"} 1.0' in lines
    assert "spm_live_queue_size 64.0" in lines
    assert "spm_live_store_frames 1.0" in lines
    assert "spm_live_viewers 0.0" in lines
    label, count = next((label, count) for label, count in told["counts"].items() if count["total"])
    assert f'spm_live_newest_molecules{{label="{label}"}} {float(count["total"])}' in lines


def test_every_file_of_the_page_is_served_with_a_type_that_nosniff_accepts(client: httpx.Client) -> None:
    types = {"main.js": "text/javascript", "page.css": "text/css", "icon.svg": "image/svg+xml"}
    for name, kind in types.items():
        answer = client.get(f"/static/{name}")
        assert answer.headers["content-type"].startswith(kind)
        assert client.get(f"/static/{name}", headers={"if-none-match": answer.headers["etag"]}).status_code == 304


def test_nothing_outside_the_page_is_served(client: httpx.Client) -> None:
    for name in ["nothing.js", "..%2fserver.py", "%2e%2e/server.py", "../server.py"]:
        assert client.get(f"/static/{name}").status_code == 404


# -- the server --------------------------------------------------------------------------------------------------------


def test_a_port_in_use_is_told_in_a_sentence(scene) -> None:
    app = create_app(scene.store, scene.feed, lambda: scene.status, scene.token)
    with pytest.raises(SetupError, match=rf"port {scene.port}: the port is in use; stop the program"):
        WebServer(app, "127.0.0.1", scene.port).start()


def test_a_host_that_is_not_there_is_told_in_a_sentence(scene) -> None:
    app = create_app(scene.store, scene.feed, lambda: scene.status, scene.token)
    with pytest.raises(SetupError, match="no such address"):
        WebServer(app, "192.0.2.1", 0).start()  # RFC 5737: an address of nobody
    with pytest.raises(SetupError, match="no such host"):
        WebServer(app, "no such host", 0).start()


def test_localhost_can_be_bound_by_name(scene) -> None:
    app = create_app(scene.store, scene.feed, lambda: scene.status, scene.token)
    with WebServer(app, "localhost", 0) as server:
        assert server.port
        assert httpx.get(f"http://localhost:{server.port}/health").status_code == 200


def test_a_stopped_server_leaves_no_thread_and_frees_its_port(scene) -> None:
    before = {thread.name for thread in threading.enumerate()}
    assert "spm-live-web" in before
    with httpx.Client(base_url=scene.url) as client:  # its kept-alive connection stays open
        client.get("/health")
        scene.stop()
    assert "spm-live-web" not in {thread.name for thread in threading.enumerate()}
    with socket.create_server(("127.0.0.1", scene.port)):
        pass


def test_stopping_twice_or_unstarted_is_harmless(scene) -> None:
    server = scene.server
    scene.stop()
    server.stop()
    WebServer(create_app(scene.store, scene.feed, lambda: scene.status, scene.token), "127.0.0.1", 0).stop()


def test_signals_stay_with_the_daemon(scene) -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_the_app_raises_goes_to_the_log_and_not_to_the_client(scene, client, monkeypatch, caplog) -> None:
    def broken() -> dict:
        raise RuntimeError("a secret of the program")

    monkeypatch.setattr(scene.store, "totals", broken)
    answer = client.get("/api/totals")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    scene.stop()  # the answer goes out before the log is written
    assert "a secret of the program" in caplog.text


def test_requests_are_not_logged(scene) -> None:
    access = logging.getLogger("uvicorn.access")
    assert not access.propagate
    assert not [handler for handler in access.handlers if not isinstance(handler, LogCaptureHandler)]


def test_the_page_asks_for_nothing_that_is_not_in_the_package() -> None:
    from spm_live.web.assets import PAGE_FOLDER, load_assets

    text = "".join(path.read_text(encoding="utf-8") for path in PAGE_FOLDER.iterdir())
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "https://"):
        assert forbidden not in text.replace("http://www.w3.org", "")
    assert set(load_assets().files) == {path.name for path in PAGE_FOLDER.iterdir()}


def test_the_reference_names_every_route(scene, client: httpx.Client) -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "http.md").read_text(encoding="utf-8")
    for path in client.get("/api/openapi.json").json()["paths"]:
        assert f"`{path}`" in text, path


def test_the_reference_names_every_metric(scene, draw, client: httpx.Client) -> None:
    scene.add(draw(1))
    text = (Path(__file__).parents[2] / "docs" / "reference" / "http.md").read_text(encoding="utf-8")
    named = re.findall(r"`(spm_live_[a-z0-9_]+)", text)
    told = re.findall(r"^# TYPE (spm_live_\w+)", client.get("/metrics").text, re.MULTILINE)
    counters = {f"spm_live_{name}_total" for name in scene.status.counters}
    assert {metric for metric in told if not metric.endswith("_created")} - counters <= set(named)
