"""Work that the worker process can import by name."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from spm_live.daemon.worker import MakeWork


@pytest.fixture
def make_work(monkeypatch: pytest.MonkeyPatch) -> MakeWork:
    """A :class:`FakeWork` that obeys the text in the file; a spawned process inherits ``sys.path``."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "fakes"))
    make: MakeWork = importlib.import_module("spm_live_fake_work").FakeWork
    return make
