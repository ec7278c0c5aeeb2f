"""The parts put together: one daemon with viewer and publisher, on a folder, from the file to the page."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from spm_live.demo import demo_settings, run_demo
from spm_live.errors import SetupError
from spm_live.service import ask_running, open_service
from spm_live.settings import Settings, load_settings
from spm_live_drivers.simulate import ScanPlan, SimulatedInstrument


def free_port() -> int:
    import socket

    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def lab_settings(place: Path) -> Settings:
    (place / "scans").mkdir()
    config = place / "lab.toml"
    config.write_text(
        '[[folders]]\npath = "scans"\nsettle_s = 0.02\n[store]\npath = "results/lab.sqlite3"\nmin_free_mb = 0\n'
        f"[web]\nport = {free_port()}\n[publish]\nenabled = false\n[model]\nthreads = 1\n"
    )
    return load_settings(config)


def get(url: str, token: str) -> object:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def test_a_scan_goes_from_the_file_to_the_page_and_a_reload_is_answered(tmp_path: Path) -> None:
    settings = lab_settings(tmp_path)
    base = f"http://127.0.0.1:{settings.web.port}"
    with open_service(settings, lambda: settings) as service:
        assert service.url is not None
        assert service.url.startswith(base)
        token = service.url.rsplit("=", 1)[1]
        life = threading.Thread(target=service.daemon.run)
        life.start()
        try:
            plan = ScanPlan(pixels=96, size_nm=15.0, frame_time_s=0.001, frames=1, seed=3)
            SimulatedInstrument(tmp_path / "scans", plan).run(threading.Event())
            deadline = time.monotonic() + 60
            pause = threading.Event()
            while not (frames := get(f"{base}/api/frames", token)["frames"]):  # type: ignore[index]
                assert time.monotonic() < deadline
                pause.wait(0.1)
            assert frames[0]["name"] == "sim_0001.sxm"
            assert frames[0]["total"] > 0
            assert get(f"{base}/api/status", token)["counters"]["frames"] == 1  # type: ignore[index]
            assert ask_running(settings, "/api/reload") == ["nothing changed"]
            with pytest.raises(urllib.error.HTTPError) as refused:
                get(f"{base}/api/frames", "not-the-token-at-all")
            refused.value.close()
            assert refused.value.code == 401
        finally:
            service.daemon.stop()
            life.join(30)


def test_asking_a_daemon_that_does_not_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="is it running"):
        ask_running(lab_settings(tmp_path), "/api/reload")


def test_a_second_daemon_on_one_store_is_refused(tmp_path: Path) -> None:
    settings = demo_settings(tmp_path, 0, ("127.0.0.1", 6501))
    settings.folders[0].path.mkdir()
    with open_service(settings), pytest.raises(SetupError), open_service(settings):
        pass


def test_the_demonstration_counts_every_frame_it_scans_and_ends(tmp_path: Path) -> None:
    lines = list(run_demo(tmp_path, port=0, every_s=0.2, frames=3, seed=1, browser=False))
    assert lines[0].startswith("viewer: http://127.0.0.1:")
    assert lines[-1].startswith("3 frames, ")
    assert lines[-1].endswith(" 0 faults")
    assert len(list((tmp_path / "scans").glob("*.sxm"))) == 3
