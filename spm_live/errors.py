"""The errors of the application; the tree is drawn in :mod:`spm_live_drivers.errors`."""

from __future__ import annotations

from collections.abc import Sequence

from spm_live_drivers.errors import FrameError, NotReadyError, SpmLiveError

__all__ = ["FrameError", "NotReadyError", "SetupError", "SpmLiveError"]


class SetupError(SpmLiveError):
    """This machine cannot run as configured: printed as it is, exit code 2.

    Parameters
    ----------
    problems : str or sequence of str
        Every problem found, each a sentence that says what to do.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__(*self.problems)

    def __str__(self) -> str:
        return "\n".join(self.problems)
