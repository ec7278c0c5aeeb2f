"""Lets the tests import what lies in ``fakes``, and brings its fixtures."""

from __future__ import annotations

import sys
from pathlib import Path

FAKES = str(Path(__file__).parent / "fakes")
if FAKES not in sys.path:
    sys.path.insert(0, FAKES)

from viewer_page import browser, look  # noqa: E402, F401
from viewer_scene import draw, fill, scene  # noqa: E402, F401
