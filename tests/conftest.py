"""What all tests share: where the real data lies, and guards against what a test leaves behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# No test measures time, not even by accident on a busy machine. Examples are drawn from the test alone, so that the
# same tests on the same code give the same answer to everybody; --hypothesis-profile=search looks for new ones.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile("steady")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real scans; the tests that use it are skipped where it is absent."""
    place = Path(os.environ.get("SPM_LIVE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (place / "nanonis").is_dir():
        pytest.skip(f"real scans are not at {place}; set SPM_LIVE_TEST_DATA")
    return place


@pytest.fixture(autouse=True)
def _no_thread_left_behind() -> Iterator[None]:
    """Fail the test that leaves a thread running (leaked files and sockets fail through ResourceWarning)."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=5)
    left = [thread.name for thread in set(threading.enumerate()) - before if thread.is_alive()]
    assert not left, f"threads left running: {left}"
