"""Configurations: what is shipped loads, and what is wrong is all said at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from spm_live.errors import SetupError
from spm_live.settings import Settings, endpoint_is_local, is_loopback, load_settings, settings_from

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_loads(path: Path) -> None:
    settings = load_settings(path)
    assert settings.folders or settings.zeromq


def test_all_problems_are_listed_at_once_with_place_and_suggestion(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text(
        """
        [[folders]]
        path = "scans"
        setle_s = 1
        quiet_s = -5
        timezone = "Europe/Atlantis"
        [web]
        port = 99999
        [modell]
        name = "x"
        """
    )
    with pytest.raises(SetupError) as caught:
        load_settings(path)
    text = str(caught.value)
    assert "folders.0.setle_s: no such setting; did you mean 'settle_s'?" in text
    assert "folders.0.quiet_s" in text
    assert "Europe/Atlantis" in text
    assert "web.port" in text
    assert "modell: no such setting; did you mean 'model'?" in text
    assert len(caught.value.problems) == 5
    assert all(str(path) in problem for problem in caught.value.problems)


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text('folders = [{path = "scans"}]\nstore.path = "results/lab.sqlite3"\n')
    settings = load_settings(path)
    assert settings.folders[0].path == tmp_path / "scans"
    assert settings.store.path == tmp_path / "results" / "lab.sqlite3"


def test_the_environment_goes_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPM_LIVE_WEB__PORT", "4321")
    assert settings_from({"folders": [{"path": str(tmp_path)}], "web": {"port": 1234}}).web.port == 4321


def test_a_configuration_that_watches_nothing_is_refused() -> None:
    with pytest.raises(SetupError, match=r"\[\[folders\]\]"):
        settings_from({})


@pytest.mark.parametrize("text", ["not toml [", "\udcff"])
def test_a_file_that_is_not_toml_says_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lab.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SetupError, match="not valid TOML"):
        load_settings(path)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="--config"):
        load_settings(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    "values",
    [
        {"web": {"host": "0.0.0.0"}},
        {"publish": {"endpoint": "tcp://*:5651"}},
        {"publish": {"snapshot_endpoint": "tcp://192.168.1.7:5652"}},
        {"zeromq": [{"endpoint": "tcp://0.0.0.0:5650"}]},
    ],
)
def test_nothing_is_opened_to_the_network_without_keys(tmp_path: Path, values: dict[str, object]) -> None:
    with pytest.raises(SetupError, match="open to the network"):
        settings_from({"folders": [{"path": str(tmp_path)}], **values})


def test_secrets_do_not_show_in_the_representation_or_in_errors(tmp_path: Path) -> None:
    settings = settings_from({"folders": [{"path": str(tmp_path)}], "web": {"token": "a-very-secret-token"}})
    assert "a-very-secret-token" not in repr(settings)
    with pytest.raises(SetupError) as caught:
        settings_from({"folders": [{"path": str(tmp_path)}], "web": {"token": "short-secret"}})
    assert "short-secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_loopback_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "*", "lab-pc", "192.168.0.1", "::", "localhost.evil.org"])
def test_what_is_not_loopback_is_known(host: str) -> None:
    assert not is_loopback(host)


def test_ipv6_and_ipc_endpoints_are_local() -> None:
    assert endpoint_is_local("tcp://[::1]:5555")
    assert endpoint_is_local("ipc:///tmp/spm")
    assert not endpoint_is_local("tcp://[::]:5555")


def test_every_setting_says_what_it_is() -> None:
    def undocumented(model: type, place: str = "") -> list[str]:
        names = []
        for name, field in model.model_fields.items():
            inner = field.annotation
            if hasattr(inner, "model_fields"):
                names += undocumented(inner, f"{place}{name}.")
            elif not field.description and name != "enabled":
                names.append(place + name)
        return names

    assert undocumented(Settings) == ["daemon.log_level"]


@pytest.mark.parametrize(
    "second",
    [{"port": 6501}, {"port": 6502, "name": "stm"}, {"port": 6502, "name": "127.0.0.1:6501"}],
)
def test_two_controllers_of_one_name_or_port_are_refused(second: dict[str, object]) -> None:
    first = {"port": 6501, "name": "stm"} if second.get("name") == "stm" else {"port": 6501}
    with pytest.raises(SetupError, match="name and a port of its own"):
        settings_from({"nanonis": [first, second]})
