"""Links and drifts in the store, over HTTP, and in the reference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from made_results import made, made_links

from spm_live.publish.store import Store
from spm_live.web.series import series_routes
from spm_live.web.server import WebServer

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference"


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "s.sqlite3") as store:
        for name in "ab":
            store.save(made(name))
        yield store


@pytest.fixture
def client(store) -> Iterator[httpx.Client]:
    app = FastAPI()
    app.include_router(series_routes(store))
    with (
        WebServer(app, "127.0.0.1", 0) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=10) as client,
    ):
        yield client


def test_links_are_read_back_as_they_were_told(store):
    assert store.save_links(made_links(2, 1))
    assert store.links(2) == made_links(2, 1)


def test_a_frame_that_nobody_linked_has_no_links_and_one_that_is_not_there_none_at_all(store):
    links = store.links(1)
    assert (links["frame"], links["previous"], links["links"], links["method"]) == (1, None, [], "none")
    assert links.keys() == made_links().keys()
    assert store.links(3) is None


def test_a_frame_is_linked_once(store):
    assert store.save_links(made_links(2, 1))
    assert not store.save_links({**made_links(2, 1), "method": "molecules"})
    assert store.links(2)["method"] == "both"


def test_a_link_to_a_molecule_that_is_not_there_is_refused_with_all_others(store):
    links = made_links(2, 1)
    links["links"].append({**links["links"][0], "molecule": 2})
    with pytest.raises(ValueError, match="no molecule 2 among 2"):
        store.save_links(links)
    assert store.links(2)["links"] == []
    assert store.frames_without_links(10) == [1, 2]


def test_the_table_of_drifts_is_newest_first_with_empty_rows_where_nothing_is_known(store):
    store.save_links(made_links(2, 1))
    newest, oldest = store.series(10)
    assert (newest["frame"], newest["previous"], newest["drift_nm_per_min"]) == (2, 1, [0.125, -0.25])
    assert newest["counts"] == made_links()["counts"]
    assert (oldest["frame"], oldest["previous"], oldest["drift_nm"], oldest["method"]) == (1, None, None, "none")
    assert [row["frame"] for row in store.series(1)] == [2]


def test_molecules_carry_the_track_that_their_links_gave_them(store):
    store.save_links(made_links(2, 1))
    molecules = store.frame_in_series(2)["molecules"]
    assert [(molecule["id"], molecule["track"]) for molecule in molecules] == [(3, 1), (4, 4)]
    assert [(molecule["id"], molecule["track"]) for molecule in store.left_behind(2)] == [(2, None)]
    assert [molecule["track"] for molecule in store.frame_in_series(1)["molecules"]] == [None, None]
    assert store.frame_in_series(3) is None


def test_earlier_frames_are_those_of_the_same_channel_newest_first(store):
    store.save(made("c"))
    assert [frame["id"] for frame in store.earlier_frames(3, 10)] == [2, 1]
    assert [frame["id"] for frame in store.earlier_frames(3, 1)] == [2]
    assert store.earlier_frames(1, 10) == []


def test_links_go_with_the_partial_frame_that_was_superseded(store):
    part = store.save(made("part", source="/data/grows.sxm", complete_rows=20)).id
    after = store.save(made("after")).id
    store.save_links(made_links(2, 1))
    store.save_links(made_links(part, 2))
    store.save_links(made_links(after, part))
    assert store.drop_superseded_links() == []
    whole = store.save(made("whole", source="/data/grows.sxm"))
    assert whole.message["supersedes"] == [part]
    assert store.drop_superseded_links() == [after]
    assert store.links(part)["previous"] is None
    assert store.links(2) == made_links(2, 1)
    assert store.frames_without_links(10) == [1, after, whole.id]
    assert not store.save_links(made_links(part, 2))


def test_links_are_told_over_http(store, client):
    store.save_links(made_links(2, 1))
    assert client.get("/api/frames/2/links").json() == made_links(2, 1)
    assert client.get("/api/frames/1/links").json()["links"] == []
    assert client.get("/api/frames/9/links").status_code == 404
    assert client.get("/api/frames/0/links").status_code == 422
    assert client.get("/api/series?last=1").json() == {"series": store.series(1)}
    assert client.get("/api/series?last=0").status_code == 422
    assert client.get("/api/series?last=501").status_code == 422


def test_the_reference_lists_every_field_of_links_and_drifts(store):
    text = (DOCS / "messages.md").read_text(encoding="utf-8")
    listed: dict[str, set[str]] = {}
    heading = ""
    for line in text.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        elif line.startswith("| `"):
            listed.setdefault(heading, set()).add(line.split("`")[1])
    links = made_links()
    assert listed["links"] == links.keys() - {"schema", "type", "run", "seq"}
    assert listed["link"] == links["links"][0].keys()
    drifts = (DOCS / "http.md").read_text(encoding="utf-8").split("## Drifts")[1].split("## ")[0]
    assert set(re.findall(r"`(\w+)`", drifts)) == store.series(1)[0].keys()
