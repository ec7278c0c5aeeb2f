"""What can go wrong with a frame.

::

    SpmLiveError
    ├── FrameError            this frame cannot be used; the rest go on
    │   └── NotReadyError     not yet: try again later
    └── (spm_live.errors.SetupError: this machine cannot run as configured)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spm_live_drivers.contract import FrameRef


class SpmLiveError(Exception):
    """Base of every error that spm-live raises on purpose."""


class FrameError(SpmLiveError):
    """A frame that cannot be used: counted, stored, shown and skipped.

    Parameters
    ----------
    ref : FrameRef
        The frame, as far as it is known.
    stage : str
        The stage that gave up: ``"read"``, ``"receive"``, ``"prepare"``, ``"detect"``, ``"locate"`` or ``"publish"``.
    reason : str
        One sentence with the numbers that a person needs to understand it.
    """

    def __init__(self, ref: FrameRef, stage: str, reason: str) -> None:
        super().__init__(ref, stage, reason)
        self.ref = ref
        self.stage = stage
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.ref.source}: {self.stage}: {self.reason}"


class NotReadyError(FrameError):
    """The file is sound so far but something it needs has not been written yet: ask again later."""
