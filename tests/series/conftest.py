"""Lets the tests import what lies in ``fakes``, their own and those of the store."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in (Path(__file__).parent / "fakes", Path(__file__).parents[1] / "publish" / "fakes"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
