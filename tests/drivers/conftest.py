"""Lets the tests import what lies in ``fakes``."""

from __future__ import annotations

import sys
from pathlib import Path

FAKES = str(Path(__file__).parent / "fakes")
if FAKES not in sys.path:
    sys.path.insert(0, FAKES)
