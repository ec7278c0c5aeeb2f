"""Who is let in: token files, tokens, cookies, hosts and origins."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from spm_live.errors import SetupError
from spm_live.web.access import Access, load_or_make_token, origin_is_ours, token_path

TOKEN = "a-token-that-is-long-enough"


def test_a_token_is_made_once_and_kept(tmp_path: Path) -> None:
    path = token_path(tmp_path / "new folder" / "spm-live.sqlite3")
    token = load_or_make_token(path)
    assert len(token) >= 43  # 256 bits in base 64
    assert load_or_make_token(path) == token
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_tokens_differ(tmp_path: Path) -> None:
    assert load_or_make_token(tmp_path / "a.token") != load_or_make_token(tmp_path / "b.token")


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff\xfe" * 20])
def test_a_damaged_token_file_is_told_with_its_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "spm-live.token"
    path.write_bytes(content)
    with pytest.raises(SetupError, match=r"spm-live\.token"):
        load_or_make_token(path)


def test_a_folder_in_place_of_the_token_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot be kept"):
        load_or_make_token(tmp_path)


@pytest.mark.parametrize("given", ["", "a-token-that-is-long-enoug", TOKEN + "x", TOKEN.upper(), "tökén"])
def test_only_the_whole_token_is_right(given: str) -> None:
    assert Access(TOKEN).token_is_right(TOKEN)
    assert not Access(TOKEN).token_is_right(given)


@pytest.mark.parametrize("header", ["Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer", ""])
def test_a_bearer_header_needs_kind_and_token(header: str) -> None:
    access = Access(TOKEN)
    assert access.bearer_is_right({"authorization": f"bearer {TOKEN}"})
    assert not access.bearer_is_right({"authorization": header})


def test_the_cookie_is_not_the_token_and_belongs_to_one_port() -> None:
    access = Access(TOKEN)
    assert TOKEN not in access.cookie_value
    headers = {"cookie": f"other=1; spm_live_8765={access.cookie_value}"}
    assert access.cookie_is_right(headers, 8765)
    assert not access.cookie_is_right(headers, 8766)
    assert not Access("another-token-of-this-kind").cookie_is_right(headers, 8765)


@pytest.mark.parametrize("host", ["localhost:8765", "127.0.0.1:8765", "[::1]:8765", "LOCALHOST", "127.1.2.3"])
def test_by_loopback_loopback_names_are_believed(host: str) -> None:
    assert Access(TOKEN).host_is_believed(host, "127.0.0.1")


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8765", "localhost.evil.example", "127.0.0.1.evil.example", "user@localhost",
     "localhost:x", "[::1", "192.168.1.4", "localhost/x", "localhost, evil.example"],
)  # fmt: skip
def test_by_loopback_no_other_name_is_believed(host: str) -> None:
    assert not Access(TOKEN).host_is_believed(host, "127.0.0.1")


def test_the_name_that_was_bound_to_is_believed() -> None:
    assert Access(TOKEN, "stm-pc").host_is_believed("STM-PC:8765", "127.0.1.1")


def test_by_network_any_well_formed_name_is_believed() -> None:
    assert Access(TOKEN).host_is_believed("stm.lab.example:8765", "192.168.1.4")
    assert not Access(TOKEN).host_is_believed("stm lab", "192.168.1.4")


@pytest.mark.parametrize(
    ("origin", "ours"),
    [
        ("http://localhost:8765", True),
        ("https://localhost:8765", True),
        ("http://localhost:8766", False),
        ("http://localhost", False),
        ("http://127.0.0.1:8765", False),
        ("http://localhost:8765.evil.example", False),
        ("null", False),
        ("", False),
        ("file://localhost:8765", False),
    ],
)
def test_only_the_very_same_origin_is_ours(origin: str, ours: bool) -> None:
    assert origin_is_ours(origin, "localhost:8765") is ours
