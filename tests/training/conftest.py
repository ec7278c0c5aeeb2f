"""What the tests of learning share."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def oracles() -> ModuleType:
    """The slow, obvious versions of the pieces of Mask R-CNN."""
    spec = importlib.util.spec_from_file_location("maskrcnn_oracles", Path(__file__).with_name("maskrcnn_oracles.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
