"""``python -m spm_live_drivers.simulate``."""

from __future__ import annotations

from spm_live_drivers.simulate.command import main

raise SystemExit(main())
