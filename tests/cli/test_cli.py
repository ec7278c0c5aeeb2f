"""The command line: light, clear about mistakes, and the whole way through once."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from spm_live import __version__
from spm_live.cli import build_parser, main
from spm_live_drivers.simulate import ScanPlan, SimulatedInstrument

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("numpy", "cv2", "onnxruntime", "fastapi", "pydantic", "zmq", "sqlite3", "tensorflow", "torch")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, contextlib\nfrom spm_live.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "demo" in done.stdout
    assert done.stderr.strip() == "[]"


def test_every_command_of_the_parser_is_there() -> None:
    from spm_live.cli import commands, offline

    parser = build_parser()
    names = next(action.choices for action in parser._actions if hasattr(action, "choices") and action.choices)
    assert names
    for name in names:
        function = name.replace("-", "_")
        assert hasattr(commands, function) != hasattr(offline, function)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.strip() == f"spm-live {__version__}"


def test_a_mistake_in_the_configuration_is_a_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "lab.toml"
    config.write_text('[[folders]]\npath = "x"\nqiet_s = 1\n')
    assert main(["run", "--config", str(config)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "did you mean 'quiet_s'?" in err
    assert "Traceback" not in err


def test_a_model_that_is_not_there_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "lab.toml"
    config.write_text(
        '[[folders]]\npath = "x"\n[model]\nname = "no-such-model"\n[store]\npath = "r/s.sqlite3"\n'
        "[web]\nenabled = false\n[publish]\nenabled = false\n"
    )
    assert main(["run", "--config", str(config)]) == 2
    assert "no-such-model" in capsys.readouterr().err


def test_check_names_what_would_go_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "lab.toml"
    config.write_text(
        '[[folders]]\npath = "absent"\n[model]\nname = "no-such-model"\n[store]\npath = "r/s.sqlite3"\n'
        "[web]\nenabled = false\n[publish]\nenabled = false\n"
    )
    assert main(["check", "--config", str(config)]) == 2
    out = capsys.readouterr().out
    assert re.search(r"PROBLEM  folder .*absent: does not exist", out)
    assert re.search(r"PROBLEM  model no-such-model", out)
    assert re.search(r"ok       store", out)


def test_check_is_content_with_what_would_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scans").mkdir()
    config = tmp_path / "lab.toml"
    config.write_text(
        '[[folders]]\npath = "scans"\n[store]\npath = "r/s.sqlite3"\n[web]\nport = 0\n[publish]\nenabled = false\n'
    )
    assert main(["check", "--config", str(config)]) == 0
    out = capsys.readouterr().out
    assert "PROBLEM" not in out
    assert "model molecule-generic" in out


def test_formats_and_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["formats"]) == 0
    out = capsys.readouterr().out
    assert "nanonis-sxm" in out
    assert "omicron-matrix" in out
    assert main(["models"]) == 0
    assert "synthetic-small" in capsys.readouterr().out


def test_keys_are_a_pair_that_a_configuration_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from spm_live.settings import load_settings

    assert main(["keys"]) == 0
    config = tmp_path / "lab.toml"
    config.write_text('[[zeromq]]\nendpoint = "tcp://*:5650"\n[zeromq.curve]\n' + capsys.readouterr().out)
    settings = load_settings(config)
    assert settings.zeromq[0].curve is not None


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two simulated scans and a file that is none."""
    import threading

    scans = tmp_path / "archive"
    scans.mkdir()
    plan = ScanPlan(pixels=96, size_nm=15.0, frame_time_s=0.001, frames=2, seed=3)
    SimulatedInstrument(scans, plan).run(threading.Event())
    (scans / "broken.sxm").write_bytes(b":NANONIS_VERSION:\n2\n")
    return scans


def test_convert_writes_pictures_tells_what_failed_and_goes_on_where_it_stopped(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["convert", str(archive), "-o", str(out), "--jobs", "1", "--quiet"]) == 1
    first = capsys.readouterr().out
    assert "2 done" in first
    assert "broken.sxm" in first
    assert len(list(out.rglob("*.png"))) == len(list(out.rglob("*.tif"))) == 2
    assert main(["convert", str(archive), "-o", str(out), "--jobs", "1", "--quiet"]) == 1
    assert "2 skipped" in capsys.readouterr().out


def test_detect_and_export_go_the_whole_way(archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, tables = tmp_path / "found", tmp_path / "tables"
    assert main(["detect", str(archive), "-o", str(out), "--jobs", "1", "--quiet", "--pictures"]) == 1
    assert "2 done" in capsys.readouterr().out
    molecules = (out / "molecules.csv").read_text().splitlines()
    assert len(molecules) > 1
    arguments = ["export", str(out / "results.sqlite3"), "-o", str(tables)]
    assert main([*arguments, "--format", "csv", "--format", "coco", "--format", "labelme"]) == 0
    coco = json.loads((tables / "coco" / "annotations.json").read_text())
    assert len(coco["annotations"]) == len(molecules) - 1


def test_the_reference_pages_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "make_reference.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
